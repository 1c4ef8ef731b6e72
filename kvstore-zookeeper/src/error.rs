//! What goes wrong, as errors.

use std::time::Duration;

use kvstore_core::{Error, ErrorKind};

use crate::config::Server;
use crate::wire::{Code, Garbled};

/// There is no connection to a server, and nothing was sent.
pub(crate) fn no_connection(server: &Server, why: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("no connection to {server}: {why}"),
    )
}

/// The connection was lost after something was sent.
pub(crate) fn lost() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the connection was lost before the answer came",
    )
}

/// The connection was lost after a request was sent that is longer than servers take by default.
pub(crate) fn too_long() -> Error {
    Error::new(
        ErrorKind::ValueTooLarge,
        "the connection was lost when a request of more than 1,048,575 bytes was sent, as servers do that take no more; \
         tell their limit by `max_value_len`, or raise it by their `jute.maxbuffer`",
    )
}

pub(crate) fn timed_out(timeout: Duration) -> Error {
    Error::new(ErrorKind::Timeout, format!("no answer within {timeout:?}"))
}

impl From<Garbled> for Error {
    fn from(_: Garbled) -> Self {
        Self::new(ErrorKind::Other, "the server's answer is not understood")
    }
}

/// The server did not do what it was asked. What is no error to a caller, such as a node that is missing, was
/// looked at before.
pub(crate) fn refused(code: Code) -> Error {
    let (kind, message) = match code.0 {
        -102 => (
            ErrorKind::PermissionDenied,
            "the node's ACL does not allow it to this user; the README lists what is needed",
        ),
        -114 => (
            ErrorKind::PermissionDenied,
            "the server does not take the ACL that nodes are to be created with: it names somebody of whom \
             there are no credentials, or a scheme that the server does not know",
        ),
        -115 => (
            ErrorKind::Unauthenticated,
            "the server refused the credentials",
        ),
        -124 => (
            ErrorKind::Unauthenticated,
            "the server wants clients to authenticate, in a way that was not tried",
        ),
        -111 => (
            ErrorKind::Other,
            "the key's node has children, which no node has that was made here",
        ),
        -108 => (
            ErrorKind::InvalidConfig,
            "a node above the keys is ephemeral, and can have no children",
        ),
        -6 => (
            ErrorKind::InvalidConfig,
            "the server does not know the request: ZooKeeper 3.6 or later is needed",
        ),
        -119 => (
            ErrorKind::Unavailable,
            "the server is cut off from the others, and takes no writes",
        ),
        -4 | -7 | -13 | -122 => (
            ErrorKind::Unavailable,
            "the server could not get it done with the others",
        ),
        -125 => (
            ErrorKind::StorageFull,
            "the quota of a node above the keys is used up",
        ),
        -127 => (ErrorKind::Busy, "the server is busy, and asks to slow down"),
        _ => (ErrorKind::Other, "the server refused"),
    };
    let error = Error::new(kind, message).with_source(format!("ZooKeeper's error {}", code.0));
    match code.0 {
        // What the leader was given may be done still.
        -4 | -7 | -122 => error.with_outcome_unknown(),
        _ => error,
    }
}
