//! What a [`VaultProvider`](crate::VaultProvider) is made from.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use kvstore_core::{Error, ErrorKind, Result};

use crate::Credential;
use crate::path::is_plain;

/// Where a Vault or OpenBao server is, how to log in, and where in it the keys are.
///
/// Made from a URL (the [crate's page](crate) has the table) or step by step. `Debug` prints no secret.
///
/// ```
/// use kvstore_vault::{Credential, VaultConfig};
///
/// # fn main() -> kvstore_core::Result<()> {
/// let from_url: VaultConfig =
///     "vault://vault.example/secret?path=my-service&role_id=4f2a&secret_id_file=/run/secrets/vault".parse()?;
/// let by_hand = VaultConfig::new("vault.example")
///     .mount("secret")
///     .path("my-service")
///     .approle("4f2a", Credential::file("/run/secrets/vault"));
/// assert_eq!(from_url, by_hand);
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct VaultConfig {
    /// As a person writes it, an IPv6 address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) client_cert: Option<PathBuf>,
    pub(crate) client_key: Option<PathBuf>,
    pub(crate) login: Option<Login>,
    pub(crate) auth_mount: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) mount: String,
    pub(crate) path: String,
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) max_connections: usize,
    pub(crate) max_pending: usize,
    pub(crate) max_value_len: usize,
    pub(crate) max_versions: Option<u32>,
    pub(crate) keep_counter: bool,
}

/// How to get a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Login {
    Token(Credential),
    AppRole {
        role_id: String,
        secret_id: Credential,
    },
    Kubernetes {
        role: String,
        jwt: PathBuf,
    },
}

impl Login {
    /// Where the method is mounted, unless somewhere else.
    pub(crate) const fn usual_mount(&self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::AppRole { .. } => "approle",
            Self::Kubernetes { .. } => "kubernetes",
        }
    }
}

/// Where Kubernetes puts a service account's token.
pub(crate) const JWT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// What is left of a raft entry's 1,048,576 bytes for a secret's members.
const MAX_VALUE_LEN: usize = 1_048_000;

