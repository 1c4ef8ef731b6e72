use std::fmt;
use std::time::Duration;

use crate::Version;

/// A value with its version and the time it has left.
///
/// `Debug` prints no value.
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq)]
pub struct Entry<V> {
    /// The value.
    pub value: V,
    /// The version, on a provider that has versions.
    pub version: Option<Version>,
    /// The time left until the key expires, counted from the server's answer; `None`: it does not expire.
    pub expires_in: Option<Duration>,
}

impl<V> Entry<V> {
    /// An entry without a version that does not expire.
    pub fn new(value: V) -> Self {
        Self {
            value,
            version: None,
            expires_in: None,
        }
    }

    /// Sets the version.
    #[must_use]
    pub fn with_version(mut self, version: Version) -> Self {
        self.version = Some(version);
        self
    }

    /// Sets the time left.
    #[must_use]
    pub fn with_expires_in(mut self, left: Duration) -> Self {
        self.expires_in = Some(left);
        self
    }

    /// Whether the key expires within this span: time to [`touch`](crate::KeyValueStore::touch) it.
    pub fn expires_within(&self, span: Duration) -> bool {
        self.expires_in.is_some_and(|left| left <= span)
    }

    pub(crate) fn try_map<W, E>(
        self,
        change: impl FnOnce(V) -> Result<W, E>,
    ) -> Result<Entry<W>, E> {
        Ok(Entry {
            value: change(self.value)?,
            version: self.version,
            expires_in: self.expires_in,
        })
    }
}

impl<V> fmt::Debug for Entry<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("version", &self.version)
            .field("expires_in", &self.expires_in)
            .finish_non_exhaustive()
    }
}
