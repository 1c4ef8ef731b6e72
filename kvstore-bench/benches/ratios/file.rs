//! The embedded provider against `redb`, called as async code has to call what blocks: by `spawn_blocking`.

use std::path::PathBuf;
use std::sync::Arc;

use kvstore_core::{Bytes, KeyValueStore, Registry, SetOptions};
use kvstore_file::FileProvider;
use redb::{Database, ReadableDatabase as _, TableDefinition};
use tokio::task::spawn_blocking;

use crate::measure::{BATCH, Bench, KEYS, SIZES, calls};

const FAILED: &str = "the file does not fail";

/// How many tasks call at the same time.
const TASKS: [usize; 2] = [1, 64];

const TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("table");

pub(crate) fn run(bench: &Bench) {
    let folder = Folder::new();
    let registry = Registry::new().with::<FileProvider>();
    let url = format!("file:{}/kvstore.redb", folder.0.display());
    let opened = bench.runtime.block_on(registry.open(&url));
    let store = KeyValueStore::bytes(opened.expect(FAILED));
    let redb = Arc::new(Database::create(folder.0.join("redb.redb")).expect(FAILED));
    let keys: Arc<Vec<String>> = Arc::new((0..KEYS).map(|i| format!("key/{i}")).collect());

    bench.table("File, against `redb`", "redb", "kvstore");
    for size in SIZES {
        let value = Bytes::from(vec![b'v'; size]);
        set(&redb, keys.iter().map(|key| (key, &value)));
        let items = keys.iter().map(|key| (key, &value));
        let stored = store.set_many(items, SetOptions::new());
        bench.runtime.block_on(stored).expect(FAILED);
        for tasks in TASKS {
            bench.row(
                &format!("`get`, {size} bytes"),
                tasks,
                (
                    1,
                    calls!([redb, keys] i => {
                        let (redb, keys) = (Arc::clone(&redb), Arc::clone(&keys));
                        spawn_blocking(move || get(&redb, &keys[i % KEYS])).await.expect(FAILED)
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
                &format!("`set`, {size} bytes, in redb a commit each"),
                tasks,
                (
                    1,
                    calls!([redb, keys, value] i => {
                        let (redb, keys, value) = (Arc::clone(&redb), Arc::clone(&keys), value.clone());
                        spawn_blocking(move || set(&redb, [(&keys[i % KEYS], &value)])).await.expect(FAILED)
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
    batches(bench, &redb, &store, &keys);
    bench.runtime.block_on(store.close()).expect(FAILED);
}

fn batches(
    bench: &Bench,
    redb: &Arc<Database>,
    store: &KeyValueStore<Bytes>,
    keys: &Arc<Vec<String>>,
) {
    let value = Bytes::from(vec![b'v'; 256]);
    let batch = |i: usize| i * BATCH % KEYS..i * BATCH % KEYS + BATCH;
    bench.table(
        "File, a batch of 64 against `redb`, per item",
        "redb",
        "kvstore",
    );
    bench.row(
        "`get_many`, 256 bytes",
        1,
        (
            BATCH,
            calls!([redb, keys] i => {
                let (redb, keys) = (Arc::clone(&redb), Arc::clone(&keys));
                let get_all = move || {
                    let table = redb.begin_read().expect(FAILED).open_table(TABLE).expect(FAILED);
                    let get = |key: &String| Some(table.get(key.as_str()).expect(FAILED)?.value().to_vec());
                    keys[batch(i)].iter().map(get).collect::<Vec<_>>()
                };
                spawn_blocking(get_all).await.expect(FAILED)
            }),
        ),
        (
            BATCH,
            calls!([store, keys] i => store.get_many(&keys[batch(i)]).await.expect(FAILED)),
        ),
    );
    bench.row(
        "`set_many`, 256 bytes, in redb one commit",
        1,
        (
            BATCH,
            calls!([redb, keys, value] i => {
                let (redb, keys, value) = (Arc::clone(&redb), Arc::clone(&keys), value.clone());
                let set_all = move || set(&redb, keys[batch(i)].iter().map(|key| (key, &value)));
                spawn_blocking(set_all).await.expect(FAILED)
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

fn get(redb: &Database, key: &str) -> Option<Vec<u8>> {
    let table = redb.begin_read().expect(FAILED).open_table(TABLE);
    let found = table.expect(FAILED).get(key).expect(FAILED)?;
    Some(found.value().to_vec())
}

fn set<'a>(redb: &Database, items: impl IntoIterator<Item = (&'a String, &'a Bytes)>) {
    let transaction = redb.begin_write().expect(FAILED);
    let mut table = transaction.open_table(TABLE).expect(FAILED);
    for (key, value) in items {
        table.insert(key.as_str(), &**value).expect(FAILED);
    }
    drop(table);
    transaction.commit().expect(FAILED);
}

/// A folder on the disk that this program was built on, and not in memory as that for temporary files may be.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = kvstore_testsuite::unique_root();
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir(&path).expect("a folder can be made");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left of it is no reason to fail.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
