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
        Some(_) => (
            ErrorKind::InvalidConfig,
            "no TLS could be agreed on; is TLS spoken at that port? Without it, the scheme is `s3+http`",
        ),
        None => (ErrorKind::Unavailable, "it cannot be reached"),
    };
    Error::new(kind, format!("no connection to {base}: {message}")).with_source(error)
}

/// A connection ended before the answer was there.
pub(crate) fn lost(error: impl StdError + Send + Sync + 'static, writes: bool) -> Error {
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
    /// The word that S3 has for it; what it says beside names the object.
    code: String,
    writes: bool,
}

impl Refusal {
    pub(crate) fn new(answer: &Answer, ask: &Ask) -> Self {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Words {
            code: String,
        }
        let words = str::from_utf8(&answer.body).unwrap_or_default();
        let code = match quick_xml::de::from_str(words) {
            Ok(Words { code }) => code,
            // A proxy's, or a page for people.
            Err(_) if words.contains(PLAIN_TO_TLS) => PLAIN_TO_TLS.to_owned(),
            Err(_) => String::new(),
        };
        Self::of_code(answer.status, code, ask.writes)
    }

    /// One of the errors in an answer to many things.
    pub(crate) fn of_item(code: String) -> Self {
        // The status that it would have by itself.
        let status = match code.as_str() {
            "AccessDenied" => StatusCode::FORBIDDEN,
            "NoSuchKey" => StatusCode::NOT_FOUND,
            "SlowDown" | "ServiceUnavailable" => StatusCode::SERVICE_UNAVAILABLE,
            "InternalError" => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::of_code(status, code, true)
    }

    fn of_code(status: StatusCode, mut code: String, writes: bool) -> Self {
        // A word and nothing that may be of the request.
        let is_word = |char: char| char.is_ascii_alphanumeric() || ". ".contains(char);
        if code.len() > 64 || !code.chars().all(is_word) {
            code.clear();
        }
        Self {
            status,
            code,
            writes,
        }
    }

    /// There is no such object, which is not that there is no such bucket.
    pub(crate) fn is_missing(&self) -> bool {
        self.status == StatusCode::NOT_FOUND && self.code == "NoSuchKey"
    }

    /// A condition does not hold.
    pub(crate) fn is_unmet(&self) -> bool {
        // Some servers answer 304, as they would to a read.
        matches!(
            self.status,
            StatusCode::PRECONDITION_FAILED | StatusCode::NOT_MODIFIED
        )
    }

    /// Another write under a condition was under way: nothing was done, and it may be asked again.
    pub(crate) fn is_conflict(&self) -> bool {
        self.status == StatusCode::CONFLICT
            && matches!(
                self.code.as_str(),
                "ConditionalRequestConflict" | "OperationAborted"
            )
    }

    /// The server does not know what was asked for.
    pub(crate) fn is_unknown(&self) -> bool {
        sentence(self).0 == ErrorKind::Unsupported
    }

    /// The credentials are those of a user who lacks a right.
    pub(crate) fn is_of_a_right(&self) -> bool {
        sentence(self).0 == ErrorKind::PermissionDenied
    }

    /// As an error of a kind that the caller knows better.
    pub(crate) fn into_error(self, kind: ErrorKind, message: &'static str) -> Error {
        Error::new(kind, message).with_source(self)
    }
}

const PLAIN_TO_TLS: &str = "Client sent an HTTP request to an HTTPS server";

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP status {}", self.status.as_u16())?;
        match self.code.is_empty() {
            true => Ok(()),
            false => write!(f, ", {}", self.code),
        }
    }
}

impl StdError for Refusal {}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let (kind, message) = sentence(&refusal);
        // What the server did before it failed is not known.
        let failed = refusal.status.is_server_error() && kind == ErrorKind::Unavailable;
        let unknown = refusal.writes && failed;
        unknown_if(unknown, refusal.into_error(kind, message))
    }
}

