//! Three servers that are one: the leader is killed, one is halted, the quorum is lost, and what one client
//! wrote another reads on another server.

use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use kvstore_core::{Condition, KeyValueStore, SetOptions};
use kvstore_testsuite::servers::ZooKeeperEnsemble;
use kvstore_testsuite::unique_root;
use kvstore_zookeeper::{ZooKeeperConfig, ZooKeeperProvider};
use tokio::task::JoinSet;
use tokio::time::sleep;

mod common;
use common::{HANGS, all, certain, ends, gone, one, recovers, texts};

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_is_killed_under_load() {
    let mut ensemble = ZooKeeperEnsemble::start();
    let root = format!("/{}", unique_root());
    let done = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(AtomicU64::new(0));
    let mut load = JoinSet::new();
    for task in 0..6 {
        let store = texts(all(&ensemble, &root).timeout(Duration::from_secs(2))).await;
        recovers("set", || store.set("there", "v")).await;
        let (done, acknowledged) = (Arc::clone(&done), Arc::clone(&acknowledged));
        // What was acknowledged, in turn, and what may have been done after it.
        load.spawn(async move {
            let (key, mut last, mut since) = (format!("own{task}"), None, HashSet::new());
            for n in 0.. {
                if done.load(Ordering::Acquire) {
                    break;
                }
                match ends("get", store.get("there")).await {
                    Ok(found) => assert_eq!(found.as_deref(), Some("v"), "it is no miss"),
                    Err(error) => assert!(gone(&error), "{error:?}"),
                }
                let value = n.to_string();
                match ends("set", store.set(&key, &value)).await {
                    Ok(()) => {
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                        last = Some(value);
                        since.clear();
                    }
                    Err(error) => {
                        assert!(gone(&error), "{error:?}");
                        if error.outcome_unknown() {
                            since.insert(value);
                        }
                    }
                }
            }
            let found = recovers("get", || store.get(&key)).await;
            assert!(
                found == last || found.is_some_and(|found| since.contains(&found)),
                "what was acknowledged is there"
            );
        });
    }
    for _ in 0..2 {
        sleep(Duration::from_millis(300)).await;
        let leader = ensemble.leader();
        ensemble.stop(leader);
        // The two others agree on another leader, and it goes on.
        let before = acknowledged.load(Ordering::Relaxed);
        let goes_on = async {
            while acknowledged.load(Ordering::Relaxed) < before + 100 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        ends("going on", goes_on).await;
        ensemble.restart(leader);
    }
    done.store(true, Ordering::Release);
    load.join_all().await;
}

/// A server that halts is left for another, within the deadline of a call or a few.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_halts_is_left_for_another() {
    let mut ensemble = ZooKeeperEnsemble::start();
    let root = format!("/{}", unique_root());
    let config = all(&ensemble, &root).timeout(Duration::from_secs(1));
    let store = texts(config.connect_timeout(Duration::from_millis(300))).await;
    recovers("set", || store.set("there", "v")).await;
    for server in 0..3 {
        ensemble.pause(server);
        let found = recovers("get", || store.get("there")).await;
        assert_eq!(found.as_deref(), Some("v"));
        recovers("set", || store.set("key", "v")).await;
        ensemble.resume(server);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_there_are_errors_and_with_one_it_goes_on() {
    let mut ensemble = ZooKeeperEnsemble::start();
    let root = format!("/{}", unique_root());
    let short = Duration::from_millis(700);
    let store = texts(all(&ensemble, &root).timeout(short)).await;
    recovers("set", || store.set("there", "v")).await;
    let leader = ensemble.leader();
    let follower = (leader + 1) % 3;
    ensemble.stop(leader);
    ensemble.stop(follower);
    // The last one notices, and serves nobody.
    let fails = async {
        while store.get("there").await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    ends("the loss of the quorum", fails).await;
    for _ in 0..3 {
        let get = ends("get", store.get("there")).await.unwrap_err();
        assert!(gone(&get), "{get:?}");
        let set = ends("set", store.set("there", "w")).await.unwrap_err();
        assert!(gone(&set), "{set:?}");
    }
    let connected = ZooKeeperProvider::connect(all(&ensemble, &root).timeout(short)).await;
    assert!(gone(&connected.unwrap_err()));
    ensemble.restart(follower);
    let found = recovers("get", || store.get("there")).await;
    assert!(matches!(found.as_deref(), Some("v" | "w")));
    recovers("set", || store.set("there", "v")).await;
}

/// A follower is behind now and then, and so is the leader; who reads there sees what was written all the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_on_one_server_is_read_on_another() {
    let ensemble = ZooKeeperEnsemble::start();
    let root = format!("/{}", unique_root());
    // What waits for a busy machine is no matter here.
    let patient = Duration::from_secs(30);
    let mut stores: Vec<KeyValueStore<String>> = Vec::new();
    let mut readers = Vec::new();
    for server in 0..3 {
        stores.push(texts(certain(&ensemble, server, &root).timeout(patient)).await);
        readers.push(texts(one(&ensemble, server, &root).timeout(patient)).await);
    }
    // Under load, so that they are behind more often.
    let done = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for (task, store) in stores.iter().cloned().enumerate() {
        let done = Arc::clone(&done);
        load.spawn(async move {
            while !done.load(Ordering::Acquire) {
                let keys: Vec<_> = (0..50).map(|n| format!("load:{task}:{n}")).collect();
                let items = keys.iter().map(|key| (key, "v"));
                store.set_many(items, SetOptions::new()).await.unwrap();
            }
        });
    }
    for n in 0..300 {
        let (writer, at) = (&stores[n % 3], (n + 1 + n % 2) % 3);
        let reader = match n % 5 {
            0 => &readers[at],
            _ => &stores[at],
        };
        let value = n.to_string();
        writer.set("key", &value).await.unwrap();
        let found = match n % 4 {
            0 => reader.get("key").await.unwrap(),
            1 => reader.get_many(["key"]).await.unwrap().remove(0),
            2 => {
                let entry = reader.get_entry("key").await.unwrap().unwrap();
                let condition = Condition::Version(entry.version.unwrap());
                let set = reader.set_if("key", &value, condition, SetOptions::new());
                assert!(set.await.unwrap().is_applied());
                Some(entry.value)
            }
            _ => {
                let mut keys = reader.keys("key");
                assert_eq!(keys.next().await.unwrap().unwrap(), "key");
                reader.take("key").await.unwrap()
            }
        };
        assert_eq!(found, Some(value), "round {n}");
    }
    done.store(true, Ordering::Release);
    load.join_all().await;
}

/// What is read from a leader costs a write, so it has no client that may be elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn clients_leave_the_leader_alone() {
    let ensemble = ZooKeeperEnsemble::start();
    let root = format!("/{}", unique_root());
    let mut stores = Vec::new();
    for _ in 0..12 {
        // Long enough for a busy machine, on which a server might else seem to be gone.
        let config = all(&ensemble, &root).connect_timeout(HANGS).timeout(HANGS);
        stores.push(texts(config).await);
    }
    let connections = |server| {
        let mut stream = TcpStream::connect(ensemble.address(server)).unwrap();
        stream.write_all(b"srvr").unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        let mut lines = said.lines();
        let number = lines.find_map(|line| line.strip_prefix("Connections: "));
        number.unwrap().parse::<usize>().unwrap()
    };
    let leader = ensemble.leader();
    // Each with the one that asks; where one has just gone, a server may not know it yet.
    let alone = async {
        while connections(leader) > 1 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    ends("the leader's last client", alone).await;
    let others = connections((leader + 1) % 3) + connections((leader + 2) % 3);
    assert!(others >= 12 + 2, "{others}");
    let warns = async |config: ZooKeeperConfig| {
        let info = texts(config).await.ping().await.unwrap();
        info.warnings.iter().any(|text| text.contains("name all"))
    };
    assert!(!warns(all(&ensemble, &root)).await);
    assert!(warns(one(&ensemble, 0, &root)).await);
}

/// A follower that has not heard yet of what it is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_behind_catches_up_before_it_answers() {
    let mut ensemble = ZooKeeperEnsemble::start();
    let root = format!("/{}", unique_root());
    let leader = ensemble.leader();
    let behind = (leader + 1) % 3;
    let writer = texts(one(&ensemble, leader, &root)).await;
    let reader = texts(certain(&ensemble, behind, &root)).await;
    writer.set("key", "old").await.unwrap();
    for round in 0..12 {
        reader.get("key").await.unwrap();
        ensemble.pause(behind);
        for n in 0..300 {
            // It has much to catch up with.
            writer.set("news", &n.to_string()).await.unwrap();
        }
        let value = format!("new {round}");
        writer.set("key", &value).await.unwrap();
        let entry = writer.get_entry("key").await.unwrap().unwrap();
        let version = entry.version.unwrap();
        let reader = reader.clone();
        let call = tokio::spawn(async move {
            match round % 6 {
                0 => reader.get("key").await.unwrap(),
                1 => reader.get_many(["key"]).await.unwrap().remove(0),
                2 => reader
                    .get_entry("key")
                    .await
                    .unwrap()
                    .map(|entry| entry.value),
                3 => reader.take("key").await.unwrap(),
                4 => {
                    let (version, options) = (Condition::Version(version), SetOptions::new());
                    let set = reader.set_if("key", "set", version, options).await;
                    assert!(set.unwrap().is_applied(), "the version is the last");
                    None
                }
                _ => {
                    assert!(reader.delete_if("key", version).await.unwrap().is_applied());
                    None
                }
            }
        });
        // The question is there before the news are looked at.
        sleep(Duration::from_millis(100)).await;
        ensemble.resume(behind);
        let found = ends("the call", call).await.unwrap();
        assert!(
            round % 6 > 3 || found == Some(value),
            "round {round}: {found:?}"
        );
    }
    // The same with a listing.
    for round in 0..5 {
        ensemble.pause(behind);
        for n in 0..300 {
            writer.set("news", &n.to_string()).await.unwrap();
        }
        let key = format!("listed:{round}");
        writer.set(&key, "v").await.unwrap();
        let mut keys = reader.keys(&key);
        let call = tokio::spawn(async move { keys.next().await });
        sleep(Duration::from_millis(100)).await;
        ensemble.resume(behind);
        let found = ends("the listing", call).await.unwrap();
        assert_eq!(found.unwrap().unwrap(), key);
    }
}
