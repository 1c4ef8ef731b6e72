//! Servers that are stopped, paused, or whose answers are lost: the right error within the deadline, never a
//! miss, and it works again by itself.

mod common;

use std::time::Duration;

use common::{driver, fails, plain, works_again};
use kvstore_core::{Condition, ErrorKind, KeyValueStore, Outcome, SetOptions};
use kvstore_s3::{S3Config, S3Provider};
use kvstore_testsuite::proxy::Proxy;
use kvstore_testsuite::servers::{S3, S3Server};
use kvstore_testsuite::unique_root;
use object_store::ObjectStore as _;

/// What no call may take, however busy the machine is.
const HANGS: Duration = Duration::from_secs(120);

type Store = KeyValueStore<String>;

fn config(s3: &S3) -> S3Config {
    plain(s3, &format!("{}/", unique_root())).timeout(Duration::from_secs(2))
}

async fn connect(config: S3Config) -> Store {
    let store = KeyValueStore::text(S3Provider::connect(config).await.unwrap());
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
        let created = store.set_if("new", "value", Condition::Absent, SetOptions::new());
        let created = fails(created.await, kind, "");
        assert_eq!(created.outcome_unknown(), writes_unknown, "{created:?}");
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
        let many = store.delete_many(&keys).await.unwrap_err();
        assert!(
            many.failed()
                .all(|(_, error)| error.outcome_unknown() == writes_unknown)
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
async fn stopped_and_restarted() {
    let mut s3 = S3Server::start();
    let config = config(&s3);
    let store = connect(config.clone()).await;
    s3.stop();
    // What was sent on a connection that is just being closed may be unknown; after it nothing is sent.
    let _ = store.get("key").await;
    all_fail(&store, ErrorKind::Unavailable, false).await;
    let refused = S3Provider::connect(config.clone()).await.map(drop);
    fails(refused, ErrorKind::Unavailable, "cannot be reached");
    let lazy = KeyValueStore::text(S3Provider::lazy(config).unwrap());
    fails(lazy.get("key").await, ErrorKind::Unavailable, "");
    let created = lazy.set_if("new", "x", Condition::Absent, SetOptions::new());
    fails(created.await, ErrorKind::Unavailable, "");
    s3.restart();
    serves(&store, ErrorKind::Unavailable).await;
    serves(&lazy, ErrorKind::Unavailable).await;
    let created = lazy.set_if("new", "x", Condition::Absent, SetOptions::new());
    assert!(created.await.unwrap().is_applied());
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_past_the_deadline() {
    let mut s3 = S3Server::start();
    let store = connect(config(&s3)).await;
    s3.pause();
    all_fail(&store, ErrorKind::Timeout, true).await;
    s3.resume();
    serves(&store, ErrorKind::Timeout).await;
}

/// A store that reaches the shared server by a proxy, and one that does not.
async fn behind_a_proxy() -> (Proxy, Store, Store) {
    let s3 = S3::shared();
    let config = config(s3);
    let proxy = Proxy::start(s3.address()).await.unwrap();
    let direct = connect(config.clone()).await;
    let store = connect(config.port(proxy.address().port())).await;
    (proxy, store, direct)
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_has_an_unknown_outcome_and_is_not_sent_again() {
    let (proxy, store, direct) = behind_a_proxy().await;
    for (cut, value) in [(0, "one"), (20, "two")] {
        proxy.reset();
        proxy.cut_mid_reply(cut);
        let set = fails(
            store.set("key", value).await,
            ErrorKind::Unavailable,
            "lost",
        );
        assert!(set.outcome_unknown());
        assert_eq!(proxy.round_trips(), 1);
        assert_eq!(direct.get("key").await.unwrap().as_deref(), Some(value));
        proxy.heal();
    }
    proxy.reset();
    proxy.cut_after_request();
    let deleted = fails(store.delete("key").await, ErrorKind::Unavailable, "lost");
    assert!(deleted.outcome_unknown());
    assert_eq!(proxy.round_trips(), 1);
    assert!(!direct.has("key").await.unwrap());
}

#[tokio::test]
async fn a_write_under_a_condition_whose_answer_is_lost_is_known_by_what_is_there() {
    let (proxy, store, direct) = behind_a_proxy().await;
    let create = |key, value| store.set_if(key, value, Condition::Absent, SetOptions::new());
    for (cut, key) in [(0, "new 0"), (20, "new 20")] {
        proxy.reset();
        proxy.cut_mid_reply(cut);
        let created = create(key, "mine").await.unwrap();
        let Outcome::Applied(Some(version)) = created else {
            panic!("{created:?}");
        };
        // The write, once, and the look.
        assert_eq!(proxy.round_trips(), 2);
        let entry = direct.get_entry(key).await.unwrap().unwrap();
        assert_eq!(
            (entry.value.as_str(), entry.version),
            ("mine", Some(version))
        );
    }
    // One that was not applied, with the very same bytes there: it is somebody else's.
    proxy.cut_after_request();
    let error = fails(
        create("new 0", "mine").await,
        ErrorKind::Unavailable,
        "lost",
    );
    assert!(error.outcome_unknown());
    // Applied, and then the way to the server is gone.
    proxy.delay(Duration::from_millis(300));
    proxy.reset();
    let cut = async {
        while proxy.round_trips() < 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        proxy.refuse();
    };
    let (created, ()) = tokio::join!(create("another", "mine"), cut);
    let error = fails(created, ErrorKind::Unavailable, "lost");
    assert!(error.outcome_unknown());
    proxy.heal();
    assert!(direct.has("another").await.unwrap());
}

/// Waits for the first request, whose answer is held back.
async fn first_request(proxy: &Proxy) {
    while proxy.round_trips() < 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_take_whose_answer_is_lost_is_not_done_twice() {
    let (proxy, store, direct) = behind_a_proxy().await;
    proxy.delay(Duration::from_millis(200));
    proxy.reset();
    let cut = async {
        first_request(&proxy).await;
        proxy.cut_after_request();
    };
    let (taken, ()) = tokio::join!(store.take("key"), cut);
    let error = fails(taken, ErrorKind::Unavailable, "lost");
    assert!(error.outcome_unknown());
    assert_eq!(proxy.round_trips(), 2, "the read and the delete");
    assert!(!direct.has("key").await.unwrap());
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
async fn a_value_that_is_cut_short_is_an_error() {
    let (proxy, store, direct) = behind_a_proxy().await;
    let long = "x".repeat(1 << 20);
    direct.set("long", &long).await.unwrap();
    proxy.cut_mid_reply(200_000);
    // Asked once more, and then it is whole.
    assert_eq!(store.get("long").await.unwrap().as_deref(), Some(&long[..]));
    proxy.reset();
    proxy.delay(Duration::from_millis(200));
    proxy.cut_mid_reply(200_000);
    let again = async {
        first_request(&proxy).await;
        proxy.cut_mid_reply(200_000);
    };
    let (found, ()) = tokio::join!(store.get("long"), again);
    fails(found, ErrorKind::Unavailable, "lost");
    assert_eq!(proxy.round_trips(), 2);
}

#[tokio::test]
async fn a_server_that_is_far_away_is_tried_for_longer_than_one_call_has() {
    let s3 = S3::shared();
    let proxy = Proxy::start(s3.address()).await.unwrap();
    proxy.delay(Duration::from_millis(300));
    let prefix = format!("{}/", unique_root());
    let config = plain(s3, &prefix)
        .port(proxy.address().port())
        .timeout(Duration::from_millis(1500));
    S3Provider::connect(config.clone()).await.unwrap();
    let lazy = KeyValueStore::text(S3Provider::lazy(config).unwrap());
    let create = || lazy.set_if("key", "value", Condition::Absent, SetOptions::new());
    fails(create().await, ErrorKind::Timeout, "nothing was sent");
    let created = works_again(ErrorKind::Timeout, create).await;
    assert!(created.is_applied());
    let path = object_store::path::Path::parse(&prefix).unwrap();
    let listed = driver(s3).list_with_delimiter(Some(&path)).await;
    let mut found = listed.unwrap().objects;
    // SeaweedFS shows the folder itself for a while.
    found.retain(|object| object.location != path);
    assert_eq!(found.len(), 1, "{found:?}");
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
    assert_eq!(store.take("key").await.unwrap().as_deref(), Some("value"));
    requests(2, "take");
    store.get_many([""; 0]).await.unwrap();
    requests(0, "the empty batch");
    store.get_many(["a", "b", "c"]).await.unwrap();
    requests(3, "get_many");
    let keys: Vec<_> = (0..1500).map(|n| n.to_string()).collect();
    store.delete_many(&keys).await.unwrap();
    requests(2, "delete_many, a thousand in each");
}

#[tokio::test]
async fn has_and_listings_move_no_values() {
    let (proxy, store, direct) = behind_a_proxy().await;
    direct.set("key", "x".repeat(1 << 20)).await.unwrap();
    proxy.reset();
    assert!(store.has("key").await.unwrap());
    let mut keys = store.keys("");
    assert_eq!(keys.next().await.unwrap().unwrap(), "key");
    assert!(keys.next().await.is_none());
    assert!(
        proxy.bytes_received() < 10_000,
        "{}",
        proxy.bytes_received()
    );
}

#[tokio::test]
async fn what_is_too_much_is_busy_and_what_waits_has_a_deadline() {
    let s3 = S3::shared();
    let proxy = Proxy::start(s3.address()).await.unwrap();
    let config = config(s3).port(proxy.address().port());
    let config = config
        .timeout(Duration::from_millis(500))
        .max_connections(2)
        .max_pending(3);
    let store = KeyValueStore::text(S3Provider::lazy(config).unwrap());
    works_again(ErrorKind::Timeout, || store.set("key", "value")).await;
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
    let found = works_again(ErrorKind::Timeout, || store.get("key")).await;
    assert_eq!(found.as_deref(), Some("value"));
}

#[tokio::test]
async fn closing_lets_calls_end() {
    let (proxy, store, _) = behind_a_proxy().await;
    proxy.delay(Duration::from_millis(300));
    let slow = store.clone();
    proxy.reset();
    let slow = tokio::spawn(async move { slow.get("key").await });
    while proxy.round_trips() < 1 {
        tokio::task::yield_now().await;
    }
    tokio::time::timeout(HANGS, store.close())
        .await
        .expect("close hangs")
        .unwrap();
    assert_eq!(slow.await.unwrap().unwrap().as_deref(), Some("value"));
    fails(store.get("key").await, ErrorKind::Closed, "");
}
