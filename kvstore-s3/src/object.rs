//! An object as the server gives it: its body, and the metadata beside.

use std::time::Duration;

use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
    CONTENT_RANGE, CONTENT_TYPE, ETAG, EXPIRES,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use kvstore_core::{Bytes, Error, ErrorKind, Expiry, Format, Result, Version};

use crate::http::Answer;
use crate::time::Moment;

/// What metadata of one's own begins with.
const METADATA: &str = "x-amz-meta-";
/// When the object expires.
const EXPIRES_AT: HeaderName = HeaderName::from_static("x-amz-meta-expires_at");
/// A random number, by which who wrote under a condition knows his write again.
const WRITE: HeaderName = HeaderName::from_static("x-amz-meta-kvstore-write");

/// An object that is there.
pub(crate) struct Object {
    headers: HeaderMap,
    /// All of it, or as much as was asked for.
    pub(crate) body: Bytes,
    expires_at: Option<Moment>,
    /// When it was answered.
    now: Moment,
}

impl Object {
    /// Reads an answer; `expires` says whether `expires_at` means anything.
    pub(crate) fn new(answer: Answer, expires: bool) -> Result<Self> {
        let expires_at = match answer.headers.get(EXPIRES_AT) {
            Some(text) if expires => Some(moment(text)?),
            _ => None,
        };
        Ok(Self {
            headers: answer.headers,
            body: answer.body,
            expires_at,
            now: Moment::now(),
        })
    }

    pub(crate) fn is_live(&self) -> bool {
        self.expires_at.is_none() || self.expires_in().is_some()
    }

    pub(crate) fn expires_at(&self) -> Option<Moment> {
        self.expires_at
    }

    /// The time left; `None` where it does not expire.
    pub(crate) fn expires_in(&self) -> Option<Duration> {
        self.expires_at?.until(self.now)
    }

    /// Its version, which it must have.
    pub(crate) fn version(&self) -> Result<Version> {
        version(&self.headers).ok_or_else(|| {
            let message = "the object has no ETag as those of S3 are, so it has no version and no condition can be put on it";
            Error::new(ErrorKind::Other, message)
        })
    }

    /// How long the whole body is.
    pub(crate) fn len(&self) -> Option<usize> {
        let text = |name| self.headers.get(name)?.to_str().ok();
        match text(CONTENT_RANGE) {
            Some(range) => range.rsplit_once('/')?.1.parse().ok(),
            None => text(CONTENT_LENGTH)?.parse().ok(),
        }
    }

    /// The number that the write of it was given.
    pub(crate) fn is_of_write(&self, number: &str) -> bool {
        self.headers
            .get(WRITE)
            .is_some_and(|found| found.as_bytes() == number.as_bytes())
    }

    /// The headers that say again what the object has beside its body, but for its expiry.
    pub(crate) fn metadata(&self) -> Result<HeaderMap> {
        let standard = [
            CACHE_CONTROL,
            CONTENT_DISPOSITION,
            CONTENT_ENCODING,
            CONTENT_LANGUAGE,
            CONTENT_TYPE,
            EXPIRES,
        ];
        let mut metadata = HeaderMap::new();
        for (name, value) in &self.headers {
            let ours = [EXPIRES_AT, WRITE].contains(name);
            let own = name.as_str().starts_with(METADATA) && !ours;
            if !own && !standard.contains(name) {
                continue;
            }
            if str::from_utf8(value.as_bytes()).is_err() {
                let message = "the object has metadata that is not text, and would be lost";
                return Err(Error::new(ErrorKind::Other, message));
            }
            metadata.append(name, value.clone());
        }
        Ok(metadata)
    }
}

fn moment(text: &HeaderValue) -> Result<Moment> {
    let moment = text.to_str().ok().and_then(Moment::from_text);
    moment.ok_or_else(|| {
        let message = "the object's `expires_at` is not a date and time as RFC 3339 has them";
        Error::new(ErrorKind::Decode, message)
    })
}

