//! What a read answers.

use std::time::Duration;

use kvstore_core::Result;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{RawBsonRef, RawDocument};
use mongodb::raw_batch_cursor::RawBatch;

use crate::error::not_understood;

/// A document, expired or not.
#[derive(Clone, Copy, Default)]
pub(crate) struct Found<'a> {
    pub(crate) id: Option<&'a str>,
    pub(crate) value: Option<RawBsonRef<'a>>,
    pub(crate) version: Option<ObjectId>,
    /// Milliseconds since 1970, by the server's clock both.
    expires_at: Option<i64>,
    now: i64,
}

impl<'a> Found<'a> {
    pub(crate) fn new(document: &'a RawDocument) -> Result<Self> {
        let mut found = Self::default();
        for element in document {
            let (name, value) = element.map_err(|_| not_understood())?;
            match name.as_str() {
                "_id" => found.id = value.as_str(),
                "value" => found.value = Some(value),
                "version" => found.version = value.as_object_id(),
                "expires_at" => {
                    found.expires_at = value.as_datetime().map(|date| date.timestamp_millis())
                }
                "now" => {
                    found.now = value
                        .as_datetime()
                        .ok_or_else(not_understood)?
                        .timestamp_millis()
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// Itself, unless it has expired.
    pub(crate) fn live(self) -> Option<Self> {
        self.expires_at
            .is_none_or(|deadline| deadline > self.now)
            .then_some(self)
    }

    pub(crate) fn expires_in(&self) -> Option<Duration> {
        let left = u64::try_from(self.expires_at? - self.now).unwrap_or_default();
        Some(Duration::from_millis(left))
    }
}

/// Looks at each document of an answer.
pub(crate) fn each<'a>(
    batches: &'a [RawBatch],
    mut look: impl FnMut(&'a RawDocument) -> Result<()>,
) -> Result<()> {
    for batch in batches {
        for document in batch.doc_slices().map_err(|_| not_understood())? {
            let document = document.ok().and_then(RawBsonRef::as_document);
            look(document.ok_or_else(not_understood)?)?;
        }
    }
    Ok(())
}

/// Whether there is a document with an expiry, passed or not.
pub(crate) fn expires(batches: &[RawBatch]) -> Result<bool> {
    let mut expires = false;
    each(batches, |document| {
        expires |= Found::new(document)?.expires_at.is_some();
        Ok(())
    })?;
    Ok(expires)
}

/// The document that was asked for, if it is there and has not expired.
pub(crate) fn first(batches: &[RawBatch]) -> Result<Option<Found<'_>>> {
    let mut first = None;
    each(batches, |document| {
        first = Found::new(document)?.live();
        Ok(())
    })?;
    Ok(first)
}
