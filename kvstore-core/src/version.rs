use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::{Error, ErrorKind, Result};

/// Which state of a key was seen; made by the provider, and only compared.
///
/// `Display` and `FromStr` round-trip through 1 to 128 visible ASCII characters without `"`, so it fits an
/// ETag, a header and a shell word. What a version promises is in [`Versions`](crate::Versions): a *content*
/// version is a hash of the value, so do not show one of a value that could be guessed. `Debug` prints none of
/// it for that reason.
///
/// ```
/// use kvstore_core::Version;
///
/// let version: Version = "17".parse()?;
/// assert_eq!(version, Version::from(17));
/// assert_eq!(version.to_string(), "17");
/// # Ok::<_, kvstore_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Version(Repr);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Repr {
    Number(u64),
    /// Never the decimal text of a `u64`, so that equal versions are equal.
    Text(Arc<str>),
}

const MAX_LEN: usize = 128;

impl Version {
    /// Reads a version from its text.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidValue`] when it is not 1 to 128 visible ASCII characters without `"`.
    pub fn new(text: &str) -> Result<Self> {
        let visible = |byte: u8| byte.is_ascii_graphic() && byte != b'"';
        if text.is_empty() || text.len() > MAX_LEN || !text.bytes().all(visible) {
            return Err(Error::new(
                ErrorKind::InvalidValue,
                "a version is 1 to 128 visible ASCII characters without a double quote",
            ));
        }
        if let Ok(number) = text.parse::<u64>() {
            // `+7` and `007` parse too, and are not what 7 displays as.
            if text.starts_with(|first: char| first.is_ascii_digit())
                && (!text.starts_with('0') || text == "0")
            {
                return Ok(Self(Repr::Number(number)));
            }
        }
        Ok(Self(Repr::Text(text.into())))
    }

    /// The version as a number, where it is one.
    pub fn as_u64(&self) -> Option<u64> {
        match self.0 {
            Repr::Number(number) => Some(number),
            Repr::Text(_) => None,
        }
    }
}

impl From<u64> for Version {
    fn from(number: u64) -> Self {
        Self(Repr::Number(number))
    }
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Number(number) => number.fmt(f),
            Repr::Text(text) => text.fmt(f),
        }
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Version(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_equal_versions_are_equal() {
        for text in [
            "0",
            "17",
            "18446744073709551615",
            "18446744073709551616",
            "007",
            "+7",
            "a-b",
            "~",
        ] {
            let version = Version::new(text).unwrap();
            assert_eq!(version.to_string(), text);
            assert_eq!(version.to_string().parse::<Version>().unwrap(), version);
        }
        assert_eq!(Version::new("17").unwrap(), Version::from(17));
        assert_ne!(Version::new("007").unwrap(), Version::from(7));
        assert_eq!(size_of::<Version>(), 16);
    }

    #[test]
    fn refuses_what_does_not_fit_an_etag() {
        for text in ["", "a b", "a\"b", "é", "a\n", &"x".repeat(129)] {
            let error = Version::new(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidValue, "{text:?}");
        }
        assert!(Version::new(&"x".repeat(128)).is_ok());
    }
}
