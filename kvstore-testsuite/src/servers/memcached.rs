//! Memcached for tests.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::OnceLock;
use std::time::Duration;
use std::{env, fmt};

use super::memcached_server::{self, MemcachedServer};
use super::run;

/// The variable that names two Memcached servers to test against.
const VARIABLE: &str = "KVSTORE_TEST_MEMCACHED_URL";

/// A Memcached that tests can reach.
#[derive(Clone)]
pub struct Memcached {
    address: SocketAddr,
    login: Option<&'static str>,
}

/// What stands under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemcachedItem {
    /// The client flags.
    pub flags: u32,
    /// The value.
    pub value: Vec<u8>,
}

impl Memcached {
    /// The Memcached of this test run, for tests that leave it as it is for the others: the first of
    /// [`shared_pair`](Self::shared_pair).
    ///
    /// # Panics
    /// As [`shared_pair`](Self::shared_pair).
    pub fn shared() -> &'static Self {
        &Self::shared_pair()[0]
    }

    /// Two Memcached servers of this test run, for tests that leave them as they are for the others.
    ///
    /// They are those at `KVSTORE_TEST_MEMCACHED_URL`; else [`MemcachedServer::shared_pair`] where the program is
    /// installed; else, with the feature `containers`, containers. They are up until the run ends.
    /// Blocks for the moment that takes.
    ///
    /// # Panics
    /// When there is none of these, with what to do.
    pub fn shared_pair() -> &'static [Self; 2] {
        static SHARED: OnceLock<[Memcached; 2]> = OnceLock::new();
        SHARED.get_or_init(|| {
            if let Ok(url) = env::var(VARIABLE) {
                let pair = Self::at(&url).unwrap_or_else(|e| panic!("{VARIABLE}: {e}"));
                for memcached in &pair {
                    memcached.report(&format!("at {}, from {VARIABLE}", memcached.address));
                }
                return pair;
            }
            if memcached_server::program().is_some() {
                return MemcachedServer::shared_pair()
                    .each_ref()
                    .map(|server| Self::clone(server));
            }
            #[cfg(feature = "containers")]
            if let [Some(first), Some(second)] =
                super::container::memcached(&run::Run::current())
            {
                let pair = [first, second].map(Self::new);
                pair.iter()
                    .for_each(|memcached| memcached.report("in a container"));
                return pair;
            }
            panic!(
                "no Memcached to test against: `cargo xtask servers` installs it; or name two in {VARIABLE}; \
                 or start Docker and switch on the feature `containers` of kvstore-testsuite"
            );
        })
    }

    /// Its URL, `memcached://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("memcached://{}", self.address)
    }

    /// Its address, without TLS.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What stands under a name, over a connection made for it.
    ///
    /// # Panics
    /// When Memcached does not answer.
    pub fn get(&self, name: &str) -> Option<MemcachedItem> {
        let mut connection = self.open();
        connection.send(format!("get {name}\r\n").as_bytes());
        let head = connection.line();
        if head == "END" {
            return None;
        }
        let [flags, length] = head
            .rsplitn(3, ' ')
            .map(|word| word.parse().ok())
            .take(2)
            .collect::<Option<Vec<u32>>>()
            .and_then(|words| Some([*words.get(1)?, *words.first()?]))
            .unwrap_or_else(|| panic!("Memcached answered `{head}` to get"));
        let mut value = vec![0; usize::try_from(length).unwrap_or_default()];
        connection.read(&mut value);
        Some(MemcachedItem { flags, value })
    }

    /// Stores a value under a name, with client flags and without an expiry.
    ///
    /// # Panics
    /// When Memcached refuses, with its words, or does not answer.
    pub fn set(&self, name: &str, flags: u32, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        let head = format!("set {name} {flags} 0 {}\r\n", value.len());
        let mut connection = self.open();
        connection.send(&[head.as_bytes(), value, b"\r\n"].concat());
        let answer = connection.line();
        assert_eq!(answer, "STORED", "Memcached's answer to set");
    }

    /// Gives it one command, and answers the first line of what it says.
    ///
    /// # Panics
    /// When Memcached does not answer.
    pub fn ask(&self, command: &str) -> String {
        let mut connection = self.open();
        connection.send(format!("{command}\r\n").as_bytes());
        connection.line()
    }

    /// A number of its `stats`, or of `stats settings`.
    ///
    /// # Panics
    /// When Memcached does not answer, or has no such number.
    pub fn stat(&self, name: &str) -> u64 {
        let table = self.table().unwrap_or_else(|e| self.gone(&e));
        let found = find(&table, name).and_then(|value| value.parse().ok());
        found.unwrap_or_else(|| panic!("Memcached has no number `{name}` in its stats"))
    }

    /// A value of its `stats`, if it answers.
    pub(super) fn told(&self, name: &str) -> Option<String> {
        find(&self.table().ok()?, name).map(str::to_owned)
    }

    fn table(&self) -> io::Result<Vec<String>> {
        let mut connection = Connection::open(self)?;
        let mut rows = Vec::new();
        for command in ["stats\r\n", "stats settings\r\n"] {
            connection.0.get_mut().write_all(command.as_bytes())?;
            loop {
                let line = connection.try_line()?;
                match line.strip_prefix("STAT ") {
                    Some(row) => rows.push(row.to_owned()),
                    None if line == "END" => break,
                    None => return Err(io::Error::other(line)),
                }
            }
        }
        Ok(rows)
    }

    fn open(&self) -> Connection {
        Connection::open(self).unwrap_or_else(|e| self.gone(&e))
    }

    fn gone(&self, error: &io::Error) -> ! {
        panic!("Memcached at {}: {error}", self.address)
    }

    /// A Memcached at an address.
    pub(super) fn new(address: SocketAddr) -> Self {
        let login = None;
        Self { address, login }
    }

    /// The same, with the user and the password as they are sent.
    pub(super) fn with_login(mut self, login: &'static str) -> Self {
        self.login = Some(login);
        self
    }

    /// Servers that somebody else started.
    fn at(url: &str) -> Result<[Self; 2], String> {
        let hosts = url
            .strip_prefix("memcached://")
            .ok_or("it must begin with `memcached://`; for TLS the suite starts servers itself")?;
        let address = |host: &str| -> Result<Self, String> {
            let found = match host.contains(':') {
                true => host.to_socket_addrs(),
                false => (host, 11211).to_socket_addrs(),
            };
            let address = found.map_err(|e| e.to_string())?.next();
            let memcached = Self::new(address.ok_or("the host has no address")?);
            match memcached.table() {
                Ok(_) => Ok(memcached),
                Err(e) => Err(format!("no Memcached at {host}: {e}")),
            }
        };
        match hosts.split_once(',') {
            Some((first, second)) => Ok([address(first)?, address(second)?]),
            None => Err("it must name two servers, as `memcached://one,two`".to_owned()),
        }
    }

    /// Notes for the summary of a run that a test used it.
    pub(super) fn report(&self, origin: &str) {
        let version = self.told("version").unwrap_or_default();
        run::report(&format!("Memcached {version} {origin}"));
    }
}

