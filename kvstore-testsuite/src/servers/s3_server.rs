//! SeaweedFS as a program of this machine.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};

use super::certificates;
use super::program::{self, Program};
use super::run::{self, Lifetime, Run};
use super::s3::S3;

/// The bucket for tests.
const BUCKET: &str = "kvstore-test";
/// A bucket that everybody may use: by it the server shows that it serves.
const OPEN: &str = "kvstore-open";

/// How many ports it has: two each of its master, its volumes and its files, and those of S3.
const PORTS: usize = 9;

/// A SeaweedFS that was started from the program on this machine: besides its plain port, which is that of the
/// [`S3`] it dereferences to, it has one with TLS.
///
/// ```no_run
/// use kvstore_testsuite::servers::S3Server;
///
/// let mut s3 = S3Server::start();
/// let url = s3.url("prefix=fruit/");
/// // … connect a store to `url`, and write …
/// s3.stop();
/// s3.restart();
/// // … it was written to disk, so it is still there …
/// ```
#[derive(Debug)]
pub struct S3Server {
    s3: S3,
    tls_port: u16,
    folder: PathBuf,
    /// The program and its command line; `None` for a shared server, which only its guard ends.
    own: Option<(Program, Vec<OsString>)>,
}

impl S3Server {
    /// The id and the secret of an access key that may read and write, in the bucket for tests alone.
    pub const WRITER: (&'static str, &'static str) = ("kvstorewriter", "kvstore-writers-secret");

    /// One that may read and list.
    pub const READER: (&'static str, &'static str) = ("kvstorereader", "kvstore-readers-secret");

    /// One that may read and write, and not list.
    pub const UNLISTED: (&'static str, &'static str) =
        ("kvstoreunlisted", "kvstore-unlisted-secret");

    /// One that may do nothing in that bucket.
    pub const STRANGER: (&'static str, &'static str) =
        ("kvstorestranger", "kvstore-strangers-secret");

    /// The server of this test run, for tests that leave it as it is for the others.
    ///
    /// # Panics
    /// When the program is not installed, with what to do, or does not start.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<S3Server> = OnceLock::new();
        SHARED.get_or_init(|| {
            let path = installed();
            Run::current().share("s3", Self::find, |lifetime| {
                let mut server = Self::launch(&path, lifetime);
                if let Some((program, _)) = server.own.take() {
                    program.leave();
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
        Self::launch(&installed(), Lifetime::of_this_process("s3"))
    }

    /// Ends the server at once, as a power cut would.
    pub fn stop(&mut self) {
        self.own().0.stop();
    }

    /// Starts the server again, with the same ports and files.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        let address = self.address();
        let (program, line) = self.own();
        let up = program.restart(line, |_| serves(address));
        up.unwrap_or_else(|log| panic!("SeaweedFS did not start again; its log ends:\n{log}"));
    }

    /// Halts the server: it holds its connections and answers nothing.
    pub fn pause(&mut self) {
        self.own().0.halt();
    }

    /// Lets a halted server go on.
    pub fn resume(&mut self) {
        self.own().0.signal("CONT");
    }

    /// The address of its port with TLS, whose certificate is for `localhost` and 127.0.0.1.
    pub fn tls_address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.tls_port))
    }

    /// The certificate (PEM) of the authority that signed the server's.
    pub fn ca_path(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A bucket that everybody may use, without an access key.
    pub fn open_bucket(&self) -> &'static str {
        OPEN
    }

    fn own(&mut self) -> &mut (Program, Vec<OsString>) {
        self.own
            .as_mut()
            .unwrap_or_else(|| unreachable!("a shared server is never lent mutably"))
    }

    fn launch(path: &Path, lifetime: Lifetime) -> Self {
        let mut program = Program::new(lifetime);
        certificates::write(program.folder());
        prepare(program.folder());
        let line = |folder: &Path, ports| {
            leave(folder, ports);
            command(path, folder, ports)
        };
        let ports: [u16; PORTS] = program.start(line, |_, ports: [u16; PORTS]| {
            // A bucket is made by the files' own port, which needs no signature; 409 is that it is there.
            let files = local(ports[4]);
            [BUCKET, OPEN].iter().all(|bucket| {
                let made = ask(files, "POST", &format!("/buckets/{bucket}/"), "");
                made.is_ok_and(|status| status < 300 || status == 409)
            }) && serves(local(ports[6]))
        });
        run::report(&format!("SeaweedFS from {}", path.display()));
        let line = command(path, program.folder(), ports);
        let (port, tls_port) = (ports[6], ports[8]);
        Self {
            s3: of_port(port),
            tls_port,
            folder: program.folder().to_owned(),
            own: Some((program, line)),
        }
    }

    /// Finds the server that another process noted, if it is still there.
    fn find(note: &str) -> Option<Self> {
        let mut lines = note.lines();
        let mut port = || lines.next()?.parse().ok();
        let (port, tls_port) = (port()?, port()?);
        serves(local(port)).then_some(())?;
        Some(Self {
            s3: of_port(port),
            tls_port,
            folder: lines.next()?.into(),
            own: None,
        })
    }
}

