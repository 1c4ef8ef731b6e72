//! Vault and OpenBao for tests.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use std::{env, fmt, thread};

use serde_json::{Value, json};

use super::run;
use super::vault_server::{self, VaultServer};

/// The variables that name a server to test against, and a token with every right on it.
const URL: &str = "KVSTORE_TEST_VAULT_URL";
const TOKEN: &str = "KVSTORE_TEST_VAULT_TOKEN";

/// A Vault or OpenBao that tests can reach.
///
/// It has a KV version 2 secrets engine at [`MOUNT`](Self::MOUNT), AppRole at its usual place, and the same
/// once more in the namespace [`NAMESPACE`](Self::NAMESPACE), where the server has namespaces.
#[derive(Clone)]
pub struct Vault {
    address: SocketAddr,
    token: String,
}

impl Vault {
    /// Where the secrets engine is mounted.
    pub const MOUNT: &'static str = "kvstore-test";

    /// A namespace with the same in it.
    pub const NAMESPACE: &'static str = "kvstore-test-team";

    /// The server of this test run, for tests that leave it as it is for the others.
    ///
    /// It is the one at `KVSTORE_TEST_VAULT_URL`, with the token in `KVSTORE_TEST_VAULT_TOKEN`; else
    /// [`VaultServer::shared`] where the program `bao` is installed; else, with the feature `containers`, a
    /// container. It is up until the run ends. Blocks for the moments that takes.
    ///
    /// # Panics
    /// When there is none of these, with what to do.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Vault> = OnceLock::new();
        SHARED.get_or_init(|| {
            if let Ok(url) = env::var(URL) {
                let vault = Self::at(&url).unwrap_or_else(|e| panic!("{URL}: {e}"));
                vault.prepare();
                run::report(&format!("Vault at {}, from {URL}", vault.address));
                return vault;
            }
            if vault_server::program().is_some() {
                return Self::clone(VaultServer::shared());
            }
            #[cfg(feature = "containers")]
            if let Some(address) = super::container::vault(&run::Run::current()) {
                let vault = Self::new(address, CONTAINER_TOKEN);
                vault.prepare();
                run::report("Vault in a container");
                return vault;
            }
            panic!(
                "no Vault to test against: `cargo xtask servers` installs OpenBao; or name one in {URL} and {TOKEN}; \
                 or start Docker and switch on the feature `containers` of kvstore-testsuite"
            );
        })
    }

    /// Its address, without TLS.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A token with every right.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Its URL, with the token that has every right, and these parameters, as `path=fruit&timeout=1s`.
    pub fn url(&self, parameters: &str) -> String {
        let (token, address, mount) = (&self.token, self.address, Self::MOUNT);
        format!("vault+http://:{token}@{address}/{mount}?{parameters}")
    }

    /// Asks with every right, as `("GET", "sys/health", Value::Null)`.
    ///
    /// # Panics
    /// When the server refuses, with its words, or does not answer.
    pub fn request(&self, method: &str, path: &str, body: Value) -> Value {
        match self.try_request(&self.token, "", method, path, &body) {
            (200..=299, answer) => answer,
            (status, answer) => {
                panic!("Vault refused {method} {path} with status {status}: {answer}")
            }
        }
    }

    /// Asks as the owner of a token, in a namespace (or in none), and answers the status and what was said.
    ///
    /// # Panics
    /// When the server does not answer.
    pub fn try_request(
        &self,
        token: &str,
        namespace: &str,
        method: &str,
        path: &str,
        body: &Value,
    ) -> (u16, Value) {
        let headers = format!("X-Vault-Token: {token}\r\nX-Vault-Namespace: {namespace}\r\n");
        ask(self.address, method, path, &headers, body)
            .unwrap_or_else(|e| panic!("{method} {path}, for Vault at {}: {e}", self.address))
    }

    /// Makes a policy, and an AppRole of the same name that has it, with these settings, as
    /// `{"token_ttl": "2s"}`; the answer is its role id and a secret id.
    ///
    /// # Panics
    /// As [`request`](Self::request).
    pub fn approle(&self, name: &str, policy: &str, settings: Value) -> (String, String) {
        self.approle_in("", name, policy, settings)
    }

    /// As [`approle`](Self::approle), in a namespace.
    ///
    /// # Panics
    /// As [`request`](Self::request).
    pub fn approle_in(
        &self,
        namespace: &str,
        name: &str,
        policy: &str,
        settings: Value,
    ) -> (String, String) {
        let ask = |method: &str, path: &str, body: Value| match self.try_request(
            &self.token,
            namespace,
            method,
            path,
            &body,
        ) {
            (200..=299, answer) => answer,
            (status, answer) => {
                panic!("Vault refused {method} {path} with status {status}: {answer}")
            }
        };
        ask(
            "PUT",
            &format!("sys/policies/acl/{name}"),
            json!({ "policy": policy }),
        );
        let mut role = settings;
        role["token_policies"] = json!([name]);
        let path = format!("auth/approle/role/{name}");
        ask("POST", &path, role);
        let text = |answer: Value, member: &str| {
            answer["data"][member]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let role_id = text(
            ask("GET", &format!("{path}/role-id"), Value::Null),
            "role_id",
        );
        let secret_id = text(
            ask("POST", &format!("{path}/secret-id"), json!({})),
            "secret_id",
        );
        (role_id, secret_id)
    }

    pub(super) fn new(address: SocketAddr, token: &str) -> Self {
        let token = token.to_owned();
        Self { address, token }
    }

    /// Mounts what the tests need, where it is not there yet.
    pub(super) fn prepare(&self) {
        let ask = |namespace: &str, path: &str, body: Value| {
            let (status, answer) = self.try_request(&self.token, namespace, "POST", path, &body);
            let there = answer.to_string().contains("already in use");
            assert!(
                status < 300 || there,
                "Vault refused {path} with status {status}: {answer}"
            );
        };
        // A Vault without namespaces says that there is no such path.
        let path = format!("sys/namespaces/{}", Self::NAMESPACE);
        let made = self.try_request(&self.token, "", "POST", &path, &json!({}));
        let namespaces: &[&str] = match made.0 {
            200..=299 => &["", Self::NAMESPACE],
            _ => &[""],
        };
        for namespace in namespaces {
            let kv = json!({ "type": "kv", "options": { "version": "2" } });
            ask(namespace, &format!("sys/mounts/{}", Self::MOUNT), kv);
            ask(namespace, "sys/auth/approle", json!({ "type": "approle" }));
        }
        // The engine upgrades itself for a moment after it is mounted, and refuses to serve.
        for namespace in namespaces {
            wait("serve its secrets engine", || {
                let path = format!("{}/data/none", Self::MOUNT);
                self.try_request(&self.token, namespace, "GET", &path, &Value::Null)
                    .0
                    == 404
            });
        }
    }

    /// A server somebody else started.
    fn at(url: &str) -> Result<Self, String> {
        let place = url
            .strip_prefix("http://")
            .ok_or("it must begin with `http://`; for TLS the suite starts servers itself")?;
        let found = place.trim_end_matches('/').to_socket_addrs();
        let address = found
            .map_err(|e| format!("it must be `http://`, a host and a port: {e}"))?
            .next()
            .ok_or("the host has no address")?;
        let token =
            env::var(TOKEN).map_err(|_| format!("{TOKEN} must have a token with every right"))?;
        Ok(Self::new(address, &token))
    }
}

