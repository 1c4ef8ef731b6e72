//! What the tests have in common. Each uses some of it.
#![allow(
    dead_code,
    reason = "each test is a crate of its own, and uses some of this"
)]

use std::fmt::Debug;
use std::time::Duration;

use kvstore_core::{Error, ErrorKind, KeyValueStore, Result};
use kvstore_testsuite::servers::{Vault, VaultServer};
use kvstore_testsuite::unique_root;
use kvstore_vault::{VaultConfig, VaultProvider};
use serde_json::{Value, json};

/// A path that nobody else uses, with what is on the server below it.
pub(crate) struct Place {
    pub(crate) vault: &'static Vault,
    pub(crate) path: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            vault: Vault::shared(),
            path: unique_root(),
        }
    }

    /// A provider on it, with these parameters in its URL.
    pub(crate) async fn provider(&self, parameters: &str) -> VaultProvider {
        let url = self.vault.url(&format!("path={}{parameters}", self.path));
        VaultProvider::connect(&url).await.unwrap()
    }

    pub(crate) async fn text(&self, parameters: &str) -> KeyValueStore<String> {
        KeyValueStore::text(self.provider(parameters).await)
    }

    fn api(&self, endpoint: &str, name: &str) -> String {
        format!("{}/{endpoint}/{}/{name}", Vault::MOUNT, self.path)
    }

    /// Writes a secret as another program would.
    pub(crate) fn write(&self, name: &str, members: Value) {
        let body = json!({ "data": members });
        self.vault.request("POST", &self.api("data", name), body);
    }

    /// What a secret holds.
    pub(crate) fn members(&self, name: &str) -> Value {
        let read = self
            .vault
            .request("GET", &self.api("data", name), Value::Null);
        read["data"]["data"].clone()
    }

    /// Asks anything of a secret, and answers the status and what was said.
    pub(crate) fn ask(
        &self,
        method: &str,
        endpoint: &str,
        name: &str,
        body: Value,
    ) -> (u16, Value) {
        let path = self.api(endpoint, name);
        self.vault
            .try_request(self.vault.token(), "", method, &path, &body)
    }
}

/// How a program logs in to a server: with a policy and an AppRole of its own, as the README has it.
pub(crate) fn policy(path: &str) -> String {
    let readme = include_str!("../../README.md");
    let (_, policy) = readme.split_once("```hcl\n").unwrap();
    let (policy, _) = policy.split_once("```").unwrap();
    let policy = policy.replace("\"secret/", &format!("\"{}/", Vault::MOUNT));
    let ours = policy.replace("my-service", path);
    assert_eq!(ours.matches(path).count(), 3, "{ours}");
    ours
}

/// A configuration for a server without TLS, and without a login yet.
pub(crate) fn plain(vault: &Vault, path: &str) -> VaultConfig {
    VaultConfig::new("127.0.0.1")
        .port(vault.address().port())
        .plain()
        .mount(Vault::MOUNT)
        .path(path)
}

/// A configuration for the shared server by TLS, and without a login yet.
pub(crate) fn tls(vault: &VaultServer, path: &str) -> VaultConfig {
    VaultConfig::new("localhost")
        .port(vault.tls_address().port())
        .ca(vault.ca_path())
        .mount(Vault::MOUNT)
        .path(path)
}

/// Checks that a call fails in this way, and with these words.
#[track_caller]
pub(crate) fn fails<T: Debug>(result: Result<T>, kind: ErrorKind, words: &str) -> Error {
    let error = result.expect_err("the call succeeded");
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.to_string().contains(words), "{error:?}");
    error
}

/// Waits until a call succeeds, which it must before long; until then it fails in this way alone.
pub(crate) async fn works_again<T, E: Into<Error>>(
    kind: ErrorKind,
    call: impl AsyncFn() -> Result<T, E>,
) -> T {
    let start = std::time::Instant::now();
    loop {
        match call().await.map_err(Into::into) {
            Ok(value) => return value,
            Err(error) => assert_eq!(error.kind(), kind, "{error:?}"),
        }
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "it does not work again"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
