use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kvstore_core::{
    BoxStream, Bytes, Capabilities, Connect, DeleteRequest, Entry, Error, GetRequest, KeysRequest,
    Listing, Outcome, Provider, Result, ServerInfo, SetRequest, TouchRequest, Versions,
    async_trait,
};

use crate::client::Client;
use crate::read::Node;
use crate::{IntoConfig, ZooKeeperConfig, server, walk};

/// The longest key. With each byte escaped it is three times as long, which fits beside the largest value.
const MAX_KEY_LEN: usize = 1024;

/// A [`Provider`] for an Apache ZooKeeper server or ensemble.
///
/// Cheap to clone; clones share their connection.
///
/// ```no_run
/// use kvstore_core::KeyValueStore;
/// use kvstore_zookeeper::ZooKeeperProvider;
///
/// # async fn example() -> kvstore_core::Result<()> {
/// let zookeeper = ZooKeeperProvider::connect("zookeeper://app:secret@zk1.example,zk2.example/apps/fruit").await?;
/// let settings: KeyValueStore<String> = KeyValueStore::text(zookeeper);
/// settings.set("colour", "green").await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct ZooKeeperProvider {
    client: Arc<Client>,
    capabilities: Capabilities,
}

impl ZooKeeperProvider {
    /// Connects to a server, and makes sure that nodes can be created, written and deleted.
    ///
    /// Takes a [`ZooKeeperConfig`] or a URL. Nothing is written. Each address is tried once.
    ///
    /// # Errors
    /// [`InvalidConfig`](kvstore_core::ErrorKind::InvalidConfig),
    /// [`Unauthenticated`](kvstore_core::ErrorKind::Unauthenticated),
    /// [`PermissionDenied`](kvstore_core::ErrorKind::PermissionDenied), which wrong credentials are as well, since
    /// ZooKeeper does not tell, or [`Unavailable`](kvstore_core::ErrorKind::Unavailable).
    pub async fn connect(config: impl IntoConfig) -> Result<Self> {
        let connecting = async {
            let provider = Self::new(config.into_config()?);
            server::check(&provider.client.call()?.at_once()).await?;
            Ok(provider)
        };
        connecting
            .await
            .map_err(|error: Error| error.with_provider(NAME).with_operation("connect"))
    }

    /// Makes a provider that connects when it is first used, so that a service starts while its servers are
    /// down.
    ///
    /// Takes a [`ZooKeeperConfig`] or a URL.
    ///
    /// # Errors
    /// [`InvalidConfig`](kvstore_core::ErrorKind::InvalidConfig).
    pub fn lazy(config: impl IntoConfig) -> Result<Self> {
        let made = config.into_config().map(Self::new);
        made.map_err(|error| error.with_provider(NAME).with_operation("lazy"))
    }

    fn new(config: ZooKeeperConfig) -> Self {
        let mut capabilities = Capabilities::new(NAME);
        capabilities.max_key_len = MAX_KEY_LEN;
        capabilities.max_value_len = Some(config.max_value_len);
        capabilities.expiry = Some(Duration::from_millis(1));
        capabilities.touch = true;
        capabilities.if_absent = true;
        capabilities.if_present = true;
        capabilities.take = true;
        capabilities.versions = Some(Versions::Unique);
        capabilities.keys = Some(Listing::Once);
        capabilities.strong_reads = true;
        capabilities.retains = true;
        Self {
            client: Arc::new(Client::new(config)),
            capabilities,
        }
    }

    /// Deletes the nodes of keys that have expired; the answer is how many there were.
    ///
    /// Nothing else does, but a write of the same key. A key that is set at the same time is not harmed. It
    /// walks over all keys, with the deadline for each step; one process now and then is enough.
    ///
    /// # Errors
    /// The first that occurs. What cannot be read or deleted, as a node of others, keeps none of the rest; when
    /// the server fails, what was deleted until then is.
    pub async fn purge_expired(&self) -> Result<u64> {
        let purged = walk::purge(&self.client).await;
        purged.map_err(|error| error.with_provider(NAME).with_operation("purge_expired"))
    }

    /// Deletes the root node and the buckets below it if no key is left, expired ones included; the answer is
    /// whether that is so. For roots that were made for a while, as by a test: nobody else may use it then, since
    /// conditions rely on buckets that stay.
    ///
    /// # Errors
    /// [`PermissionDenied`](kvstore_core::ErrorKind::PermissionDenied) without the right to delete children of the
    /// root, and of the node above it; or what any call may answer.
    pub async fn remove_root(&self) -> Result<bool> {
        let removed = walk::remove_root(&self.client).await;
        removed.map_err(|error| error.with_provider(NAME).with_operation("remove_root"))
    }
}

const NAME: &str = "zookeeper";

impl fmt::Debug for ZooKeeperProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZooKeeperProvider")
            .field("config", &self.client.config)
            .finish_non_exhaustive()
    }
}

impl ZooKeeperProvider {
    async fn node(&self, request: GetRequest<'_>) -> Result<Option<Node>> {
        let call = self.client.call()?;
        let place = self.client.root.place(request.key.as_str());
        call.node(&place).await
    }
}

#[async_trait]
impl Provider for ZooKeeperProvider {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        Ok(self.node(request).await?.map(|node| node.value))
    }

    async fn set(&self, request: SetRequest<'_>) -> Result<Outcome> {
        self.client.call()?.set(&request).await
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> Result<Outcome> {
        self.client.call()?.delete(&request).await
    }

    async fn has(&self, request: GetRequest<'_>) -> Result<bool> {
        Ok(self.node(request).await?.is_some())
    }

    async fn get_entry(&self, request: GetRequest<'_>) -> Result<Option<Entry<Bytes>>> {
        Ok(self.node(request).await?.and_then(Node::entry))
    }

    async fn take(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        self.client.call()?.take(request).await
    }

    async fn touch(&self, request: TouchRequest<'_>) -> Result<bool> {
        self.client.call()?.touch(request).await
    }

    async fn get_many(&self, requests: &[GetRequest<'_>]) -> Vec<Result<Option<Bytes>>> {
        self.client.get_many(requests).await
    }

    async fn set_many(&self, requests: &[SetRequest<'_>]) -> Vec<Result<Outcome>> {
        self.client.set_many(requests).await
    }

    async fn delete_many(&self, requests: &[DeleteRequest<'_>]) -> Vec<Result<Outcome>> {
        self.client.delete_many(requests).await
    }

    fn keys(&self, request: KeysRequest) -> BoxStream<'static, Result<String>> {
        walk::keys(Arc::clone(&self.client), request.prefix)
    }

    async fn ping(&self) -> Result<ServerInfo> {
        server::ping(&self.client.call()?).await
    }

    async fn close(&self) -> Result<()> {
        self.client.close().await;
        Ok(())
    }
}

impl Connect for ZooKeeperProvider {
    const SCHEMES: &'static [&'static str] = crate::url::SCHEMES;

    async fn connect(url: &str) -> Result<Self> {
        Self::connect(url).await
    }

    fn lazy(url: &str) -> Result<Self> {
        Self::lazy(url)
    }
}
