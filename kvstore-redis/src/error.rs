//! What the driver and the server say went wrong, as an [`Error`]; the one place that reads it.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use kvstore_core::{Error, ErrorKind};
use redis::{ErrorKind as RedisKind, RedisError, ServerError};
use rustls::AlertDescription;

/// Why a command failed.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The server refused it.
    Refused(Refusal),
    /// The connection was lost before the answer came.
    Cut(Error),
    /// It was not sent, or not answered in time, or not understood.
    Lost(Error),
}

impl Failure {
    /// The code with which the server refused, as `NOPERM`; empty where it did not.
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::Cut(_) | Self::Lost(_) => "",
        }
    }

    pub(crate) fn refused(error: &ServerError) -> Self {
        let details = error.details().unwrap_or_default();
        Self::Refused(Refusal::new(&format!("{} {details}", error.code())))
    }

    /// Reads what the driver said instead of an answer to a command.
    pub(crate) fn cut(error: RedisError, writes: bool) -> Self {
        let lost = match error.kind() {
            // It would show what it did not understand.
            RedisKind::Parse => not_understood(),
            _ => Error::new(
                ErrorKind::Unavailable,
                "the connection was lost before the answer came",
            )
            .with_source(error),
        };
        Self::Cut(unknown(lost, writes))
    }

    pub(crate) fn timed_out(timeout: Duration, writes: bool) -> Self {
        let message = format!("no answer within {timeout:?}");
        Self::Lost(unknown(Error::new(ErrorKind::Timeout, message), writes))
    }
}

/// Says of a write that it may have been applied.
pub(crate) fn unknown(error: Error, writes: bool) -> Error {
    match writes {
        true => error.with_outcome_unknown(),
        false => error,
    }
}

/// An answer of a kind that Redis does not give to this command.
pub(crate) fn not_understood() -> Error {
    Error::new(
        ErrorKind::Other,
        "the server's answer was not understood; is it a Redis server?",
    )
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => refusal.into(),
            Failure::Cut(error) | Failure::Lost(error) => error,
        }
    }
}

/// The server's own words, without what they repeat of the command.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    text: String,
}

impl Refusal {
    pub(crate) fn new(text: &str) -> Self {
        // `ERR unknown command 'X', with args beginning with: 'the key' 'the value'`
        let end = text.find("with args").unwrap_or(text.len());
        Self {
            text: text[..end].trim_end_matches([' ', ',']).to_owned(),
        }
    }

    /// Its first word that is a known code: before Redis 7, an error inside a script comes as
    /// `ERR Error running script …: @user_script:1: WRONGTYPE …`.
    fn code(&self) -> &str {
        let mut words = self
            .text
            .split([' ', ':'])
            .map(|word| word.trim_start_matches('-'));
        let first = words.clone().next().unwrap_or_default();
        words.find(|word| sentence(word).is_some()).unwrap_or(first)
    }

    /// Whether it says more than that it refuses.
    #[cfg(feature = "rest")]
    pub(crate) fn is_known(&self) -> bool {
        Error::from(self.clone()).kind() != ErrorKind::Other
    }

    /// Where a cluster says that the slot is: `MOVED 866 127.0.0.1:7001`.
    pub(crate) fn redirection(&self) -> Option<(u16, &str)> {
        let mut words = self.text.split(' ');
        let slot = words.nth(1)?.parse().ok()?;
        Some((slot, words.next()?))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Refusal {}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let (kind, message) = sentence(refusal.code())
            .or_else(|| by_words(&refusal.text))
            .unwrap_or((ErrorKind::Other, "the server refused the command"));
        Self::new(kind, message).with_source(refusal)
    }
}

/// What has no code of its own.
fn by_words(text: &str) -> Option<(ErrorKind, &'static str)> {
    let said = |words| text.contains(words);
    Some(if said("The user executing the script can't") {
        // What NOPERM is called inside a script.
        (
            ErrorKind::PermissionDenied,
            "the ACL user lacks a right; the README lists what is needed",
        )
    } else if said("max number of clients reached") {
        (
            ErrorKind::Busy,
            "the server has as many clients as it takes",
        )
    } else if ["max request size", "max single record size", "max key size"]
        .into_iter()
        .any(said)
    {
        (
            ErrorKind::ValueTooLarge,
            "the value or the key is over a limit of Upstash",
        )
    } else if said("DB capacity quota exceeded") {
        (ErrorKind::StorageFull, "Upstash's database is full")
    } else if said("max daily request limit") || said("max requests limit") {
        (
            ErrorKind::Busy,
            "Upstash takes no more requests of this database",
        )
    } else if said("max concurrent connections") {
        (ErrorKind::Busy, "Upstash takes no more connections")
    } else if said("invalid bulk length") || said("string exceeds maximum allowed size") {
        (
            ErrorKind::ValueTooLarge,
            "the value is over the server's limit, `proto-max-bulk-len`",
        )
    } else if said("invalid password") {
        // What WRONGPASS was before Redis 6.
        (
            ErrorKind::Unauthenticated,
            "the server refused the password",
        )
    } else if said("DB index is out of range") {
        (
            ErrorKind::InvalidConfig,
            "the server has no database of that number",
        )
    } else if said("cluster support disabled") {
        (
            ErrorKind::InvalidConfig,
            "the server is not part of a cluster: use `redis://`",
        )
    } else if said("No such master with that name") {
        (
            ErrorKind::InvalidConfig,
            "the sentinels know no primary of that name",
        )
    } else {
        return None;
    })
}

