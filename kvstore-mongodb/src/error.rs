//! What the driver and the server say, as this workspace's errors. Their own words are mostly left out: a
//! refused command comes back whole, with key and value, in the refusal.

use std::fmt;
use std::time::Duration;

use kvstore_core::{Error, ErrorKind};
use mongodb::bson::{Bson, Document};
use mongodb::error::{Error as DriverError, ErrorKind as DriverKind, RETRYABLE_WRITE_ERROR};

use crate::MongoDbConfig;

/// Codes of MongoDB that something else is decided by than the kind of an error.
pub(crate) mod code {
    pub(crate) const UNAUTHORIZED: i32 = 13;
    pub(crate) const DUPLICATE_KEY: i32 = 11000;
    /// `$size` of what is no array: how [`command`](crate::command) says that a condition does not hold.
    pub(crate) const SIZE_OF_NO_ARRAY: i32 = 17124;
}

/// A failed command, and whether it may have been applied all the same.
pub(crate) struct Failure {
    /// `None`: applied by the primary, but not acknowledged as the write concern wants.
    error: Option<DriverError>,
    maybe_applied: bool,
}

impl Failure {
    /// What was asked changes nothing, or was not sent.
    pub(crate) fn read(error: DriverError) -> Self {
        Self {
            error: Some(error),
            maybe_applied: false,
        }
    }

    /// A command that writes this many documents.
    pub(crate) fn write(error: DriverError, documents: usize) -> Self {
        let maybe_applied = maybe_applied(&error, documents);
        Self {
            error: Some(error),
            maybe_applied,
        }
    }

    pub(crate) fn unacknowledged() -> Self {
        Self {
            error: None,
            maybe_applied: true,
        }
    }

    /// The last of several attempts, of which an earlier one may have been applied.
    pub(crate) fn after(mut self, earlier: Option<&Self>) -> Self {
        self.maybe_applied |= earlier.is_some_and(|earlier| earlier.maybe_applied);
        self
    }

    pub(crate) fn into_error(self, config: &MongoDbConfig) -> Error {
        let error = match &self.error {
            None => unacknowledged(None),
            Some(error) => {
                let (kind, message) = describe(error, config);
                Error::new(kind, message).with_source(Said(error.clone()))
            }
        };
        match self.maybe_applied {
            true => error.with_outcome_unknown(),
            false => error,
        }
    }
}

/// The deadline passed; what was sent goes on.
pub(crate) fn timeout(deadline: Duration, writes: bool) -> Error {
    let error = Error::new(
        ErrorKind::Timeout,
        format!("no answer within {deadline:?}, which is `timeout`"),
    );
    match writes {
        true => error.with_outcome_unknown(),
        false => error,
    }
}

/// The server did a write, but not as the write concern wants it.
pub(crate) fn unacknowledged(code: Option<i32>) -> Error {
    let kind = match code.map_or(ErrorKind::Unavailable, kind_of_code) {
        ErrorKind::Other => ErrorKind::Unavailable,
        kind => kind,
    };
    let message =
        "the primary has written it, but not as many servers as the write concern `w` wants";
    let error = Error::new(kind, message).with_outcome_unknown();
    match code {
        Some(code) => error.with_source(format!("write concern error {code}")),
        None => error,
    }
}

/// The server refused one document of a command, which it did not write.
pub(crate) fn refused(code: i32) -> Error {
    let kind = kind_of_code(code);
    Error::new(kind, sentence(kind)).with_source(format!("write error {code}"))
}

/// The server's answer is not what MongoDB answers.
pub(crate) fn not_understood() -> Error {
    Error::new(
        ErrorKind::Other,
        "the server's answer was not understood; is it MongoDB?",
    )
}

