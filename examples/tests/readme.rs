//! Holds the README's table of providers against what the providers claim.

use kvstore_core::{Capabilities, Listing, Provider, Versions};
use kvstore_file::FileProvider;
use kvstore_memcached::MemcachedProvider;
use kvstore_memory::MemoryProvider;
use kvstore_mongodb::MongoDbProvider;
use kvstore_redis::RedisProvider;
use kvstore_s3::S3Provider;
use kvstore_vault::VaultProvider;
use kvstore_zookeeper::ZooKeeperProvider;

const README: &str = include_str!("../../README.md");

#[tokio::test]
async fn the_table_of_providers_is_true() {
    let file = FileProvider::lazy("file:store.redb").unwrap();
    let memcached = MemcachedProvider::lazy("memcached://localhost").unwrap();
    let mongodb = MongoDbProvider::lazy("mongodb://localhost/database").unwrap();
    let redis = RedisProvider::lazy("redis://localhost").unwrap();
    let s3 = S3Provider::lazy("s3+http://localhost/bucket?credentials=none").unwrap();
    let vault = VaultProvider::lazy("vault+http://:token@localhost").unwrap();
    let zookeeper = ZooKeeperProvider::lazy("zookeeper://localhost").unwrap();
    let rows = [
        row(
            file.capabilities(),
            "none: one file, by redb",
            "file:/path/store.redb",
        ),
        row(memcached.capabilities(), "Memcached", "memcached://host"),
        row(
            MemoryProvider::new().capabilities(),
            "none: in this process",
            "memory:",
        ),
        row(mongodb.capabilities(), "MongoDB", "mongodb://host/database"),
        row(
            redis.capabilities(),
            "Redis, Valkey, Upstash",
            "redis://host",
        ),
        row(
            s3.capabilities(),
            "AWS S3, SeaweedFS, MinIO and others",
            "s3://host/bucket",
        ),
        row(
            vault.capabilities(),
            "HashiCorp Vault, OpenBao",
            "vault://host/mount",
        ),
        row(
            zookeeper.capabilities(),
            "Apache ZooKeeper",
            "zookeeper://host/root",
        ),
    ];
    let table: Vec<_> = README
        .lines()
        .filter(|line| line.starts_with("| [`kvstore-"))
        .collect();
    assert_eq!(table, rows);
}

/// A number of bytes, rounded down.
fn size(bytes: usize) -> String {
    match bytes >> 20 {
        0 => format!("{} KiB", bytes >> 10),
        mebibytes => format!("{mebibytes} MiB"),
    }
}

/// A provider's row, as the README has it.
fn row(capabilities: &Capabilities, server: &str, url: &str) -> String {
    let name = capabilities.provider;
    let conditions = [
        (capabilities.if_absent, "absent"),
        (capabilities.if_present, "present"),
        (capabilities.versions.is_some(), "version"),
    ];
    let conditions: Vec<_> = conditions
        .iter()
        .filter(|(claimed, _)| *claimed)
        .map(|(_, name)| *name)
        .collect();
    let cells = [
        format!("[`kvstore-{name}`](kvstore-{name}/README.md)"),
        server.to_owned(),
        format!("`{url}`"),
        capabilities
            .max_value_len
            .map_or_else(|| "any".to_owned(), size),
        capabilities
            .expiry
            .map_or_else(|| "no".to_owned(), |granularity| format!("{granularity:?}")),
        yes(capabilities.touch).to_owned(),
        conditions.join(", "),
        capabilities.versions.map_or("no", versions).to_owned(),
        yes(capabilities.take).to_owned(),
        capabilities.keys.map_or("no", listing).to_owned(),
        yes(capabilities.strong_reads).to_owned(),
        yes(capabilities.retains).to_owned(),
    ];
    format!("| {} |", cells.join(" | "))
}

fn yes(claimed: bool) -> &'static str {
    if claimed { "yes" } else { "no" }
}

fn versions(versions: Versions) -> &'static str {
    match versions {
        Versions::Unique => "unique",
        Versions::Counter => "counter",
        Versions::Content => "content",
        _ => "?",
    }
}

fn listing(listing: Listing) -> &'static str {
    match listing {
        Listing::Once => "once",
        Listing::AtLeastOnce => "at least once",
        _ => "?",
    }
}