fn sentence(refusal: &Refusal) -> (ErrorKind, &'static str) {
    match refusal.code.as_str() {
        "NoSuchBucket" => return (ErrorKind::InvalidConfig, "the server has no such bucket"),
        "InvalidBucketName" => return (ErrorKind::InvalidConfig, "no bucket can have this name"),
        "PermanentRedirect" | "TemporaryRedirect" | "IllegalLocationConstraintException" => {
            return (ErrorKind::InvalidConfig, ELSEWHERE);
        }
        "AuthorizationHeaderMalformed" | "InvalidRegion" => {
            return (
                ErrorKind::InvalidConfig,
                "requests are signed for another region than the bucket's: `region` sets it",
            );
        }
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "InvalidToken"
        | "InvalidSecurity"
        | "MissingSecurityHeader"
        | "NotSignedUp" => {
            return (
                ErrorKind::Unauthenticated,
                "the server refused the access key",
            );
        }
        "ExpiredToken" | "TokenRefreshRequired" => {
            return (
                ErrorKind::Unauthenticated,
                "the session token has ended; give a new one",
            );
        }
        "RequestTimeTooSkewed" | "RequestExpired" => {
            return (
                ErrorKind::Unauthenticated,
                "this machine's clock and the server's are too far apart",
            );
        }
        "InvalidObjectState" => {
            return (
                ErrorKind::Other,
                "the object was moved to an archive, and must be restored before it can be read",
            );
        }
        "RequestTimeout" => return (ErrorKind::Timeout, TOO_LATE),
        "NotImplemented" | "MethodNotAllowed" => return (ErrorKind::Unsupported, UNKNOWN),
        "EntityTooLarge" | "MaxMessageLengthExceeded" => {
            return (
                ErrorKind::ValueTooLarge,
                "the value is larger than the server takes",
            );
        }
        "KeyTooLongError" => {
            return (
                ErrorKind::InvalidKey,
                "the object's name is longer than the server takes",
            );
        }
        "SlowDown"
        | "SlowDownRead"
        | "SlowDownWrite"
        | "TooManyRequests"
        | "RequestLimitExceeded" => {
            return (ErrorKind::Busy, "the server asks to slow down");
        }
        "QuotaExceeded" | "InsufficientStorage" | "XMinioStorageFull" => {
            return (ErrorKind::StorageFull, "the server has no room");
        }
        PLAIN_TO_TLS => {
            return (
                ErrorKind::InvalidConfig,
                "the server speaks TLS at that port: use the scheme `s3`",
            );
        }
        _ => {}
    }
    match refusal.status.as_u16() {
        301..=308 => (ErrorKind::InvalidConfig, ELSEWHERE),
        401 => (ErrorKind::Unauthenticated, "the server wants credentials"),
        403 => (
            ErrorKind::PermissionDenied,
            "the credentials lack a right; the README lists what is needed",
        ),
        404 => (
            ErrorKind::InvalidConfig,
            "what answers there does not answer as S3 does; look at the host and the port",
        ),
        405 | 501 => (ErrorKind::Unsupported, UNKNOWN),
        408 => (ErrorKind::Timeout, TOO_LATE),
        409 => (
            ErrorKind::Busy,
            "the server is busy with another request for the same object",
        ),
        413 => (
            ErrorKind::ValueTooLarge,
            "the value is larger than the server takes",
        ),
        429 => (ErrorKind::Busy, "the server asks to slow down"),
        507 => (ErrorKind::StorageFull, "the server has no room"),
        500..=599 => (
            ErrorKind::Unavailable,
            "the server cannot serve the request now",
        ),
        _ => (ErrorKind::Other, "the server refused the request"),
    }
}

const UNKNOWN: &str = "the server does not know this request";

const TOO_LATE: &str = "the server waited too long for the request";

const ELSEWHERE: &str =
    "the bucket is at another address, which is that of its region: give that as the host";

