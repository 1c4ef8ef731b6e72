use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kvstore_core::{
    BoxStream, Bytes, Capabilities, Connect, DeleteRequest, Entry, Error, GetRequest, KeysRequest,
    Listing, Outcome, Provider, Result, ServerInfo, SetRequest, TouchRequest, Versions,
    async_trait,
};

use crate::change::{Delete, Set, WEIGHT, expires};
use crate::client::Client;
use crate::url::SCHEME;
use crate::{IntoConfig, batch};

/// The longest key in bytes. redb takes more; what is a key should be short.
const MAX_KEY_LEN: usize = 1024;

/// What is known of the version of redb, which does not tell it: that the dependency asks for.
const REDB: &str = "4";

/// Keys and values in one file, which one process has open.
///
/// Cheap to clone; clones share the file and the threads that work on it. The file can be opened again when it was
/// [closed](Provider::close), or soon after the last clone is gone.
///
/// ```
/// use kvstore_core::{KeyValueStore, Result};
/// use kvstore_file::FileProvider;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
/// # let folder = std::env::temp_dir().join(format!("kvstore-file-doc-{}", std::process::id()));
/// # std::fs::create_dir(&folder).unwrap();
/// # let url = format!("file:{}/store.redb", folder.display());
/// // let url = "file:/var/lib/app/store.redb";
/// let texts = KeyValueStore::text(FileProvider::connect(&url).await?);
/// texts.set("greeting", "hello").await?;
/// texts.close().await?;
///
/// let texts = KeyValueStore::text(FileProvider::connect(&url).await?);
/// assert_eq!(texts.get("greeting").await?.as_deref(), Some("hello"));
/// # texts.close().await?;
/// # std::fs::remove_dir_all(&folder).unwrap();
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct FileProvider {
    client: Arc<Client>,
    capabilities: Capabilities,
}

impl FileProvider {
    /// Opens the file, or makes it, readable by its owner alone.
    ///
    /// Takes a [`FileConfig`](crate::FileConfig) or a URL. Where another has the file open, this waits a second for
    /// it to be closed.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] when its folder is missing, or when it holds something else or is of a later
    /// format; [`ErrorKind::PermissionDenied`]; [`ErrorKind::StorageFull`]; [`ErrorKind::Unavailable`] when another
    /// process, or another provider in this one, has it open; [`ErrorKind::Timeout`] when checking it after a crash
    /// takes longer than `connect_timeout`.
    ///
    /// [`ErrorKind::InvalidConfig`]: kvstore_core::ErrorKind::InvalidConfig
    /// [`ErrorKind::PermissionDenied`]: kvstore_core::ErrorKind::PermissionDenied
    /// [`ErrorKind::StorageFull`]: kvstore_core::ErrorKind::StorageFull
    /// [`ErrorKind::Unavailable`]: kvstore_core::ErrorKind::Unavailable
    /// [`ErrorKind::Timeout`]: kvstore_core::ErrorKind::Timeout
    pub async fn connect(config: impl IntoConfig) -> Result<Self> {
        let connecting = async { Client::connect(config.into_config()?).await.map(Self::new) };
        let failed = |error: Error| error.with_provider(SCHEME).with_operation("connect");
        connecting.await.map_err(failed)
    }

    /// Makes a provider that opens the file with the first call, and tries again with each as long as it cannot.
    ///
    /// Takes a [`FileConfig`](crate::FileConfig) or a URL.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`](kvstore_core::ErrorKind::InvalidConfig).
    pub fn lazy(config: impl IntoConfig) -> Result<Self> {
        let client = config.into_config().and_then(Client::start);
        let failed = |error: Error| error.with_provider(SCHEME).with_operation("lazy");
        client.map(Self::new).map_err(failed)
    }

    fn new(client: Client) -> Self {
        let mut capabilities = Capabilities::new(SCHEME);
        capabilities.max_key_len = MAX_KEY_LEN;
        capabilities.max_value_len = Some(client.config().max_value_len);
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
            client: Arc::new(client),
            capabilities,
        }
    }
}

impl fmt::Debug for FileProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileProvider")
            .field("config", self.client.config())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Provider for FileProvider {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        let key = own(request);
        self.client.read(move |snapshot| snapshot.get(&key)).await
    }

    async fn set(&self, request: SetRequest<'_>) -> Result<Outcome> {
        let set = Set::new(&request)?;
        self.client
            .write(set.weight(), move |tables| set.run(tables))
            .await
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> Result<Outcome> {
        let delete = Delete::new(&request);
        self.client.remove(move |tables| delete.run(tables)).await
    }

    async fn has(&self, request: GetRequest<'_>) -> Result<bool> {
        let key = own(request);
        self.client.read(move |snapshot| snapshot.has(&key)).await
    }

    async fn get_entry(&self, request: GetRequest<'_>) -> Result<Option<Entry<Bytes>>> {
        let key = own(request);
        self.client
            .read(move |snapshot| snapshot.get_entry(&key))
            .await
    }

    async fn take(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        let key = own(request);
        self.client
            .remove(move |tables| tables.remove(&key, None, Bytes::copy_from_slice))
            .await
    }

    async fn touch(&self, request: TouchRequest<'_>) -> Result<bool> {
        let key: Box<str> = request.key.as_str().into();
        let expires = expires(request.expiry)?;
        self.client
            .write(WEIGHT, move |tables| tables.touch(&key, expires))
            .await
    }

    async fn get_many(&self, requests: &[GetRequest<'_>]) -> Vec<Result<Option<Bytes>>> {
        batch::get(&self.client, requests).await
    }

    async fn set_many(&self, requests: &[SetRequest<'_>]) -> Vec<Result<Outcome>> {
        batch::set(&self.client, requests).await
    }

    async fn delete_many(&self, requests: &[DeleteRequest<'_>]) -> Vec<Result<Outcome>> {
        batch::delete(&self.client, requests).await
    }

    fn keys(&self, request: KeysRequest) -> BoxStream<'static, Result<String>> {
        crate::keys::list(Arc::clone(&self.client), request.prefix)
    }

    async fn ping(&self) -> Result<ServerInfo> {
        let warnings = self.client.warnings().await?;
        let info = ServerInfo::new("redb").with_version(REDB);
        Ok(warnings.into_iter().fold(info, ServerInfo::with_warning))
    }

    async fn close(&self) -> Result<()> {
        self.client.close().await
    }
}

impl Connect for FileProvider {
    const SCHEMES: &'static [&'static str] = &[SCHEME];

    async fn connect(url: &str) -> Result<Self> {
        Self::connect(url).await
    }

    fn lazy(url: &str) -> Result<Self> {
        Self::lazy(url)
    }
}

/// The key, to be sent to a thread.
fn own(request: GetRequest<'_>) -> Box<str> {
    request.key.as_str().into()
}
