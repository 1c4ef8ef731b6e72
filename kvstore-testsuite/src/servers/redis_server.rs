//! Redis as a program of this machine.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::certificates;
use super::program::{self, Program};
use super::redis::Redis;
use super::resp::Reply;
use super::run::{Lifetime, Run};

/// The user by whom the suite itself gives commands to the servers it started, so that tests may do
/// to the other users what they like.
pub(super) const ADMIN: [&str; 6] = ["kvstore-suite", "on", "nopass", "~*", "&*", "+@all"];

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
            let path = installed();
            Run::current().share("redis", Self::find, |lifetime| {
                let mut server = Self::launch(path, lifetime, &[]);
                if let Some(own) = server.own.take() {
                    own.program.leave();
                }
                let note = format!(
                    "{}\n{}\n{}",
                    server.address().port(),
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
        Self::launch(installed(), Lifetime::of_this_process("redis"), options)
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
        let ports = [self.address().port(), self.tls_port];
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

/// Whether a server is ready, and is the one that this program is: on a port that somebody else was
/// quicker to take, another Redis may answer.
pub(super) fn answers(redis: &Redis, program: &Program) -> bool {
    matches!(redis.ask(&["PING"]), Ok(Reply::Data(_)))
        && redis
            .info("process_id")
            .is_some_and(|id| program.process() == Some(id))
}

/// Where the program is.
pub(super) fn program() -> Option<PathBuf> {
    program::find("redis-server")
}

pub(super) fn installed() -> PathBuf {
    program().unwrap_or_else(|| {
        panic!(
            "no `redis-server` in the tool folder or on the PATH: `cargo xtask servers` installs it"
        )
    })
}

/// A Redis that this suite started.
pub(super) fn started(port: u16) -> Redis {
    // The password is that of a user without one, who may give any.
    Redis::new(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).with_login(ADMIN[0], "any")
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
    // In a list of processes one sees whose it is.
    option("--set-proc-title", &["no"]);
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn a_redis_that_was_quicker_to_take_a_port_is_not_mistaken_for_the_own() {
        let other = RedisServer::start();
        let mut program = Program::new(Lifetime::of_this_process("redis"));
        certificates::write(program.folder());
        let tried = RefCell::new(Vec::new());
        program.start(
            |folder, [port, tls_port]| {
                let taken = tried.borrow().is_empty();
                let port = if taken { other.address().port() } else { port };
                tried.borrow_mut().push(port);
                command(&installed(), folder, [port, tls_port], &[])
            },
            |program, _: [u16; 2]| {
                answers(&started(tried.borrow()[tried.borrow().len() - 1]), program)
            },
        );
        let tried = tried.into_inner();
        assert_eq!(tried.len(), 2);
        assert_ne!(
            started(tried[1]).info("process_id"),
            other.info("process_id")
        );
    }
}
