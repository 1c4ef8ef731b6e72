//! A provider that remembers which keys were written, so that they can be deleted.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use kvstore_core::{
    BoxStream, Bytes, Capabilities, DeleteRequest, Entry, GetRequest, KeysRequest, Outcome,
    Provider, Result, ServerInfo, SetRequest, TouchRequest, async_trait,
};

/// The keys that were written, by any of the providers that share it.
#[derive(Clone, Default)]
pub(crate) struct Written(Arc<Mutex<HashSet<String>>>);

impl Written {
    fn add(&self, request: &SetRequest<'_>) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.insert(request.key.as_str().to_owned());
    }

    /// All of them.
    pub(crate) fn take(&self) -> HashSet<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(crate) struct Recorder {
    pub(crate) inner: Arc<dyn Provider>,
    pub(crate) written: Written,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Provider for Recorder {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        self.inner.get(request).await
    }

    async fn set(&self, request: SetRequest<'_>) -> Result<Outcome> {
        self.written.add(&request);
        self.inner.set(request).await
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> Result<Outcome> {
        self.inner.delete(request).await
    }

    async fn has(&self, request: GetRequest<'_>) -> Result<bool> {
        self.inner.has(request).await
    }

    async fn get_entry(&self, request: GetRequest<'_>) -> Result<Option<Entry<Bytes>>> {
        self.inner.get_entry(request).await
    }

    async fn take(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        self.inner.take(request).await
    }

    async fn touch(&self, request: TouchRequest<'_>) -> Result<bool> {
        self.inner.touch(request).await
    }

    async fn get_many(&self, requests: &[GetRequest<'_>]) -> Vec<Result<Option<Bytes>>> {
        self.inner.get_many(requests).await
    }

    async fn set_many(&self, requests: &[SetRequest<'_>]) -> Vec<Result<Outcome>> {
        requests
            .iter()
            .for_each(|request| self.written.add(request));
        self.inner.set_many(requests).await
    }

    async fn delete_many(&self, requests: &[DeleteRequest<'_>]) -> Vec<Result<Outcome>> {
        self.inner.delete_many(requests).await
    }

    fn keys(&self, request: KeysRequest) -> BoxStream<'static, Result<String>> {
        self.inner.keys(request)
    }

    async fn ping(&self) -> Result<ServerInfo> {
        self.inner.ping().await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
