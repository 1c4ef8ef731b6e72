use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use futures_util::future::join;
use kvstore_core::{
    BoxStream, Bytes, Capabilities, DeleteRequest, Entry, Error, ErrorKind, GetRequest,
    KeysRequest, Listing, Outcome, Provider, Result, ServerInfo, SetRequest, TouchRequest,
    Versions, async_trait,
};

use crate::{error, keys, tombstone};

/// A [`Provider`] of two: what is not in the new one is looked for in the old one, and what is written moves to
/// the new one.
///
/// Cheap to clone; clones share the two.
///
/// ```
/// use kvstore_core::{KeyValueStore, Result};
/// use kvstore_fallback::FallbackProvider;
/// use kvstore_memory::MemoryProvider;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
/// let (new, old) = (MemoryProvider::new(), MemoryProvider::new());
/// KeyValueStore::text(old.clone()).set("greeting", "hello").await?;
///
/// let store = KeyValueStore::text(FallbackProvider::new(new.clone(), old.clone())?);
/// assert_eq!(store.get("greeting").await?.as_deref(), Some("hello"));
/// store.set("greeting", "good day").await?;
/// assert_eq!(KeyValueStore::text(new).get("greeting").await?.as_deref(), Some("good day"));
/// assert_eq!(KeyValueStore::text(old).get("greeting").await?, None);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct FallbackProvider {
    pub(crate) both: Arc<Both>,
}

/// The two, and what they can do together.
///
/// A key is in three states, and goes through them in this order alone:
///
/// 1. The old one has it. The new one has nothing, or a copy, which is the same value.
/// 2. The old one does not have it. What the new one has counts.
/// 3. The new one has a tombstone: see there.
///
/// So every write begins by moving its key up, and is then one atomic step in the new one. A reader who found it
/// in neither looks in the new one again: it may have moved between the two looks, and moves one way only.
pub(crate) struct Both {
    pub(crate) new: Arc<dyn Provider>,
    pub(crate) old: Arc<dyn Provider>,
    pub(crate) capabilities: Capabilities,
    /// How long they stay.
    pub(crate) tombstones: Duration,
    /// Whether the versions of the new one are the content.
    pub(crate) by_content: bool,
    /// Whether it is known that they are not the same place.
    pub(crate) are_two: AtomicBool,
}

pub(crate) const NAME: &str = "fallback";

impl FallbackProvider {
    /// Puts a new provider before an old one.
    ///
    /// The old one can be any; the new one must claim expiry, versions and the condition "absent".
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] where the new one does not claim them, is itself one of two, or holds values of a
    /// few bytes only.
    pub fn new(new: impl Provider, old: impl Provider) -> Result<Self> {
        Self::with_tombstones(new, old, tombstone::KEPT)
    }

    /// The same, where deleted keys leave a tombstone in the new provider for so long; with
    /// [`new`](Self::new) it is a minute.
    ///
    /// It must be longer than any copy can take from asking for a key in the old provider to having written the
    /// batch that it is in, see the README. A copy that takes longer brings deleted keys back.
    ///
    /// # Errors
    /// As [`new`](Self::new); also where the time is zero, or longer than 100 years.
    pub fn with_tombstones(new: impl Provider, old: impl Provider, kept: Duration) -> Result<Self> {
        let (new, old): (Arc<dyn Provider>, Arc<dyn Provider>) = (Arc::new(new), Arc::new(old));
        check(new.capabilities(), kept)?;
        let capabilities = capabilities(new.capabilities(), old.capabilities());
        let by_content = capabilities.versions == Some(Versions::Content);
        let both = Both {
            new,
            old,
            capabilities,
            tombstones: kept,
            by_content,
            are_two: AtomicBool::new(false),
        };
        Ok(Self {
            both: Arc::new(both),
        })
    }
}

const HUNDRED_YEARS: Duration = Duration::from_secs(36_525 * 24 * 60 * 60);

