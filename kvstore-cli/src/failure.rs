//! How a command ends: exit codes, and what went wrong.

use std::borrow::Cow;
use std::error::Error as _;
use std::io;
use std::process::ExitCode;

use kvstore_core::{Bytes, Error, ErrorKind};
use serde_json::json;

use crate::output::shown;

/// How a command ended that came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It did what it was asked.
    Done,
    /// The answer is no: the key is missing, a condition did not hold, two stores differ, a rule is broken.
    No,
    /// Some of it failed, which was reported.
    Incomplete,
}

/// The exit codes of the other ends.
const USAGE: u8 = 2;
const FAILED: u8 = 3;
/// As a shell has it for a program that Ctrl-C ended.
pub(crate) const INTERRUPTED: u8 = 130;
/// As a shell has it for a program that nobody reads from any more.
const PIPE: u8 = 141;

impl End {
    pub(crate) fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Done => 0,
            Self::No => 1,
            Self::Incomplete => FAILED,
        })
    }
}

/// Why a command did not come to its end.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// What was asked cannot be.
    Usage(Cow<'static, str>),
    /// A store failed.
    Store(Error),
    /// What was read is wrong, or a file cannot be read or written: what, and why.
    Data(String, String),
    /// Nobody reads what is written.
    Pipe,
    /// Ctrl-C.
    Interrupted,
}

impl Failure {
    pub(crate) fn usage(message: impl Into<Cow<'static, str>>) -> Self {
        Self::Usage(message.into())
    }

    pub(crate) fn io(what: &str, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Pipe,
            _ => Self::Data(what.to_owned(), error.to_string()),
        }
    }

    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Store(error) => match error.kind() {
                // What was asked for is wrong, which was found before the server was asked.
                ErrorKind::InvalidConfig | ErrorKind::InvalidKey | ErrorKind::InvalidTtl => USAGE,
                _ => FAILED,
            },
            Self::Data(..) => FAILED,
            Self::Pipe => PIPE,
            Self::Interrupted => INTERRUPTED,
        }
    }

    /// The failure, but where nobody reads what is written, this end.
    pub(crate) fn unless_pipe(self, end: End) -> Result<End, Self> {
        match self {
            Self::Pipe => Ok(end),
            failure => Err(failure),
        }
    }

    /// What is wrong, in a sentence; `None` where there is nothing to say.
    pub(crate) fn sentence(&self) -> Option<String> {
        match self {
            Self::Usage(message) => Some(message.to_string()),
            Self::Store(error) => {
                let key = error.key().map(|key| format!("key {}: ", shown(key)));
                Some(key.unwrap_or_default() + &sentence(error))
            }
            Self::Data(what, _) => Some(what.clone()),
            Self::Interrupted => Some("interrupted".to_owned()),
            Self::Pipe => None,
        }
    }

    /// Why, from the nearest cause to the farthest.
    pub(crate) fn causes(&self) -> Vec<String> {
        match self {
            Self::Store(error) => causes(error),
            Self::Data(_, why) => vec![why.clone()],
            Self::Usage(_) | Self::Interrupted | Self::Pipe => Vec::new(),
        }
    }

    /// What else is good to know.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Store(error) if error.outcome_unknown() => {
                Some("its answer was lost; the write may have been done")
            }
            Self::Store(error) if error.kind() == ErrorKind::Timeout => {
                Some("the URL can set a longer deadline, as `?timeout=30s`")
            }
            Self::Store(error)
                if error.kind() == ErrorKind::Unsupported && error.operation() == Some("keys") =>
            {
                Some("whole stores can be copied or imported into it, and not out of it")
            }
            _ => None,
        }
    }

    /// For programs.
    pub(crate) fn json(&self) -> serde_json::Value {
        let kind = match self {
            Self::Store(error) => format!("{:?}", error.kind()),
            Self::Usage(_) => "Usage".to_owned(),
            Self::Data(..) => "Data".to_owned(),
            Self::Pipe => "Pipe".to_owned(),
            Self::Interrupted => "Interrupted".to_owned(),
        };
        let mut error =
            json!({ "kind": kind, "message": self.sentence(), "causes": self.causes() });
        if let Self::Store(store) = self {
            error["key"] = json!(store.key());
            error["retryable"] = json!(store.is_retryable());
            error["outcome_unknown"] = json!(store.outcome_unknown());
        }
        json!({ "error": error })
    }

    /// Whether going on with other keys is of no use: the server is away, or lets nobody in.
    pub(crate) fn is_general(&self) -> bool {
        match self {
            Self::Store(error) => {
                error.is_retryable()
                    || matches!(
                        error.kind(),
                        ErrorKind::Closed | ErrorKind::Unauthenticated | ErrorKind::InvalidConfig
                    )
            }
            Self::Data(..) => false,
            Self::Usage(_) | Self::Pipe | Self::Interrupted => true,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// An error's own sentence. The store names the type of its values as Rust does, which is the same for all types
/// here and helps nobody at a terminal.
fn sentence(error: &Error) -> String {
    let name = std::any::type_name::<Bytes>();
    let sentence = error.to_string();
    sentence
        .replace(
            &format!("what is stored is not a {name}"),
            "what is stored is not of the type that `--as` says",
        )
        .replace(
            &format!("the {name} cannot be stored exactly"),
            "the value cannot be stored exactly as the type that `--as` says",
        )
}

fn causes(error: &Error) -> Vec<String> {
    let mut causes = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    causes
}
