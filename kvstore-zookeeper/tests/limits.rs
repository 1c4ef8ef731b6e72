//! How much there may be at once: calls, and bytes in a request.

use std::time::Duration;

use kvstore_core::{ErrorKind, SetOptions};
use kvstore_testsuite::servers::ZooKeeper;
use kvstore_testsuite::unique_root;
use kvstore_zookeeper::{Acl, Rights, ZooKeeperConfig, ZooKeeperProvider};
use tokio::time::timeout;

mod common;
use common::{HANGS, behind, config, create, ends, failed, other, recovers, texts};

#[tokio::test]
async fn too_many_calls_are_busy() {
    let server = ZooKeeper::shared();
    let few = |config: ZooKeeperConfig| config.max_pending(2);
    let (proxy, texts, _) = behind(server, few).await;
    proxy.delay(Duration::from_secs(1));
    let calls = (0..5).map(|_| {
        let texts = texts.clone();
        tokio::spawn(async move { texts.get("key").await })
    });
    let calls: Vec<_> = calls.collect();
    let mut busy = 0;
    for call in calls {
        if let Err(error) = call.await.unwrap() {
            assert_eq!(error.kind(), ErrorKind::Busy, "{error:?}");
            assert!(error.to_string().contains("`max_pending`"));
            busy += 1;
        }
    }
    assert_eq!(busy, 3);
    assert_eq!(texts.get("key").await.unwrap(), None);
}

/// Values over the server's limit, where it is another than was told.
#[tokio::test]
async fn a_value_over_the_servers_own_limit_is_an_error_and_the_old_one_stays() {
    let server = ZooKeeper::shared();
    let config = config(server).timeout(HANGS / 2);
    let store = texts(config.clone()).await;
    let largest = "x".repeat(1_000_000);
    let key = "\0".repeat(1024);
    let hour = SetOptions::new().ttl(Duration::from_secs(3600));
    store.set_with(&key, &largest, hour).await.unwrap();
    store.touch(&key, Duration::from_secs(60)).await.unwrap();
    assert_eq!(store.get(&key).await.unwrap().as_deref(), Some(&*largest));
    let error = failed(
        store.set(&key, "x".repeat(1_000_001)).await,
        ErrorKind::ValueTooLarge,
        "over the limit",
    );
    assert!(!error.outcome_unknown());
    // Many large ones are not sent together.
    let items = (0..5).map(|n| (n.to_string(), &largest));
    store.set_many(items, SetOptions::new()).await.unwrap();
    let found = store.get_many(["0", "4"]).await.unwrap();
    assert!(
        found
            .iter()
            .all(|found| found.as_deref() == Some(&*largest))
    );

    store.set("key", "old").await.unwrap();
    let more = texts(config.max_value_len(3_000_000)).await;
    let over = ends("set", more.set("key", "x".repeat(2_000_000))).await;
    let error = failed(over, ErrorKind::ValueTooLarge, "over the server's limit");
    assert!(error.outcome_unknown() && !error.is_retryable());
    assert!(error.to_string().contains("`max_value_len`"), "{error}");
    // With others, which are not too large.
    let items = [("small", "x".repeat(10)), ("key", "x".repeat(2_000_000))];
    let set = || more.set_many(items.clone(), SetOptions::new());
    let mut batch = ends("set_many", set()).await.unwrap_err();
    // The connection may not have been made again when it was asked for.
    let start = std::time::Instant::now();
    while batch.failed().any(|(_, error)| !error.outcome_unknown()) {
        assert!(start.elapsed() < HANGS, "{batch:?}");
        batch = ends("set_many", set()).await.unwrap_err();
    }
    let kinds: Vec<_> = batch.failed().map(|(_, error)| error.kind()).collect();
    assert_eq!(kinds, [ErrorKind::Unavailable, ErrorKind::ValueTooLarge]);
    assert_eq!(store.get("small").await.unwrap(), None);
    assert_eq!(store.get("key").await.unwrap().as_deref(), Some("old"));
    let found = recovers("get", || more.get("key")).await;
    assert_eq!(found.as_deref(), Some("old"));
}

