//! The whole contract, on a real server.

mod common;

use common::{policy, tls};
use kvstore_testsuite::servers::{Vault, VaultServer};
use kvstore_testsuite::{Fixture, unique_root};
use kvstore_vault::{IntoConfig, VaultProvider};
use serde_json::json;

async fn two(config: impl IntoConfig) -> Fixture {
    let config = config.into_config().unwrap();
    let first = VaultProvider::connect(config.clone()).await.unwrap();
    let second = VaultProvider::connect(config).await.unwrap();
    Fixture::new(first).with_other(second)
}

async fn by_token(parameters: &str) -> Fixture {
    two(Vault::shared().url(&format!("path={}{parameters}", unique_root()))).await
}

/// By TLS, in a namespace, with the least rights.
async fn by_approle() -> Fixture {
    let (vault, path) = (VaultServer::shared(), unique_root());
    let login = vault.approle_in(Vault::NAMESPACE, &path, &policy(&path), json!({}));
    let config = tls(vault, &path).approle(login.0, login.1);
    two(config.namespace(Vault::NAMESPACE)).await
}

mod by_token {
    kvstore_testsuite::conformance!(|| super::by_token(""));
}

mod by_token_keeping_counters {
    kvstore_testsuite::conformance!(|| super::by_token("&keep_counter=true"));
}

mod by_approle_with_tls_in_a_namespace {
    kvstore_testsuite::conformance!(super::by_approle);
}
