//! A provider in memory whose versions are the content, as those of Redis and S3 are.

use kvstore_core::{
    BoxStream, Bytes, Capabilities, Condition, DeleteRequest, Entry, Format, GetRequest, Key,
    KeysRequest, Outcome, Provider, Result, SetRequest, Version, Versions, async_trait,
};
use kvstore_memory::MemoryProvider;

#[derive(Clone)]
pub(crate) struct ByContent {
    inner: MemoryProvider,
    capabilities: Capabilities,
}

impl Default for ByContent {
    fn default() -> Self {
        let inner = MemoryProvider::new();
        let (can, mut capabilities) = (inner.capabilities(), Capabilities::new("by content"));
        capabilities.max_key_len = can.max_key_len;
        capabilities.expiry = can.expiry;
        capabilities.if_absent = can.if_absent;
        capabilities.if_present = can.if_present;
        capabilities.versions = Some(Versions::Content);
        capabilities.keys = can.keys;
        Self {
            inner,
            capabilities,
        }
    }
}

/// The values of these tests, and tombstones, are short enough to be versions.
fn version(value: &[u8]) -> Version {
    let digits: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
    Version::new(&digits).unwrap()
}

impl ByContent {
    /// The version inside of what has this content.
    async fn inside(&self, key: Key<'_>, content: &Version) -> Result<Option<Version>> {
        let entry = self.inner.get_entry(GetRequest::new(key, Format::Binary));
        let entry = entry.await?.filter(|e| version(&e.value) == *content);
        Ok(entry.and_then(|entry| entry.version))
    }
}

#[async_trait]
impl Provider for ByContent {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        self.inner.get(request).await
    }

    async fn get_entry(&self, request: GetRequest<'_>) -> Result<Option<Entry<Bytes>>> {
        let entry = self.inner.get_entry(request).await?;
        Ok(entry.map(|mut entry| {
            entry.version = Some(version(&entry.value));
            entry
        }))
    }

    async fn set(&self, request: SetRequest<'_>) -> Result<Outcome> {
        let written = Outcome::Applied(Some(version(&request.value)));
        let Some(Condition::Version(content)) = request.condition.clone() else {
            let outcome = self.inner.set(request).await?;
            return Ok(if outcome.is_applied() {
                written
            } else {
                outcome
            });
        };
        while let Some(inside) = self.inside(request.key, &content).await? {
            let request = request.clone().with_condition(Condition::Version(inside));
            if self.inner.set(request).await?.is_applied() {
                return Ok(written);
            }
        }
        Ok(Outcome::Unmet)
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> Result<Outcome> {
        let Some(content) = &request.version else {
            return self.inner.delete(request).await;
        };
        while let Some(inside) = self.inside(request.key, content).await? {
            let request = DeleteRequest::new(request.key).with_version(inside);
            let outcome = self.inner.delete(request).await?;
            if outcome.is_applied() {
                return Ok(outcome);
            }
        }
        Ok(Outcome::Unmet)
    }

    fn keys(&self, request: KeysRequest) -> BoxStream<'static, Result<String>> {
        self.inner.keys(request)
    }
}