impl fmt::Debug for Memcached {
    /// Prints where it is, and no password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memcached")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Whether a Memcached answers there.
#[cfg(feature = "containers")]
pub(super) fn is_up(address: SocketAddr) -> bool {
    Memcached::new(address).table().is_ok()
}

fn find<'a>(table: &'a [String], name: &str) -> Option<&'a str> {
    table
        .iter()
        .find_map(|row| row.strip_prefix(name)?.strip_prefix(' '))
}

/// A connection that sends one command at a time.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(memcached: &Memcached) -> io::Result<Self> {
        let limit = Duration::from_secs(5);
        let stream = TcpStream::connect_timeout(&memcached.address, limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        stream.set_nodelay(true)?;
        let mut connection = Self(BufReader::new(stream));
        if let Some(login) = memcached.login {
            let login = format!("set login 0 0 {}\r\n{login}\r\n", login.len());
            connection.0.get_mut().write_all(login.as_bytes())?;
            connection.try_line()?;
        }
        Ok(connection)
    }

    fn send(&mut self, command: &[u8]) {
        let sent = self.0.get_mut().write_all(command);
        sent.unwrap_or_else(|e| panic!("Memcached takes no command: {e}"));
    }

    fn read(&mut self, value: &mut [u8]) {
        let read = self.0.read_exact(value);
        read.unwrap_or_else(|e| panic!("Memcached's answer: {e}"));
    }

    fn line(&mut self) -> String {
        self.try_line()
            .unwrap_or_else(|e| panic!("Memcached's answer: {e}"))
    }

    fn try_line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.truncate(line.trim_end_matches(['\r', '\n']).len());
        Ok(line)
    }
}
