//! Servers that are programs on this machine: found, started, watched over, ended.

use std::ffi::OsString;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use super::run::Lifetime;

/// How long a server may take to answer: on a busy machine, Java takes its time.
const START: Duration = Duration::from_secs(60);

/// Finds a program in the tool folder (`KVSTORE_TOOLS`, else `~/.cache/kvstore-tools`, which
/// `cargo xtask servers` fills) or on the `PATH`.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let tools = env::var_os("KVSTORE_TOOLS")
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".cache/kvstore-tools")));
    let path = env::var_os("PATH").unwrap_or_default();
    tools
        .into_iter()
        .chain(env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// A running server with its guard.
///
/// A server that leaves files outside of its folder has their paths in the file `leftovers` in it, each in a
/// line of its own: they go with the folder.
///
/// Dropping it ends the server at once and removes its files. When this process has no time for
/// that, the guard does it.
#[derive(Debug)]
pub(crate) struct Program {
    lifetime: Lifetime,
    guard: Child,
}

impl Program {
    /// A guard over a folder, and no server yet.
    pub(crate) fn new(lifetime: Lifetime) -> Self {
        let guard = spawn(&lifetime, None, &nothing());
        Self { lifetime, guard }
    }

    /// Starts a server on `N` free ports, and comes back with them when `ready` says so.
    ///
    /// A port may be taken by somebody else between the choice and the server's own attempt; then
    /// it is tried again with others.
    pub(crate) fn start<const N: usize>(
        &mut self,
        command: impl Fn(&Path, [u16; N]) -> Vec<OsString>,
        ready: impl Fn(&Self, [u16; N]) -> bool,
    ) -> [u16; N] {
        let mut attempts = 5;
        loop {
            let ports = std::array::from_fn(|_| free_port());
            attempts -= 1;
            match self.restart(&command(self.folder(), ports), |program| {
                ready(program, ports)
            }) {
                Ok(()) => return ports,
                Err(log) if attempts > 0 && log.contains("ddress already in use") => {}
                Err(log) => panic!("the server did not start; its log ends:\n{log}"),
            }
        }
    }

    /// Ends the server at once, as a power cut would, and keeps its files.
    pub(crate) fn stop(&mut self) {
        self.run(&nothing());
    }

    /// Ends what runs, runs another command in the same folder, and comes back when `ready` says so;
    /// the error is the end of its log.
    pub(crate) fn restart(
        &mut self,
        command: &[OsString],
        ready: impl Fn(&Self) -> bool,
    ) -> Result<(), String> {
        self.run(command);
        let start = Instant::now();
        while !ready(self) {
            if self.folder().join("ended").exists() || start.elapsed() > START {
                let log = fs::read(self.folder().join("log")).unwrap_or_default();
                let log = String::from_utf8_lossy(&log);
                let lines: Vec<_> = log.lines().collect();
                return Err(lines[lines.len().saturating_sub(20)..].join("\n"));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn run(&mut self, command: &[OsString]) {
        self.end();
        for file in ["pid", "ended"] {
            // Missing when the guard ended before it wrote them.
            let _ = fs::remove_file(self.folder().join(file));
        }
        self.guard = spawn(&self.lifetime, None, command);
    }

    /// Sends the server a signal, as `STOP` or `CONT`.
    pub(crate) fn signal(&self, signal: &str) {
        let process = self
            .process()
            .unwrap_or_else(|| panic!("the server does not run"));
        kill(signal, &process);
    }

    /// Halts the server. Where the system tells (Linux), all of its threads have stopped when this returns: on
    /// a busy machine some may go on for moments, and answer.
    pub(crate) fn halt(&self) {
        self.signal("STOP");
        let tasks = format!("/proc/{}/task", self.process().unwrap_or_default());
        let runs = |task: fs::DirEntry| {
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            // After the name, which is in brackets.
            stat.rsplit_once(") ")
                .is_some_and(|(_, rest)| !rest.starts_with('T'))
        };
        let start = Instant::now();
        while fs::read_dir(&tasks).is_ok_and(|tasks| tasks.flatten().any(runs)) {
            assert!(start.elapsed() < START, "the server does not halt");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The server's process id.
    pub(crate) fn process(&self) -> Option<String> {
        let id = fs::read_to_string(self.folder().join("pid")).ok()?;
        Some(id.trim().to_owned())
    }

    /// The server's own folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.lifetime.folder
    }

    /// The lifetime for one more server that belongs to this one.
    pub(crate) fn another(&self) -> Lifetime {
        self.lifetime.another()
    }

    /// Leaves the server to its guard: it lives on when this process ends.
    pub(crate) fn leave(self) {
        std::mem::forget(self);
    }

    fn end(&mut self) {
        // First the server alone: the guard notes when it is gone, and its ports are free.
        let ended = self.folder().join("ended");
        let start = Instant::now();
        while !ended.exists() && start.elapsed() < START {
            if let Some(process) = self.process() {
                kill("KILL", &process);
            }
            thread::sleep(Duration::from_millis(1));
        }
        // Then the guard and what it started.
        kill("KILL", &format!("-{}", self.guard.id()));
        // It was killed, so it ends; an error means that it was waited for before.
        let _ = self.guard.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.lifetime.folder == self.lifetime.run {
            self.end();
            let leftovers = fs::read_to_string(self.folder().join("leftovers"));
            for file in leftovers.unwrap_or_default().lines() {
                // Not there if the server did not come to make it.
                let _ = fs::remove_file(file);
            }
            // What is left is a few files in the folder for such files; no reason to fail a test.
            let _ = fs::remove_dir_all(self.folder());
        } else {
            // It was to be shared, and did not start: the run's folder is for the guard to remove.
            self.stop();
        }
    }
}

/// A command that does nothing, for a guard without a program.
pub(crate) fn nothing() -> [OsString; 1] {
    ["true".into()]
}

/// Starts a guard, and a command under it.
pub(crate) fn spawn(lifetime: &Lifetime, container: Option<&str>, command: &[OsString]) -> Child {
    Command::new("sh")
        .args(["-c", include_str!("guard.sh"), "kvstore-test-guard"])
        .arg(lifetime.process.to_string())
        .args([&lifetime.run, &lifetime.folder])
        .arg(container.unwrap_or_default())
        .args(command)
        // Out of reach of what ends the tests: Ctrl-C, a test runner's time limit.
        .process_group(0)
        // Held open, they would keep a test runner waiting for the end of a test's output.
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|e| panic!("cannot run `sh`, which watches over the servers: {e}"))
}

/// Sends a signal to a process, or to a group of them (a minus before the id).
fn kill(signal: &str, process: &str) {
    // The shell's own: the program `kill` is not installed everywhere.
    let status = Command::new("sh")
        .args(["-c", r#"kill -s "$0" -- "$1""#, signal, process])
        .stderr(Stdio::null())
        .status();
    assert!(
        status.is_ok(),
        "cannot run `sh`, which sends signals: {status:?}"
    );
}

/// A port that nobody listens on now.
///
/// Below the range from which clients get theirs: a client that keeps connecting to a server which
/// is down may otherwise get the server's port, reach itself, and keep the server from coming back.
pub(super) fn free_port() -> u16 {
    const LOWEST: u16 = 10_000;
    const COUNT: u64 = 22_000;
    loop {
        let random = RandomState::new().hash_one(0) % COUNT;
        let port = LOWEST + u16::try_from(random).unwrap_or_default();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn shell(script: &str) -> Vec<OsString> {
        ["sh", "-c", script].map(OsString::from).into()
    }

    #[test]
    fn taken_ports_are_tried_again_and_not_for_ever() {
        for taken in [1, 4, 5] {
            let attempts = Cell::new(0);
            let mut program = Program::new(Lifetime::of_this_process("ports"));
            let folder = program.folder().to_owned();
            let start = AssertUnwindSafe(|| {
                let command = |_: &Path, _: [u16; 2]| {
                    attempts.set(attempts.get() + 1);
                    shell(if attempts.get() > taken {
                        "echo; exec sleep 60"
                    } else {
                        "echo Address already in use; exit 1"
                    })
                };
                let log = folder.join("log");
                program.start(command, |_, _| fs::read(&log).is_ok_and(|log| log == b"\n"))
            });
            let started = catch_unwind(start);
            assert_eq!(started.is_ok(), taken < 5);
            assert_eq!(attempts.get(), (taken + 1).min(5));
        }
    }

    #[test]
    fn ports_are_not_those_that_clients_get() {
        for _ in 0..100 {
            assert!((10_000..32_000).contains(&free_port()));
        }
    }

    #[test]
    fn a_server_that_was_to_be_shared_and_did_not_start_leaves_its_folder_to_the_guard() {
        let run = Lifetime::of_this_process("run");
        let mut watched = Command::new("sleep").arg("60").spawn().unwrap();
        let folder = run.folder.join("server");
        fs::create_dir(&folder).unwrap();
        fs::write(run.folder.join("server.lock"), "").unwrap();
        let lifetime = Lifetime {
            process: watched.id(),
            run: run.folder.clone(),
            folder,
        };
        drop(Program::new(lifetime));
        assert!(run.folder.exists());
        watched.kill().unwrap();
        watched.wait().unwrap();
        let start = Instant::now();
        while run.folder.exists() {
            assert!(
                start.elapsed() < START,
                "the folder of the run is still there"
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
}
