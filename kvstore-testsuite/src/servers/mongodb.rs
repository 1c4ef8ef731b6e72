//! MongoDB for tests.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;
use std::{env, fmt, fs};

use super::certificates;
use super::program::{self, Program};
use super::run::{self, Lifetime, Run};

/// The variable that names a MongoDB to test against.
const VARIABLE: &str = "KVSTORE_TEST_MONGODB_URL";

/// The database that tests use, unless the variable names another.
const DATABASE: &str = "kvstore_test";

pub(super) const REPLICA_SET: &str = "rs0";

/// The server's certificate and its key.
const CERTIFICATE: &str = "mongodb.pem";

const AS_SET: &[&str] = &["--replSet", REPLICA_SET];

/// A MongoDB that tests can reach.
///
/// ```no_run
/// use kvstore_testsuite::servers::MongoDb;
///
/// let mut mongodb = MongoDb::start();
/// let url = mongodb.url("collection=fruit");
/// // … connect a store to `url`, and write …
/// mongodb.stop();
/// mongodb.restart();
/// // … a majority had it, so it is still there …
/// ```
pub struct MongoDb {
    /// Up to the question mark, which it has.
    url: String,
    address: SocketAddr,
    /// `None` for a shared server, which only its guard ends.
    own: Option<Own>,
}

/// What a test needs to end its own server and start it again.
struct Own {
    program: Program,
    line: Vec<OsString>,
}

