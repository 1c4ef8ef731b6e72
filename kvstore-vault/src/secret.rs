//! What a secret holds: `{"value": …}`, its expiry beside it.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kvstore_core::{Bytes, Error, ErrorKind, Format, Result};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;
use zeroize::{Zeroize as _, Zeroizing};

use crate::json;
use crate::time::Moment;

/// The members of a secret that mean something here; others are for others.
#[derive(Deserialize)]
pub(crate) struct Secret<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    value: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    json: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    expires_at: Option<&'a RawValue>,
}

/// Tells `null` from nothing.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Secret<'_> {
    /// Whether it says that there is nothing: `{"value": null}`.
    pub(crate) fn is_tombstone(&self) -> bool {
        self.value.is_some_and(is_null)
    }

    /// When it expires.
    pub(crate) fn expires_at(&self) -> Result<Option<Moment>> {
        let Some(raw) = self.expires_at.filter(|raw| !is_null(raw)) else {
            return Ok(None);
        };
        let text: Option<Cow<'_, str>> = serde_json::from_str(raw.get()).ok();
        let moment = text.and_then(|text| Moment::from_text(&text));
        moment.map(Some).ok_or_else(|| {
            not_of_the_form("the secret's `expires_at` is not a date and time as RFC 3339 has them")
        })
    }

    /// The value, from the form in which this format is kept.
    pub(crate) fn value(&self, format: Format) -> Result<Bytes> {
        let value = self
            .value
            .ok_or_else(|| not_of_the_form("the secret has no member `value`"))?;
        let decoded = match format {
            Format::Binary => {
                let text = text(value).ok_or_else(|| not_of_the_form(NOT_BASE64))?;
                let decoded = STANDARD.decode(text.as_bytes());
                Zeroizing::new(decoded.map_err(|_| not_of_the_form(NOT_BASE64))?)
            }
            Format::Text => {
                let text = text(value)
                    .ok_or_else(|| not_of_the_form("the secret's `value` is not text"))?;
                Zeroizing::new(text.as_bytes().to_vec())
            }
            Format::Json => match self.exact(value) {
                Some(text) => Zeroizing::new(text.as_bytes().to_vec()),
                None => Zeroizing::new(value.get().as_bytes().to_vec()),
            },
            _ => return Err(unknown_format()),
        };
        Ok(Bytes::from_owner(decoded))
    }

    /// The text in `json`, where that is what Vault rounded to `value`. It may be a leftover beside a value
    /// that somebody else changed.
    fn exact(&self, value: &RawValue) -> Option<Text<'_>> {
        let exact = text(self.json?)?;
        let same = json::same_rounded(&parse(&exact)?, &parse(value.get())?);
        same.then_some(exact)
    }
}

const NOT_BASE64: &str = "the secret's `value` is not bytes as base64";

fn is_null(raw: &RawValue) -> bool {
    raw.get() == "null"
}

fn parse(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

/// A JSON string's text, which is overwritten when it is no longer needed, where it is a copy.
struct Text<'a>(Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for Text<'_> {
    fn drop(&mut self) {
        if let Cow::Owned(text) = &mut self.0 {
            text.zeroize();
        }
    }
}

fn text(raw: &RawValue) -> Option<Text<'_>> {
    #[derive(Deserialize)]
    struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);

    let Borrowed(text) = serde_json::from_str(raw.get()).ok()?;
    Some(Text(text))
}

/// What is stored is something else than what is asked for.
fn not_of_the_form(message: &'static str) -> Error {
    Error::new(ErrorKind::Decode, message)
}

fn unknown_format() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "this release does not know that format",
    )
}

/// Text that holds a secret, to be sent: overwritten when it was.
pub(crate) struct Body {
    text: Zeroizing<Vec<u8>>,
    /// How much longer Vault's own writing of it is.
    longer: usize,
}

