//! The ready codecs: bytes, text, JSON object, serde model.

mod exact;
mod finite;
mod numbers;
mod portable;
mod redact;
mod reserved;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{BoxError, Codec, Format, Input};

/// Bytes as they are: `Bytes`, which are not copied, or `Vec<u8>`.
///
/// ```
/// # use kvstore_core::{BytesCodec, KeyValueStore, Provider};
/// # fn example(provider: impl Provider) {
/// let secrets: KeyValueStore<Vec<u8>> = KeyValueStore::with_codec(provider, BytesCodec);
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct BytesCodec;

impl Codec<Bytes> for BytesCodec {
    fn format(&self) -> Format {
        Format::Binary
    }

    fn encode(&self, value: Input<'_, Bytes>) -> Result<Bytes, BoxError> {
        Ok(match value {
            Input::Borrowed(bytes) => bytes.clone(),
            Input::Owned(bytes) => bytes,
        })
    }

    fn decode(&self, stored: Bytes) -> Result<Bytes, BoxError> {
        Ok(stored)
    }
}

impl Codec<Vec<u8>> for BytesCodec {
    fn format(&self) -> Format {
        Format::Binary
    }

    fn encode(&self, value: Input<'_, Vec<u8>>) -> Result<Bytes, BoxError> {
        Ok(match value {
            Input::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            Input::Owned(bytes) => Bytes::from(bytes),
        })
    }

    fn decode(&self, stored: Bytes) -> Result<Vec<u8>, BoxError> {
        Ok(stored.into())
    }
}

/// Text as UTF-8.
#[derive(Clone, Copy, Debug, Default)]
pub struct TextCodec;

impl Codec<String> for TextCodec {
    fn format(&self) -> Format {
        Format::Text
    }

    fn encode(&self, value: Input<'_, String>) -> Result<Bytes, BoxError> {
        Ok(match value {
            Input::Borrowed(text) => Bytes::copy_from_slice(text.as_bytes()),
            Input::Owned(text) => Bytes::from(text),
        })
    }

    fn decode(&self, stored: Bytes) -> Result<String, BoxError> {
        // The error of `from_utf8` holds the bytes; its `utf8_error` does not.
        String::from_utf8(stored.into()).map_err(|error| error.utf8_error().into())
    }
}

/// JSON objects, as `serde_json` has them.
///
/// Members are stored in the order of their names, whatever features of `serde_json` are on. Numbers are exact:
/// one that neither a 64-bit integer nor a 64-bit float holds exactly is refused. So are the member names that
/// `serde_json` keeps for itself (`$serde_json::private::…`).
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonCodec;

impl Codec<Map<String, Value>> for JsonCodec {
    fn format(&self) -> Format {
        Format::Json
    }

    fn encode(&self, value: Input<'_, Map<String, Value>>) -> Result<Bytes, BoxError> {
        exact::encode(&exact::Sorted(&value))
    }

    fn decode(&self, stored: Bytes) -> Result<Map<String, Value>, BoxError> {
        portable::decode(&stored)
    }
}

/// Any serde type, as JSON text.
///
/// Whatever serialises to JSON is a value, but for `null` (`None`, `()`): there is no way to store no value.
/// A float that is not finite, an integer beyond 64 bits, nesting over 100, and the two member names that
/// `serde_json` keeps for itself (`$serde_json::private::…`) are refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct ModelCodec;

impl<T: Serialize + DeserializeOwned> Codec<T> for ModelCodec {
    fn format(&self) -> Format {
        Format::Json
    }

    fn encode(&self, value: Input<'_, T>) -> Result<Bytes, BoxError> {
        exact::encode(&*value)
    }

    fn decode(&self, stored: Bytes) -> Result<T, BoxError> {
        portable::decode(&stored)
    }
}

#[cfg(test)]
mod tests;