impl fmt::Debug for Vault {
    /// Prints where it is, and no token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Asks until it is so.
pub(super) fn wait(what: &str, mut ready: impl FnMut() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(
            start.elapsed() < START,
            "Vault does not {what} within {START:?}"
        );
        thread::sleep(Duration::from_millis(5));
    }
}

/// How long a server may take to come to serve.
const START: Duration = Duration::from_secs(60);

/// The token with every right in a container.
#[cfg(feature = "containers")]
pub(super) const CONTAINER_TOKEN: &str = "kvstore-test";

/// Whether a server answers there, and can serve.
#[cfg(feature = "containers")]
pub(super) fn is_up(address: SocketAddr) -> bool {
    matches!(
        ask(address, "GET", "sys/health", "", &Value::Null),
        Ok((200, _))
    )
}

/// One request over a connection of its own, and the answer, `null` where it has no text.
pub(super) fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &Value,
) -> io::Result<(u16, Value)> {
    // A server that is initialized on a busy machine takes its time.
    let limit = Duration::from_secs(60);
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let len = body.len();
    // With HTTP/1.0 the answer comes in one piece, and ends with the connection.
    let request =
        format!("{method} /v1/{path} HTTP/1.0\r\n{headers}Content-Length: {len}\r\n\r\n{body}");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, text) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("no answer of HTTP"))?;
    let text = match text.trim() {
        "" => Value::Null,
        text => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
    };
    Ok((status, text))
}
