//! The ZooKeeper provider against `zookeeper-client`, each over one connection.
//!
//! At one server a read sees what another client wrote. In an ensemble the driver's read is a `sync` and a read, which
//! are sent together, and at the leader it may miss something all the same. Values are raw on both sides.

use std::sync::Arc;

use kvstore_core::{KeyValueStore, Registry, SetOptions};
use kvstore_testsuite::servers::{ZooKeeper, ZooKeeperEnsemble};
use kvstore_zookeeper::{ZooKeeperConfig, ZooKeeperProvider};
use zookeeper_client::{Acls, Client, CreateMode};

use crate::measure::{BATCH, Bench, KEYS, SIZES, calls};

const FAILED: &str = "the ZooKeeper of this run answers";

/// How many tasks call at the same time.
const TASKS: [usize; 2] = [1, 64];

pub(crate) fn run(bench: &Bench) {
    let (zookeeper, root) = (ZooKeeper::shared(), kvstore_testsuite::unique_root());
    let block = &bench.runtime;
    let registry = Registry::new().with::<ZooKeeperProvider>();
    let opened = block.block_on(registry.open(&zookeeper.url(&format!("/{root}"))));
    let store = KeyValueStore::text(opened.expect(FAILED));
    let address = zookeeper.address().to_string();
    let driver = block.block_on(Client::connect(&address)).expect(FAILED);
    let keys: Arc<Vec<String>> = Arc::new((0..KEYS).map(|i| format!("key:{i}")).collect());
    let paths = keys.iter().map(|key| format!("/{root}-driver-{key}"));
    let paths: Arc<Vec<String>> = Arc::new(paths.collect());
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    for path in paths.iter() {
        block
            .block_on(driver.create(path, b"", &options))
            .expect(FAILED);
    }

    bench.table(
        "ZooKeeper, against `zookeeper-client`",
        "zookeeper-client",
        "kvstore",
    );
    for size in SIZES {
        let value = "v".repeat(size);
        let items = keys.iter().map(|key| (key, &value));
        block
            .block_on(store.set_many(items, SetOptions::new()))
            .expect(FAILED);
        for path in paths.iter() {
            block
                .block_on(driver.set_data(path, value.as_bytes(), None))
                .expect(FAILED);
        }
        for tasks in TASKS {
            bench.row(
                &format!("`get`, {size} bytes"),
                tasks,
                (
                    1,
                    calls!([driver, paths] i => {
                        driver.get_data(&paths[i % KEYS]).await.expect(FAILED)
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
                    calls!([driver, paths, value] i => {
                        let path = &paths[i % KEYS];
                        driver.set_data(path, value.as_bytes(), None).await.expect(FAILED)
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
    batches(bench, &store, &driver, &keys, &paths);
    block
        .block_on(store.delete_many(keys.iter()))
        .expect(FAILED);
    for path in paths.iter() {
        block.block_on(driver.delete(path, None)).expect(FAILED);
    }
    block.block_on(store.close()).expect(FAILED);
    ensemble(bench);
}

/// What it costs that reads at one server see what was written at another.
fn ensemble(bench: &Bench) {
    let ensemble = ZooKeeperEnsemble::start();
    let block = &bench.runtime;
    let leader = ensemble.leader();
    let value = "v".repeat(256);
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    bench.table(
        "ZooKeeper, three servers, against `sync` and a read of `zookeeper-client`",
        "zookeeper-client",
        "kvstore",
    );
    for (at, server) in [("a follower", (leader + 1) % 3), ("the leader", leader)] {
        let address = ensemble.address(server);
        let config = ZooKeeperConfig::new("127.0.0.1", address.port())
            .server("localhost", address.port())
            .root(format!("/{}", kvstore_testsuite::unique_root()));
        let connected = block.block_on(ZooKeeperProvider::connect(config));
        let store = KeyValueStore::text(connected.expect(FAILED));
        block.block_on(store.set("key", &value)).expect(FAILED);
        let driver = block.block_on(Client::connect(&address.to_string()));
        let driver = driver.expect(FAILED);
        let path = format!("/{}", kvstore_testsuite::unique_root());
        let created = block.block_on(driver.create(&path, value.as_bytes(), &options));
        created.expect(FAILED);
        bench.row(
            &format!("`get`, 256 bytes, at {at}"),
            1,
            (
                1,
                calls!([driver, path] _i => {
                    let (synced, found) = (driver.sync(&path), driver.get_data(&path));
                    synced.await.expect(FAILED);
                    found.await.expect(FAILED)
                }),
            ),
            (
                1,
                calls!([store] _i => store.get("key").await.expect(FAILED)),
            ),
        );
        block.block_on(store.close()).expect(FAILED);
    }
}

fn batches(
    bench: &Bench,
    store: &KeyValueStore<String>,
    driver: &Client,
    keys: &Arc<Vec<String>>,
    paths: &Arc<Vec<String>>,
) {
    let value = "v".repeat(256);
    let batch = |i: usize| i * BATCH % KEYS..i * BATCH % KEYS + BATCH;
    bench.table(
        "ZooKeeper, a batch of 64 against a multi of `zookeeper-client`, per item",
        "zookeeper-client",
        "kvstore",
    );
    bench.row(
        "`get_many`, 256 bytes",
        1,
        (
            BATCH,
            calls!([driver, paths] i => {
                let mut reader = driver.new_multi_reader();
                for path in &paths[batch(i)] {
                    reader.add_get_data(path).expect(FAILED);
                }
                reader.commit().await.expect(FAILED)
            }),
        ),
        (
            BATCH,
            calls!([store, keys] i => store.get_many(&keys[batch(i)]).await.expect(FAILED)),
        ),
    );
    bench.row(
        "`set_many`, 256 bytes",
        1,
        (
            BATCH,
            calls!([driver, paths, value] i => {
                let mut writer = driver.new_multi_writer();
                for path in &paths[batch(i)] {
                    writer.add_set_data(path, value.as_bytes(), None).expect(FAILED);
                }
                writer.commit().await.expect(FAILED)
            }),
        ),
        (
            BATCH,
            calls!([store, keys, value] i => {
                let items = keys[batch(i)].iter().map(|key| (key, &value));
                store.set_many(items, SetOptions::new()).await.expect(FAILED)
            }),
        ),
    );
}
