//! What a [`ZooKeeperProvider`](crate::ZooKeeperProvider) is made from.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use kvstore_core::{Error, ErrorKind, Result};

use crate::Acl;
use crate::place::is_path;

/// Where a ZooKeeper server or ensemble is, who to be there, and where in it the keys are.
///
/// Made from a URL (the [crate's page](crate) has the table) or step by step. `Debug` prints no password.
///
/// ```
/// use std::time::Duration;
/// use kvstore_zookeeper::{Acl, Rights, ZooKeeperConfig};
///
/// # fn main() -> kvstore_core::Result<()> {
/// let from_url: ZooKeeperConfig =
///     "zookeeper://app:secret@zk1.example,zk2.example:2182/apps/fruit?acl=auth::cdrwa,world:anyone:r&timeout=2s".parse()?;
/// let by_hand = ZooKeeperConfig::new("zk1.example", 2181)
///     .server("zk2.example", 2182)
///     .root("/apps/fruit")
///     .credentials("app", "secret")
///     .acl([Acl::creator(), Acl::new("world", "anyone", Rights::READ)])
///     .timeout(Duration::from_secs(2));
/// assert_eq!(from_url, by_hand);
/// assert!(!format!("{by_hand:?}").contains("secret"));
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ZooKeeperConfig {
    pub(crate) servers: Vec<Server>,
    pub(crate) root: String,
    /// User and password.
    pub(crate) credentials: Option<(String, String)>,
    /// Empty: by whether there are credentials.
    pub(crate) acl: Vec<Acl>,
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) session_timeout: Duration,
    pub(crate) max_pending: usize,
    pub(crate) max_value_len: usize,
}

