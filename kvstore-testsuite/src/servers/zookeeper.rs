//! ZooKeeper for tests: one server.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;
use std::{env, fs};

use super::program::{self, Program};
use super::run::{self, Lifetime, Run};

/// The variable that names a ZooKeeper to test against.
const VARIABLE: &str = "KVSTORE_TEST_ZOOKEEPER_URL";

/// Where Debian's package has it.
const DEBIAN: &str = "/usr/share/java/zookeeper.jar";

/// A ZooKeeper that tests can reach: one server, alone.
///
/// ```no_run
/// use kvstore_testsuite::servers::ZooKeeper;
///
/// let mut zookeeper = ZooKeeper::start();
/// let url = zookeeper.url("/fruit?timeout=1s");
/// // … connect a store to `url`, and write …
/// zookeeper.stop();
/// zookeeper.restart();
/// // … it was in the server's log, so it is still there …
/// ```
#[derive(Debug)]
pub struct ZooKeeper {
    address: SocketAddr,
    /// `None` for a shared server, which only its guard ends.
    own: Option<Own>,
}

/// What a test needs to end its own server and start it again.
#[derive(Debug)]
struct Own {
    program: Program,
    line: Vec<OsString>,
}

impl ZooKeeper {
    /// The ZooKeeper of this test run, for tests that leave it as it is for the others.
    ///
    /// It is the one at `KVSTORE_TEST_ZOOKEEPER_URL`; else a program where Java and `zookeeper.jar` are
    /// installed; else, with the feature `containers`, a container. It is up until the run ends. Blocks for
    /// the moments that takes.
    ///
    /// # Panics
    /// When there is none of these, with what to do.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<ZooKeeper> = OnceLock::new();
        SHARED.get_or_init(|| {
            if let Ok(url) = env::var(VARIABLE) {
                let address = at(&url).unwrap_or_else(|e| panic!("{VARIABLE}: {e}"));
                run::report(&format!("ZooKeeper at {address}, from {VARIABLE}"));
                return Self::new(address);
            }
            if let Some(program) = program() {
                return Run::current().share("zookeeper", Self::find, |lifetime| {
                    let mut server = Self::launch(&program, lifetime, &[]);
                    if let Some(own) = server.own.take() {
                        own.program.leave();
                    }
                    let note = server.address.to_string();
                    (server, note)
                });
            }
            #[cfg(feature = "containers")]
            if let Some(address) = super::container::zookeeper(&Run::current()) {
                run::report("ZooKeeper in a container");
                return Self::new(address);
            }
            panic!(
                "no ZooKeeper to test against: `cargo xtask servers` installs one; or name one in {VARIABLE}; \
                 or start Docker and switch on the feature `containers` of kvstore-testsuite"
            );
        })
    }

    /// Starts a server of the test's own, which ends when the value is dropped.
    ///
    /// # Panics
    /// When the program is not installed, with what to do, or does not start.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server of the test's own with more lines of its `zoo.cfg`, as `["enforce.auth.enabled=true"]`.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn start_with(lines: &[&str]) -> Self {
        let lifetime = Lifetime::of_this_process("zookeeper");
        Self::launch(&installed(), lifetime, lines)
    }

    /// Ends the server at once, as a crash would. What it acknowledged is in its log.
    pub fn stop(&mut self) {
        self.own().program.stop();
    }

    /// Takes from a server that is stopped all that it has: started again, it is a new one at the same place.
    ///
    /// # Panics
    /// When its files cannot be removed.
    pub fn wipe(&mut self) {
        let data = self.own().program.folder().join("data");
        let wiped = fs::remove_dir_all(&data).and_then(|()| fs::create_dir(&data));
        wiped.unwrap_or_else(|e| panic!("{}: {e}", data.display()));
    }

    /// Starts the server again, with the same port and files.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        let address = self.address;
        let own = self.own();
        let ready = |program: &Program| answers(program, address);
        let up = own.program.restart(&own.line, ready);
        up.unwrap_or_else(|log| panic!("ZooKeeper did not start again; its log ends:\n{log}"));
    }

    /// Halts the server: it holds its connections and answers nothing.
    pub fn pause(&mut self) {
        self.own().program.halt();
    }

    /// Lets a halted server go on.
    pub fn resume(&mut self) {
        self.own().program.signal("CONT");
    }

    /// Its URL with this root and these parameters, as `/fruit?timeout=1s`.
    pub fn url(&self, rest: &str) -> String {
        format!("zookeeper://{}{rest}", self.address)
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
        Self { address, own: None }
    }

    fn launch(jar: &Jar, lifetime: Lifetime, lines: &[&str]) -> Self {
        let mut program = Program::new(lifetime);
        let line = |folder: &Path, [port]: [u16; 1]| jar.line(folder, port, lines);
        let [port] = program.start(line, |program, [port]| answers(program, local(port)));
        run::report(&format!("ZooKeeper from {}", jar.jar.display()));
        let line = line(program.folder(), [port]);
        Self {
            own: Some(Own { program, line }),
            ..Self::new(local(port))
        }
    }

    /// Finds the server that another process noted, if it is still there.
    fn find(note: &str) -> Option<Self> {
        let address = note.parse().ok()?;
        is_up(address).then(|| Self::new(address))
    }
}

