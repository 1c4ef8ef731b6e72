//! Reading and deleting in the old provider.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::Ordering;
use std::time::Duration;

use kvstore_core::{
    Bytes, DeleteRequest, Entry, Error, ErrorKind, Expiry, Format, GetRequest, Key, Result,
};

use crate::provider::Both;
use crate::tombstone::is_tombstone;

/// How long the key stays at most that proves that the two are not one: longer than any call to them.
const MARKED: Duration = Duration::from_secs(600);

impl Both {
    /// Whether the old provider can have this key: where its limit is lower, it is not asked for longer ones.
    pub(crate) fn old_takes(&self, key: Key<'_>) -> bool {
        key.as_str().len() <= self.old.capabilities().max_key_len
    }

    /// Reads a value in the old provider. A tombstone there, of a move the other way, is nothing.
    pub(crate) async fn get_old(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        self.judge_old(request, self.old.get(request).await).await
    }

    /// The same with version and expiry.
    pub(crate) async fn get_entry_old(
        &self,
        request: GetRequest<'_>,
    ) -> Result<Option<Entry<Bytes>>> {
        match self.old.get_entry(request).await {
            Ok(entry) => Ok(entry.filter(|entry| !is_tombstone(&entry.value))),
            Err(error) => self.judge_old(request, Err(error)).await.map(|_| None),
        }
    }

    /// What the old provider's answer means.
    pub(crate) async fn judge_old(
        &self,
        request: GetRequest<'_>,
        answer: Result<Option<Bytes>>,
    ) -> Result<Option<Bytes>> {
        let error = match answer {
            Ok(value) => return Ok(value.filter(|value| !is_tombstone(value))),
            Err(error) if error.kind() != ErrorKind::Decode || request.format == Format::Text => {
                return Err(self.old_failed()(error));
            }
            Err(error) => error,
        };
        // A tombstone is text, whatever the values are.
        let as_text = GetRequest::new(request.key, Format::Text);
        match self.old.get(as_text).await {
            Ok(Some(text)) if !is_tombstone(&text) => Err(error),
            Ok(_) => Ok(None),
            Err(failed) if failed.kind() == ErrorKind::Decode => Err(error),
            Err(failed) => Err(self.old_failed()(failed)),
        }
    }

    /// Deletes a key in the old provider that the new one has. Where the two are one, that would delete the value
    /// itself, so before the first time it is proved that they are not.
    pub(crate) async fn delete_moved(&self, key: Key<'_>) -> Result<()> {
        if !self.are_two.load(Ordering::Relaxed) {
            self.prove_two().await?;
            self.are_two.store(true, Ordering::Relaxed);
        }
        let deleted = self.old.delete(DeleteRequest::new(key)).await;
        deleted.map(drop).map_err(self.old_failed())
    }

    /// Writes a key of its own to the new provider, and asks the old one for it.
    async fn prove_two(&self) -> Result<()> {
        let random = || RandomState::new().hash_one(());
        let name = format!("kvstore-fallback-{:016x}{:016x}", random(), random());
        let key = Key::new(&name)?;
        // With a tombstone's value, so that nobody takes it for a key.
        let marker = self.tombstone(key).with_expiry(Expiry::After(MARKED));
        let _ = self.new.set(marker).await.map_err(self.new_failed())?;
        let found = self.old.has(GetRequest::new(key, Format::Text)).await;
        // Where that fails, it goes by itself.
        let _ = self.new.delete(DeleteRequest::new(key)).await;
        if found.map_err(self.old_failed())? {
            let message =
                "the new and the old provider are the same place; what moves would be deleted";
            return Err(Error::new(ErrorKind::InvalidConfig, message));
        }
        Ok(())
    }
}
