//! A provider in memory that tells formats apart, as MongoDB does: bytes are those of no other type, and text is
//! JSON too.
#![allow(dead_code, reason = "each test program uses some of it")]

use std::sync::{Arc, Mutex};

use kvstore_core::{
    BoxStream, Bytes, Capabilities, DeleteRequest, Entry, ErrorKind, Format, GetRequest, Key,
    KeysRequest, Outcome, Provider, Result, SetRequest, async_trait,
};
use kvstore_memory::MemoryProvider;
use tokio::sync::Barrier;

#[derive(Clone)]
pub(crate) struct Typed {
    inner: MemoryProvider,
    capabilities: Capabilities,
    /// What another caller sets once a value did not read as it was asked for.
    after: Arc<Mutex<Option<(String, Bytes)>>>,
    /// How many writes have to be under way together.
    together: Option<Arc<Barrier>>,
}

impl Default for Typed {
    fn default() -> Self {
        let inner = MemoryProvider::new();
        let (can, mut capabilities) = (inner.capabilities(), Capabilities::new("typed"));
        capabilities.max_key_len = can.max_key_len;
        capabilities.expiry = can.expiry;
        capabilities.if_absent = can.if_absent;
        capabilities.if_present = can.if_present;
        capabilities.versions = can.versions;
        capabilities.keys = can.keys;
        Self {
            inner,
            capabilities,
            after: Arc::default(),
            together: None,
        }
    }
}

fn sign(format: Format) -> u8 {
    match format {
        Format::Text => b't',
        Format::Json => b'j',
        _ => b'b',
    }
}

impl Typed {
    /// After the next value that does not read as it was asked for, another caller sets this one.
    pub(crate) fn after_a_decode_error(&self, key: &str, value: &'static [u8]) {
        let set = (key.to_owned(), Bytes::from_static(value));
        *self.after.lock().unwrap() = Some(set);
    }

    /// No write ends unless another is under way.
    pub(crate) fn in_pairs(mut self) -> Self {
        self.together = Some(Arc::new(Barrier::new(2)));
        self
    }

    async fn set_after(&self) -> Result<()> {
        let set = self.after.lock().unwrap().take();
        if let Some((key, value)) = set {
            let request = SetRequest::new(Key::new(&key)?, Format::Binary, value);
            assert!(self.set(request).await?.is_applied());
        }
        Ok(())
    }
}

#[async_trait]
impl Provider for Typed {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        Ok(self.get_entry(request).await?.map(|entry| entry.value))
    }

    async fn get_entry(&self, request: GetRequest<'_>) -> Result<Option<Entry<Bytes>>> {
        let Some(mut entry) = self.inner.get_entry(request).await? else {
            return Ok(None);
        };
        let value = entry.value.slice(1..);
        entry.value = match (entry.value[0], request.format) {
            (is, asked) if is == sign(asked) => value,
            (b't', Format::Json) => serde_json::to_vec(std::str::from_utf8(&value).unwrap())
                .unwrap()
                .into(),
            _ => {
                self.set_after().await?;
                return Err(ErrorKind::Decode.into());
            }
        };
        Ok(Some(entry))
    }

    async fn has(&self, request: GetRequest<'_>) -> Result<bool> {
        self.inner.has(request).await
    }

    async fn set(&self, mut request: SetRequest<'_>) -> Result<Outcome> {
        if let Some(together) = &self.together {
            together.wait().await;
        }
        request.value = [&[sign(request.format)], &request.value[..]]
            .concat()
            .into();
        self.inner.set(request).await
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> Result<Outcome> {
        self.inner.delete(request).await
    }

    fn keys(&self, request: KeysRequest) -> BoxStream<'static, Result<String>> {
        self.inner.keys(request)
    }
}
