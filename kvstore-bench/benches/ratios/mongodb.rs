//! The MongoDB provider against `mongodb`, the driver below it, on as many connections.
//!
//! Each write changes the value: MongoDB does not write what is there already, and the provider always changes
//! the version.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kvstore_core::{Bytes, KeyValueStore, Registry, SetOptions};
use kvstore_mongodb::MongoDbProvider;
use kvstore_testsuite::servers::MongoDb;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Document, RawDocumentBuf, doc};
use mongodb::options::{ClientOptions, WriteConcern};
use mongodb::{Client, Collection};
use tokio::task::JoinSet;

use crate::measure::{BATCH, Bench, KEYS, SIZES, calls};

const FAILED: &str = "the MongoDB of this run answers";

/// How many tasks call at the same time; the provider has 100 connections.
const TASKS: [usize; 2] = [1, 64];

pub(crate) fn run(bench: &Bench) {
    let root = kvstore_testsuite::unique_root();
    let url = MongoDb::shared().url(&format!("collection={root}"));
    let block = &bench.runtime;
    let registry = Registry::new().with::<MongoDbProvider>();
    let store = KeyValueStore::bytes(block.block_on(registry.open(&url)).expect(FAILED));
    let driver = block.block_on(raw(&root));
    let keys: Arc<Vec<String>> = Arc::new((0..KEYS).map(|i| format!("{root}/{i}")).collect());

    bench.table("MongoDB, against `mongodb`", "mongodb", "kvstore");
    for size in SIZES {
        fill(bench, &store, &keys, size);
        for tasks in TASKS {
            bench.row(
                &format!("`get`, {size} bytes"),
                tasks,
                (
                    1,
                    calls!([driver, keys] i => {
                        let driver: Collection<RawDocumentBuf> = driver.clone_with_type();
                        let found = driver.find_one(doc! {"_id": &keys[i % KEYS]}).await.expect(FAILED);
                        let found = found.expect("it was set");
                        Bytes::copy_from_slice(found.get_binary("value").expect("it is binary").bytes)
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
                    calls!([driver, keys] i => {
                        let key = &keys[i % KEYS];
                        let bytes = value(size);
                        let binary = Binary { subtype: BinarySubtype::Generic, bytes };
                        let document = doc! {"_id": key, "value": binary};
                        driver.replace_one(doc! {"_id": key}, document).upsert(true).await.expect(FAILED)
                    }),
                ),
                (
                    1,
                    calls!([store, keys] i => {
                        store.set(&keys[i % KEYS], value(size)).await.expect(FAILED)
                    }),
                ),
            );
        }
    }
    batches(bench, &store, &keys);
    block
        .block_on(store.delete_many(keys.iter()))
        .expect(FAILED);
    block.block_on(store.close()).expect(FAILED);
    block.block_on(driver.drop().into_future()).expect(FAILED);
}

fn batches(bench: &Bench, store: &KeyValueStore<Bytes>, keys: &Arc<Vec<String>>) {
    fill(bench, store, keys, 256);
    let batch = |i: usize| i * BATCH % KEYS..i * BATCH % KEYS + BATCH;
    bench.table(
        "MongoDB, a batch of 64 against 64 tasks with a call each, per item",
        "single",
        "batch",
    );
    bench.row(
        "`get_many`, 256 bytes",
        1,
        (
            BATCH,
            calls!([store, keys] i => {
                let mut calls = JoinSet::new();
                for place in batch(i) {
                    let (store, keys) = (store.clone(), Arc::clone(&keys));
                    calls.spawn(async move { store.get(&keys[place]).await.expect(FAILED) });
                }
                calls.join_all().await
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
            calls!([store, keys] i => {
                let mut calls = JoinSet::new();
                for place in batch(i) {
                    let (store, keys) = (store.clone(), Arc::clone(&keys));
                    calls.spawn(async move { store.set(&keys[place], value(256)).await.expect(FAILED) });
                }
                calls.join_all().await
            }),
        ),
        (
            BATCH,
            calls!([store, keys] i => {
                let items = keys[batch(i)].iter().map(|key| (key, value(256)));
                store.set_many(items, SetOptions::new()).await.expect(FAILED)
            }),
        ),
    );
}

fn fill(bench: &Bench, store: &KeyValueStore<Bytes>, keys: &[String], size: usize) {
    let items = keys.iter().map(|key| (key, value(size)));
    let set = store.set_many(items, SetOptions::new());
    bench.runtime.block_on(set).expect(FAILED);
}

/// Another value for each call.
fn value(size: usize) -> Vec<u8> {
    static CALL: AtomicU64 = AtomicU64::new(0);
    let mut value = vec![b'v'; size];
    value[..8].copy_from_slice(&CALL.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    value
}

/// The driver with as many connections and the same write concern.
async fn raw(collection: &str) -> Collection<Document> {
    let url = MongoDb::shared().url("");
    let mut options = ClientOptions::parse(url).await.expect(FAILED);
    options.max_pool_size = Some(100);
    options.write_concern = Some(WriteConcern::majority());
    let client = Client::with_options(options).expect(FAILED);
    let database = client.default_database().expect("the URL names one");
    database.collection(collection)
}
