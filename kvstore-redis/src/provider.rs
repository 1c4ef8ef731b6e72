use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kvstore_core::{
    BoxStream, Bytes, Capabilities, Condition, Connect, DeleteRequest, Entry, Error, ErrorKind,
    GetRequest, Key, KeysRequest, Listing, Outcome, Provider, Result, ServerInfo, SetRequest,
    TouchRequest, Version, Versions, async_trait,
};

use crate::call::Call;
use crate::client::Client;
use crate::command::{Command, FullKey, Only, Reply, Ttl};
use crate::error::{not_understood, unknown};
use crate::script::{DELETE_IF, GET_ENTRY, PERSIST, SET_IF, sha1_hex};
use crate::{IntoConfig, server};

/// The longest key, without the configuration's prefix. Redis takes more; what is a key should be short.
const MAX_KEY_LEN: usize = 1024;

/// A [`Provider`] for Redis, Valkey and Upstash: one server, a cluster, or the primary that sentinels name.
///
/// Cheap to clone; clones share one connection a server, on which calls are written together and answered in
/// order, and which is made again whenever it is lost. (Upstash's REST API has connections as there are requests.)
///
/// ```no_run
/// use kvstore_core::KeyValueStore;
/// use kvstore_redis::RedisProvider;
///
/// # async fn example() -> kvstore_core::Result<()> {
/// let redis = RedisProvider::connect("redis://localhost?prefix=app:").await?;
/// let texts: KeyValueStore<String> = KeyValueStore::text(redis);
/// texts.set("greeting", "hello").await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RedisProvider {
    client: Arc<Client>,
    capabilities: Capabilities,
}

impl RedisProvider {
    /// Connects to a server, or to all nodes of a cluster that hold keys, and makes sure that the credentials are
    /// right and the user has the rights.
    ///
    /// Takes a [`RedisConfig`](crate::RedisConfig) or a URL. Nothing is written: the commands are tried on a key that does
    /// not exist.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`], [`ErrorKind::Unauthenticated`], [`ErrorKind::PermissionDenied`] (it
    /// names the commands to allow), or [`ErrorKind::Unavailable`], which a read-only replica is as well.
    pub async fn connect(config: impl IntoConfig) -> Result<Self> {
        let connecting = async {
            let client = Client::connect(config.into_config()?).await?;
            server::check(&client).await?;
            Ok(Self::new(client))
        };
        connecting
            .await
            .map_err(|error: Error| error.with_provider(NAME).with_operation("connect"))
    }

    /// Makes a provider that connects in the background, so that a service starts while the server is
    /// down. Until it is up, calls fail by their deadline.
    ///
    /// Takes a [`RedisConfig`](crate::RedisConfig) or a URL.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`], also where no tokio runtime runs.
    pub fn lazy(config: impl IntoConfig) -> Result<Self> {
        let client = config.into_config().and_then(Client::lazy);
        let client = client.map(Self::new);
        client.map_err(|error| error.with_provider(NAME).with_operation("lazy"))
    }

    fn new(client: Arc<Client>) -> Self {
        let mut capabilities = Capabilities::new(NAME);
        capabilities.max_key_len = MAX_KEY_LEN;
        capabilities.max_value_len = Some(client.config().value_limit());
        capabilities.expiry = Some(Duration::from_millis(1));
        capabilities.touch = true;
        capabilities.if_absent = true;
        capabilities.if_present = true;
        capabilities.take = true;
        capabilities.versions = Some(Versions::Content);
        capabilities.keys = Some(Listing::AtLeastOnce);
        capabilities.strong_reads =
            !client.config().read_from_replicas && !client.config().is_upstash();
        Self {
            client,
            capabilities,
        }
    }

    pub(crate) fn call(&self) -> Result<Call<'_>> {
        self.client.call()
    }

    /// The key on the server.
    pub(crate) fn key<'a>(&'a self, key: Key<'a>) -> FullKey<'a> {
        FullKey(&self.client.config().prefix, key.as_str())
    }

    pub(crate) fn takes_many_keys(&self) -> bool {
        self.client.takes_many_keys()
    }

    pub(crate) fn set_command(&self, request: &SetRequest<'_>) -> Result<Command> {
        let (key, value) = (self.key(request.key), &request.value);
        let ttl = Ttl::try_from(request.expiry)?;
        let only = match &request.condition {
            None => None,
            Some(Condition::Absent) => Some(Only::IfAbsent),
            Some(Condition::Present) => Some(Only::IfPresent),
            Some(Condition::Version(version)) => {
                let set = Command::script(&SET_IF, key).word(version.to_string());
                return Ok(ttl.append(set.word(value)));
            }
            Some(_) => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "this release does not know that condition",
                ));
            }
        };
        Ok(Command::set(key, value, ttl, only))
    }

    pub(crate) fn delete_command(&self, request: &DeleteRequest<'_>) -> Command {
        let key = self.key(request.key);
        match &request.version {
            None => Command::delete([key].into_iter()),
            Some(version) => Command::script(&DELETE_IF, key).word(version.to_string()),
        }
    }
}

const NAME: &str = "redis";

