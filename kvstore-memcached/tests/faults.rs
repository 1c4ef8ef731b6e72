//! Servers that stop, halt and vanish: an error of the right kind by the deadline, never a miss, and
//! calls work again by themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kvstore_core::{Error, ErrorKind, KeyValueStore, SetOptions};
use kvstore_memcached::{MemcachedConfig, MemcachedProvider};
use kvstore_testsuite::servers::MemcachedServer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

mod common;
use common::{behind, ends, failed, gone, recovers, refused, texts};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_stopped_and_started_under_load() {
    let mut server = MemcachedServer::start();
    let texts = texts(&server.url(), "timeout=500ms").await;
    let done = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for task in 0..8 {
        let (texts, done) = (texts.clone(), Arc::clone(&done));
        load.spawn(async move {
            let mut failures = 0;
            while !done.load(Ordering::Acquire) {
                let (key, value) = (format!("own{task}"), format!("{task}"));
                let results = [
                    ends("get", texts.get(&key)).await.map(|found| {
                        // It may be gone, as the server forgets; it is never that of another.
                        assert!(found.is_none_or(|found| found == value));
                    }),
                    ends("set", texts.set(&key, &value)).await,
                ];
                for error in results.into_iter().filter_map(Result::err) {
                    assert!(gone(&error), "{error:?}");
                    failures += 1;
                    sleep(Duration::from_millis(1)).await;
                }
            }
            failures
        });
    }
    for _ in 0..3 {
        sleep(Duration::from_millis(100)).await;
        server.stop();
        let error = ends("get", texts.get("missing")).await.unwrap_err();
        assert!(gone(&error), "get while it is down: {error:?}");
        server.restart();
        recovers("set", || texts.set("key", "v")).await;
        assert_eq!(texts.get("key").await.unwrap().as_deref(), Some("v"));
    }
    done.store(true, Ordering::Release);
    let failures: Vec<u32> = load.join_all().await;
    assert!(
        failures.iter().sum::<u32>() > 0,
        "the load must have met the faults"
    );
}

#[tokio::test]
async fn one_dead_server_of_two_gives_errors_and_the_other_serves() {
    let (mut dead, alive) = (MemcachedServer::start(), MemcachedServer::start());
    let ports = [dead.address().port(), alive.address().port()];
    let config = MemcachedConfig::new("127.0.0.1", ports[0]).server("127.0.0.1", ports[1]);
    let config = config.timeout(Duration::from_millis(500));
    let texts = KeyValueStore::text(MemcachedProvider::connect(config).await.unwrap());
    let keys: Vec<_> = (0..40).map(|key| format!("{key}")).collect();
    let items = || keys.iter().map(|key| (key, "v"));
    texts.set_many(items(), SetOptions::new()).await.unwrap();
    let lives = |key: &String| alive.get(key).is_some();
    let check = |results: Vec<Result<(), Error>>, what: &str| {
        for (key, result) in keys.iter().zip(results) {
            match result {
                Ok(()) => assert!(lives(key), "{what} of a dead server's key succeeds"),
                Err(error) => assert!(gone(&error) && !lives(key), "{what}: {error:?}"),
            }
        }
    };
    for paused in [true, false] {
        match paused {
            true => dead.pause(),
            false => dead.stop(),
        }
        let found = ends("get_many", texts.get_many(&keys)).await;
        let found = found.unwrap_err().into_results().into_iter();
        let there = |found: Result<Option<String>, _>| {
            found.map(|found| assert!(found.is_some(), "an error must not look like a miss"))
        };
        check(found.map(there).collect(), "get_many");
        let set = ends("set_many", texts.set_many(items(), SetOptions::new())).await;
        check(set.unwrap_err().into_results(), "set_many");
        let kept = SetOptions::new().keep_expiry();
        let set = ends("set_many", texts.set_many(items(), kept)).await;
        check(set.unwrap_err().into_results(), "set_many");
        for key in &keys {
            match ends("get", texts.get(key)).await {
                Ok(found) => assert!(found.is_some() && lives(key), "get"),
                Err(error) => assert!(gone(&error) && !lives(key), "{error:?}"),
            }
        }
        assert!(gone(&ends("ping", texts.ping()).await.unwrap_err()));
        match paused {
            true => dead.resume(),
            false => dead.restart(),
        }
        recovers("set_many", || async {
            let set = texts.set_many(items(), SetOptions::new()).await;
            set.map_err(Error::from)
        })
        .await;
    }
}

