//! The commands this provider gives, and what comes back.

use std::io::Write as _;

use kvstore_core::{Bytes, Error, ErrorKind, Expiry};
use redis::{Arg, Cmd, RedisWrite as _, Value};

use crate::script::Script;

/// One command, in the form in which it is sent.
pub(crate) struct Command {
    packed: Cmd,
    /// Which of its words is the key that says which node of a cluster is asked.
    key: usize,
    writes: bool,
    /// The script that it runs by its SHA-1.
    script: Option<&'static Script>,
}

#[derive(Clone, Copy)]
pub(crate) enum Only {
    IfAbsent,
    IfPresent,
}

/// A key on the server: what the configuration puts before each, and the key.
#[derive(Clone, Copy)]
pub(crate) struct FullKey<'a>(pub(crate) &'a str, pub(crate) &'a str);

impl FullKey<'_> {
    fn len(self) -> usize {
        self.0.len() + self.1.len()
    }
}

impl Command {
    pub(crate) fn get(key: FullKey<'_>) -> Self {
        Self::new("GET", key.len()).key(key)
    }

    pub(crate) fn get_many<'a>(keys: impl Iterator<Item = FullKey<'a>>) -> Self {
        keys.fold(Self::new("MGET", 0), Self::key)
    }

    pub(crate) fn set(key: FullKey<'_>, value: &[u8], ttl: Ttl, only: Option<Only>) -> Self {
        let set = Self::new("SET", key.len() + value.len() + 20);
        let set = ttl.append(set.writes().key(key).word(value));
        match only {
            None => set,
            Some(Only::IfAbsent) => set.word("NX"),
            Some(Only::IfPresent) => set.word("XX"),
        }
    }

    pub(crate) fn set_many<'a>(items: impl Iterator<Item = (FullKey<'a>, &'a [u8])>) -> Self {
        items.fold(Self::new("MSET", 0).writes(), |set, (key, value)| {
            set.key(key).word(value)
        })
    }

    pub(crate) fn delete<'a>(keys: impl Iterator<Item = FullKey<'a>>) -> Self {
        keys.fold(Self::new("DEL", 0).writes(), Self::key)
    }

    pub(crate) fn exists(key: FullKey<'_>) -> Self {
        Self::new("EXISTS", key.len()).key(key)
    }

    pub(crate) fn take(key: FullKey<'_>) -> Self {
        Self::new("GETDEL", key.len()).writes().key(key)
    }

    pub(crate) fn expire(key: FullKey<'_>, millis: i64) -> Self {
        let expire = Self::new("PEXPIRE", key.len() + 20).writes().key(key);
        expire.word(millis.to_string())
    }

    /// Any that writes nothing, and whose key, if it has one, comes first.
    pub(crate) fn other(name: &str) -> Self {
        Self::new(name, 0)
    }

    /// A script on one key, by its SHA-1.
    pub(crate) fn script(script: &'static Script, key: FullKey<'_>) -> Self {
        let run = Self::new("EVALSHA", script.sha1().len() + key.len() + 20);
        Self {
            key: 3,
            writes: script.writes,
            script: Some(script),
            ..run.word(script.sha1()).word("1").key(key)
        }
    }

    /// The same script by its text, which the server then knows; `None` for what is no script.
    pub(crate) fn by_text(&self) -> Option<Self> {
        let script = self.script?;
        let eval = Self::new("EVAL", script.text.len()).word(script.text);
        let eval = self.words().skip(2).fold(eval, Self::word);
        Some(Self {
            key: self.key,
            writes: self.writes,
            script: self.script,
            ..eval
        })
    }

    fn new(name: &str, bytes: usize) -> Self {
        let mut packed = Cmd::with_capacity(8, name.len() + bytes);
        packed.arg(name);
        Self {
            packed,
            key: 1,
            writes: false,
            script: None,
        }
    }

    fn writes(mut self) -> Self {
        self.writes = true;
        self
    }

    pub(crate) fn key(mut self, key: FullKey<'_>) -> Self {
        let mut word = self.packed.writer_for_next_arg();
        // Writing to memory does not fail.
        let _ = word.write_all(key.0.as_bytes());
        let _ = word.write_all(key.1.as_bytes());
        drop(word);
        self
    }

    pub(crate) fn word(mut self, word: impl AsRef<[u8]>) -> Self {
        self.packed.arg(word.as_ref());
        self
    }

    /// Whether it may change something, so that it must not be sent twice.
    pub(crate) fn is_write(&self) -> bool {
        self.writes
    }

    /// Whether a replica may answer it. Scripts are for primaries: what they read is written after.
    pub(crate) fn may_ask_replica(&self) -> bool {
        !self.writes && self.script.is_none() && self.routing_key().is_some()
    }

    /// The text of the script that it runs.
    #[cfg(feature = "rest")]
    pub(crate) fn text(&self) -> Option<&'static str> {
        self.script.map(|script| script.text)
    }

    pub(crate) fn packed(&self) -> &Cmd {
        &self.packed
    }

    /// The key that says which node of a cluster is asked.
    pub(crate) fn routing_key(&self) -> Option<&[u8]> {
        self.words().nth(self.key)
    }

    pub(crate) fn words(&self) -> impl Iterator<Item = &[u8]> {
        self.packed.args_iter().map(|word| match word {
            Arg::Simple(word) => word,
            // Only `cursor_arg` makes the others.
            _ => &[],
        })
    }
}

