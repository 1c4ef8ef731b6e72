//! Servers that stop, halt and vanish: an error of the right kind by the deadline, never a miss, and calls
//! work again by themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kvstore_core::{Condition, Error, ErrorKind, KeyValueStore, SetOptions};
use kvstore_testsuite::servers::ZooKeeper;
use kvstore_zookeeper::ZooKeeperProvider;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

mod common;
use common::{behind, config, ends, failed, gone, recovers, texts};

type Store = KeyValueStore<String>;

/// Every operation fails, and none hangs or looks like a miss.
async fn all_fail(store: &Store) {
    let hour = Duration::from_secs(3600);
    let (absent, options) = (Condition::Absent, SetOptions::new());
    let results = [
        ends("get", store.get("there")).await.map(drop),
        ends("has", store.has("there")).await.map(drop),
        ends("get_entry", store.get_entry("there")).await.map(drop),
        ends("take", store.take("there")).await.map(drop),
        ends("touch", store.touch("there", hour)).await.map(drop),
        ends("set", store.set("key", "v")).await,
        ends("set_if", store.set_if("key", "v", absent, options))
            .await
            .map(drop),
        ends("delete", store.delete("key")).await,
        ends("keys", store.keys("").next()).await.unwrap().map(drop),
        ends("ping", store.ping()).await.map(drop),
    ];
    for result in results {
        let error = result.unwrap_err();
        assert!(gone(&error), "{error:?}");
    }
    let keys: Vec<_> = (0..1000).map(|n| n.to_string()).collect();
    let many = ends("get_many", store.get_many(&keys)).await.unwrap_err();
    assert_eq!(many.failed().filter(|(_, error)| gone(error)).count(), 1000);
    let items = keys.iter().map(|key| (key, "v"));
    let many = ends("set_many", store.set_many(items, options)).await;
    assert_eq!(
        many.unwrap_err().failed().filter(|(_, e)| gone(e)).count(),
        1000
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_stopped_and_started_under_load() {
    let mut server = ZooKeeper::start();
    let texts = texts(config(&server).timeout(Duration::from_millis(500))).await;
    recovers("set", || texts.set("there", "v")).await;
    let done = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for task in 0..8 {
        let (texts, done) = (texts.clone(), Arc::clone(&done));
        load.spawn(async move {
            let mut failures = 0;
            while !done.load(Ordering::Acquire) {
                match ends("get", texts.get("there")).await {
                    Ok(found) => assert_eq!(
                        found.as_deref(),
                        Some("v"),
                        "an error must not look like a miss"
                    ),
                    Err(error) => {
                        assert!(gone(&error), "{error:?}");
                        failures += 1;
                    }
                }
                if let Err(error) = ends("set", texts.set(&format!("own{task}"), "w")).await {
                    assert!(gone(&error), "{error:?}");
                    failures += 1;
                }
            }
            failures
        });
    }
    for _ in 0..3 {
        sleep(Duration::from_millis(100)).await;
        server.stop();
        all_fail(&texts).await;
        server.restart();
        let found = recovers("get", || texts.get("there")).await;
        assert_eq!(found.as_deref(), Some("v"));
        recovers("set", || texts.set("key", "v")).await;
    }
    done.store(true, Ordering::Release);
    let failures: Vec<u32> = load.join_all().await;
    assert!(
        failures.iter().sum::<u32>() > 0,
        "the load must have met the faults"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_or_was_dropped_while_the_server_was_down_is_never_written_later() {
    let mut server = ZooKeeper::start();
    let texts = texts(config(&server).timeout(Duration::from_millis(300))).await;
    let set = |key: String| {
        let texts = texts.clone();
        async move { texts.set(&format!("late:{key}"), "v").await }
    };
    server.stop();
    // From the very moment at which the connection is lost on, when requests may still be queued.
    let mut calls = JoinSet::new();
    for step in 0..60 {
        for (call, patience) in [1, 20, 200, 5000].into_iter().enumerate() {
            let set = set(format!("{step}:{call}"));
            calls.spawn(async move { timeout(Duration::from_millis(patience), set).await });
        }
        let key = format!("late:batch:{step}");
        let batch = texts.clone();
        calls.spawn(async move {
            let items = [(key.as_str(), "v"), (&format!("{key}:2"), "v")];
            let set = batch.set_many(items, SetOptions::new()).await;
            Ok(set.map_err(Error::from))
        });
        sleep(Duration::from_millis(1)).await;
    }
    for outcome in calls.join_all().await.into_iter().flatten() {
        let error = outcome.unwrap_err();
        assert!(gone(&error), "{error:?}");
    }
    let alone = ends("set", set("alone".to_owned())).await;
    let error = failed(alone, ErrorKind::Unavailable, "set while it is down");
    assert!(!error.outcome_unknown(), "nothing was sent");
    assert!(
        error.to_string().contains("no connection to 127.0.0.1:"),
        "{error}"
    );
    sleep(Duration::from_millis(300)).await;
    server.restart();
    recovers("set", || texts.set("key", "v")).await;
    let late = async || texts.keys("late:").next().await.transpose();
    assert_eq!(recovers("keys", late).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_halts() {
    let mut server = ZooKeeper::start();
    let texts = texts(config(&server).timeout(Duration::from_millis(300))).await;
    recovers("set", || texts.set("there", "v")).await;
    for _ in 0..2 {
        server.pause();
        assert!(gone(&ends("get", texts.get("there")).await.unwrap_err()));
        server.resume();
        let found = recovers("get", || texts.get("there")).await;
        assert_eq!(found.as_deref(), Some("v"));
        server.pause();
        let error = ends("set", texts.set("key", "v")).await.unwrap_err();
        assert!(gone(&error), "{error:?}");
        server.resume();
        recovers("set", || texts.set("key", "w")).await;
        let found = recovers("get", || texts.get("key")).await;
        assert_eq!(found.as_deref(), Some("w"));
    }
    // Long enough for new connections to be tried, which are not answered either, and for the session to end.
    server.pause();
    for _ in 0..3 {
        all_fail(&texts).await;
    }
    server.resume();
    let found = recovers("get", || texts.get("there")).await;
    assert_eq!(found.as_deref(), Some("v"));
    recovers("set", || texts.set("key", "v")).await;
}

/// The session ends while nobody looks, and there is another.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_expires() {
    let server = ZooKeeper::shared();
    let short =
        |config: kvstore_zookeeper::ZooKeeperConfig| config.session_timeout(Duration::from_secs(1));
    let (proxy, store, direct) = behind(server, short).await;
    recovers("set", || store.set("key", "v")).await;
    for _ in 0..2 {
        proxy.stall();
        // The server keeps a session for a second, and looks every half a second.
        sleep(Duration::from_secs(4)).await;
        proxy.heal();
        let found = recovers("get", || store.get("key")).await;
        assert_eq!(found.as_deref(), Some("v"));
        recovers("set", || store.set("key", "v")).await;
    }
    // Idle for longer than that, it is kept.
    sleep(Duration::from_secs(3)).await;
    assert!(recovers("has", || store.has("key")).await);
    assert_eq!(direct.get("key").await.unwrap().as_deref(), Some("v"));
}

#[tokio::test]
async fn a_network_that_swallows_everything_and_a_server_that_refuses() {
    let server = ZooKeeper::shared();
    let short = Duration::from_millis(300);
    let (proxy, texts, _) = behind(server, |config| {
        config.timeout(short).connect_timeout(short)
    })
    .await;
    recovers("set", || texts.set("there", "v")).await;
    proxy.stall();
    let set = failed(
        ends("set", texts.set("key", "v")).await,
        ErrorKind::Timeout,
        "set",
    );
    assert!(set.outcome_unknown(), "it was sent");
    all_fail(&texts).await;
    proxy.heal();
    let found = recovers("get", || texts.get("there")).await;
    assert_eq!(found.as_deref(), Some("v"));
    proxy.refuse();
    all_fail(&texts).await;
    let set = failed(
        ends("set", texts.set("key", "v")).await,
        ErrorKind::Unavailable,
        "set",
    );
    assert!(!set.outcome_unknown(), "{set:?}");
    proxy.heal();
    let found = recovers("get", || texts.get("there")).await;
    assert_eq!(found.as_deref(), Some("v"));
}

/// A server that is behind what a client has seen refuses it, and an empty one is behind for good.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lost_what_it_had() {
    let mut server = ZooKeeper::start();
    let short = Duration::from_secs(1);
    let store = texts(config(&server).session_timeout(short)).await;
    for _ in 0..20 {
        recovers("set", || store.set("key", "old")).await;
    }
    server.stop();
    server.wipe();
    server.restart();
    assert_eq!(recovers("get", || store.get("key")).await, None);
    recovers("set", || store.set("key", "v")).await;
    assert_eq!(store.get("key").await.unwrap().as_deref(), Some("v"));
}

/// What is above the keys vanishes while it is used.
#[tokio::test]
async fn a_root_that_is_removed() {
    let config = config(ZooKeeper::shared());
    let provider = ZooKeeperProvider::connect(config.clone()).await.unwrap();
    let store = texts(config).await;
    let (absent, options) = (Condition::Absent, SetOptions::new());
    for round in 0..4 {
        store.set("key", "v").await.unwrap();
        store.delete("key").await.unwrap();
        assert!(provider.remove_root().await.unwrap());
        assert_eq!(store.get("key").await.unwrap(), None);
        assert!(store.keys("").next().await.is_none());
        assert!(store.take("key").await.unwrap().is_none());
        store.delete_many(["key", "other"]).await.unwrap();
        match round {
            0 => store.set("key", "w").await.unwrap(),
            1 => {
                let set = store.set_if("key", "w", absent.clone(), options).await;
                assert!(set.unwrap().is_applied());
            }
            2 => store
                .set_with("key", "w", options.keep_expiry())
                .await
                .unwrap(),
            _ => {
                let items = [("key", "w"), ("other", "w")];
                store.set_many(items, options).await.unwrap();
            }
        }
        assert_eq!(store.get("key").await.unwrap().as_deref(), Some("w"));
        store.delete_many(["key", "other"]).await.unwrap();
    }
}

/// A server may take as long for the answer to a ping as for any other.
#[tokio::test]
async fn a_connection_that_is_idle_is_kept() {
    let change = |config: kvstore_zookeeper::ZooKeeperConfig| {
        let config = config.timeout(Duration::from_secs(1));
        config.session_timeout(Duration::from_secs(4))
    };
    let (proxy, texts, _) = behind(ZooKeeper::shared(), change).await;
    recovers("set", || texts.set("key", "v")).await;
    proxy.delay(Duration::from_millis(400));
    proxy.reset();
    sleep(Duration::from_secs(4)).await;
    // A ping has 12 bytes, and nothing else was sent: what begins a connection has 49.
    let sent = proxy.bytes_sent();
    assert!(sent > 0 && sent.is_multiple_of(12), "{sent} bytes");
}

#[tokio::test]
async fn made_while_the_server_is_down() {
    let mut server = ZooKeeper::start();
    server.stop();
    let config = config(&server).timeout(Duration::from_millis(300));
    let connected = ends("connect", ZooKeeperProvider::connect(config.clone())).await;
    failed(connected, ErrorKind::Unavailable, "connect");
    let texts = KeyValueStore::text(ZooKeeperProvider::lazy(config).unwrap());
    all_fail(&texts).await;
    server.restart();
    recovers("set", || texts.set("key", "v")).await;
    let found = recovers("get", || texts.get("key")).await;
    assert_eq!(found.as_deref(), Some("v"));
}

#[tokio::test]
async fn a_provider_that_is_dropped_or_closed_ends_its_session() {
    let server = ZooKeeper::shared();
    let (proxy, texts, _) = behind(server, |config| config).await;
    texts.set("key", "v").await.unwrap();
    proxy.reset();
    texts.close().await.unwrap();
    assert_eq!(proxy.round_trips(), 1, "the session is closed");
    failed(texts.get("key").await, ErrorKind::Closed, "get");

    let (proxy, texts, _) = behind(server, |config| config).await;
    texts.set("key", "v").await.unwrap();
    proxy.reset();
    drop(texts);
    let closed = async {
        while proxy.round_trips() == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    ends("the session", closed).await;
}

/// A batch in many parts, each with a deadline of its own, ends with the provider.
#[tokio::test]
async fn closing_while_a_long_batch_is_under_way() {
    let short = Duration::from_millis(500);
    let (proxy, texts, _) = behind(ZooKeeper::shared(), |config| config.timeout(short)).await;
    recovers("set", || texts.set("key", "v")).await;
    proxy.delay(Duration::from_millis(100));
    let keys: Vec<_> = (0..256 * 30).map(|n| n.to_string()).collect();
    let batch = texts.clone();
    let batch = tokio::spawn(async move { batch.get_many(&keys).await });
    sleep(Duration::from_millis(200)).await;
    ends("close", texts.close()).await.unwrap();
    let many = ends("get_many", batch).await.unwrap().unwrap_err();
    let (_, last) = many.failed().last().unwrap();
    assert_eq!(last.kind(), ErrorKind::Closed);
}

/// Each test has a runtime of its own, and so may have parts of a program.
#[test]
fn a_provider_outlives_the_runtime_that_it_was_made_in() {
    let server = ZooKeeper::shared();
    let config = config(server);
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let texts = runtime().block_on(texts(config));
    for n in 0..3 {
        runtime().block_on(async {
            texts.set("key", &n.to_string()).await.unwrap();
            assert_eq!(texts.get("key").await.unwrap(), Some(n.to_string()));
        });
    }
}