#[tokio::test]
async fn what_failed_or_was_dropped_while_the_server_was_down_is_never_written_later() {
    let mut server = MemcachedServer::start();
    let texts = texts(&server.url(), "timeout=300ms").await;
    server.stop();
    let mut calls = JoinSet::new();
    for step in 0..60 {
        for (call, patience) in [1, 20, 200, 5000].into_iter().enumerate() {
            let (texts, key) = (texts.clone(), format!("{step}:{call}"));
            let set = async move { texts.set(&key, "v").await };
            calls.spawn(timeout(Duration::from_millis(patience), set));
        }
        let (texts, key) = (texts.clone(), format!("batch:{step}"));
        calls.spawn(async move {
            let items = [(&key, "v"), (&format!("{key}:2"), "v")];
            let set = texts.set_many(items, SetOptions::new()).await;
            Ok(set.map_err(Error::from))
        });
        sleep(Duration::from_millis(1)).await;
    }
    for outcome in calls.join_all().await.into_iter().flatten() {
        let error = outcome.unwrap_err();
        assert!(gone(&error), "{error:?}");
    }
    refused(&texts, ErrorKind::Unavailable, "while it is down").await;
    server.restart();
    recovers("get", || texts.get("key")).await;
    assert_eq!(server.stat("cmd_set"), 0);
}

#[tokio::test]
async fn a_server_that_halts() {
    let mut server = MemcachedServer::start();
    let texts = texts(&server.url(), "timeout=300ms&connect_timeout=300ms").await;
    texts.set("there", "v").await.unwrap();
    for _ in 0..2 {
        server.pause();
        let get = ends("get", texts.get("there")).await;
        failed(get, ErrorKind::Timeout, "get");
        assert!(gone(&ends("has", texts.has("there")).await.unwrap_err()));
        server.resume();
        let found = recovers("get", || texts.get("there")).await;
        assert_eq!(found.as_deref(), Some("v"));
        server.pause();
        let set = ends("set", texts.set("key", "v")).await;
        let error = failed(set, ErrorKind::Timeout, "set");
        assert!(error.outcome_unknown(), "it is in the server's socket");
        let items = [("a", "v"), ("b", "v")];
        let batch = ends("set_many", texts.set_many(items, SetOptions::new())).await;
        assert!(batch.unwrap_err().failed().all(|(_, error)| gone(error)));
        server.resume();
        recovers("set", || texts.set("key", "w")).await;
        assert_eq!(texts.get("key").await.unwrap().as_deref(), Some("w"));
    }
    // Long enough for new connections to be tried, which are not answered either.
    server.pause();
    for _ in 0..8 {
        assert!(gone(&ends("get", texts.get("there")).await.unwrap_err()));
    }
    server.resume();
    let found = recovers("get", || texts.get("there")).await;
    assert_eq!(found.as_deref(), Some("v"));
}

#[tokio::test]
async fn an_answer_that_is_cut_off() {
    let server = MemcachedServer::start();
    let (proxy, texts) = behind(&server, "timeout=5s").await;
    texts.set("there", "value").await.unwrap();
    let cut = async || {
        recovers("get", || texts.get("there")).await;
        proxy.cut_after_request();
    };
    cut().await;
    let set = ends("set", texts.set("key", "v")).await;
    assert!(failed(set, ErrorKind::Unavailable, "set").outcome_unknown());
    assert!(server.get("key").is_some(), "it was applied");
    // The value is read, again on a new connection; that it is deleted is what is not sent twice.
    cut().await;
    let taken = ends("take", texts.take("key")).await.unwrap();
    assert_eq!(taken.as_deref(), Some("v"));
    texts.set("key", "v").await.unwrap();
    cut().await;
    let delete = ends("delete", texts.delete("key")).await;
    assert!(failed(delete, ErrorKind::Unavailable, "delete").outcome_unknown());
    assert_eq!(server.get("key"), None, "it was deleted");
    cut().await;
    let touch = ends("touch", texts.touch("there", Duration::from_secs(600))).await;
    assert!(failed(touch, ErrorKind::Unavailable, "touch").outcome_unknown());

    for command in ["set_many", "delete_many"] {
        recovers("get", || texts.get("there")).await;
        proxy.cut_mid_reply(3);
        let items = [("a", "v"), ("b", "v")];
        let batch = match command {
            "set_many" => ends(command, texts.set_many(items, SetOptions::new())).await,
            _ => ends(command, texts.delete_many(items.map(|(key, _)| key))).await,
        };
        let error = Error::from(batch.unwrap_err());
        assert!(error.outcome_unknown(), "{command}");
    }

    recovers("get", || texts.get("there")).await;
    // Reads are asked again on a new connection, wherever the answer was cut.
    for bytes in 0..13 {
        proxy.cut_mid_reply(bytes);
        let found = ends("get", texts.get("there")).await.unwrap();
        assert_eq!(found.as_deref(), Some("value"), "cut after {bytes}");
    }
    proxy.cut_mid_reply(9);
    let found = ends("get_many", texts.get_many(["there", "missing"])).await;
    assert_eq!(found.unwrap(), [Some("value".to_owned()), None]);
}