/// Whether the same command may well succeed on a new connection, or on the next primary.
pub(crate) fn is_transient(error: &DriverError) -> bool {
    let by_kind = matches!(
        *error.kind,
        DriverKind::Io(_) | DriverKind::ConnectionPoolCleared { .. }
    );
    let by_code = code_of(error).is_some_and(|code| TRANSIENT.contains(&code));
    by_kind || by_code || error.contains_label(RETRYABLE_WRITE_ERROR)
}

/// Whether the server acknowledges the write less than it was asked to, and would do so when it is repeated.
pub(crate) fn asks_to_repeat(answer: &Document) -> bool {
    let labels = answer
        .get_array("errorLabels")
        .map(Vec::as_slice)
        .unwrap_or_default();
    labels
        .iter()
        .any(|label| label.as_str() == Some(RETRYABLE_WRITE_ERROR))
}

/// Whether a standalone server refuses transaction numbers; the sentence is the driver's.
pub(crate) fn is_of_standalone(error: &DriverError) -> bool {
    const ILLEGAL_OPERATION: i32 = 20;
    match &*error.kind {
        DriverKind::Command(refusal) => {
            refusal.code == ILLEGAL_OPERATION && refusal.message.contains("retryable writes")
        }
        _ => false,
    }
}

/// The code with which the server refused a command.
fn code_of(error: &DriverError) -> Option<i32> {
    match &*error.kind {
        DriverKind::Command(refusal) => Some(refusal.code),
        _ => None,
    }
}

/// No primary any more, or not yet; shutting down; interrupted by either; a router that lost its server.
const TRANSIENT: [i32; 13] = [
    6, 7, 89, 91, 134, 189, 262, 9001, 10058, 10107, 11600, 11602, 13435,
];
const RECOVERING: i32 = 13436;

/// Refused before anything was done, at least for the first document of a command.
const NOT_PRIMARY: [i32; 3] = [10107, 13435, 10058];

fn maybe_applied(error: &DriverError, documents: usize) -> bool {
    match &*error.kind {
        // The driver says so of connections that could not be made.
        DriverKind::Io(_) => !error.contains_label(mongodb::error::SYSTEM_OVERLOADED_ERROR),
        // Cleared while the command was waiting for a connection, or for its answer.
        DriverKind::ConnectionPoolCleared { message, .. } => {
            !message.starts_with("Connection pool for")
        }
        DriverKind::Command(refusal) if NOT_PRIMARY.contains(&refusal.code) => documents > 1,
        DriverKind::Command(refusal) => {
            matches!(
                kind_of_code(refusal.code),
                ErrorKind::Unavailable | ErrorKind::Timeout
            )
        }
        DriverKind::InvalidResponse { .. } | DriverKind::Bson(_) => true,
        _ => false,
    }
}

/// The kind of an error, and a sentence for people.
fn describe(error: &DriverError, config: &MongoDbConfig) -> (ErrorKind, String) {
    let by_kind = |kind| (kind, sentence(kind).to_owned());
    match &*error.kind {
        DriverKind::ServerSelection { message, .. }
            if !message.contains("AuthenticationFailed") =>
        {
            let message = format!("no primary answers at {}", config.hosts);
            (ErrorKind::Unavailable, message)
        }
        DriverKind::ServerSelection { .. } | DriverKind::Authentication { .. } => {
            by_kind(ErrorKind::Unauthenticated)
        }
        DriverKind::Io(_) | DriverKind::ConnectionPoolCleared { .. } => (
            ErrorKind::Unavailable,
            "the connection was lost, or could not be made".to_owned(),
        ),
        DriverKind::DnsResolve { .. } => (
            ErrorKind::Unavailable,
            "the DNS does not name the servers".to_owned(),
        ),
        DriverKind::InvalidTlsConfig { .. } => (
            ErrorKind::InvalidConfig,
            "the files named for TLS cannot be used".to_owned(),
        ),
        DriverKind::IncompatibleServer { .. } => (
            ErrorKind::InvalidConfig,
            "the server is of a release that the driver does not speak with".to_owned(),
        ),
        DriverKind::Shutdown => by_kind(ErrorKind::Closed),
        DriverKind::InvalidArgument { message, .. } if message.starts_with("Message length") => {
            by_kind(ErrorKind::ValueTooLarge)
        }
        DriverKind::Command(refusal) => match refusal.code {
            code::UNAUTHORIZED if refusal.message.contains("requires authentication") => {
                by_kind(ErrorKind::Unauthenticated)
            }
            // The one code that stands for much: a document too large is among it.
            2 if refusal.message.contains("larger than") => by_kind(ErrorKind::ValueTooLarge),
            code => by_kind(kind_of_code(code)),
        },
        _ => by_kind(ErrorKind::Other),
    }
}

