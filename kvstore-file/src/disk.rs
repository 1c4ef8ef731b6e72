//! The file: made, locked, opened, and watched for what goes wrong with it.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kvstore_core::{Error, ErrorKind, Result};
use redb::backends::FileBackend;
use redb::{BackendError, Database, DatabaseError, StorageBackend};

use crate::config::FileConfig;
use crate::data::{self, Kind};
use crate::error::{named, opening, opening_io, storage};

/// What every redb database begins with.
const MAGIC: [u8; 9] = *b"redb\x1a\x0a\xa9\x0d\x0a";

/// Which file was opened, and what went wrong with it. redb refuses to go on after that, until it is opened anew.
#[derive(Debug, Default)]
pub(crate) struct Health {
    opened: Mutex<Option<Opened>>,
    failed: AtomicBool,
    unconfirmed: AtomicBool,
}

/// The file that was opened first. It is held so that the system gives its identity to no other file while it is closed to
/// be opened anew.
#[derive(Debug)]
struct Opened {
    identity: Identity,
    _held: File,
}

impl Health {
    fn opened(&self) -> MutexGuard<'_, Option<Opened>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another file was opened before.
    fn is_other(&self, identity: &Identity) -> bool {
        let opened = self.opened();
        opened
            .as_ref()
            .is_some_and(|opened| opened.identity != *identity)
    }

    fn remember(&self, path: &Path, identity: Identity) -> Result<()> {
        let mut opened = self.opened();
        if opened.is_none() {
            let held = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
            let (metadata, _held) = held.map_err(|error| opening_io(error, path))?;
            if Identity::of(&metadata) != identity {
                return Err(moved(path));
            }
            *opened = Some(Opened { identity, _held });
        }
        Ok(())
    }

    /// Lets the file go, once it is closed for good.
    pub(crate) fn forget(&self) {
        *self.opened() = None;
    }

    /// Lets the file be opened anew before it is used again.
    pub(crate) fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    fn recover(&self) {
        self.failed.store(false, Ordering::Release);
    }

    /// Lets the file not be used any more.
    pub(crate) fn leave_unconfirmed(&self) {
        self.unconfirmed.store(true, Ordering::Release);
    }

    /// Whether the disk did not confirm what was written. Then the system may show data that is not on the disk,
    /// and nothing that is read can be relied on.
    pub(crate) fn is_unconfirmed(&self) -> bool {
        self.unconfirmed.load(Ordering::Acquire)
    }
}

/// What tells a file from all others, whatever its name.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    #[cfg(unix)]
    device: u64,
    #[cfg(unix)]
    inode: u64,
}

impl Identity {
    #[cfg_attr(not(unix), expect(unused_variables, reason = "the name has to do"))]
    fn of(metadata: &Metadata) -> Self {
        Self {
            #[cfg(unix)]
            device: std::os::unix::fs::MetadataExt::dev(metadata),
            #[cfg(unix)]
            inode: std::os::unix::fs::MetadataExt::ino(metadata),
        }
    }
}

/// Opens the database, and makes it where there is none; but not twice: another file in the place of one that was
/// open would make keys look missing.
pub(crate) fn open(config: &FileConfig, health: &Arc<Health>) -> Result<Database> {
    let path = &config.path;
    match existing(path)? {
        Some((_, identity)) if health.is_other(&identity) => Err(moved(path)),
        Some((file, identity)) => open_existing(config, health, file, identity),
        None if health.opened().is_some() => Err(moved(path)),
        None => create(config, health),
    }
}

fn moved(path: &Path) -> Error {
    let message = "has been moved, deleted or replaced while it was open";
    named(ErrorKind::Unavailable, path, message)
}

/// The file, if it is there and holds something.
fn existing(path: &Path) -> Result<Option<(File, Identity)>> {
    let failed = |error| opening_io(error, path);
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(named(ErrorKind::InvalidConfig, path, "is not a file"));
    }
    if metadata.len() == 0 {
        return Ok(None);
    }
    let mut begin = Vec::new();
    let read = file
        .by_ref()
        .take(MAGIC.len() as u64)
        .read_to_end(&mut begin);
    read.map_err(failed)?;
    if begin != MAGIC {
        return Err(named(
            ErrorKind::InvalidConfig,
            path,
            "is there, and is not a redb database",
        ));
    }
    Ok(Some((file, Identity::of(&metadata))))
}

fn open_existing(
    config: &FileConfig,
    health: &Arc<Health>,
    file: File,
    identity: Identity,
) -> Result<Database> {
    let path = &config.path;
    let database = build(config, health, file)?;
    match data::kind(&database).map_err(storage)? {
        Kind::Ours => {
            if health.opened().is_none() {
                // Who made it may have been killed before it was done with that.
                sync_folder(&place(path)?).map_err(|error| opening_io(error, path))?;
            }
            health.remember(path, identity)?;
            Ok(database)
        }
        Kind::Newer(format) => {
            let message = format!("is of format {format}, which a later release of kvstore wrote");
            Err(named(ErrorKind::InvalidConfig, path, &message))
        }
        Kind::Foreign => {
            let message = "is a redb database of another program";
            Err(named(ErrorKind::InvalidConfig, path, message))
        }
    }
}