/// An answer that is not of the form it should be. What the parser says is not shown, as it may quote what it
/// read.
pub(crate) fn not_understood() -> Error {
    Error::new(
        ErrorKind::Other,
        "the server's answer was not understood; does it speak S3?",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, Method};

    fn refusal(status: u16, text: &str, writes: bool) -> Refusal {
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: text.to_owned().into(),
        };
        let mut ask = Ask::read(Method::GET, String::new());
        ask.writes = writes;
        Refusal::new(&answer, &ask)
    }

    fn xml(code: &str) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>on hunter2</Message><Key>hunter2</Key></Error>"
        )
    }

    #[test]
    fn the_servers_words_have_kinds() {
        for (status, code, kind) in [
            (404, "NoSuchBucket", ErrorKind::InvalidConfig),
            (404, "", ErrorKind::InvalidConfig),
            (301, "PermanentRedirect", ErrorKind::InvalidConfig),
            (307, "", ErrorKind::InvalidConfig),
            (
                400,
                "AuthorizationHeaderMalformed",
                ErrorKind::InvalidConfig,
            ),
            (403, "InvalidAccessKeyId", ErrorKind::Unauthenticated),
            (403, "SignatureDoesNotMatch", ErrorKind::Unauthenticated),
            (400, "ExpiredToken", ErrorKind::Unauthenticated),
            (403, "RequestTimeTooSkewed", ErrorKind::Unauthenticated),
            (401, "", ErrorKind::Unauthenticated),
            (403, "AccessDenied", ErrorKind::PermissionDenied),
            (403, "", ErrorKind::PermissionDenied),
            (400, "EntityTooLarge", ErrorKind::ValueTooLarge),
            (413, "", ErrorKind::ValueTooLarge),
            (400, "KeyTooLongError", ErrorKind::InvalidKey),
            (503, "SlowDown", ErrorKind::Busy),
            (429, "", ErrorKind::Busy),
            (409, "ConditionalRequestConflict", ErrorKind::Busy),
            (507, "", ErrorKind::StorageFull),
            (501, "NotImplemented", ErrorKind::Unsupported),
            (400, "NotImplemented", ErrorKind::Unsupported),
            (405, "MethodNotAllowed", ErrorKind::Unsupported),
            (405, "", ErrorKind::Unsupported),
            (403, "InvalidObjectState", ErrorKind::Other),
            (400, "RequestTimeout", ErrorKind::Timeout),
            (500, "InternalError", ErrorKind::Unavailable),
            (503, "ServiceUnavailable", ErrorKind::Unavailable),
            (502, "", ErrorKind::Unavailable),
            (400, "MalformedXML", ErrorKind::Other),
            (418, "", ErrorKind::Other),
        ] {
            let error = Error::from(refusal(status, &xml(code), false));
            assert_eq!(error.kind(), kind, "{status} {code}");
            assert!(!error.outcome_unknown());
        }
    }

    #[test]
    fn what_failed_in_the_server_may_have_been_done() {
        let unknown =
            |status, code| Error::from(refusal(status, &xml(code), true)).outcome_unknown();
        assert!(unknown(500, "InternalError") && unknown(502, "") && unknown(503, ""));
        assert!(!unknown(503, "SlowDown") && !unknown(501, "") && !unknown(507, ""));
        assert!(!unknown(400, "") && !unknown(403, "") && !unknown(409, "") && !unknown(412, ""));
        assert!(Error::from(Refusal::of_item("InternalError".to_owned())).outcome_unknown());
        let denied = Refusal::of_item("AccessDenied".to_owned());
        assert_eq!(Error::from(denied).kind(), ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_missing_key_is_no_missing_bucket() {
        assert!(refusal(404, &xml("NoSuchKey"), false).is_missing());
        assert!(!refusal(404, &xml("NoSuchBucket"), false).is_missing());
        assert!(!refusal(404, "<html>Not Found</html>", false).is_missing());
        assert!(!refusal(403, &xml("NoSuchKey"), false).is_missing());
    }

    #[test]
    fn nothing_of_the_request_is_shown() {
        for (text, shown) in [
            (xml("AccessDenied"), "HTTP status 403, AccessDenied"),
            (xml("on hunter2/x"), "HTTP status 403"),
            ("<html>hunter2</html>".to_owned(), "HTTP status 403"),
            (String::new(), "HTTP status 403"),
        ] {
            assert_eq!(refusal(403, &text, false).to_string(), shown);
        }
    }
}
