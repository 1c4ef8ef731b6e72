//! The Vault provider against `vaultrs`, on as many connections as either wants.
//!
//! Values are text, which both keep as it is.

use std::sync::Arc;

use kvstore_core::{KeyValueStore, Registry, SetOptions};
use kvstore_testsuite::servers::Vault;
use kvstore_vault::VaultProvider;
use serde::{Deserialize, Serialize};
use vaultrs::client::{VaultClient, VaultClientSettingsBuilder};
use vaultrs::kv2;

use crate::measure::{BATCH, Bench, KEYS, SIZES, calls};

const FAILED: &str = "the Vault of this run answers";

/// How many tasks call at the same time.
const TASKS: [usize; 2] = [1, 16];

#[derive(Deserialize, Serialize)]
struct Secret {
    value: String,
}

pub(crate) fn run(bench: &Bench) {
    let (vault, root) = (Vault::shared(), kvstore_testsuite::unique_root());
    let block = &bench.runtime;
    let registry = Registry::new().with::<VaultProvider>();
    let opened = block.block_on(registry.open(&vault.url(&format!("path={root}"))));
    let store = KeyValueStore::text(opened.expect(FAILED));
    let driver = Arc::new(raw(vault));
    let keys: Arc<Vec<String>> = Arc::new((0..KEYS).map(|i| format!("key/{i}")).collect());
    let paths: Arc<Vec<String>> =
        Arc::new(keys.iter().map(|key| format!("{root}/{key}")).collect());

    bench.table("Vault, against `vaultrs`", "vaultrs", "kvstore");
    for size in SIZES {
        let value = "v".repeat(size);
        let items = keys.iter().map(|key| (key, &value));
        block
            .block_on(store.set_many(items, SetOptions::new()))
            .expect(FAILED);
        for tasks in TASKS {
            bench.row(
                &format!("`get`, {size} bytes"),
                tasks,
                (
                    1,
                    calls!([driver, paths] i => {
                        let path = &paths[i % KEYS];
                        kv2::read::<Secret>(&*driver, Vault::MOUNT, path).await.expect(FAILED).value
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
                        let secret = Secret { value: value.clone() };
                        kv2::set(&*driver, Vault::MOUNT, &paths[i % KEYS], &secret).await.expect(FAILED)
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
    batches(bench, &store, &keys);
    block
        .block_on(store.delete_many(keys.iter()))
        .expect(FAILED);
    block.block_on(store.close()).expect(FAILED);
}

/// Vault has no batches: what they save is waiting for one answer after the other.
fn batches(bench: &Bench, store: &KeyValueStore<String>, keys: &Arc<Vec<String>>) {
    let value = "v".repeat(256);
    let batch = |i: usize| i * BATCH % KEYS..i * BATCH % KEYS + BATCH;
    bench.table(
        "Vault, a batch of 64 against 64 single calls, per item",
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
        (
            BATCH,
            calls!([store, keys] i => store.get_many(&keys[batch(i)]).await.expect(FAILED)),
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
                let items = keys[batch(i)].iter().map(|key| (key, &value));
                store.set_many(items, SetOptions::new()).await.expect(FAILED)
            }),
        ),
    );
}

fn raw(vault: &Vault) -> VaultClient {
    // It asks for the default of the process, which may be there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings = VaultClientSettingsBuilder::default()
        .address(format!("http://{}", vault.address()))
        .token(vault.token())
        .build();
    VaultClient::new(settings.expect("the address is one")).expect("a client can be made")
}