fn sentence(code: &str) -> Option<(ErrorKind, &'static str)> {
    Some(match code {
        "WRONGTYPE" => (
            ErrorKind::Decode,
            "the key holds something else than a string",
        ),
        "OOM" => (ErrorKind::StorageFull, "the server is at its `maxmemory`"),
        "READONLY" => (
            ErrorKind::Unavailable,
            "the server is a read-only replica; connect to its primary",
        ),
        "LOADING" => (
            ErrorKind::Unavailable,
            "the server is still loading its data",
        ),
        "MASTERDOWN" => (
            ErrorKind::Unavailable,
            "the server is a replica that has lost its primary",
        ),
        "CLUSTERDOWN" => (ErrorKind::Unavailable, "the cluster is down"),
        "UNBLOCKED" => (
            ErrorKind::Unavailable,
            "the server became a replica while replicas were waited for",
        ),
        "TRYAGAIN" => (ErrorKind::Unavailable, "the key's slot is on its way"),
        "NOREPLICAS" => (
            ErrorKind::Unavailable,
            "the server has too few replicas to take writes",
        ),
        "MISCONF" => (
            ErrorKind::Unavailable,
            "the server cannot save to disk, and takes no writes",
        ),
        "MOVED" | "ASK" | "CROSSSLOT" => (
            ErrorKind::InvalidConfig,
            "the server is part of a cluster: use `redis-cluster://`",
        ),
        "BUSY" => (ErrorKind::Busy, "the server is busy running a script"),
        "NOAUTH" => (ErrorKind::Unauthenticated, "the server wants a password"),
        "WRONGPASS" => (
            ErrorKind::Unauthenticated,
            "the server refused the user name or the password",
        ),
        "NOPERM" => (
            ErrorKind::PermissionDenied,
            "the ACL user lacks a right; the README lists what is needed",
        ),
        "DENIED" => (
            ErrorKind::PermissionDenied,
            "the server is in protected mode, and takes local clients only",
        ),
        _ => return None,
    })
}

/// Why there is no connection to a server.
pub(crate) fn connecting(
    error: impl StdError + Send + Sync + 'static,
    place: impl fmt::Display,
    tls: bool,
) -> Error {
    let (kind, message) = match (tls_error(&error), io_kind(&error)) {
        (Some(rustls::Error::InvalidCertificate(_)), _) => (
            ErrorKind::InvalidConfig,
            "its certificate is not valid for this host, or of an authority that is not trusted: `ca` names another",
        ),
        (Some(rustls::Error::AlertReceived(AlertDescription::CertificateRequired)), _) => (
            ErrorKind::InvalidConfig,
            "it wants a client certificate: `client_cert` and `client_key`",
        ),
        (Some(_), _) => (
            ErrorKind::InvalidConfig,
            "no TLS could be agreed on; is TLS spoken at that port?",
        ),
        (
            None,
            Some(
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof,
            ),
        ) if !tls => (
            ErrorKind::Unavailable,
            "it closes the connection; where it speaks TLS, use `rediss://`",
        ),
        (None, Some(io::ErrorKind::TimedOut)) if tls => (
            ErrorKind::Unavailable,
            "it does not answer; is TLS spoken at that port?",
        ),
        (None, Some(io::ErrorKind::TimedOut)) => (ErrorKind::Unavailable, "it does not answer"),
        _ => (ErrorKind::Unavailable, "it cannot be reached"),
    };
    Error::new(kind, format!("no connection to {place}: {message}")).with_source(error)
}

/// What TLS said, where an error comes from it.
fn tls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

fn io_kind(error: &(dyn StdError + 'static)) -> Option<io::ErrorKind> {
    causes(error).find_map(|cause| match cause.downcast_ref::<RedisError>() {
        Some(error) if error.is_connection_dropped() => Some(io::ErrorKind::BrokenPipe),
        _ => cause.downcast_ref::<io::Error>().map(io::Error::kind),
    })
}

/// An error, and what it comes from.
fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    // The driver's source is a pointer to what it says.
    let plain = |error: &'a (dyn StdError + 'static)| match error.downcast_ref::<Shared>() {
        Some(shared) => &**shared as &'a (dyn StdError + 'static),
        None => error,
    };
    std::iter::successors(Some(plain(error)), move |error| {
        // What an I/O error wraps it does not name as its source.
        let wrapped = error.downcast_ref().and_then(io::Error::get_ref);
        let wrapped = wrapped.map(|wrapped| wrapped as &'a (dyn StdError + 'static));
        wrapped.or_else(|| StdError::source(*error)).map(plain)
    })
}

type Shared = Arc<dyn StdError + Send + Sync>;

#[cfg(test)]
mod tests;
