use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::iter;
use kvstore_core::{
    BoxStream, Bytes, Capabilities, Connect, DeleteRequest, Entry, Error, ErrorKind, GetRequest,
    KeysRequest, Listing, Outcome, Provider, Result, ServerInfo, SetRequest, TouchRequest,
    Versions, async_trait,
};

use crate::api::{PAGE, is_named};
use crate::client::{Call, Client};
use crate::conditions::{Conditions, REQUESTS};
use crate::walk::{self, AT_ONCE, STEP};
use crate::{IntoConfig, server};

/// A [`Provider`] for a bucket of AWS S3, or of a server that speaks its protocol.
///
/// Cheap to clone; clones share their connections and credentials.
///
/// ```no_run
/// use kvstore_core::KeyValueStore;
/// use kvstore_s3::S3Provider;
///
/// # async fn example() -> kvstore_core::Result<()> {
/// let url = "s3://s3.eu-central-1.amazonaws.com/my-bucket?prefix=my-service/&credentials=aws";
/// let reports: KeyValueStore<String> = KeyValueStore::text(S3Provider::connect(url).await?);
/// reports.set("2026/11", "…").await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct S3Provider {
    client: Arc<Client>,
    capabilities: Capabilities,
}

impl S3Provider {
    /// Makes sure that the bucket is there and can be read, and tries which conditions the server honours:
    /// for that a small object is written beside the keys, and deleted.
    ///
    /// Takes an [`S3Config`](crate::S3Config) or a URL.
    ///
    /// # Errors
    /// [`InvalidConfig`](kvstore_core::ErrorKind::InvalidConfig), also when there is no such bucket,
    /// [`Unauthenticated`](kvstore_core::ErrorKind::Unauthenticated),
    /// [`PermissionDenied`](kvstore_core::ErrorKind::PermissionDenied) (it names the right that is missing),
    /// or [`Unavailable`](kvstore_core::ErrorKind::Unavailable).
    pub async fn connect(config: impl IntoConfig) -> Result<Self> {
        let connecting = async {
            let client = Arc::new(Client::new(config.into_config()?)?);
            let mut call = client.call()?;
            server::check(&call).await?;
            // As long as all that is tried may take.
            call.deadline += client.config.timeout * REQUESTS;
            let conditions = call.conditions().await?;
            drop(call);
            Ok(Self::new(client, conditions))
        };
        connecting
            .await
            .map_err(|error: Error| error.with_provider(NAME).with_operation("connect"))
    }

    /// Makes a provider that connects when it is first used, so that a service starts while the server is
    /// down.
    ///
    /// Takes an [`S3Config`](crate::S3Config) or a URL. It claims all conditions and expiry; before the first is relied on,
    /// the server is probed as `connect` does, and one that ignores it makes the call
    /// [`Unsupported`](kvstore_core::ErrorKind::Unsupported).
    ///
    /// # Errors
    /// [`InvalidConfig`](kvstore_core::ErrorKind::InvalidConfig).
    pub fn lazy(config: impl IntoConfig) -> Result<Self> {
        let made = config.into_config().and_then(|config| {
            let conditions = match config.conditions {
                true => Conditions::ALL,
                false => Conditions::NONE,
            };
            Ok(Self::new(Arc::new(Client::new(config)?), conditions))
        });
        made.map_err(|error| error.with_provider(NAME).with_operation("lazy"))
    }

    fn new(client: Arc<Client>, conditions: Conditions) -> Self {
        let config = &client.config;
        let mut capabilities = Capabilities::new(NAME);
        capabilities.max_key_len = client.names.max_key_len();
        capabilities.max_value_len = Some(config.max_value_len);
        capabilities.if_present = conditions.replace;
        capabilities.take = conditions.delete;
        capabilities.versions = conditions.delete.then_some(Versions::Content);
        // What has expired is replaced.
        capabilities.if_absent = conditions.create && (conditions.replace || !config.expiry);
        // Where a write cannot require what it has read, it could not keep an expiry.
        if client.expires && conditions.replace {
            capabilities.expiry = Some(Duration::from_millis(1));
            capabilities.touch = true;
        }
        capabilities.keys = Some(Listing::Once);
        capabilities.strong_reads = config.strong_reads;
        capabilities.retains = true;
        Self {
            client,
            capabilities,
        }
    }
}

const NAME: &str = "s3";

