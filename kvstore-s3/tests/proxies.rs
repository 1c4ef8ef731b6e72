//! Proxies that do to requests and answers what some really do, and servers that lack something.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::between::{Pass, between};
use common::fails;
use kvstore_core::{Condition, ErrorKind, KeyValueStore, Outcome, Provider as _, SetOptions};
use kvstore_s3::{S3Config, S3Provider};

async fn connect(config: S3Config) -> KeyValueStore<String> {
    KeyValueStore::text(S3Provider::connect(config).await.unwrap())
}

#[tokio::test]
async fn a_write_that_a_proxy_sends_twice_is_applied_and_finds_itself() {
    let twice = |request: String| match request.contains("x-amz-meta-kvstore-write") {
        true => Pass::Twice(request),
        false => Pass::On(request),
    };
    let config = between(twice, |answer| answer).await;
    let store = connect(config.clone()).await;
    let created = store.set_if("key", "one", Condition::Absent, SetOptions::new());
    let Outcome::Applied(Some(version)) = created.await.unwrap() else {
        panic!("it was created");
    };
    let entry = store.get_entry("key").await.unwrap().unwrap();
    assert_eq!(entry.version.as_ref(), Some(&version));
    let again = store.set_if("key", "one", Condition::Absent, SetOptions::new());
    assert!(!again.await.unwrap().is_applied(), "that is another write");

    let changed = |condition| store.set_if("key", "two", condition, SetOptions::new());
    let first = changed(Condition::Version(version.clone())).await;
    assert!(first.unwrap().is_applied());
    let stale = changed(Condition::Version(version)).await;
    assert!(!stale.unwrap().is_applied());
    let present = store.set_if("key", "three", Condition::Present, SetOptions::new());
    assert!(present.await.unwrap().is_applied());
    let version = store.get_entry("key").await.unwrap().unwrap().version;
    let without = connect(config.without_expiry()).await;
    let condition = Condition::Version(version.unwrap());
    let changed = |condition| without.set_if("key", "four", condition, SetOptions::new());
    assert!(changed(condition.clone()).await.unwrap().is_applied());
    assert!(!changed(condition).await.unwrap().is_applied());
    assert_eq!(store.get("key").await.unwrap().as_deref(), Some("four"));
}

#[tokio::test]
async fn a_proxy_that_drops_the_expiry_is_told() {
    // As nginx does with names that have an underscore.
    let dropping = |request: String| {
        let lines = request.split_inclusive("\r\n");
        Pass::On(lines.filter(|line| !line.contains("expires_at:")).collect())
    };
    let config = between(dropping, |answer| answer).await;
    let connected = S3Provider::connect(config.clone()).await.map(drop);
    fails(connected, ErrorKind::InvalidConfig, "expires_at");
    let lazy = KeyValueStore::text(S3Provider::lazy(config.clone()).unwrap());
    let hour = SetOptions::new().ttl(Duration::from_secs(3600));
    let set = lazy.set_with("key", "value", hour).await;
    fails(set, ErrorKind::InvalidConfig, "expires_at");
    assert!(!lazy.has("key").await.unwrap());
    let without = connect(config.without_expiry()).await;
    let created = without.set_if("key", "value", Condition::Absent, SetOptions::new());
    assert!(created.await.unwrap().is_applied());
}

#[tokio::test]
async fn a_weak_etag_is_no_version_and_no_reason_to_fail_what_was_written() {
    let weak = |answer: String| {
        let answer = answer.replace("\r\nEtag: \"", "\r\nEtag: W/\"");
        answer.replace("\r\nETag: \"", "\r\nETag: W/\"")
    };
    let config = between(Pass::On, weak).await;
    let provider = S3Provider::connect(config.clone()).await.unwrap();
    let claims = provider.capabilities();
    assert!(claims.versions.is_none() && !claims.if_absent && !claims.take);
    let store = KeyValueStore::text(provider);
    store.set("key", "value").await.unwrap();
    assert_eq!(store.get("key").await.unwrap().as_deref(), Some("value"));
    let entry = store.get_entry("key").await.unwrap().unwrap();
    assert_eq!((entry.value.as_str(), entry.version), ("value", None));
    let lazy = KeyValueStore::text(S3Provider::lazy(config).unwrap());
    lazy.set("key", "new").await.unwrap();
    fails(lazy.get_entry("key").await, ErrorKind::Other, "ETag");
    assert_eq!(store.get("key").await.unwrap().as_deref(), Some("new"));
}