/// Callers that gave up do not make room for more, as long as what they asked is with the server.
#[tokio::test]
async fn calls_that_were_dropped_count_until_they_are_answered() {
    let few = |config: ZooKeeperConfig| config.max_pending(3).timeout(Duration::from_secs(5));
    let (proxy, texts, _) = behind(ZooKeeper::shared(), few).await;
    texts.set("key", "v").await.unwrap();
    proxy.stall();
    for _ in 0..3 {
        let dropped = timeout(Duration::from_millis(50), texts.get("key")).await;
        assert!(dropped.is_err(), "it has no answer");
    }
    failed(texts.get("key").await, ErrorKind::Busy, "the fourth");
    proxy.heal();
    let found = recovers("get", || texts.get("key")).await;
    assert_eq!(found.as_deref(), Some("v"));
}

/// The path of the root and the ACL go with each item: a request over the server's limit closes the connection.
#[tokio::test]
async fn batches_below_a_long_root_and_with_a_long_acl() {
    let root = format!("/{}/{}", unique_root(), "r".repeat(700));
    let many = (0..20).map(|n| Acl::new("digest", format!("{n}:{}", "h".repeat(28)), Rights::READ));
    let acl = many.chain([Acl::open()]);
    let store = texts(
        config(ZooKeeper::shared())
            .root(root)
            .acl(acl)
            .timeout(HANGS / 2),
    )
    .await;
    let options = SetOptions::new();
    let value = "v".repeat(3600);
    // With a name that is three times as long.
    for keys in [
        (0..256).map(|n| format!("key {n}")).collect::<Vec<_>>(),
        (0..256)
            .map(|n| format!("{n:03}{}", "\0".repeat(1021)))
            .collect(),
    ] {
        for _ in 0..2 {
            let items = keys.iter().map(|key| (key, &value));
            store.set_many(items, options).await.unwrap();
        }
        let found = store.get_many(&keys).await.unwrap();
        assert!(found.iter().all(|found| found.as_ref() == Some(&value)));
        store.delete_many(&keys).await.unwrap();
        let found = store.get_many(&keys).await.unwrap();
        assert!(found.iter().all(Option::is_none));
    }
    // What has no room beside a value is found before.
    let lazy = |config: ZooKeeperConfig| ZooKeeperProvider::lazy(config).map(drop);
    let root =
        |length: usize| config(ZooKeeper::shared()).root(format!("/{}", "r".repeat(length - 1)));
    lazy(root(1024)).unwrap();
    let (invalid, longer) = (ErrorKind::InvalidConfig, root(1025));
    failed(lazy(longer), invalid, "a root of 1,025 bytes");
    let acl = Acl::new("digest", "h".repeat(40_000), Rights::READ);
    let longer = config(ZooKeeper::shared()).acl([acl]);
    failed(lazy(longer), invalid, "an ACL of 40,000 bytes");
}

/// Another client's value, which is read, and not written again with an expiry.
#[tokio::test]
async fn a_larger_value_of_others() {
    let root = format!("/{}", unique_root());
    let store = texts(config(ZooKeeper::shared()).root(&root)).await;
    store.set("b", "v").await.unwrap();
    store.set("a", "v").await.unwrap();
    let large = vec![b'x'; 1_040_000];
    let other = other(ZooKeeper::shared()).await;
    other
        .set_data(&format!("{root}/ca/a"), &large, None)
        .await
        .unwrap();
    assert_eq!(store.get("a").await.unwrap().unwrap().len(), large.len());
    let touched = store.touch("a", Duration::from_secs(60)).await;
    let error = failed(touched, ErrorKind::ValueTooLarge, "touch");
    assert!(!error.outcome_unknown());
    assert_eq!(store.take("a").await.unwrap().unwrap().len(), large.len());
    create(&other, &format!("{root}/ca/a"), b"small").await;
    assert!(store.touch("a", Duration::from_secs(60)).await.unwrap());
}
