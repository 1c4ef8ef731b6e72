//! Where a key is in the bucket.

use kvstore_core::escape;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What a URL has as it is; all else is percent-encoded, as the signature wants it.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const ENCODED_PATH: &AsciiSet = &ENCODED.remove(b'/');

/// The longest name of an object, in bytes.
const MAX_NAME: usize = 1024;

/// The longest prefix, as it is in the bucket, in bytes.
const MAX_PREFIX: usize = 240;

/// What `~-/` may add to a name of that length, in all.
const BREAKS: usize = 16;

/// How much of a prefix's last segment is asked for: far less than where a long segment is broken.
const MAX_BEGIN: usize = 64;

/// Whether S3 or one of its clones changes or refuses a character: `\` becomes `/`, and the others cannot be
/// in XML.
fn reserved(char: char) -> bool {
    char.is_ascii_control() || matches!(char, '\\' | '\u{fffe}' | '\u{ffff}')
}

/// Whether SeaweedFS keeps what is in a folder of this name from being listed. Of a segment so long that it
/// may be broken, the last part counts.
fn is_hidden(folder: &str) -> bool {
    folder == ".uploads"
        || folder.ends_with(".versions")
        || (folder.len() > 80 && folder.ends_with(".uploads"))
}

/// The name of the object for a text.
fn to_name(text: &str) -> String {
    let mut name = String::with_capacity(text.len() + 16);
    let mut segments = text.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_folder = segments.peek().is_some();
        match is_folder && is_hidden(segment) {
            true => push_hidden(&mut name, segment),
            false => escape::to_path(&mut name, segment, reserved),
        }
        if is_folder {
            name.push('/');
        }
    }
    name
}

/// Appends the name of a hidden folder, which its last dot makes hidden, with that dot escaped.
fn push_hidden(name: &mut String, segment: &str) {
    const STAND_IN: (&str, &str) = ("\u{1}", "~01");
    let (before, after) = segment.rsplit_once('.').unwrap_or_default();
    let begin = name.len();
    escape::to_path(name, &[before, STAND_IN.0, after].concat(), reserved);
    // What comes after the dot is letters, so the last one is it.
    if let Some(at) = name[begin..].rfind(STAND_IN.1) {
        let at = begin + at;
        name.replace_range(at..at + STAND_IN.1.len(), "~2E");
    }
}

/// The text of an object's name, if it is one that [`to_name`] makes.
fn from_name(name: &str) -> Option<String> {
    let text = String::from_utf8(escape::from_folder(name)?).ok()?;
    (to_name(&text) == name).then_some(text)
}

/// The names of all objects: they begin with a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    prefix: String,
}

impl Names {
    pub(crate) fn new(prefix: &str) -> Self {
        let prefix = prefix.to_owned();
        Self { prefix }
    }

    /// The longest key, in bytes: the longest of which every one fits, however much of it is escaped.
    pub(crate) fn max_key_len(&self) -> usize {
        (MAX_NAME - BREAKS - self.prefix_len()) / 3
    }

    /// Whether there is room for keys.
    pub(crate) fn fits(&self) -> bool {
        self.prefix_len() <= MAX_PREFIX
    }

    fn prefix_len(&self) -> usize {
        match self.prefix.is_empty() {
            true => 0,
            false => to_name(&self.prefix).len(),
        }
    }

    /// The name of a key's object.
    pub(crate) fn object(&self, key: &str) -> String {
        match self.prefix.is_empty() {
            true => to_name(key),
            false => to_name(&format!("{}{key}", self.prefix)),
        }
    }

    /// The key of an object, if it has one.
    pub(crate) fn key(&self, object: &str) -> Option<String> {
        let text = from_name(object)?;
        let key = text.strip_prefix(&self.prefix)?;
        (!key.is_empty()).then(|| key.to_owned())
    }

    /// How the names begin of all keys' objects that begin with this: as far as it is certain how they are
    /// escaped, whatever comes after.
    pub(crate) fn begin(&self, prefix: &str) -> String {
        let text = format!("{}{prefix}", self.prefix);
        let (mut name, last) = match text.rsplit_once('/') {
            // What comes after the slash makes folders of all before.
            Some((folders, last)) => {
                let mut name = to_name(&format!("{folders}/x"));
                name.pop();
                (name, last)
            }
            None => (String::new(), text.as_str()),
        };
        let certain = certain(last);
        let end = (0..=certain.len().min(MAX_BEGIN))
            .rev()
            .find(|at| certain.is_char_boundary(*at))
            .unwrap_or_default();
        escape::to_name(&mut name, &certain[..end], reserved);
        name
    }

    /// A name that is no key's, so that no listing shows it, and that begins as those of keys do.
    pub(crate) fn of_no_key(&self, id: &str) -> String {
        self.object(&format!("kvstore-probe-{id}")) + "~"
    }
}

/// How much of the beginning of a segment is as it will be, whatever comes after: a dot may turn out to be
/// all of the segment, or the one that makes its folder hidden.
fn certain(begin: &str) -> &str {
    if begin.bytes().all(|byte| byte == b'.') {
        return "";
    }
    match begin.rsplit_once('.') {
        Some((before, after)) if "versions".starts_with(after) || "uploads".starts_with(after) => {
            before
        }
        _ => begin,
    }
}

/// Percent-encodes the name of an object as a path.
pub(crate) fn encode_path(name: &str) -> impl std::fmt::Display {
    utf8_percent_encode(name, ENCODED_PATH)
}

