//! Redis for tests.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{env, fmt};

use super::certificates;
use super::program::{self, Program};
use super::resp::{Connection, Reply};
use super::run::{self, Lifetime, Run};

/// The variable that names a Redis to test against.
const VARIABLE: &str = "KVSTORE_TEST_REDIS_URL";

/// The user by whom the suite itself gives commands to the servers it started, so that tests may do
/// to the other users what they like.
const ADMIN: [&str; 6] = ["kvstore-suite", "on", "nopass", "~*", "&*", "+@all"];

/// A Redis that tests can reach.
#[derive(Clone)]
pub struct Redis {
    url: String,
    address: SocketAddr,
    user: Option<String>,
    password: Option<String>,
    database: u32,
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
            if program::find(PROGRAM).is_some() {
                return RedisServer::shared().redis.clone();
            }
            #[cfg(feature = "containers")]
            if let Some(address) = super::container::redis(&Run::current()) {
                let redis = Self::local(address);
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

    fn ask<A: AsRef<[u8]>>(&self, args: &[A]) -> std::io::Result<Reply> {
        let mut connection = Connection::open(self.address)?;
        let database = self.database.to_string();
        let login: Option<Vec<&str>> = match (&self.user, &self.password) {
            (None, None) => None,
            (None, Some(password)) => Some(vec!["AUTH", password]),
            (Some(user), password) => {
                Some(vec!["AUTH", user, password.as_deref().unwrap_or_default()])
            }
        };
        let select = (self.database != 0).then(|| vec!["SELECT", &database]);
        for preparation in login.iter().chain(&select) {
            if let Reply::Error(e) = connection.command(preparation)? {
                return Ok(Reply::Error(e));
            }
        }
        connection.command(args)
    }

    /// A field of `INFO server`, if it answers.
    fn info(&self, field: &str) -> Option<String> {
        let Ok(Reply::Data(text)) = self.ask(&["INFO", "server"]) else {
            return None;
        };
        let text = String::from_utf8(text).ok()?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
        Some(line.to_owned())
    }

    /// A Redis this suite started, or knows to have no password.
    fn local(address: SocketAddr) -> Self {
        Self {
            url: format!("redis://{address}"),
            address,
            user: None,
            password: None,
            database: 0,
        }
    }

    /// A Redis somebody else started.
    fn at(url: &str) -> Result<Self, String> {
        let rest = url
            .strip_prefix("redis://")
            .ok_or("it must begin with `redis://`; for TLS the suite starts its own")?;
        let (login, place) = rest.rsplit_once('@').unwrap_or(("", rest));
        if login.contains('%') || place.contains('?') {
            return Err("percent signs and parameters are not understood here".to_owned());
        }
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let (host, database) = place.split_once('/').unwrap_or((place, ""));
        let database = if database.is_empty() {
            Ok(0)
        } else {
            database.parse()
        };
        let database =
            database.map_err(|_| "what follows the slash must be the number of a database")?;
        let found = if host.contains(':') {
            host.to_socket_addrs()
        } else {
            (host, 6379).to_socket_addrs()
        };
        let address = found
            .map_err(|e| e.to_string())?
            .next()
            .ok_or("the host has no address")?;
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let redis = Self {
            url: url.to_owned(),
            address,
            user: given(user),
            password: given(password),
            database,
        };
        match redis.ask(&["PING"]) {
            Ok(Reply::Error(e)) => Err(format!("Redis at {address} refuses: {e}")),
            Ok(_) => Ok(redis),
            Err(e) => Err(format!("no Redis at {address}: {e}")),
        }
    }

    fn report(&self, origin: &str) {
        run::report(&format!(
            "Redis {} {origin}",
            self.info("redis_version").unwrap_or_default()
        ));
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
    Redis::local(address).info("redis_version").is_some()
}

/// The program.
const PROGRAM: &str = "redis-server";

/// A Redis that was started from the program on this machine: besides its plain port, which is that
/// of the [`Redis`] it dereferences to, it has one with TLS, and a Unix socket.
///
/// ```no_run
/// use kvstore_testsuite::servers::RedisServer;
///
/// let mut redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
/// redis.command(&["SET", "key", "value"]);
/// redis.stop();
/// redis.restart();
/// assert_eq!(redis.command(&["GET", "key"]).text(), "value");
/// ```
#[derive(Debug)]
pub struct RedisServer {
    redis: Redis,
    tls_port: u16,
    folder: PathBuf,
    /// `None` for a shared server, which only its guard ends.
    own: Option<Own>,
}

/// What a test needs to end its own server and start it again.
#[derive(Debug)]
struct Own {
    program: Program,
    path: PathBuf,
    options: Vec<String>,
}

impl RedisServer {
    /// The server of this test run, for tests that leave it as it is for the others.
    ///
    /// # Panics
    /// When the program is not installed, with what to do, or does not start.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<RedisServer> = OnceLock::new();
        SHARED.get_or_init(|| {
            let path = program();
            Run::current().share("redis", Self::find, |lifetime| {
                let mut server = Self::launch(path, lifetime, &[]);
                if let Some(own) = server.own.take() {
                    own.program.leave();
                }
                let note = format!(
                    "{}\n{}\n{}",
                    server.address.port(),
                    server.tls_port,
                    server.folder.display()
                );
                (server, note)
            })
        })
    }

    /// Starts a server of the test's own, which ends when the value is dropped.
    ///
    /// # Panics
    /// As [`shared`](Self::shared).
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server of the test's own with more options of `redis-server`, which win over those
    /// the suite gives: `["--maxmemory", "10mb"]`, `["--replicaof", "127.0.0.1", "7000"]`,
    /// `["--tls-auth-clients", "yes"]`, which makes TLS clients show a certificate.
    ///
    /// # Panics
    /// As [`shared`](Self::shared).
    pub fn start_with(options: &[&str]) -> Self {
        Self::launch(program(), Lifetime::of_this_process("redis"), options)
    }

    /// Ends the server at once, as a power cut would: what was not on disk is lost, which is
    /// everything unless it was started with `--appendonly yes`.
    pub fn stop(&mut self) {
        self.own().program.stop();
    }

    /// Starts the server again, with the same ports, options and files.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        let ports = [self.address.port(), self.tls_port];
        let redis = self.redis.clone();
        let own = self.own();
        let line = command(&own.path, own.program.folder(), ports, &own.options);
        let up = own
            .program
            .restart(&line, |program| answers(&redis, program));
        up.unwrap_or_else(|log| panic!("Redis did not start again; its log ends:\n{log}"));
    }