impl MongoDb {
    /// The MongoDB of this test run, for tests that leave it as it is for the others: a replica set of one
    /// server.
    ///
    /// It is the one at `KVSTORE_TEST_MONGODB_URL`, which names a database; else the program `mongod` where it
    /// is installed; else, with the feature `containers`, a container. It is up until the run ends. Blocks for
    /// the moments that takes.
    ///
    /// # Panics
    /// When there is none of these, with what to do.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<MongoDb> = OnceLock::new();
        SHARED.get_or_init(|| {
            if let Ok(url) = env::var(VARIABLE) {
                let mongodb = Self::at(&url).unwrap_or_else(|e| panic!("{VARIABLE}: {e}"));
                run::report(&format!("MongoDB at {}, from {VARIABLE}", mongodb.address));
                return mongodb;
            }
            if let Some(path) = program::find("mongod") {
                return Run::current().share("mongodb", Self::find, |lifetime| {
                    let mut server = Self::launch(&path, lifetime, AS_SET);
                    if let Some(own) = server.own.take() {
                        own.program.leave();
                    }
                    let note = server.address.to_string();
                    (server, note)
                });
            }
            #[cfg(feature = "containers")]
            if let Some(address) = super::container::mongodb(&Run::current()) {
                run::report("MongoDB in a container");
                // It knows itself by a name that only the container knows.
                let url = format!("mongodb://{address}/{DATABASE}?directConnection=true&");
                return Self { url, address, own: None };
            }
            panic!(
                "no MongoDB to test against: `cargo xtask servers` installs one; or name one in {VARIABLE}; \
                 or start Docker and switch on the feature `containers` of kvstore-testsuite"
            );
        })
    }

    /// Starts a replica set of one server, of the test's own, which ends when the value is dropped.
    ///
    /// # Panics
    /// When the program is not installed, with what to do, or does not start.
    pub fn start() -> Self {
        Self::launch(&installed(), Lifetime::of_this_process("mongodb"), AS_SET)
    }

    /// Starts a server of the test's own that is no replica set, with more options of `mongod`, as
    /// `["--auth"]`.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn start_standalone(options: &[&str]) -> Self {
        Self::launch(&installed(), Lifetime::of_this_process("mongodb"), options)
    }

    /// Ends the server at once, as a power cut would: what was not in its journal is lost.
    pub fn stop(&mut self) {
        self.own().program.stop();
    }

    /// Starts the server again, with the same port and files; it is the primary when this returns.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        let address = self.address;
        let own = self.own();
        let up = own.program.restart(&own.line, |_| is_primary(address));
        up.unwrap_or_else(|log| panic!("MongoDB did not start again; its log ends:\n{log}"));
    }

    /// Halts the server: it holds its connections and answers nothing.
    pub fn pause(&mut self) {
        self.own().program.signal("STOP");
    }

    /// Lets a halted server go on.
    pub fn resume(&mut self) {
        self.own().program.signal("CONT");
    }

    /// Its URL with a database and these parameters, as `collection=fruit&timeout=1s`.
    pub fn url(&self, parameters: &str) -> String {
        format!("{}{parameters}", self.url)
    }

    /// The certificate (PEM) of the authority that signed the server's, for TLS, which a server of the test's
    /// own speaks on the same port; `None` for a shared one.
    pub fn ca_path(&self) -> Option<PathBuf> {
        Some(self.own.as_ref()?.program.folder().join("ca.pem"))
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn own(&mut self) -> &mut Own {
        self.own
            .as_mut()
            .unwrap_or_else(|| unreachable!("a shared server is never lent mutably"))
    }

    fn new(address: SocketAddr) -> Self {
        let url = format!("mongodb://{address}/{DATABASE}?");
        Self {
            url,
            address,
            own: None,
        }
    }

    fn launch(path: &Path, lifetime: Lifetime, options: &[&str]) -> Self {
        let mut program = Program::new(lifetime);
        certificates::write(program.folder());
        let pem = |name| fs::read(program.folder().join(name));
        // It wants both in one file.
        let both = pem("server.pem").and_then(|cert| Ok([cert, pem("server.key")?].concat()));
        both.and_then(|both| fs::write(program.folder().join(CERTIFICATE), both))
            .unwrap_or_else(|e| panic!("the certificate for MongoDB: {e}"));
        let line = |folder: &Path, [port]: [u16; 1]| line(path, folder, port, options);
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let is_set = options == AS_SET;
        let [port] = program.start(line, |_, [port]| match is_set {
            true => serves(local(port), &local(port).to_string()),
            false => is_primary(local(port)),
        });
        run::report(&format!("MongoDB from {}", path.display()));
        let line = line(program.folder(), [port]);
        Self {
            own: Some(Own { program, line }),
            ..Self::new(local(port))
        }
    }

    /// Finds the server that another process noted, if it is still there.
    fn find(note: &str) -> Option<Self> {
        let address = note.parse().ok()?;
        is_primary(address).then(|| Self::new(address))
    }

    /// A MongoDB somebody else started.
    fn at(url: &str) -> Result<Self, String> {
        let rest = url
            .strip_prefix("mongodb://")
            .ok_or("it must begin with `mongodb://`")?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, database) = place.split_once('/').unwrap_or((place, ""));
        if database.is_empty() {
            return Err("it must name a database, as in `mongodb://host/database`".to_owned());
        }
        let host = hosts
            .rsplit('@')
            .next()
            .and_then(|hosts| hosts.split(',').next())
            .unwrap_or_default();
        let found = match host.contains(':') {
            true => host.to_socket_addrs(),
            false => (host, 27017).to_socket_addrs(),
        };
        let address = found
            .map_err(|e| e.to_string())?
            .next()
            .ok_or("the host has no address")?;
        hello(address).map_err(|e| format!("no MongoDB at {address}: {e}"))?;
        let separator = if query.is_empty() || query.ends_with('&') {
            ""
        } else {
            "&"
        };
        let url = format!("mongodb://{place}?{query}{separator}");
        Ok(Self {
            url,
            address,
            own: None,
        })
    }
}

