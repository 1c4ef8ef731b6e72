//! Memcached as a program of this machine.

use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::certificates;
use super::memcached::Memcached;
use super::program::{self, Program};
use super::run::{Lifetime, Run};

/// A Memcached that was started from the program on this machine: besides its plain port, which is that
/// of the [`Memcached`] it dereferences to, it has one with TLS.
///
/// ```no_run
/// use kvstore_testsuite::servers::MemcachedServer;
///
/// let mut memcached = MemcachedServer::start_with(&["-m", "8", "-M"]);
/// memcached.set("key", 0, "value");
/// memcached.stop();
/// memcached.restart();
/// assert_eq!(memcached.get("key"), None);
/// ```
#[derive(Debug)]
pub struct MemcachedServer {
    memcached: Memcached,
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
    options: Vec<OsString>,
}

impl MemcachedServer {
    /// The user that [`start_with_login`](Self::start_with_login) lets in.
    pub const USER: &'static str = "app";

    /// Its password.
    pub const PASSWORD: &'static str = "hunter2";

    /// The first server of [`shared_pair`](Self::shared_pair).
    ///
    /// # Panics
    /// When the program is not installed, with what to do, or does not start.
    pub fn shared() -> &'static Self {
        &Self::shared_pair()[0]
    }

    /// The two servers of this test run, for tests that leave them as they are for the others.
    ///
    /// # Panics
    /// As [`shared`](Self::shared).
    pub fn shared_pair() -> &'static [Self; 2] {
        static SHARED: OnceLock<[MemcachedServer; 2]> = OnceLock::new();
        SHARED.get_or_init(|| {
            ["memcached", "memcached-second"].map(|name| {
                Run::current().share(name, Self::find, |lifetime| {
                    let options = Vec::new();
                    let mut server = Self::launch(lifetime, options, Memcached::new);
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
        })
    }

    /// Starts a server of the test's own, which ends when the value is dropped.
    ///
    /// # Panics
    /// As [`shared`](Self::shared).
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server of the test's own with more options of `memcached`, which win over those
    /// the suite gives: `["-m", "8", "-M"]`, `["-C"]`, `["-I", "2m"]`, `["-o", "ssl_verify_mode=2"]`, which makes TLS clients
    /// show a certificate.
    ///
    /// # Panics
    /// As [`shared`](Self::shared).
    pub fn start_with(options: &[&str]) -> Self {
        let options = options.iter().map(OsString::from).collect();
        let lifetime = Lifetime::of_this_process("memcached");
        Self::launch(lifetime, options, Memcached::new)
    }

    /// Starts a server of the test's own that wants [`USER`](Self::USER) and [`PASSWORD`](Self::PASSWORD), which
    /// the suite gives.
    ///
    /// # Panics
    /// As [`shared`](Self::shared).
    pub fn start_with_login() -> Self {
        let lifetime = Lifetime::of_this_process("memcached");
        let users = lifetime.folder.join("users");
        let line = format!("{}:{}\n", Self::USER, Self::PASSWORD);
        fs::write(&users, line).unwrap_or_else(|e| panic!("{}: {e}", users.display()));
        let options = vec!["-Y".into(), users.into()];
        // The two, as a client sends them.
        Self::launch(lifetime, options, |address| {
            Memcached::new(address).with_login("app hunter2")
        })
    }

    /// Ends the server at once; what it held is lost.
    pub fn stop(&mut self) {
        self.own().program.stop();
    }

    /// Starts the server again, with the same ports and options, and empty.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        let ports = [self.address().port(), self.tls_port];
        let memcached = self.memcached.clone();
        let own = self.own();
        let line = command(&own.path, own.program.folder(), ports, &own.options);
        let up = own
            .program
            .restart(&line, |program| answers(&memcached, program));
        up.unwrap_or_else(|log| panic!("Memcached did not start again; its log ends:\n{log}"));
    }

    /// Halts the server: it holds its connections and answers nothing.
    pub fn pause(&mut self) {
        self.own().program.halt();
    }

    /// Lets a halted server go on.
    pub fn resume(&mut self) {
        self.own().program.signal("CONT");
    }

    /// The URL of its port with TLS, `memcacheds://localhost:PORT`.
    pub fn tls_url(&self) -> String {
        format!("memcacheds://localhost:{}", self.tls_port)
    }

    /// The number of its port with TLS.
    pub fn tls_port(&self) -> u16 {
        self.tls_port
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

    fn own(&mut self) -> &mut Own {
        self.own
            .as_mut()
            .unwrap_or_else(|| unreachable!("a shared server is never lent mutably"))
    }

    fn launch(
        lifetime: Lifetime,
        options: Vec<OsString>,
        client: impl Fn(SocketAddr) -> Memcached,
    ) -> Self {
        let path = installed();
        let mut program = Program::new(lifetime);
        certificates::write(program.folder());
        let [port, tls_port] = program.start(
            |folder, ports| command(&path, folder, ports, &options),
            |program, [port, _]| answers(&client(local(port)), program),
        );
        let memcached = client(local(port));
        memcached.report(&format!("from {}", path.display()));
        Self {
            memcached,
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
        let (memcached, tls_port) = (Memcached::new(local(port()?)), port()?);
        memcached.told("pid")?;
        Some(Self {
            memcached,
            tls_port,
            folder: lines.next()?.into(),
            own: None,
        })
    }
}

impl Deref for MemcachedServer {
    type Target = Memcached;

    fn deref(&self) -> &Memcached {
        &self.memcached
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Whether a server is ready, and is the one that this program is: on a port that somebody else was
/// quicker to take, another Memcached may answer.
fn answers(memcached: &Memcached, program: &Program) -> bool {
    memcached
        .told("pid")
        .is_some_and(|id| program.process() == Some(id))
}

/// Where the program is.
pub(super) fn program() -> Option<PathBuf> {
    program::find("memcached")
}

fn installed() -> PathBuf {
    program().unwrap_or_else(|| {
        panic!(
            "no `memcached` in the tool folder or on the PATH: `cargo xtask servers` installs it"
        )
    })
}

/// The command line of a server.
fn command(
    path: &Path,
    folder: &Path,
    [port, tls_port]: [u16; 2],
    options: &[OsString],
) -> Vec<OsString> {
    let file = |name: &str| folder.join(name).display().to_string();
    let tls = format!(
        "ssl_chain_cert={},ssl_key={},ssl_ca_cert={},ssl_verify_mode=1",
        file("server.pem"),
        file("server.key"),
        file("ca.pem")
    );
    let mut line = vec![path.as_os_str().to_owned()];
    for option in [
        // Root has to say that it means to be root; others are not asked.
        "-u",
        "root",
        "-l",
        &format!("notls:127.0.0.1:{port},127.0.0.1:{tls_port}"),
        // So much that nothing is evicted, and taken only as it is used.
        "-m",
        "1024",
        "-t",
        "2",
        "-Z",
        "-o",
        &tls,
    ] {
        line.push(option.into());
    }
    line.extend_from_slice(options);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_forgets_when_it_is_restarted() {
        let mut server = MemcachedServer::start();
        let (address, tls) = (server.address(), server.tls_url());
        server.set("key", 7, b"a\r\n\0\xff");
        let item = server.get("key").unwrap();
        assert_eq!((item.flags, &item.value[..]), (7, &b"a\r\n\0\xff"[..]));
        assert_eq!(server.stat("curr_items"), 1);
        server.stop();
        server.restart();
        assert_eq!(server.get("key"), None);
        assert_eq!((server.address(), server.tls_url()), (address, tls));
    }

    #[test]
    fn options_win_over_those_of_the_suite() {
        let server = MemcachedServer::start_with(&["-m", "8", "-I", "2m"]);
        assert_eq!(server.stat("maxbytes"), 8 << 20);
        assert_eq!(server.stat("item_size_max"), 2 << 20);
    }

    #[test]
    fn a_server_with_a_login_lets_the_suite_in() {
        let server = MemcachedServer::start_with_login();
        server.set("key", 0, "v");
        let stranger = Memcached::new(server.address());
        assert_eq!(stranger.ask("mn"), "CLIENT_ERROR unauthenticated");
    }

    #[test]
    fn the_shared_servers_are_two() {
        let [first, second] = MemcachedServer::shared_pair();
        assert_ne!(first.address(), second.address());
        assert_eq!(first.ask("mn"), "MN");
        assert_eq!(second.ask("mn"), "MN");
    }
}
