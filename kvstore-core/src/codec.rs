use std::ops::Deref;

use bytes::Bytes;

use crate::BoxError;

/// The form in which a provider keeps a value, where its server tells forms apart.
///
/// On servers of bare bytes all three are the codec's bytes. MongoDB keeps them as binary, string and
/// document; Vault as base64, string and object.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Any bytes.
    Binary,
    /// UTF-8 text.
    Text,
    /// JSON text: any value but `null`.
    Json,
}

/// Turns values into bytes and back.
///
/// Ready ones are [`BytesCodec`](crate::BytesCodec), [`TextCodec`](crate::TextCodec),
/// [`JsonCodec`](crate::JsonCodec) and [`ModelCodec`](crate::ModelCodec); the constructors of
/// [`KeyValueStore`](crate::KeyValueStore) choose them. Another format fits the same way:
///
/// ```
/// use kvstore_core::{BoxError, Bytes, Codec, Format, Input};
///
/// /// An IPv4 address in four bytes.
/// struct AddressCodec;
///
/// impl Codec<std::net::Ipv4Addr> for AddressCodec {
///     fn format(&self) -> Format {
///         Format::Binary
///     }
///     fn encode(&self, value: Input<'_, std::net::Ipv4Addr>) -> Result<Bytes, BoxError> {
///         Ok(Bytes::copy_from_slice(&value.octets()))
///     }
///     fn decode(&self, stored: Bytes) -> Result<std::net::Ipv4Addr, BoxError> {
///         Ok(<[u8; 4]>::try_from(&stored[..])?.into())
///     }
/// }
/// ```
pub trait Codec<V>: Send + Sync + 'static {
    /// The form of all its encoded values.
    fn format(&self) -> Format;

    /// Encodes a value.
    ///
    /// # Errors
    /// When the value cannot be encoded exactly; the store answers
    /// [`ErrorKind::InvalidValue`](crate::ErrorKind::InvalidValue). The error must not print the value.
    fn encode(&self, value: Input<'_, V>) -> Result<Bytes, BoxError>;

    /// Decodes what was stored.
    ///
    /// # Errors
    /// When it is not a value of this type; the store answers
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode). The error must not print what was stored.
    fn decode(&self, stored: Bytes) -> Result<V, BoxError>;
}

/// A value to store: lent, or given away (then its bytes need no copy).
///
/// Made by `into()`, so that `set("key", "text")`, `set("key", &value)` and `set("key", value)` all work. It
/// dereferences to the value.
pub enum Input<'a, V> {
    /// A value that the caller keeps.
    Borrowed(&'a V),
    /// A value that is given away.
    Owned(V),
}

impl<V> Deref for Input<'_, V> {
    type Target = V;

    fn deref(&self) -> &V {
        match self {
            Self::Borrowed(value) => value,
            Self::Owned(value) => value,
        }
    }
}

/// Prints no value.
impl<V> std::fmt::Debug for Input<'_, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Borrowed(_) => "Input::Borrowed(..)",
            Self::Owned(_) => "Input::Owned(..)",
        })
    }
}

impl<'a, V> From<&'a V> for Input<'a, V> {
    fn from(value: &'a V) -> Self {
        Self::Borrowed(value)
    }
}

impl<V> From<V> for Input<'_, V> {
    fn from(value: V) -> Self {
        Self::Owned(value)
    }
}

impl From<&str> for Input<'_, String> {
    fn from(value: &str) -> Self {
        Self::Owned(value.to_owned())
    }
}

impl From<&[u8]> for Input<'_, Bytes> {
    fn from(value: &[u8]) -> Self {
        Self::Owned(Bytes::copy_from_slice(value))
    }
}

impl<const N: usize> From<&[u8; N]> for Input<'_, Bytes> {
    fn from(value: &[u8; N]) -> Self {
        Self::Owned(Bytes::copy_from_slice(value))
    }
}

impl From<Vec<u8>> for Input<'_, Bytes> {
    fn from(value: Vec<u8>) -> Self {
        Self::Owned(Bytes::from(value))
    }
}

impl From<&Vec<u8>> for Input<'_, Bytes> {
    fn from(value: &Vec<u8>) -> Self {
        Self::Owned(Bytes::copy_from_slice(value))
    }
}