fn check(new: &Capabilities, kept: Duration) -> Result<()> {
    let invalid = |message| Err(Error::new(ErrorKind::InvalidConfig, message).with_provider(NAME));
    if new.expiry.is_none() || new.versions.is_none() || !new.if_absent {
        return invalid("the new provider must have expiry, versions and the condition `absent`");
    }
    if new
        .max_value_len
        .is_some_and(|limit| limit < tombstone::LEN)
    {
        return invalid("the new provider's limit for values leaves no room for a tombstone");
    }
    if new.provider == NAME {
        return invalid("the new provider is itself one of two; let the old one be that");
    }
    if kept.is_zero() || kept > HUNDRED_YEARS {
        return invalid("tombstones are kept for more than no time, and at most 100 years");
    }
    Ok(())
}

/// Built up from what is done with the two.
fn capabilities(new: &Capabilities, old: &Capabilities) -> Capabilities {
    let mut both = Capabilities::new(NAME);
    both.max_key_len = new.max_key_len;
    both.max_value_len = new.max_value_len;
    // What has not moved yet expires as it does there.
    both.expiry = new.expiry.max(old.expiry);
    both.touch = true;
    both.if_absent = true;
    both.if_present = true;
    // The old one's values are read and deleted only, so whatever its versions are, they are never of another value.
    both.versions = new.versions;
    both.take = true;
    both.keys = match (new.keys, old.keys) {
        (Some(Listing::Once), Some(Listing::Once)) => Some(Listing::Once),
        (Some(_), Some(_)) => Some(Listing::AtLeastOnce),
        _ => None,
    };
    both.strong_reads = new.strong_reads && old.strong_reads;
    both.retains = new.retains && old.retains;
    both
}

impl Both {
    pub(crate) fn new_failed(&self) -> impl Fn(Error) -> Error {
        |error| error::of("new", &*self.new, error)
    }

    pub(crate) fn old_failed(&self) -> impl Fn(Error) -> Error {
        |error| error::of("old", &*self.old, error)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Provider for FallbackProvider {
    fn capabilities(&self) -> &Capabilities {
        &self.both.capabilities
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        self.both.get(request).await
    }

    async fn set(&self, request: SetRequest<'_>) -> Result<Outcome> {
        self.both.set(request).await
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> Result<Outcome> {
        self.both.delete(request).await
    }

    async fn has(&self, request: GetRequest<'_>) -> Result<bool> {
        self.both.has(request).await
    }

    async fn get_entry(&self, request: GetRequest<'_>) -> Result<Option<Entry<Bytes>>> {
        self.both.get_entry(request).await
    }

    async fn take(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        self.both.take(request).await
    }

    async fn touch(&self, request: TouchRequest<'_>) -> Result<bool> {
        self.both.touch(request).await
    }

    async fn get_many(&self, requests: &[GetRequest<'_>]) -> Vec<Result<Option<Bytes>>> {
        self.both.get_many(requests).await
    }

    async fn set_many(&self, requests: &[SetRequest<'_>]) -> Vec<Result<Outcome>> {
        self.both.set_many(requests).await
    }

    async fn delete_many(&self, requests: &[DeleteRequest<'_>]) -> Vec<Result<Outcome>> {
        self.both.delete_many(requests).await
    }

    fn keys(&self, request: KeysRequest) -> BoxStream<'static, Result<String>> {
        keys::list(Arc::clone(&self.both), request)
    }

    async fn ping(&self) -> Result<ServerInfo> {
        let (new, old) = join(self.both.new.ping(), self.both.old.ping()).await;
        let mut info = new.map_err(self.both.new_failed())?;
        let old = old.map_err(self.both.old_failed())?;
        let mut warn = |warning| info.warnings.push(warning);
        for warning in old.warnings {
            warn(format!("the old provider, {}: {warning}", old.product));
        }
        warn(format!(
            "keys that are not here yet are looked for in {}; what is deleted leaves a tombstone for {:?}",
            old.product, self.both.tombstones
        ));
        Ok(info)
    }

    async fn close(&self) -> Result<()> {
        let (new, old) = join(self.both.new.close(), self.both.old.close()).await;
        new.map_err(self.both.new_failed())?;
        old.map_err(self.both.old_failed())
    }
}

/// Prints the names of the two.
impl fmt::Debug for FallbackProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackProvider")
            .field("new", &self.both.new.capabilities().provider)
            .field("old", &self.both.old.capabilities().provider)
            .field("tombstones", &self.both.tombstones)
            .finish()
    }
}