#[tokio::test]
async fn where_keys_cannot_be_deleted_together_each_is_by_itself() {
    let unknown = |request: String| match request.starts_with("POST") {
        true => Pass::Answer(
            "HTTP/1.1 501 Not Implemented\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        ),
        false => Pass::On(request),
    };
    let store = connect(between(unknown, |answer| answer).await).await;
    let keys: Vec<_> = (0..300).map(|n| n.to_string()).collect();
    let items = keys.iter().map(|key| (key, "value"));
    store.set_many(items, SetOptions::new()).await.unwrap();
    store.set("other", "value").await.unwrap();
    store.delete_many(&keys).await.unwrap();
    let mut left = store.keys("");
    assert_eq!(left.next().await.unwrap().unwrap(), "other");
    assert!(left.next().await.is_none());
}

#[tokio::test]
async fn an_error_of_what_was_not_asked_for_leaves_all_unknown() {
    const OTHER: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n<DeleteResult><Error><Key>other</Key>\
        <Code>InternalError</Code></Error></DeleteResult>";
    let odd = |request: String| match request.starts_with("POST") {
        true => Pass::Answer(OTHER),
        false => Pass::On(request),
    };
    let store = connect(between(odd, |answer| answer).await).await;
    let deleted = store.delete_many(["a", "b"]).await.unwrap_err();
    assert_eq!(deleted.failed().count(), 2);
    assert!(deleted.failed().all(|(_, error)| error.outcome_unknown()));
}

#[tokio::test]
async fn a_write_that_another_one_was_in_the_way_of_is_sent_again() {
    const CONFLICT: &str = "HTTP/1.1 409 Conflict\r\nconnection: close\r\n\r\n\
        <Error><Code>ConditionalRequestConflict</Code></Error>";
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let busy = |request: String| {
        let is_it = request.contains("/key HTTP") && request.contains("\r\nif-");
        match is_it && ASKED.fetch_add(1, Ordering::AcqRel) % 3 < 2 {
            true => Pass::Answer(CONFLICT),
            false => Pass::On(request),
        }
    };
    let store = connect(between(busy, |answer| answer).await).await;
    let created = store.set_if("key", "one", Condition::Absent, SetOptions::new());
    assert!(created.await.unwrap().is_applied());
    assert_eq!(ASKED.load(Ordering::Acquire), 3);
    assert_eq!(store.take("key").await.unwrap().as_deref(), Some("one"));
    assert_eq!(ASKED.load(Ordering::Acquire), 6);
}

/// As AWS answers; SeaweedFS says of these that the condition does not hold.
#[tokio::test]
async fn a_write_of_a_version_that_is_not_found_does_nothing() {
    const MISSING: &str = "HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n\
        <Error><Code>NoSuchKey</Code></Error>";
    static DELETES: AtomicUsize = AtomicUsize::new(0);
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let aws = |request: String| {
        if request.starts_with("DELETE") {
            DELETES.fetch_add(1, Ordering::AcqRel);
        }
        // The first is of a version that it does not have.
        let is_gone = DELETES.load(Ordering::Acquire) > 1;
        match is_gone && request.starts_with("PUT") && request.contains("\r\nif-match:") {
            true => {
                ASKED.fetch_add(1, Ordering::AcqRel);
                Pass::Answer(MISSING)
            }
            false => Pass::On(request),
        }
    };
    let config = between(aws, |answer| answer).await.without_expiry();
    let provider = S3Provider::connect(config).await.unwrap();
    let claims = provider.capabilities().clone();
    assert!(claims.if_present && claims.take && claims.versions.is_some());
    let store = KeyValueStore::text(provider);
    store.set("key", "value").await.unwrap();
    let version = store.get_entry("key").await.unwrap().unwrap().version;
    store.delete("key").await.unwrap();
    let stale = Condition::Version(version.unwrap());
    let set = store.set_if("key", "new", stale, SetOptions::new());
    assert!(!set.await.unwrap().is_applied());
    assert!(!store.has("key").await.unwrap());
    assert_eq!(ASKED.load(Ordering::Acquire), 2, "the probe, and the write");
}

/// An answer to HEAD has no words that would say what is missing.
#[tokio::test]
async fn what_is_not_found_without_a_word_is_no_missing_key_in_a_listing() {
    const BARE: &str = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let bare = |request: String| {
        let line = request.lines().next().unwrap_or_default();
        let hidden = line.starts_with("GET ") && line.contains("/hidden");
        match line.starts_with("HEAD ") || hidden {
            true => Pass::Answer(BARE),
            false => Pass::On(request),
        }
    };
    let store = connect(between(bare, |answer| answer).await).await;
    for key in ["seen", "hidden"] {
        store.set(key, "value").await.unwrap();
    }
    let mut keys = store.keys("");
    let mut seen = Vec::new();
    let mut failed = 0;
    while let Some(key) = keys.next().await {
        match key {
            Ok(key) => seen.push(key),
            Err(error) => {
                fails(Err::<(), _>(error), ErrorKind::InvalidConfig, "as S3 does");
                failed += 1;
            }
        }
    }
    assert_eq!((seen, failed), (vec!["seen".to_owned()], 1));
}
