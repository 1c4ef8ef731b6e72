//! What stands in the new provider under a key that was deleted.
//!
//! Who copies a key up has read it in the old provider before. If the key is deleted in between, only something
//! that stands in the new one can keep the copy out, since all that a copy can require there is that the key is
//! absent. So a deleted key is replaced by a tombstone, which expires when no copy can be under way any more.
//!
//! It is stored as text, whatever the values are: a delete does not say in which form they are kept.

use std::time::Duration;

use kvstore_core::{
    Bytes, Entry, Error, ErrorKind, Expiry, Format, GetRequest, Key, Outcome, Result, SetRequest,
    Version,
};

use crate::provider::Both;

/// No value is this by accident. It is no base64, so a server that keeps bytes so does not read it as bytes.
const TEXT: &str = "kvstore-fallback: deleted 9f2c61d0-0e0b-4c83-a5d7-5b1c8e7a40f6";

/// How many bytes it takes.
pub(crate) const LEN: usize = TEXT.len();

/// How long it stays unless told: longer than a copy takes from reading a key to writing it.
pub(crate) const KEPT: Duration = Duration::from_secs(60);

/// How often what reads as nothing at all is looked at again: it may be a key that others set and delete meanwhile.
const LOOKS: usize = 5;

/// Whether a value that was read is a tombstone, as text or as JSON.
pub(crate) fn is_tombstone(value: &[u8]) -> bool {
    let unquoted = value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""));
    unquoted.unwrap_or(value) == TEXT.as_bytes()
}

/// What the new provider has under a key.
pub(crate) enum Found {
    Missing,
    /// The tombstone's version.
    Deleted(Version),
    Live(Version, Entry<Bytes>),
    /// A value of another type than asked for, which cannot be read.
    Other(Version, Error),
}

/// What an entry of the new provider is.
fn found(entry: Option<Entry<Bytes>>) -> Result<Found> {
    let Some(entry) = entry else {
        return Ok(Found::Missing);
    };
    let Some(version) = entry.version.clone() else {
        let message = "the new provider claims versions, and gave none";
        return Err(Error::new(ErrorKind::Other, message));
    };
    Ok(match is_tombstone(&entry.value) {
        true => Found::Deleted(version),
        false => Found::Live(version, entry),
    })
}

impl Both {
    /// Writes the tombstone.
    pub(crate) fn tombstone<'a>(&self, key: Key<'a>) -> SetRequest<'a> {
        let text = Bytes::from_static(TEXT.as_bytes());
        SetRequest::new(key, Format::Text, text).with_expiry(Expiry::After(self.tombstones))
    }

    /// Replaces a version by a tombstone.
    pub(crate) async fn bury(&self, key: Key<'_>, version: Version) -> Result<Outcome> {
        let condition = kvstore_core::Condition::Version(version);
        let request = self.tombstone(key).with_condition(condition);
        self.new.set(request).await.map_err(self.new_failed())
    }

    /// Looks in the new provider.
    pub(crate) async fn look(&self, request: GetRequest<'_>) -> Result<Found> {
        match self.new.get_entry(request).await {
            Ok(entry) => found(entry),
            Err(error) => self.look_closer(request, error).await,
        }
    }

    /// Looks again at what did not read as it was asked for: a tombstone, or a value of another store. It may be
    /// replaced between two looks, so it counts as of another type only where nothing was.
    async fn look_closer(&self, request: GetRequest<'_>, mut error: Error) -> Result<Found> {
        // The version that was there at the last look, and how often it read as nothing at all.
        let (mut before, mut unreadable) = (None, 0);
        loop {
            if error.kind() != ErrorKind::Decode {
                return Err(self.new_failed()(error));
            }
            match self.as_another_type(request).await? {
                Some(Found::Live(version, _)) if before.as_ref() == Some(&version) => {
                    return Ok(Found::Other(version, error));
                }
                Some(Found::Live(version, _)) => before = Some(version),
                Some(found) => return Ok(found),
                // Without a version nothing tells that it was the same at all looks.
                None if unreadable == LOOKS => return Err(error),
                None => unreadable += 1,
            }
            error = match self.new.get_entry(request).await {
                Ok(entry) => return found(entry),
                Err(error) => error,
            };
        }
    }

    /// Reads a value as what it may be beside what was asked for; `None` where it is nothing that can be read.
    async fn as_another_type(&self, request: GetRequest<'_>) -> Result<Option<Found>> {
        // All that is not bytes reads as JSON.
        for format in [Format::Json, Format::Binary] {
            if format == request.format {
                continue;
            }
            let asked = GetRequest::new(request.key, format);
            match self.new.get_entry(asked).await {
                Ok(entry) => return found(entry).map(Some),
                Err(error) if error.kind() == ErrorKind::Decode => {}
                Err(error) => return Err(self.new_failed()(error)),
            }
        }
        Ok(None)
    }

    /// Reads the value in the new provider alone: `None` where there is nothing, `Some(None)` where the key was
    /// deleted.
    pub(crate) async fn read_new(&self, request: GetRequest<'_>) -> Result<Option<Option<Bytes>>> {
        self.judge(request, self.new.get(request).await).await
    }

    /// What a value that was read in the new provider means.
    pub(crate) async fn judge(
        &self,
        request: GetRequest<'_>,
        answer: Result<Option<Bytes>>,
    ) -> Result<Option<Option<Bytes>>> {
        match answer {
            Ok(value) => Ok(value.map(|value| Some(value).filter(|value| !is_tombstone(value)))),
            Err(error) => Ok(match self.look_closer(request, error).await? {
                Found::Missing => None,
                Found::Deleted(_) => Some(None),
                Found::Live(_, entry) => Some(Some(entry.value)),
                Found::Other(_, error) => return Err(error),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tombstone_is_known_as_text_and_as_json() {
        assert!(is_tombstone(TEXT.as_bytes()));
        assert!(is_tombstone(format!("\"{TEXT}\"").as_bytes()));
        for other in ["", "\"", "\"\"", "x", &TEXT[1..], &format!("\"{TEXT}")] {
            assert!(!is_tombstone(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn a_tombstone_is_no_base64() {
        assert!(TEXT.contains([' ', ':']));
    }
}
