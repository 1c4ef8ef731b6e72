//! Keys as JSON Lines: what `export` prints and `import` reads.

use std::fmt::Write as _;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kvstore_core::{BoxError, Bytes};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::value::{Kind, compact};

/// A key, its value, and when it expires.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) key: String,
    pub(crate) kind: Kind,
    pub(crate) value: Bytes,
    pub(crate) expires_at: Option<SystemTime>,
}

/// The JSON object of a line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Object {
    key: String,
    #[serde(rename = "type")]
    kind: Kind,
    /// Text as it is, bytes as base64, JSON as itself.
    value: Box<RawValue>,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

impl Line {
    /// Its JSON text, in a line, without what ends it.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>, BoxError> {
        // Its `to_string` would panic at what has no form: from the year 10000 on.
        let time = |at| {
            let mut text = String::new();
            write!(text, "{}", humantime::format_rfc3339_millis(at))
                .map_err(|_| "it expires after the year 9999")?;
            Ok::<_, BoxError>(text)
        };
        let object = Object {
            key: self.key.clone(),
            kind: self.kind,
            value: value_to_json(self.kind, &self.value)?,
            expires_at: self.expires_at.map(time).transpose()?,
        };
        Ok(serde_json::to_vec(&object)?)
    }

    /// Reads it. The error quotes nothing of the text, which may be a secret.
    pub(crate) fn from_json(text: &[u8]) -> Result<Self, String> {
        let object: Object = serde_json::from_slice(text).map_err(|error| {
            let place = error.column();
            format!(
                "it is no JSON object with `key`, `type` (bytes, text or json), `value`, and perhaps `expires_at` \
                 (column {place})"
            )
        })?;
        let text = object.value.get();
        let string = || serde_json::from_str::<String>(text).map_err(|_| "its value is no string");
        let value = match object.kind {
            Kind::Json => text.to_owned().into(),
            Kind::Text => string()?.into(),
            Kind::Bytes => {
                let decoded = BASE64.decode(string()?);
                decoded.map_err(|_| "its value is no base64")?.into()
            }
        };
        let time = |at: String| humantime::parse_rfc3339(&at);
        let expires_at = object.expires_at.map(time).transpose();
        Ok(Self {
            key: object.key,
            kind: object.kind,
            value,
            expires_at: expires_at.map_err(|_| "its `expires_at` is no time in UTC by RFC 3339")?,
        })
    }
}

/// A value as JSON.
pub(crate) fn value_to_json(kind: Kind, value: &Bytes) -> Result<Box<RawValue>, BoxError> {
    Ok(match kind {
        Kind::Json => RawValue::from_string(String::from_utf8(compact(value)?.into())?)?,
        Kind::Text => to_raw_value(std::str::from_utf8(value)?)?,
        Kind::Bytes => to_raw_value(&BASE64.encode(value))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[track_caller]
    fn round_trips(kind: Kind, value: &[u8], text: &str) {
        let line = Line {
            key: "a\n\0\"ü".to_owned(),
            kind,
            value: Bytes::copy_from_slice(value),
            expires_at: Some(UNIX_EPOCH + Duration::from_millis(1_500_000_000_123)),
        };
        let json = line.to_json().unwrap();
        let json = std::str::from_utf8(&json).unwrap();
        let expected = r#""value":VALUE,"expires_at":"2017-07-14T02:40:00.123Z"}"#;
        assert!(json.ends_with(&expected.replace("VALUE", text)), "{json}");
        assert!(!json.contains('\n'));
        assert_eq!(Line::from_json(json.as_bytes()).unwrap(), line);
    }

    #[test]
    fn what_is_written_reads_back() {
        round_trips(Kind::Text, b"", r#""""#);
        round_trips(Kind::Text, "a\nb\"\u{0}ü".as_bytes(), r#""a\nb\"\u0000ü""#);
        round_trips(Kind::Bytes, b"", r#""""#);
        round_trips(Kind::Bytes, b"\xff\x00", r#""/wA=""#);
        for number in [
            "1.0",
            "18446744073709551615",
            "-9223372036854775808",
            "1e300",
        ] {
            let json = Kind::Json;
            let compact = compact(&Bytes::from(number.to_owned())).unwrap();
            round_trips(json, &compact, std::str::from_utf8(&compact).unwrap());
        }
        round_trips(Kind::Json, br#"{"a":[{},"\n"]}"#, r#"{"a":[{},"\n"]}"#);
    }

    #[test]
    fn an_expiry_without_a_form_is_an_error() {
        let last = UNIX_EPOCH + Duration::from_secs(253_402_300_799);
        for (more, has_form) in [(0, true), (1, false), (9_000_000_000_000, false)] {
            let line = Line {
                key: "key".to_owned(),
                kind: Kind::Text,
                value: Bytes::new(),
                expires_at: Some(last + Duration::from_secs(more)),
            };
            assert_eq!(line.to_json().is_ok(), has_form, "{more}");
        }
    }

    #[test]
    fn json_over_many_lines_becomes_one() {
        let value = Bytes::from_static(b"{\n  \"a\": 1\n}");
        let value = value_to_json(Kind::Json, &value).unwrap();
        assert_eq!(value.get(), r#"{"a":1}"#);
    }

    #[test]
    fn what_is_no_line_is_an_error_that_quotes_nothing() {
        for text in [
            "",
            "secret",
            "[]",
            r#"{"key":"secret"}"#,
            r#"{"key":"secret","type":"text"}"#,
            r#"{"key":"secret","type":"secret","value":""}"#,
            r#"{"key":"secret","type":"text","value":7}"#,
            r#"{"key":"secret","type":"bytes","value":"secret!"}"#,
            r#"{"key":"secret","type":"text","value":"","ttl":1}"#,
            r#"{"key":"secret","type":"text","value":"","expires_at":"secret"}"#,
            r#"{"key":"secret","type":"text","value":""} {}"#,
        ] {
            let error = Line::from_json(text.as_bytes()).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