/// An expiry as Redis takes it.
#[derive(Clone, Copy)]
pub(crate) enum Ttl {
    Never,
    Millis(i64),
    Keep,
}

impl Ttl {
    /// Adds it to a `SET`, or to a script that gives one.
    pub(crate) fn append(self, command: Command) -> Command {
        match self {
            Self::Never => command,
            Self::Millis(millis) => command.word("PX").word(millis.to_string()),
            Self::Keep => command.word("KEEPTTL"),
        }
    }
}

impl TryFrom<Expiry> for Ttl {
    type Error = Error;

    fn try_from(expiry: Expiry) -> Result<Self, Error> {
        match expiry {
            Expiry::Never => Ok(Self::Never),
            // Rounded up. The store admits no more than 100 years.
            Expiry::After(ttl) => Ok(Self::Millis(
                i64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX),
            )),
            Expiry::Keep => Ok(Self::Keep),
            _ => Err(Error::new(
                ErrorKind::Unsupported,
                "this release does not know that expiry",
            )),
        }
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Nil,
    Int(i64),
    Data(Bytes),
    List(Vec<Self>),
    /// `OK`, or another word that says so.
    Done,
    /// What the protocol's version 2 does not have.
    Strange,
}

impl From<Value> for Reply {
    fn from(value: Value) -> Self {
        match value {
            Value::Nil => Self::Nil,
            Value::Int(number) => Self::Int(number),
            Value::BulkString(data) => Self::Data(data.into()),
            Value::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            Value::Okay | Value::SimpleString(_) => Self::Done,
            _ => Self::Strange,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn words(command: &Command) -> Vec<&str> {
        let words = command.words().map(std::str::from_utf8);
        words.collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn a_ttl_is_rounded_up_to_milliseconds() {
        for (nanos, expected) in [(1, 1), (1_000_000, 1), (1_000_001, 2)] {
            let ttl = Expiry::After(Duration::from_nanos(nanos)).try_into();
            assert!(
                matches!(ttl, Ok(Ttl::Millis(millis)) if millis == expected),
                "{nanos}"
            );
        }
    }

    #[test]
    fn commands_have_their_words_and_their_key() {
        let key = FullKey("p:", "k");
        let set = Command::set(key, b"v", Ttl::Millis(7), Some(Only::IfAbsent));
        assert_eq!(words(&set), ["SET", "p:k", "v", "PX", "7", "NX"]);
        assert_eq!(set.routing_key(), Some(&b"p:k"[..]));
        assert!(set.is_write() && set.by_text().is_none());
        let read = Command::script(&crate::script::GET_ENTRY, key);
        assert_eq!(words(&read)[2..], ["1", "p:k"]);
        assert!(!read.is_write() && !read.may_ask_replica());
        let text = read.by_text().unwrap();
        assert_eq!(words(&text)[2..], ["1", "p:k"]);
        for script in [read, text] {
            assert_eq!(script.routing_key(), Some(&b"p:k"[..]));
        }
        assert_eq!(Command::other("PING").routing_key(), None);
        assert!(Command::get(key).may_ask_replica());
    }
}
