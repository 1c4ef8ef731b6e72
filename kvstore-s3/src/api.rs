//! The requests: each asks one thing of the server.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use kvstore_core::{Bytes, Error, ErrorKind, Result, Version};
use md5::{Digest as _, Md5};
use percent_encoding::percent_decode;
use quick_xml::de::from_str;
use quick_xml::escape::escape;
use serde::Deserialize;

use crate::client::Call;
use crate::error::{Refusal, not_understood};
use crate::http::{Answer, Ask};
use crate::name::{encode, encode_path};
use crate::object::{self, Object};
use crate::server;

/// How many objects a listing names at a time, and how many are deleted by one request.
pub(crate) const PAGE: usize = 1000;

/// What is there.
pub(crate) enum Found {
    Nothing,
    Expired(Object),
    Live(Object),
}

impl Found {
    pub(crate) fn live(self) -> Option<Object> {
        match self {
            Self::Live(object) => Some(object),
            Self::Nothing | Self::Expired(_) => None,
        }
    }
}

/// What must hold for a write.
#[derive(Clone)]
pub(crate) enum Guard {
    /// There is no object.
    Absent,
    /// There is one with this ETag.
    Tag(HeaderValue),
}

impl Guard {
    /// That there is this version; `None` where it is none that an object can have.
    pub(crate) fn version(version: &Version) -> Option<Self> {
        object::tag(version).map(Self::Tag)
    }

    /// That there is still what was found.
    pub(crate) fn object(object: &Object) -> Result<Self> {
        Self::version(&object.version()?).ok_or_else(not_understood)
    }

    fn insert(self, headers: &mut HeaderMap) {
        match self {
            Self::Absent => headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*")),
            Self::Tag(tag) => headers.insert(IF_MATCH, tag),
        };
    }
}

/// One page of a listing.
pub(crate) struct Page {
    pub(crate) objects: Vec<String>,
    /// How to ask for the next one, where there is one.
    pub(crate) next: Option<String>,
}

fn target(object: &str) -> String {
    format!("/{}", encode_path(object))
}

