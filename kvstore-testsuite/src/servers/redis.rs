//! Redis for tests.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::OnceLock;
use std::{env, fmt, io};

use super::redis_server::{self, RedisServer};
use super::resp::{Connection, Reply};
use super::run;

/// The variable that names a Redis to test against.
const VARIABLE: &str = "KVSTORE_TEST_REDIS_URL";

/// A Redis that tests can reach.
#[derive(Clone)]
pub struct Redis {
    url: String,
    address: SocketAddr,
    /// Commands that come first on a connection: who we are, which database.
    greeting: Vec<Vec<String>>,
}

impl Redis {
    /// The Redis of this test run, for tests that leave it as it is for the others.
    ///
    /// It is the one at `KVSTORE_TEST_REDIS_URL`; else [`RedisServer::shared`] where the program is
    /// installed; else, with the feature `containers`, a container. It is up until the run ends.
    /// Blocks for the moment that takes.
    ///
    /// # Panics
    /// When there is none of these, with what to do.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Redis> = OnceLock::new();
        SHARED.get_or_init(|| {
            if let Ok(url) = env::var(VARIABLE) {
                let redis = Self::at(&url).unwrap_or_else(|e| panic!("{VARIABLE}: {e}"));
                redis.report(&format!("at {}, from {VARIABLE}", redis.address));
                return redis;
            }
            if redis_server::program().is_some() {
                return Self::clone(RedisServer::shared());
            }
            #[cfg(feature = "containers")]
            if let Some(address) = super::container::redis(&run::Run::current()) {
                let redis = Self::new(address);
                redis.report("in a container");
                return redis;
            }
            panic!(
                "no Redis to test against: `cargo xtask servers` installs one; or name one in {VARIABLE}; \
                 or start Docker and switch on the feature `containers` of kvstore-testsuite"
            );
        })
    }

    /// Its URL, `redis://127.0.0.1:PORT` unless it came from the environment.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its address, without TLS.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives it one command, text or bytes, over a connection made for it, with every right.
    ///
    /// # Panics
    /// When Redis refuses, with its words, or does not answer.
    pub fn command<A: AsRef<[u8]>>(&self, args: &[A]) -> Reply {
        match self.try_command(args) {
            Reply::Error(e) => panic!("Redis refused {}: {e}", name(args)),
            reply => reply,
        }
    }

    /// As [`command`](Self::command), and a refusal is a [`Reply::Error`].
    ///
    /// # Panics
    /// When Redis does not answer.
    pub fn try_command<A: AsRef<[u8]>>(&self, args: &[A]) -> Reply {
        self.ask(args)
            .unwrap_or_else(|e| panic!("{}, for Redis at {}: {e}", name(args), self.address))
    }

    /// Gives it one command; the error is one of the network.
    pub(super) fn ask<A: AsRef<[u8]>>(&self, args: &[A]) -> io::Result<Reply> {
        match self.open()? {
            Ok(mut connection) => connection.command(args),
            Err(refusal) => Ok(Reply::Error(refusal)),
        }
    }

    /// A connection on which the greeting was said; the inner error is a refusal of it.
    pub(super) fn open(&self) -> io::Result<Result<Connection, String>> {
        let mut connection = Connection::open(self.address)?;
        for command in &self.greeting {
            if let Reply::Error(e) = connection.command(command)? {
                return Ok(Err(e));
            }
        }
        Ok(Ok(connection))
    }

    /// A field of `INFO server`, if it answers.
    pub(super) fn info(&self, field: &str) -> Option<String> {
        self.info_of("server", field)
    }

    /// A field of a section of `INFO`, if it answers.
    pub(super) fn info_of(&self, section: &str, field: &str) -> Option<String> {
        let Ok(Reply::Data(text)) = self.ask(&["INFO", section]) else {
            return None;
        };
        let text = String::from_utf8(text).ok()?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
        Some(line.to_owned())
    }

    /// A Redis at an address.
    pub(super) fn new(address: SocketAddr) -> Self {
        let url = format!("redis://{address}");
        Self {
            url,
            address,
            greeting: Vec::new(),
        }
    }

    /// The same, as a user.
    pub(super) fn with_login(mut self, user: &str, password: &str) -> Self {
        let login = ["AUTH", user, password]
            .into_iter()
            .filter(|word| !word.is_empty());
        self.greeting.push(login.map(str::to_owned).collect());
        self
    }

    /// The same, where a replica of a cluster answers reads itself.
    pub(super) fn with_readonly(mut self) -> Self {
        self.greeting.push(vec!["READONLY".to_owned()]);
        self
    }

    /// A Redis somebody else started.
    pub(super) fn at(url: &str) -> Result<Self, String> {
        let rest = url
            .strip_prefix("redis://")
            .ok_or("it must begin with `redis://`; for TLS the suite starts servers itself")?;
        let (login, place) = rest.rsplit_once('@').unwrap_or(("", rest));
        if login.contains('%') || place.contains('?') {
            return Err("percent signs and parameters are not understood here".to_owned());
        }
        let (host, database) = place.split_once('/').unwrap_or((place, ""));
        let found = match host.contains(':') {
            true => host.to_socket_addrs(),
            false => (host, 6379).to_socket_addrs(),
        };
        let address = found
            .map_err(|e| e.to_string())?
            .next()
            .ok_or("the host has no address")?;
        let mut redis = Self {
            url: url.to_owned(),
            ..Self::new(address)
        };
        if let Some((user, password)) = login.split_once(':') {
            redis = redis.with_login(user, password);
        }
        if !database.is_empty() {
            redis
                .greeting
                .push(vec!["SELECT".to_owned(), database.to_owned()]);
        }
        match redis.ask(&["PING"]) {
            Ok(Reply::Error(e)) => Err(format!("Redis at {address} refuses: {e}")),
            Ok(_) => Ok(redis),
            Err(e) => Err(format!("no Redis at {address}: {e}")),
        }
    }

    /// Notes for the summary of a run that a test used it.
    pub(super) fn report(&self, origin: &str) {
        let (name, version) = match self.info("valkey_version") {
            Some(version) => ("Valkey", version),
            None => ("Redis", self.info("redis_version").unwrap_or_default()),
        };
        run::report(&format!("{name} {version} {origin}"));
    }
}

impl fmt::Debug for Redis {
    /// Prints where it is, and no password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Whether a Redis without a password answers there.
#[cfg(feature = "containers")]
pub(super) fn is_up(address: SocketAddr) -> bool {
    Redis::new(address).info("redis_version").is_some()
}

/// The command's name, for messages: what it carries may be secret.
fn name<A: AsRef<[u8]>>(args: &[A]) -> String {
    args.first()
        .map(|name| String::from_utf8_lossy(name.as_ref()).into_owned())
        .unwrap_or_default()
}
