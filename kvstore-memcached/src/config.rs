//! What a [`MemcachedProvider`](crate::MemcachedProvider) is made from.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use kvstore_core::{Error, ErrorKind, Result};

use crate::names::Names;

/// Where the Memcached servers are, and how to use them.
///
/// Made from a URL (the [crate's page](crate) has the table) or step by step. `Debug` prints no password.
///
/// ```
/// use std::time::Duration;
/// use kvstore_memcached::MemcachedConfig;
///
/// # fn main() -> kvstore_core::Result<()> {
/// let from_url: MemcachedConfig =
///     "memcacheds://app:secret@one.example,two.example:11300?prefix=app:&timeout=2s".parse()?;
/// let by_hand = MemcachedConfig::new("one.example", 11211)
///     .server("two.example", 11300)
///     .tls()
///     .credentials("app", "secret")
///     .prefix("app:")
///     .timeout(Duration::from_secs(2));
/// assert_eq!(from_url, by_hand);
/// assert!(!format!("{by_hand:?}").contains("secret"));
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct MemcachedConfig {
    pub(crate) servers: Vec<Address>,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) tls: bool,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) client_cert: Option<PathBuf>,
    pub(crate) client_key: Option<PathBuf>,
    pub(crate) prefix: String,
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) connections: usize,
    pub(crate) max_pending: usize,
    pub(crate) max_value_len: Option<usize>,
}

/// The port that Memcached has unless told otherwise.
pub(crate) const PORT: u16 = 11211;

/// Where one server is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address {
    /// As a person writes it, an IPv6 address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: String,
}

impl MemcachedConfig {
    /// A server at this host (a name or an IP address) and port, without TLS; Memcached's own port is 11211.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        let config = Self {
            servers: Vec::new(),
            credentials: None,
            tls: false,
            ca: None,
            client_cert: None,
            client_key: None,
            prefix: String::new(),
            timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(3),
            connections: 1,
            max_pending: 10_000,
            max_value_len: None,
        };
        config.server(host, port)
    }

    /// Adds another server. Each key lives on one of them, which ketama chooses by the names of all: every
    /// client has to name the same servers, in the same way, in any order.
    #[must_use]
    pub fn server(mut self, host: impl Into<String>, port: u16) -> Self {
        let host = host.into();
        self.servers.push(Address { host, port });
        self
    }

    /// Sets the user and the password, of the file that the servers were given by `-Y`.
    #[must_use]
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        let (user, password) = (user.into(), password.into());
        self.credentials = Some(Credentials { user, password });
        self
    }

    /// Speaks TLS. The servers' certificates are checked against the system's authorities, unless
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

    /// Shows the servers a certificate: the PEM files of its chain and of its key. Goes with TLS.
    #[must_use]
    pub fn client_cert(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.client_cert = Some(cert.into());
        self.client_key = Some(key.into());
        self
    }

    /// Puts this before every key on the servers, as `app:`, up to 184 bytes. No key without it is read or written.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the deadline of every call, 5 seconds if not set: waiting for a connection and for the
    /// server together.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how long one attempt to connect may take, 3 seconds if not set, TLS and logging in included.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how many connections there are to each server, 1 if not set, at most 64. Each carries any number of calls at
    /// once; with more of them, large values hold up fewer of the others. A key always goes by the same one.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Sets how many calls may be under way at once to each server, 10,000 if not set. More are refused as
    /// [`ErrorKind::Busy`]. A batch is one call.
    #[must_use]
    pub fn max_pending(mut self, calls: usize) -> Self {
        self.max_pending = calls;
        self
    }

    /// Sets how many bytes a value may have. If not set it is what fits into the servers' `item_size_max` (`-I`)
    /// beside any key: 4 KiB less than that, so 1020 KiB where servers were not told otherwise. A
    /// provider that is made without connecting takes these 1020 KiB.
    #[must_use]
    pub fn max_value_len(mut self, bytes: usize) -> Self {
        self.max_value_len = Some(bytes);
        self
    }

    /// Finds what cannot be, or would not be used.
    pub(crate) fn check(&self) -> Result<()> {
        let span = Duration::from_millis(1)..=Duration::from_secs(24 * 60 * 60);
        let twice = |at: usize| self.servers[..at].contains(&self.servers[at]);
        let problem = if self.servers.iter().any(|server| !is_host(&server.host)) {
            "a server has no host, or one with characters that no host has"
        } else if self.servers.iter().any(|server| server.port == 0) {
            "a server has the port 0"
        } else if (0..self.servers.len()).any(twice) {
            "a server is named twice"
        } else if self.credentials.as_ref().is_some_and(|c| !c.can_be_sent()) {
            "the user and the password have at least one character each, none of them a space or a control \
             character, and the user no colon"
        } else if !self.tls
            && (self.ca.is_some() || self.client_cert.is_some() || self.client_key.is_some())
        {
            "`ca`, `client_cert` and `client_key` are for TLS, which is not switched on: use `memcacheds://`"
        } else if self.client_cert.is_some() != self.client_key.is_some() {
            "`client_cert` and `client_key` go together, and one is missing"
        } else if !Names::fits(&self.prefix) {
            "`prefix` is over 184 bytes, as escaped, which leaves no room for keys"
        } else if !span.contains(&self.timeout) {
            "`timeout` is from 1 ms to 24 h"
        } else if !span.contains(&self.connect_timeout) {
            "`connect_timeout` is from 1 ms to 24 h"
        } else if !(1..=64).contains(&self.connections) {
            "`connections` is from 1 to 64"
        } else if self.max_pending == 0 || self.max_pending > MAX_PENDING {
            "`max_pending` is from 1 to 1,000,000"
        } else if self.max_value_len.is_some_and(|bytes| bytes > MAX_ITEM) {
            "`max_value_len` is at most 1 GiB, as no server takes more"
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::InvalidConfig, problem))
    }
}

