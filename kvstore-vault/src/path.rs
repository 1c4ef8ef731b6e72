//! Where a key is on the server.

use kvstore_core::escape;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What a URL's path has as it is; all else is percent-encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b'/');

/// Letters beyond ASCII that stay as they are, so that people can read them: those that every release of the
/// server's language calls printable. A fixed list, since what a key is called must not change with a
/// newer Unicode.
const LETTERS: [(char, char); 12] = [
    ('À', 'Ö'),
    ('Ø', 'ö'),
    ('ø', 'ʯ'),
    ('Α', 'Ρ'),
    ('Σ', 'ώ'),
    ('Ѐ', 'ҁ'),
    ('Ҋ', 'ԧ'),
    ('א', 'ת'),
    ('ぁ', 'ゖ'),
    ('ァ', 'ヺ'),
    ('一', '龥'),
    ('가', '힣'),
];

/// Whether Vault refuses a character in a path: controls, and what is not printable, which it judges by
/// Unicode tables of its own.
fn reserved(char: char) -> bool {
    match char.is_ascii() {
        true => char.is_ascii_control(),
        false => !LETTERS
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&char)),
    }
}

/// The mount, and the path below it that all keys are under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Root {
    mount: String,
    path: String,
}

impl Root {
    pub(crate) fn new(mount: &str, path: &str) -> Self {
        let (mount, path) = (mount.to_owned(), path.to_owned());
        Self { mount, path }
    }

    /// A key's path below the mount, not yet percent-encoded.
    pub(crate) fn secret(&self, key: &str) -> String {
        let mut path = String::with_capacity(self.path.len() + 1 + key.len() + 16);
        path.push_str(&self.path);
        path.push('/');
        escape::to_path(&mut path, key, reserved);
        path
    }

    /// The folder that holds all keys that begin with a prefix, as far as whole segments of it say so.
    pub(crate) fn folder(&self, prefix: &str) -> String {
        match prefix.rsplit_once('/') {
            Some((whole, _)) => self.secret(whole) + "/",
            None => format!("{}/", self.path),
        }
    }

    /// The key of a secret's path, if it is one.
    pub(crate) fn key(&self, path: &str) -> Option<String> {
        escape::from_path(self.below(path)?, reserved)
    }

    /// Whether keys below a folder may begin with a prefix.
    pub(crate) fn may_hold(&self, folder: &str, prefix: &str) -> bool {
        let begin = self.below(folder).and_then(escape::from_folder);
        begin.is_some_and(|begin| {
            begin.starts_with(prefix.as_bytes()) || prefix.as_bytes().starts_with(&begin)
        })
    }

    fn below<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(&self.path)?.strip_prefix('/')
    }

    /// The path of the API for a secret, or for a folder of them, as `data` or `metadata`.
    pub(crate) fn api(&self, endpoint: &str, path: &str) -> String {
        format!("{}/{endpoint}/{}", encode(&self.mount), encode(path))
    }
}

/// Percent-encodes a path of the API.
pub(crate) fn encode(path: &str) -> impl std::fmt::Display {
    utf8_percent_encode(path, ENCODED)
}

/// Whether a mount or a path is as it would be on the server, with nothing to escape in it.
pub(crate) fn is_plain(path: &str) -> bool {
    let mut escaped = String::with_capacity(path.len());
    escape::to_path(&mut escaped, path, reserved);
    escaped == path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_below_the_path_and_percent_encoded() {
        let root = Root::new("team/kv", "app");
        for (key, api) in [
            ("a/b:c", "team/kv/data/app/a/b:c"),
            ("../x", "team/kv/data/app/~2E~2E/x"),
            ("", "team/kv/data/app/~"),
            ("a b?#%2e", "team/kv/data/app/a%20b%3F%23%252e"),
            ("é\u{a0}\u{301}", "team/kv/data/app/%C3%A9~C2~A0~CC~81"),
        ] {
            assert_eq!(root.api("data", &root.secret(key)), api);
            if !key.is_empty() {
                assert_eq!(root.key(&root.secret(key)).as_deref(), Some(key));
            }
        }
        assert_eq!(root.key("other/a"), None);
        assert_eq!(root.key("app2/a"), None);
    }

    #[test]
    fn a_prefix_has_a_folder_of_whole_segments() {
        let root = Root::new("kv", "app");
        for (prefix, folder) in [
            ("", "app/"),
            ("a", "app/"),
            ("a/", "app/a/"),
            ("a/.", "app/a/"),
            ("/", "app/~/"),
            ("../b/c", "app/~2E~2E/b/"),
        ] {
            assert_eq!(root.folder(prefix), folder);
            assert!(root.may_hold(folder, prefix));
        }
        assert!(root.may_hold("app/a/b/", "a/b"));
        assert!(root.may_hold("app/a/bc/", "a/b"));
        assert!(!root.may_hold("app/a/c/", "a/b"));
        // Broken inside of a character: `🦀` begins with ~F0~9F.
        assert!(root.may_hold("app/~F0~9F~-/", "🦀"));
        assert!(!root.may_hold("app/~F0~9E~-/", "🦀"));
    }

    #[test]
    fn the_letters_that_stay_are_letters() {
        for (first, last) in LETTERS {
            for char in first..=last {
                assert!(char.is_alphanumeric(), "{char:?}");
            }
        }
    }
}
