//! What cannot be in a configuration, or would not be used.

use std::time::Duration;

use kvstore_core::{Error, ErrorKind, Result};

use crate::RedisConfig;
use crate::address::{Address, Servers, is_local};

/// Some bound is needed: a semaphore panics far above it.
const MAX_PENDING: usize = 1_000_000;

/// What the largest value of a Redis has.
const MAX_VALUE_LEN: usize = 512 << 20;

/// What a request to Upstash may have, and its answer.
pub(crate) const MAX_UPSTASH_REQUEST: usize = 10_000_000;

/// What stands in a request beside a value.
pub(crate) const BESIDE: usize = 16_384;

impl RedisConfig {
    /// Whether the server is Upstash.
    pub(crate) fn is_upstash(&self) -> bool {
        let says_so = |host: &str| {
            let host = host.to_ascii_lowercase();
            host.trim_end_matches('.').ends_with(".upstash.io")
        };
        match &self.servers {
            #[cfg(feature = "rest")]
            Servers::Rest(..) => true,
            Servers::One(Address::Tcp(host, _)) => self.upstash || says_so(host),
            _ => self.upstash,
        }
    }

    /// How many bytes a value may have.
    pub(crate) fn value_limit(&self) -> usize {
        self.max_value_len.unwrap_or(match &self.servers {
            // An answer has it in base64.
            #[cfg(feature = "rest")]
            Servers::Rest(..) => (MAX_UPSTASH_REQUEST - BESIDE) / 4 * 3,
            _ if self.is_upstash() => MAX_UPSTASH_REQUEST - BESIDE,
            _ => MAX_VALUE_LEN,
        })
    }

    /// Finds what cannot be, or would not be used.
    pub(crate) fn check(&self) -> Result<()> {
        match self.problem() {
            Some(problem) => Err(Error::new(ErrorKind::InvalidConfig, problem)),
            None => Ok(()),
        }
    }

    fn problem(&self) -> Option<&'static str> {
        self.problem_of_servers()
            .or_else(|| self.problem_of_upstash())
            .or_else(|| self.problem_of_credentials())
            .or_else(|| self.problem_of_numbers())
    }

    fn problem_of_servers(&self) -> Option<&'static str> {
        let hosts: &[(String, u16)] = match &self.servers {
            Servers::One(Address::Tcp(host, port)) => &[(host.clone(), *port)],
            #[cfg(feature = "rest")]
            Servers::Rest(host, port) => &[(host.clone(), *port)],
            Servers::Cluster(hosts) => hosts,
            Servers::Sentinel { sentinels, .. } => sentinels,
            Servers::One(Address::Unix(_)) if self.tls => {
                return Some("a Unix socket speaks no TLS");
            }
            Servers::One(Address::Unix(_)) if !cfg!(unix) => {
                return Some("this system has no Unix sockets");
            }
            Servers::One(Address::Unix(_)) => &[("localhost".to_owned(), 1)],
        };
        let one = matches!(self.servers, Servers::One(_));
        let cluster = matches!(self.servers, Servers::Cluster(_));
        let sentinel = matches!(self.servers, Servers::Sentinel { .. });
        #[cfg(feature = "rest")]
        match (&self.servers, self.max_connections) {
            (Servers::Rest(..), _) if self.wait_replicas > 0 => {
                return Some(
                    "the REST API waits for no replicas: `wait_replicas` is for `rediss://`",
                );
            }
            (Servers::Rest(..), _) if self.username.is_some() => {
                return Some("the REST API knows no user but the token, which is the password");
            }
            (Servers::Rest(..), _) if self.upstash => {
                return Some("the REST API is Upstash's: `upstash` says nothing there");
            }
            (Servers::Rest(..), _) | (_, None) => {}
            (_, Some(_)) => {
                return Some(
                    "`max_connections` is for the REST API of Upstash; others have one connection a server",
                );
            }
        }
        if hosts.is_empty() || hosts.iter().any(|(host, _)| host.is_empty()) {
            Some("there is no host")
        } else if hosts.iter().any(|(_, port)| *port == 0) {
            Some("a port is from 1 to 65535")
        } else if self.stray_port {
            Some("there is a `port` besides hosts that have their own, or a Unix socket")
        } else if matches!(&self.servers, Servers::Sentinel { name, .. } if name.is_empty()) {
            Some(
                "the sentinels are asked for a primary by its name, and there is none: `master=mymaster`",
            )
        } else if !sentinel
            && (self.sentinel_username.is_some() || self.sentinel_password.is_some())
        {
            Some(
                "`sentinel_username` and `sentinel_password` are for sentinels, and there are none",
            )
        } else if cluster && self.database != 0 {
            Some("a cluster has no database but 0")
        } else if self.read_from_replicas && !cluster && !sentinel {
            Some(
                "nobody says where replicas are: reading from them goes with `redis-cluster://` and `redis-sentinel://`",
            )
        } else if self.upstash && (cluster || sentinel) {
            Some("Upstash is neither a cluster nor behind sentinels: use `rediss://`")
        } else if self.upstash && one && matches!(self.servers, Servers::One(Address::Unix(_))) {
            Some("Upstash is at no Unix socket")
        } else {
            None
        }
    }

    fn problem_of_upstash(&self) -> Option<&'static str> {
        let host = match &self.servers {
            Servers::One(Address::Tcp(host, _)) => host,
            #[cfg(feature = "rest")]
            Servers::Rest(host, _) => host,
            _ => return None,
        };
        if !self.is_upstash() {
            None
        } else if self.database != 0 {
            Some("Upstash has no database but 0")
        } else if self.password.is_none() {
            Some("Upstash wants a password, and there is none")
        } else if !self.tls && !is_local(host) {
            Some("Upstash speaks TLS only: use `rediss://`, or `upstash+https://`")
        } else {
            None
        }
    }

    fn problem_of_credentials(&self) -> Option<&'static str> {
        if self.username.is_some() && self.password.is_none() {
            Some("there is a user name without a password")
        } else if self.sentinel_username.is_some() && self.sentinel_password.is_none() {
            Some("there is a `sentinel_username` without a `sentinel_password`")
        } else if !self.tls
            && (self.ca.is_some() || self.client_cert.is_some() || self.client_key.is_some())
        {
            Some(
                "`ca`, `client_cert` and `client_key` are for TLS, which is not switched on: use `rediss://`",
            )
        } else if self.client_cert.is_some() != self.client_key.is_some() {
            Some("`client_cert` and `client_key` go together, and one is missing")
        } else {
            None
        }
    }

    fn problem_of_numbers(&self) -> Option<&'static str> {
        let span = Duration::from_millis(1)..=Duration::from_secs(24 * 60 * 60);
        if !span.contains(&self.timeout) {
            Some("`timeout` is from 1 ms to 24 h")
        } else if !span.contains(&self.connect_timeout) {
            Some("`connect_timeout` is from 1 ms to 24 h")
        } else if self.max_pending == 0 || self.max_pending > MAX_PENDING {
            Some("`max_pending` is from 1 to 1,000,000")
        } else {
            #[cfg(feature = "rest")]
            if self
                .max_connections
                .is_some_and(|count| !(1..=MAX_PENDING).contains(&count))
            {
                return Some("`max_connections` is from 1 to 1,000,000");
            }
            None
        }
    }
}
