//! What goes wrong, as kvstore's errors.

use std::sync::Arc;
use std::{fmt, io};

use kvstore_core::{Error, ErrorKind};
use rustls::Error as TlsError;

use crate::MemcachedConfig;
use crate::connection::Why;

/// The server's own words. They are fixed sentences, which repeat nothing of what was sent; of another kind of
/// server they are not shown.
#[derive(Debug)]
struct Words(String);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Words {}

/// A line that begins with `ERROR`, `CLIENT_ERROR` or `SERVER_ERROR`.
pub(crate) fn refused(words: &str) -> Error {
    let (kind, message) = meaning(words);
    Error::new(kind, message).with_source(Words(words.to_owned()))
}

fn meaning(words: &str) -> (ErrorKind, &'static str) {
    let said = |part| words.contains(part);
    if said("too large") {
        (
            ErrorKind::ValueTooLarge,
            "the item is over the server's limit (`-I`); it has deleted the old one",
        )
    } else if said("out of memory storing") {
        (
            ErrorKind::StorageFull,
            "the server has no memory left for the item (`-m`); it has deleted the old one",
        )
    } else if said("memory during read") {
        (
            ErrorKind::StorageFull,
            "the server has no memory left for the item (`-m`)",
        )
    } else if said("memory") {
        (ErrorKind::Busy, "the server has no memory left for answers")
    } else if said("Too many open connections") {
        (
            ErrorKind::Busy,
            "the server has as many connections as it takes (`-c`)",
        )
    } else if said("authentication failure") {
        (
            ErrorKind::Unauthenticated,
            "the server refused the user or the password",
        )
    } else if said("authenticat") {
        (
            ErrorKind::Unauthenticated,
            "the server wants a user and a password",
        )
    } else {
        (ErrorKind::Other, "the server refused the command")
    }
}

/// An answer that Memcached does not give to what was asked.
pub(crate) fn not_understood() -> Error {
    Error::new(
        ErrorKind::Other,
        "the server's answer was not understood; is it Memcached?",
    )
}

/// Why a call has no answer, on a connection to `server`.
pub(crate) fn lost(why: &Why, server: &str) -> Error {
    let unavailable = |what: &str| {
        let message = format!("the connection to {server} was lost: {what}");
        Error::new(ErrorKind::Unavailable, message)
    };
    match why {
        Why::Io(error) => unavailable("it broke").with_source(Arc::clone(error)),
        Why::Closed => unavailable("the server closed it"),
        Why::Silent(span) => {
            let message = format!("no answer from {server} within {span:?}");
            Error::new(ErrorKind::Timeout, message)
        }
        Why::Said(words) => refused(words),
        Why::Garbled => not_understood(),
        Why::Runtime => unavailable(RUNTIME),
    }
}

/// Where a connection is being made, for the errors of that.
#[derive(Clone, Copy)]
pub(crate) struct Connecting<'a> {
    pub(crate) server: &'a str,
    pub(crate) config: &'a MemcachedConfig,
}

impl Connecting<'_> {
    pub(crate) fn error(self, kind: ErrorKind, message: &str) -> Error {
        Error::new(kind, format!("no connection to {}: {message}", self.server))
    }

    pub(crate) fn refused(self, words: &str) -> Error {
        let (kind, message) = meaning(words);
        self.error(kind, message)
            .with_source(Words(words.to_owned()))
    }

    pub(crate) fn not_understood(self) -> Error {
        let message = "its answer was not understood; is it Memcached?";
        self.error(ErrorKind::InvalidConfig, message)
    }

    pub(crate) fn no_answer(self) -> Error {
        let message = match self.config.tls {
            true => "it does not answer; is TLS spoken at that port?",
            false => "it does not answer",
        };
        self.error(ErrorKind::Unavailable, message)
    }

    pub(crate) fn lost(self, why: &Why) -> Error {
        match why {
            Why::Io(error) => self.io(error),
            Why::Closed => self.closed(),
            Why::Silent(_) => self.no_answer(),
            Why::Said(words) => self.refused(words),
            Why::Garbled => self.not_understood(),
            Why::Runtime => self.error(ErrorKind::Unavailable, RUNTIME),
        }
    }

    pub(crate) fn io(self, error: &Arc<io::Error>) -> Error {
        let tls = error.get_ref().and_then(|source| source.downcast_ref());
        let problem = match tls {
            Some(error) => self.error(ErrorKind::InvalidConfig, of_tls(error)),
            None if is_closed(error) => self.closed(),
            None => self.error(ErrorKind::Unavailable, "it cannot be reached"),
        };
        problem.with_source(Arc::clone(error))
    }

    fn closed(self) -> Error {
        let message = match self.config.tls {
            true => "it closes the connection; is TLS spoken at that port?",
            false => "it closes the connection; where it speaks TLS, use `memcacheds://`",
        };
        self.error(ErrorKind::Unavailable, message)
    }
}

const RUNTIME: &str = "the tokio runtime on which it was made has ended";

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    )
}

fn of_tls(error: &TlsError) -> &'static str {
    use rustls::AlertDescription::{CertificateRequired, HandshakeFailure};
    match error {
        TlsError::InvalidCertificate(_) => {
            "its certificate is not valid for this host, or of an authority that is not trusted: `ca` names another"
        }
        TlsError::AlertReceived(CertificateRequired | HandshakeFailure) => {
            "it wants a client certificate: `client_cert` and `client_key`"
        }
        _ => "no TLS could be agreed on; is TLS spoken at that port?",
    }
}
