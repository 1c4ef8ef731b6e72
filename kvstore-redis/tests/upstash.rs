//! Upstash by the Redis protocol: its commands, its one database, its limits; and that all of it is asked for.

use std::time::Duration;

use kvstore_core::{Capabilities, Error, ErrorKind, KeyValueStore};
use kvstore_redis::{RedisConfig, RedisProvider};
use kvstore_testsuite::servers::RedisServer;

mod common;
use common::{SECRET, failed, not_connected, printed};

#[tokio::test]
async fn it_claims_no_strong_reads_and_says_so() {
    let redis = RedisProvider::connect(common::upstash(RedisServer::shared()))
        .await
        .unwrap();
    let texts = KeyValueStore::text(redis);
    let Capabilities {
        strong_reads,
        max_value_len,
        ..
    } = *texts.capabilities();
    assert!(!strong_reads);
    assert!(max_value_len.is_some_and(|limit| limit < 10_000_000));
    let info = texts.ping().await.unwrap();
    assert_eq!(info.product, "upstash");
    let warns = |word: &str| info.warnings.iter().any(|warning| warning.contains(word));
    assert!(warns("eventually consistent"), "{:?}", info.warnings);
}

#[tokio::test]
async fn what_it_does_not_take_is_found_before_anything_is_sent() {
    let host = "no-such-database.upstash.io";
    let config = RedisConfig::new(host).tls().password(SECRET);
    for (config, says) in [
        (RedisConfig::new(host).tls(), "wants a password"),
        (RedisConfig::new(host).password(SECRET), "TLS only"),
        (config.clone().database(1), "database but 0"),
    ] {
        let soon = config.connect_timeout(Duration::from_millis(1));
        not_connected(soon.clone(), ErrorKind::InvalidConfig, says).await;
        failed(RedisProvider::lazy(soon), ErrorKind::InvalidConfig, says);
    }
}

#[tokio::test]
async fn a_value_over_its_limit_is_not_sent() {
    let config = common::upstash(RedisServer::shared());
    for (config, limit) in [
        (config.clone(), 10_000_000),
        (config.max_value_len(1000), 1000),
    ] {
        let texts = KeyValueStore::text(RedisProvider::connect(config).await.unwrap());
        let set = texts.set("secret key", "x".repeat(limit + 1)).await;
        let error: Error = failed(set, ErrorKind::ValueTooLarge, "set");
        assert!(!printed(&error).contains("secret"));
    }
}
