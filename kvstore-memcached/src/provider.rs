use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kvstore_core::{
    Bytes, Capabilities, Condition, Connect, DeleteRequest, Entry, Error, ErrorKind, GetRequest,
    Outcome, Provider, Result, ServerInfo, SetRequest, TouchRequest, Version, Versions,
    async_trait,
};

use crate::clock::{Span, span};
use crate::command::{Ask, Commands, Mode, RESERVED, Ttl};
use crate::names::{MAX_KEY_LEN, Name};
use crate::reply::{Item, Reply};
use crate::servers::{Call, Servers};
use crate::{IntoConfig, error, ping};

/// A [`Provider`] for one Memcached server, or several.
///
/// Cheap to clone; clones share the connections, on which calls are written together and answered in order.
/// A connection is made again when a call needs it after it was lost.
///
/// ```no_run
/// use kvstore_core::KeyValueStore;
/// use kvstore_memcached::MemcachedProvider;
///
/// # async fn example() -> kvstore_core::Result<()> {
/// let memcached = MemcachedProvider::connect("memcached://localhost?prefix=app:").await?;
/// let texts: KeyValueStore<String> = KeyValueStore::text(memcached);
/// texts.set("greeting", "hello").await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct MemcachedProvider {
    servers: Arc<Servers>,
    capabilities: Capabilities,
}

/// What a server takes unless told otherwise.
const USUAL_ITEM_SIZE_MAX: usize = 1 << 20;

impl MemcachedProvider {
    /// Connects to all servers, and makes sure that each is a Memcached that can do what is promised, and lets
    /// us in.
    ///
    /// Takes a [`MemcachedConfig`](crate::MemcachedConfig) or a URL. Nothing is written.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`], also for a server that is too old, was started with `-C`, or has items smaller
    /// than [`max_value_len`](crate::MemcachedConfig::max_value_len) needs; [`ErrorKind::Unauthenticated`], or
    /// [`ErrorKind::Unavailable`].
    pub async fn connect(config: impl IntoConfig) -> Result<Self> {
        let connecting = async {
            let servers = Servers::new(config.into_config()?)?;
            let item_size_max = servers.connect().await?;
            Self::new(servers, item_size_max)
        };
        connecting
            .await
            .map_err(|error: Error| error.with_provider(NAME).with_operation("connect"))
    }

    /// Makes a provider that connects when it is first used, so that a service starts while a server is
    /// down. Until it is up, calls fail.
    ///
    /// Takes a [`MemcachedConfig`](crate::MemcachedConfig) or a URL.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`].
    pub fn lazy(config: impl IntoConfig) -> Result<Self> {
        let make = || {
            let servers = Servers::new(config.into_config()?)?;
            // What the servers take is known when they are there, and then held against each value too.
            let wanted = servers.config().max_value_len.unwrap_or_default();
            Self::new(servers, USUAL_ITEM_SIZE_MAX.max(wanted + RESERVED))
        };
        make().map_err(|error: Error| error.with_provider(NAME).with_operation("lazy"))
    }

    fn new(servers: Servers, item_size_max: usize) -> Result<Self> {
        let limit = item_size_max.saturating_sub(RESERVED);
        let max_value_len = servers.config().max_value_len.unwrap_or(limit);
        if max_value_len > limit {
            let message = format!(
                "`max_value_len` is over the {limit} bytes that fit into the servers' `item_size_max` (`-I`)"
            );
            return Err(Error::new(ErrorKind::InvalidConfig, message));
        }
        let mut capabilities = Capabilities::new(NAME);
        capabilities.max_key_len = MAX_KEY_LEN;
        capabilities.max_value_len = Some(max_value_len);
        capabilities.expiry = Some(Duration::from_secs(1));
        capabilities.touch = true;
        capabilities.if_absent = true;
        capabilities.if_present = true;
        capabilities.take = true;
        // They are unique while the server runs, and begin anew with it.
        capabilities.versions = Some(Versions::Counter);
        capabilities.strong_reads = true;
        Ok(Self {
            servers: Arc::new(servers),
            capabilities,
        })
    }

    pub(crate) fn call(&self) -> Result<Call<'_>> {
        self.servers.call()
    }
}

const NAME: &str = "memcached";

