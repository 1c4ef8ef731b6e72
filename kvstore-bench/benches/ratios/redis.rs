//! The Redis provider against `redis`, the driver below it.

use std::sync::Arc;
use std::time::Duration;

use kvstore_core::{Bytes, KeyValueStore, Registry, SetOptions};
use kvstore_redis::RedisProvider;
use kvstore_testsuite::servers::{Redis, RedisCluster};
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClientBuilder;
use redis::{AsyncCommands as _, AsyncConnectionConfig, Client};

use crate::measure::{BATCH, Bench, KEYS, SIZES, TASKS, calls};

const FAILED: &str = "the Redis of this run answers";

pub(crate) fn run(bench: &Bench) {
    let url = Redis::shared().url();
    let block = &bench.runtime;
    let redis = block.block_on(raw(url));
    let store = block.block_on(store(url));
    // The same keys on both sides, and nobody else's.
    let root = kvstore_testsuite::unique_root();
    let keys: Arc<Vec<String>> = Arc::new((0..KEYS).map(|i| format!("{root}/{i}")).collect());

    bench.table("Redis, against `redis`", "redis", "kvstore");
    for size in SIZES {
        let value = Bytes::from(vec![b'v'; size]);
        for key in keys.iter() {
            block.block_on(store.set(key, &value)).expect(FAILED);
        }
        for tasks in TASKS {
            bench.row(
                &format!("`get`, {size} bytes"),
                tasks,
                (
                    1,
                    calls!([redis, keys] i => {
                        let mut redis = redis.clone();
                        let found: Option<Vec<u8>> = redis.get(&keys[i % KEYS]).await.expect(FAILED);
                        found
                    }),
                ),
                (
                    1,
                    calls!([store, keys] i => store.get(&keys[i % KEYS]).await.expect(FAILED)),
                ),
            );
        }
        for tasks in TASKS {
            bench.row(
                &format!("`set`, {size} bytes"),
                tasks,
                (
                    1,
                    calls!([redis, keys, value] i => {
                        let mut redis = redis.clone();
                        let () = redis.set(&keys[i % KEYS], &value[..]).await.expect(FAILED);
                    }),
                ),
                (
                    1,
                    calls!([store, keys, value] i => {
                        store.set(&keys[i % KEYS], &value).await.expect(FAILED)
                    }),
                ),
            );
        }
    }
    batches(bench, &redis, &store, &keys);
    block
        .block_on(store.delete_many(keys.iter()))
        .expect(FAILED);
    block.block_on(store.close()).expect(FAILED);
    cluster(bench);
}

fn batches(
    bench: &Bench,
    redis: &MultiplexedConnection,
    store: &KeyValueStore<Bytes>,
    keys: &Arc<Vec<String>>,
) {
    let value = Bytes::from(vec![b'v'; 256]);
    for key in keys.iter() {
        bench
            .runtime
            .block_on(store.set(key, &value))
            .expect(FAILED);
    }
    let batch = |i: usize| i * BATCH % KEYS..i * BATCH % KEYS + BATCH;
    let get_many = calls!([store, keys] i => store.get_many(&keys[batch(i)]).await.expect(FAILED));
    let set_many = calls!([store, keys, value] i => {
        let items = keys[batch(i)].iter().map(|key| (key, &value));
        store.set_many(items, SetOptions::new()).await.expect(FAILED)
    });

    bench.table(
        "Redis, a batch of 64 against `redis`, per item",
        "redis",
        "kvstore",
    );
    bench.row(
        "`get_many`, 256 bytes",
        1,
        (
            BATCH,
            calls!([redis, keys] i => {
                let mut redis = redis.clone();
                let found: Vec<Option<Vec<u8>>> = redis.mget(&keys[batch(i)]).await.expect(FAILED);
                found
            }),
        ),
        (BATCH, &get_many),
    );
    bench.row(
        "`set_many`, 256 bytes",
        1,
        (
            BATCH,
            calls!([redis, keys, value] i => {
                let mut redis = redis.clone();
                let items: Vec<_> = keys[batch(i)].iter().map(|key| (key, &value[..])).collect();
                let () = redis.mset(&items).await.expect(FAILED);
            }),
        ),
        (BATCH, &set_many),
    );

    bench.table(
        "Redis, a batch of 64 against 64 single calls, per item",
        "single",
        "batch",
    );
    bench.row(
        "`get_many`, 256 bytes",
        1,
        (
            1,
            calls!([store, keys] i => store.get(&keys[i % KEYS]).await.expect(FAILED)),
        ),
        (BATCH, get_many),
    );
    bench.row(
        "`set_many`, 256 bytes",
        1,
        (
            1,
            calls!([store, keys, value] i => {
                store.set(&keys[i % KEYS], &value).await.expect(FAILED)
            }),
        ),
        (BATCH, set_many),
    );
}