impl fmt::Debug for MongoDb {
    /// Prints where it is, and no password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoDb")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

fn installed() -> PathBuf {
    program::find("mongod").unwrap_or_else(|| {
        panic!("no `mongod` in the tool folder or on the PATH: `cargo xtask servers` installs it")
    })
}

/// The command line of a server.
fn line(path: &Path, folder: &Path, port: u16, options: &[&str]) -> Vec<OsString> {
    let mut line = vec![
        path.as_os_str().to_owned(),
        "--dbpath".into(),
        folder.into(),
    ];
    let port = port.to_string();
    line.extend(["--port", &port, "--bind_ip", "127.0.0.1", "--nounixsocket"].map(OsString::from));
    // It would claim half of the memory; in the 0.25 that is the least, some values of 16 MiB at a time stall it.
    line.extend(["--wiredTigerCacheSizeGB", "1", "--quiet"].map(OsString::from));
    // Takes connections without TLS as well.
    line.extend(
        [
            "--tlsMode",
            "preferTLS",
            "--tlsAllowConnectionsWithoutCertificates",
        ]
        .map(OsString::from),
    );
    line.extend([
        "--tlsCertificateKeyFile".into(),
        folder.join(CERTIFICATE).into(),
    ]);
    line.extend(["--tlsCAFile".into(), folder.join("ca.pem").into()]);
    line.extend(options.iter().map(OsString::from));
    line
}

/// Whether a replica set of one server serves there, which it does some moments after the first question. By
/// `name` the server finds itself.
pub(super) fn serves(address: SocketAddr, name: &str) -> bool {
    is_primary(address) || (initiate(address, name).is_ok() && is_primary(address))
}

/// Whether a server answers there that takes writes.
fn is_primary(address: SocketAddr) -> bool {
    hello(address).is_ok_and(|answer| answer.flag("isWritablePrimary"))
}

fn hello(address: SocketAddr) -> io::Result<Answer> {
    let mut command = Document::new();
    command.int("hello", 1);
    ask(address, command)
}

/// Makes a replica set of a server; one that is a part of a set already says so, and stays as it is.
fn initiate(address: SocketAddr, name: &str) -> io::Result<Answer> {
    let mut member = Document::new();
    member.int("_id", 0).text("host", name);
    let mut members = Document::new();
    members.nested(3, "0", member);
    let mut config = Document::new();
    config
        .text("_id", REPLICA_SET)
        .nested(4, "members", members);
    let mut command = Document::new();
    command.nested(3, "replSetInitiate", config);
    ask(address, command)
}

/// Gives a server one command of the database `admin`.
fn ask(address: SocketAddr, mut command: Document) -> io::Result<Answer> {
    const OP_MSG: u32 = 2013;
    command.text("$db", "admin");
    let body = command.finish();
    // Flags, and the kind of the one section.
    let rest = [&[0; 5][..], &body].concat();
    let length = u32::try_from(16 + rest.len()).map_err(io::Error::other)?;
    let header = [length, 1, 0, OP_MSG].map(u32::to_le_bytes).concat();
    let limit = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(&[header, rest].concat())?;
    let mut header = [0; 21];
    stream.read_exact(&mut header)?;
    let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
    let mut body = Vec::new();
    stream
        .take(u64::from(length).saturating_sub(21))
        .read_to_end(&mut body)?;
    Ok(Answer(body))
}

/// A BSON document, of the few types that the commands here have.
struct Document(Vec<u8>);

impl Document {
    fn new() -> Self {
        Self(vec![0; 4])
    }

    fn element(&mut self, kind: u8, name: &str, value: &[u8]) -> &mut Self {
        self.0.push(kind);
        self.0.extend([name.as_bytes(), &[0], value].concat());
        self
    }

    fn int(&mut self, name: &str, value: i32) -> &mut Self {
        self.element(16, name, &value.to_le_bytes())
    }

    fn text(&mut self, name: &str, value: &str) -> &mut Self {
        let length = u32::try_from(value.len() + 1).unwrap_or_default();
        self.element(
            2,
            name,
            &[&length.to_le_bytes(), value.as_bytes(), &[0]].concat(),
        )
    }

    /// A document (3) or an array (4).
    fn nested(&mut self, kind: u8, name: &str, value: Self) -> &mut Self {
        self.element(kind, name, &value.finish())
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.push(0);
        let length = u32::try_from(self.0.len()).unwrap_or_default();
        self.0[..4].copy_from_slice(&length.to_le_bytes());
        self.0
    }
}

/// What a server answered.
struct Answer(Vec<u8>);

impl Answer {
    /// Whether it has this member, and it is `true`.
    fn flag(&self, name: &str) -> bool {
        let element = [&[8], name.as_bytes(), &[0, 1]].concat();
        self.0
            .windows(element.len())
            .any(|window| window == element)
    }
}
