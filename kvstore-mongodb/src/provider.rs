use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kvstore_core::{
    BoxStream, Bytes, Capabilities, Connect, DeleteRequest, Entry, Error, ErrorKind, Expiry,
    GetRequest, KeysRequest, Listing, Outcome, Provider, Result, ServerInfo, SetRequest,
    TouchRequest, Version, Versions, async_trait,
};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, RawDocumentBuf};

use crate::batch::{is_done, write_concern_error};
use crate::client::Client;
use crate::command::Fields;
use crate::error::not_understood;
use crate::found::{Found, first};
use crate::value::decode;
use crate::{IntoConfig, MongoDbConfig, server};

/// The longest key. MongoDB takes more; what is a key should be short.
const MAX_KEY_LEN: usize = 1024;

/// How often a document that another program keeps writing is read for a version to go with it.
const ATTEMPTS: usize = 5;

const NAME: &str = "mongodb";

/// A [`Provider`] for a collection of a MongoDB deployment: a replica set, a sharded cluster or a single
/// server.
///
/// Cheap to clone; clones share their connections.
///
/// ```no_run
/// use kvstore_core::KeyValueStore;
/// use kvstore_mongodb::MongoDbProvider;
///
/// # async fn example() -> kvstore_core::Result<()> {
/// let mongodb = MongoDbProvider::connect("mongodb://localhost/shop?collection=carts").await?;
/// let texts: KeyValueStore<String> = KeyValueStore::text(mongodb);
/// texts.set("greeting", "hello").await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct MongoDbProvider {
    client: Arc<Client>,
    shared: Arc<Shared>,
}

struct Shared {
    capabilities: Capabilities,
    /// The index was asked for, which is done once.
    indexed: AtomicBool,
}

impl MongoDbProvider {
    /// Connects to a deployment, makes sure that the credentials are right and the user has the rights, and
    /// makes the index by which the server removes what has expired, where the user may.
    ///
    /// Takes a [`MongoDbConfig`] or a URL. Nothing is written.
    ///
    /// # Errors
    /// [`InvalidConfig`](kvstore_core::ErrorKind::InvalidConfig),
    /// [`Unauthenticated`](kvstore_core::ErrorKind::Unauthenticated),
    /// [`PermissionDenied`](kvstore_core::ErrorKind::PermissionDenied), or
    /// [`Unavailable`](kvstore_core::ErrorKind::Unavailable), also where no primary is elected.
    pub async fn connect(config: impl IntoConfig) -> Result<Self> {
        let connecting = async {
            let provider = Self::new(config.into_config()?)?;
            server::check(&provider.client).await?;
            provider.shared.indexed.store(true, Ordering::Relaxed);
            // It may be missing: see there.
            let _ = server::make_index(&provider.client).await;
            Ok(provider)
        };
        connecting
            .await
            .map_err(|error: Error| error.with_provider(NAME).with_operation("connect"))
    }

    /// Makes a provider that connects with its first call, so that a service starts while the server is down.
    /// The index of [`connect`](Self::connect) is made with the first write that expires.
    ///
    /// Takes a [`MongoDbConfig`] or a URL. No runtime is needed here, but for the calls.
    ///
    /// # Errors
    /// [`InvalidConfig`](kvstore_core::ErrorKind::InvalidConfig).
    pub fn lazy(config: impl IntoConfig) -> Result<Self> {
        let made = config.into_config().and_then(Self::new);
        made.map_err(|error| error.with_provider(NAME).with_operation("lazy"))
    }

    /// Drops the collection with all that it holds, whoever wrote it, and its indexes; one that is not there is no
    /// error. For collections that were made for a while, as by a test.
    ///
    /// # Errors
    /// [`PermissionDenied`](kvstore_core::ErrorKind::PermissionDenied) without the right `dropCollection`, or what
    /// any call may answer.
    pub async fn drop_collection(&self) -> Result<()> {
        let dropped = server::drop_collection(&self.client).await;
        dropped.map_err(|error| error.with_provider(NAME).with_operation("drop_collection"))
    }

    fn new(config: MongoDbConfig) -> Result<Self> {
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
        Ok(Self {
            client: Client::new(config)?,
            shared: Arc::new(Shared {
                capabilities,
                indexed: AtomicBool::new(false),
            }),
        })
    }

    /// Sees to what an expiry needs: the index, which is made beside the write that wants it.
    fn want_index(&self, expiry: Expiry) {
        if !matches!(expiry, Expiry::After(_)) {
            return;
        }
        self.client.expects_expiry();
        if !self.shared.indexed.swap(true, Ordering::Relaxed) {
            let provider = self.clone();
            let make = async move {
                // When the server does not serve, the next write that expires sees to it.
                if server::make_index(&provider.client)
                    .await
                    .is_err_and(|error| error.is_retryable())
                {
                    provider.shared.indexed.store(false, Ordering::Relaxed);
                }
            };
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(make);
            }
        }
    }
}