#[tokio::test]
async fn a_network_that_swallows_everything_and_a_server_that_refuses() {
    let server = MemcachedServer::start();
    let (proxy, texts) = behind(&server, "timeout=300ms&connect_timeout=300ms").await;
    texts.set("there", "v").await.unwrap();
    proxy.stall();
    let get = ends("get", texts.get("there")).await;
    failed(get, ErrorKind::Timeout, "get");
    let error = ends("set", texts.set("key", "v")).await.unwrap_err();
    let honest = error.outcome_unknown() || error.kind() == ErrorKind::Unavailable;
    assert!(gone(&error) && honest, "{error:?}");
    for _ in 0..5 {
        assert!(gone(&ends("get", texts.get("there")).await.unwrap_err()));
    }
    proxy.heal();
    let found = recovers("get", || texts.get("there")).await;
    assert_eq!(found.as_deref(), Some("v"));
    proxy.refuse();
    for _ in 0..3 {
        assert!(gone(&ends("get", texts.get("there")).await.unwrap_err()));
    }
    proxy.heal();
    let found = recovers("get", || texts.get("there")).await;
    assert_eq!(found.as_deref(), Some("v"));
}

/// A proxy whose first connection goes dead when it is told to, and stays open; later ones work.
async fn half_open(server: &MemcachedServer, reads_on: bool) -> (String, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("memcached://{}", listener.local_addr().unwrap());
    let (dead, target) = (Arc::new(AtomicBool::new(false)), server.address());
    let of_first = Arc::clone(&dead);
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        for connection in 0.. {
            let (mut client, _) = listener.accept().await.unwrap();
            let dead = match connection {
                0 => Arc::clone(&of_first),
                _ => Arc::default(),
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
    let server = MemcachedServer::start();
    for reads_on in [true, false] {
        let (url, dead) = half_open(&server, reads_on).await;
        let texts = texts(&url, "timeout=300ms&max_pending=1000").await;
        texts.set("there", "v").await.unwrap();
        dead.store(true, Ordering::Release);
        // More than fits into the sockets on the way.
        let large = "x".repeat(1_000_000);
        let sets = (0..20).map(|_| texts.set("key", &large));
        let sets = ends("set", futures_util::future::join_all(sets)).await;
        let mut unknown = 0;
        for set in sets {
            let error = failed(set, ErrorKind::Timeout, "set");
            unknown += u32::from(error.outcome_unknown());
        }
        assert!(unknown > 0, "some were sent");
        let load = texts.clone();
        let load = tokio::spawn(async move {
            loop {
                drop(tokio::join!(
                    load.get("there"),
                    sleep(Duration::from_millis(20))
                ));
            }
        });
        let found = recovers("get", || texts.get("there")).await;
        assert_eq!(found.as_deref(), Some("v"));
        load.abort();
    }
}

#[tokio::test]
async fn a_server_that_closes_idle_connections() {
    let server = MemcachedServer::start_with(&["-o", "idle_timeout=1"]);
    let texts = texts(&server.url(), "").await;
    for number in 0..2 {
        // A write is not sent twice, so it must not meet a connection that has been closed.
        texts.set("key", format!("{number}")).await.unwrap();
        let idle = server.stat("idle_kicks");
        while server.stat("idle_kicks") == idle {
            sleep(Duration::from_millis(20)).await;
        }
        sleep(Duration::from_millis(100)).await;
    }
    texts.set("key", "v").await.unwrap();
    assert_eq!(texts.get("key").await.unwrap().as_deref(), Some("v"));
}

#[tokio::test]
async fn made_while_the_server_is_down() {
    let mut server = MemcachedServer::start();
    server.stop();
    let url = format!("{}?timeout=300ms", server.url());
    let texts = KeyValueStore::text(MemcachedProvider::lazy(url).unwrap());
    refused(&texts, ErrorKind::Unavailable, "while it is down").await;
    server.restart();
    recovers("set", || texts.set("key", "v")).await;
    assert_eq!(texts.get("key").await.unwrap().as_deref(), Some("v"));
}

#[tokio::test]
async fn what_is_seen_of_a_value_is_gone_with_the_server() {
    let mut server = MemcachedServer::start();
    let texts = texts(&server.url(), "").await;
    texts.set("key", "v").await.unwrap();
    let version = texts.get_entry("key").await.unwrap().unwrap().version;
    server.restart();
    let deleted = recovers("delete_if", || {
        texts.delete_if("key", version.clone().unwrap())
    });
    assert!(!deleted.await.is_applied(), "it is not there any more");
    assert_eq!(texts.get("key").await.unwrap(), None, "Memcached forgets");
}
