//! What redb and the system say, as errors of kvstore.

use std::borrow::Cow;
use std::error::Error as _;
use std::io;
use std::path::Path;

use kvstore_core::{Error, ErrorKind};
use redb::DatabaseError;

/// A call on the open database failed.
pub(crate) fn storage(error: redb::Error) -> Error {
    let (kind, what) = match &error {
        redb::Error::Io(error) => {
            of_io(error).unwrap_or((ErrorKind::Unavailable, "could not be read or written"))
        }
        redb::Error::PreviousIo | redb::Error::DatabaseClosed => (
            ErrorKind::Unavailable,
            "is to be opened anew, since it could not be read or written",
        ),
        redb::Error::Corrupted(_) => (ErrorKind::Other, "is damaged"),
        _ => (ErrorKind::Other, "met a failure of the database"),
    };
    Error::new(kind, format!("the file {what}")).with_source(error)
}

/// The database could not be opened.
pub(crate) fn opening(error: DatabaseError, path: &Path) -> Error {
    match error {
        DatabaseError::Storage(redb::StorageError::Io(error)) => opening_io(error, path),
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            let message =
                "is open elsewhere, in another process or by another provider in this one";
            named(ErrorKind::Unavailable, path, message).with_source(error)
        }
        DatabaseError::UpgradeRequired(_) => {
            let message = "is of a format of redb that is too old for this release";
            named(ErrorKind::InvalidConfig, path, message).with_source(error)
        }
        DatabaseError::Storage(redb::StorageError::Corrupted(_)) => {
            let message = "is damaged, or of a later format of redb";
            named(ErrorKind::Other, path, message).with_source(error)
        }
        error => named(ErrorKind::Other, path, "cannot be opened").with_source(error),
    }
}

/// The file could not be opened, or read as it was.
pub(crate) fn opening_io(error: io::Error, path: &Path) -> Error {
    let (kind, message) = match error.kind() {
        io::ErrorKind::NotFound => (
            ErrorKind::InvalidConfig,
            "cannot be made: its folder does not exist",
        ),
        io::ErrorKind::NotADirectory => (
            ErrorKind::InvalidConfig,
            "cannot be: what stands before its name is not a folder",
        ),
        io::ErrorKind::IsADirectory => (ErrorKind::InvalidConfig, "is a folder, not a file"),
        io::ErrorKind::InvalidFilename => (ErrorKind::InvalidConfig, "has too long a name"),
        _ => of_io(&error).unwrap_or((ErrorKind::Unavailable, "cannot be opened")),
    };
    named(kind, path, message).with_source(error)
}

/// An error about the file as such.
pub(crate) fn named(kind: ErrorKind, path: &Path, message: &str) -> Error {
    Error::new(kind, format!("{} {message}", path.display()))
}

/// What an I/O error says of a file, whatever was done with it.
fn of_io(error: &io::Error) -> Option<(ErrorKind, &'static str)> {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Some((
                ErrorKind::StorageFull,
                "cannot grow: the disk is full, or a quota or limit is reached",
            ))
        }
        io::ErrorKind::PermissionDenied => Some((
            ErrorKind::PermissionDenied,
            "may not be read and written by this user",
        )),
        io::ErrorKind::ReadOnlyFilesystem => Some((
            ErrorKind::PermissionDenied,
            "is on a file system that is read-only",
        )),
        io::ErrorKind::UnexpectedEof => Some((ErrorKind::Other, "is damaged: it was cut short")),
        _ => None,
    }
}

/// The disk did not confirm what was written to it.
pub(crate) fn unconfirmed() -> Error {
    let message = "the disk failed to keep what was written, so nothing is read or written any more: stop the process, \
                   see to the disk, mount its file system anew or reboot (or restore a copy), and only then start again";
    Error::new(ErrorKind::Other, message)
}

/// Whether it is because the file is open elsewhere.
pub(crate) fn is_open_elsewhere(error: &Error) -> bool {
    let source = error
        .source()
        .and_then(|source| source.downcast_ref::<DatabaseError>());
    matches!(
        source,
        Some(DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch)
    )
}

pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}