impl VaultConfig {
    /// A server at this host (a name or an IP address), port 8200, by TLS.
    pub fn new(host: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            port: 8200,
            tls: true,
            ca: None,
            client_cert: None,
            client_key: None,
            login: None,
            auth_mount: None,
            namespace: None,
            mount: "secret".to_owned(),
            path: "kvstore".to_owned(),
            timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(3),
            max_connections: 64,
            max_pending: 10_000,
            max_value_len: MAX_VALUE_LEN,
            max_versions: None,
            keep_counter: false,
        }
    }

    /// Sets the port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Speaks no TLS: tokens and values cross the network in the clear.
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

    /// Shows the server a certificate: the PEM files of its chain and of its key.
    #[must_use]
    pub fn client_cert(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.client_cert = Some(cert.into());
        self.client_key = Some(key.into());
        self
    }

    /// Uses a token that there is already. It is renewed if it can be; one from a file or a variable is read
    /// again when it is refused.
    #[must_use]
    pub fn token(mut self, token: impl Into<Credential>) -> Self {
        self.login = Some(Login::Token(token.into()));
        self
    }

    /// Logs in by AppRole.
    #[must_use]
    pub fn approle(mut self, role_id: impl Into<String>, secret_id: impl Into<Credential>) -> Self {
        self.login = Some(Login::AppRole {
            role_id: role_id.into(),
            secret_id: secret_id.into(),
        });
        self
    }

    /// Logs in by Kubernetes, with the token of the pod's service account.
    #[must_use]
    pub fn kubernetes(mut self, role: impl Into<String>) -> Self {
        self.login = Some(Login::Kubernetes {
            role: role.into(),
            jwt: JWT.into(),
        });
        self
    }

    /// Logs in by Kubernetes, with the token in this file, which is read anew at each login.
    #[must_use]
    pub fn kubernetes_with_jwt(mut self, role: impl Into<String>, jwt: impl Into<PathBuf>) -> Self {
        self.login = Some(Login::Kubernetes {
            role: role.into(),
            jwt: jwt.into(),
        });
        self
    }

    /// Sets where AppRole or Kubernetes is mounted below `auth/`, `approle` or `kubernetes` if not set.
    #[must_use]
    pub fn auth_mount(mut self, mount: impl Into<String>) -> Self {
        self.auth_mount = Some(mount.into());
        self
    }

    /// Sets the server's namespace, as `team/a`, in which both the login and the secrets are.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Sets where the KV version 2 secrets engine is mounted, `secret` if not set.
    #[must_use]
    pub fn mount(mut self, mount: impl Into<String>) -> Self {
        self.mount = mount.into();
        self
    }

    /// Sets the path under the mount that all keys are under, `kvstore` if not set. No key reaches outside
    /// of it.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Sets the deadline of every call, 5 seconds if not set: waiting for a connection, logging in and
    /// repeating included. A batch has it as a whole, a listing has it per page.
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

    /// Sets how many bytes the members of a secret may have as Vault keeps them, 1,048,000 if not set: what
    /// fits an entry of its raft storage. Bytes count as base64, and `<`, `>`, `&`, U+2028 and U+2029 as six.
    #[must_use]
    pub fn max_value_len(mut self, bytes: usize) -> Self {
        self.max_value_len = bytes;
        self
    }

    /// Sets how many versions the server keeps of each secret that this provider creates; if not set, what
    /// the mount is configured to, else 10. It costs a second request for each secret that is created.
    #[must_use]
    pub fn max_versions(mut self, versions: u32) -> Self {
        self.max_versions = Some(versions);
        self
    }

    /// Keeps what `delete` deletes as Vault does: the secret can be brought back by Vault's own means, its
    /// name stays, and so does the count of its versions, which are unique then. If not set, `delete`
    /// removes the secret with all its versions.
    #[must_use]
    pub fn keep_counter(mut self) -> Self {
        self.keep_counter = true;
        self
    }

    /// The server's URL, without a slash at the end.
    pub(crate) fn base(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        let (host, port) = (&self.host, self.port);
        match host.contains(':') {
            true => format!("{scheme}://[{host}]:{port}"),
            false => format!("{scheme}://{host}:{port}"),
        }
    }

    /// Whether tokens are got by logging in.
    pub(crate) fn logs_in(&self) -> bool {
        !matches!(self.login, None | Some(Login::Token(_)))
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
        let problem = if self.host.is_empty() {
            "there is no host"
        } else if !self.host.chars().all(is_host) {
            "the host has characters that no host has"
        } else if !self.tls
            && (self.ca.is_some() || self.client_cert.is_some() || self.client_key.is_some())
        {
            "`ca`, `client_cert` and `client_key` are for TLS, which is switched off: use the scheme `vault`"
        } else if self.client_cert.is_some() != self.client_key.is_some() {
            "`client_cert` and `client_key` go together, and one is missing"
        } else if self.login.is_none() {
            "there is no way to log in: give a token, an AppRole or a role of Kubernetes"
        } else if matches!(self.login, Some(Login::Token(_))) && self.auth_mount.is_some() {
            "`auth_mount` is for AppRole and Kubernetes, and there is a token"
        } else if !self.auth_mount.as_deref().is_none_or(is_plain) {
            "`auth_mount` has a part that is empty, `.` or `..`, or a character that the server would change"
        } else if self
            .namespace
            .as_deref()
            .is_some_and(|name| name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic()))
        {
            "`namespace` is empty, or has characters other than visible ASCII"
        } else if !is_plain(&self.mount) {
            "the mount has a part that is empty, `.` or `..`, or a character that the server would change"
        } else if !is_plain(&self.path) {
            "`path` has a part that is empty, `.` or `..`, or a character that the server would change"
        } else if !span.contains(&self.timeout) {
            "`timeout` is from 1 ms to 24 h"
        } else if !span.contains(&self.connect_timeout) {
            "`connect_timeout` is from 1 ms to 24 h"
        } else if !(1..=MAX).contains(&self.max_connections) {
            "`max_connections` is from 1 to 1,000,000"
        } else if !(1..=MAX).contains(&self.max_pending) {
            "`max_pending` is from 1 to 1,000,000"
        } else if self.max_versions == Some(0) {
            "`max_versions` is 1 or more"
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::InvalidConfig, problem))
    }
}

/// Some bound is needed: a semaphore panics far above it.
const MAX: usize = 1_000_000;

impl FromStr for VaultConfig {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        crate::url::parse(url)
    }
}

impl fmt::Debug for VaultConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultConfig")
            .field("server", &format_args!("{}", self.base()))
            .field("ca", &self.ca)
            .field("client_cert", &self.client_cert)
            .field("client_key", &self.client_key)
            .field("login", &self.login)
            .field("auth_mount", &self.auth_mount)
            .field("namespace", &self.namespace)
            .field("mount", &self.mount)
            .field("path", &self.path)
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("max_connections", &self.max_connections)
            .field("max_pending", &self.max_pending)
            .field("max_value_len", &self.max_value_len)
            .field("max_versions", &self.max_versions)
            .field("keep_counter", &self.keep_counter)
            .finish()
    }
}

/// What [`VaultProvider::connect`](crate::VaultProvider::connect) takes: a [`VaultConfig`], or a URL.
pub trait IntoConfig {
    /// Makes the configuration.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] when it is a URL that is not understood in every part.
    fn into_config(self) -> Result<VaultConfig>;
}

impl IntoConfig for VaultConfig {
    fn into_config(self) -> Result<VaultConfig> {
        self.check()?;
        Ok(self)
    }
}

impl<T: AsRef<str>> IntoConfig for T {
    fn into_config(self) -> Result<VaultConfig> {
        self.as_ref().parse()
    }
}
