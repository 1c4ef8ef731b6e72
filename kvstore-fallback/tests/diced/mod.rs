//! A provider whose calls begin and end at random, by dice that fall the same way again.

use std::sync::{Arc, Mutex};

use kvstore_core::{
    BoxStream, Bytes, Capabilities, DeleteRequest, Entry, GetRequest, KeysRequest, Outcome,
    Provider, Result, ServerInfo, SetRequest, TouchRequest, async_trait,
};
use tokio::task::yield_now;

/// A random number generator (xorshift), so that a run that fails can be made again.
#[derive(Clone)]
pub(crate) struct Dice(Arc<Mutex<u64>>);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(
            seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        )))
    }

    pub(crate) fn roll(&self, sides: u64) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 11) % sides
    }

    /// Lets others go on, for some turns.
    pub(crate) async fn wait(&self) {
        for _ in 0..self.roll(4) {
            yield_now().await;
        }
    }
}

/// A provider whose calls begin and end when the dice say.
#[derive(Clone)]
pub(crate) struct Diced {
    pub(crate) inner: Arc<dyn Provider>,
    pub(crate) dice: Dice,
}

impl Diced {
    async fn at_random<T>(&self, call: impl Future<Output = T>) -> T {
        self.dice.wait().await;
        let answer = call.await;
        self.dice.wait().await;
        answer
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Provider for Diced {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        self.at_random(self.inner.get(request)).await
    }

    async fn set(&self, request: SetRequest<'_>) -> Result<Outcome> {
        self.at_random(self.inner.set(request)).await
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> Result<Outcome> {
        self.at_random(self.inner.delete(request)).await
    }

    async fn has(&self, request: GetRequest<'_>) -> Result<bool> {
        self.at_random(self.inner.has(request)).await
    }

    async fn get_entry(&self, request: GetRequest<'_>) -> Result<Option<Entry<Bytes>>> {
        self.at_random(self.inner.get_entry(request)).await
    }

    async fn take(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        self.at_random(self.inner.take(request)).await
    }

    async fn touch(&self, request: TouchRequest<'_>) -> Result<bool> {
        self.at_random(self.inner.touch(request)).await
    }

    async fn get_many(&self, requests: &[GetRequest<'_>]) -> Vec<Result<Option<Bytes>>> {
        self.at_random(self.inner.get_many(requests)).await
    }

    async fn set_many(&self, requests: &[SetRequest<'_>]) -> Vec<Result<Outcome>> {
        self.at_random(self.inner.set_many(requests)).await
    }

    async fn delete_many(&self, requests: &[DeleteRequest<'_>]) -> Vec<Result<Outcome>> {
        self.at_random(self.inner.delete_many(requests)).await
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
