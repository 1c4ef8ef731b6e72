//! What the driver and the server say went wrong, as an [`Error`]; the one place that reads it.

use std::fmt;
use std::time::Duration;

use fred::error::{Error as FredError, ErrorKind as FredKind};
use kvstore_core::{Error, ErrorKind};

use crate::RedisConfig;

/// Why a command failed.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The server refused it.
    Refused(Refusal),
    /// There is no answer.
    Lost(Error),
}

impl Failure {
    /// The code with which the server refused, as `NOPERM`; empty where it did not.
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::Lost(_) => "",
        }
    }

    /// Reads what came instead of an answer to a command.
    pub(crate) fn new(error: FredError, writes: bool, timeout: Duration) -> Self {
        if is_refusal(&error) {
            return Self::Refused(Refusal::new(&error, writes));
        }
        // With one attempt a write, this is said of commands that never had a connection.
        let unsent = matches!(error.details(), "Failed to route command." | NO_TASK);
        let (kind, message) = match error.kind() {
            FredKind::Timeout => (
                ErrorKind::Timeout,
                format!("no answer within {timeout:?}").into(),
            ),
            FredKind::Protocol | FredKind::Parse => (
                ErrorKind::Other,
                "the server's answer was not understood; is it a Redis server?".into(),
            ),
            _ if error.details() == NO_TASK => (
                ErrorKind::Unavailable,
                "the connection's task has ended; nothing was sent".into(),
            ),
            _ if unsent => (
                ErrorKind::Unavailable,
                "the connection was lost; nothing was sent".into(),
            ),
            _ => (
                ErrorKind::Unavailable,
                std::borrow::Cow::from("the connection was lost before the answer came"),
            ),
        };
        let lost = Error::new(kind, message).with_source(error);
        Self::Lost(match writes && !unsent {
            true => lost.with_outcome_unknown(),
            false => lost,
        })
    }
}

/// What fred says when nobody takes its commands any more.
const NO_TASK: &str = "Failed to send command to router.";

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => refusal.into(),
            Failure::Lost(error) => error,
        }
    }
}

/// The server's own words, without what they repeat of the command.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    text: String,
    writes: bool,
}

impl Refusal {
    fn new(error: &FredError, writes: bool) -> Self {
        // `ERR unknown command 'X', with args beginning with: 'the key' 'the value'`
        let text = error.details();
        let end = text.find("with args").unwrap_or(text.len());
        Self {
            text: text[..end].trim_end_matches([' ', ',']).to_owned(),
            writes,
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
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let code = refusal.code();
        let (kind, message) = sentence(code).unwrap_or_else(|| {
            let said = |words| refusal.text.contains(words);
            if said("The user executing the script can't") {
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
            } else {
                (ErrorKind::Other, "the server refused the command")
            }
        });
        // fred drops the connection on this one, and answers all commands under way with it.
        let unknown = refusal.writes && code == "CLUSTERDOWN";
        let error = Self::new(kind, message).with_source(refusal);
        match unknown {
            true => error.with_outcome_unknown(),
            false => error,
        }
    }
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
            "the server is part of a cluster, which this provider does not speak to",
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

/// Why there is no connection to the server.
pub(crate) fn connecting(error: FredError, config: &RedisConfig) -> Error {
    if is_refusal(&error) {
        return Refusal::new(&error, false).into();
    }
    let said = |words| error.details().contains(words);
    let (kind, message) = if said("InvalidCertificate") {
        (
            ErrorKind::InvalidConfig,
            "its certificate is not valid for this host, or of an authority that is not trusted: `ca` names another",
        )
    } else if said("CertificateRequired") {
        (
            ErrorKind::InvalidConfig,
            "it wants a client certificate: `client_cert` and `client_key`",
        )
    } else if said("AlertReceived") || said("InvalidMessage") || *error.kind() == FredKind::Tls {
        (
            ErrorKind::InvalidConfig,
            "no TLS could be agreed on; is TLS spoken at that port?",
        )
    } else if !config.tls
        && (said("ConnectionReset") || said("BrokenPipe") || said("Connection closed"))
    {
        (
            ErrorKind::Unavailable,
            "it closes the connection; where it speaks TLS, use `rediss://`",
        )
    } else if *error.kind() == FredKind::Timeout && config.tls {
        (
            ErrorKind::Unavailable,
            "it does not answer; is TLS spoken at that port?",
        )
    } else if *error.kind() == FredKind::Timeout {
        (ErrorKind::Unavailable, "it does not answer")
    } else {
        (ErrorKind::Unavailable, "it cannot be reached")
    };
    Error::new(
        kind,
        format!("no connection to {}: {message}", config.address),
    )
    .with_source(error)
}

/// Whether the server said it, and not the driver: the server begins with a code in capitals.
fn is_refusal(error: &FredError) -> bool {
    let by_driver = [
        FredKind::IO,
        FredKind::Timeout,
        FredKind::Tls,
        FredKind::Canceled,
        FredKind::Protocol,
    ];
    let code = error.details().split(' ').next().unwrap_or_default();
    !by_driver.contains(error.kind())
        && code.len() > 1
        && code.bytes().all(|byte| byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests;
