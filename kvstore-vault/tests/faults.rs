//! Servers that are sealed, stopped, paused, or whose answers are lost: the right error within the deadline,
//! never a miss, and it works again by itself.

mod common;

use std::time::Duration;

use common::{fails, plain, policy, works_again};
use kvstore_core::{Condition, ErrorKind, KeyValueStore, SetOptions};
use kvstore_testsuite::proxy::Proxy;
use kvstore_testsuite::servers::{Vault, VaultServer};
use kvstore_testsuite::unique_root;
use kvstore_vault::{VaultConfig, VaultProvider};
use serde_json::json;

/// What no call may take, however busy the machine is.
const HANGS: Duration = Duration::from_secs(120);

type Store = KeyValueStore<String>;

/// An AppRole of its own on a server of the test's own.
fn config(vault: &Vault) -> VaultConfig {
    let path = unique_root();
    let (role_id, secret_id) = vault.approle(&path, &policy(&path), json!({}));
    plain(vault, &path)
        .approle(role_id, secret_id)
        .timeout(Duration::from_secs(2))
}

async fn connect(config: VaultConfig) -> Store {
    let store = KeyValueStore::text(VaultProvider::connect(config).await.unwrap());
    store.set("key", "value").await.unwrap();
    store
}

/// Every operation fails in this way, and none hangs; whether writes may have been applied is told.
async fn all_fail(store: &Store, kind: ErrorKind, writes_unknown: bool) {
    let all = async {
        fails(store.get("key").await, kind, "");
        fails(store.has("key").await, kind, "");
        fails(store.get_entry("key").await, kind, "");
        fails(store.take("key").await, kind, "");
        fails(store.touch("key", HANGS).await, kind, "");
        fails(store.keys("").next().await.unwrap(), kind, "");
        fails(store.ping().await, kind, "");
        let set = fails(store.set("other", "value").await, kind, "");
        assert_eq!(set.outcome_unknown(), writes_unknown, "{set:?}");
        let deleted = fails(store.delete("other").await, kind, "");
        assert_eq!(deleted.outcome_unknown(), writes_unknown, "{deleted:?}");
        assert!(set.is_retryable() && deleted.is_retryable());
        let keys: Vec<_> = (0..1000).map(|n| n.to_string()).collect();
        let many = store.get_many(&keys).await.unwrap_err();
        assert!(
            many.failed().all(|(_, error)| error.kind() == kind),
            "{many:?}"
        );
        assert_eq!(many.failed().count(), 1000);
    };
    tokio::time::timeout(HANGS, all)
        .await
        .expect("a call hangs");
}

