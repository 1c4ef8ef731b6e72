//! Servers that stop, halt and vanish: an error of the right kind by the deadline, never a miss, and
//! calls work again by themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kvstore_core::{Error, ErrorKind, KeyValueStore, SetOptions};
use kvstore_redis::RedisProvider;
use kvstore_testsuite::servers::{RedisServer, Reply};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

mod common;
use common::{behind, ends, failed, recovers, texts};

/// A server that loses nothing when it is stopped.
const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

fn gone(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_stopped_and_started_under_load() {
    let mut server = RedisServer::start_with(&DURABLE);
    let texts = texts(server.url(), "timeout=500ms").await;
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
    for _ in 0..3 {
        sleep(Duration::from_millis(100)).await;
        server.stop();
        let error = ends("get", texts.get("there")).await.unwrap_err();
        assert!(gone(&error), "get while it is down: {error:?}");
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

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_or_was_dropped_while_the_server_was_down_is_never_written_later() {
    let mut server = RedisServer::start_with(&DURABLE);
    let texts = texts(server.url(), "timeout=300ms").await;
    let set = |key: String| {
        let texts = texts.clone();
        async move { texts.set(&format!("late:{key}"), "v").await }
    };
    server.stop();
    // From the very moment at which the connection is lost on, when commands may still be queued.
    let mut calls = JoinSet::new();
    for step in 0..60 {
        for (call, patience) in [1, 20, 200, 5000].into_iter().enumerate() {
            let set = set(format!("{step}:{call}"));
            calls.spawn(async move { timeout(Duration::from_millis(patience), set).await });
        }
        let key = format!("late:batch:{step}");
        let batch = texts.clone();
        calls.spawn(async move {
            let options = SetOptions::new().ttl(Duration::from_secs(3600));
            Ok(batch
                .set_many([(key.as_str(), "v"), (&format!("{key}:2"), "v")], options)
                .await
                .map_err(Error::from))
        });
        sleep(Duration::from_millis(1)).await;
    }
    for outcome in calls.join_all().await.into_iter().flatten() {
        let error = outcome.unwrap_err();
        assert!(gone(&error), "{error:?}");
    }
    let error = failed(
        set("alone".to_owned()).await,
        ErrorKind::Unavailable,
        "set while it is down",
    );
    assert!(!error.outcome_unknown(), "nothing was sent");
    sleep(Duration::from_millis(300)).await;
    server.restart();
    recovers("set", || texts.set("key", "v")).await;
    assert_eq!(server.command(&["KEYS", "late:*"]), Reply::List(Vec::new()));
}

#[tokio::test]
async fn a_server_that_halts() {
    let mut server = RedisServer::start();
    let texts = texts(server.url(), "timeout=300ms").await;
    texts.set("there", "v").await.unwrap();
    for _ in 0..2 {
        server.pause();
        failed(
            ends("get", texts.get("there")).await,
            ErrorKind::Timeout,
            "get",
        );
        failed(
            ends("has", texts.has("there")).await,
            ErrorKind::Timeout,
            "has",
        );
        let keys = ends("keys", texts.keys("").next()).await.unwrap();
        assert!(gone(&keys.unwrap_err()));
        server.resume();
        assert_eq!(
            recovers("get", || texts.get("there")).await.as_deref(),
            Some("v")
        );
        server.pause();
        let error = failed(
            ends("set", texts.set("key", "v")).await,
            ErrorKind::Timeout,
            "set",
        );
        assert!(error.outcome_unknown(), "it is in the server's socket");
        let items = [("a", "v"), ("b", "v")];
        let batch = ends("set_many", texts.set_many(items, SetOptions::new()))
            .await
            .unwrap_err();
        assert!(batch.failed().all(|(_, error)| gone(error)));
        server.resume();
        recovers("set", || texts.set("key", "w")).await;
        assert_eq!(texts.get("key").await.unwrap().as_deref(), Some("w"));
    }
    // Long enough for a new connection to be tried, which is not answered either.
    server.pause();
    for _ in 0..8 {
        assert!(gone(&ends("get", texts.get("there")).await.unwrap_err()));
    }
    server.resume();
    assert_eq!(
        recovers("get", || texts.get("there")).await.as_deref(),
        Some("v")
    );
}

#[tokio::test]
async fn an_answer_that_is_cut_off() {
    let server = RedisServer::start();
    let (proxy, texts) = behind(&server, "timeout=5s").await;
    texts.set("there", "v").await.unwrap();
    proxy.cut_after_request();
    let error = failed(
        ends("set", texts.set("key", "v")).await,
        ErrorKind::Unavailable,
        "set",
    );
    assert!(error.outcome_unknown());
    assert_eq!(
        server.command(&["GET", "key"]).text(),
        "v",
        "it was applied"
    );

    recovers("get", || texts.get("there")).await;
    proxy.cut_after_request();
    let error = failed(
        ends("take", texts.take("key")).await,
        ErrorKind::Unavailable,
        "take",
    );
    assert!(error.outcome_unknown());
    assert_eq!(
        server.command(&["EXISTS", "key"]),
        Reply::Integer(0),
        "it was taken, once"
    );

    for command in ["set_many", "delete_many"] {
        recovers("get", || texts.get("there")).await;
        proxy.cut_after_request();
        let items = [("a", "v"), ("b", "v")];
        let batch = match command {
            "set_many" => ends(command, texts.set_many(items, SetOptions::new())).await,
            _ => ends(command, texts.delete_many(items.map(|(key, _)| key))).await,
        };
        assert!(
            Error::from(batch.unwrap_err()).outcome_unknown(),
            "{command}"
        );
    }

    recovers("get", || texts.get("there")).await;
    // Reads are asked again on a new connection.
    for bytes in [0, 1, 5] {
        proxy.cut_mid_reply(bytes);
        assert_eq!(
            ends("get", texts.get("there")).await.unwrap().as_deref(),
            Some("v"),
            "cut after {bytes}"
        );
    }
    proxy.cut_after_request();
    let found = ends("get_many", texts.get_many(["there", "missing"]))
        .await
        .unwrap();
    assert_eq!(found, [Some("v".to_owned()), None]);
}

#[tokio::test]
async fn a_network_that_swallows_everything_and_a_server_that_refuses() {
    let server = RedisServer::start();
    let (proxy, texts) = behind(&server, "timeout=300ms&connect_timeout=300ms").await;
    texts.set("there", "v").await.unwrap();
    proxy.stall();
    failed(
        ends("get", texts.get("there")).await,
        ErrorKind::Timeout,
        "get",
    );
    let error = ends("set", texts.set("key", "v")).await.unwrap_err();
    assert!(
        gone(&error) && (error.outcome_unknown() || error.kind() == ErrorKind::Unavailable),
        "{error:?}"
    );
    for _ in 0..5 {
        assert!(gone(&ends("get", texts.get("there")).await.unwrap_err()));
    }
    proxy.heal();
    assert_eq!(
        recovers("get", || texts.get("there")).await.as_deref(),
        Some("v")
    );
    proxy.refuse();
    for _ in 0..3 {
        assert!(gone(&ends("get", texts.get("there")).await.unwrap_err()));
    }
    proxy.heal();
    assert_eq!(
        recovers("get", || texts.get("there")).await.as_deref(),
        Some("v")
    );
}

/// A proxy whose first connection goes dead when it is told to, and stays open; later ones work.
async fn half_open(server: &RedisServer, reads_on: bool) -> (String, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let (dead, target) = (Arc::new(AtomicBool::new(false)), server.address());
    let of_first = Arc::clone(&dead);
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        for connection in 0.. {
            let (mut client, _) = listener.accept().await.unwrap();
            let dead = if connection == 0 {
                Arc::clone(&of_first)
            } else {
                Arc::default()
            };
            connections.spawn(async move {
                let mut server = TcpStream::connect(target).await.unwrap();
                let (mut one, mut other) = (vec![0; 65_536], vec![0; 65_536]);
                loop {
                    let (from_client, length) = tokio::select! {
                        length = client.read(&mut one) => (true, length.unwrap_or(0)),
                        length = server.read(&mut other) => (false, length.unwrap_or(0)),
                    };
                    if dead.load(Ordering::Acquire) {
                        while reads_on && client.read(&mut one).await.is_ok_and(|length| length > 0)
                        {
                        }
                        std::future::pending::<()>().await;
                    }
                    let sent = match from_client {
                        _ if length == 0 => return,
                        true => server.write_all(&one[..length]).await,
                        false => client.write_all(&other[..length]).await,
                    };
                    if sent.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, dead)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_dead_and_does_not_say_so() {
    let server = RedisServer::start();
    let (url, dead) = half_open(&server, true).await;
    let texts = texts(&url, "timeout=300ms").await;
    texts.set("there", "v").await.unwrap();
    dead.store(true, Ordering::Release);
    let error = failed(
        ends("set", texts.set("key", "v")).await,
        ErrorKind::Timeout,
        "set",
    );
    assert!(error.outcome_unknown());
    // Under load all the while.
    let load = texts.clone();
    let load = tokio::spawn(async move {
        loop {
            drop(tokio::join!(
                load.get("there"),
                sleep(Duration::from_millis(20))
            ));
        }
    });
    assert_eq!(
        recovers("get", || texts.get("there")).await.as_deref(),
        Some("v")
    );
    load.abort();
}

/// Who has less patience than the deadline is not left with a dead connection for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_dead_while_callers_drop_their_calls() {
    let server = RedisServer::start();
    let (url, dead) = half_open(&server, true).await;
    let texts = texts(&url, "timeout=1s").await;
    texts.set("there", "v").await.unwrap();
    dead.store(true, Ordering::Release);
    let impatient = async || {
        let get = timeout(Duration::from_millis(100), texts.get("there")).await;
        get.unwrap_or_else(|_| Err(ErrorKind::Timeout.into()))
    };
    assert_eq!(recovers("get", impatient).await.as_deref(), Some("v"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_takes_no_more_bytes() {
    let server = RedisServer::start();
    let (url, dead) = half_open(&server, false).await;
    let texts = texts(&url, "timeout=500ms").await;
    texts.set("there", "v").await.unwrap();
    dead.store(true, Ordering::Release);
    let large = "x".repeat(32 << 20);
    let error = failed(
        ends("set", texts.set("key", &large)).await,
        ErrorKind::Timeout,
        "set",
    );
    assert!(error.outcome_unknown());
    assert_eq!(
        recovers("get", || texts.get("there")).await.as_deref(),
        Some("v")
    );
    texts.set("key", large).await.unwrap();
}

#[tokio::test]
async fn made_while_the_server_is_down() {
    let mut server = RedisServer::start();
    server.stop();
    let url = format!("{}?timeout=300ms", server.url());
    let texts = KeyValueStore::text(RedisProvider::lazy(url).unwrap());
    failed(
        ends("get", texts.get("key")).await,
        ErrorKind::Unavailable,
        "get",
    );
    let error = failed(
        ends("set", texts.set("key", "v")).await,
        ErrorKind::Unavailable,
        "set",
    );
    assert!(!error.outcome_unknown(), "nothing was sent");
    failed(
        ends("ping", texts.ping()).await,
        ErrorKind::Unavailable,
        "ping",
    );
    server.restart();
    recovers("set", || texts.set("key", "v")).await;
    assert_eq!(texts.get("key").await.unwrap().as_deref(), Some("v"));
}
