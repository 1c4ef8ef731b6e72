//! The policy in the README: with it all works, without a part of it what needs that part fails.

mod common;

use std::time::Duration;

use common::{fails, plain, policy};
use kvstore_core::{Condition, ErrorKind, KeyValueStore, SetOptions};
use kvstore_testsuite::servers::Vault;
use kvstore_testsuite::unique_root;
use kvstore_vault::{VaultConfig, VaultProvider};
use serde_json::json;

/// A configuration for a path, and what a token with this policy gets there.
fn with_policy(change: impl Fn(String) -> String) -> VaultConfig {
    let (vault, path) = (Vault::shared(), unique_root());
    let (role_id, secret_id) = vault.approle(&path, &change(policy(&path)), json!({}));
    plain(vault, &path).approle(role_id, secret_id)
}

async fn all_but_listing(provider: &VaultProvider) {
    let store = KeyValueStore::text(provider.clone());
    let hour = Duration::from_secs(3600);
    store.set("a/b", "1").await.unwrap();
    store
        .set_with("a/b", "2", SetOptions::new().ttl(hour))
        .await
        .unwrap();
    store
        .set_with("a/b", "3", SetOptions::new().keep_expiry())
        .await
        .unwrap();
    assert_eq!(store.get("a/b").await.unwrap().as_deref(), Some("3"));
    assert!(store.has("a/b").await.unwrap());
    assert!(store.touch("a/b", hour).await.unwrap());
    assert!(store.persist("a/b").await.unwrap());
    let set = store
        .set_if("c", "1", Condition::Absent, SetOptions::new())
        .await;
    assert!(set.unwrap().is_applied());
    let version = store
        .get_entry("c")
        .await
        .unwrap()
        .unwrap()
        .version
        .unwrap();
    assert!(store.delete_if("c", version).await.unwrap().is_applied());
    assert_eq!(store.take("a/b").await.unwrap().as_deref(), Some("3"));
    store.set("c", "1").await.unwrap();
    store.delete("c").await.unwrap();
    assert_eq!(store.get("c").await.unwrap(), None);
    store.ping().await.unwrap();
}

#[tokio::test]
async fn with_the_policy_all_works() {
    let provider = VaultProvider::connect(with_policy(|policy| policy))
        .await
        .unwrap();
    all_but_listing(&provider).await;
    let store = KeyValueStore::text(provider.clone());
    store.set("x/y", "1").await.unwrap();
    let mut keys = store.keys("");
    assert_eq!(keys.next().await.unwrap().unwrap(), "x/y");
    assert!(keys.next().await.is_none());
    provider.purge_expired().await.unwrap();
}

#[tokio::test]
async fn without_list_only_listings_fail() {
    let config = with_policy(|policy| policy.replace("\"delete\", \"list\"", "\"delete\""));
    let provider = VaultProvider::connect(config).await.unwrap();
    all_but_listing(&provider).await;
    let mut keys = KeyValueStore::text(provider.clone()).keys("");
    fails(
        keys.next().await.unwrap(),
        ErrorKind::PermissionDenied,
        "README",
    );
    assert!(keys.next().await.is_none());
    fails(
        provider.purge_expired().await,
        ErrorKind::PermissionDenied,
        "README",
    );
}

#[tokio::test]
async fn a_right_that_is_missing_is_named() {
    for (right, place) in [
        ("create", "data"),
        ("read", "data"),
        ("update", "data"),
        ("patch", "data"),
        ("read", "metadata"),
        ("delete", "metadata"),
    ] {
        let config = with_policy(|policy| {
            let (before, after) = policy.split_once(&format!("/{place}/")).unwrap();
            let (line, rest) = after.split_once('}').unwrap();
            let without = line.replace(&format!("\"{right}\""), "\"deny-nothing\"");
            let without = without
                .replace("\"deny-nothing\", ", "")
                .replace(", \"deny-nothing\"", "");
            format!(
                "{before}/{place}/{}}}{rest}",
                without.replace("\"deny-nothing\"", "")
            )
        });
        let error = fails(
            VaultProvider::connect(config).await.map(drop),
            ErrorKind::PermissionDenied,
            &format!("{right} on `kvstore-test/{place}/"),
        );
        assert_eq!(error.to_string().matches(" on `").count(), 1, "{error}");
    }
}

#[tokio::test]
async fn with_keep_counter_other_rights_do() {
    let config = with_policy(|policy| {
        let keeps = policy.replace("/destroy/", "/delete/");
        keeps.replace("\"read\", \"delete\", \"list\"", "\"list\"")
    });
    let lacks = VaultProvider::connect(config.clone()).await.map(drop);
    fails(
        lacks,
        ErrorKind::PermissionDenied,
        "read, delete on `kvstore-test/metadata/",
    );
    let provider = VaultProvider::connect(config.keep_counter()).await.unwrap();
    all_but_listing(&provider).await;
}

#[tokio::test]
async fn no_right_reaches_outside_of_the_path() {
    let vault = Vault::shared();
    let provider = VaultProvider::connect(with_policy(|policy| policy))
        .await
        .unwrap();
    let store = KeyValueStore::text(provider);
    for key in ["../other", "../../metadata/x", "..", "a/../../other"] {
        // Inside, so it is allowed.
        store.set(key, "x").await.unwrap();
    }
    let other = vault.try_request(
        vault.token(),
        "",
        "GET",
        "kvstore-test/data/other",
        &json!(null),
    );
    assert_eq!(other.0, 404);
}
