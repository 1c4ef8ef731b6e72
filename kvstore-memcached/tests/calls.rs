//! Batches, several servers, dropped calls and the end: what is sent, and what is not.

use std::time::Duration;

use futures_util::future::{join_all, poll_immediate};
use kvstore_core::{Error, ErrorKind, KeyValueStore, SetOptions};
use kvstore_memcached::MemcachedConfig;
use kvstore_testsuite::proxy::Proxy;
use kvstore_testsuite::servers::MemcachedServer;
use tokio::time::{sleep, timeout};

mod common;
use common::{behind, config, connect, ends, failed, recovers, texts};

#[tokio::test]
async fn batches_take_one_round_trip_a_server() {
    let servers = [MemcachedServer::start(), MemcachedServer::start()];
    let mut proxies = Vec::new();
    for server in &servers {
        proxies.push(Proxy::start(server.address()).await.unwrap());
    }
    let port = |proxy: &Proxy| proxy.address().port();
    let config = MemcachedConfig::new("127.0.0.1", port(&proxies[0]));
    let config = config.server("127.0.0.1", port(&proxies[1]));
    let texts = KeyValueStore::text(connect(config).await);
    let round_trips = || proxies.iter().map(Proxy::round_trips).collect::<Vec<_>>();
    let reset = || proxies.iter().for_each(Proxy::reset);
    for proxy in &proxies {
        proxy.delay(Duration::from_millis(100));
    }
    let keys: Vec<_> = (0..100).map(|key| format!("{key}")).collect();
    let items = || keys.iter().map(|key| (key, "v"));
    let hour = SetOptions::new().ttl(Duration::from_secs(3600));
    let month = SetOptions::new().ttl(Duration::from_secs(31 * 24 * 3600));
    for (options, expected, what) in [
        (SetOptions::new(), 1, "set_many"),
        (hour, 1, "set_many with an expiry"),
        (
            month,
            2,
            "set_many with a long expiry, of which the clock is asked",
        ),
        (month, 1, "set_many with a long expiry, again"),
        (
            SetOptions::new().keep_expiry(),
            2,
            "set_many that keeps the expiry",
        ),
    ] {
        reset();
        texts.set_many(items(), options).await.unwrap();
        assert_eq!(round_trips(), [expected; 2], "{what}");
    }
    reset();
    let found = texts.get_many(&keys).await.unwrap();
    assert!(found.iter().all(Option::is_some));
    assert_eq!(round_trips(), [1, 1], "get_many");
    reset();
    texts.delete_many(&keys).await.unwrap();
    assert_eq!(round_trips(), [1, 1], "delete_many");
    reset();
    let found = texts.get_many(&keys).await.unwrap();
    assert!(found.iter().all(Option::is_none));
    assert_eq!(round_trips(), [1, 1], "get_many of missing keys");
    reset();
    texts.get_many::<&str>([]).await.unwrap();
    let nothing = texts.set_many::<&str, &str>([], SetOptions::new());
    nothing.await.unwrap();
    texts.delete_many::<&str>([]).await.unwrap();
    assert_eq!(round_trips(), [0, 0], "empty batches");
    texts.set("key", "v").await.unwrap();
    reset();
    texts.get_entry("key").await.unwrap().unwrap();
    assert_eq!(round_trips().iter().sum::<usize>(), 1, "get_entry");
    let value = "x".repeat(100_000);
    texts.set("key", value).await.unwrap();
    let received = || proxies.iter().map(Proxy::bytes_received).sum::<u64>();
    reset();
    assert!(texts.has("key").await.unwrap());
    assert!(received() < 100, "has moves no value");
}

