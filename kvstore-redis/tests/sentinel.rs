//! Sentinels: the primary is found, and followed when it is another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kvstore_core::{Error, ErrorKind, KeyValueStore, SetOptions};
use kvstore_redis::{RedisConfig, RedisProvider};
use kvstore_testsuite::servers::{RedisSentinel, RedisServer};
use tokio::time::sleep;

mod common;
use common::{HANGS, SECRET, ends, failed, not_connected, recovers};

fn config(redis: &RedisSentinel) -> RedisConfig {
    redis.url("").parse().unwrap()
}

async fn texts(redis: &RedisSentinel, parameters: &str) -> KeyValueStore<String> {
    let connected = RedisProvider::connect(redis.url(parameters)).await;
    KeyValueStore::text(connected.unwrap())
}

fn gone(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_killed_and_comes_back_as_a_replica() {
    let mut redis = RedisSentinel::start();
    let texts = texts(&redis, "&timeout=300ms").await;
    texts.set("key", "v").await.unwrap();
    let old = redis.primary();
    redis.command(old, &["WAIT", "2", "5000"]);
    redis.stop(old);
    // Together, since it does not take the sentinels long.
    let (get, set) = tokio::join!(texts.get("key"), texts.set("key", "w"));
    let error = get.unwrap_err();
    assert!(gone(&error), "{error:?}");
    failed(set, ErrorKind::Unavailable, "set");
    assert_eq!(
        recovers("get", || texts.get("key")).await.as_deref(),
        Some("v")
    );
    recovers("set", || texts.set("key", "w")).await;
    let new = redis.wait_for_new_primary(old);
    assert_eq!(redis.command(new, &["GET", "key"]).text(), "w");
    redis.restart(old);
    redis.wait_until_ok();
    recovers("set", || texts.set("key", "x")).await;
    assert_eq!(redis.command(new, &["GET", "key"]).text(), "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_halts_and_goes_on_as_one_that_is_none() {
    let mut redis = RedisSentinel::start();
    let texts = texts(&redis, "&timeout=400ms&connect_timeout=400ms").await;
    texts.set("key", "v").await.unwrap();
    let old = redis.primary();
    redis.command(old, &["WAIT", "2", "5000"]);
    redis.pause(old);
    failed(
        ends("get", texts.get("key")).await,
        ErrorKind::Timeout,
        "get",
    );
    assert_eq!(
        recovers("get", || texts.get("key")).await.as_deref(),
        Some("v")
    );
    recovers("set", || texts.set("key", "w")).await;
    let new = redis.wait_for_new_primary(old);
    // For a moment it takes itself for the primary.
    redis.resume(old);
    for number in 0..50 {
        let value = number.to_string();
        recovers("set", || texts.set("key", &value)).await;
        assert_eq!(redis.command(new, &["GET", "key"]).text(), value);
    }
    redis.wait_until_ok();
    assert_eq!(texts.get("key").await.unwrap().as_deref(), Some("49"));
}

/// It holds its connections, and says `READONLY` to who writes.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_has_become_a_replica_is_left() {
    let redis = RedisSentinel::start();
    let texts = texts(&redis, "&timeout=800ms").await;
    texts.set("key", "v").await.unwrap();
    let old = redis.primary();
    redis.command(old, &["WAIT", "2", "5000"]);
    let [new, other] = redis.replicas()[..] else {
        panic!("there are two");
    };
    // The sentinels are to choose the one that it follows already: then they leave its connections alone.
    redis.command(other, &["CONFIG", "SET", "replica-priority", "0"]);
    let port = redis.address(new).port().to_string();
    redis.command(old, &["REPLICAOF", "127.0.0.1", &port]);
    let set = ends("set", texts.set("key", "w")).await;
    let error = failed(set, ErrorKind::Unavailable, "set");
    assert!(!error.outcome_unknown(), "it was refused");
    assert!(
        error.to_string().contains("no primary any more"),
        "{error}: the sentinels do not know it yet, but it says so itself"
    );
    recovers("set", || texts.set("key", "w")).await;
    assert_eq!(redis.command(new, &["GET", "key"]).text(), "w");
    assert_eq!(texts.get("key").await.unwrap().as_deref(), Some("w"));
}

#[tokio::test(flavor = "multi_thread")]
async fn primaries_that_change_places_under_load() {
    let mut redis = RedisSentinel::start();
    let texts = texts(&redis, "&timeout=1s&wait_replicas=1").await;
    let done = Arc::new(AtomicBool::new(false));
    let load = |own: &'static str| {
        let (texts, done) = (texts.clone(), Arc::clone(&done));
        async move {
            let mut written = 0;
            for number in 1.. {
                if done.load(Ordering::Acquire) {
                    break;
                }
                match ends("set", texts.set(own, number.to_string())).await {
                    Ok(()) => written = number,
                    Err(error) => assert!(gone(&error), "{error:?}"),
                }
                sleep(Duration::from_millis(1)).await;
            }
            (own, written)
        }
    };
    let loads = ["a", "b", "c", "d"].map(|own| tokio::spawn(load(own)));
    for _ in 0..2 {
        sleep(Duration::from_millis(200)).await;
        redis.failover();
    }
    recovers("set", || texts.set("key", "v")).await;
    done.store(true, Ordering::Release);
    for load in loads {
        let (own, written) = load.await.unwrap();
        let found = recovers("get", || texts.get(own)).await;
        let found: u32 = found.expect("a key that was written").parse().unwrap();
        assert!(
            found >= written,
            "{own} has {found}, and {written} was acknowledged"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_goes_on_at_the_new_primary() {
    let mut redis = RedisSentinel::start();
    let texts = texts(&redis, "&timeout=10s").await;
    let keys: Vec<_> = (0..5_000).map(|key| format!("{key}")).collect();
    let items = keys.iter().map(|key| (key, "v"));
    texts.set_many(items, SetOptions::new()).await.unwrap();
    let old = redis.primary();
    redis.command(old, &["WAIT", "2", "5000"]);
    let mut listing = texts.keys("");
    let mut named = vec![listing.next().await.unwrap().unwrap()];
    redis.stop(old);
    while let Some(key) = ends("next", listing.next()).await {
        named.push(key.unwrap());
    }
    named.sort();
    named.dedup();
    assert_eq!(named.len(), keys.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_that_are_gone() {
    let mut redis = RedisSentinel::start();
    redis.stop_sentinel(0);
    redis.pause_sentinel(1);
    // One that answers is enough, and it is not waited for the others.
    let texts = KeyValueStore::text(RedisProvider::connect(config(&redis)).await.unwrap());
    texts.set("key", "v").await.unwrap();
    redis.stop_sentinel(2);
    // What there is stays.
    assert_eq!(texts.get("key").await.unwrap().as_deref(), Some("v"));
    let soon = config(&redis).connect_timeout(Duration::from_millis(300));
    let error = ends("connect", RedisProvider::connect(soon.clone())).await;
    failed(error, ErrorKind::Unavailable, "connect");
    let lazy = RedisProvider::lazy(soon.timeout(Duration::from_millis(300))).unwrap();
    let texts = KeyValueStore::text(lazy);
    failed(
        ends("get", texts.get("key")).await,
        ErrorKind::Unavailable,
        "get",
    );
    redis.restart_sentinel(2);
    assert_eq!(
        recovers("get", || texts.get("key")).await.as_deref(),
        Some("v")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_credentials() {
    let redis = RedisSentinel::start_with_passwords(SECRET, "hunter3");
    let right = config(&redis).password(SECRET).sentinel_password("hunter3");
    let texts = KeyValueStore::text(RedisProvider::connect(right.clone()).await.unwrap());
    texts.set("key", "v").await.unwrap();
    let debug = format!("{right:?}");
    assert!(!debug.contains("hunter"), "{debug}");
    let no_password = config(&redis).password(SECRET);
    not_connected(no_password.clone(), ErrorKind::Unauthenticated, "sentinel").await;
    let wrong = no_password.sentinel_password("hunter4");
    not_connected(wrong, ErrorKind::Unauthenticated, "sentinel").await;
    let wrong = config(&redis)
        .password("hunter4")
        .sentinel_password("hunter3");
    not_connected(wrong, ErrorKind::Unauthenticated, "refused").await;
    let hosts = redis.hosts();
    let url = format!("redis-sentinel://{hosts}?master=another&sentinel_password=hunter3");
    let other: RedisConfig = url.parse().unwrap();
    not_connected(
        other.password(SECRET),
        ErrorKind::InvalidConfig,
        "no primary of that name",
    )
    .await;
    // A server is no sentinel.
    let server = RedisServer::start();
    let port = server.address().port();
    let config = RedisConfig::sentinel("mymaster", [("127.0.0.1", port)]);
    not_connected(config, ErrorKind::InvalidConfig, "sentinel").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls() {
    let redis = RedisSentinel::start_tls(&[]);
    let config = config(&redis);
    not_connected(config.clone(), ErrorKind::InvalidConfig, "certificate").await;
    let config = config.ca(redis.ca_path());
    let config = config.client_cert(redis.client_cert_path(), redis.client_key_path());
    let texts = KeyValueStore::text(RedisProvider::connect(config).await.unwrap());
    texts.set("key", "v").await.unwrap();
    assert_eq!(texts.get("key").await.unwrap().as_deref(), Some("v"));
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_from_replicas() {
    let mut redis = RedisSentinel::start();
    let redis_store = RedisProvider::connect(config(&redis).read_from_replicas())
        .await
        .unwrap();
    let texts = KeyValueStore::text(redis_store);
    assert!(!texts.capabilities().strong_reads);
    let primary = redis.primary();
    texts.set("key", "v").await.unwrap();
    redis.command(primary, &["WAIT", "2", "5000"]);
    let gets = |redis: &RedisSentinel, node: usize| {
        let info = redis.command(node, &["INFO", "commandstats"]).text();
        let calls = info
            .lines()
            .find_map(|line| line.strip_prefix("cmdstat_get:calls="));
        calls.map_or(0, |calls| {
            calls.split(',').next().unwrap().parse::<u64>().unwrap()
        })
    };
    let asked = |redis: &RedisSentinel| {
        redis
            .replicas()
            .iter()
            .map(|node| gets(redis, *node))
            .sum::<u64>()
    };
    // As soon as a replica is connected.
    let start = std::time::Instant::now();
    while asked(&redis) == 0 {
        assert!(start.elapsed() < HANGS, "no replica is asked");
        assert_eq!(texts.get("key").await.unwrap().as_deref(), Some("v"));
    }
    let before = gets(&redis, primary);
    for _ in 0..20 {
        assert_eq!(texts.get("key").await.unwrap().as_deref(), Some("v"));
    }
    assert_eq!(gets(&redis, primary), before, "the primary is not asked");
    let found = texts.get_many(["key", "missing"]).await.unwrap();
    assert_eq!(found, [Some("v".to_owned()), None]);
    assert!(texts.has("key").await.unwrap());
    // What a write depends on is the primary's.
    texts.get_entry("key").await.unwrap().unwrap();
    for replica in redis.replicas() {
        redis.stop(replica);
    }
    for _ in 0..20 {
        let found = recovers("get", || texts.get("key")).await;
        assert_eq!(found.as_deref(), Some("v"), "from the primary");
    }
    assert!(gets(&redis, primary) > before);
}
