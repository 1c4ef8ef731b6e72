use std::fmt;

use crate::{Error, ErrorKind, Result};

/// A key as a provider sees it: not empty, within its limit, namespaces included.
///
/// Any other UTF-8 is a key: the provider keeps it exactly, whatever its characters are. `Debug` prints its
/// length alone, since keys can be secrets.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key<'a>(pub(crate) &'a str);

impl<'a> Key<'a> {
    /// Takes a key. The store does this, and checks its length against the provider's limit too.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidKey`] when it is empty.
    pub fn new(key: &'a str) -> Result<Self> {
        if key.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidKey,
                "the key is empty; a key has at least one character",
            ));
        }
        Ok(Self(key))
    }

    /// The key's text.
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

impl fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} bytes)", self.0.len())
    }
}