impl Call<'_> {
    /// Reads an object.
    pub(crate) async fn read(&self, object: &str) -> Result<Found> {
        let ask = Ask::value(target(object));
        let answer = self.ask(&ask).await?;
        self.found(answer, &ask)
    }

    /// Reads an object without its body.
    ///
    /// By its first byte, since what is answered to HEAD does not tell a missing key from a missing bucket.
    pub(crate) async fn look(&self, object: &str) -> Result<Found> {
        let mut ask = Ask::value(target(object));
        ask.headers
            .insert(RANGE, HeaderValue::from_static("bytes=0-0"));
        let answer = self.ask(&ask).await?;
        let is_aws = server::product(&answer.headers).0 == "amazons3";
        // An empty one has no first byte, and its metadata is not told with that.
        if answer.status == StatusCode::RANGE_NOT_SATISFIABLE {
            return self.read(object).await;
        }
        match self.found(answer, &ask)? {
            // SeaweedFS answers so to an empty `a` as well, while there is `a/b`; not without the range. A proxy may
            // hide that it is one.
            Found::Nothing if !is_aws => self.head(object).await,
            found => Ok(found),
        }
    }

    /// Reads an object without its body. That it is missing is to be made sure of: no words come with it.
    pub(crate) async fn head(&self, object: &str) -> Result<Found> {
        let ask = Ask::read(Method::HEAD, target(object));
        let answer = self.ask(&ask).await?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(Found::Nothing),
            _ => self.found(answer, &ask),
        }
    }

    fn found(&self, answer: Answer, ask: &Ask) -> Result<Found> {
        if answer.status.is_success() {
            let object = Object::new(answer, self.client.expires)?;
            return Ok(match object.is_live() {
                true => Found::Live(object),
                false => Found::Expired(object),
            });
        }
        let refusal = Refusal::new(&answer, ask);
        match refusal.is_missing() {
            true => Ok(Found::Nothing),
            false => Err(refusal.into()),
        }
    }

    /// Writes an object, whatever is there; the answer is its version, where the server tells it.
    pub(crate) async fn put(
        &self,
        object: &str,
        body: Bytes,
        headers: HeaderMap,
    ) -> Result<Option<Version>> {
        let ask = Ask::write(Method::PUT, target(object), headers, body);
        Ok(object::version(&self.done(&ask).await?.headers))
    }

    /// Writes an object under a condition, and answers whatever comes.
    pub(crate) async fn try_put(
        &self,
        object: &str,
        body: Bytes,
        mut headers: HeaderMap,
        guard: Guard,
    ) -> Result<Result<Answer, Refusal>> {
        guard.insert(&mut headers);
        let ask = Ask::write(Method::PUT, target(object), headers, body);
        self.try_write(&ask).await
    }

    /// Deletes an object, if there is one.
    pub(crate) async fn delete_object(&self, object: &str) -> Result<()> {
        let ask = Ask::write(
            Method::DELETE,
            target(object),
            HeaderMap::new(),
            Bytes::new(),
        );
        match self.try_write(&ask).await? {
            Ok(_) => Ok(()),
            Err(refusal) if refusal.is_missing() => Ok(()),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Deletes an object under a condition, and answers whatever comes.
    pub(crate) async fn try_delete(
        &self,
        object: &str,
        guard: Guard,
    ) -> Result<Result<Answer, Refusal>> {
        let mut headers = HeaderMap::new();
        guard.insert(&mut headers);
        let ask = Ask::write(Method::DELETE, target(object), headers, Bytes::new());
        self.try_write(&ask).await
    }

    async fn try_write(&self, ask: &Ask) -> Result<Result<Answer, Refusal>> {
        let answer = self.ask(ask).await?;
        Ok(match answer.status.is_success() {
            true => Ok(answer),
            false => Err(Refusal::new(&answer, ask)),
        })
    }

    /// Deletes up to [`PAGE`] objects; the answer has those that failed, each with why.
    pub(crate) async fn delete_objects(&self, objects: &[String]) -> Result<Vec<(String, Error)>> {
        const MD5: HeaderName = HeaderName::from_static("content-md5");

        let items = objects
            .iter()
            .map(|object| format!("<Object><Key>{}</Key></Object>", escape(object.as_str())));
        let items: String = items.collect();
        let body = format!(
            "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>{items}</Delete>"
        );
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        // The server insists on it.
        let digest = STANDARD.encode(Md5::digest(&body));
        let digest = HeaderValue::try_from(digest).map_err(|_| ErrorKind::Other)?;
        headers.insert(MD5, digest);
        let ask = Ask::write(Method::POST, "?delete=".to_owned(), headers, body.into());
        let failed = failed(&self.done(&ask).await?).map_err(Error::with_outcome_unknown)?;
        let is_asked = |named: &str| objects.iter().any(|object| is_named(object, named));
        match failed.iter().all(|(named, _)| is_asked(named)) {
            true => Ok(failed),
            false => Err(not_understood().with_outcome_unknown()),
        }
    }

    /// Names the next objects that begin with this.
    pub(crate) async fn list(&self, begin: &str, after: Option<&str>) -> Result<Page> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Listed {
            #[serde(default)]
            is_truncated: bool,
            next_continuation_token: Option<String>,
            encoding_type: Option<String>,
            #[serde(default)]
            contents: Vec<Content>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Content {
            key: String,
        }
        let after = match after {
            Some(token) => format!("continuation-token={}&", encode(token)),
            None => String::new(),
        };
        // Encoded, since what others named may not be possible in XML.
        let target = format!(
            "?{after}encoding-type=url&list-type=2&max-keys={PAGE}&prefix={}",
            encode(begin)
        );
        let answer = self.done(&Ask::read(Method::GET, target)).await?;
        let listed: Listed = parse(&answer, "ListBucketResult")?;
        let encoded = listed.encoding_type.as_deref() == Some("url");
        let name = |content: Content| match encoded {
            true => decode(&content.key),
            // A name that is not UTF-8 is no key's.
            false => Some(content.key),
        };
        let next = listed.next_continuation_token;
        if listed.is_truncated && next.is_none() {
            return Err(not_understood());
        }
        Ok(Page {
            objects: listed.contents.into_iter().filter_map(name).collect(),
            next: next.filter(|_| listed.is_truncated),
        })
    }
}

/// Reads an answer whose outermost element has this name; the parser takes any.
pub(crate) fn parse<T: for<'de> Deserialize<'de>>(answer: &Answer, element: &str) -> Result<T> {
    let text = str::from_utf8(&answer.body).map_err(|_| not_understood())?;
    match text.contains(&format!("<{element}")) {
        true => from_str(text).map_err(|_| not_understood()),
        false => Err(not_understood()),
    }
}

/// Whether an object is the one that an answer names: what reads the answer may have trimmed the name.
pub(crate) fn is_named(object: &str, named: &str) -> bool {
    named.trim() == object.trim()
}

/// What is still there of the objects that were to be deleted together, each with why.
fn failed(answer: &Answer) -> Result<Vec<(String, Error)>> {
    #[derive(Deserialize)]
    struct Deleted {
        #[serde(rename = "Error", default)]
        errors: Vec<Failed>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Failed {
        key: String,
        code: String,
    }
    let deleted: Deleted = parse(answer, "DeleteResult")?;
    let items = deleted.errors.into_iter();
    let items = items.map(|failed| (failed.key, Refusal::of_item(failed.code)));
    // Some servers say so of what was missing before.
    let there = items.filter(|(_, refusal)| !refusal.is_missing());
    Ok(there.map(|(key, refusal)| (key, refusal.into())).collect())
}

/// As a form has it: a plus sign is a space.
fn decode(name: &str) -> Option<String> {
    let spaces = name.replace('+', " ");
    let decoded = percent_decode(spaces.as_bytes()).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_deleted_is_named_and_what_was_missing_is_deleted() {
        let answer = |text: &str| Answer {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: text.to_owned().into(),
        };
        let text = "<?xml version=\"1.0\"?><DeleteResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
            <Error><Key>a&lt;/é</Key><Code>AccessDenied</Code><Message>no</Message></Error>\
            <Deleted><Key>b</Key></Deleted>\
            <Error><Key>c</Key><Code>NoSuchKey</Code><Message>no</Message></Error>\
            <Error><Key>d</Key><Code>InternalError</Code><Message>no</Message></Error></DeleteResult>";
        let failed = failed(&answer(text)).unwrap();
        let failed: Vec<_> = failed
            .iter()
            .map(|(key, error)| (key.as_str(), error.kind(), error.outcome_unknown()))
            .collect();
        let expected = [
            ("a</é", ErrorKind::PermissionDenied, false),
            ("d", ErrorKind::Unavailable, true),
        ];
        assert_eq!(failed, expected);
        assert!(
            super::failed(&answer("<DeleteResult/>"))
                .unwrap()
                .is_empty()
        );
        for text in ["", "<Error><Code>InternalError</Code></Error>", "<html/>"] {
            assert!(super::failed(&answer(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_decoded() {
        for (encoded, name) in [
            ("a/b+c%2B%20%C3%A9", Some("a/b c+ é")),
            ("plain", Some("plain")),
            ("%FF", None),
        ] {
            assert_eq!(decode(encoded).as_deref(), name);
        }
    }
}
