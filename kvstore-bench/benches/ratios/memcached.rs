//! The Memcached provider against `async-memcached`, another client, since there is no driver below it.
//!
//! That has one call under way on a connection, so there are as many connections as tasks, up to what serves
//! it best.

use std::ops::Range;
use std::sync::Arc;

use async_memcached::{AsciiProtocol as _, Client};
use kvstore_core::{Bytes, KeyValueStore, Registry, SetOptions};
use kvstore_memcached::MemcachedProvider;
use kvstore_testsuite::servers::Memcached;
use tokio::sync::Mutex;

use crate::measure::{BATCH, Bench, KEYS, SIZES, TASKS, calls};

const FAILED: &str = "the Memcached of this run answers";

/// How many connections the bare client has.
const CONNECTIONS: usize = 64;

/// The bare clients. A task takes the one of its number, and waits for it where there are more tasks.
type Clients = Arc<Vec<Mutex<Client>>>;

pub(crate) fn run(bench: &Bench) {
    let block = &bench.runtime;
    let server = Memcached::shared();
    let clients: Clients = block.block_on(raw(server));
    let registry = Registry::new().with::<MemcachedProvider>();
    let opened = block.block_on(registry.open(&server.url())).expect(FAILED);
    let store = KeyValueStore::bytes(opened);
    // The same keys on both sides, and nobody else's.
    let root = kvstore_testsuite::unique_root();
    let keys: Arc<Vec<String>> = Arc::new((0..KEYS).map(|i| format!("{root}/{i}")).collect());

    bench.table(
        "Memcached, against `async-memcached`",
        "async-memcached",
        "kvstore",
    );
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
                    calls!([clients, keys] i => {
                        let mut client = clients[i % clients.len()].lock().await;
                        client.get(&keys[i % KEYS]).await.expect(FAILED).expect(FAILED)
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
                    calls!([clients, keys, value] i => {
                        let mut client = clients[i % clients.len()].lock().await;
                        client.set(&keys[i % KEYS], &value[..], None, None).await.expect(FAILED)
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
    batches(bench, &clients, &store, &keys);
    block
        .block_on(store.delete_many(keys.iter()))
        .expect(FAILED);
    block.block_on(store.close()).expect(FAILED);
}

fn batches(
    bench: &Bench,
    clients: &Clients,
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
    let batch = |i: usize| -> Range<usize> { i * BATCH % KEYS..i * BATCH % KEYS + BATCH };
    let get_many = calls!([store, keys] i => store.get_many(&keys[batch(i)]).await.expect(FAILED));
    let set_many = calls!([store, keys, value] i => {
        let items = keys[batch(i)].iter().map(|key| (key, &value));
        store.set_many(items, SetOptions::new()).await.expect(FAILED)
    });

    bench.table(
        "Memcached, a batch of 64 against `async-memcached`, per item",
        "async-memcached",
        "kvstore",
    );
    bench.row(
        "`get_many`, 256 bytes",
        1,
        (
            BATCH,
            calls!([clients, keys] i => {
                let mut client = clients[0].lock().await;
                client.get_multi(&keys[batch(i)]).await.expect(FAILED)
            }),
        ),
        (BATCH, &get_many),
    );
    bench.row(
        "`set_many`, 256 bytes",
        1,
        (
            BATCH,
            calls!([clients, keys, value] i => {
                let items: Vec<_> = keys[batch(i)].iter().map(|key| (key, &value[..])).collect();
                let mut client = clients[0].lock().await;
                drop(client.set_multi(&items, None, None).await.expect(FAILED));
            }),
        ),
        (BATCH, &set_many),
    );

    bench.table(
        "Memcached, a batch of 64 against 64 single calls, per item",
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

async fn raw(server: &Memcached) -> Clients {
    let url = format!("tcp://{}", server.address());
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(Mutex::new(Client::new(&url).await.expect(FAILED)));
    }
    Arc::new(clients)
}
