//! What a [`MongoDbProvider`](crate::MongoDbProvider) is made from.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use kvstore_core::{Error, ErrorKind, Result};

use crate::options;

/// Where a MongoDB deployment is, and how to use it.
///
/// Made from a URL (the [crate's page](crate) has the table) or step by step. `Debug` prints no password.
///
/// ```
/// use std::time::Duration;
/// use kvstore_mongodb::MongoDbConfig;
///
/// # fn main() -> kvstore_core::Result<()> {
/// let url = "mongodb://app:secret@a.example,b.example:27018/shop?replicaSet=rs0&collection=sessions&timeout=2s";
/// let from_url: MongoDbConfig = url.parse()?;
/// let by_hand = MongoDbConfig::new("a.example,b.example:27018", "shop")
///     .credentials("app", "secret")
///     .option("authSource", "shop")
///     .option("replicaSet", "rs0")
///     .collection("sessions")
///     .timeout(Duration::from_secs(2));
/// assert_eq!(from_url, by_hand);
/// assert!(!format!("{by_hand:?}").contains("secret"));
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct MongoDbConfig {
    pub(crate) srv: bool,
    pub(crate) hosts: String,
    pub(crate) credentials: Option<(String, String)>,
    pub(crate) database: String,
    pub(crate) collection: String,
    pub(crate) timeout: Duration,
    pub(crate) max_value_len: usize,
    /// MongoDB's own options, by their names in lower case.
    pub(crate) options: BTreeMap<String, String>,
}

/// What a document of 16 MiB holds besides key, version and expiry.
pub(crate) const MAX_VALUE_LEN: usize = 16 * 1024 * 1024 - 2048;

impl MongoDbConfig {
    /// A database on these servers, `host` or `host:port`, several separated by commas; the port is 27017
    /// where none is given.
    pub fn new(hosts: impl Into<String>, database: impl Into<String>) -> Self {
        Self {
            srv: false,
            hosts: hosts.into(),
            credentials: None,
            database: database.into(),
            collection: "kvstore".to_owned(),
            timeout: Duration::from_secs(5),
            max_value_len: MAX_VALUE_LEN,
            options: BTreeMap::new(),
        }
    }

    /// A database on the servers that the DNS names for this host, as MongoDB Atlas wants it, with TLS. Needs
    /// the feature `srv`.
    pub fn srv(host: impl Into<String>, database: impl Into<String>) -> Self {
        Self {
            srv: true,
            ..Self::new(host, database)
        }
    }

    /// Sets user name and password. The user is looked up in the database `admin`, unless the option
    /// `authSource` names another.
    #[must_use]
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials = Some((user.into(), password.into()));
        self
    }

    /// Sets the collection, `kvstore` if not set.
    #[must_use]
    pub fn collection(mut self, name: impl Into<String>) -> Self {
        self.collection = name.into();
        self
    }

    /// Sets the deadline of every call, 5 seconds if not set: looking for the primary, waiting for a
    /// connection, the server's work and repetitions together. A listing has it per page, a batch per command.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how many bytes a value may have as BSON, 16,775,168 if not set, which is what MongoDB's limit of
    /// 16 MiB leaves beside the key.
    #[must_use]
    pub fn max_value_len(mut self, bytes: usize) -> Self {
        self.max_value_len = bytes;
        self
    }

    /// Sets one of the options that MongoDB's URLs have, such as `replicaSet`, `tls` or `w`; the
    /// [crate's page](crate) lists them.
    #[must_use]
    pub fn option(mut self, name: impl AsRef<str>, value: impl Into<String>) -> Self {
        let name = name.as_ref().to_ascii_lowercase();
        self.options.insert(name, value.into());
        self
    }

    /// Finds what cannot be, or would not be used.
    pub(crate) fn check(&self) -> Result<()> {
        let span = Duration::from_millis(1)..=Duration::from_secs(24 * 60 * 60);
        let in_name = |c: char| !c.is_control() && c != '$';
        let problem = if self.hosts.is_empty() {
            "there is no host"
        } else if self.srv && !cfg!(feature = "srv") {
            "`mongodb+srv` needs the feature `srv` of kvstore-mongodb"
        } else if self.database.is_empty() {
            "there is no database: name it after the hosts, as in `mongodb://host/database`"
        } else if self.database.len() > 63
            || self
                .database
                .contains(['/', '\\', '.', ' ', '"', '$', '\0'])
        {
            "the database's name is longer than 63 bytes or has one of `/\\. \"$` or NUL"
        } else if self.collection.is_empty()
            || !self.collection.chars().all(in_name)
            || self.collection.starts_with(['.'])
            || self.collection.ends_with('.')
            || self.collection.starts_with("system.")
            || self.database.len() + self.collection.len() > 200
        {
            "the collection's name is empty, too long, begins with `system.`, begins or ends with `.`, or has a `$` \
             or a control character"
        } else if !span.contains(&self.timeout) {
            "`timeout` is from 1 ms to 24 h"
        } else if self.max_value_len > MAX_VALUE_LEN {
            "`max_value_len` is over 16,775,168, which is what MongoDB's limit leaves"
        } else {
            return options::check(self);
        };
        Err(Error::new(ErrorKind::InvalidConfig, problem))
    }
}

impl FromStr for MongoDbConfig {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        crate::url::parse(url)
    }
}

impl fmt::Debug for MongoDbConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoDbConfig")
            .field("srv", &self.srv)
            .field("hosts", &self.hosts)
            .field("user", &self.credentials.as_ref().map(|(user, _)| user))
            .field("password", &self.credentials.as_ref().map(|_| "…"))
            .field("database", &self.database)
            .field("collection", &self.collection)
            .field("timeout", &self.timeout)
            .field("max_value_len", &self.max_value_len)
            .field("options", &self.options)
            .finish()
    }
}

/// What [`MongoDbProvider::connect`](crate::MongoDbProvider::connect) takes: a [`MongoDbConfig`], or a URL.
pub trait IntoConfig {
    /// Makes the configuration.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] when it is a URL that is not understood in every part.
    fn into_config(self) -> Result<MongoDbConfig>;
}

impl IntoConfig for MongoDbConfig {
    fn into_config(self) -> Result<MongoDbConfig> {
        Ok(self)
    }
}

impl<T: AsRef<str>> IntoConfig for T {
    fn into_config(self) -> Result<MongoDbConfig> {
        self.as_ref().parse()
    }
}