/// One server, its host as a person writes it, an IPv6 address without brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Server {
    /// Whether it is on another machine.
    fn is_remote(&self) -> bool {
        let address = self.host.parse();
        self.host != "localhost" && !address.is_ok_and(|address: IpAddr| address.is_loopback())
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// The port that servers have unless they are told otherwise.
pub(crate) const PORT: u16 = 2181;

/// Below what a server takes unless it is told otherwise (`jute.maxbuffer`), which includes a key and more.
pub(crate) const MAX_VALUE_LEN: usize = 1_000_000;

/// How long the root's path is at most.
const MAX_ROOT_LEN: usize = 1024;

/// How long the ACL is at most.
const MAX_ACL_LEN: usize = 1 << 15;

impl ZooKeeperConfig {
    /// A server at this host (a name or an IP address) and port, 2181 as a rule.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            servers: Vec::new(),
            root: "/kvstore".to_owned(),
            credentials: None,
            acl: Vec::new(),
            timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(2),
            session_timeout: Duration::from_secs(10),
            max_pending: 10_000,
            max_value_len: MAX_VALUE_LEN,
        }
        .server(host, port)
    }

    /// Adds another server of the same ensemble, by a name of its own. Any of them serves; one that fails is left for
    /// another. Where one alone is named and it is one of an ensemble, each read costs a write, since the name may be
    /// that of the leader the next time.
    #[must_use]
    pub fn server(mut self, host: impl Into<String>, port: u16) -> Self {
        let host = host.into();
        self.servers.push(Server { host, port });
        self
    }

    /// Sets the path of the node that all keys are below, `/kvstore` if not set. It is created when it is
    /// first needed. No key reaches outside of it. It has up to 1,024 bytes.
    #[must_use]
    pub fn root(mut self, path: impl Into<String>) -> Self {
        self.root = path.into();
        self
    }

    /// Sets who to be, by ZooKeeper's scheme `digest`. The user's name holds no `:`.
    #[must_use]
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials = Some((user.into(), password.into()));
        self
    }

    /// Sets who may do what with the nodes that are created; nodes that are there already stay as they are. If
    /// not set, it is [`Acl::creator`] where there are credentials, else [`Acl::open`].
    #[must_use]
    pub fn acl(mut self, acl: impl IntoIterator<Item = Acl>) -> Self {
        self.acl = acl.into_iter().collect();
        self
    }

    /// Sets the deadline of every call, 5 seconds if not set: waiting for a connection and repeating
    /// included. A batch has it per request (256 items or a megabyte; 127 items where they are read), a listing per
    /// page.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how long one attempt to connect may take, 2 seconds if not set. A name that stands for several
    /// addresses is several attempts.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how long a server keeps a session of which it hears nothing, 10 seconds if not set; the server
    /// has bounds of its own for it. Nothing that is stored depends on it.
    #[must_use]
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.session_timeout = timeout;
        self
    }

    /// Sets how many calls may be under way at once, 10,000 if not set. More are refused as
    /// [`ErrorKind::Busy`]. A batch is one call.
    #[must_use]
    pub fn max_pending(mut self, calls: usize) -> Self {
        self.max_pending = calls;
        self
    }

    /// Sets how many bytes a value may have, 1,000,000 if not set, which leaves room in the servers' own limit
    /// of 1,048,575 for a whole request (`jute.maxbuffer`). Where that is another, say so here: a server
    /// closes the connection on a longer request, with everything that is under way on it.
    #[must_use]
    pub fn max_value_len(mut self, bytes: usize) -> Self {
        self.max_value_len = bytes;
        self
    }

    /// Who may do what with the nodes that are created.
    pub(crate) fn acl_or_default(&self) -> Vec<Acl> {
        match (&self.acl[..], &self.credentials) {
            ([], Some(_)) => vec![Acl::creator()],
            ([], None) => vec![Acl::open()],
            (acl, _) => acl.to_vec(),
        }
    }

    /// Whether a server is on another machine.
    pub(crate) fn is_remote(&self) -> bool {
        self.servers.iter().any(Server::is_remote)
    }

    /// Finds what cannot be, or would not be used.
    pub(crate) fn check(&self) -> Result<()> {
        let span = Duration::from_millis(1)..=Duration::from_secs(24 * 60 * 60);
        let is_host = |char: char| char.is_ascii_alphanumeric() || ".-_:".contains(char);
        let problem = if self.servers.iter().any(|server| server.host.is_empty()) {
            "there is no host, or one of them is empty"
        } else if !self
            .servers
            .iter()
            .all(|server| server.host.chars().all(is_host))
        {
            "a host has characters that no host has"
        } else if self.servers.iter().any(|server| server.port == 0) {
            "a port is 0"
        } else if !is_path(&self.root) {
            "the root is not a path as `/apps/fruit`: a name is empty, `.` or `..`, or has a character that \
             ZooKeeper does not take, or the first is `zookeeper`, which is the server's own"
        } else if self
            .credentials
            .as_ref()
            .is_some_and(|(user, _)| user.is_empty() || user.contains(':'))
        {
            "the user's name is empty or has a `:`, which ends it"
        } else if self.credentials.is_none() && self.acl.iter().any(|acl| acl.scheme == "auth") {
            "the ACL's scheme `auth` is for whoever creates a node, and there are no credentials"
        } else if !span.contains(&self.timeout) {
            "`timeout` is from 1 ms to 24 h"
        } else if !span.contains(&self.connect_timeout) {
            "`connect_timeout` is from 1 ms to 24 h"
        } else if !span.contains(&self.session_timeout) {
            "`session_timeout` is from 1 ms to 24 h"
        } else if !(1..=1_000_000).contains(&self.max_pending) {
            // Some bound is needed: a semaphore panics far above it.
            "`max_pending` is from 1 to 1,000,000"
        } else if self.max_value_len > 1 << 27 {
            // Twice that is the longest answer that is taken.
            "`max_value_len` is at most 134,217,728"
        } else if self.root.len() > MAX_ROOT_LEN {
            // It goes with each of many keys in a request.
            "the root has more than 1,024 bytes"
        } else if self.acl.iter().map(Acl::len).sum::<usize>() > MAX_ACL_LEN {
            "the ACL has more than 32,768 bytes, which is what a request has beside the key and the value"
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::InvalidConfig, problem))
    }
}

impl FromStr for ZooKeeperConfig {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        crate::url::parse(url)
    }
}

impl fmt::Debug for ZooKeeperConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers: Vec<_> = self.servers.iter().map(ToString::to_string).collect();
        let user = self.credentials.as_ref().map(|(user, _)| user);
        f.debug_struct("ZooKeeperConfig")
            .field("servers", &servers)
            .field("root", &self.root)
            .field("user", &user)
            .field("password", &user.map(|_| "…"))
            .field("acl", &self.acl_or_default())
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("session_timeout", &self.session_timeout)
            .field("max_pending", &self.max_pending)
            .field("max_value_len", &self.max_value_len)
            .finish()
    }
}

/// What [`ZooKeeperProvider::connect`](crate::ZooKeeperProvider::connect) takes: a [`ZooKeeperConfig`], or a
/// URL.
pub trait IntoConfig {
    /// Makes the configuration.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] when it is a URL that is not understood in every part.
    fn into_config(self) -> Result<ZooKeeperConfig>;
}

impl IntoConfig for ZooKeeperConfig {
    fn into_config(self) -> Result<ZooKeeperConfig> {
        self.check()?;
        Ok(self)
    }
}

impl<T: AsRef<str>> IntoConfig for T {
    fn into_config(self) -> Result<ZooKeeperConfig> {
        self.as_ref().parse()
    }
}
