//! Keys as Memcached holds them: at most 250 bytes, without spaces and control characters.
//!
//! A key is escaped as everywhere ([`kvstore_core::escape`]). One that is too long even so is replaced by its
//! hash, as `~h` and the 64 digits of its SHA-256, which no escape makes: after `~` come two digits. Then the
//! escaped key and a line feed stand before the value, and the item has [`MARK`] as its client flags.

use kvstore_core::{Bytes, Error, ErrorKind, Result, escape};
use sha2::{Digest as _, Sha256};

/// The longest name that Memcached takes.
const MAX_NAME: usize = 250;

/// `~h` and a SHA-256.
const HASHED: usize = 2 + 64;

/// The client flags of an item whose name is hashed: `kv`, as a number.
pub(crate) const MARK: u32 = 0x6b76;

/// The longest key, without the configuration's prefix.
pub(crate) const MAX_KEY_LEN: usize = 1024;

/// Memcached keeps what is not text in its protocol out of it: keys with these would be cut off, or run as
/// commands.
fn is_reserved(char: char) -> bool {
    char <= ' ' || char == '\x7f'
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    escape::to_name(&mut escaped, text, is_reserved);
    escaped
}

/// Names keys, all with the same prefix.
pub(crate) struct Names {
    prefix: String,
}

/// The name of a key on the server.
pub(crate) struct Name {
    pub(crate) text: String,
    /// For a hashed one, what stands before the value.
    header: Option<String>,
}

impl Names {
    /// Whether a prefix leaves room for keys.
    pub(crate) fn fits(prefix: &str) -> bool {
        escaped(prefix).len() + HASHED <= MAX_NAME
    }

    pub(crate) fn new(prefix: &str) -> Self {
        let prefix = escaped(prefix);
        Self { prefix }
    }

    pub(crate) fn name(&self, key: &str) -> Name {
        let mut text = String::with_capacity(self.prefix.len() + key.len());
        text.push_str(&self.prefix);
        // Most keys have nothing to escape, which is seen much faster than it is escaped.
        match key
            .bytes()
            .any(|byte| byte == b'~' || is_reserved(char::from(byte)))
        {
            true => escape::to_name(&mut text, key, is_reserved),
            false => text.push_str(key),
        }
        if text.len() <= MAX_NAME {
            return Name { text, header: None };
        }
        let mut header = text.split_off(self.prefix.len());
        header.push('\n');
        text.push_str("~h");
        for byte in Sha256::digest(key) {
            text.extend(hex(byte));
        }
        let header = Some(header);
        Name { text, header }
    }
}

fn hex(byte: u8) -> [char; 2] {
    [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or_default())
}

impl Name {
    /// What stands before the value: nothing, unless the name is hashed.
    pub(crate) fn header(&self) -> &[u8] {
        self.header.as_deref().unwrap_or_default().as_bytes()
    }

    pub(crate) fn is_hashed(&self) -> bool {
        self.header.is_some()
    }

    /// The value of what is stored, once it is sure that it is this key's.
    pub(crate) fn value(&self, stored: Bytes, client_flags: Option<u32>) -> Result<Bytes> {
        if !self.is_hashed() {
            return Ok(stored);
        }
        if client_flags != Some(MARK) || !stored.starts_with(self.header()) {
            return Err(Error::new(
                ErrorKind::Decode,
                "what is stored under the hash of the key was not written for it",
            ));
        }
        Ok(stored.slice(self.header().len()..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(prefix: &str, key: &str) -> Name {
        Names::new(prefix).name(key)
    }

    #[test]
    fn ordinary_keys_stay_as_they_are() {
        for key in ["a", "user/7", "A-b_c:d.e", "a//..", "ü", "🦀", "*?[]{}%\\"] {
            let name = name("app:", key);
            assert_eq!(name.text, format!("app:{key}"));
            assert!(!name.is_hashed());
        }
    }

    #[test]
    fn what_breaks_the_protocol_is_escaped() {
        for (key, text) in [
            (" ", "~20"),
            ("a\0b", "a~00b"),
            ("k\r\nflush_all", "k~0D~0Aflush_all"),
            ("~h", "~7Eh"),
            ("\x7f", "~7F"),
        ] {
            assert_eq!(name("", key).text, text);
        }
        assert_eq!(name("a b~", "c").text, "a~20b~7Ec");
    }

    #[test]
    fn long_keys_are_hashed() {
        let at_most = name("p", &"k".repeat(249));
        assert_eq!((at_most.text.len(), at_most.header()), (250, &b""[..]));
        let key = "k".repeat(250);
        let over = name("p", &key);
        // `printf k%.0s {1..250} | sha256sum`
        let sha256 = "b2c715564e4cfe3ed19da5b49dbb29310fbacb04cf59a1bbc54adee078426ed8";
        assert_eq!(over.text.len(), 1 + HASHED);
        assert_eq!(over.text, format!("p~h{sha256}"));
        assert_eq!(over.header(), format!("{key}\n").as_bytes());
        assert!(
            name("", &" ".repeat(84)).is_hashed(),
            "escaped, it is 252 bytes"
        );
    }

    #[test]
    fn a_value_is_the_keys_own() {
        let (key, other) = ("k".repeat(300), "l".repeat(300));
        let stored = Bytes::from(format!("{key}\nvalue\n"));
        let read = |key: &str, stored: &Bytes, flags| {
            let read = name("", key).value(stored.clone(), flags);
            read.map_err(|error| error.kind())
        };
        assert_eq!(read(&key, &stored, Some(MARK)).unwrap(), "value\n");
        assert_eq!(read("short", &stored, Some(7)).unwrap(), stored);
        for (key, stored, flags) in [
            (&other, &stored, Some(MARK)),
            (&key, &stored, Some(0)),
            (&key, &stored, None),
            (&key, &Bytes::from(key.clone()), Some(MARK)),
            (&key, &Bytes::new(), Some(MARK)),
        ] {
            assert_eq!(read(key, stored, flags), Err(ErrorKind::Decode));
        }
    }

    proptest! {
        #[test]
        fn any_key_has_a_name_that_the_server_takes(key in "(?s).{1,400}", prefix in "[a ~]{0,60}") {
            let name = name(&prefix, &key);
            prop_assert!(name.text.len() <= MAX_NAME);
            prop_assert!(!name.text.contains(is_reserved));
            let own = &name.text[escaped(&prefix).len()..];
            match name.is_hashed() {
                true => prop_assert_eq!(escape::from_name(own, is_reserved), None),
                false => prop_assert_eq!(escape::from_name(own, is_reserved), Some(key)),
            }
        }

        #[test]
        fn two_keys_never_meet(a in "[~h \u{e9}]{1,100}", b in "[~h \u{e9}]{1,100}") {
            prop_assert_eq!(name("p", &a).text == name("p", &b).text, a == b);
        }
    }
}
