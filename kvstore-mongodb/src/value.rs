//! Values in the form that MongoDB keeps natively: Binary, string, or whatever BSON has for JSON.

use kvstore_core::{Bytes, Error, ErrorKind, Format, Result};
use mongodb::bson::RawBsonRef;
use mongodb::bson::spec::BinarySubtype;

use crate::json::{self, Payload};
use crate::raw::Writer;

/// A value that is ready to be sent.
pub(crate) enum Encoded {
    Binary(Bytes),
    Text(Bytes),
    Json(Payload),
}

impl Encoded {
    pub(crate) fn new(format: Format, value: Bytes, limit: usize) -> Result<Self> {
        let encoded = match format {
            Format::Binary => Self::Binary(value),
            Format::Text => match str::from_utf8(&value) {
                Ok(_) => Self::Text(value),
                Err(_) => return Err(Error::new(ErrorKind::InvalidValue, "the text is not UTF-8")),
            },
            Format::Json => match json::to_bson(&value) {
                Ok(payload) => Self::Json(payload),
                Err(problem) => return Err(Error::new(ErrorKind::InvalidValue, problem)),
            },
            _ => {
                let message = "this release does not know that format";
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
        };
        if encoded.len() > limit {
            let message = format!(
                "the value has {} bytes as BSON; the limit is {limit}",
                encoded.len()
            );
            return Err(Error::new(ErrorKind::ValueTooLarge, message));
        }
        Ok(encoded)
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Binary(value) | Self::Text(value) => value.len(),
            Self::Json(payload) => payload.bytes.len(),
        }
    }

    pub(crate) fn write(&self, document: &mut Writer, name: &str) {
        match self {
            Self::Binary(value) => document.binary(name, value),
            Self::Text(value) => document.text(name, value),
            Self::Json(payload) => document.payload(name, payload.kind, &payload.bytes),
        }
    }
}

/// Reads a stored value as the codec's bytes, copying it once.
pub(crate) fn decode(format: Format, value: Option<RawBsonRef<'_>>) -> Result<Bytes> {
    let decode = |message| Error::new(ErrorKind::Decode, message);
    let Some(value) = value else {
        return Err(decode("the document has no field `value`"));
    };
    match (format, value) {
        (Format::Binary, RawBsonRef::Binary(binary))
            if matches!(
                binary.subtype,
                BinarySubtype::Generic | BinarySubtype::BinaryOld
            ) =>
        {
            Ok(Bytes::copy_from_slice(binary.bytes))
        }
        (Format::Binary, _) => Err(decode(
            "the field `value` is no BSON Binary: no bytes are stored here",
        )),
        (Format::Text, RawBsonRef::String(text)) => Ok(Bytes::copy_from_slice(text.as_bytes())),
        (Format::Text, _) => Err(decode(
            "the field `value` is no BSON string: no text is stored here",
        )),
        (Format::Json, RawBsonRef::Binary(_) | RawBsonRef::Null) => Err(decode(
            "the field `value` is Binary or null: no JSON is stored here",
        )),
        (Format::Json, value) => match json::to_json(value) {
            Ok(text) => Ok(text.into()),
            Err(problem) => Err(decode("the field `value` has no JSON form").with_source(problem)),
        },
        _ => Err(Error::new(
            ErrorKind::Unsupported,
            "this release does not know that format",
        )),
    }
}
