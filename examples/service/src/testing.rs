//! A service as a program of its own, for its tests.

use std::env;
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// A service that runs, and is ended when the value is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    base: String,
    printed: Arc<Mutex<String>>,
}

/// How long one may take to start or to end: a busy machine takes its time.
const LIMIT: Duration = Duration::from_secs(60);

impl Running {
    /// Starts a program on a store, with these variables, on a port that is free.
    ///
    /// # Panics
    /// When it does not say where it listens, with what it says.
    pub fn start(program: &str, url: &str, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program);
        command.env("KVSTORE_URL", url);
        Self::run(command, program, variables)
    }

    /// Starts a program without a URL, in this folder.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn start_in(program: &str, folder: &Path, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program);
        command.env_remove("KVSTORE_URL").current_dir(folder);
        Self::run(command, program, variables)
    }

    fn run(mut command: Command, program: &str, variables: &[(&str, &str)]) -> Self {
        let mut child = command
            .env("LISTEN", "127.0.0.1:0")
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{program}: {e}"));
        let printed = Arc::new(Mutex::new(String::new()));
        let (sender, listens) = channel();
        keep(child.stdout.take(), &printed, sender.clone());
        keep(child.stderr.take(), &printed, sender);
        let mut running = Self {
            child,
            base: String::new(),
            printed,
        };
        match listens.recv_timeout(LIMIT) {
            Ok(base) => running.base = base,
            Err(_) => panic!("{program} does not listen: {}", running.printed()),
        }
        running
    }

    /// Where it listens, as `http://127.0.0.1:3000`.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// What it has printed, errors too.
    pub fn printed(&self) -> String {
        lock(&self.printed).clone()
    }

    /// Starts a program whose output nobody reads, at this address.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_unheard(
        program: &str,
        url: &str,
        address: &str,
        variables: &[(&str, &str)],
    ) -> Self {
        let mut command = Command::new(program);
        let closed = || {
            let (_, writer) = std::io::pipe().unwrap_or_else(|e| panic!("a pipe: {e}"));
            Stdio::from(writer)
        };
        command.env("KVSTORE_URL", url).env("LISTEN", address);
        command.envs(variables.iter().copied());
        let child = command.stdout(closed()).stderr(closed()).spawn();
        Self {
            child: child.unwrap_or_else(|e| panic!("{program}: {e}")),
            base: format!("http://{address}"),
            printed: Arc::default(),
        }
    }

    /// Tells it to end.
    ///
    /// # Panics
    /// When that is not possible.
    pub fn tell(&self) {
        let pid = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(told.is_ok_and(|status| status.success()), "no kill");
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// When it does not end.
    pub fn wait(&mut self) -> ExitStatus {
        for _ in 0..LIMIT.as_millis() / 10 {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not end: {}", self.printed());
    }

    /// Tells it to end, and waits until it has answered what is under way.
    ///
    /// # Panics
    /// When it does not end.
    pub fn stop(mut self) -> (ExitStatus, String) {
        self.tell();
        let status = self.wait();
        (status, self.printed())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the service on {} printed: {}", self.base, self.printed());
        }
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What asks a service.
pub fn http() -> reqwest::Client {
    // It makes ready for TLS, which is not used here, and panics where a provider has switched that on without
    // saying whose cryptography is to be taken. An error says that it was said before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// An empty folder, which goes with the value.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes one among the temporary files.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new() -> Self {
        let name = RandomState::new().hash_one(());
        let path = env::temp_dir().join(format!("kvstore-test-service-{name:016x}"));
        fs::create_dir(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left among the temporary files is no reason to fail.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn lock(printed: &Mutex<String>) -> std::sync::MutexGuard<'_, String> {
    printed.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps what a program prints, and tells where it listens.
fn keep(
    output: Option<impl Read + Send + 'static>,
    printed: &Arc<Mutex<String>>,
    listens: Sender<String>,
) {
    let (Some(output), printed) = (output, Arc::clone(printed)) else {
        return;
    };
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Some((_, base)) = line.split_once(" listens at ") {
                let _ = listens.send(base.to_owned());
            }
            let mut printed = lock(&printed);
            printed.push_str(&line);
            printed.push('\n');
        }
    });
}
