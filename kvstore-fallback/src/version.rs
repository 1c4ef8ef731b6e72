//! The versions that are told: of a key that has moved, the new provider's; of one that has not, one of its own,
//! since reading moves nothing. Where the new provider's are the content, all are a hash of the content that is made
//! here, so that the same content has the same version wherever it is.

use std::fmt::Write as _;

use kvstore_core::{Bytes, Entry, Error, ErrorKind, Format, Result, Version};
use sha2::{Digest as _, Sha256};

/// Before what the old provider says.
const OLD: &str = "old:";
/// Before what the new one says, where that could be taken for one of these two.
const NEW: &str = "new:";

/// What a version that was told is of.
pub(crate) enum Told {
    /// The new provider's own.
    New(Version),
    /// Of a key that only the old one had, or of a content, which was read as this.
    Read(Format),
    /// None that is told here.
    Other,
}

/// Tells a version of the new provider: as it is.
pub(crate) fn of_new(version: Version) -> Result<Version> {
    let text = version.to_string();
    if text.starts_with(OLD) || text.starts_with(NEW) {
        return Version::new(&format!("{NEW}{text}"));
    }
    Ok(version)
}

/// Tells the version of an entry that was read in the old provider. Without one of its own it is the content, and
/// so is one that is too long, with the version for a content.
pub(crate) fn of_old(format: Format, entry: &Entry<Bytes>) -> Result<Version> {
    let sign = sign(format);
    let own = entry.version.as_ref().map(ToString::to_string);
    if let Some(own) = &own
        && let Ok(version) = Version::new(&format!("{OLD}{sign}={own}"))
    {
        return Ok(version);
    }
    let content = own.as_ref().map_or(&entry.value[..], String::as_bytes);
    Version::new(&format!("{OLD}{sign}#{}", hash(content)?))
}

/// Tells the version of a content.
pub(crate) fn of_content(format: Format, value: &[u8]) -> Result<Version> {
    Version::new(&format!("{}#{}", sign(format), hash(value)?))
}

fn hash(content: &[u8]) -> Result<String> {
    let mut text = String::new();
    for byte in Sha256::digest(content) {
        write!(text, "{byte:02x}").map_err(|_| Error::from(ErrorKind::Other))?;
    }
    Ok(text)
}

/// What was told, where versions are the content or not.
pub(crate) fn told(version: &Version, by_content: bool) -> Told {
    let text = version.to_string();
    if by_content {
        let format = |(sign, _)| {
            FORMATS
                .into_iter()
                .find(|&f| sign == self::sign(f).to_string())
        };
        let format = text.split_once('#').and_then(format);
        return format.map_or(Told::New(version.clone()), Told::Read);
    }
    if let Some(rest) = text.strip_prefix(OLD) {
        let format = FORMATS.into_iter().find(|&f| rest.starts_with(sign(f)));
        return format.map_or(Told::Other, Told::Read);
    }
    match text.strip_prefix(NEW) {
        Some(own) => Version::new(own).map_or(Told::Other, Told::New),
        None => Told::New(version.clone()),
    }
}

const FORMATS: [Format; 3] = [Format::Binary, Format::Text, Format::Json];

fn sign(format: Format) -> char {
    match format {
        Format::Text => 't',
        Format::Json => 'j',
        _ => 'b',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(value: &'static str) -> Entry<Bytes> {
        Entry::new(Bytes::from_static(value.as_bytes()))
    }

    #[test]
    fn versions_of_the_new_one_are_told_as_they_are_or_so_that_they_are_known() {
        for (text, expected) in [
            ("7", "7"),
            ("a-b", "a-b"),
            ("old", "old"),
            ("old:b=7", "new:old:b=7"),
            ("new:7", "new:new:7"),
        ] {
            let version = Version::new(text).unwrap();
            let shown = of_new(version.clone()).unwrap();
            assert_eq!(shown.to_string(), expected);
            assert!(matches!(told(&shown, false), Told::New(own) if own == version));
        }
    }

    #[test]
    fn versions_of_a_content_say_as_what_it_was_read() {
        for format in FORMATS {
            let version = of_content(format, b"a").unwrap();
            assert!(matches!(told(&version, true), Told::Read(f) if f == format));
            assert_eq!(of_content(format, b"a").unwrap(), version);
            assert_ne!(of_content(format, b"b").unwrap(), version);
        }
        for other in ["7", "x#7", "old:b=7"] {
            let other = Version::new(other).unwrap();
            assert!(matches!(told(&other, true), Told::New(own) if own == other));
        }
    }

    #[test]
    fn versions_of_the_old_one_are_of_no_other_and_say_as_what_it_was_read() {
        let long = "x".repeat(128);
        let mut all = std::collections::HashSet::new();
        for format in FORMATS {
            for entry in [
                entry("a"),
                entry("b"),
                entry("a").with_version(Version::from(7)),
                entry("a").with_version(Version::from(8)),
                entry("a").with_version(Version::new(&long).unwrap()),
                entry("a").with_version(Version::new(&long[1..]).unwrap()),
            ] {
                let version = of_old(format, &entry).unwrap();
                assert!(matches!(told(&version, false), Told::Read(f) if f == format));
                assert_eq!(of_old(format, &entry).unwrap(), version);
                assert!(all.insert(version));
            }
        }
        assert!(matches!(
            told(&Version::new("old:?").unwrap(), false),
            Told::Other
        ));
    }
}
