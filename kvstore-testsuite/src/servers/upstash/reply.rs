//! What Upstash's REST API answers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::super::resp::Answer;
use super::request::Form;

/// What is sent.
pub(super) type Sent = Response<Full<Bytes>>;

/// The answer to one command.
pub(super) fn single(answer: &Answer, form: Form) -> Sent {
    let status = match answer {
        Answer::Error(_) => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    };
    match form {
        Form::Resp2 => resp2(status, std::slice::from_ref(answer)),
        _ => json(status, &item(answer, form)),
    }
}

/// The answers to several.
pub(super) fn several(answers: &[Answer], form: Form) -> Sent {
    match form {
        Form::Resp2 => resp2(StatusCode::OK, answers),
        _ => json(
            StatusCode::OK,
            &answers.iter().map(|answer| item(answer, form)).collect(),
        ),
    }
}

/// A refusal of a request as a whole.
pub(super) fn refusal(status: StatusCode, words: &str) -> Sent {
    let mut sent = json(status, &json!({ "error": words }));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let allowed = HeaderValue::from_static("HEAD, GET, POST, PUT");
        sent.headers_mut().insert(ALLOW, allowed);
    }
    sent
}

/// This status with this body, as a test told.
pub(super) fn as_told(status: StatusCode, body: String) -> Sent {
    plain(status, "application/json", body.into_bytes())
}

fn item(answer: &Answer, form: Form) -> Value {
    match answer {
        // Not encoded: both of Upstash's clients take it as it is.
        Answer::Error(words) => json!({ "error": words }),
        answer => json!({ "result": value(answer, form) }),
    }
}

fn value(answer: &Answer, form: Form) -> Value {
    let text = |data: &[u8]| match form {
        Form::Base64 => STANDARD.encode(data),
        _ => String::from_utf8_lossy(data).into_owned(),
    };
    match answer {
        Answer::Status(status) if status == "OK" => status.as_str().into(),
        Answer::Status(words) | Answer::Error(words) => text(words.as_bytes()).into(),
        Answer::Integer(number) => (*number).into(),
        Answer::Bulk(None) | Answer::Array(None) => Value::Null,
        Answer::Bulk(Some(data)) => text(data).into(),
        Answer::Array(Some(items)) => items.iter().map(|item| value(item, form)).collect(),
    }
}

fn json(status: StatusCode, body: &Value) -> Sent {
    plain(status, "application/json", body.to_string().into_bytes())
}

fn resp2(status: StatusCode, answers: &[Answer]) -> Sent {
    let mut body = Vec::new();
    answers.iter().for_each(|answer| answer.write(&mut body));
    plain(status, "application/octet-stream", body)
}

fn plain(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Sent {
    let mut sent = Response::new(Full::new(body.into()));
    *sent.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    sent.headers_mut().insert(CONTENT_TYPE, kind);
    sent
}