    /// Halts the server: it holds its connections and answers nothing.
    pub fn pause(&mut self) {
        self.own().program.signal("STOP");
    }

    /// Lets a halted server go on.
    pub fn resume(&mut self) {
        self.own().program.signal("CONT");
    }

    /// The URL of its port with TLS, `rediss://localhost:PORT`.
    pub fn tls_url(&self) -> String {
        format!("rediss://localhost:{}", self.tls_port)
    }

    /// The address of its port with TLS.
    pub fn tls_address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.tls_port))
    }

    /// The certificate (PEM) of the authority that signed the server's and the client's.
    pub fn ca_path(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A certificate (PEM) for a client.
    pub fn client_cert_path(&self) -> PathBuf {
        self.folder.join("client.pem")
    }

    /// The key (PEM) of the client's certificate.
    pub fn client_key_path(&self) -> PathBuf {
        self.folder.join("client.key")
    }

    /// Its Unix socket.
    pub fn unix_socket(&self) -> PathBuf {
        self.folder.join("redis.sock")
    }

    fn own(&mut self) -> &mut Own {
        self.own
            .as_mut()
            .unwrap_or_else(|| unreachable!("a shared server is never lent mutably"))
    }

    fn launch(path: PathBuf, lifetime: Lifetime, options: &[&str]) -> Self {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let mut program = Program::new(lifetime);
        certificates::write(program.folder());
        let [port, tls_port] = program.start(
            |folder, ports| command(&path, folder, ports, &options),
            |program, [port, _]| answers(&started(port), program),
        );
        let redis = started(port);
        redis.report(&format!("from {}", path.display()));
        Self {
            redis,
            tls_port,
            folder: program.folder().to_owned(),
            own: Some(Own {
                program,
                path,
                options,
            }),
        }
    }

    /// Finds the server that another process noted, if it is still there.
    fn find(note: &str) -> Option<Self> {
        let mut lines = note.lines();
        let mut port = || lines.next()?.parse().ok();
        let (redis, tls_port) = (started(port()?), port()?);
        redis.info("process_id")?;
        Some(Self {
            redis,
            tls_port,
            folder: lines.next()?.into(),
            own: None,
        })
    }
}

impl Deref for RedisServer {
    type Target = Redis;

    fn deref(&self) -> &Redis {
        &self.redis
    }
}

/// A Redis that this suite started.
fn started(port: u16) -> Redis {
    let admin = Some(ADMIN[0].to_owned());
    Redis {
        user: admin,
        ..Redis::local(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }
}

/// Whether a server is ready, and is the one that this program is: on a port that somebody else was
/// quicker to take, another Redis may answer.
fn answers(redis: &Redis, program: &Program) -> bool {
    matches!(redis.ask(&["PING"]), Ok(Reply::Data(_)))
        && redis
            .info("process_id")
            .is_some_and(|id| program.process() == Some(id))
}

/// Where the program is.
fn program() -> PathBuf {
    program::find(PROGRAM).unwrap_or_else(|| {
        panic!(
            "no `{PROGRAM}` in the tool folder or on the PATH: `cargo xtask servers` installs it"
        )
    })
}

/// The command line of a server.
fn command(
    path: &Path,
    folder: &Path,
    [port, tls_port]: [u16; 2],
    options: &[String],
) -> Vec<OsString> {
    let mut line = vec![path.as_os_str().to_owned()];
    let mut option =
        |name: &str, values: &[&str]| line.extend([name].iter().chain(values).map(OsString::from));
    option("--bind", &["127.0.0.1"]);
    option("--port", &[&port.to_string()]);
    option("--tls-port", &[&tls_port.to_string()]);
    option("--tls-auth-clients", &["optional"]);
    option("--save", &[""]);
    option("--enable-debug-command", &["yes"]);
    option("--user", &ADMIN);
    for (name, file) in [
        ("--dir", ""),
        ("--unixsocket", "redis.sock"),
        ("--tls-ca-cert-file", "ca.pem"),
        ("--tls-cert-file", "server.pem"),
        ("--tls-key-file", "server.key"),
    ] {
        line.extend([name.into(), folder.join(file).into_os_string()]);
    }
    line.extend(options.iter().map(OsString::from));
    line
}

/// The command's name, for messages: what it carries may be secret.
fn name<A: AsRef<[u8]>>(args: &[A]) -> String {
    args.first()
        .map(|name| String::from_utf8_lossy(name.as_ref()).into_owned())
        .unwrap_or_default()
}
