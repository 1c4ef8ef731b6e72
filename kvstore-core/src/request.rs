//! What a provider is asked: one struct an operation, the same in the single call and in the batch.

use std::fmt;

use bytes::Bytes;

use crate::{Condition, Expiry, Format, Key, Version};

/// Asks for one key: in `get`, `has`, `get_entry`, `take`, and in each item of `get_many`.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub struct GetRequest<'a> {
    /// The key.
    pub key: Key<'a>,
    /// The form in which the value was stored.
    pub format: Format,
}

impl<'a> GetRequest<'a> {
    /// Asks for a key's value, stored in this format.
    pub fn new(key: Key<'a>, format: Format) -> Self {
        Self { key, format }
    }
}

/// Writes one key. `Debug` prints no value.
#[non_exhaustive]
#[derive(Clone)]
pub struct SetRequest<'a> {
    /// The key.
    pub key: Key<'a>,
    /// The form in which to store the value.
    pub format: Format,
    /// The encoded value.
    pub value: Bytes,
    /// When the key expires; never, unless the provider claims expiry.
    pub expiry: Expiry,
    /// What must hold; only a condition that the provider claims.
    pub condition: Option<Condition>,
}

impl<'a> SetRequest<'a> {
    /// Writes a value without expiry or condition.
    pub fn new(key: Key<'a>, format: Format, value: Bytes) -> Self {
        Self {
            key,
            format,
            value,
            expiry: Expiry::Never,
            condition: None,
        }
    }

    /// Sets when the key expires.
    #[must_use]
    pub fn with_expiry(mut self, expiry: Expiry) -> Self {
        self.expiry = expiry;
        self
    }

    /// Sets what must hold.
    #[must_use]
    pub fn with_condition(mut self, condition: Condition) -> Self {
        self.condition = Some(condition);
        self
    }
}

impl fmt::Debug for SetRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetRequest")
            .field("key", &self.key)
            .field("format", &self.format)
            .field("value", &format_args!("{} bytes", self.value.len()))
            .field("expiry", &self.expiry)
            .field("condition", &self.condition)
            .finish()
    }
}

/// Deletes one key.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct DeleteRequest<'a> {
    /// The key.
    pub key: Key<'a>,
    /// Delete only this version; only on a provider that claims versions.
    pub version: Option<Version>,
}

impl<'a> DeleteRequest<'a> {
    /// Deletes a key, whatever it holds.
    pub fn new(key: Key<'a>) -> Self {
        Self { key, version: None }
    }

    /// Deletes only this version.
    #[must_use]
    pub fn with_version(mut self, version: Version) -> Self {
        self.version = Some(version);
        self
    }
}

/// Sets the expiry of an existing key.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub struct TouchRequest<'a> {
    /// The key.
    pub key: Key<'a>,
    /// The form in which the value was stored, for who has to write it again.
    pub format: Format,
    /// The new expiry: after a time, or never; `Keep` is not asked for.
    pub expiry: Expiry,
}

impl<'a> TouchRequest<'a> {
    /// Sets a key's expiry.
    pub fn new(key: Key<'a>, format: Format, expiry: Expiry) -> Self {
        Self {
            key,
            format,
            expiry,
        }
    }
}

/// Lists keys. `Debug` prints the prefix's length alone.
#[non_exhaustive]
#[derive(Clone)]
pub struct KeysRequest {
    /// Only keys that begin with this text, taken literally; may be empty.
    pub prefix: String,
}

impl KeysRequest {
    /// Lists the keys that begin with this prefix.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
        }
    }
}

impl fmt::Debug for KeysRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeysRequest")
            .field("prefix", &format_args!("{} bytes", self.prefix.len()))
            .finish()
    }
}

/// What a server says of itself: the answer to `ping`.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerInfo {
    /// The product's name, such as `redis` or `valkey`.
    pub product: String,
    /// The product's version, where the server tells it.
    pub version: Option<String>,
    /// What could bite, each a sentence for people: eviction is on, no TLS, nothing is kept on disk.
    pub warnings: Vec<String>,
}

impl ServerInfo {
    /// A server of this product, of an unknown version and without warnings.
    pub fn new(product: impl Into<String>) -> Self {
        Self {
            product: product.into(),
            ..Self::default()
        }
    }

    /// Sets the version.
    #[must_use]
    pub fn with_version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Adds a warning.
    #[must_use]
    pub fn with_warning(mut self, warning: impl Into<String>) -> Self {
        self.warnings.push(warning.into());
        self
    }
}
