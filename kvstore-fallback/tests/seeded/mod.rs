//! A provider whose keys begin in the old one of two.

use std::sync::Arc;

use kvstore_core::{
    BoxStream, Bytes, Capabilities, DeleteRequest, Entry, Format, GetRequest, KeysRequest, Outcome,
    Provider, Result, ServerInfo, SetRequest, TouchRequest, async_trait,
};
use kvstore_fallback::FallbackProvider;
use tokio::sync::Mutex;

/// A plain write goes to the old provider as long as the new one has nothing of the key, as it did before the move;
/// all else goes to the two. So whatever the contract does with a key that it has set, it does with one that has
/// to move first.
#[derive(Clone)]
pub(crate) struct Seeded {
    new: Arc<dyn Provider>,
    old: Arc<dyn Provider>,
    both: FallbackProvider,
    /// One write after the other: nobody writes to the old one alone while others move.
    turn: Arc<Mutex<()>>,
}

impl Seeded {
    pub(crate) fn new(new: impl Provider, old: impl Provider) -> Self {
        let (new, old): (Arc<dyn Provider>, Arc<dyn Provider>) = (Arc::new(new), Arc::new(old));
        let both = FallbackProvider::new(Arc::clone(&new), Arc::clone(&old)).unwrap();
        Self {
            new,
            old,
            both,
            turn: Arc::default(),
        }
    }

    async fn set_in_turn(&self, request: SetRequest<'_>) -> Result<Outcome> {
        let in_new = GetRequest::new(request.key, Format::Text);
        let fits = request.key.as_str().len() <= self.old.capabilities().max_key_len
            && self
                .old
                .capabilities()
                .max_value_len
                .is_none_or(|limit| request.value.len() <= limit);
        if request.condition.is_none() && fits && !self.new.has(in_new).await? {
            return self.old.set(request).await;
        }
        self.both.set(request).await
    }
}

#[async_trait]
impl Provider for Seeded {
    fn capabilities(&self) -> &Capabilities {
        self.both.capabilities()
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        self.both.get(request).await
    }

    async fn set(&self, request: SetRequest<'_>) -> Result<Outcome> {
        let _turn = self.turn.lock().await;
        self.set_in_turn(request).await
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> Result<Outcome> {
        let _turn = self.turn.lock().await;
        self.both.delete(request).await
    }

    async fn has(&self, request: GetRequest<'_>) -> Result<bool> {
        self.both.has(request).await
    }

    async fn get_entry(&self, request: GetRequest<'_>) -> Result<Option<Entry<Bytes>>> {
        let _turn = self.turn.lock().await;
        self.both.get_entry(request).await
    }

    async fn take(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        let _turn = self.turn.lock().await;
        self.both.take(request).await
    }

    async fn touch(&self, request: TouchRequest<'_>) -> Result<bool> {
        let _turn = self.turn.lock().await;
        self.both.touch(request).await
    }

    async fn get_many(&self, requests: &[GetRequest<'_>]) -> Vec<Result<Option<Bytes>>> {
        self.both.get_many(requests).await
    }

    async fn set_many(&self, requests: &[SetRequest<'_>]) -> Vec<Result<Outcome>> {
        let _turn = self.turn.lock().await;
        self.both.set_many(requests).await
    }

    async fn delete_many(&self, requests: &[DeleteRequest<'_>]) -> Vec<Result<Outcome>> {
        let _turn = self.turn.lock().await;
        self.both.delete_many(requests).await
    }

    fn keys(&self, request: KeysRequest) -> BoxStream<'static, Result<String>> {
        self.both.keys(request)
    }

    async fn ping(&self) -> Result<ServerInfo> {
        self.both.ping().await
    }

    async fn close(&self) -> Result<()> {
        self.both.close().await
    }
}
