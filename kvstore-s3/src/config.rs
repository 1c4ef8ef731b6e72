//! What an [`S3Provider`](crate::S3Provider) is made from.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use kvstore_core::{Error, ErrorKind, Result};
use url::Url;

use crate::Credential;
use crate::name::Names;

/// Where an S3 server is, how to sign requests to it, and where in it the keys are.
///
/// Made from a URL (the [crate's page](crate) has the table) or step by step. `Debug` prints no secret.
///
/// ```
/// use kvstore_s3::{Credential, S3Config};
///
/// # fn main() -> kvstore_core::Result<()> {
/// let from_url: S3Config =
///     "s3://AKIA4F2A@s3.eu-central-1.amazonaws.com/bucket?secret_access_key_file=/run/secrets/s3&prefix=app/"
///         .parse()?;
/// let by_hand = S3Config::new("s3.eu-central-1.amazonaws.com", "bucket")
///     .credentials("AKIA4F2A", Credential::file("/run/secrets/s3"))
///     .prefix("app/");
/// assert_eq!(from_url, by_hand);
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct S3Config {
    /// As a person writes it, an IPv6 address without brackets.
    pub(crate) host: String,
    /// The one of HTTP or HTTPS if not set.
    pub(crate) port: Option<u16>,
    pub(crate) tls: bool,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) bucket: String,
    pub(crate) prefix: String,
    pub(crate) region: Option<String>,
    pub(crate) login: Option<Login>,
    pub(crate) session_token: Option<Credential>,
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) max_connections: usize,
    pub(crate) max_pending: usize,
    pub(crate) max_value_len: usize,
    pub(crate) expiry: bool,
    pub(crate) conditions: bool,
    pub(crate) strong_reads: bool,
}

/// How to sign requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Login {
    Key { id: String, secret: Credential },
    AwsChain,
    Anonymous,
}

/// What S3 takes in one request, 5 GiB, where an address has more than 32 bits.
const MAX_VALUE_LEN: usize = match usize::BITS {
    64 => 5 << 30,
    _ => usize::MAX,
};

