//! What is wrong with a configuration or a server, said at once and in words that help. None is ever a miss.

mod common;

use common::{Place, fails, plain, policy, tls};
use kvstore_core::{ErrorKind, KeyValueStore, Result};
use kvstore_testsuite::servers::{Vault, VaultServer};
use kvstore_testsuite::unique_root;
use kvstore_vault::{Credential, VaultConfig, VaultProvider};
use serde_json::json;

/// Checks that both connecting and the first calls of a lazy provider fail in this way.
async fn fail_all(config: VaultConfig, kind: ErrorKind, words: &str) {
    fails(
        VaultProvider::connect(config.clone()).await.map(drop),
        kind,
        words,
    );
    let store = KeyValueStore::text(VaultProvider::lazy(config).unwrap());
    fails(store.get("key").await, kind, words);
    fails(store.set("key", "value").await, kind, words);
    fails(store.has("key").await, kind, words);
    fails(store.take("key").await, kind, words);
    fails(store.delete("key").await, kind, words);
    fails(store.keys("").next().await.unwrap(), kind, words);
    fails(store.ping().await, kind, words);
    let many = store.get_many(["a", "b"]).await.unwrap_err();
    assert!(
        many.failed().all(|(_, error)| error.kind() == kind),
        "{many:?}"
    );
}

fn by_token() -> VaultConfig {
    let vault = Vault::shared();
    plain(vault, &unique_root()).token(vault.token())
}

#[tokio::test]
async fn a_mount_that_is_not_there() {
    fail_all(
        by_token().mount("nowhere"),
        ErrorKind::InvalidConfig,
        "mounted at `nowhere`",
    )
    .await;
}

#[tokio::test]
async fn a_mount_of_kv_version_1() {
    let (vault, mount) = (Vault::shared(), unique_root());
    vault.request(
        "POST",
        &format!("sys/mounts/{mount}"),
        json!({ "type": "kv" }),
    );
    fail_all(
        by_token().mount(&mount),
        ErrorKind::InvalidConfig,
        "KV version 1",
    )
    .await;
    // Nothing was written, which version 1 would take.
    let path = format!("{mount}/?list=true");
    let listed = vault.try_request(vault.token(), "", "GET", &path, &json!(null));
    assert_eq!(listed.0, 404, "{listed:?}");
    fail_all(
        by_token().mount("cubbyhole"),
        ErrorKind::InvalidConfig,
        "`cubbyhole`",
    )
    .await;
}

#[tokio::test]
async fn a_namespace_that_is_not_there() {
    fail_all(
        by_token().namespace("nowhere"),
        ErrorKind::InvalidConfig,
        "`namespace`",
    )
    .await;
}

#[tokio::test]
async fn a_token_that_is_none() {
    let config = by_token().token("s.none");
    fail_all(config, ErrorKind::Unauthenticated, "refused the token").await;
}

#[tokio::test]
async fn a_token_that_a_header_cannot_hold() {
    fail_all(
        by_token().token("a\nb"),
        ErrorKind::InvalidConfig,
        "characters",
    )
    .await;
}

#[tokio::test]
async fn a_file_that_is_not_there() {
    let config = by_token().token(Credential::file("/nowhere/token"));
    fail_all(config, ErrorKind::InvalidConfig, "/nowhere/token").await;
}

#[tokio::test]
async fn an_approle_that_is_none() {
    let config = by_token().approle("none", "none");
    fail_all(config, ErrorKind::Unauthenticated, "AppRole").await;
    let config = by_token().approle("none", "none").auth_mount("nowhere");
    fail_all(config, ErrorKind::Unauthenticated, "`auth_mount`").await;
}

#[tokio::test]
async fn a_token_without_any_right_there() {
    let (vault, path) = (Vault::shared(), unique_root());
    let (role_id, secret_id) = vault.approle(&path, &policy("elsewhere-else"), json!({}));
    // With a right elsewhere in the mount, the mount is known to be there.
    let config = plain(vault, &path).approle(&role_id, secret_id.as_str());
    let connected = VaultProvider::connect(config.clone()).await.map(drop);
    fails(connected, ErrorKind::PermissionDenied, "lack rights");
    let store = KeyValueStore::text(VaultProvider::lazy(config.clone()).unwrap());
    fails(
        store.get("key").await,
        ErrorKind::PermissionDenied,
        "README",
    );
    fails(
        store.set("key", "value").await,
        ErrorKind::PermissionDenied,
        "README",
    );
    fail_all(
        config.mount("nowhere"),
        ErrorKind::PermissionDenied,
        "no such mount",
    )
    .await;
}

#[tokio::test]
async fn a_server_that_is_not_there() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    fail_all(
        by_token().port(port),
        ErrorKind::Unavailable,
        "cannot be reached",
    )
    .await;
}

#[tokio::test]
async fn tls_that_does_not_fit() {
    let vault = VaultServer::shared();
    let config = |port| tls(vault, &unique_root()).token(vault.token()).port(port);
    let tls_port = vault.tls_address().port();
    VaultProvider::connect(config(tls_port)).await.unwrap();
    let plain_port = vault.address().port();
    fail_all(
        config(plain_port),
        ErrorKind::InvalidConfig,
        "no TLS could be agreed on",
    )
    .await;
    let plain = plain(vault, &unique_root())
        .token(vault.token())
        .port(tls_port);
    fail_all(plain, ErrorKind::InvalidConfig, "use the scheme `vault`").await;
    let strange = config(tls_port).ca(std::path::Path::new("/etc/ssl/certs/ca-certificates.crt"));
    fail_all(strange, ErrorKind::InvalidConfig, "`ca` names another").await;
    let mutual_port = vault.mutual_tls_address().port();
    fail_all(
        config(mutual_port),
        ErrorKind::InvalidConfig,
        "`client_cert`",
    )
    .await;
    let shown = config(mutual_port).client_cert(vault.client_cert_path(), vault.client_key_path());
    VaultProvider::connect(shown).await.unwrap();
    let missing = config(tls_port).ca("/nowhere/ca.pem");
    let made: Result<_> = VaultProvider::lazy(missing).map(drop);
    fails(made, ErrorKind::InvalidConfig, "`ca`");
}

#[tokio::test]
async fn a_server_that_is_no_vault() {
    let place = Place::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = plain(place.vault, &place.path)
        .token("t")
        .port(listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let page = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\n<p>hi</p>";
            let _ = stream.write_all(page.as_bytes()).await;
        }
    });
    fail_all(config, ErrorKind::Other, "is it Vault or OpenBao?").await;
}