impl Body {
    /// The members that say there is nothing.
    pub(crate) fn tombstone() -> Self {
        Self::begin(br#"{"value":null"#, 0)
    }

    /// The members for a value.
    pub(crate) fn new(format: Format, value: &[u8]) -> Result<Self> {
        const BEGIN: &[u8] = br#"{"value":"#;
        let mut body;
        match format {
            Format::Binary => {
                let len = value.len().div_ceil(3).saturating_mul(4);
                body = Self::begin(BEGIN, len + 2);
                body.text.push(b'"');
                let from = body.text.len();
                body.text.resize(from + len, 0);
                let written = STANDARD.encode_slice(value, &mut body.text[from..]);
                body.text.truncate(from + written.map_err(|_| too_large())?);
                body.text.push(b'"');
            }
            Format::Text => {
                let text = std::str::from_utf8(value).map_err(|source| {
                    Error::new(ErrorKind::InvalidValue, "the value is not UTF-8")
                        .with_source(source)
                })?;
                body = Self::begin(BEGIN, json::string_len(text));
                body.push_string(text);
            }
            Format::Json => {
                let raw: &RawValue = serde_json::from_slice(value).map_err(|_| {
                    Error::new(ErrorKind::InvalidValue, "the value is not JSON text")
                })?;
                let rounds = json::is_rounded(raw.get());
                let more = if rounds {
                    json::string_len(raw.get())
                } else {
                    0
                };
                body = Self::begin(BEGIN, raw.get().len() + more);
                body.longer += json::longer(raw.get());
                body.text.extend_from_slice(raw.get().as_bytes());
                if rounds {
                    body.text.extend_from_slice(br#","json":"#);
                    body.push_string(raw.get());
                }
            }
            _ => return Err(unknown_format()),
        }
        Ok(body)
    }

    /// Room enough that it never grows: what grows leaves a copy behind.
    fn begin(begin: &[u8], more: usize) -> Self {
        let mut text = Zeroizing::new(Vec::with_capacity(WRAPPED.len() + more + 128));
        text.extend_from_slice(WRAPPED);
        text.extend_from_slice(begin);
        Self { text, longer: 0 }
    }

    fn push_string(&mut self, text: &str) {
        let from = self.text.len();
        json::push_string(&mut self.text, text);
        self.longer += json::longer(str::from_utf8(&self.text[from..]).unwrap_or_default());
    }

    /// Ends it: with its expiry, and the version that there must be.
    pub(crate) fn finish(
        mut self,
        expires_at: Option<Moment>,
        cas: Option<u64>,
        limit: usize,
    ) -> Result<Bytes> {
        if let Some(moment) = expires_at {
            let expires_at = format!(r#","{EXPIRES_AT}":"{}""#, date(moment)?);
            self.text.extend_from_slice(expires_at.as_bytes());
        }
        self.text.push(b'}');
        let len = self.text.len() - WRAPPED.len() + self.longer;
        if len > limit {
            let message = format!(
                "the value has {len} bytes in the form that Vault keeps; the limit, `max_value_len`, is {limit}"
            );
            return Err(Error::new(ErrorKind::ValueTooLarge, message));
        }
        if let Some(cas) = cas {
            let options = format!(r#","options":{{"cas":{cas}}}"#);
            self.text.extend_from_slice(options.as_bytes());
        }
        self.text.push(b'}');
        Ok(Bytes::from_owner(self.text))
    }
}

const WRAPPED: &[u8] = br#"{"data":"#;
const EXPIRES_AT: &str = "expires_at";

/// The text that changes nothing but the expiry.
pub(crate) fn expiry(expires_at: Option<Moment>, cas: u64) -> Result<Bytes> {
    let value = match expires_at {
        Some(moment) => format!("\"{}\"", date(moment)?),
        None => "null".to_owned(),
    };
    let text = format!(r#"{{"data":{{"{EXPIRES_AT}":{value}}},"options":{{"cas":{cas}}}}}"#);
    Ok(text.into())
}

fn date(moment: Moment) -> Result<String> {
    moment.to_text().ok_or_else(|| {
        let message = "the time to live ends after the year 9999";
        Error::new(ErrorKind::InvalidTtl, message)
    })
}

fn too_large() -> Error {
    ErrorKind::ValueTooLarge.into()
}
