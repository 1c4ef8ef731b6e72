//! Rotating: one of two at the same time is refused, and a secret lives as long as before.

mod client;

use std::sync::Arc;
use std::time::Duration;

use client::in_this_process;
use kvstore_core::{
    Bytes, Capabilities, DeleteRequest, Entry, GetRequest, KeyValueStore, Outcome, Provider,
    Result, SetRequest, async_trait,
};
use kvstore_memory::MemoryProvider;
use reqwest::Method;
use tokio::sync::Barrier;

/// Gives two callers the same entry before either goes on.
struct InPairs {
    inner: MemoryProvider,
    both_have_read: Arc<Barrier>,
}

#[async_trait]
impl Provider for InPairs {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        self.inner.get(request).await
    }

    async fn get_entry(&self, request: GetRequest<'_>) -> Result<Option<Entry<Bytes>>> {
        let entry = self.inner.get_entry(request).await?;
        self.both_have_read.wait().await;
        Ok(entry)
    }

    async fn set(&self, request: SetRequest<'_>) -> Result<Outcome> {
        self.inner.set(request).await
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> Result<Outcome> {
        self.inner.delete(request).await
    }
}

#[tokio::test]
async fn of_two_at_the_same_time_one_is_refused() {
    let provider = InPairs {
        inner: MemoryProvider::new(),
        both_have_read: Arc::new(Barrier::new(2)),
    };
    let (client, _) = in_this_process(provider).await;
    client.create("name", b"before").await.status(201);
    let (one, other) = tokio::join!(
        client.rotate("name", b"one"),
        client.rotate("name", b"other")
    );
    let rotated: &[u8] = match (one.0, other.0) {
        (204, 409) => b"one",
        (409, 204) => b"other",
        _ => panic!("{one:?}, {other:?}"),
    };
    assert_eq!(client.fetch("name").await.bytes(), rotated);
}

#[tokio::test]
async fn a_secret_lives_as_long_as_before() {
    let provider = MemoryProvider::new();
    let stored = KeyValueStore::bytes(provider.clone());
    let stored = stored.namespace("secrets").unwrap();
    let (client, _) = in_this_process(provider).await;
    let path = "/secrets/short?ttl=3600";
    let created = client.ask(Method::POST, path, b"before").await.unwrap();
    created.status(201);
    client.create("long", b"before").await.status(201);
    for name in ["short", "long"] {
        client.rotate(name, b"after").await.status(204);
    }
    let left = async |name| stored.get_entry(name).await.unwrap().unwrap().expires_in;
    let short = left("short").await;
    assert!(
        short.is_some_and(|left| left <= Duration::from_secs(3600)),
        "{short:?}"
    );
    assert_eq!(left("long").await, None);
}
