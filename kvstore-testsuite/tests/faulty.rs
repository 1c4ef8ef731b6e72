//! The faulty wrapper: it fails as told, and changes nothing else.

#[allow(dead_code, reason = "its bugs are for another test")]
mod reference;

use std::time::Duration;

use kvstore_core::{ErrorKind, KeyValueStore, SetOptions};
use kvstore_testsuite::{Faults, Faulty, Fixture};
use tokio::time::Instant;

/// Without faults it keeps the contract of what it wraps.
mod unharmed {
    use super::*;

    async fn setup() -> Fixture {
        let inner = reference::fixture(reference::full(), None);
        let (first, _) = Faulty::new(inner.provider().clone());
        let (second, _) = Faulty::new(inner.other().clone());
        Fixture::new(first).with_other(second)
    }

    kvstore_testsuite::conformance!(setup);
}

fn store() -> (KeyValueStore<String>, Faults) {
    let inner = reference::fixture(reference::full(), None);
    let (faulty, faults) = Faulty::new(inner.provider().clone());
    (KeyValueStore::text(faulty), faults)
}

#[tokio::test]
async fn failing_calls_do_not_reach_the_server() {
    let (store, faults) = store();
    faults.fail(2, ErrorKind::Timeout);
    let error = store.set("key", "value").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.is_retryable() && !error.outcome_unknown());
    let error = store.get("key").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(
        store.get("key").await.unwrap(),
        None,
        "neither was done, and both are over"
    );
    assert_eq!(faults.calls(), 3);
}

#[tokio::test]
async fn each_method_fails() {
    let (store, faults) = store();
    let (ttl, one) = (Duration::from_secs(60), ErrorKind::Unavailable);
    faults.fail(12, one);
    let failed = [
        store.get("key").await.unwrap_err(),
        store.has("key").await.unwrap_err(),
        store.get_entry("key").await.unwrap_err(),
        store.take("key").await.unwrap_err(),
        store.set("key", "value").await.unwrap_err(),
        store.delete("key").await.unwrap_err(),
        store.touch("key", ttl).await.unwrap_err(),
        store.ping().await.unwrap_err(),
        store.get_many(["key"]).await.unwrap_err().into(),
        store
            .set_many([("key", "value")], SetOptions::new())
            .await
            .unwrap_err()
            .into(),
        store.delete_many(["key"]).await.unwrap_err().into(),
        store.keys("").next().await.unwrap().unwrap_err(),
    ];
    assert!(failed.iter().all(|error| error.kind() == one), "{failed:?}");
    assert_eq!(faults.calls(), 12);
    assert!(!store.has("key").await.unwrap());
}

#[tokio::test]
async fn in_a_failed_batch_each_item_fails() {
    let (store, faults) = store();
    faults.fail(1, ErrorKind::Busy);
    let items = [("a", "1"), ("b", "2")];
    let batch = store.set_many(items, SetOptions::new()).await.unwrap_err();
    assert_eq!(batch.failed().count(), 2);
    assert_eq!(store.get_many(["a", "b"]).await.unwrap(), [None, None]);
}

#[tokio::test]
async fn writes_whose_answer_is_lost_are_done_and_unknown() {
    let (store, faults) = store();
    faults.lose_answers(1);
    let error = store.set("key", "value").await.unwrap_err();
    assert!(error.outcome_unknown() && error.is_retryable());
    assert!(store.has("key").await.unwrap());

    faults.lose_answers(1);
    let batch = store
        .set_many([("a", "1"), ("b", "2")], SetOptions::new())
        .await
        .unwrap_err();
    assert!(batch.failed().all(|(_, error)| error.outcome_unknown()));
    assert!(store.has("a").await.unwrap() && store.has("b").await.unwrap());

    faults.lose_answers(1);
    assert!(store.take("key").await.unwrap_err().outcome_unknown());
    assert!(!store.has("key").await.unwrap());

    faults.lose_answers(1);
    let error = store.get("a").await.unwrap_err();
    assert!(!error.outcome_unknown(), "a read changes nothing");
}

#[tokio::test(start_paused = true)]
async fn delayed_calls_are_done_later() {
    let (store, faults) = store();
    let by = Duration::from_secs(30);
    faults.delay(2, by);
    let begin = Instant::now();
    store.set("key", "value").await.unwrap();
    assert_eq!(begin.elapsed(), by);
    let key = store.keys("").next().await.unwrap().unwrap();
    assert_eq!((key.as_str(), begin.elapsed()), ("key", 2 * by));
    store.get("key").await.unwrap();
    assert_eq!(begin.elapsed(), 2 * by);
}

#[tokio::test]
async fn healed_it_forgets_what_has_not_come() {
    let (store, faults) = store();
    faults.fail(usize::from(u16::MAX), ErrorKind::Unavailable);
    store.get("key").await.unwrap_err();
    faults.heal();
    store.get("key").await.unwrap();
}