fn kind_of_code(code: i32) -> ErrorKind {
    match code {
        11 | 18 => ErrorKind::Unauthenticated,
        // The second is Atlas' own.
        code::UNAUTHORIZED | 8000 => ErrorKind::PermissionDenied,
        24 | 50 | 64 | 202 | 11601 => ErrorKind::Timeout,
        112 | 462 => ErrorKind::Busy,
        RECOVERING | 133 => ErrorKind::Unavailable,
        code if TRANSIENT.contains(&code) => ErrorKind::Unavailable,
        10334 | 17419 | 17420 => ErrorKind::ValueTooLarge,
        15 | 121 => ErrorKind::InvalidValue,
        12501 | 14031 => ErrorKind::StorageFull,
        73 | 79 | 100 | 166 => ErrorKind::InvalidConfig,
        _ => ErrorKind::Other,
    }
}

fn sentence(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Unauthenticated => {
            "the server refused user and password, or wants some; look at `authSource` too, the database of the user"
        }
        ErrorKind::PermissionDenied => {
            "the user lacks a right on the collection: find, insert, update and remove are needed"
        }
        ErrorKind::Timeout => {
            "the server gave up: the operation, or its write concern, took too long"
        }
        ErrorKind::Busy => "the server is overloaded",
        ErrorKind::Unavailable => "the server is not the primary (any more), or is shutting down",
        ErrorKind::ValueTooLarge => "the value is over MongoDB's limit of 16 MiB a document",
        ErrorKind::InvalidValue => {
            "the value is nested too deep, or the collection's validation rules refuse it"
        }
        ErrorKind::StorageFull => "the server has no room",
        ErrorKind::InvalidConfig => {
            "database, collection or write concern are not what this deployment has"
        }
        ErrorKind::Closed => "the provider is closed",
        _ => "the server refused, or its answer was not understood",
    }
}

/// The driver's error as a source: what it says without keys, values and credentials.
struct Said(DriverError);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0.kind {
            DriverKind::Command(refusal) => {
                write!(f, "error {} ({})", refusal.code, refusal.code_name)
            }
            DriverKind::Io(error) => write!(f, "{error}"),
            // After the first server's error there may be an answer to some other call.
            DriverKind::ServerSelection { message, .. } => f.write_str(
                message
                    .split(", server response")
                    .next()
                    .unwrap_or_default(),
            ),
            DriverKind::Authentication { message, .. }
            | DriverKind::DnsResolve { message, .. }
            | DriverKind::InvalidTlsConfig { message, .. }
            | DriverKind::IncompatibleServer { message, .. } => f.write_str(message),
            DriverKind::ConnectionPoolCleared { .. } => {
                f.write_str("another call found the server gone")
            }
            DriverKind::Shutdown => f.write_str("the client has been shut down"),
            DriverKind::InvalidResponse { .. } | DriverKind::Bson(_) => {
                f.write_str("an answer that cannot be read")
            }
            _ => f.write_str("an error of the driver"),
        }
    }
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Said {}

/// A code in a part of an answer.
pub(crate) fn code_in(part: &Document) -> i32 {
    part.get("code").and_then(Bson::as_i32).unwrap_or_default()
}
