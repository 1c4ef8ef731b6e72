//! What servers are asked.

use std::io::Write as _;

use kvstore_core::{Bytes, Error, ErrorKind};

use crate::names::{MARK, Name};
use crate::reply::Kinds;

/// What is sent in one piece, and answered by so many replies.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) data: Bytes,
    pub(crate) replies: usize,
    /// Which they may be.
    pub(crate) kinds: Kinds,
    /// Whether it changes anything: then it is not sent twice.
    pub(crate) writes: bool,
    /// The size of the largest item that it stores, as the server counts it.
    pub(crate) largest: usize,
    /// The number of the only connection that it means something on: on another one, the version that it names may be
    /// that of another value, since the server may have been started again.
    pub(crate) only_on: Option<u64>,
}

/// Commands, one after the other.
#[derive(Default)]
pub(crate) struct Commands {
    data: Vec<u8>,
    replies: usize,
    kinds: Kinds,
    writes: bool,
    largest: usize,
    only_on: Option<u64>,
}

/// When a key expires, as the server is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ttl {
    Never,
    /// In so many of the server's seconds, up to 30 days.
    Seconds(u64),
    /// At this second of the server's clock, since 1970.
    Date(u64),
}

/// The longest time that the server does not take for a date.
pub(crate) const MAX_SECONDS: u64 = 30 * 24 * 60 * 60;

/// Under which condition something is stored.
#[derive(Clone, Copy)]
pub(crate) enum Mode {
    Always,
    IfAbsent,
    IfPresent,
    IfVersion(u64),
}

/// What a read asks of an item.
#[derive(Clone, Copy)]
pub(crate) enum Ask {
    /// Whether it is there.
    Presence,
    Value,
    /// The version and the time left.
    State,
    /// All of these.
    Entry,
}

/// What an item takes beside its name, its client flags and its value: a header of 48 bytes, the version, the zero after
/// the name and the end of the value's line.
const OVERHEAD: usize = 48 + 8 + 1 + 2;

/// What is left of the server's `item_size_max` for a value under any key: [`OVERHEAD`], the longest name, the
/// client flags, and an escaped key of 1,024 bytes before the value.
pub(crate) const RESERVED: usize = 4096;

/// The size of an item, as the server compares it with its `item_size_max`.
pub(crate) fn item_size(name: &Name, value: &[u8]) -> usize {
    let client_flags = if name.is_hashed() { 4 } else { 0 };
    OVERHEAD + name.text.len() + client_flags + name.header().len() + value.len()
}

pub(crate) fn too_large(limit: usize) -> Error {
    let message = format!(
        "the item is over the {limit} bytes that the server takes (`-I`), key and header included"
    );
    Error::new(ErrorKind::ValueTooLarge, message)
}

impl Commands {
    /// Room for a command that carries so many bytes.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        // The command's word, flags and line ends are far from this.
        let data = Vec::with_capacity(bytes + 80);
        Self {
            data,
            ..Self::default()
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.data.len()
    }

    pub(crate) fn request(self) -> Request {
        Request {
            data: self.data.into(),
            replies: self.replies,
            kinds: self.kinds,
            writes: self.writes,
            largest: self.largest,
            only_on: self.only_on,
        }
    }

    /// A request of one command, under a version that was read on this connection, if it was. On another it is answered as if
    /// the key had changed.
    pub(crate) fn only_on(&mut self, connection: Option<u64>) {
        self.only_on = connection;
    }

    pub(crate) fn get(&mut self, name: &Name, ask: Ask) {
        let found = match ask {
            Ask::Presence | Ask::State => Kinds::DONE,
            Ask::Value | Ask::Entry => Kinds::VALUE,
        };
        self.expect(found.or(Kinds::MISSING));
        let flags = match (ask, name.is_hashed()) {
            (Ask::Presence, _) => "",
            (Ask::Value, false) => " v",
            (Ask::Value, true) => " v f",
            (Ask::State, _) => " c t",
            (Ask::Entry, false) => " v c t",
            (Ask::Entry, true) => " v c t f",
        };
        self.line(&["mg ", &name.text, flags]);
    }

