//! How long a server lives: as long as the test run, or as its owner.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, process};

/// The process that a server lives as long as, and where the server's files are kept.
#[derive(Debug)]
pub(crate) struct Lifetime {
    /// The process to watch.
    pub(crate) process: u32,
    /// The folder of the run, which goes when that process is gone.
    pub(crate) run: PathBuf,
    /// The server's own folder: in that of the run, or the same for a server of a test's own.
    pub(crate) folder: PathBuf,
}

impl Lifetime {
    /// As long as this process, for a server of a test's own.
    pub(crate) fn of_this_process(name: &str) -> Self {
        let process = process::id();
        let prefix = env::temp_dir().join(format!("kvstore-test-{process}-{name}"));
        let folder = new_folder(&prefix);
        Self {
            process,
            run: folder.clone(),
            folder,
        }
    }

    /// As long as this one, with a folder of its own: for one more server of several that belong together.
    pub(crate) fn another(&self) -> Self {
        let folder = new_folder(&self.folder);
        let run = if self.run == self.folder {
            folder.clone()
        } else {
            self.run.clone()
        };
        Self {
            process: self.process,
            run,
            folder,
        }
    }

    /// A name for a container that lives as long.
    #[cfg(feature = "containers")]
    pub(crate) fn container(&self) -> String {
        let names = self
            .folder
            .components()
            .rev()
            .take(2)
            .map(|c| c.as_os_str().to_string_lossy());
        names.collect::<Vec<_>>().join("-")
    }
}

/// A test run: all the processes that share one server of a kind.
#[derive(Debug)]
pub(crate) struct Run {
    process: u32,
    folder: PathBuf,
}

impl Run {
    /// The run that this process belongs to.
    ///
    /// It is what `KVSTORE_TEST_RUN` names by its process id; else nextest, which starts one process
    /// a test; else this process.
    pub(crate) fn current() -> Self {
        let process = match env::var("KVSTORE_TEST_RUN") {
            Ok(id) => id.parse().unwrap_or_else(|_| {
                panic!("KVSTORE_TEST_RUN is `{id}`; it must be the id of the process that the servers live as long as")
            }),
            Err(_) if env::var_os("NEXTEST").is_some() => std::os::unix::process::parent_id(),
            Err(_) => process::id(),
        };
        Self {
            process,
            folder: env::temp_dir().join(format!("kvstore-test-{process}")),
        }
    }

    /// What the run knows about its server `name`: found by `find` in what an earlier process
    /// noted, else started by `start`, which gives the note for the others as well.
    ///
    /// `find` answers `None` for a server that is not there any more: a leftover.
    pub(crate) fn share<T>(
        &self,
        name: &str,
        find: impl FnOnce(&str) -> Option<T>,
        start: impl FnOnce(Lifetime) -> (T, String),
    ) -> T {
        make_folder(&self.folder, true)
            .unwrap_or_else(|e| panic!("{}: {e}", self.folder.display()));
        let lock = self.folder.join(format!("{name}.lock"));
        let lock = File::create(&lock).unwrap_or_else(|e| panic!("{}: {e}", lock.display()));
        lock.lock()
            .unwrap_or_else(|e| panic!("cannot lock the run's folder: {e}"));
        let note = self.folder.join(name);
        if let Some(found) = fs::read_to_string(&note).ok().as_deref().and_then(find) {
            return found;
        }
        let folder = new_folder(&self.folder.join(format!("{name}-{}", process::id())));
        let lifetime = Lifetime {
            process: self.process,
            run: self.folder.clone(),
            folder,
        };
        let (started, text) = start(lifetime);
        fs::write(&note, text).unwrap_or_else(|e| panic!("{}: {e}", note.display()));
        started
        // The lock is given back here, with the file.
    }
}

/// Makes a folder that nobody else can read, since private keys lie in it.
fn make_folder(path: &Path, may_exist: bool) -> std::io::Result<()> {
    DirBuilder::new()
        .mode(0o700)
        .recursive(may_exist)
        .create(path)
}

/// Makes a folder of a name that is not taken.
fn new_folder(prefix: &Path) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    loop {
        let mut path = prefix.as_os_str().to_owned();
        path.push(format!("-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        let path = PathBuf::from(path);
        match make_folder(&path, false) {
            Ok(()) => return path,
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => panic!("{}: {e}", path.display()),
        }
    }
}

/// Notes for `cargo xtask test` which server a test used, where `KVSTORE_TEST_REPORT` names a file.
pub(crate) fn report(server: &str) {
    if let Some(path) = env::var_os("KVSTORE_TEST_REPORT") {
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.and_then(|mut file| file.write_all(format!("{server}\n").as_bytes()))
            .unwrap_or_else(|e| panic!("KVSTORE_TEST_REPORT, {}: {e}", path.display()));
    }
}