impl fmt::Debug for MemcachedProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemcachedProvider")
            .field("config", self.servers.config())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Provider for MemcachedProvider {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        let call = self.call()?;
        let name = call.name(request.key.as_str());
        let found = call.get(&name, Ask::Value).await?;
        found.map(|item| item_value(&name, &item)).transpose()
    }

    async fn set(&self, request: SetRequest<'_>) -> Result<Outcome> {
        self.call()?.set(request).await
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> Result<Outcome> {
        let call = self.call()?;
        let name = call.name(request.key.as_str());
        let Some(version) = request.version else {
            call.delete(&name, None, None).await?;
            return Ok(Outcome::Applied(None));
        };
        let Some(version) = version.as_u64() else {
            return Ok(Outcome::Unmet);
        };
        match call.delete(&name, Some(version), None).await? {
            true => Ok(Outcome::Applied(None)),
            false => Ok(Outcome::Unmet),
        }
    }

    async fn has(&self, request: GetRequest<'_>) -> Result<bool> {
        let call = self.call()?;
        let name = call.name(request.key.as_str());
        Ok(call.get(&name, Ask::Presence).await?.is_some())
    }

    async fn get_entry(&self, request: GetRequest<'_>) -> Result<Option<Entry<Bytes>>> {
        let call = self.call()?;
        let name = call.name(request.key.as_str());
        let Some(item) = call.get(&name, Ask::Entry).await? else {
            return Ok(None);
        };
        let (Some(version), Some(left)) = (item.version, item.left) else {
            return Err(error::not_understood());
        };
        let entry = Entry::new(item_value(&name, &item)?).with_version(version.into());
        Ok(Some(match u64::try_from(left) {
            // The last of these seconds has begun.
            Ok(left) => entry.with_expires_in(Duration::from_secs(left.saturating_sub(1))),
            Err(_) => entry,
        }))
    }

    async fn take(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        let call = self.call()?;
        let name = call.name(request.key.as_str());
        loop {
            let Some(item) = call.get(&name, Ask::Entry).await? else {
                return Ok(None);
            };
            let (Some(version), value) = (item.version, item_value(&name, &item)?) else {
                return Err(error::not_understood());
            };
            if call
                .delete(&name, Some(version), Some(item.connection))
                .await?
            {
                return Ok(Some(value));
            }
        }
    }

    async fn touch(&self, request: TouchRequest<'_>) -> Result<bool> {
        let call = self.call()?;
        let name = call.name(request.key.as_str());
        let Some(span) = span(request.expiry)? else {
            return Ok(call.get(&name, Ask::Presence).await?.is_some());
        };
        let ttl = call.ttl(&name, span).await?;
        let mut commands = Commands::with_capacity(name.text.len());
        commands.touch(&name, ttl);
        match call.ask_one(call.route(&name), commands).await? {
            Reply::Done(_) => Ok(true),
            Reply::Missing => Ok(false),
            _ => Err(error::not_understood()),
        }
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

    async fn ping(&self) -> Result<ServerInfo> {
        ping::ping(&self.call()?, &self.servers).await
    }

    async fn close(&self) -> Result<()> {
        self.servers.close().await;
        Ok(())
    }
}

impl Connect for MemcachedProvider {
    const SCHEMES: &'static [&'static str] = crate::url::SCHEMES;

    async fn connect(url: &str) -> Result<Self> {
        Self::connect(url).await
    }

    fn lazy(url: &str) -> Result<Self> {
        Self::lazy(url)
    }
}

impl Call<'_> {
    /// Reads what is asked of an item.
    pub(crate) async fn get(&self, name: &Name, ask: Ask) -> Result<Option<Item>> {
        let mut commands = Commands::with_capacity(name.text.len());
        commands.get(name, ask);
        match self.ask_one(self.route(name), commands).await? {
            Reply::Done(item) => Ok(Some(item)),
            Reply::Missing => Ok(None),
            _ => Err(error::not_understood()),
        }
    }

    /// Whether it was there, and deleted; `only_on`: the connection that the version was read on.
    async fn delete(
        &self,
        name: &Name,
        version: Option<u64>,
        only_on: Option<u64>,
    ) -> Result<bool> {
        let mut commands = Commands::with_capacity(name.text.len());
        commands.delete(name, version);
        commands.only_on(only_on);
        match self.ask_one(self.route(name), commands).await? {
            Reply::Done(_) => Ok(true),
            Reply::Missing | Reply::Changed => Ok(false),
            _ => Err(error::not_understood()),
        }
    }

    pub(crate) async fn set(&self, request: SetRequest<'_>) -> Result<Outcome> {
        let Some(mode) = mode(request.condition.as_ref())? else {
            return Ok(Outcome::Unmet);
        };
        let name = self.name(request.key.as_str());
        let Some(span) = span(request.expiry)? else {
            return self.set_keeping_expiry(&name, &request.value, mode).await;
        };
        let ttl = self.ttl(&name, span).await?;
        self.store(&name, &request.value, ttl, mode, None).await
    }

    /// A time to live, as it is told to the key's server.
    async fn ttl(&self, name: &Name, span: Span) -> Result<Ttl> {
        if !span.needs_clock() {
            return span.ttl(None);
        }
        let route = self.route(name);
        let clock = self.server(route)?.clock(route.lane, self.deadline).await?;
        span.ttl(Some(clock))
    }

    pub(crate) async fn store(
        &self,
        name: &Name,
        value: &[u8],
        ttl: Ttl,
        mode: Mode,
        only_on: Option<u64>,
    ) -> Result<Outcome> {
        let length = name.text.len() + name.header().len() + value.len();
        let mut commands = Commands::with_capacity(length);
        commands.set(name, value, ttl, mode);
        commands.only_on(only_on);
        outcome(self.ask_one(self.route(name), commands).await?, mode)
    }
}

/// The condition, as Memcached has it; `None` where it cannot hold, as a version that is no number.
pub(crate) fn mode(condition: Option<&Condition>) -> Result<Option<Mode>> {
    match condition {
        None => Ok(Some(Mode::Always)),
        Some(Condition::Absent) => Ok(Some(Mode::IfAbsent)),
        Some(Condition::Present) => Ok(Some(Mode::IfPresent)),
        Some(Condition::Version(version)) => Ok(version.as_u64().map(Mode::IfVersion)),
        Some(_) => Err(Error::new(
            ErrorKind::Unsupported,
            "this release does not know that condition",
        )),
    }
}

/// What came of storing something.
pub(crate) fn outcome(reply: Reply, mode: Mode) -> Result<Outcome> {
    match (reply, mode) {
        (Reply::Done(item), _) => Ok(Outcome::Applied(item.version.map(Version::from))),
        (Reply::Refused(words), _) => Err(error::refused(&words)),
        (Reply::NotStored, Mode::IfAbsent | Mode::IfPresent)
        | (Reply::Missing | Reply::Changed, Mode::IfVersion(_)) => Ok(Outcome::Unmet),
        _ => Err(error::not_understood()),
    }
}

/// The value of an item that is there.
fn item_value(name: &Name, item: &Item) -> Result<Bytes> {
    let value = item.value.clone().ok_or_else(error::not_understood)?;
    name.value(value, item.client_flags)
}
