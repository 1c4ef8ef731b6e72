//! The in-process provider against a bare `dashmap`.

use std::sync::Arc;

use dashmap::DashMap;
use kvstore_core::{Bytes, KeyValueStore, Registry, SetOptions};
use kvstore_memory::MemoryProvider;

use crate::measure::{BATCH, Bench, KEYS, SIZES, TASKS, calls};

const FAILED: &str = "memory does not fail";

pub(crate) fn run(bench: &Bench) {
    let registry = Registry::new().with::<MemoryProvider>();
    let opened = bench.runtime.block_on(registry.open("memory:"));
    let store = KeyValueStore::bytes(opened.expect(FAILED));
    let map = Arc::new(DashMap::<String, Bytes>::new());
    let keys: Arc<Vec<String>> = Arc::new((0..KEYS).map(|i| format!("key/{i}")).collect());

    bench.table("memory, against a bare `dashmap`", "dashmap", "kvstore");
    for size in SIZES {
        let value = Bytes::from(vec![b'v'; size]);
        for key in keys.iter() {
            map.insert(key.clone(), value.clone());
            bench
                .runtime
                .block_on(store.set(key, &value))
                .expect(FAILED);
        }
        for tasks in TASKS {
            bench.row(
                &format!("`get`, {size} bytes"),
                tasks,
                (
                    1,
                    calls!([map, keys] i => map.get(&keys[i % KEYS]).map(|found| found.clone())),
                ),
                (
                    1,
                    calls!([store, keys] i => store.get(&keys[i % KEYS]).await.expect(FAILED)),
                ),
            );
        }
        for tasks in TASKS {
            // A new value each time, as an application has it.
            bench.row(
                &format!("`set`, {size} bytes"),
                tasks,
                (
                    1,
                    calls!([map, keys, value] i => {
                        map.insert(keys[i % KEYS].clone(), Bytes::copy_from_slice(&value))
                    }),
                ),
                (
                    1,
                    calls!([store, keys, value] i => {
                        let value = Bytes::copy_from_slice(&value);
                        store.set(&keys[i % KEYS], value).await.expect(FAILED)
                    }),
                ),
            );
        }
    }

    bench.table(
        "memory, a batch of 64 against 64 single calls, per item",
        "single",
        "batch",
    );
    let value = Bytes::from(vec![b'v'; 256]);
    bench.row(
        "`get_many`, 256 bytes",
        1,
        (
            1,
            calls!([store, keys] i => store.get(&keys[i % KEYS]).await.expect(FAILED)),
        ),
        (
            BATCH,
            calls!([store, keys] i => {
                let from = i * BATCH % KEYS;
                store.get_many(&keys[from..from + BATCH]).await.expect(FAILED)
            }),
        ),
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
        (
            BATCH,
            calls!([store, keys, value] i => {
                let from = i * BATCH % KEYS;
                let items = keys[from..from + BATCH].iter().map(|key| (key, &value));
                store.set_many(items, SetOptions::new()).await.expect(FAILED)
            }),
        ),
    );
}
