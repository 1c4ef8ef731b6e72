use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kvstore_core::{
    BoxStream, Bytes, Capabilities, Connect, DeleteRequest, Entry, ErrorKind, GetRequest,
    KeysRequest, Listing, Outcome, Provider, Result, ServerInfo, SetRequest, TouchRequest,
    Versions, async_trait,
};
use tokio::task::consume_budget;

use crate::keys::Keys;
use crate::map::Map;
use crate::shard::{Hashed, Shard, Write};
use crate::url::{self, SCHEME};

/// Keys and values in this process's memory.
///
/// Cheap to clone: all clones share the data, which ends with the last of them. Two providers that were made
/// apart, by [`new`](Self::new) or by a URL, share nothing.
///
/// ```
/// use kvstore_core::{KeyValueStore, Result};
/// use kvstore_memory::MemoryProvider;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
/// let memory = MemoryProvider::new();
/// let texts = KeyValueStore::text(memory.clone());
/// let bytes = KeyValueStore::bytes(memory);
/// texts.set("greeting", "hello").await?;
/// assert_eq!(bytes.get("greeting").await?.as_deref(), Some(&b"hello"[..]));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct MemoryProvider {
    shared: Arc<Shared>,
}

/// What all clones share.
pub(crate) struct Shared {
    capabilities: Capabilities,
    closed: AtomicBool,
    pub(crate) map: Map,
}

impl Shared {
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// The longest key in bytes: longer than on any server, and short enough that a key cannot fill the memory.
const MAX_KEY_LEN: usize = 65_536;

impl MemoryProvider {
    /// An empty store of values of any length.
    pub fn new() -> Self {
        Self::build(None)
    }

    /// An empty store of values of up to so many bytes, as a server would refuse longer ones.
    pub fn with_max_value_len(bytes: usize) -> Self {
        Self::build(Some(bytes))
    }

    fn build(max_value_len: Option<usize>) -> Self {
        let mut capabilities = Capabilities::new(SCHEME);
        capabilities.max_key_len = MAX_KEY_LEN;
        capabilities.max_value_len = max_value_len;
        capabilities.expiry = Some(Duration::from_millis(1));
        capabilities.touch = true;
        capabilities.if_absent = true;
        capabilities.if_present = true;
        capabilities.versions = Some(Versions::Unique);
        capabilities.take = true;
        capabilities.keys = Some(Listing::Once);
        capabilities.strong_reads = true;
        capabilities.retains = true;
        Self {
            shared: Arc::new(Shared {
                capabilities,
                closed: AtomicBool::new(false),
                map: Map::new(),
            }),
        }
    }

    fn map(&self) -> Result<&Map> {
        if self.shared.is_closed() {
            return Err(ErrorKind::Closed.into());
        }
        Ok(&self.shared.map)
    }

    fn get_now(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        let key = request.key.as_str();
        let value = |shard: &Shard, key: Hashed<'_>| Some(shard.get(key)?.0.value.clone());
        Ok(self.map()?.read(key, value))
    }

    fn set_now(&self, request: SetRequest<'_>) -> Result<Outcome> {
        let write = Write {
            value: own(request.value),
            expiry: request.expiry,
            condition: request.condition.as_ref(),
        };
        let key = request.key.as_str();
        self.map()?.write(key, |shard, key| shard.set(key, write))
    }

    fn delete_now(&self, request: &DeleteRequest<'_>) -> Result<Outcome> {
        let key = request.key.as_str();
        let version = request.version.as_ref();
        let remove = |shard: &mut Shard, key: Hashed<'_>| shard.remove(key, version);
        let removed = self.map()?.write(key, remove);
        Ok(match (version, removed) {
            (Some(_), None) => Outcome::Unmet,
            _ => Outcome::Applied(None),
        })
    }
}

/// The value to keep: itself where nobody else holds it, else a copy.
///
/// What somebody else holds may be a small part of a large buffer, which would stay as long as the value does.
fn own(value: Bytes) -> Bytes {
    match value.is_unique() {
        true => value,
        false => Bytes::copy_from_slice(&value),
    }
}

impl Default for MemoryProvider {
    fn default() -> Self {
        Self::new()
    }
}

/// Prints no key and no value.
impl fmt::Debug for MemoryProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryProvider")
            .field("closed", &self.shared.is_closed())
            .finish_non_exhaustive()
    }
}

// A call here never waits, so a task of nothing but such calls would keep its thread for itself. By tokio's
// budget each lets others run now and then, as it would with a server.
#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Provider for MemoryProvider {
    fn capabilities(&self) -> &Capabilities {
        &self.shared.capabilities
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        consume_budget().await;
        self.get_now(request)
    }

    async fn set(&self, request: SetRequest<'_>) -> Result<Outcome> {
        consume_budget().await;
        self.set_now(request)
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> Result<Outcome> {
        consume_budget().await;
        self.delete_now(&request)
    }

    async fn has(&self, request: GetRequest<'_>) -> Result<bool> {
        consume_budget().await;
        let key = request.key.as_str();
        Ok(self.map()?.read(key, |shard, key| shard.get(key).is_some()))
    }

    async fn get_entry(&self, request: GetRequest<'_>) -> Result<Option<Entry<Bytes>>> {
        consume_budget().await;
        Ok(self.map()?.read(request.key.as_str(), |shard, key| {
            let (found, left) = shard.get(key)?;
            let entry = Entry::new(found.value.clone()).with_version(found.version.into());
            Some(match left {
                Some(left) => entry.with_expires_in(left),
                None => entry,
            })
        }))
    }

    async fn take(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        consume_budget().await;
        let key = request.key.as_str();
        Ok(self.map()?.write(key, |shard, key| shard.remove(key, None)))
    }

    async fn touch(&self, request: TouchRequest<'_>) -> Result<bool> {
        consume_budget().await;
        self.map()?.write(request.key.as_str(), |shard, key| {
            shard.touch(key, request.expiry)
        })
    }

    async fn get_many(&self, requests: &[GetRequest<'_>]) -> Vec<Result<Option<Bytes>>> {
        consume_budget().await;
        requests.iter().map(|item| self.get_now(*item)).collect()
    }

    async fn set_many(&self, requests: &[SetRequest<'_>]) -> Vec<Result<Outcome>> {
        consume_budget().await;
        let set = |item: &SetRequest<'_>| self.set_now(item.clone());
        requests.iter().map(set).collect()
    }

    async fn delete_many(&self, requests: &[DeleteRequest<'_>]) -> Vec<Result<Outcome>> {
        consume_budget().await;
        requests.iter().map(|item| self.delete_now(item)).collect()
    }

    fn keys(&self, request: KeysRequest) -> BoxStream<'static, Result<String>> {
        Box::pin(Keys {
            shared: Arc::clone(&self.shared),
            prefix: request.prefix,
            shard: 0,
            found: Vec::new().into_iter(),
        })
    }

    async fn ping(&self) -> Result<ServerInfo> {
        self.map()?;
        Ok(ServerInfo::new(SCHEME)
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_warning("values are kept in this process alone, and end with it"))
    }

    async fn close(&self) -> Result<()> {
        self.shared.closed.store(true, Ordering::Release);
        Ok(())
    }
}

impl Connect for MemoryProvider {
    const SCHEMES: &'static [&'static str] = &[SCHEME];

    /// Makes an empty store of its own from `memory:` or `memory://`.
    async fn connect(url: &str) -> Result<Self> {
        Self::lazy(url)
    }

    /// The same as `connect`: there is no server.
    fn lazy(url: &str) -> Result<Self> {
        url::check(url)?;
        Ok(Self::new())
    }
}
