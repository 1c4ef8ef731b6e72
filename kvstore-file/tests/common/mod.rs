//! What several of these tests use.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test program uses some of it"
)]

use std::error::Error as _;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kvstore_core::{Error, ErrorKind, KeyValueStore, Result};
use kvstore_file::{FileConfig, FileProvider};
use redb::TableDefinition;

/// What must not be printed.
pub const SECRET: &str = "hunter2";

/// The tables, as the README has them.
pub const ENTRIES: TableDefinition<'_, &str, (u64, Option<u64>, &[u8])> =
    TableDefinition::new("entries");
pub const DEADLINES: TableDefinition<'_, (u64, &str), ()> = TableDefinition::new("deadlines");
pub const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("kvstore");

/// A folder of a test's own, which goes with it.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        let name = kvstore_testsuite::unique_root();
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The file that most tests have in it.
    pub fn file(&self) -> PathBuf {
        self.0.join("store.redb")
    }

    pub fn config(&self) -> FileConfig {
        FileConfig::new(self.file())
    }

    /// Opens the file, however long its last owner takes to let it go.
    pub async fn connect(&self) -> FileProvider {
        let opened = async {
            loop {
                match FileProvider::connect(self.config()).await {
                    Err(error) if error.is_retryable() => {}
                    opened => return opened.unwrap(),
                }
            }
        };
        ends("opening", opened).await
    }

    pub async fn texts(&self) -> KeyValueStore<String> {
        KeyValueStore::text(self.connect().await)
    }

    /// The names of what is in it.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> = entries
            .map(|entry| name(entry).into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left of it is no reason to fail.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A command that runs another test of this test program, which is told what to do, and on which file.
pub fn task(what: &str, file: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env("KVSTORE_TASK", what).env("KVSTORE_FILE", file);
    command.arg("--nocapture");
    command
}

/// What this process was told to do by [`task`], and on which file; nothing where it was not.
pub fn told_task() -> Option<(String, PathBuf)> {
    let task = std::env::var("KVSTORE_TASK").ok()?;
    Some((task, std::env::var_os("KVSTORE_FILE").unwrap().into()))
}

/// Waits, and fails the test when it takes so long that it must hang.
pub async fn ends<T>(what: &str, future: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(60);
    let Ok(answer) = tokio::time::timeout(limit, future).await else {
        panic!("{what} hangs");
    };
    answer
}

/// Fails unless it is an error of this kind; gives the error.
#[track_caller]
pub fn failed<T>(result: Result<T>, kind: ErrorKind, what: &str) -> Error {
    let Err(error) = result else {
        panic!("{what} succeeds; it must fail as {kind:?}")
    };
    assert_eq!(error.kind(), kind, "{what}: {error:?}");
    error
}

/// Everything that a program may log of an error.
pub fn printed(error: &Error) -> String {
    let mut all = format!("{error} {error:?} {error:#?}");
    let mut source = error.source();
    while let Some(error) = source {
        all += &format!(" {error} {error:?}");
        source = error.source();
    }
    all
}

/// Fails unless the file is not opened, for a reason of this kind that says this.
pub async fn not_opened(config: FileConfig, kind: ErrorKind, says: &str) {
    let error = failed(ends(says, FileProvider::connect(config)).await, kind, says);
    let text = error.to_string();
    assert!(
        text.starts_with("file connect: ") && text.contains(says),
        "{text}"
    );
}
