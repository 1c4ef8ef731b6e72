//! The Redis provider against `fred`, the driver below it, with the settings that the provider gives it.

use std::sync::Arc;
use std::time::Duration;

use fred::clients::Client;
use fred::interfaces::{ClientLike as _, KeysInterface as _};
use fred::types::Value;
use fred::types::config::{
    Config, ConnectionConfig, PerformanceConfig, ReconnectPolicy, TcpConfig,
};
use kvstore_core::{Bytes, KeyValueStore, Registry, SetOptions};
use kvstore_redis::RedisProvider;
use kvstore_testsuite::servers::Redis;

use crate::measure::{BATCH, Bench, KEYS, SIZES, TASKS, calls};

const FAILED: &str = "the Redis of this run answers";

pub(crate) fn run(bench: &Bench) {
    let url = Redis::shared().url();
    let block = &bench.runtime;
    let fred = block.block_on(raw(url));
    let registry = Registry::new().with::<RedisProvider>();
    let opened = block.block_on(registry.open(url)).expect(FAILED);
    let store = KeyValueStore::bytes(opened);
    // The same keys on both sides, and nobody else's.
    let root = kvstore_testsuite::unique_root();
    let keys: Arc<Vec<String>> = Arc::new((0..KEYS).map(|i| format!("{root}/{i}")).collect());

    bench.table("Redis, against `fred`", "fred", "kvstore");
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
                    calls!([fred, keys] i => {
                        let key = &keys[i % KEYS][..];
                        fred.get::<Option<Bytes>, _>(key).await.expect(FAILED)
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
                    calls!([fred, keys, value] i => {
                        let (key, value) = (&keys[i % KEYS][..], value.clone());
                        fred.set::<(), _, _>(key, value, None, None, false).await.expect(FAILED)
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
    batches(bench, &fred, &store, &keys);
    block
        .block_on(store.delete_many(keys.iter()))
        .expect(FAILED);
    block.block_on(store.close()).expect(FAILED);
    block.block_on(fred.quit()).expect(FAILED);
}

fn batches(bench: &Bench, fred: &Client, store: &KeyValueStore<Bytes>, keys: &Arc<Vec<String>>) {
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
        "Redis, a batch of 64 against `fred`, per item",
        "fred",
        "kvstore",
    );
    bench.row(
        "`get_many`, 256 bytes",
        1,
        (
            BATCH,
            calls!([fred, keys] i => {
                let keys: Vec<&str> = keys[batch(i)].iter().map(|key| &key[..]).collect();
                fred.mget::<Vec<Option<Bytes>>, _>(keys).await.expect(FAILED)
            }),
        ),
        (BATCH, &get_many),
    );
    bench.row(
        "`set_many`, 256 bytes",
        1,
        (
            BATCH,
            calls!([fred, keys, value] i => {
                let item = |key: &String| (key.clone(), Value::Bytes(value.clone()));
                let items: Vec<_> = keys[batch(i)].iter().map(item).collect();
                fred.mset(items).await.expect(FAILED)
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

/// The driver with the provider's settings.
async fn raw(url: &str) -> Client {
    let timeout = Duration::from_secs(5);
    let connection = ConnectionConfig {
        max_command_attempts: 1,
        tcp: TcpConfig {
            nodelay: Some(true),
            ..TcpConfig::default()
        },
        ..ConnectionConfig::default()
    };
    let performance = PerformanceConfig {
        default_command_timeout: timeout,
        ..PerformanceConfig::default()
    };
    let policy = ReconnectPolicy::new_exponential(0, 10, 2_000, 2);
    let config = Config::from_url(url).expect("the suite's URL is one that fred knows");
    let client = Client::new(config, Some(performance), Some(connection), Some(policy));
    client.init().await.expect(FAILED);
    client
}