impl fmt::Debug for MongoDbProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoDbProvider")
            .field("config", &self.client.config)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Provider for MongoDbProvider {
    fn capabilities(&self) -> &Capabilities {
        &self.shared.capabilities
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        let key = request.key.as_str();
        let batches = self.client.read_one(key, self.client.deadline()).await?;
        first(&batches)?
            .map(|found| decode(request.format, found.value))
            .transpose()
    }

    async fn set(&self, request: SetRequest<'_>) -> Result<Outcome> {
        self.want_index(request.expiry);
        let answers = self.client.set(&[request]).await;
        answers
            .into_iter()
            .next()
            .unwrap_or_else(|| Err(not_understood()))
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> Result<Outcome> {
        if request.version.is_some() {
            return self.client.delete_version(&request).await;
        }
        let answers = self.client.delete_all(vec![&request]).await;
        answers
            .into_iter()
            .next()
            .unwrap_or_else(|| Err(not_understood()))
    }

    async fn has(&self, request: GetRequest<'_>) -> Result<bool> {
        let command = self.client.find_one(request.key.as_str(), Fields::NoValue);
        let batches = self.client.read(command, self.client.deadline()).await?;
        Ok(first(&batches)?.is_some())
    }

    async fn get_entry(&self, request: GetRequest<'_>) -> Result<Option<Entry<Bytes>>> {
        let (key, deadline) = (request.key.as_str(), self.client.deadline());
        for _ in 0..ATTEMPTS {
            let batches = self.client.read_one(key, deadline).await?;
            let Some(found) = first(&batches)? else {
                return Ok(None);
            };
            if found.version.is_some() {
                return entry(request, &found).map(Some);
            }
            // Another program wrote it, hexkit for one. It is given a version, which that program drops with
            // its next write; the value that goes with it is the one of that moment.
            let command = self.client.give_version(key, ObjectId::new());
            let answer = self.client.write(command, 1, deadline).await?;
            if let Some(document) = changed(&answer)? {
                return entry(request, &Found::new(&document)?).map(Some);
            }
            // It was written or deleted meanwhile, or given a version by another client.
        }
        let message = "another program rewrites the key all the time, without versions";
        Err(Error::new(ErrorKind::Busy, message))
    }

    async fn take(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        let answer = self
            .client
            .write(
                self.client.take(request.key.as_str()),
                1,
                self.client.deadline(),
            )
            .await?;
        let Some(document) = changed(&answer)? else {
            return Ok(None);
        };
        decode(request.format, Found::new(&document)?.value).map(Some)
    }

    async fn touch(&self, request: TouchRequest<'_>) -> Result<bool> {
        self.want_index(request.expiry);
        let command = self.client.touch(request.key.as_str(), request.expiry)?;
        is_done(
            &self
                .client
                .write(command, 1, self.client.deadline())
                .await?,
        )
    }

    async fn get_many(&self, requests: &[GetRequest<'_>]) -> Vec<Result<Option<Bytes>>> {
        self.client.get(requests).await
    }

    async fn set_many(&self, requests: &[SetRequest<'_>]) -> Vec<Result<Outcome>> {
        requests
            .iter()
            .for_each(|request| self.want_index(request.expiry));
        self.client.set(requests).await
    }

    async fn delete_many(&self, requests: &[DeleteRequest<'_>]) -> Vec<Result<Outcome>> {
        let all = requests
            .iter()
            .filter(|request| request.version.is_none())
            .collect();
        let mut deleted = self.client.delete_all(all).await.into_iter();
        let mut answers = Vec::with_capacity(requests.len());
        for request in requests {
            answers.push(match request.version {
                None => deleted.next().unwrap_or_else(|| Err(not_understood())),
                Some(_) => self.client.delete_version(request).await,
            });
        }
        answers
    }

    fn keys(&self, request: KeysRequest) -> BoxStream<'static, Result<String>> {
        crate::keys::list(Arc::clone(&self.client), request.prefix)
    }

    async fn ping(&self) -> Result<ServerInfo> {
        server::ping(&self.client).await
    }

    async fn close(&self) -> Result<()> {
        self.client.close().await;
        Ok(())
    }
}

impl Connect for MongoDbProvider {
    const SCHEMES: &'static [&'static str] = crate::url::SCHEMES;

    async fn connect(url: &str) -> Result<Self> {
        Self::connect(url).await
    }

    fn lazy(url: &str) -> Result<Self> {
        Self::lazy(url)
    }
}

fn entry(request: GetRequest<'_>, found: &Found<'_>) -> Result<Entry<Bytes>> {
    let mut entry = Entry::new(decode(request.format, found.value)?);
    if let Some(version) = found.version {
        entry = entry.with_version(Version::new(&version.to_hex())?);
    }
    Ok(match found.expires_in() {
        Some(left) => entry.with_expires_in(left),
        None => entry,
    })
}

/// The document in the answer to `findAndModify`.
fn changed(answer: &Document) -> Result<Option<RawDocumentBuf>> {
    if let Some(error) = write_concern_error(answer) {
        return Err(error);
    }
    match answer.get("value") {
        Some(Bson::Document(document)) => {
            Ok(Some(document.try_into().map_err(|_| not_understood())?))
        }
        Some(Bson::Null) => Ok(None),
        _ => Err(not_understood()),
    }
}