async fn serves(store: &Store, kind: ErrorKind) {
    let found = works_again(kind, || store.get("key")).await;
    assert_eq!(found.as_deref(), Some("value"));
    works_again(kind, || store.set("again", "value")).await;
    assert!(store.has("again").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_and_unsealed_in_the_middle() {
    let mut vault = VaultServer::start();
    let store = connect(config(&vault)).await;
    vault.seal();
    all_fail(&store, ErrorKind::Unavailable, false).await;
    fails(store.get("key").await, ErrorKind::Unavailable, "sealed");
    let refused = VaultProvider::connect(config_of_root(&vault))
        .await
        .map(drop);
    fails(refused, ErrorKind::Unavailable, "sealed");
    let lazy = KeyValueStore::text(VaultProvider::lazy(config_of_root(&vault)).unwrap());
    fails(lazy.get("key").await, ErrorKind::Unavailable, "sealed");
    vault.unseal();
    serves(&store, ErrorKind::Unavailable).await;
    works_again(ErrorKind::Unavailable, || lazy.set("key", "value")).await;
}

fn config_of_root(vault: &Vault) -> VaultConfig {
    plain(vault, &unique_root()).token(vault.token())
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_and_restarted() {
    let mut vault = VaultServer::start();
    let store = connect(config(&vault)).await;
    vault.stop();
    // What was sent on a connection that is just being closed may be unknown; after it nothing is sent.
    let _ = store.get("key").await;
    all_fail(&store, ErrorKind::Unavailable, false).await;
    vault.restart();
    serves(&store, ErrorKind::Unavailable).await;
    // At once, without a pause in which the connections would be found closed.
    vault.stop();
    vault.restart();
    assert_eq!(store.get("key").await.unwrap().as_deref(), Some("value"));
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_past_the_deadline() {
    let mut vault = VaultServer::start();
    let store = connect(config(&vault)).await;
    vault.pause();
    all_fail(&store, ErrorKind::Timeout, true).await;
    vault.resume();
    serves(&store, ErrorKind::Timeout).await;
}

/// A store that reaches the shared server by a proxy, and one that does not.
async fn behind_a_proxy() -> (Proxy, Store, Store) {
    let vault = Vault::shared();
    let config = config_of_root(vault);
    let proxy = Proxy::start(vault.address()).await.unwrap();
    let direct = connect(config.clone()).await;
    let store = connect(config.port(proxy.address().port())).await;
    (proxy, store, direct)
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_has_an_unknown_outcome_and_is_not_sent_again() {
    let (proxy, store, direct) = behind_a_proxy().await;
    let version = async || {
        direct
            .get_entry("key")
            .await
            .unwrap()
            .unwrap()
            .version
            .unwrap()
    };
    let before = version().await.as_u64().unwrap();
    for cut in [0, 20] {
        proxy.reset();
        proxy.cut_mid_reply(cut);
        let set = fails(
            store.set("key", "value").await,
            ErrorKind::Unavailable,
            "lost",
        );
        assert!(set.outcome_unknown());
        assert_eq!(proxy.round_trips(), 1);
        proxy.heal();
    }
    assert_eq!(
        version().await.as_u64().unwrap(),
        before + 2,
        "each was applied once"
    );
    // A conditional write reads first; its connection is cut after that.
    let found = version().await;
    proxy.delay(Duration::from_millis(200));
    let options = SetOptions::new();
    let set = store.set_if("key", "other", Condition::Version(found), options);
    let cut = async {
        while proxy.round_trips() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        proxy.heal();
        proxy.cut_after_request();
    };
    proxy.reset();
    let cut_late = async {
        cut.await;
        proxy.refuse();
    };
    let (set, ()) = tokio::join!(set, cut_late);
    let set = fails(set, ErrorKind::Unavailable, "lost");
    assert!(set.outcome_unknown());
    proxy.heal();
    assert!(store.has("key").await.unwrap());
}

#[tokio::test]
async fn a_read_whose_answer_is_lost_is_asked_again() {
    let (proxy, store, _) = behind_a_proxy().await;
    for cut in [0, 20] {
        proxy.reset();
        proxy.cut_mid_reply(cut);
        assert_eq!(store.get("key").await.unwrap().as_deref(), Some("value"));
        assert_eq!(proxy.round_trips(), 2);
    }
    proxy.refuse();
    fails(store.get("key").await, ErrorKind::Unavailable, "");
    proxy.heal();
    assert_eq!(store.get("key").await.unwrap().as_deref(), Some("value"));
}

#[tokio::test]
async fn calls_take_the_requests_they_must() {
    let (proxy, store, _) = behind_a_proxy().await;
    let requests = |expected: usize, what: &str| {
        assert_eq!(proxy.round_trips(), expected, "{what}");
        proxy.reset();
    };
    proxy.reset();
    store.get("key").await.unwrap();
    requests(1, "get");
    store.get("missing").await.unwrap();
    requests(1, "get of a missing key");
    store.get_entry("key").await.unwrap();
    requests(1, "get_entry");
    store.has("key").await.unwrap();
    requests(1, "has");
    store
        .set_with("key", "value", SetOptions::new().ttl(HANGS))
        .await
        .unwrap();
    requests(1, "set");
    store.touch("key", HANGS).await.unwrap();
    requests(2, "touch");
    let absent = store
        .set_if("new", "value", Condition::Absent, SetOptions::new())
        .await;
    assert!(absent.unwrap().is_applied());
    requests(1, "set if absent");
    store.delete("new").await.unwrap();
    requests(1, "delete");
    store.get_many([""; 0]).await.unwrap();
    requests(0, "the empty batch");
    store.get_many(["a", "b", "c"]).await.unwrap();
    requests(3, "get_many");
}

#[tokio::test]
async fn what_is_too_much_is_busy_and_what_waits_has_a_deadline() {
    let vault = Vault::shared();
    let proxy = Proxy::start(vault.address()).await.unwrap();
    let config = config_of_root(vault).port(proxy.address().port());
    let config = config
        .timeout(Duration::from_millis(500))
        .max_connections(2)
        .max_pending(3);
    let store = connect(config).await;
    proxy.stall();
    let calls = async {
        tokio::join!(
            store.get("a"),
            store.get("b"),
            store.get("c"),
            store.get("d")
        )
    };
    let (a, b, c, d) = tokio::time::timeout(HANGS, calls)
        .await
        .expect("a call hangs");
    fails(a, ErrorKind::Timeout, "no answer");
    fails(b, ErrorKind::Timeout, "no answer");
    fails(c, ErrorKind::Timeout, "");
    fails(d, ErrorKind::Busy, "`max_pending`");
    proxy.heal();
    assert_eq!(store.get("key").await.unwrap().as_deref(), Some("value"));
}

#[tokio::test]
async fn closing_lets_calls_end() {
    let (proxy, store, _) = behind_a_proxy().await;
    proxy.delay(Duration::from_millis(300));
    let slow = store.clone();
    let slow = tokio::spawn(async move { slow.get("key").await });
    while proxy.round_trips() < 1 {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    tokio::time::timeout(HANGS, store.close())
        .await
        .expect("close hangs")
        .unwrap();
    assert_eq!(slow.await.unwrap().unwrap().as_deref(), Some("value"));
    fails(store.get("key").await, ErrorKind::Closed, "");
}

#[tokio::test]
async fn a_value_over_the_storages_limit_is_too_large_and_the_old_one_stays() {
    let vault = VaultServer::start();
    let provider = VaultProvider::connect(config_of_root(&vault).max_value_len(40 << 20))
        .await
        .unwrap();
    let store = KeyValueStore::text(provider);
    store.set("key", "old").await.unwrap();
    for len in [1_048_576, 33 << 20] {
        let set = store.set("key", "x".repeat(len)).await;
        let set = fails(set, ErrorKind::ValueTooLarge, "");
        assert!(!set.outcome_unknown());
    }
    assert_eq!(store.get("key").await.unwrap().as_deref(), Some("old"));
    // What the default lets pass, the storage takes.
    let store = connect(config_of_root(&vault)).await;
    let key = "k".repeat(1024);
    store.set(&key, "x".repeat(1_048_000 - 12)).await.unwrap();
    store
        .set(&key, "<".repeat((1_048_000 - 12) / 6))
        .await
        .unwrap();
    fails(
        store.set(&key, "x".repeat(1_048_000 - 11)).await,
        ErrorKind::ValueTooLarge,
        "`max_value_len`",
    );
}
