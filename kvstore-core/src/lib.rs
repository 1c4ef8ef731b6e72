#![doc = include_str!("../README.md")]

mod capabilities;
mod codec;
mod codecs;
mod entry;
mod error;
pub mod escape;
mod key;
mod keys;
mod options;
mod provider;
mod registry;
mod request;
mod store;
pub mod url;
mod version;

pub use async_trait::async_trait;
pub use bytes::Bytes;
pub use futures_core::stream::BoxStream;

pub use capabilities::{Capabilities, Listing, Versions};
pub use codec::{Codec, Format, Input};
pub use codecs::{BytesCodec, JsonCodec, ModelCodec, TextCodec};
pub use entry::Entry;
pub use error::{BatchError, BoxError, Error, ErrorKind, Result};
pub use key::Key;
pub use keys::Keys;
pub use options::{Condition, Expiry, Outcome, SetOptions};
pub use provider::Provider;
pub use registry::{Connect, Registry};
pub use request::{DeleteRequest, GetRequest, KeysRequest, ServerInfo, SetRequest, TouchRequest};
pub use store::KeyValueStore;
pub use version::Version;