impl fmt::Debug for S3Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Provider")
            .field("config", &self.client.config)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Provider for S3Provider {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        self.client.call()?.get(request).await
    }

    async fn set(&self, request: SetRequest<'_>) -> Result<Outcome> {
        self.client.call()?.set(request).await
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> Result<Outcome> {
        self.client.call()?.delete(request).await
    }

    async fn has(&self, request: GetRequest<'_>) -> Result<bool> {
        let call = self.client.call()?;
        let object = self.client.names.object(request.key.as_str());
        Ok(call.look(&object).await?.live().is_some())
    }

    async fn get_entry(&self, request: GetRequest<'_>) -> Result<Option<Entry<Bytes>>> {
        let call = self.client.call()?;
        let object = self.client.names.object(request.key.as_str());
        let Some(live) = call.read(&object).await?.live() else {
            return Ok(None);
        };
        let mut entry = Entry::new(live.body.clone());
        if self.capabilities.versions.is_some() {
            entry = entry.with_version(live.version()?);
        }
        Ok(Some(match live.expires_in() {
            Some(left) => entry.with_expires_in(left),
            None => entry,
        }))
    }

    async fn take(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        self.client.call()?.take(request).await
    }

    async fn touch(&self, request: TouchRequest<'_>) -> Result<bool> {
        self.client.call()?.touch(request).await
    }

    async fn get_many(&self, requests: &[GetRequest<'_>]) -> Vec<Result<Option<Bytes>>> {
        let mut call = match self.client.call() {
            Ok(call) => call,
            Err(error) => return requests.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut results = Vec::with_capacity(requests.len());
        for part in parts(requests.len(), STEP) {
            call.go_on(&results);
            let part = iter(part).map(|at| call.get(requests[at]));
            results.extend(part.buffered(AT_ONCE).collect::<Vec<_>>().await);
        }
        results
    }

    async fn set_many(&self, requests: &[SetRequest<'_>]) -> Vec<Result<Outcome>> {
        let mut call = match self.client.call() {
            Ok(call) => call,
            Err(error) => return requests.iter().map(|_| Err(error.clone())).collect(),
        };
        // SeaweedFS may lose a key that is created at the same time as one below it, as `a` and `a/b`. Of those
        // with as many slashes none is below another.
        let slashes = |at: &usize| requests[*at].key.as_str().matches('/').count();
        let mut order: Vec<usize> = (0..requests.len()).collect();
        order.sort_by_key(slashes);
        let mut done = Vec::with_capacity(requests.len());
        let levels = order.chunk_by(|a, b| slashes(a) == slashes(b));
        for part in levels.flat_map(|level| level.chunks(STEP)) {
            call.go_on(&done);
            let part = iter(part.to_vec()).map(|at| call.set(requests[at].clone()));
            done.extend(part.buffered(AT_ONCE).collect::<Vec<_>>().await);
        }
        let mut results: Vec<_> = order.into_iter().zip(done).collect();
        results.sort_by_key(|(at, _)| *at);
        results.into_iter().map(|(_, result)| result).collect()
    }

    async fn delete_many(&self, requests: &[DeleteRequest<'_>]) -> Vec<Result<Outcome>> {
        let mut call = match self.client.call() {
            Ok(call) => call,
            Err(error) => return requests.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut results = Vec::with_capacity(requests.len());
        for part in parts(requests.len(), PAGE) {
            call.go_on(&results);
            call.delete_part(&requests[part], &mut results).await;
        }
        results
    }

    fn keys(&self, request: KeysRequest) -> BoxStream<'static, Result<String>> {
        walk::keys(Arc::clone(&self.client), &request.prefix)
    }

    async fn ping(&self) -> Result<ServerInfo> {
        server::ping(&self.client.call()?).await
    }

    async fn close(&self) -> Result<()> {
        self.client.close().await;
        Ok(())
    }
}

impl Connect for S3Provider {
    const SCHEMES: &'static [&'static str] = crate::url::SCHEMES;

    async fn connect(url: &str) -> Result<Self> {
        Self::connect(url).await
    }

    fn lazy(url: &str) -> Result<Self> {
        Self::lazy(url)
    }
}

/// The parts of a batch: each has a deadline of its own.
fn parts(requests: usize, step: usize) -> impl Iterator<Item = Range<usize>> {
    let begins = (0..requests).step_by(step);
    begins.map(move |begin| begin..requests.min(begin + step))
}

impl Call<'_> {
    async fn get(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        let object = self.client.names.object(request.key.as_str());
        Ok(self.read(&object).await?.live().map(|live| live.body))
    }

    /// Deletes up to [`PAGE`] keys: together in one request, but for those of a version, and for a single one.
    async fn delete_part(
        &mut self,
        requests: &[DeleteRequest<'_>],
        results: &mut Vec<Result<Outcome>>,
    ) {
        let plain = requests.iter().filter(|request| request.version.is_none());
        let objects: Vec<String> = plain
            .map(|request| self.client.names.object(request.key.as_str()))
            .collect();
        let together = match objects.len() {
            0 | 1 => None,
            _ => match self.delete_objects(&objects).await {
                // Not every server can; then each by itself.
                Err(error) if error.kind() == ErrorKind::Unsupported => None,
                done => Some(done),
            },
        };
        for part in parts(requests.len(), STEP) {
            if part.start > 0 {
                self.go_on(results);
            }
            let each = iter(part).map(|at| self.delete_item(&requests[at], &together));
            let done: Vec<_> = each.buffered(AT_ONCE).collect().await;
            results.extend(done);
        }
    }

    async fn delete_item(
        &self,
        request: &DeleteRequest<'_>,
        together: &Option<Result<Vec<(String, Error)>>>,
    ) -> Result<Outcome> {
        let failed = match together {
            Some(failed) if request.version.is_none() => failed,
            _ => return self.delete(request.clone()).await,
        };
        let object = self.client.names.object(request.key.as_str());
        match failed {
            Err(error) => Err(error.clone()),
            Ok(failed) => match failed.iter().find(|(named, _)| is_named(&object, named)) {
                Some((_, error)) => Err(error.clone()),
                None => Ok(Outcome::Applied(None)),
            },
        }
    }
}
