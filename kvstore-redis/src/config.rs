//! What a [`RedisProvider`](crate::RedisProvider) is made from.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use kvstore_core::{Error, Result};

use crate::address::{Address, Servers};

/// Where a Redis or Valkey server is, or several that are one, and how to use it.
///
/// Made from a URL (the [crate's page](crate) has the table) or step by step. `Debug` prints no password.
///
/// ```
/// use std::time::Duration;
/// use kvstore_redis::RedisConfig;
///
/// # fn main() -> kvstore_core::Result<()> {
/// let from_url: RedisConfig = "rediss://app:secret@cache.example:6380/1?prefix=app:&timeout=2s".parse()?;
/// let by_hand = RedisConfig::new("cache.example")
///     .port(6380)
///     .tls()
///     .username("app")
///     .password("secret")
///     .database(1)
///     .prefix("app:")
///     .timeout(Duration::from_secs(2));
/// assert_eq!(from_url, by_hand);
/// assert!(!format!("{by_hand:?}").contains("secret"));
///
/// let from_url: RedisConfig = "redis-cluster://one.example,two.example:7000".parse()?;
/// let by_hand = RedisConfig::cluster([("one.example", 6379), ("two.example", 7000)]);
/// assert_eq!(from_url, by_hand);
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct RedisConfig {
    pub(crate) servers: Servers,
    /// Whether a port was set where there is no single host that could have it.
    pub(crate) stray_port: bool,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) sentinel_username: Option<String>,
    pub(crate) sentinel_password: Option<String>,
    pub(crate) database: u8,
    pub(crate) tls: bool,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) client_cert: Option<PathBuf>,
    pub(crate) client_key: Option<PathBuf>,
    pub(crate) prefix: String,
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) max_pending: usize,
    pub(crate) max_value_len: Option<usize>,
    pub(crate) read_from_replicas: bool,
    pub(crate) wait_replicas: u32,
    pub(crate) upstash: bool,
    #[cfg(feature = "rest")]
    pub(crate) max_connections: Option<usize>,
}

impl RedisConfig {
    /// A server at this host (a name or an IP address), port 6379, without TLS.
    ///
    /// A host that ends with `.upstash.io` is Upstash, which takes TLS only: see [`upstash`](Self::upstash).
    pub fn new(host: impl Into<String>) -> Self {
        Self::at(Servers::One(Address::Tcp(host.into(), PORT)))
    }

