//! The Redis provider by Upstash's REST API against bare requests, both to the suite's front before a Redis: what a
//! request costs here, and not how far Upstash is.

use std::sync::Arc;
use std::time::Duration;

use kvstore_core::{KeyValueStore, Registry, SetOptions};
use kvstore_redis::RedisProvider;
use kvstore_testsuite::servers::UpstashFront;
use reqwest::Client;

use crate::measure::{BATCH, Bench, KEYS, calls};

const FAILED: &str = "the front of this run answers";

/// How many tasks call at the same time.
const TASKS: [usize; 2] = [1, 16];

pub(crate) fn run(bench: &Bench) {
    let front = UpstashFront::shared();
    let block = &bench.runtime;
    let root = kvstore_testsuite::unique_root();
    let (address, token) = (front.address(), front.token());
    let url = format!("upstash+http://:{token}@{address}?prefix={root}/");
    let registry = Registry::new().with::<RedisProvider>();
    let store = KeyValueStore::text(block.block_on(registry.open(&url)).expect(FAILED));
    // That of `reqwest`, which asks for one also where no TLS is spoken; there may be one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().timeout(Duration::from_secs(5)).build();
    let client = client.expect("without TLS there is nothing that could fail");
    let (front, token) = (Arc::new(front.url()), Arc::new(token.to_owned()));
    let keys: Arc<Vec<String>> = Arc::new((0..KEYS).map(|i| format!("{i}")).collect());
    let value = "v".repeat(256);
    let items = keys.iter().map(|key| (key, &value));
    block
        .block_on(store.set_many(items, SetOptions::new()))
        .expect(FAILED);
    let bodies: Arc<Vec<String>> = Arc::new(
        keys.iter()
            .map(|key| format!(r#"["GET","{root}/{key}"]"#))
            .collect(),
    );
    let ask = calls!([client, front, token, bodies] i => {
        let request = client.post(&front[..]).bearer_auth(&token);
        let request = request.header("upstash-encoding", "base64").body(bodies[i % KEYS].clone());
        request.send().await.expect(FAILED).bytes().await.expect(FAILED)
    });
    let get = calls!([store, keys] i => store.get(&keys[i % KEYS]).await.expect(FAILED));
    bench.table("Upstash by REST, against `reqwest`", "reqwest", "kvstore");
    for tasks in TASKS {
        bench.row("`get`, 256 bytes", tasks, (1, &ask), (1, &get));
    }
    bench.table(
        "Upstash by REST, a batch of 64 against 64 requests, per item",
        "reqwest",
        "kvstore",
    );
    let batch = |i: usize| i * BATCH % KEYS..i * BATCH % KEYS + BATCH;
    bench.row(
        "`get_many`, 256 bytes",
        1,
        (1, ask),
        (
            BATCH,
            calls!([store, keys] i => store.get_many(&keys[batch(i)]).await.expect(FAILED)),
        ),
    );
    block
        .block_on(store.delete_many(keys.iter()))
        .expect(FAILED);
    block.block_on(store.close()).expect(FAILED);
}