    /// Asks for the values of several items, which are answered in one reply: a server does a good deal less for that than for as
    /// many commands.
    pub(crate) fn get_all<'a>(&mut self, names: impl Iterator<Item = &'a Name>) {
        self.expect(Kinds::LIST);
        self.word("get");
        for name in names {
            self.word(" ");
            self.word(&name.text);
        }
        self.word("\r\n");
    }

    pub(crate) fn touch(&mut self, name: &Name, ttl: Ttl) {
        self.writes = true;
        self.expect(Kinds::DONE.or(Kinds::MISSING));
        let ttl = match ttl {
            Ttl::Never => " T0".to_owned(),
            Ttl::Seconds(ttl) | Ttl::Date(ttl) => format!(" T{ttl}"),
        };
        self.line(&["mg ", &name.text, &ttl]);
    }

    pub(crate) fn set(&mut self, name: &Name, value: &[u8], ttl: Ttl, mode: Mode) {
        let header = name.header();
        self.writes = true;
        self.expect(Kinds::DONE.or(match mode {
            Mode::Always => Kinds::DONE,
            Mode::IfAbsent | Mode::IfPresent => Kinds::NOT_STORED,
            Mode::IfVersion(_) => Kinds::MISSING.or(Kinds::CHANGED),
        }));
        self.largest = self.largest.max(item_size(name, value));
        self.word("ms ");
        self.word(&name.text);
        self.number(" ", header.len() + value.len());
        match ttl {
            Ttl::Never => {}
            Ttl::Seconds(ttl) | Ttl::Date(ttl) => self.number(" T", ttl),
        }
        if name.is_hashed() {
            self.number(" F", MARK);
        }
        // The version that it makes is asked for where somebody may want it.
        match mode {
            Mode::Always => {}
            Mode::IfAbsent => self.word(" ME c"),
            Mode::IfPresent => self.word(" MR c"),
            Mode::IfVersion(version) => {
                self.number(" C", version);
                self.word(" c");
            }
        }
        self.word("\r\n");
        self.data.extend_from_slice(header);
        self.data.extend_from_slice(value);
        self.word("\r\n");
    }

    pub(crate) fn delete(&mut self, name: &Name, version: Option<u64>) {
        self.writes = true;
        self.expect(Kinds::DONE.or(Kinds::MISSING));
        match version {
            None => self.line(&["md ", &name.text]),
            Some(version) => {
                self.kinds = self.kinds.or(Kinds::CHANGED);
                self.line(&["md ", &name.text, &format!(" C{version}")]);
            }
        }
    }

    pub(crate) fn version(&mut self) {
        self.expect(Kinds::VERSION);
        self.line(&["version"]);
    }

    pub(crate) fn stats(&mut self) {
        self.expect(Kinds::LIST);
        self.line(&["stats"]);
    }

    pub(crate) fn settings(&mut self) {
        self.expect(Kinds::LIST);
        self.line(&["stats settings"]);
    }

    /// What Memcached takes for a login, where it wants one, looks like a `set`. Where it wants none it is one.
    pub(crate) fn login(&mut self, user: &str, password: &str) {
        let length = (user.len() + 1 + password.len()).to_string();
        self.expect(Kinds::LOGGED_IN);
        self.line(&["set login 0 0 ", &length]);
        for word in [user, " ", password, "\r\n"] {
            self.word(word);
        }
    }

    fn line(&mut self, words: &[&str]) {
        words.iter().for_each(|word| self.word(word));
        self.word("\r\n");
    }

    /// One answer more, of one of these kinds.
    fn expect(&mut self, kinds: Kinds) {
        self.replies += 1;
        self.kinds = self.kinds.or(kinds);
    }

    fn word(&mut self, word: &str) {
        self.data.extend_from_slice(word.as_bytes());
    }

    fn number(&mut self, before: &str, number: impl std::fmt::Display) {
        // Writing to a vector does not fail.
        let _ = write!(self.data, "{before}{number}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Names;

    fn text(make: impl FnOnce(&mut Commands)) -> String {
        let mut commands = Commands::default();
        make(&mut commands);
        let request = commands.request();
        assert_eq!(request.replies, 1);
        String::from_utf8(request.data.to_vec()).unwrap()
    }

    #[test]
    fn commands_are_lines() {
        let names = Names::new("p:");
        let (name, long) = (names.name("k v"), names.name(&"k".repeat(250)));
        let hash = &long.text;
        for (command, expected) in [
            (text(|c| c.get(&name, Ask::Presence)), "mg p:k~20v\r\n"),
            (text(|c| c.get(&name, Ask::Entry)), "mg p:k~20v v c t\r\n"),
            (
                text(|c| c.get(&long, Ask::Value)),
                &format!("mg {hash} v f\r\n")[..],
            ),
            (
                text(|c| c.get_all([&name, &long].into_iter())),
                &format!("get p:k~20v {hash}\r\n")[..],
            ),
            (text(|c| c.touch(&name, Ttl::Never)), "mg p:k~20v T0\r\n"),
            (
                text(|c| c.touch(&name, Ttl::Seconds(7))),
                "mg p:k~20v T7\r\n",
            ),
            (text(|c| c.delete(&name, None)), "md p:k~20v\r\n"),
            (text(|c| c.delete(&name, Some(7))), "md p:k~20v C7\r\n"),
            (
                text(|c| c.set(&name, b"\r\n", Ttl::Never, Mode::Always)),
                "ms p:k~20v 2\r\n\r\n\r\n",
            ),
            (
                text(|c| c.set(&name, b"v", Ttl::Date(99), Mode::IfVersion(7))),
                "ms p:k~20v 1 T99 C7 c\r\nv\r\n",
            ),
            (
                text(|c| c.set(&long, b"v", Ttl::Seconds(9), Mode::IfAbsent)),
                &format!("ms {hash} 252 T9 F27510 ME c\r\n{}\nv\r\n", "k".repeat(250))[..],
            ),
        ] {
            assert_eq!(command, expected);
        }
    }
}
