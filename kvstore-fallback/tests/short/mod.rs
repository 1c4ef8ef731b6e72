//! A provider of short keys, which must not be asked for longer ones.

use kvstore_core::{
    BoxStream, Bytes, Capabilities, DeleteRequest, Entry, GetRequest, Key, KeysRequest, Outcome,
    Provider, Result, SetRequest, async_trait,
};
use kvstore_memory::MemoryProvider;

#[derive(Clone)]
pub(crate) struct Short {
    inner: MemoryProvider,
    capabilities: Capabilities,
}

impl Short {
    pub(crate) const LIMIT: usize = 300;

    fn check(key: Key<'_>) {
        let len = key.as_str().len();
        assert!(len <= Self::LIMIT, "asked for a key that is too long");
    }
}

impl Default for Short {
    fn default() -> Self {
        let inner = MemoryProvider::new();
        let (can, mut capabilities) = (inner.capabilities(), Capabilities::new("short"));
        capabilities.max_key_len = Self::LIMIT;
        capabilities.expiry = can.expiry;
        capabilities.if_absent = can.if_absent;
        capabilities.if_present = can.if_present;
        capabilities.versions = can.versions;
        capabilities.keys = can.keys;
        Self {
            inner,
            capabilities,
        }
    }
}

#[async_trait]
impl Provider for Short {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        Self::check(request.key);
        self.inner.get(request).await
    }

    async fn get_entry(&self, request: GetRequest<'_>) -> Result<Option<Entry<Bytes>>> {
        Self::check(request.key);
        self.inner.get_entry(request).await
    }

    async fn set(&self, request: SetRequest<'_>) -> Result<Outcome> {
        Self::check(request.key);
        self.inner.set(request).await
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> Result<Outcome> {
        Self::check(request.key);
        self.inner.delete(request).await
    }

    fn keys(&self, request: KeysRequest) -> BoxStream<'static, Result<String>> {
        self.inner.keys(request)
    }
}
