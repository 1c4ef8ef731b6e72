use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kvstore_core::{
    BoxStream, Bytes, Capabilities, Condition, Connect, DeleteRequest, Entry, Error, ErrorKind,
    GetRequest, Key, KeysRequest, Listing, Outcome, Provider, Result, ServerInfo, SetRequest,
    TouchRequest, Version, Versions, async_trait,
};

use crate::client::{Call, Client};
use crate::command::{Command, Only, Reply, Ttl};
use crate::error::Failure;
use crate::script::{DELETE_IF, GET_ENTRY, PERSIST, SET_IF, sha1_hex};
use crate::{IntoConfig, server};

/// The longest key, without the configuration's prefix. Redis takes more; what is a key should be short.
const MAX_KEY_LEN: usize = 1024;

/// A [`Provider`] for one Redis or Valkey server.
///
/// Cheap to clone; clones share one connection, on which calls are written together and answered in
/// order. The connection is made again whenever it is lost.
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
    /// Connects to a server, and makes sure that the credentials are right and the user has the rights.
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
            server::check(&client.call()?, &client.config().prefix).await?;
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
        capabilities.max_value_len = Some(client.config().max_value_len);
        capabilities.expiry = Some(Duration::from_millis(1));
        capabilities.touch = true;
        capabilities.if_absent = true;
        capabilities.if_present = true;
        capabilities.take = true;
        capabilities.versions = Some(Versions::Content);
        capabilities.keys = Some(Listing::AtLeastOnce);
        capabilities.strong_reads = true;
        Self {
            client,
            capabilities,
        }
    }

    pub(crate) fn call(&self) -> Result<Call<'_>> {
        self.client.call()
    }

    /// The key on the server.
    pub(crate) fn key(&self, key: Key<'_>) -> Bytes {
        let prefix = &self.client.config().prefix;
        let mut full = Vec::with_capacity(prefix.len() + key.as_str().len());
        full.extend_from_slice(prefix.as_bytes());
        full.extend_from_slice(key.as_str().as_bytes());
        full.into()
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
        data(
            self.call()?
                .send(Command::Get(self.key(request.key)))
                .await?,
        )
    }

    async fn set(&self, request: SetRequest<'_>) -> Result<Outcome> {
        let call = self.call()?;
        self.set_in(&call, request).await
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> Result<Outcome> {
        let call = self.call()?;
        self.delete_in(&call, request).await
    }

    async fn has(&self, request: GetRequest<'_>) -> Result<bool> {
        is_one(
            self.call()?
                .send(Command::Exists(self.key(request.key)))
                .await?,
        )
    }

    async fn get_entry(&self, request: GetRequest<'_>) -> Result<Option<Entry<Bytes>>> {
        let answer = GET_ENTRY
            .run(&self.call()?, self.key(request.key), &[])
            .await?;
        let mut parts = match answer {
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
        data(
            self.call()?
                .send(Command::Take(self.key(request.key)))
                .await?,
        )
    }

    async fn touch(&self, request: TouchRequest<'_>) -> Result<bool> {
        let (call, key) = (self.call()?, self.key(request.key));
        let answer = match request.expiry.try_into()? {
            Ttl::Millis(millis) => call.send(Command::Expire(key, millis)).await?,
            Ttl::Never => PERSIST.run(&call, key, &[]).await?,
            Ttl::Keep => call.send(Command::Exists(key)).await?,
        };
        is_one(answer)
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
        server::ping(&self.call()?, self.client.config()).await
    }

    async fn close(&self) -> Result<()> {
        self.client.close().await;
        Ok(())
    }
}

impl RedisProvider {
    pub(crate) async fn set_in(&self, call: &Call<'_>, request: SetRequest<'_>) -> Result<Outcome> {
        let (key, value) = (self.key(request.key), request.value);
        let ttl = request.expiry.try_into()?;
        let only = match request.condition {
            None => None,
            Some(Condition::Absent) => Some(Only::IfAbsent),
            Some(Condition::Present) => Some(Only::IfPresent),
            Some(Condition::Version(version)) => {
                let mut args = vec![version.to_string().into(), value.clone()];
                match ttl {
                    Ttl::Never => {}
                    Ttl::Millis(millis) => args.extend(["PX".into(), millis.to_string().into()]),
                    Ttl::Keep => args.push("KEEPTTL".into()),
                }
                let answer = SET_IF.run(call, key, &args).await?;
                return if is_one(answer)? {
                    applied(&value)
                } else {
                    Ok(Outcome::Unmet)
                };
            }
            Some(_) => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "this release does not know that condition",
                ));
            }
        };
        let set = Command::Set {
            key,
            value: value.clone(),
            ttl,
            only,
        };
        match call.send(set).await? {
            Reply::Nil => Ok(Outcome::Unmet),
            _ if only.is_some() => applied(&value),
            // Hashing every value for a version that nobody asked for would cost more than the write.
            _ => Ok(Outcome::Applied(None)),
        }
    }

    pub(crate) async fn delete_in(
        &self,
        call: &Call<'_>,
        request: DeleteRequest<'_>,
    ) -> Result<Outcome> {
        let key = self.key(request.key);
        let Some(version) = request.version else {
            call.send(Command::Delete(vec![key])).await?;
            return Ok(Outcome::Applied(None));
        };
        let answer = DELETE_IF
            .run(call, key, &[version.to_string().into()])
            .await?;
        Ok(if is_one(answer)? {
            Outcome::Applied(None)
        } else {
            Outcome::Unmet
        })
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

fn applied(value: &Bytes) -> Result<Outcome> {
    Ok(Outcome::Applied(Some(Version::new(&sha1_hex(value))?)))
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
        _ => Err(not_understood()),
    }
}

/// An answer of a kind that Redis does not give to this command.
pub(crate) fn not_understood() -> Error {
    Error::new(
        ErrorKind::Other,
        "the server's answer was not understood; is it a Redis server?",
    )
}

/// Whether it may be for one of several keys alone that the server refused.
pub(crate) fn for_one_key<T>(answer: &Result<T, Failure>) -> bool {
    matches!(answer, Err(failure) if failure.code() == "NOPERM")
}