/// Percent-encodes the value of a parameter.
pub(crate) fn encode(value: &str) -> impl std::fmt::Display {
    utf8_percent_encode(value, ENCODED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ordinary_keys_are_names_and_odd_ones_are_escaped() {
        let names = Names::new("");
        for (key, object) in [
            ("user/7:a_b-c.d", "user/7:a_b-c.d"),
            ("grüße/🦀 x", "grüße/🦀 x"),
            ("a//b/", "a/~/b/~"),
            ("/a", "~/a"),
            ("../a/.", "~2E~2E/a/~2E"),
            ("a\\b\0~\u{ffff}", "a~5Cb~00~7E~EF~BF~BF"),
            (".uploads", ".uploads"),
            (".uploads/a", "~2Euploads/a"),
            ("x.uploads/a", "x.uploads/a"),
            ("a.b/x.y.versions/c.d", "a.b/x.y~2Eversions/c.d"),
            ("\u{1}.versions/a", "~01~2Eversions/a"),
            ("x.versions", "x.versions"),
        ] {
            assert_eq!(names.object(key), object);
            assert_eq!(names.key(object).as_deref(), Some(key));
        }
        for object in [
            "a/",
            "a//b",
            "/a",
            "~2Euploads",
            ".uploads/a",
            "a~2Eb",
            "a~",
            "",
        ] {
            assert_eq!(names.key(object), None, "{object}");
        }
        let long = format!("{}.uploads/a", "x".repeat(253));
        assert!(!names.object(&long).contains("/.uploads/"));
        assert_eq!(names.key(&names.object(&long)), Some(long));
    }

    #[test]
    fn a_prefix_stands_before_the_key() {
        for (prefix, key, object) in [
            ("app/", "a", "app/a"),
            ("app-", "a", "app-a"),
            ("app/", "/a", "app/~/a"),
            ("app/", "..", "app/~2E~2E"),
            ("app", "..", "app.."),
            (".", ".", "~2E~2E"),
            ("x.versions", "/a", "x~2Eversions/a"),
        ] {
            let names = Names::new(prefix);
            assert_eq!(names.object(key), object);
            assert_eq!(names.key(object).as_deref(), Some(key));
            assert!(object.starts_with(&names.begin("")), "{object}");
        }
        assert_eq!(Names::new("app/").key("other/a"), None);
        assert_eq!(Names::new("app/").key("app/"), None);
    }

    #[test]
    fn what_is_asked_for_is_as_much_as_is_certain() {
        let names = Names::new("app/");
        for (prefix, begin) in [
            ("", "app/"),
            ("a", "app/a"),
            ("a/b", "app/a/b"),
            ("a/.", "app/a/"),
            ("a.b/c.d", "app/a.b/c.d"),
            ("a.b/c.", "app/a.b/c"),
            (".x", "app/.x"),
            (".u", "app/"),
            ("..", "app/"),
            ("a//", "app/a/~/"),
            ("x.versions/", "app/x~2Eversions/"),
            ("x.ver", "app/x"),
            ("~\0", "app/~7E~00"),
        ] {
            assert_eq!(names.begin(prefix), begin);
        }
        assert_eq!(names.begin(&"é".repeat(100)).len(), 4 + MAX_BEGIN);
    }

    #[test]
    fn what_is_no_key_has_the_prefix() {
        let names = Names::new("app.x");
        let object = names.of_no_key("0");
        assert!(object.starts_with("app.x"), "{object}");
        assert_eq!(Names::new("").key(&Names::new("").of_no_key("0")), None);
        assert_eq!(names.key(&object), None);
    }

    #[test]
    fn the_longest_keys_fit() {
        for prefix in [String::new(), "p".repeat(240), "~".repeat(80)] {
            let names = Names::new(&prefix);
            assert!(names.fits());
            let len = names.max_key_len();
            assert!(len >= 255);
            for unit in ["\0", "/", ".", "~", "x", "a/", "../"] {
                let mut key = unit.repeat(len / unit.len());
                key.push_str(&"\0".repeat(len - key.len()));
                let object = names.object(&key);
                assert!(object.len() <= MAX_NAME, "{unit:?}: {}", object.len());
                assert_eq!(names.key(&object), Some(key));
            }
        }
        assert!(!Names::new(&"p".repeat(241)).fits());
        assert!(!Names::new(&"~".repeat(81)).fits());
    }

    fn odd() -> impl Strategy<Value = String> {
        let pieces = [
            "/",
            "~",
            ".",
            "..",
            ".uploads",
            ".versions",
            "/.uploads/",
            "x.versions/",
            "~-",
            "~2E",
            "a",
            "é",
            "\0",
            "\\",
            " ",
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        ];
        let pieces = prop::collection::vec(prop::sample::select(pieces.to_vec()), 1..20);
        pieces.prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_key_comes_back_and_begins_as_asked(prefix in odd(), key in odd(), end in 0..200usize) {
            let names = Names::new(&prefix);
            let object = names.object(&key);
            prop_assert_eq!(names.key(&object), Some(key.clone()));
            for name in object.split('/') {
                prop_assert!(!matches!(name, "" | "." | ".."), "{}", object);
                prop_assert!(name.len() <= 255, "{}", object);
            }
            let (folders, _) = object.rsplit_once('/').unwrap_or_default();
            let hidden = |name: &str| name == ".uploads" || name.ends_with(".versions");
            prop_assert!(!folders.split('/').any(hidden), "{}", object);
            let end = end.min(key.len());
            if key.is_char_boundary(end) {
                let begin = names.begin(&key[..end]);
                prop_assert!(object.starts_with(&begin), "{} {}", object, begin);
            }
        }

        #[test]
        fn what_is_decoded_is_what_is_encoded(object in "[/~.a0-9E-]{1,12}|(\\.uploads|~2Euploads|\\.versions|~2Eversions|/|a){1,5}") {
            if let Some(key) = Names::new("").key(&object) {
                prop_assert_eq!(Names::new("").object(&key), object);
            }
        }
    }
}