/// Makes the database beside its place, and moves it there when it is complete, so that a process that is killed
/// meanwhile leaves nothing that cannot be opened.
fn create(config: &FileConfig, health: &Arc<Health>) -> Result<Database> {
    let path = &place(&config.path)?;
    let failed = |error| opening_io(error, path);
    let unfinished = unfinished(path);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&unfinished).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(opening(DatabaseError::DatabaseAlreadyOpen, path));
        }
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    let metadata = file.metadata().map_err(failed)?;
    // Another process may have moved its file there before this one had the lock.
    if let Some((found, identity)) = existing(path)? {
        if identity != Identity::of(&metadata) && metadata.len() == 0 {
            // Nothing was to be made; one that cannot be removed does no harm.
            let _ = fs::remove_file(&unfinished);
        }
        // It may be this very file, with its lock.
        drop(file);
        return open_existing(config, health, found, identity);
    }
    let is_it =
        |there: Metadata| there.is_file() && Identity::of(&there) == Identity::of(&metadata);
    if !fs::symlink_metadata(&unfinished).is_ok_and(is_it) {
        let message =
            "is in the way: a new file is made in this place, which is to be a file and no link";
        return Err(named(ErrorKind::InvalidConfig, &unfinished, message));
    }
    // What was left by a process that was killed.
    file.set_len(0).map_err(failed)?;
    make_private(&file).map_err(failed)?;
    let database = build(config, health, file)?;
    data::create(&database).map_err(storage)?;
    fs::rename(&unfinished, path)
        .and_then(|()| sync_folder(path))
        .map_err(failed)?;
    health.remember(path, Identity::of(&metadata))?;
    Ok(database)
}

/// Where a new file goes: a link is followed and not replaced.
fn place(path: &Path) -> Result<PathBuf> {
    if !path.is_symlink() {
        return Ok(path.to_owned());
    }
    fs::canonicalize(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            let message = "is a link, and there is nothing where it leads";
            named(ErrorKind::InvalidConfig, path, message).with_source(error)
        }
        _ => opening_io(error, path),
    })
}

/// Lets nobody else read or write the file.
#[cfg(unix)]
fn make_private(file: &File) -> io::Result<()> {
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))
}

#[cfg(not(unix))]
fn make_private(_: &File) -> io::Result<()> {
    Ok(())
}

/// The name of a file that is being made, which is to be that of no other file: what has it is written over.
fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".unfinished");
    name.into()
}

/// Makes sure that a new name outlives a failure of the power.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    let Some(folder) = path.parent() else {
        return Ok(());
    };
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // Where folders are not to be read, or cannot be synced, that is as sure as it gets.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied
                    | io::ErrorKind::InvalidInput
                    | io::ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        synced => synced,
    }
}

fn build(config: &FileConfig, health: &Arc<Health>, file: File) -> Result<Database> {
    let file = FileBackend::new(file).map_err(|error| opening(error, &config.path))?;
    build_on(config, health, file)
}

/// Opens the database on whatever does the reading and writing: a file, but for tests.
pub(crate) fn build_on(
    config: &FileConfig,
    health: &Arc<Health>,
    file: impl StorageBackend,
) -> Result<Database> {
    health.recover();
    let disk = Disk {
        file,
        health: Arc::clone(health),
    };
    let mut builder = Database::builder();
    builder.set_cache_size(config.cache_size);
    let opened = builder.create_with_backend(disk);
    opened.map_err(|error| opening(error, &config.path))
}

/// A file which notes what goes wrong with it.
#[derive(Debug)]
struct Disk<F> {
    file: F,
    health: Arc<Health>,
}

impl<F> Disk<F> {
    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|_| self.health.fail())
    }
}

type Locked<T> = Result<T, BackendError>;

impl<F: StorageBackend> StorageBackend for Disk<F> {
    fn len(&self) -> io::Result<u64> {
        self.note(self.file.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.note(self.file.read(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.note(self.file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        let synced = self.file.sync_data();
        synced.inspect_err(|_| self.health.leave_unconfirmed())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.note(self.file.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<bool> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<bool> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<()> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<()> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<()> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<bool> {
        self.file.query_lock_range(start, end)
    }
}

/// What the system says of the file, for people.
pub(crate) fn warnings(path: &Path, health: &Health) -> Vec<String> {
    let there = fs::metadata(path).ok();
    let there = there.filter(|metadata| !health.is_other(&Identity::of(metadata)));
    let warning = match there {
        Some(metadata) if is_shared(&metadata) => {
            "other users of this machine may read or write the file"
        }
        Some(_) => return Vec::new(),
        None => {
            "the file has been moved, deleted or replaced, and what is stored in it may be lost"
        }
    };
    vec![warning.to_owned()]
}

#[cfg(unix)]
fn is_shared(metadata: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o077 != 0
}

#[cfg(not(unix))]
fn is_shared(_: &Metadata) -> bool {
    false
}