impl fmt::Debug for RedisProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisProvider")
            .field("config", self.client.config())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Provider for RedisProvider {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        let get = Command::get(self.key(request.key));
        data(self.call()?.send(get).await?)
    }

    async fn set(&self, request: SetRequest<'_>) -> Result<Outcome> {
        let answer = self.call()?.send(self.set_command(&request)?).await?;
        set_outcome(&request, answer)
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> Result<Outcome> {
        let answer = self.call()?.send(self.delete_command(&request)).await?;
        delete_outcome(&request, answer)
    }

    async fn has(&self, request: GetRequest<'_>) -> Result<bool> {
        let exists = Command::exists(self.key(request.key));
        is_one(self.call()?.send(exists).await?)
    }

    async fn get_entry(&self, request: GetRequest<'_>) -> Result<Option<Entry<Bytes>>> {
        let get = Command::script(&GET_ENTRY, self.key(request.key));
        let mut parts = match self.call()?.send(get).await? {
            Reply::Nil => return Ok(None),
            Reply::List(parts) => parts,
            _ => return Err(not_understood()),
        };
        let (Some(Reply::Int(left)), Some(Reply::Data(value))) = (parts.pop(), parts.pop()) else {
            return Err(not_understood());
        };
        let version = Version::new(&sha1_hex(&value))?;
        let entry = Entry::new(value).with_version(version);
        Ok(Some(match u64::try_from(left) {
            Ok(left) => entry.with_expires_in(Duration::from_millis(left)),
            Err(_) => entry,
        }))
    }

    async fn take(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        let take = Command::take(self.key(request.key));
        let answer = self.call()?.send(take).await.map_err(|failure| {
            let error = Error::from(failure);
            // Upstash finds only when it was carried out that the answer is too large.
            let done = error.kind() == ErrorKind::ValueTooLarge;
            unknown(error, done)
        });
        data(answer?).map_err(after_write)
    }

    async fn touch(&self, request: TouchRequest<'_>) -> Result<bool> {
        let key = self.key(request.key);
        let touch = match request.expiry.try_into()? {
            Ttl::Millis(millis) => Command::expire(key, millis),
            Ttl::Never => Command::script(&PERSIST, key),
            Ttl::Keep => Command::exists(key),
        };
        is_one(self.call()?.send(touch).await?).map_err(after_write)
    }

    async fn get_many(&self, requests: &[GetRequest<'_>]) -> Vec<Result<Option<Bytes>>> {
        self.get_batch(requests).await
    }

    async fn set_many(&self, requests: &[SetRequest<'_>]) -> Vec<Result<Outcome>> {
        self.set_batch(requests).await
    }

    async fn delete_many(&self, requests: &[DeleteRequest<'_>]) -> Vec<Result<Outcome>> {
        self.delete_batch(requests).await
    }

    fn keys(&self, request: KeysRequest) -> BoxStream<'static, Result<String>> {
        crate::keys::list(
            self.client.clone(),
            &self.client.config().prefix,
            &request.prefix,
            MAX_KEY_LEN,
        )
    }

    async fn ping(&self) -> Result<ServerInfo> {
        server::ping(&self.client).await
    }

    async fn close(&self) -> Result<()> {
        self.client.close().await;
        Ok(())
    }
}

impl Connect for RedisProvider {
    const SCHEMES: &'static [&'static str] = crate::url::SCHEMES;

    async fn connect(url: &str) -> Result<Self> {
        Self::connect(url).await
    }

    fn lazy(url: &str) -> Result<Self> {
        Self::lazy(url)
    }
}

pub(crate) fn set_outcome(request: &SetRequest<'_>, answer: Reply) -> Result<Outcome> {
    let is_applied = match (&request.condition, answer) {
        (Some(Condition::Version(_)), answer) => is_one(answer).map_err(after_write)?,
        (None, answer) if is_ok(&answer) => return Ok(applied()),
        (Some(_), answer) if is_ok(&answer) => true,
        (Some(_), Reply::Nil) => false,
        _ => return Err(after_write(not_understood())),
    };
    // Hashing every value for a version that nobody asked for would cost more than the write.
    Ok(match is_applied {
        true => Outcome::Applied(Some(Version::new(&sha1_hex(&request.value))?)),
        false => Outcome::Unmet,
    })
}

pub(crate) fn delete_outcome(request: &DeleteRequest<'_>, answer: Reply) -> Result<Outcome> {
    Ok(
        match request.version.is_none() || is_one(answer).map_err(after_write)? {
            true => applied(),
            false => Outcome::Unmet,
        },
    )
}

/// By the REST API, perhaps encoded as values are.
fn is_ok(answer: &Reply) -> bool {
    match answer {
        Reply::Done => true,
        Reply::Data(text) => text == "OK",
        _ => false,
    }
}

/// Applied, and the new version was not asked for.
pub(crate) fn applied() -> Outcome {
    Outcome::Applied(None)
}

/// Something was written, whatever the answer to that means.
fn after_write(error: Error) -> Error {
    error.with_outcome_unknown()
}

fn is_one(answer: Reply) -> Result<bool> {
    match answer {
        Reply::Int(0) => Ok(false),
        Reply::Int(1) => Ok(true),
        _ => Err(not_understood()),
    }
}

pub(crate) fn data(answer: Reply) -> Result<Option<Bytes>> {
    match answer {
        Reply::Nil => Ok(None),
        Reply::Data(value) => Ok(Some(value)),
        // By the REST API, the value `OK` may come as this.
        Reply::Done => Ok(Some(Bytes::from_static(b"OK"))),
        _ => Err(not_understood()),
    }
}