impl S3Config {
    /// A bucket on a server at this host (a name or an IP address), by TLS. For AWS the host is that of a
    /// region, as `s3.eu-central-1.amazonaws.com`.
    pub fn new(host: impl Into<String>, bucket: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            port: None,
            tls: true,
            ca: None,
            bucket: bucket.into(),
            prefix: String::new(),
            region: None,
            login: None,
            session_token: None,
            timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(3),
            max_connections: 64,
            max_pending: 10_000,
            max_value_len: MAX_VALUE_LEN,
            expiry: true,
            conditions: true,
            strong_reads: true,
        }
    }

    /// Sets the port, 443 or (without TLS) 80 if not set.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Speaks no TLS: values cross the network in the clear. The secret does not, as it only signs.
    #[must_use]
    pub fn plain(mut self) -> Self {
        self.tls = false;
        self
    }

    /// Trusts the authorities of this PEM file, and not the system's.
    #[must_use]
    pub fn ca(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca = Some(path.into());
        self
    }

    /// Sets what all objects' names begin with, as `app/`; nothing if not set. No key reaches outside of it.
    /// It may have up to 240 bytes.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the region that requests are signed for. If not set, it is the one in an AWS host's name, else
    /// `us-east-1`, which other servers take for theirs.
    #[must_use]
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = Some(region.into());
        self
    }

    /// Signs with this access key.
    #[must_use]
    pub fn credentials(mut self, id: impl Into<String>, secret: impl Into<Credential>) -> Self {
        self.login = Some(Login::Key {
            id: id.into(),
            secret: secret.into(),
        });
        self
    }

    /// Adds the session token that belongs to an access key which ends before long.
    #[must_use]
    pub fn session_token(mut self, token: impl Into<Credential>) -> Self {
        self.session_token = Some(token.into());
        self
    }

    /// Takes the credentials from where AWS puts them for programs, and renews them as they end: the
    /// environment's `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, a web identity, a profile's access key in
    /// `~/.aws`, a container's role, an instance's role, the first that there is.
    #[must_use]
    pub fn aws_credentials(mut self) -> Self {
        self.login = Some(Login::AwsChain);
        self
    }

    /// Signs nothing, for a server that lets everybody in.
    #[must_use]
    pub fn anonymous(mut self) -> Self {
        self.login = Some(Login::Anonymous);
        self
    }

    /// Sets the deadline of every call, 5 seconds if not set: waiting for a connection, getting credentials
    /// and asking again included. Of a batch each part has it, of a listing each page, of connecting each request.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how long one attempt to connect may take, 3 seconds if not set.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how many requests are under way at once, 64 if not set; each needs a connection. Others wait.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// Sets how many calls may be under way at once, 10,000 if not set. More are refused as
    /// [`ErrorKind::Busy`]. A batch is one call.
    #[must_use]
    pub fn max_pending(mut self, calls: usize) -> Self {
        self.max_pending = calls;
        self
    }

    /// Sets how many bytes a value may have, 5 GiB if not set, which is what S3 takes in one request. A longer one
    /// that is there is [`ErrorKind::ValueTooLarge`].
    #[must_use]
    pub fn max_value_len(mut self, bytes: usize) -> Self {
        self.max_value_len = bytes;
        self
    }

    /// Does without expiry: an `expires_at` that an object has means nothing. Listings then need not ask for
    /// each object's metadata, nor conditions on a version.
    #[must_use]
    pub fn without_expiry(mut self) -> Self {
        self.expiry = false;
        self
    }

    /// Does without conditions, and so without versions, `take` and `touch`: for a server that ignores
    /// `If-Match` and `If-None-Match`, or credentials that must not write. No key can be given an expiry; those
    /// that others gave one expire. The server is not probed, and connecting writes nothing.
    #[must_use]
    pub fn without_conditions(mut self) -> Self {
        self.conditions = false;
        self
    }

    /// Does not claim that what was written is read by all from then on: for servers that copy what they are given
    /// to others only later, and may be read there.
    #[must_use]
    pub fn without_strong_reads(mut self) -> Self {
        self.strong_reads = false;
        self
    }

    /// The server's URL, without a slash at the end.
    pub(crate) fn base(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match self.port {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        }
    }

    /// The region to sign for.
    pub(crate) fn signing_region(&self) -> &str {
        // As `s3.eu-west-1.amazonaws.com`, `s3.dualstack.…` or `s3-fips.…`, and so in China.
        let of_the_host = || {
            let host = self.host.strip_suffix(".cn").unwrap_or(&self.host);
            let (service, region) = host.strip_suffix(".amazonaws.com")?.split_once('.')?;
            let region = region.strip_prefix("dualstack.").unwrap_or(region);
            let is_region = matches!(service, "s3" | "s3-fips") && !region.contains('.');
            is_region.then_some(region)
        };
        let given = self.region.as_deref();
        given.or_else(of_the_host).unwrap_or("us-east-1")
    }

    /// Whether the server is on another machine.
    pub(crate) fn is_remote(&self) -> bool {
        let loopback = self
            .host
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback());
        self.host != "localhost" && !loopback
    }

    /// Finds what cannot be, or would not be used.
    pub(crate) fn check(&self) -> Result<()> {
        let span = Duration::from_millis(1)..=Duration::from_secs(24 * 60 * 60);
        let is_host = |char: char| char.is_ascii_alphanumeric() || ".-_:".contains(char);
        // Some servers have buckets that AWS would not let be made.
        let is_bucket = |char: char| char.is_ascii_alphanumeric() || ".-_".contains(char);
        let is_word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        let has_key = matches!(self.login, Some(Login::Key { .. }));
        let problem = if self.host.is_empty() {
            "there is no host"
        } else if !self.host.chars().all(is_host) {
            "the host has characters that no host has"
        } else if Url::parse(&self.base()).is_err() {
            // What signs would panic.
            "the host is neither a name nor an IP address"
        } else if self.bucket.is_empty() {
            "there is no bucket"
        } else if matches!(self.bucket.as_str(), "." | "..") || !self.bucket.chars().all(is_bucket)
        {
            "the bucket has characters that no bucket has"
        } else if !self.tls && self.ca.is_some() {
            "`ca` is for TLS, which is switched off: use the scheme `s3`"
        } else if !Names::new(&self.prefix).fits() {
            "`prefix` is over 240 bytes long, and leaves no room for keys"
        } else if self
            .region
            .as_deref()
            .is_some_and(|region| !is_word(region) || region.contains(['/', ',']))
        {
            "`region` is empty, or has characters that no region has"
        } else if self.login.is_none() {
            "there are no credentials: give an access key, or say which others to take"
        } else if let Some(Login::Key { id, .. }) = &self.login
            && (!is_word(id) || id.contains(['/', ',']))
        {
            "the access key's id is empty, or has characters that no id has"
        } else if self.session_token.is_some() && !has_key {
            "`session_token` belongs to an access key, and there is none"
        } else if !span.contains(&self.timeout) {
            "`timeout` is from 1 ms to 24 h"
        } else if !span.contains(&self.connect_timeout) {
            "`connect_timeout` is from 1 ms to 24 h"
        } else if !(1..=MAX).contains(&self.max_connections) {
            "`max_connections` is from 1 to 1,000,000"
        } else if !(1..=MAX).contains(&self.max_pending) {
            "`max_pending` is from 1 to 1,000,000"
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::InvalidConfig, problem))
    }
}

/// Some bound is needed: a semaphore panics far above it.
const MAX: usize = 1_000_000;

impl FromStr for S3Config {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        crate::url::parse(url)
    }
}

impl fmt::Debug for S3Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Config")
            .field("server", &format_args!("{}", self.base()))
            .field("ca", &self.ca)
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .field("region", &self.region)
            .field("login", &self.login)
            .field("session_token", &self.session_token)
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("max_connections", &self.max_connections)
            .field("max_pending", &self.max_pending)
            .field("max_value_len", &self.max_value_len)
            .field("expiry", &self.expiry)
            .field("conditions", &self.conditions)
            .field("strong_reads", &self.strong_reads)
            .finish()
    }
}

/// What [`S3Provider::connect`](crate::S3Provider::connect) takes: an [`S3Config`], or a URL.
pub trait IntoConfig {
    /// Makes the configuration.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] when it is a URL that is not understood in every part.
    fn into_config(self) -> Result<S3Config>;
}

impl IntoConfig for S3Config {
    fn into_config(self) -> Result<S3Config> {
        self.check()?;
        Ok(self)
    }
}

impl<T: AsRef<str>> IntoConfig for T {
    fn into_config(self) -> Result<S3Config> {
        self.as_ref().parse()
    }
}