/// The address in a URL.
fn at(url: &str) -> Result<SocketAddr, String> {
    let place = url
        .strip_prefix("zookeeper://")
        .ok_or("it must begin with `zookeeper://`")?;
    if place.contains(['@', '/', '?', ',']) {
        return Err("it must be one host, with or without a port, and nothing else".to_owned());
    }
    let found = match place.contains(':') {
        true => place.to_socket_addrs(),
        false => (place, 2181).to_socket_addrs(),
    };
    let address = found
        .map_err(|e| e.to_string())?
        .next()
        .ok_or("the host has no address")?;
    match is_up(address) {
        true => Ok(address),
        false => Err(format!(
            "no ZooKeeper at {address} that answers to `srvr` and serves"
        )),
    }
}

pub(super) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Whether a server serves there.
pub(super) fn is_up(address: SocketAddr) -> bool {
    ask(address, "srvr").is_ok_and(|answer| answer.contains("Mode: "))
}

/// Whether a server serves, and is the one that this program is: on a port that somebody else was quicker to
/// take, another may answer.
pub(super) fn answers(program: &Program, address: SocketAddr) -> bool {
    let folder = program.folder().display().to_string();
    is_up(address) && ask(address, "conf").is_ok_and(|answer| answer.contains(&folder))
}

/// What a server says to one of its words for administrators.
pub(super) fn ask(address: SocketAddr, word: &str) -> io::Result<String> {
    let limit = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(word.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// ZooKeeper as a program of this machine.
#[derive(Clone, Debug)]
pub(super) struct Jar {
    java: PathBuf,
    pub(super) jar: PathBuf,
}

/// Where the program is.
pub(super) fn program() -> Option<Jar> {
    let debian = || Some(PathBuf::from(DEBIAN)).filter(|path| path.is_file());
    Some(Jar {
        java: program::find("java")?,
        jar: program::find("zookeeper.jar").or_else(debian)?,
    })
}

pub(super) fn installed() -> Jar {
    program().unwrap_or_else(|| {
        panic!(
            "no `java` and `zookeeper.jar` in the tool folder, on the PATH, or where Debian has them: \
             `cargo xtask servers` installs them"
        )
    })
}

impl Jar {
    /// The command line of a server, whose files are written.
    pub(super) fn line(&self, folder: &Path, port: u16, lines: &[&str]) -> Vec<OsString> {
        let (file, data) = (folder.join("zoo.cfg"), folder.join("data"));
        let mut text = format!(
            "dataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\n",
            data.display()
        );
        // Sessions from half a second to ten; any number of connections from here.
        text +=
            "tickTime=500\nminSessionTimeout=500\ninitLimit=20\nsyncLimit=10\nmaxClientCnxns=0\n";
        text += "admin.enableServer=false\n4lw.commands.whitelist=srvr,conf\n";
        for line in lines {
            text += &format!("{line}\n");
        }
        let written = fs::create_dir_all(&data).and_then(|()| fs::write(&file, text));
        written.unwrap_or_else(|e| panic!("{}: {e}", file.display()));

        // With what writes the log to where it is looked for, where Debian has that as well.
        let mut jars = self.jar.as_os_str().to_owned();
        jars.push(":/usr/share/java/slf4j-simple.jar");
        let mut line = vec![self.java.as_os_str().to_owned()];
        let options = [
            // Up quickly, small, and without files of its own in the folder for such files.
            "-Xmx256m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-XX:-UsePerfData",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
            // What is written survives a crash of the server, if not of the machine.
            "-Dzookeeper.forceSync=no",
            "-Dzookeeper.preAllocSize=1024",
            "-cp",
        ];
        line.extend(options.map(OsString::from));
        line.extend([
            jars,
            "org.apache.zookeeper.server.quorum.QuorumPeerMain".into(),
            file.into(),
        ]);
        line
    }
}
