use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::iter;
use kvstore_core::{
    BoxStream, Bytes, Capabilities, Connect, DeleteRequest, Entry, Error, GetRequest, KeysRequest,
    Listing, Outcome, Provider, Result, ServerInfo, SetRequest, TouchRequest, Version, Versions,
    async_trait,
};

use crate::api::State;
use crate::client::{Call, Client};
use crate::walk::{self, AT_ONCE, STEP};
use crate::{IntoConfig, VaultConfig, server};

/// The longest key. Escaped and percent-encoded it is three times as long at most.
const MAX_KEY_LEN: usize = 1024;

/// A [`Provider`] for a HashiCorp Vault or OpenBao server, on a KV version 2 secrets engine.
///
/// Cheap to clone; clones share their connections and their token.
///
/// ```no_run
/// use kvstore_core::KeyValueStore;
/// use kvstore_vault::VaultProvider;
///
/// # async fn example() -> kvstore_core::Result<()> {
/// let vault = VaultProvider::connect("vault://vault.example/secret?path=my-service&token_file=/run/vault-token").await?;
/// let secrets: KeyValueStore<String> = KeyValueStore::text(vault);
/// secrets.set("smtp-password", "correct horse").await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct VaultProvider {
    client: Arc<Client>,
    capabilities: Capabilities,
}

impl VaultProvider {
    /// Logs in to a server, and makes sure that the secrets engine is there and that the token has the
    /// rights.
    ///
    /// Takes a [`VaultConfig`] or a URL. Nothing is written.
    ///
    /// # Errors
    /// [`InvalidConfig`](kvstore_core::ErrorKind::InvalidConfig),
    /// [`Unauthenticated`](kvstore_core::ErrorKind::Unauthenticated),
    /// [`PermissionDenied`](kvstore_core::ErrorKind::PermissionDenied) (it names the rights that are
    /// missing), or [`Unavailable`](kvstore_core::ErrorKind::Unavailable), which a sealed server is as well.
    pub async fn connect(config: impl IntoConfig) -> Result<Self> {
        let connecting = async {
            let provider = Self::new(config.into_config()?)?;
            server::check(&provider.client.call()?).await?;
            Ok(provider)
        };
        connecting
            .await
            .map_err(|error: Error| error.with_provider(NAME).with_operation("connect"))
    }

    /// Makes a provider that connects and logs in when it is first used, so that a service starts while the
    /// server is down or sealed.
    ///
    /// Takes a [`VaultConfig`] or a URL.
    ///
    /// # Errors
    /// [`InvalidConfig`](kvstore_core::ErrorKind::InvalidConfig).
    pub fn lazy(config: impl IntoConfig) -> Result<Self> {
        let made = config.into_config().and_then(Self::new);
        made.map_err(|error| error.with_provider(NAME).with_operation("lazy"))
    }

    fn new(config: VaultConfig) -> Result<Self> {
        let mut capabilities = Capabilities::new(NAME);
        capabilities.max_key_len = MAX_KEY_LEN;
        capabilities.max_value_len = Some(config.max_value_len);
        capabilities.expiry = Some(Duration::from_millis(1));
        capabilities.touch = true;
        capabilities.if_absent = true;
        capabilities.if_present = true;
        capabilities.take = true;
        capabilities.versions = Some(match config.keep_counter {
            true => Versions::Unique,
            false => Versions::Counter,
        });
        capabilities.keys = Some(Listing::Once);
        capabilities.strong_reads = true;
        capabilities.retains = true;
        Ok(Self {
            client: Arc::new(Client::new(config)?),
            capabilities,
        })
    }

    /// Destroys what is left of secrets that have expired, or that `take` or a conditional delete has deleted,
    /// in all their versions; the answer is how many there were.
    ///
    /// A secret that is set at the same time is not harmed: only versions up to the one that was looked at
    /// are destroyed. One that is *deleted and then* set, both in the moment between the look and the
    /// destruction, would be: its versions count from 1 again, unless with
    /// [`keep_counter`](crate::VaultConfig::keep_counter). Names and version counts stay, since Vault has no
    /// way to remove them that would spare such a write. It walks over all keys, with the deadline for each
    /// step, and needs the right to update `destroy/…`.
    ///
    /// # Errors
    /// The first that occurs; what was destroyed until then is.
    pub async fn purge_expired(&self) -> Result<u64> {
        let purged = walk::purge(&self.client).await;
        purged.map_err(|error| error.with_provider(NAME).with_operation("purge_expired"))
    }
}

const NAME: &str = "vault";

impl fmt::Debug for VaultProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultProvider")
            .field("config", &self.client.config)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Provider for VaultProvider {
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
        let path = call.client.root.secret(request.key.as_str());
        Ok(matches!(call.read(&path).await?.state()?, State::Live(_)))
    }

    async fn get_entry(&self, request: GetRequest<'_>) -> Result<Option<Entry<Bytes>>> {
        let call = self.client.call()?;
        let path = call.client.root.secret(request.key.as_str());
        let found = call.read(&path).await?;
        let State::Live(live) = found.state()? else {
            return Ok(None);
        };
        let value = live.secret.value(request.format)?;
        let entry = Entry::new(value).with_version(Version::from(live.version));
        let left = live.expires_at.and_then(|moment| moment.until(live.now));
        Ok(Some(match left {
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
        for part in parts(requests.len()) {
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
        let mut results = Vec::with_capacity(requests.len());
        for part in parts(requests.len()) {
            call.go_on(&results);
            let part = iter(part).map(|at| call.set(requests[at].clone()));
            results.extend(part.buffered(AT_ONCE).collect::<Vec<_>>().await);
        }
        results
    }

    async fn delete_many(&self, requests: &[DeleteRequest<'_>]) -> Vec<Result<Outcome>> {
        let mut call = match self.client.call() {
            Ok(call) => call,
            Err(error) => return requests.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut results = Vec::with_capacity(requests.len());
        for part in parts(requests.len()) {
            call.go_on(&results);
            let part = iter(part).map(|at| call.delete(requests[at].clone()));
            results.extend(part.buffered(AT_ONCE).collect::<Vec<_>>().await);
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

impl Connect for VaultProvider {
    const SCHEMES: &'static [&'static str] = crate::url::SCHEMES;

    async fn connect(url: &str) -> Result<Self> {
        Self::connect(url).await
    }

    fn lazy(url: &str) -> Result<Self> {
        Self::lazy(url)
    }
}

/// Vault has no batches: requests of their own, in parts that have a deadline each.
fn parts(requests: usize) -> impl Iterator<Item = Range<usize>> {
    let begins = (0..requests).step_by(STEP);
    begins.map(move |begin| begin..requests.min(begin + STEP))
}

impl Call<'_> {
    async fn get(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        let path = self.client.root.secret(request.key.as_str());
        match self.read(&path).await?.state()? {
            State::Missing(_) => Ok(None),
            State::Live(live) => live.secret.value(request.format).map(Some),
        }
    }
}