/// A cluster, whose batches go to three nodes.
fn cluster(bench: &Bench) {
    let url = RedisCluster::shared().url("");
    let block = &bench.runtime;
    let nodes = RedisCluster::shared().hosts();
    let nodes: Vec<_> = nodes
        .split(',')
        .map(|node| format!("redis://{node}"))
        .collect();
    let redis = ClusterClientBuilder::new(nodes)
        .response_timeout(DEADLINE)
        .build()
        .expect(FAILED);
    let redis = block.block_on(redis.get_async_connection()).expect(FAILED);
    let store = block.block_on(store(&url));
    let root = kvstore_testsuite::unique_root();
    let keys: Arc<Vec<String>> = Arc::new((0..KEYS).map(|i| format!("{root}/{i}")).collect());
    let value = Bytes::from(vec![b'v'; 256]);
    let items = keys.iter().map(|key| (key, &value));
    block
        .block_on(store.set_many(items, SetOptions::new()))
        .expect(FAILED);
    let batch = |i: usize| i * BATCH % KEYS..i * BATCH % KEYS + BATCH;
    let raw = calls!([redis, keys] i => {
        let mut redis = redis.clone();
        let found: Option<Vec<u8>> = redis.get(&keys[i % KEYS]).await.expect(FAILED);
        found
    });
    let raw_set = calls!([redis, keys, value] i => {
        let mut redis = redis.clone();
        let () = redis.set(&keys[i % KEYS], &value[..]).await.expect(FAILED);
    });
    let get = calls!([store, keys] i => store.get(&keys[i % KEYS]).await.expect(FAILED));
    let get_many = calls!([store, keys] i => store.get_many(&keys[batch(i)]).await.expect(FAILED));
    let set_many = calls!([store, keys, value] i => {
        let items = keys[batch(i)].iter().map(|key| (key, &value));
        store.set_many(items, SetOptions::new()).await.expect(FAILED)
    });
    bench.table(
        "Redis Cluster of six nodes, against `redis`",
        "redis",
        "kvstore",
    );
    for tasks in TASKS {
        bench.row("`get`, 256 bytes", tasks, (1, &raw), (1, &get));
    }
    bench.table(
        "Redis Cluster, a batch of 64 against 64 calls of `redis`, per item",
        "redis",
        "kvstore",
    );
    bench.row("`get_many`, 256 bytes", 1, (1, &raw), (BATCH, get_many));
    bench.row("`set_many`, 256 bytes", 1, (1, raw_set), (BATCH, set_many));
    block
        .block_on(store.delete_many(keys.iter()))
        .expect(FAILED);
    block.block_on(store.close()).expect(FAILED);
}

const DEADLINE: Duration = Duration::from_secs(5);

async fn store(url: &str) -> KeyValueStore<Bytes> {
    let registry = Registry::new().with::<RedisProvider>();
    KeyValueStore::bytes(registry.open(url).await.expect(FAILED))
}

/// The driver, with a deadline as the provider has it.
async fn raw(url: &str) -> MultiplexedConnection {
    let client = Client::open(url).expect("the suite's URL is one that the driver knows");
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(DEADLINE));
    let connected = client.get_multiplexed_async_connection_with_config(&config);
    connected.await.expect(FAILED)
}
