//! What the network and the server say went wrong, as an [`Error`]; the one place that reads it.

use std::error::Error as StdError;
use std::fmt;

use http::StatusCode;
use kvstore_core::{Error, ErrorKind};
use serde::Deserialize;

use crate::http::{Answer, Ask, cause};

/// Why there is no connection to the server.
pub(crate) fn connecting(error: impl StdError + Send + Sync + 'static, base: &str) -> Error {
    let (kind, message) = match cause::<rustls::Error>(&error) {
        Some(rustls::Error::InvalidCertificate(_)) => (
            ErrorKind::InvalidConfig,
            "its certificate is not valid for this host, or of an authority that is not trusted: `ca` names another",
        ),
        Some(rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired)) => {
            (ErrorKind::InvalidConfig, WANTS_CERTIFICATE)
        }
        Some(_) => (
            ErrorKind::InvalidConfig,
            "no TLS could be agreed on; is TLS spoken at that port? Without it, the scheme is `vault+http`",
        ),
        None => (ErrorKind::Unavailable, "it cannot be reached"),
    };
    Error::new(kind, format!("no connection to {base}: {message}")).with_source(error)
}

const WANTS_CERTIFICATE: &str = "it wants a client certificate: `client_cert` and `client_key`";

/// A connection ended before the answer was there.
pub(crate) fn lost(error: impl StdError + Send + Sync + 'static, writes: bool) -> Error {
    // With TLS 1.3 a client learns only after the handshake that the server wants a certificate.
    if let Some(rustls::Error::AlertReceived(_)) = cause::<rustls::Error>(&error) {
        return Error::new(ErrorKind::InvalidConfig, WANTS_CERTIFICATE).with_source(error);
    }
    let message = "the connection was lost before the answer came";
    let lost = Error::new(ErrorKind::Unavailable, message).with_source(error);
    unknown_if(writes, lost)
}

fn unknown_if(unknown: bool, error: Error) -> Error {
    match unknown {
        true => error.with_outcome_unknown(),
        false => error,
    }
}

/// What the server answers in place of what was asked for.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    /// In the server's words, without what they repeat of the request.
    words: String,
    writes: bool,
}

impl Refusal {
    pub(crate) fn new(answer: &Answer, ask: &Ask) -> Self {
        #[derive(Deserialize)]
        struct Errors {
            errors: Vec<String>,
        }
        let words = match serde_json::from_slice(&answer.text) {
            Ok(Errors { errors }) => errors.join("; "),
            // A proxy's, or a page for people: only what is known by heart is kept.
            Err(_) if contains(&answer.text, PLAIN_TO_TLS) => PLAIN_TO_TLS.to_owned(),
            Err(_) => String::new(),
        };
        Self {
            status: answer.status,
            words: redact(&words),
            writes: ask.writes(),
        }
    }

    /// The write was to happen at another version, or at any version that is named.
    pub(crate) fn is_conflict(&self) -> bool {
        self.status == StatusCode::BAD_REQUEST && self.words.contains("check-and-set parameter")
    }

    /// The token is not, or no longer, one; rather than one that lacks a right: then it is `1 error occurred`.
    pub(crate) fn is_of_the_token(&self) -> bool {
        self.status == StatusCode::FORBIDDEN
            && (self.words == "permission denied" || self.words.contains("invalid token"))
    }

    /// The token is one, and lacks a right.
    pub(crate) fn is_of_a_right(&self) -> bool {
        self.status == StatusCode::FORBIDDEN && !self.is_of_the_token()
    }

    pub(crate) fn says(&self, words: &str) -> bool {
        self.words.contains(words)
    }

    /// As an error of a kind that the caller knows better.
    pub(crate) fn into_error(
        self,
        kind: ErrorKind,
        message: impl Into<std::borrow::Cow<'static, str>>,
    ) -> Error {
        Error::new(kind, message).with_source(self)
    }
}

const PLAIN_TO_TLS: &str = "Client sent an HTTP request to an HTTPS server";

fn contains(text: &[u8], words: &str) -> bool {
    text.windows(words.len())
        .any(|window| window == words.as_bytes())
}

/// Leaves out what stands in quotes: paths, which have keys in them.
fn redact(words: &str) -> String {
    let outside = words.split('"').step_by(2);
    outside.collect::<Vec<_>>().join("\"…\"")
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP status {}", self.status.as_u16())?;
        match self.words.is_empty() {
            true => Ok(()),
            false => write!(f, ": {}", self.words.trim()),
        }
    }
}

impl StdError for Refusal {}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let (kind, message) = sentence(&refusal);
        // What the server did before it failed is not known; of a sealed one it is.
        let failed = refusal.status.is_server_error() && !refusal.says("sealed");
        let unknown = refusal.writes && failed && kind != ErrorKind::ValueTooLarge;
        unknown_if(unknown, refusal.into_error(kind, message))
    }
}