/// The ETag, a hash of the body, where there is one that a condition can be put on. A weak one is none: something
/// between has changed what it is of.
pub(crate) fn version(headers: &HeaderMap) -> Option<Version> {
    let tag = headers.get(ETAG)?.to_str().ok()?.trim_matches('"');
    Version::new(tag).ok().filter(|_| is_plain(tag))
}

/// The header of a version, unless no object has one like it: a server may make more of `*` or a comma.
pub(crate) fn tag(version: &Version) -> Option<HeaderValue> {
    let text = version.to_string();
    match is_plain(&text) {
        true => HeaderValue::try_from(format!("\"{text}\"")).ok(),
        false => None,
    }
}

fn is_plain(tag: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    tag.bytes().all(plain)
}

/// What is to be written: a body, and the headers that say what it is.
#[derive(Clone)]
pub(crate) struct Content {
    pub(crate) body: Bytes,
    headers: HeaderMap,
}

impl Content {
    /// A new value.
    pub(crate) fn new(format: Format, value: Bytes) -> Result<Self> {
        let kind = match format {
            Format::Binary => "application/octet-stream",
            Format::Text => "text/plain; charset=utf-8",
            Format::Json => "application/json",
            _ => {
                let message = "this release does not know that format";
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
        };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        Ok(Self {
            body: value,
            headers,
        })
    }

    /// What an object has already, to be written again.
    pub(crate) fn again(object: &Object) -> Result<Self> {
        Ok(Self {
            body: object.body.clone(),
            headers: object.metadata()?,
        })
    }

    /// Its headers when it is written now: with its expiry, which may be the one `kept`.
    pub(crate) fn headers(&self, expiry: Expiry, kept: Option<Moment>) -> Result<HeaderMap> {
        let expires_at = match expiry {
            Expiry::Never => None,
            Expiry::After(span) => Some(Moment::now().after(span)),
            Expiry::Keep => kept,
            _ => {
                let message = "this release does not know that expiry";
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
        };
        let mut headers = self.headers.clone();
        if let Some(moment) = expires_at {
            let text = moment.to_text().and_then(|text| text.try_into().ok());
            let text = text.ok_or_else(|| {
                let message = "the time to live ends after the year 9999";
                Error::new(ErrorKind::InvalidTtl, message)
            })?;
            headers.insert(EXPIRES_AT, text);
        }
        Ok(headers)
    }
}

/// Puts a write's number into its headers.
pub(crate) fn number(headers: &mut HeaderMap, number: &str) -> Result<()> {
    let value = HeaderValue::from_str(number).map_err(|_| ErrorKind::Other)?;
    headers.insert(WRITE, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_what_is_between_the_quotes() {
        let mut headers = HeaderMap::new();
        assert!(version(&headers).is_none());
        for text in ["5d41402abc4b2a76b9719d911017c592", "5d41-2", "12345"] {
            headers.insert(ETAG, format!("\"{text}\"").parse().unwrap());
            let found = version(&headers).unwrap();
            assert_eq!(found.to_string(), text);
            assert_eq!(tag(&found).unwrap(), format!("\"{text}\"").as_str());
        }
        for text in ["\"\"", "W/\"5d41\"", "\"a,b\"", "\"*\"", "\"é\""] {
            headers.insert(ETAG, text.parse().unwrap());
            assert!(version(&headers).is_none(), "{text}");
        }
    }

    #[test]
    fn what_no_object_has_is_not_asked_for() {
        for text in ["*", "a,b", "a\\", "W/x"] {
            assert!(tag(&Version::new(text).unwrap()).is_none(), "{text}");
        }
    }

    #[test]
    fn the_type_of_the_content_is_the_formats() {
        for (format, kind) in [
            (Format::Binary, "application/octet-stream"),
            (Format::Text, "text/plain; charset=utf-8"),
            (Format::Json, "application/json"),
        ] {
            let content = Content::new(format, Bytes::new()).unwrap();
            let headers = content.headers(Expiry::Never, None).unwrap();
            assert_eq!(headers.len(), 1);
            assert_eq!(headers[CONTENT_TYPE], kind);
        }
    }
}
