//! The S3 provider against `object_store`'s own client, on as many connections as either wants.

use std::sync::Arc;

use kvstore_core::{Bytes, KeyValueStore, Registry, SetOptions};
use kvstore_s3::S3Provider;
use kvstore_testsuite::servers::S3;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{HttpClient, HttpConnector};
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStoreExt as _, PutPayload};

use crate::measure::{BATCH, Bench, KEYS, SIZES, calls};

const FAILED: &str = "the S3 of this run answers";

/// How many tasks call at the same time.
const TASKS: [usize; 2] = [1, 16];

pub(crate) fn run(bench: &Bench) {
    let (s3, root) = (S3::shared(), kvstore_testsuite::unique_root());
    let block = &bench.runtime;
    let registry = Registry::new().with::<S3Provider>();
    let opened = block.block_on(registry.open(&s3.url(&format!("prefix={root}/"))));
    let store = KeyValueStore::bytes(opened.expect(FAILED));
    let driver = Arc::new(raw(s3));
    let keys: Arc<Vec<String>> = Arc::new((0..KEYS).map(|i| format!("key/{i}")).collect());
    let path = |key| Path::parse(format!("{root}/{key}")).expect("the key is a path");
    let paths: Arc<Vec<Path>> = Arc::new(keys.iter().map(path).collect());

    bench.table("S3, against `object_store`", "object_store", "kvstore");
    for size in SIZES {
        let value = Bytes::from(vec![b'v'; size]);
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
                        let found = driver.get(&paths[i % KEYS]).await.expect(FAILED);
                        found.bytes().await.expect(FAILED)
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
                        let value = PutPayload::from_bytes(value.clone());
                        driver.put(&paths[i % KEYS], value).await.expect(FAILED)
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

/// S3 has no batches but for deletes: what they save is waiting for one answer after the other.
fn batches(bench: &Bench, store: &KeyValueStore<Bytes>, keys: &Arc<Vec<String>>) {
    let value = Bytes::from(vec![b'v'; 256]);
    let batch = |i: usize| i * BATCH % KEYS..i * BATCH % KEYS + BATCH;
    bench.table(
        "S3, a batch of 64 against 64 single calls, per item",
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

fn raw(s3: &S3) -> AmazonS3 {
    // It asks for the default of the process, which may be there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (id, secret) = s3.access_key();
    let driver = AmazonS3Builder::new()
        .with_endpoint(format!("http://{}", s3.address()))
        .with_allow_http(true)
        .with_bucket_name(s3.bucket())
        .with_access_key_id(id)
        .with_secret_access_key(secret)
        .with_http_connector(Connector);
    driver.build().expect("the address is one")
}

/// Makes a client with the provider's settings that count.
#[derive(Debug)]
struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = reqwest::Client::builder()
            .http1_only()
            .no_proxy()
            .tcp_nodelay(true);
        Ok(HttpClient::new(
            client.build().expect("a client can be made"),
        ))
    }
}
