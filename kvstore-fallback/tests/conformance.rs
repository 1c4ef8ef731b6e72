//! The contract, as `kvstore-testsuite` has it: where the old provider is empty, and where every key begins in it.

mod seeded;

use std::time::Duration;

use kvstore_core::Provider;
use kvstore_fallback::FallbackProvider;
use kvstore_memory::MemoryProvider;
use kvstore_mongodb::MongoDbProvider;
use kvstore_redis::RedisProvider;
use kvstore_testsuite::servers::{MongoDb, Redis, Vault, ZooKeeper};
use kvstore_testsuite::{Fixture, unique_root};
use kvstore_vault::VaultProvider;
use kvstore_zookeeper::ZooKeeperProvider;
use seeded::Seeded;

/// Connects a client of some root.
trait Server {
    type Client: Provider;
    async fn client(&self) -> Self::Client;
}

impl Server for MemoryProvider {
    type Client = Self;

    async fn client(&self) -> Self {
        self.clone()
    }
}

struct OnMongoDb(String);

impl Server for OnMongoDb {
    type Client = MongoDbProvider;

    async fn client(&self) -> MongoDbProvider {
        // Unoptimised, the driver takes a second for a value of 16 MiB, and many cases run at the same time.
        let url = MongoDb::shared().url(&format!("collection={}&timeout=30s", self.0));
        MongoDbProvider::connect(&url).await.unwrap()
    }
}

struct OnRedis(String);

impl Server for OnRedis {
    type Client = RedisProvider;

    async fn client(&self) -> RedisProvider {
        let url = format!("{}?prefix={}:&timeout=30s", Redis::shared().url(), self.0);
        RedisProvider::connect(&url).await.unwrap()
    }
}

struct OnVault(String);

impl Server for OnVault {
    type Client = VaultProvider;

    async fn client(&self) -> VaultProvider {
        let url = Vault::shared().url(&format!("path={}&timeout=30s", self.0));
        VaultProvider::connect(&url).await.unwrap()
    }
}

struct OnZooKeeper(String);

impl Server for OnZooKeeper {
    type Client = ZooKeeperProvider;

    async fn client(&self) -> ZooKeeperProvider {
        let url = ZooKeeper::shared().url(&format!("/{}?timeout=30s", self.0));
        ZooKeeperProvider::connect(&url).await.unwrap()
    }
}

/// The old one stays empty but for what the case puts there through the two, which is nothing.
async fn empty(new: impl Server, old: impl Server) -> Fixture {
    let both = async || {
        let (new, old) = (new.client().await, old.client().await);
        FallbackProvider::with_tombstones(new, old, Duration::from_secs(600)).unwrap()
    };
    Fixture::new(both().await).with_other(both().await)
}

async fn seeded(new: impl Server, old: impl Server) -> Fixture {
    let seeded = Seeded::new(new.client().await, old.client().await);
    Fixture::new(seeded.clone()).with_other(seeded)
}

fn memory() -> MemoryProvider {
    MemoryProvider::new()
}

fn mongodb() -> OnMongoDb {
    OnMongoDb(unique_root())
}

fn redis() -> OnRedis {
    OnRedis(unique_root())
}

fn vault() -> OnVault {
    OnVault(unique_root())
}

fn zookeeper() -> OnZooKeeper {
    OnZooKeeper(unique_root())
}

mod memory_then_memory {
    kvstore_testsuite::conformance!(|| super::empty(super::memory(), super::memory()));
}

mod memory_then_seeded_memory {
    kvstore_testsuite::conformance!(|| super::seeded(super::memory(), super::memory()));
}

mod mongodb_then_vault {
    kvstore_testsuite::conformance!(|| super::empty(super::mongodb(), super::vault()));
}

/// With versions that are the content.
mod redis_then_seeded_memory {
    kvstore_testsuite::conformance!(|| super::seeded(super::redis(), super::memory()));
}

mod mongodb_then_seeded_vault {
    kvstore_testsuite::conformance!(|| super::seeded(super::mongodb(), super::vault()));
}

/// The way back: with versions that are a counter, and an old provider that tells types apart.
mod vault_then_seeded_mongodb {
    kvstore_testsuite::conformance!(|| super::seeded(super::vault(), super::mongodb()));
}

mod zookeeper_then_seeded_memory {
    kvstore_testsuite::conformance!(|| super::seeded(super::zookeeper(), super::memory()));
}
