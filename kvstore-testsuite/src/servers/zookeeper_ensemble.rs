//! ZooKeeper for tests: an ensemble.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

use super::program::{Program, free_port};
use super::run::{self, Lifetime};
use super::zookeeper::{Jar, answers, ask, installed, local};

/// How many servers there are; two are a quorum.
const SERVERS: usize = 3;

/// How long they may take to agree.
const START: Duration = Duration::from_secs(90);

/// Three ZooKeeper servers that are one, of a test's own, which end when the value is dropped.
///
/// ```no_run
/// use kvstore_testsuite::servers::ZooKeeperEnsemble;
///
/// let mut ensemble = ZooKeeperEnsemble::start();
/// let url = ensemble.url("/fruit?timeout=10s");
/// // … connect a store to `url`, and write …
/// let leader = ensemble.leader();
/// ensemble.stop(leader);
/// // … it is still there, and the store works …
/// ```
#[derive(Debug)]
pub struct ZooKeeperEnsemble {
    servers: Vec<Server>,
}

#[derive(Debug)]
struct Server {
    address: SocketAddr,
    program: Program,
    line: Vec<OsString>,
}

impl ZooKeeperEnsemble {
    /// Starts an ensemble of three; all of them serve when this returns.
    ///
    /// # Panics
    /// When the program is not installed, with what to do, or does not start.
    pub fn start() -> Self {
        let jar = installed();
        let mut attempts = 3;
        loop {
            let ensemble = Self::launch(&jar);
            attempts -= 1;
            // One that could not have its port: with others.
            if ensemble.all_serve() {
                run::report(&format!(
                    "ZooKeeper, three servers, from {}",
                    jar.jar.display()
                ));
                return ensemble;
            }
            assert!(
                attempts > 0,
                "the ensemble did not start: {}",
                ensemble.logs()
            );
        }
    }

    /// The URL of all of them, with this root and these parameters, as `/fruit?timeout=1s`.
    pub fn url(&self, rest: &str) -> String {
        let addresses: Vec<_> = self.servers.iter().map(|s| s.address.to_string()).collect();
        format!("zookeeper://{}{rest}", addresses.join(","))
    }

    /// The address of one of them, from 0 on.
    pub fn address(&self, server: usize) -> SocketAddr {
        self.servers[server].address
    }

    /// Which of them leads.
    ///
    /// # Panics
    /// When none does for long.
    pub fn leader(&self) -> usize {
        let begin = Instant::now();
        loop {
            let leads = |server: &Server| {
                ask(server.address, "srvr").is_ok_and(|answer| answer.contains("Mode: leader"))
            };
            if let Some(leader) = self.servers.iter().position(leads) {
                return leader;
            }
            assert!(begin.elapsed() < START, "no server leads: {}", self.logs());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends one at once, as a crash would.
    pub fn stop(&mut self, server: usize) {
        self.servers[server].program.stop();
    }

    /// Starts one again, with the same ports and files; it serves when this returns, which it does in a quorum
    /// alone.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self, server: usize) {
        let Server {
            address,
            program,
            line,
        } = &mut self.servers[server];
        let up = program.restart(line, |program| answers(program, *address));
        up.unwrap_or_else(|log| panic!("ZooKeeper did not start again; its log ends:\n{log}"));
    }

    /// Halts one: it holds its connections and answers nothing.
    pub fn pause(&mut self, server: usize) {
        self.servers[server].program.halt();
    }

    /// Lets a halted one go on.
    pub fn resume(&mut self, server: usize) {
        self.servers[server].program.signal("CONT");
    }

    fn launch(jar: &Jar) -> Self {
        let ports: [[u16; 3]; SERVERS] =
            std::array::from_fn(|_| std::array::from_fn(|_| free_port()));
        let members = ports.iter().zip(1..).map(|([_, quorum, election], id)| {
            format!("server.{id}=127.0.0.1:{quorum}:{election}")
        });
        let members: Vec<_> = members.collect();
        let members: Vec<_> = members.iter().map(String::as_str).collect();
        let start = |(id, [port, ..]): (usize, &[u16; 3])| {
            let mut program = Program::new(Lifetime::of_this_process("zookeeper"));
            let folder = program.folder().to_owned();
            let line = jar.line(&folder, *port, &members);
            write_id(&folder, id + 1);
            // They serve together, or not at all: waited for when all were started.
            let started = program.restart(&line, |program| program.process().is_some());
            started.unwrap_or_else(|log| panic!("ZooKeeper did not start; its log ends:\n{log}"));
            Server {
                address: local(*port),
                program,
                line,
            }
        };
        Self {
            servers: ports.iter().enumerate().map(start).collect(),
        }
    }

    /// Waits until they do; `false` when they do not.
    fn all_serve(&self) -> bool {
        let begin = Instant::now();
        let ended = |server: &Server| server.program.folder().join("ended").exists();
        while begin.elapsed() < START && !self.servers.iter().any(ended) {
            let serves = |server: &Server| answers(&server.program, server.address);
            if self.servers.iter().all(serves) {
                return true;
            }
            thread::sleep(Duration::from_millis(20));
        }
        false
    }

    fn logs(&self) -> String {
        let log = |server: &Server| {
            let log = fs::read(server.program.folder().join("log")).unwrap_or_default();
            String::from_utf8_lossy(&log[log.len().saturating_sub(2000)..]).into_owned()
        };
        self.servers.iter().map(log).collect::<Vec<_>>().join("\n")
    }
}

/// Writes which of the servers it is.
fn write_id(folder: &Path, id: usize) {
    let file = folder.join("data/myid");
    fs::write(&file, id.to_string()).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
}
