//! Servers that stop, halt, step down and vanish: an error of the right kind by the deadline, never a miss,
//! and calls work again by themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kvstore_core::{Condition, Error, ErrorKind, KeyValueStore, SetOptions};
use kvstore_mongodb::MongoDbProvider;
use kvstore_testsuite::servers::MongoDb;
use mongodb::Client;
use mongodb::bson::doc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

mod common;
use common::{behind, ends, failed, gone, pair, recovers};

/// A replica set of one acknowledges what is in its journal; a standalone server does when it is told to.
fn durable() -> [(MongoDb, &'static str); 2] {
    [
        (MongoDb::start(), "timeout=1s"),
        (MongoDb::start_standalone(&[]), "timeout=1s&journal=true"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_stopped_and_started_under_load() {
    for (mut server, parameters) in durable() {
        let texts = KeyValueStore::text(pair(&server, parameters).await.0);
        texts.set("there", "v").await.unwrap();
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
        for _ in 0..2 {
            sleep(Duration::from_millis(100)).await;
            server.stop();
            let error = ends("get", texts.get("there")).await.unwrap_err();
            assert!(gone(&error), "get while it is down: {error:?}");
            let error = failed(
                ends("set", texts.set("k", "v")).await,
                ErrorKind::Unavailable,
                "set while it is down",
            );
            assert!(!error.outcome_unknown(), "nothing was sent: {error:?}");
            server.restart();
            assert_eq!(
                recovers("get", || texts.get("there")).await.as_deref(),
                Some("v")
            );
            recovers("set", || texts.set("key", "v")).await;
        }
        done.store(true, Ordering::Release);
        let failures: Vec<u32> = load.join_all().await;
        assert!(
            failures.iter().sum::<u32>() > 0,
            "the load must have met the faults"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_halts() {
    let mut server = MongoDb::start();
    let (provider, raw) = pair(&server, "timeout=700ms&maxPoolSize=3").await;
    let texts = KeyValueStore::text(provider);
    texts.set("there", "v").await.unwrap();
    server.pause();
    let start = Instant::now();
    let read = failed(
        ends("get", texts.get("there")).await,
        ErrorKind::Timeout,
        "get while it is halted",
    );
    assert!(!read.outcome_unknown(), "a read has no outcome");
    let write = failed(
        ends("set", texts.set("late", "v")).await,
        ErrorKind::Timeout,
        "set while it is halted",
    );
    assert!(write.outcome_unknown(), "it may have been sent");
    let mut keys = texts.keys("");
    failed(
        ends("keys", keys.next()).await.unwrap(),
        ErrorKind::Timeout,
        "keys while it is halted",
    );
    assert!(
        keys.next().await.is_none(),
        "a listing that failed has ended"
    );
    // The three connections are taken by what waits for the server.
    let full = failed(
        ends("set", texts.set("queued", "v")).await,
        ErrorKind::Busy,
        "a fourth call",
    );
    assert!(!full.outcome_unknown(), "it was not sent");
    assert!(start.elapsed() < common::HANGS);
    server.resume();
    let found = recovers("get", || texts.get("there")).await;
    assert_eq!(found.as_deref(), Some("v"));
    recovers("set", || texts.set("there", "w")).await;
    assert_eq!(
        raw.count_documents(doc! {"_id": "queued"}).await.unwrap(),
        0
    );
}

/// A replica set repeats a write by its number, once: a primary that steps down for a moment is not noticed.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_steps_down_under_load() {
    let server = MongoDb::start();
    let (provider, _) = pair(&server, "timeout=20s").await;
    let texts = KeyValueStore::text(provider);
    let numbers: KeyValueStore<u64> = KeyValueStore::model(Arc::clone(texts.provider()));
    texts.set("there", "v").await.unwrap();
    numbers.set("sum", 0).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for _ in 0..4 {
        let (texts, numbers, done) = (texts.clone(), numbers.clone(), Arc::clone(&done));
        load.spawn(async move {
            let mut applied = 0;
            while !done.load(Ordering::Acquire) {
                let found = ends("get", texts.get("there")).await.unwrap();
                assert_eq!(found.as_deref(), Some("v"));
                let entry = ends("get_entry", numbers.get_entry("sum"))
                    .await
                    .unwrap()
                    .unwrap();
                let condition = Condition::Version(entry.version.unwrap());
                let set = numbers.set_if("sum", entry.value + 1, condition, SetOptions::new());
                applied += u64::from(ends("set_if", set).await.unwrap().is_applied());
            }
            applied
        });
    }
    let client = Client::with_uri_str(server.url("")).await.unwrap();
    let mut stepped_down = 0;
    for _ in 0..2 {
        sleep(Duration::from_millis(300)).await;
        let step_down = doc! {"replSetStepDown": 1, "force": true};
        stepped_down += u32::from(
            client
                .database("admin")
                .run_command(step_down)
                .await
                .is_ok(),
        );
        assert_eq!(
            recovers("get", || texts.get("there")).await.as_deref(),
            Some("v")
        );
    }
    assert_eq!(stepped_down, 2);
    done.store(true, Ordering::Release);
    let applied: Vec<u64> = load.join_all().await;
    // Each that was told to be applied was, once.
    assert_eq!(
        numbers.get("sum").await.unwrap(),
        Some(applied.iter().sum())
    );
}

/// Without repetition, what a lost answer leaves is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_lost_before_the_answer() {
    let server = MongoDb::shared();
    let parameters = "timeout=2s&retryWrites=false&retryReads=false&maxPoolSize=1";
    let (proxy, texts) = behind(server, parameters).await;
    texts.set("there", "v").await.unwrap();
    proxy.cut_after_request();
    let error = failed(
        ends("set", texts.set("k", "v")).await,
        ErrorKind::Unavailable,
        "set",
    );
    assert!(error.outcome_unknown(), "the server did it: {error:?}");
    assert_eq!(
        recovers("get", || texts.get("k")).await.as_deref(),
        Some("v"),
        "the server did it"
    );
    proxy.cut_after_request();
    let error = failed(
        ends("take", texts.take("k")).await,
        ErrorKind::Unavailable,
        "take",
    );
    assert!(error.outcome_unknown(), "{error:?}");
    proxy.heal();
    assert_eq!(
        recovers("get", || texts.get("k")).await,
        None,
        "the server did it"
    );
    proxy.cut_mid_reply(30);
    let batch = ends(
        "set_many",
        texts.set_many([("a", "1"), ("b", "2")], SetOptions::new()),
    )
    .await
    .unwrap_err();
    for (_, error) in batch.failed() {
        assert!(gone(error) && error.outcome_unknown(), "{error:?}");
    }
    assert_eq!(batch.failed().count(), 2);
    proxy.heal();
    recovers("get", || texts.get("there")).await;
    proxy.cut_after_request();
    let error = ends("get", texts.get("there")).await.unwrap_err();
    assert!(
        gone(&error) && !error.outcome_unknown(),
        "a read has no outcome: {error:?}"
    );
    proxy.heal();
    assert_eq!(
        recovers("get", || texts.get("there")).await.as_deref(),
        Some("v")
    );
}

/// With it, the answer to the repeated command is that to the first.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_repeated_is_done_once() {
    let (proxy, texts) = behind(MongoDb::shared(), "timeout=10s").await;
    for round in 0..5 {
        let key = format!("k{round}");
        let create = || texts.set_if(&key, "mine", Condition::Absent, SetOptions::new());
        proxy.cut_after_request();
        assert!(
            ends("set_if", create()).await.unwrap().is_applied(),
            "its own first attempt is not another's write"
        );
        let version = texts
            .get_entry(&key)
            .await
            .unwrap()
            .unwrap()
            .version
            .unwrap();
        proxy.cut_after_request();
        let set = texts.set_if(&key, "next", Condition::Version(version), SetOptions::new());
        assert!(ends("set_if", set).await.unwrap().is_applied());
        proxy.cut_after_request();
        assert_eq!(
            ends("get", texts.get(&key)).await.unwrap().as_deref(),
            Some("next")
        );
        proxy.cut_after_request();
        assert_eq!(
            ends("take", texts.take(&key)).await.unwrap().as_deref(),
            Some("next"),
            "the value is not lost"
        );
        proxy.cut_after_request();
        assert_eq!(ends("take", texts.take(&key)).await.unwrap(), None);
        proxy.heal();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_swallows_everything() {
    let (proxy, texts) = behind(MongoDb::shared(), "timeout=500ms").await;
    texts.set("there", "v").await.unwrap();
    proxy.stall();
    let error = failed(
        ends("get", texts.get("there")).await,
        ErrorKind::Timeout,
        "get",
    );
    assert!(!error.outcome_unknown());
    let error = failed(
        ends("set", texts.set("k", "v")).await,
        ErrorKind::Timeout,
        "set",
    );
    assert!(error.outcome_unknown());
    proxy.heal();
    assert_eq!(
        recovers("get", || texts.get("there")).await.as_deref(),
        Some("v")
    );
    proxy.refuse();
    let error = ends("get", texts.get("there")).await.unwrap_err();
    assert!(gone(&error), "{error:?}");
    proxy.heal();
    assert_eq!(
        recovers("get", || texts.get("there")).await.as_deref(),
        Some("v")
    );
}

/// The driver does not take it well when its futures are dropped half-way; ours may be.
#[tokio::test(flavor = "multi_thread")]
async fn dropped_calls_leave_the_connections_usable() {
    let (proxy, texts) = behind(MongoDb::shared(), "timeout=5s&maxPoolSize=4").await;
    proxy.delay(Duration::from_millis(5));
    let mut calls = JoinSet::new();
    for call in 0_u64..200 {
        let texts = texts.clone();
        calls.spawn(async move {
            let patience = Duration::from_micros(call * 137 % 12_000);
            let key = format!("k{}", call % 10);
            let calls = async {
                texts.set(&key, "v").await?;
                texts.get(&key).await?;
                texts.get_many([&key, "other"]).await?;
                texts.take(&key).await
            };
            drop(timeout(patience, calls).await);
        });
    }
    calls.join_all().await;
    proxy.heal();
    for round in 0..50 {
        let value = format!("v{round}");
        texts.set("mine", value.clone()).await.unwrap();
        assert_eq!(
            texts.get("mine").await.unwrap(),
            Some(value),
            "each answer belongs to its call"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lazy_provider_recovers_with_its_server() {
    let mut server = MongoDb::start();
    server.stop();
    let url = server.url("timeout=500ms");
    // No runtime is needed for making it.
    let provider = std::thread::spawn(move || MongoDbProvider::lazy(url))
        .join()
        .unwrap()
        .unwrap();
    let texts = KeyValueStore::text(provider.clone());
    for error in [
        ends("get", texts.get("k")).await.unwrap_err(),
        ends("set", texts.set("k", "v")).await.unwrap_err(),
        ends("ping", texts.ping()).await.unwrap_err(),
        Error::from(ends("get_many", texts.get_many(["k"])).await.unwrap_err()),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(!error.outcome_unknown(), "{error:?}");
    }
    let refused = ends(
        "connect",
        MongoDbProvider::connect(server.url("timeout=500ms")),
    )
    .await;
    let error = failed(refused, ErrorKind::Unavailable, "connect");
    assert!(
        error
            .to_string()
            .starts_with("mongodb connect: no primary answers at 127.0.0.1:"),
        "{error}"
    );
    server.restart();
    recovers("set", || {
        texts.set_with("k", "v", SetOptions::new().ttl(Duration::from_secs(60)))
    })
    .await;
    assert_eq!(texts.get("k").await.unwrap().as_deref(), Some("v"));
    // With the first write that expires it has seen to the index.
    loop {
        let info = ends("ping", texts.ping()).await.unwrap();
        if !info
            .warnings
            .iter()
            .any(|warning| warning.contains("TTL index"))
        {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn without_a_runtime_it_is_an_error_and_no_panic() {
    let provider = MongoDbProvider::lazy("mongodb://127.0.0.1:1/d").unwrap();
    let texts = KeyValueStore::text(provider);
    let got = futures_util::FutureExt::now_or_never(texts.get("k")).expect("it does not wait");
    failed(got, ErrorKind::Other, "get without a runtime");
    futures_util::FutureExt::now_or_never(texts.close())
        .unwrap()
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_under_way_end_when_it_is_closed_and_later_ones_are_refused() {
    let (proxy, texts) = behind(MongoDb::shared(), "timeout=5s").await;
    texts.set("k", "v").await.unwrap();
    proxy.delay(Duration::from_millis(200));
    let under_way = tokio::spawn({
        let texts = texts.clone();
        async move { texts.get("k").await }
    });
    sleep(Duration::from_millis(50)).await;
    let provider = Arc::clone(texts.provider());
    ends("close", provider.close()).await.unwrap();
    assert_eq!(under_way.await.unwrap().unwrap().as_deref(), Some("v"));
    // Without the store's own check.
    let other = KeyValueStore::text(Arc::clone(&provider));
    failed(other.get("k").await, ErrorKind::Closed, "get");
    failed(other.set("k", "w").await, ErrorKind::Closed, "set");
    failed(
        other.set_many([("k", "w")], SetOptions::new()).await,
        ErrorKind::Closed,
        "set_many",
    );
    failed(
        other.keys("").next().await.unwrap(),
        ErrorKind::Closed,
        "keys",
    );
    failed(other.ping().await, ErrorKind::Closed, "ping");
    ends("close", provider.close()).await.unwrap();
}