    /// A server at this Unix socket.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::at(Servers::One(Address::Unix(path.into())))
    }

    /// A cluster, some of whose nodes are at these hosts and ports: they name the others.
    pub fn cluster(nodes: impl IntoIterator<Item = (impl Into<String>, u16)>) -> Self {
        Self::at(Servers::Cluster(hosts(nodes)))
    }

    /// The primary that goes by this name among the sentinels at these hosts and ports, also after it
    /// has become another.
    pub fn sentinel(
        name: impl Into<String>,
        sentinels: impl IntoIterator<Item = (impl Into<String>, u16)>,
    ) -> Self {
        Self::at(Servers::Sentinel {
            sentinels: hosts(sentinels),
            name: name.into(),
        })
    }

    /// Upstash by its REST API at this host, port 443, with TLS; the token is the [`password`](Self::password). Goes
    /// with the feature `rest`.
    #[cfg(feature = "rest")]
    pub fn rest(host: impl Into<String>) -> Self {
        Self::at(Servers::Rest(host.into(), 443)).tls()
    }

    pub(crate) fn at(servers: Servers) -> Self {
        Self {
            servers,
            stray_port: false,
            username: None,
            password: None,
            sentinel_username: None,
            sentinel_password: None,
            database: 0,
            tls: false,
            ca: None,
            client_cert: None,
            client_key: None,
            prefix: String::new(),
            timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(3),
            max_pending: 10_000,
            max_value_len: None,
            read_from_replicas: false,
            wait_replicas: 0,
            upstash: false,
            #[cfg(feature = "rest")]
            max_connections: None,
        }
    }

    /// Sets the port of the one host. There is none at a Unix socket, nor where hosts came with their ports: there
    /// it is [`ErrorKind::InvalidConfig`](kvstore_core::ErrorKind::InvalidConfig) when the configuration is used.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        match &mut self.servers {
            Servers::One(Address::Tcp(_, current)) => *current = port,
            #[cfg(feature = "rest")]
            Servers::Rest(_, current) => *current = port,
            _ => self.stray_port = true,
        }
        self
    }

    /// Sets the ACL user; without one it is the server's `default`. Goes with a password.
    #[must_use]
    pub fn username(mut self, username: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self
    }

    /// Sets the password.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Sets the ACL user for the sentinels. Goes with a password for them.
    #[must_use]
    pub fn sentinel_username(mut self, username: impl Into<String>) -> Self {
        self.sentinel_username = Some(username.into());
        self
    }

    /// Sets the password for the sentinels, which is not that of the server; none if not set.
    #[must_use]
    pub fn sentinel_password(mut self, password: impl Into<String>) -> Self {
        self.sentinel_password = Some(password.into());
        self
    }

    /// Sets the number of the database, 0 if not set. A cluster and Upstash have no other.
    #[must_use]
    pub fn database(mut self, database: u8) -> Self {
        self.database = database;
        self
    }

    /// Speaks TLS, with sentinels too. The server's certificate is checked against the system's authorities,
    /// unless [`ca`](Self::ca) names others.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Trusts the authorities of this PEM file, and not the system's. Goes with TLS.
    #[must_use]
    pub fn ca(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca = Some(path.into());
        self
    }

    /// Shows the server a certificate: the PEM files of its chain and of its key. Goes with TLS.
    #[must_use]
    pub fn client_cert(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.client_cert = Some(cert.into());
        self.client_key = Some(key.into());
        self
    }

    /// Puts this before every key on the server, as `app:`. No key without it is read, written or listed.
    ///
    /// In a cluster, a prefix such as `{app}` puts all keys on one node: Redis takes what stands between the
    /// first braces for the whole key.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the deadline of every call, 5 seconds if not set: waiting for a connection and for the
    /// server together. A listing has it per page.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how long one attempt to connect may take, 3 seconds if not set, and as long again for
    /// authenticating.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how many calls may be under way at once, 10,000 if not set. More are refused as
    /// [`ErrorKind::Busy`](kvstore_core::ErrorKind::Busy). A batch is one call.
    #[must_use]
    pub fn max_pending(mut self, calls: usize) -> Self {
        self.max_pending = calls;
        self
    }

    /// Sets how many bytes a value may have. If not set, it is the server's own limit: 512 MiB
    /// (`proto-max-bulk-len`), or for Upstash a little less than the 10 MB that a request may have, by its REST API
    /// three quarters of that. Where the server's is another, say so here: it closes the connection on a longer one, with everything that is under way on it.
    #[must_use]
    pub fn max_value_len(mut self, bytes: usize) -> Self {
        self.max_value_len = Some(bytes);
        self
    }

    /// Lets `get`, `get_many` and `has` ask replicas, of a cluster or behind sentinels, and the primary where no
    /// replica answers. What a replica has not received yet is missing there: `strong_reads` is not claimed.
    #[must_use]
    pub fn read_from_replicas(mut self) -> Self {
        self.read_from_replicas = true;
        self
    }

    /// Waits after each write until this many replicas have received it (`WAIT`); 0 if not set. Where they have
    /// not before the deadline, the write is an error whose outcome is unknown: the primary has it.
    ///
    /// Writes then have a connection of their own, since one that waits holds up what comes after it.
    #[must_use]
    pub fn wait_replicas(mut self, replicas: u32) -> Self {
        self.wait_replicas = replicas;
        self
    }

    /// Sets how many requests to the REST API may be under way at once, each on a connection of its own; 64 if not
    /// set. Others wait for their turn.
    #[cfg(feature = "rest")]
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = Some(connections);
        self
    }

    /// Says that the server is Upstash, at a host that does not say so itself: reads are not claimed to be
    /// strong, database 0 is the only one, and a value may have what a request may have.
    #[must_use]
    pub fn upstash(mut self) -> Self {
        self.upstash = true;
        self
    }
}

/// The usual port.
pub(crate) const PORT: u16 = 6379;

fn hosts(hosts: impl IntoIterator<Item = (impl Into<String>, u16)>) -> Vec<(String, u16)> {
    let hosts = hosts.into_iter();
    hosts.map(|(host, port)| (host.into(), port)).collect()
}

impl FromStr for RedisConfig {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        crate::url::parse(url)
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = |secret: &Option<String>| secret.as_ref().map(|_| "…");
        let mut debug = f.debug_struct("RedisConfig");
        debug
            .field("servers", &format_args!("{}", self.servers))
            .field("username", &self.username)
            .field("password", &hidden(&self.password))
            .field("sentinel_username", &self.sentinel_username)
            .field("sentinel_password", &hidden(&self.sentinel_password))
            .field("database", &self.database)
            .field("tls", &self.tls)
            .field("ca", &self.ca)
            .field("client_cert", &self.client_cert)
            .field("client_key", &self.client_key)
            .field("prefix", &self.prefix)
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("max_pending", &self.max_pending)
            .field("max_value_len", &self.value_limit())
            .field("read_from_replicas", &self.read_from_replicas)
            .field("wait_replicas", &self.wait_replicas)
            .field("upstash", &self.is_upstash());
        #[cfg(feature = "rest")]
        debug.field("max_connections", &self.max_connections);
        debug.finish()
    }
}

/// What [`RedisProvider::connect`](crate::RedisProvider::connect) takes: a [`RedisConfig`], or a URL.
pub trait IntoConfig {
    /// Makes the configuration.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`](kvstore_core::ErrorKind::InvalidConfig) when it is a URL that is not understood
    /// in every part.
    fn into_config(self) -> Result<RedisConfig>;
}

impl IntoConfig for RedisConfig {
    fn into_config(self) -> Result<RedisConfig> {
        Ok(self)
    }
}

impl<T: AsRef<str>> IntoConfig for T {
    fn into_config(self) -> Result<RedisConfig> {
        self.as_ref().parse()
    }
}
