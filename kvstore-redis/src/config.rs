//! What a [`RedisProvider`](crate::RedisProvider) is made from.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use kvstore_core::{Error, ErrorKind, Result};

/// Where a Redis or Valkey server is, and how to use it.
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
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct RedisConfig {
    pub(crate) address: Address,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) database: u8,
    pub(crate) tls: bool,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) client_cert: Option<PathBuf>,
    pub(crate) client_key: Option<PathBuf>,
    pub(crate) prefix: String,
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) max_pending: usize,
    pub(crate) max_value_len: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// The host as a person writes it, an IPv6 address without brackets.
    Tcp(String, u16),
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl RedisConfig {
    /// A server at this host (a name or an IP address), port 6379, without TLS.
    pub fn new(host: impl Into<String>) -> Self {
        Self::at(Address::Tcp(host.into(), 6379))
    }

    /// A server at this Unix socket.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::at(Address::Unix(path.into()))
    }

    pub(crate) fn at(address: Address) -> Self {
        Self {
            address,
            username: None,
            password: None,
            database: 0,
            tls: false,
            ca: None,
            client_cert: None,
            client_key: None,
            prefix: String::new(),
            timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(3),
            max_pending: 10_000,
            max_value_len: 512 * 1024 * 1024,
        }
    }

    /// Sets the port. A Unix socket has none; there it does nothing.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        if let Address::Tcp(_, current) = &mut self.address {
            *current = port;
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

    /// Sets the number of the database, 0 if not set.
    #[must_use]
    pub fn database(mut self, database: u8) -> Self {
        self.database = database;
        self
    }

    /// Speaks TLS. The server's certificate is checked against the system's authorities, unless
    /// [`ca`](Self::ca) names others.
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
    /// [`ErrorKind::Busy`]. A batch is one call.
    #[must_use]
    pub fn max_pending(mut self, calls: usize) -> Self {
        self.max_pending = calls;
        self
    }

    /// Sets how many bytes a value may have, 512 MiB if not set, which is the server's own limit
    /// (`proto-max-bulk-len`). Where that is lower, say so here: the server closes the connection on a
    /// longer one, with everything that is under way on it.
    #[must_use]
    pub fn max_value_len(mut self, bytes: usize) -> Self {
        self.max_value_len = bytes;
        self
    }

    /// Finds what cannot be, or would not be used.
    pub(crate) fn check(&self) -> Result<()> {
        let span = Duration::from_millis(1)..=Duration::from_secs(24 * 60 * 60);
        let problem = if matches!(&self.address, Address::Tcp(host, _) if host.is_empty()) {
            "there is no host"
        } else if matches!(self.address, Address::Unix(_)) && self.tls {
            "a Unix socket speaks no TLS"
        } else if !cfg!(unix) && matches!(self.address, Address::Unix(_)) {
            "this system has no Unix sockets"
        } else if self.username.is_some() && self.password.is_none() {
            "there is a user name without a password"
        } else if !self.tls
            && (self.ca.is_some() || self.client_cert.is_some() || self.client_key.is_some())
        {
            "`ca`, `client_cert` and `client_key` are for TLS, which is not switched on: use `rediss://`"
        } else if self.client_cert.is_some() != self.client_key.is_some() {
            "`client_cert` and `client_key` go together, and one is missing"
        } else if !span.contains(&self.timeout) {
            "`timeout` is from 1 ms to 24 h"
        } else if !span.contains(&self.connect_timeout) {
            "`connect_timeout` is from 1 ms to 24 h"
        } else if self.max_pending == 0 || self.max_pending > MAX_PENDING {
            "`max_pending` is from 1 to 1,000,000"
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::InvalidConfig, problem))
    }
}

/// Some bound is needed: a semaphore panics far above it.
const MAX_PENDING: usize = 1_000_000;

impl FromStr for RedisConfig {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        crate::url::parse(url)
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("address", &format_args!("{}", self.address))
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("database", &self.database)
            .field("tls", &self.tls)
            .field("ca", &self.ca)
            .field("client_cert", &self.client_cert)
            .field("client_key", &self.client_key)
            .field("prefix", &self.prefix)
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("max_pending", &self.max_pending)
            .field("max_value_len", &self.max_value_len)
            .finish()
    }
}

/// What [`RedisProvider::connect`](crate::RedisProvider::connect) takes: a [`RedisConfig`], or a URL.
pub trait IntoConfig {
    /// Makes the configuration.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] when it is a URL that is not understood in every part.
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