/// Some bound is needed: a semaphore panics far above it.
const MAX_PENDING: usize = 1_000_000;

/// Memcached's `-I` is at most this.
pub(crate) const MAX_ITEM: usize = 1 << 30;

/// Whether a host can be one: a name, or an address without brackets.
fn is_host(host: &str) -> bool {
    let visible = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    !host.is_empty()
        && host.bytes().all(visible)
        && (!host.contains(':') || host.parse::<std::net::Ipv6Addr>().is_ok())
}

impl Credentials {
    /// They are sent as `user password` on a line, and are `user:password` in the server's file.
    fn can_be_sent(&self) -> bool {
        let breaks = |c: char| c == ' ' || c.is_control();
        let plain = |text: &str| !text.is_empty() && !text.contains(breaks);
        plain(&self.user) && plain(&self.password) && !self.user.contains(':')
    }
}

impl FromStr for MemcachedConfig {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        crate::url::parse(url)
    }
}

impl fmt::Debug for MemcachedConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers: Vec<String> = self.servers.iter().map(Address::to_string).collect();
        let user = self.credentials.as_ref().map(|login| &login.user);
        f.debug_struct("MemcachedConfig")
            .field("servers", &servers)
            .field("user", &user)
            .field("password", &self.credentials.as_ref().map(|_| "…"))
            .field("tls", &self.tls)
            .field("ca", &self.ca)
            .field("client_cert", &self.client_cert)
            .field("client_key", &self.client_key)
            .field("prefix", &self.prefix)
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("connections", &self.connections)
            .field("max_pending", &self.max_pending)
            .field("max_value_len", &self.max_value_len)
            .finish()
    }
}

/// What [`MemcachedProvider::connect`](crate::MemcachedProvider::connect) takes: a [`MemcachedConfig`], or a URL.
pub trait IntoConfig {
    /// Makes the configuration.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] when it is a URL that is not understood in every part.
    fn into_config(self) -> Result<MemcachedConfig>;
}

impl IntoConfig for MemcachedConfig {
    fn into_config(self) -> Result<MemcachedConfig> {
        Ok(self)
    }
}

impl<T: AsRef<str>> IntoConfig for T {
    fn into_config(self) -> Result<MemcachedConfig> {
        self.as_ref().parse()
    }
}
