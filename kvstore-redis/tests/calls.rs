//! Batches, listings, dropped calls and the end: what is sent, and what is not.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use kvstore_core::{Error, ErrorKind, KeyValueStore, SetOptions};
use kvstore_redis::RedisProvider;
use kvstore_testsuite::servers::{RedisServer, Reply};
use tokio::time::{sleep, timeout};

mod common;
use common::{behind, ends, failed, recovers, texts};

#[tokio::test]
async fn batches_take_one_round_trip_or_two() {
    let server = RedisServer::start();
    let (proxy, texts) = behind(&server, "").await;
    proxy.delay(Duration::from_millis(100));
    let keys: Vec<_> = (0..100).map(|key| format!("{key}")).collect();
    let items = || keys.iter().map(|key| (key, "v"));
    proxy.reset();
    texts.set_many(items(), SetOptions::new()).await.unwrap();
    assert_eq!(proxy.round_trips(), 1, "set_many");
    proxy.reset();
    texts
        .set_many(items(), SetOptions::new().ttl(Duration::from_secs(60)))
        .await
        .unwrap();
    assert_eq!(proxy.round_trips(), 1, "set_many with an expiry");
    proxy.reset();
    assert!(
        texts
            .get_many(&keys)
            .await
            .unwrap()
            .iter()
            .all(Option::is_some)
    );
    assert_eq!(proxy.round_trips(), 1, "get_many");
    proxy.reset();
    texts.delete_many(&keys).await.unwrap();
    assert_eq!(proxy.round_trips(), 1, "delete_many");
    proxy.reset();
    assert!(
        texts
            .get_many(&keys)
            .await
            .unwrap()
            .iter()
            .all(Option::is_none)
    );
    assert_eq!(
        proxy.round_trips(),
        2,
        "get_many of missing keys, which MGET does not tell from lists"
    );
    proxy.reset();
    texts.get_many::<&str>([]).await.unwrap();
    texts
        .set_many::<&str, &str>([], SetOptions::new())
        .await
        .unwrap();
    texts.delete_many::<&str>([]).await.unwrap();
    assert_eq!(
        (proxy.round_trips(), proxy.bytes_sent()),
        (0, 0),
        "empty batches"
    );
    texts.set("key", "v").await.unwrap();
    texts.get_entry("key").await.unwrap().unwrap();
    proxy.reset();
    texts.get_entry("key").await.unwrap().unwrap();
    assert_eq!(
        proxy.round_trips(),
        1,
        "get_entry, when the server knows the script"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn large_batches_come_in_chunks() {
    let server = RedisServer::start();
    let texts = texts(server.url(), "timeout=30s").await;
    let keys: Vec<_> = (0..2500).map(|key| format!("{key}")).collect();
    let value = |key: &String| format!("{key}:{}", "x".repeat(4000));
    let items = || keys.iter().map(|key| (key, value(key)));
    texts.set_many(items(), SetOptions::new()).await.unwrap();
    texts
        .set_many(items(), SetOptions::new().keep_expiry())
        .await
        .unwrap();
    let found = texts.get_many(&keys).await.unwrap();
    assert!(
        found
            .iter()
            .flatten()
            .eq(keys.iter().map(value).collect::<Vec<_>>().iter())
    );
    let mut listed: Vec<_> = texts.keys("").map(Result::unwrap).collect().await;
    listed.sort();
    listed.dedup();
    assert_eq!(listed.len(), keys.len());
    texts.delete_many(&keys).await.unwrap();
    assert_eq!(server.command(&["DBSIZE"]), Reply::Integer(0));
}

#[tokio::test]
async fn a_dropped_listing_asks_no_more() {
    let server = RedisServer::start();
    let (proxy, texts) = behind(&server, "").await;
    let keys: Vec<_> = (0..5000).map(|key| format!("{key}")).collect();
    texts
        .set_many(keys.iter().map(|key| (key, "")), SetOptions::new())
        .await
        .unwrap();
    proxy.reset();
    let mut listing = texts.keys("");
    listing.next().await.unwrap().unwrap();
    assert_eq!(proxy.round_trips(), 1, "one page at a time");
    drop(listing);
    sleep(Duration::from_millis(50)).await;
    assert_eq!(proxy.round_trips(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_calls_leave_the_store_usable() {
    let server = RedisServer::start();
    let texts = texts(server.url(), "max_pending=64").await;
    for round in 0..50 {
        let (key, wait) = (format!("{}", round % 3), Duration::from_micros(20 * round));
        let calls = (0..8).map(|_| async {
            drop(timeout(wait, texts.set(&key, "v")).await);
            drop(timeout(wait, texts.get(&key)).await);
            drop(timeout(wait, texts.get_entry(&key)).await);
            drop(timeout(wait, texts.take(&key)).await);
            drop(timeout(wait, texts.get_many([&key, "x"])).await);
        });
        join_all(calls).await;
    }
    // All places are free again.
    let calls = join_all((0..64).map(|_| texts.get("0"))).await;
    assert!(calls.iter().all(Result::is_ok));
    texts.set("key", "v").await.unwrap();
    assert_eq!(texts.get("key").await.unwrap().as_deref(), Some("v"));
}

#[tokio::test]
async fn closing_ends_all_clones_and_the_connection() {
    let server = RedisServer::start();
    let clients = || {
        server
            .command(&["CLIENT", "LIST", "TYPE", "NORMAL"])
            .text()
            .lines()
            .count()
            - 1
    };
    let redis = RedisProvider::connect(server.url()).await.unwrap();
    let clone = KeyValueStore::text(redis.clone());
    let texts = KeyValueStore::text(redis);
    assert_eq!(clients(), 1);
    let under_way = clone.set("key", "v");
    let (set, closed) = tokio::join!(under_way, texts.close());
    set.unwrap();
    closed.unwrap();
    failed(texts.get("key").await, ErrorKind::Closed, "get");
    failed(clone.get("key").await, ErrorKind::Closed, "a clone's get");
    failed(
        clone.get_many(["key"]).await.map_err(Error::from),
        ErrorKind::Closed,
        "a clone's get_many",
    );
    failed(
        clone.keys("").next().await.unwrap(),
        ErrorKind::Closed,
        "a clone's listing",
    );
    failed(clone.ping().await, ErrorKind::Closed, "a clone's ping");
    clone.close().await.unwrap();
    let ended = async || {
        if clients() == 0 {
            Ok(())
        } else {
            Err(ErrorKind::Busy.into())
        }
    };
    recovers("the connection to end", ended).await;

    // So does dropping the last clone.
    let redis = RedisProvider::connect(server.url()).await.unwrap();
    let clone = redis.clone();
    drop(redis);
    KeyValueStore::text(clone).get("key").await.unwrap();
    recovers("the connection to end", ended).await;
}

#[tokio::test]
async fn closing_while_the_server_does_not_answer() {
    let mut server = RedisServer::start();
    let texts = texts(server.url(), "timeout=300ms").await;
    server.pause();
    let (get, closed) = tokio::join!(texts.get("key"), async {
        tokio::task::yield_now().await;
        ends("close", texts.close()).await
    });
    assert!(get.unwrap_err().is_retryable(), "the call under way");
    closed.unwrap();
    server.stop();
}

/// A server that is started anew counts its pages in another way.
#[tokio::test(flavor = "multi_thread")]
async fn a_listing_is_whole_when_the_server_is_started_anew_meanwhile() {
    let mut server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let texts = texts(server.url(), "timeout=5s").await;
    let keys: Vec<_> = (0..10_000).map(|key| format!("{key}")).collect();
    let items = keys.iter().map(|key| (key, "v"));
    texts.set_many(items, SetOptions::new()).await.unwrap();
    let mut listing = texts.keys("");
    let mut named = Vec::new();
    for round in 0..3 {
        // In the middle of it.
        for _ in 0..2_500 {
            named.push(ends("next", listing.next()).await.unwrap().unwrap());
        }
        if round < 2 {
            server.stop();
            server.restart();
        }
    }
    while let Some(key) = ends("next", listing.next()).await {
        named.push(key.unwrap());
    }
    named.sort();
    named.dedup();
    assert_eq!(named.len(), keys.len());
}