fn sentence(refusal: &Refusal) -> (ErrorKind, &'static str) {
    let says = |words| refusal.says(words);
    match refusal.status.as_u16() {
        400 if says("maximum number of strings") => (
            ErrorKind::ValueTooLarge,
            "the value has more strings, names of members included, than the server takes in one request",
        ),
        400 | 413 if says("exceed") || says("too large") => (
            ErrorKind::ValueTooLarge,
            "the value is larger than the server takes",
        ),
        500 if says("value being too large")
            || says("message larger than max")
            || says("entry too large") =>
        {
            (
                ErrorKind::ValueTooLarge,
                "the value is larger than the server's storage takes",
            )
        }
        413 => (
            ErrorKind::ValueTooLarge,
            "the value is larger than the server takes",
        ),
        400 if says(PLAIN_TO_TLS) => (
            ErrorKind::InvalidConfig,
            "the server speaks TLS at that port: use the scheme `vault`",
        ),
        400 => (
            ErrorKind::Other,
            "the server did not understand the request",
        ),
        403 if refusal.is_of_the_token() => {
            (ErrorKind::Unauthenticated, "the server refused the token")
        }
        403 => (
            ErrorKind::PermissionDenied,
            "the token's policies lack a right; the README lists what is needed",
        ),
        404 if says("namespace not found") => (
            ErrorKind::InvalidConfig,
            "the server has no such `namespace`",
        ),
        404 => (
            ErrorKind::InvalidConfig,
            "the server has no secrets engine mounted there; look at `mount` and `namespace`",
        ),
        405 => (
            ErrorKind::InvalidConfig,
            "what is mounted there is no KV version 2 secrets engine",
        ),
        429 => (
            ErrorKind::Busy,
            "the server asks to slow down: a rate limit is reached",
        ),
        412 | 472 | 473 => (ErrorKind::Unavailable, STANDBY),
        301..=308 => (ErrorKind::Unavailable, STANDBY),
        503 if says("sealed") => (ErrorKind::Unavailable, "the server is sealed"),
        500..=599 => (
            ErrorKind::Unavailable,
            "the server cannot serve the request now",
        ),
        _ => (ErrorKind::Other, "the server refused the request"),
    }
}

const STANDBY: &str = "the server is a standby that sends clients elsewhere; give the address of the active one, or of what leads to it";

/// An answer that is not of the API's form. What the parser says is not shown, as it quotes what it read.
pub(crate) fn not_understood(error: &serde_json::Error) -> Error {
    let (line, column) = (error.line(), error.column());
    let message = format!(
        "the server's answer was not understood (line {line} column {column}); is it Vault or OpenBao?"
    );
    Error::new(ErrorKind::Other, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;
    use zeroize::Zeroizing;

    fn refusal(status: u16, text: &str, writes: bool) -> Refusal {
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            text: Zeroizing::new(text.as_bytes().to_vec()),
        };
        let ask = match writes {
            true => Ask::write(Method::POST, String::new(), None),
            false => Ask::read(Method::GET, String::new()),
        };
        Refusal::new(&answer, &ask)
    }

    fn errors(words: &str) -> String {
        serde_json::json!({ "errors": [words] }).to_string()
    }

    #[test]
    fn the_servers_words_have_kinds() {
        for (status, words, kind) in [
            (
                400,
                "refused JSON input due to high complexity: exceeded maximum number of strings",
                ErrorKind::ValueTooLarge,
            ),
            (
                413,
                "http: request body too large",
                ErrorKind::ValueTooLarge,
            ),
            (413, "", ErrorKind::ValueTooLarge),
            (
                500,
                "put failed due to value being too large",
                ErrorKind::ValueTooLarge,
            ),
            (400, "missing data", ErrorKind::Other),
            (403, "permission denied", ErrorKind::Unauthenticated),
            (
                403,
                "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n",
                ErrorKind::Unauthenticated,
            ),
            (
                403,
                "1 error occurred:\n\t* permission denied\n\n",
                ErrorKind::PermissionDenied,
            ),
            (
                404,
                "no handler for route \"x/data/k\". route entry not found.",
                ErrorKind::InvalidConfig,
            ),
            (404, "namespace not found", ErrorKind::InvalidConfig),
            (405, "unsupported operation", ErrorKind::InvalidConfig),
            (
                429,
                "request path \"x\": rate limit quota exceeded",
                ErrorKind::Busy,
            ),
            (472, "", ErrorKind::Unavailable),
            (473, "", ErrorKind::Unavailable),
            (307, "", ErrorKind::Unavailable),
            (500, "internal error", ErrorKind::Unavailable),
            (502, "", ErrorKind::Unavailable),
            (503, "Vault is sealed", ErrorKind::Unavailable),
            (418, "", ErrorKind::Other),
        ] {
            let error = Error::from(refusal(status, &errors(words), false));
            assert_eq!(error.kind(), kind, "{status} {words}");
            assert!(!error.outcome_unknown());
        }
    }

    #[test]
    fn what_failed_in_the_server_may_have_been_done() {
        let unknown =
            |status, words| Error::from(refusal(status, &errors(words), true)).outcome_unknown();
        assert!(unknown(500, "internal error") && unknown(502, ""));
        assert!(!unknown(503, "Vault is sealed"));
        assert!(!unknown(400, "") && !unknown(403, "") && !unknown(429, ""));
        assert!(!unknown(500, "put failed due to value being too large"));
    }

    #[test]
    fn a_conflict_is_told_apart() {
        let conflict = |status, words| refusal(status, &errors(words), true).is_conflict();
        assert!(conflict(
            400,
            "check-and-set parameter did not match the current version"
        ));
        assert!(conflict(
            400,
            "check-and-set parameter required for this call"
        ));
        assert!(!conflict(400, "something else") && !conflict(500, "check-and-set parameter"));
    }

    #[test]
    fn no_path_is_shown() {
        let words =
            r#"no handler for route "secret/data/app/hunter2". route entry "hunter2" not found."#;
        let shown = refusal(404, &errors(words), false).to_string();
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("no handler for route"), "{shown}");
        let shown = refusal(502, "<html>hunter2</html>", false).to_string();
        assert_eq!(shown, "HTTP status 502");
    }
}