impl Deref for S3Server {
    type Target = S3;

    fn deref(&self) -> &S3 {
        &self.s3
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn of_port(port: u16) -> S3 {
    let (id, secret) = S3Server::WRITER;
    S3::new(local(port), id, secret, BUCKET)
}

fn installed() -> PathBuf {
    program::find("weed").unwrap_or_else(|| {
        panic!(
            "no S3 to test against: `cargo xtask servers` installs SeaweedFS, whose program `weed` is in the tool \
             folder or on the PATH; or name a server in KVSTORE_TEST_S3_URL"
        )
    })
}

/// Writes who may do what, and makes the folder for data.
fn prepare(folder: &Path) {
    let identity = |name: &str, (id, secret): (&str, &str), rights: &[&str], bucket: &str| {
        let rights: Vec<_> = rights
            .iter()
            .map(|right| format!("{right}:{bucket}"))
            .collect();
        json!({
            "name": name,
            "credentials": [{ "accessKey": id, "secretKey": secret }],
            "actions": rights,
        })
    };
    let everybody = json!({ "name": "anonymous", "actions": [format!("Read:{OPEN}"), format!("Write:{OPEN}"), format!("List:{OPEN}")] });
    let identities: Value = json!([
        identity(
            "writer",
            S3Server::WRITER,
            &["Read", "Write", "List"],
            BUCKET
        ),
        identity("reader", S3Server::READER, &["Read", "List"], BUCKET),
        identity("unlisted", S3Server::UNLISTED, &["Read", "Write"], BUCKET),
        identity("stranger", S3Server::STRANGER, &["Read"], "another-bucket"),
        everybody,
    ]);
    let config = json!({ "identities": identities }).to_string();
    let made = fs::write(folder.join("s3.json"), config)
        .and_then(|()| fs::create_dir(folder.join("data")));
    made.unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
}

/// Notes the sockets that it makes in `/tmp`, whatever it is told, and leaves there.
fn leave(folder: &Path, ports: [u16; PORTS]) {
    let sockets = [("master", 1), ("volume", 3), ("filer", 5), ("s3", 7)];
    let line = |(part, at): (&str, usize)| {
        let port = ports[at];
        format!("/tmp/seaweedfs-{part}-grpc-{port}.sock\n")
    };
    let lines: String = sockets.into_iter().map(line).collect();
    let file = folder.join("leftovers");
    let file = OpenOptions::new().create(true).append(true).open(file);
    let noted = file.and_then(|mut file| file.write_all(lines.as_bytes()));
    noted.unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
}

/// Its command line. It would report home, and make buckets that are written to and missing.
fn command(path: &Path, folder: &Path, ports: [u16; PORTS]) -> Vec<OsString> {
    let file = |name: &str| folder.join(name).display().to_string();
    let ports = [
        "master.port",
        "master.port.grpc",
        "volume.port",
        "volume.port.grpc",
        "filer.port",
        "filer.port.grpc",
        "s3.port",
        "s3.port.grpc",
        "s3.port.https",
    ]
    .into_iter()
    .zip(ports)
    .map(|(name, port)| format!("-{name}={port}"));
    let mut line = vec![path.into()];
    let options = [
        "-logtostderr".to_owned(),
        "server".to_owned(),
        "-ip=127.0.0.1".to_owned(),
        "-ip.bind=127.0.0.1".to_owned(),
        format!("-dir={}", file("data")),
        "-master.telemetry=false".to_owned(),
        // Each bucket takes some volumes.
        "-volume.max=100".to_owned(),
        "-master.volumeSizeLimitMB=1024".to_owned(),
        "-filer".to_owned(),
        format!("-filer.localSocket={}", file("filer.sock")),
        "-s3".to_owned(),
        format!("-s3.localSocket={}", file("s3.sock")),
        format!("-s3.config={}", file("s3.json")),
        format!("-s3.cert.file={}", file("server.pem")),
        format!("-s3.key.file={}", file("server.key")),
        "-s3.autoCreateBucket=false".to_owned(),
        "-s3.port.iceberg=0".to_owned(),
        "-s3.port.lance=0".to_owned(),
    ];
    line.extend(options.into_iter().chain(ports).map(OsString::from));
    line
}

/// Whether it stores what it is given.
fn serves(address: SocketAddr) -> bool {
    ask(address, "PUT", &format!("/{OPEN}/ready"), "ready").is_ok_and(|status| status == 200)
}

/// One request over a connection of its own, and the status of the answer.
fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> io::Result<u16> {
    let limit = Duration::from_secs(10);
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    let len = body.len();
    let request = format!("{method} {path} HTTP/1.0\r\nContent-Length: {len}\r\n\r\n{body}");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    status.ok_or_else(|| io::Error::other("no answer of HTTP"))
}
