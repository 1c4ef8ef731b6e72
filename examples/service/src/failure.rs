use std::error::Error as _;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use kvstore_core::{BatchError, Error, ErrorKind};
use serde_json::json;

use crate::say;

/// What a handler answers.
pub type Answer<T = Response> = Result<T, Failure>;

/// An answer that is not what was asked for.
#[derive(Debug)]
pub enum Failure {
    /// The caller's: a status, and what to tell.
    Refused(StatusCode, &'static str),
    /// The store's. Never the answer to a missing key, which is no error.
    Store(Error),
}

impl Failure {
    /// Refuses a request.
    pub fn refused(status: StatusCode, message: &'static str) -> Self {
        Self::Refused(status, message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl<T> From<BatchError<T>> for Failure {
    fn from(error: BatchError<T>) -> Self {
        Self::Store(error.into())
    }
}

/// `{"error": …}`, and `"outcome_unknown": true` where a write may have been done all the same.
impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let error = match self {
            Self::Refused(status, message) => {
                return (status, Json(json!({ "error": message }))).into_response();
            }
            Self::Store(error) => error,
        };
        let (status, message) = match error.kind() {
            ErrorKind::InvalidKey => (StatusCode::BAD_REQUEST, "the name is too long or empty"),
            ErrorKind::InvalidValue | ErrorKind::InvalidTtl => {
                (StatusCode::BAD_REQUEST, "this cannot be stored")
            }
            ErrorKind::ValueTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "this is too large"),
            ErrorKind::Decode => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "what is stored is not of this service",
            ),
            ErrorKind::Unsupported => (
                StatusCode::NOT_IMPLEMENTED,
                "the store of this service cannot do this",
            ),
            // Whether it will pass by itself or not: the caller did nothing wrong, and can only try again.
            _ => (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer"),
        };
        if status.is_server_error() {
            // It names no key, value or password.
            say(&chain(&error));
        }
        let mut body = json!({ "error": message });
        if error.outcome_unknown() {
            body["outcome_unknown"] = true.into();
        }
        let mut response = (status, Json(body)).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// An error with what caused it.
pub(crate) fn chain(error: &Error) -> String {
    let mut chain = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        chain = format!("{chain}: {cause}");
        source = cause.source();
    }
    chain
}