#[tokio::test]
async fn keys_are_spread_over_the_servers_by_their_names() {
    let servers = [(); 3].map(|()| MemcachedServer::start());
    let [first, second, third] = servers.each_ref().map(|server| server.address().port());
    let config = |ports: [u16; 3]| {
        let config = MemcachedConfig::new("127.0.0.1", ports[0]);
        config
            .server("127.0.0.1", ports[1])
            .server("127.0.0.1", ports[2])
    };
    let texts = KeyValueStore::text(connect(config([first, second, third])).await);
    let keys: Vec<_> = (0..300).map(|key| format!("key {key}")).collect();
    let items = keys.iter().map(|key| (key, &key[..]));
    texts.set_many(items, SetOptions::new()).await.unwrap();
    let counts = servers.each_ref().map(|server| server.stat("curr_items"));
    assert_eq!(counts.iter().sum::<u64>(), 300);
    assert!(counts.iter().all(|count| *count > 50), "{counts:?}");
    // A client that names them in another order finds them.
    let other = KeyValueStore::text(connect(config([third, first, second])).await);
    for key in &keys {
        assert_eq!(other.get(key).await.unwrap().as_ref(), Some(key));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_batches_come_in_pieces() {
    let server = MemcachedServer::start();
    let texts = texts(&server.url(), "timeout=30s&connections=2").await;
    let keys: Vec<_> = (0..2500).map(|key| format!("{key}")).collect();
    let value = |key: &String| format!("{key}:{}", "x".repeat(4000));
    let items = || keys.iter().map(|key| (key, value(key)));
    texts.set_many(items(), SetOptions::new()).await.unwrap();
    let kept = SetOptions::new().keep_expiry();
    texts.set_many(items(), kept).await.unwrap();
    let found = texts.get_many(&keys).await.unwrap();
    let expected: Vec<_> = keys.iter().map(value).collect();
    assert!(found.iter().flatten().eq(expected.iter()));
    texts.delete_many(&keys).await.unwrap();
    assert_eq!(server.stat("curr_items"), 0);
}

#[tokio::test]
async fn a_batch_of_long_and_hashed_and_missing_and_repeated_keys() {
    let server = MemcachedServer::start();
    let texts = texts(&server.url(), "").await;
    let key = |number: usize| format!("{number} {}", "k".repeat(number));
    for number in (0..400).filter(|number| number % 3 > 0) {
        texts.set(&key(number), format!("{number}")).await.unwrap();
    }
    let numbers = || (0..400).flat_map(|number| [number, number, 399 - number]);
    let found = texts.get_many(numbers().map(key)).await.unwrap();
    let expected = numbers().map(|number| (number % 3 > 0).then(|| number.to_string()));
    assert_eq!(found, expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn one_connection_carries_many_calls_and_several_if_told() {
    for (parameters, connections) in [("", 1), ("connections=3", 3)] {
        let server = MemcachedServer::start();
        let before = server.stat("total_connections");
        let texts = texts(&server.url(), parameters).await;
        let calls = (0..200).map(|key| {
            let texts = texts.clone();
            async move { texts.set(&format!("{key}"), "v").await }
        });
        assert!(join_all(calls).await.iter().all(Result::is_ok));
        // Besides that of the question itself.
        let made = server.stat("total_connections") - before - 1;
        assert_eq!(made, connections, "{parameters}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_calls_leave_the_store_usable() {
    let server = MemcachedServer::start();
    let texts = texts(&server.url(), "max_pending=64").await;
    let large = "x".repeat(100_000);
    let connections = server.stat("total_connections");
    for round in 0..50 {
        let (key, wait) = (format!("{}", round % 3), Duration::from_micros(20 * round));
        let calls = (0..8).map(|_| async {
            drop(timeout(wait, texts.set(&key, &large)).await);
            drop(timeout(wait, texts.get(&key)).await);
            drop(timeout(wait, texts.get_entry(&key)).await);
            drop(timeout(wait, texts.take(&key)).await);
            drop(timeout(wait, texts.get_many([&key, "x"])).await);
        });
        join_all(calls).await;
        texts.set("sure", format!("{round}")).await.unwrap();
        let found = texts.get("sure").await.unwrap();
        assert_eq!(found, Some(format!("{round}")), "no answer of another call");
    }
    let made = server.stat("total_connections") - connections;
    assert_eq!(made, 1, "that of the question itself: none was given up");
    // All places are free again.
    let calls = join_all((0..64).map(|_| texts.get("0"))).await;
    assert!(calls.iter().all(Result::is_ok));
}

#[tokio::test]
async fn what_is_dropped_before_it_is_sent_is_not_sent() {
    let server = MemcachedServer::start();
    let texts = texts(&server.url(), "").await;
    // Given to the connection's task, which runs on this same thread and so has not sent it yet.
    let mut dropped = Box::pin(texts.set("key", "v"));
    assert!(poll_immediate(dropped.as_mut()).await.is_none());
    drop(dropped);
    texts.get("key").await.unwrap();
    assert_eq!(server.stat("cmd_set"), 0);
}

#[tokio::test]
async fn too_many_calls_are_busy() {
    let server = MemcachedServer::start();
    let (proxy, texts) = behind(&server, "max_pending=2").await;
    proxy.delay(Duration::from_millis(200));
    let (first, second, third) = tokio::join!(texts.get("a"), texts.get("b"), texts.get("c"));
    first.unwrap();
    second.unwrap();
    let error = failed(third, ErrorKind::Busy, "a third call");
    assert!(error.is_retryable());
    texts.get("c").await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_silent_takes_no_places_of_another() {
    let (mut silent, other) = (MemcachedServer::start(), MemcachedServer::start());
    let config = config(&silent)
        .server("127.0.0.1", other.address().port())
        .timeout(Duration::from_secs(3))
        .max_pending(5);
    let texts = KeyValueStore::text(connect(config).await);
    let keys: Vec<_> = (0..100).map(|key| format!("{key}")).collect();
    let items = || keys.iter().map(|key| (key, "v"));
    texts.set_many(items(), SetOptions::new()).await.unwrap();
    let (on_other, on_silent): (Vec<_>, Vec<_>) =
        keys.iter().partition(|key| other.get(key).is_some());
    silent.pause();
    let waiting = join_all(on_silent.iter().take(10).map(|key| texts.get(key)));
    let meanwhile = async {
        for key in &on_other {
            assert_eq!(texts.get(key).await.unwrap().as_deref(), Some("v"));
        }
        let found = texts.get_many(&keys).await.unwrap_err().into_results();
        for (key, found) in keys.iter().zip(found) {
            match found {
                Ok(found) => assert!(found.is_some() && on_other.contains(&key)),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Busy),
            }
        }
    };
    let (waiting, ()) = tokio::join!(waiting, meanwhile);
    let kinds = waiting.into_iter().map(|get| get.unwrap_err().kind());
    let busy = kinds.filter(|kind| *kind == ErrorKind::Busy).count();
    assert_eq!(busy, 5);
}

#[tokio::test]
async fn a_batch_takes_one_place_a_server() {
    let server = MemcachedServer::start();
    let tls: MemcachedConfig = server.tls_url().parse().unwrap();
    for config in [config(&server), tls.ca(server.ca_path())] {
        let texts = KeyValueStore::text(connect(config.max_pending(1)).await);
        let keys: Vec<_> = (0..100).map(|key| format!("{key}")).collect();
        for options in [SetOptions::new(), SetOptions::new().keep_expiry()] {
            let items = keys.iter().map(|key| (key, "v"));
            texts.set_many(items, options).await.unwrap();
        }
        let found = texts.get_many(&keys).await.unwrap();
        assert!(found.iter().all(Option::is_some));
        texts.delete_many(&keys).await.unwrap();
    }
}

#[tokio::test]
async fn closing_ends_all_clones_and_the_connections() {
    let server = MemcachedServer::start();
    // Those of the suite itself, by which it saw that the server is up, may be closed a little later.
    sleep(Duration::from_millis(200)).await;
    let before = server.stat("curr_connections");
    let memcached = connect(config(&server)).await;
    let clone = KeyValueStore::text(memcached.clone());
    let texts = KeyValueStore::text(memcached);
    let (set, closed) = tokio::join!(clone.set("key", "v"), texts.close());
    set.unwrap();
    closed.unwrap();
    failed(texts.get("key").await, ErrorKind::Closed, "get");
    failed(clone.get("key").await, ErrorKind::Closed, "a clone's get");
    let batch = clone.get_many(["key"]).await.map_err(Error::from);
    failed(batch, ErrorKind::Closed, "a clone's get_many");
    failed(clone.ping().await, ErrorKind::Closed, "a clone's ping");
    clone.close().await.unwrap();
    let ended = async || match server.stat("curr_connections") <= before {
        true => Ok(()),
        false => Err(ErrorKind::Busy.into()),
    };
    recovers("the connection to end", ended).await;

    // So does dropping the last clone.
    let memcached = connect(config(&server)).await;
    let clone = memcached.clone();
    drop(memcached);
    KeyValueStore::text(clone).get("key").await.unwrap();
    recovers("the connection to end", ended).await;
}

#[tokio::test]
async fn closing_while_the_server_does_not_answer() {
    let mut server = MemcachedServer::start();
    let texts = texts(&server.url(), "timeout=300ms").await;
    server.pause();
    let (get, closed) = tokio::join!(texts.get("key"), async {
        tokio::task::yield_now().await;
        ends("close", texts.close()).await
    });
    assert!(get.unwrap_err().is_retryable(), "the call under way");
    closed.unwrap();
    server.stop();
}

#[test]
fn a_provider_outlives_the_runtime_that_it_was_made_on() {
    let server = MemcachedServer::start();
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap()
    };
    let first = runtime();
    let memcached = first.block_on(connect(config(&server)));
    let texts = KeyValueStore::text(memcached);
    first.block_on(texts.set("key", "v")).unwrap();
    drop(first);
    let found = runtime().block_on(texts.get("key")).unwrap();
    assert_eq!(found.as_deref(), Some("v"));
}
