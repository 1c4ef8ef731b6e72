//! What servers answer.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::{Buf as _, Bytes, BytesMut};

use crate::config::MAX_ITEM;

/// One answer. There is no `Debug`, since values are secret.
pub(crate) enum Reply {
    /// `HD` or `VA`: done, or there, with what was asked of it.
    Done(Item),
    /// `EN` or `NF`: there is no such key.
    Missing,
    /// `EX`: it is at another version.
    Changed,
    /// `NS`: not stored, since it is there, or is not.
    NotStored,
    /// To `version`.
    Version(String),
    /// What ends with `END`: the rows of `stats`, or the items of `get`.
    List(Stats, Found),
    /// To a login.
    LoggedIn,
    /// A refusal, in the server's words.
    Refused(String),
}

/// Which answers there are to a request; a refusal is one to any.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Kinds(u8);

impl Kinds {
    pub(crate) const VALUE: Self = Self(1);
    pub(crate) const DONE: Self = Self(1 << 1);
    pub(crate) const MISSING: Self = Self(1 << 2);
    pub(crate) const CHANGED: Self = Self(1 << 3);
    pub(crate) const NOT_STORED: Self = Self(1 << 4);
    pub(crate) const VERSION: Self = Self(1 << 5);
    pub(crate) const LIST: Self = Self(1 << 6);
    pub(crate) const LOGGED_IN: Self = Self(1 << 7);

    pub(crate) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Reply {
    pub(crate) fn is_one_of(&self, kinds: Kinds) -> bool {
        let kind = match self {
            Self::Done(item) if item.value.is_some() => Kinds::VALUE,
            Self::Done(_) => Kinds::DONE,
            Self::Missing => Kinds::MISSING,
            Self::Changed => Kinds::CHANGED,
            Self::NotStored => Kinds::NOT_STORED,
            Self::Version(_) => Kinds::VERSION,
            Self::List(..) => Kinds::LIST,
            Self::LoggedIn => Kinds::LOGGED_IN,
            Self::Refused(_) => return true,
        };
        kinds.or(kind) == kinds
    }
}

/// What was asked of an item.
#[derive(Default)]
pub(crate) struct Item {
    pub(crate) value: Option<Bytes>,
    pub(crate) version: Option<u64>,
    /// The seconds left; -1 for ever.
    pub(crate) left: Option<i64>,
    pub(crate) client_flags: Option<u32>,
    /// The number of the connection that it came by.
    pub(crate) connection: u64,
}

/// The items that `get` found, in their order.
#[derive(Default)]
pub(crate) struct Found {
    items: VecDeque<FoundItem>,
    /// The names of all, one after the other: they are looked at once.
    names: Vec<u8>,
}

struct FoundItem {
    name: Range<usize>,
    client_flags: u32,
    value: Bytes,
}

impl Found {
    /// The value and the client flags of the next one, if it has that name.
    pub(crate) fn next_if(&mut self, name: &str) -> Option<(Bytes, u32)> {
        let next = self.items.front()?;
        if self.names[next.name.clone()] != *name.as_bytes() {
            return None;
        }
        let FoundItem {
            value,
            client_flags,
            ..
        } = self.items.pop_front()?;
        Some((value, client_flags))
    }

    /// Whether none is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

/// A table of names and values.
#[derive(Default)]
pub(crate) struct Stats(Vec<(String, String)>);

impl Stats {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }
}

/// It is not what Memcached answers: nothing that follows can be trusted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Garbled;

/// The longest line that servers answer.
const MAX_LINE: usize = 64 * 1024;

/// Values up to this are copied, so that one that is kept does not hold on to the buffer it arrived in.
const COPIED: usize = 4096;

/// Reads answers, one by one.
#[derive(Default)]
pub(crate) struct Reader {
    /// So far, of a list that has not ended.
    rows: Vec<(String, String)>,
    found: Found,
}

impl Reader {
    /// The next answer, once it is there in full; else there is room for what is known to come.
    pub(crate) fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Reply>, Garbled> {
        loop {
            let Some(end) = buffer.iter().position(|byte| *byte == b'\n') else {
                return match buffer.len() > MAX_LINE {
                    true => Err(Garbled),
                    false => Ok(None),
                };
            };
            let line = buffer[..end].strip_suffix(b"\r").ok_or(Garbled)?;
            if let Some(head) = line.strip_prefix(b"VA ") {
                let (length, item) = head_of_value(head)?;
                let value = value(buffer, end + 1, length)?;
                return Ok(value.map(|value| {
                    let value = Some(value);
                    Reply::Done(Item { value, ..item })
                }));
            }
            if let Some(head) = line.strip_prefix(b"VALUE ") {
                let (name, client_flags, length) = head_of_found(head)?;
                let begin = self.found.names.len();
                self.found.names.extend_from_slice(name.as_bytes());
                let name = begin..self.found.names.len();
                let Some(value) = value(buffer, end + 1, length)? else {
                    self.found.names.truncate(begin);
                    return Ok(None);
                };
                self.found.items.push_back(FoundItem {
                    name,
                    client_flags,
                    value,
                });
                continue;
            }
            let line = std::str::from_utf8(line).map_err(|_| Garbled)?;
            if let Some(row) = line.strip_prefix("STAT ") {
                let (name, value) = row.split_once(' ').unwrap_or((row, ""));
                self.rows.push((name.to_owned(), value.to_owned()));
                buffer.advance(end + 1);
                continue;
            }
            let reply = match line.split_once(' ').unwrap_or((line, "")) {
                ("HD", flags) => Reply::Done(item(flags)?),
                ("EN" | "NF", _) => Reply::Missing,
                ("EX", _) => Reply::Changed,
                ("NS", _) => Reply::NotStored,
                ("STORED", "") => Reply::LoggedIn,
                ("END", "") => {
                    let rows = std::mem::take(&mut self.rows);
                    Reply::List(Stats(rows), std::mem::take(&mut self.found))
                }
                ("VERSION", version) => Reply::Version(version.to_owned()),
                ("ERROR" | "CLIENT_ERROR" | "SERVER_ERROR", _) => {
                    // It comes in the place of the list's end.
                    self.rows.clear();
                    self.found = Found::default();
                    Reply::Refused(line.to_owned())
                }
                _ => return Err(Garbled),
            };
            buffer.advance(end + 1);
            return Ok(Some(reply));
        }
    }
}

/// `<length> <flags>*`
fn head_of_value(head: &[u8]) -> Result<(usize, Item), Garbled> {
    let head = std::str::from_utf8(head).map_err(|_| Garbled)?;
    let (length, flags) = head.split_once(' ').unwrap_or((head, ""));
    Ok((self::length(length)?, item(flags)?))
}

/// `<name> <flags> <length>`
fn head_of_found(head: &[u8]) -> Result<(&str, u32, usize), Garbled> {
    let head = std::str::from_utf8(head).map_err(|_| Garbled)?;
    let mut words = head.split(' ');
    let (Some(name), Some(flags), Some(length), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Garbled);
    };
    let flags = flags.parse().map_err(|_| Garbled)?;
    Ok((name, flags, self::length(length)?))
}

/// The length of a value that is to come, for which room is made.
fn length(text: &str) -> Result<usize, Garbled> {
    let length = text.parse().map_err(|_| Garbled)?;
    match length <= MAX_ITEM {
        true => Ok(length),
        false => Err(Garbled),
    }
}

fn item(flags: &str) -> Result<Item, Garbled> {
    let mut item = Item::default();
    for flag in flags.split_ascii_whitespace() {
        let (name, token) = flag.split_at_checked(1).ok_or(Garbled)?;
        match name {
            "c" => item.version = Some(token.parse().map_err(|_| Garbled)?),
            "t" => item.left = Some(token.parse().map_err(|_| Garbled)?),
            "f" => item.client_flags = Some(token.parse().map_err(|_| Garbled)?),
            // What other programs did to it, as marking it stale.
            _ => {}
        }
    }
    Ok(item)
}

/// The value that begins at `start`, once it is there in full.
fn value(buffer: &mut BytesMut, start: usize, length: usize) -> Result<Option<Bytes>, Garbled> {
    let whole = start + length + 2;
    if buffer.len() < whole {
        buffer.reserve(whole - buffer.len());
        return Ok(None);
    }
    if buffer[whole - 2..whole] != *b"\r\n" {
        return Err(Garbled);
    }
    buffer.advance(start);
    let value = match length <= COPIED {
        true => {
            let value = Bytes::copy_from_slice(&buffer[..length]);
            buffer.advance(length);
            value
        }
        false => buffer.split_to(length).freeze(),
    };
    buffer.advance(2);
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An answer, as text.
    fn shown(reply: &Reply) -> String {
        match reply {
            Reply::Done(item) => format!(
                "{} {:?} {:?} {:?}",
                item.value
                    .as_ref()
                    .map_or("-".to_owned(), |value| format!("{value:?}")),
                item.version,
                item.left,
                item.client_flags
            ),
            Reply::Missing => "missing".to_owned(),
            Reply::Changed => "changed".to_owned(),
            Reply::NotStored => "not stored".to_owned(),
            Reply::Version(version) => format!("version {version}"),
            Reply::List(stats, found) => {
                let found = found.items.iter().map(|item| {
                    let name = Bytes::copy_from_slice(&found.names[item.name.clone()]);
                    format!("{name:?} {} {:?}", item.client_flags, item.value)
                });
                format!("{:?} {:?}", stats.0, found.collect::<Vec<_>>())
            }
            Reply::LoggedIn => "logged in".to_owned(),
            Reply::Refused(line) => line.clone(),
        }
    }

    /// What is read when it arrives in pieces of this size.
    fn read(text: &[u8], piece: usize) -> Result<Vec<String>, Garbled> {
        let (mut reader, mut buffer) = (Reader::default(), BytesMut::new());
        let mut replies = Vec::new();
        for piece in text.chunks(piece) {
            buffer.extend_from_slice(piece);
            while let Some(reply) = reader.next(&mut buffer)? {
                replies.push(shown(&reply));
            }
        }
        assert!(buffer.is_empty(), "something is left");
        Ok(replies)
    }

    #[test]
    fn answers_are_read_however_they_are_cut() {
        let large = "x".repeat(COPIED + 1);
        let text = format!(
            "HD\r\nHD c17 t-1\r\nVA 0\r\n\r\nVA 4 f27510 c18446744073709551615 t60 W\r\n\r\n\0\u{1}\r\nEN\r\nNF\r\nEX\r\nNS\r\n\
             STAT pid 1\r\nSTAT libevent a b\r\nSTAT empty \r\nEND\r\nEND\r\n\
             VALUE ü 7 3\r\n\r\n\r\r\nVALUE b 0 0\r\n\r\nEND\r\nVALUE a 0 1\r\na\r\nSTAT a 1\r\nERROR\r\nEND\r\nVERSION 1.6.18\r\nSTORED\r\nERROR\r\n\
             CLIENT_ERROR bad\r\nSERVER_ERROR out of memory storing object\r\nVA {} t5\r\n{large}\r\nHD\r\n",
            large.len(),
        );
        let expected = [
            "- None None None".to_owned(),
            "- Some(17) Some(-1) None".to_owned(),
            r#"b"" None None None"#.to_owned(),
            r#"b"\r\n\0\x01" Some(18446744073709551615) Some(60) Some(27510)"#.to_owned(),
            "missing".to_owned(),
            "missing".to_owned(),
            "changed".to_owned(),
            "not stored".to_owned(),
            r#"[("pid", "1"), ("libevent", "a b"), ("empty", "")] []"#.to_owned(),
            "[] []".to_owned(),
            format!("[] {:?}", [r#"b"\xc3\xbc" 7 b"\r\n\r""#, r#"b"b" 0 b"""#]),
            "ERROR".to_owned(),
            "[] []".to_owned(),
            "version 1.6.18".to_owned(),
            "logged in".to_owned(),
            "ERROR".to_owned(),
            "CLIENT_ERROR bad".to_owned(),
            "SERVER_ERROR out of memory storing object".to_owned(),
            format!(r#"b"{large}" None Some(5) None"#),
            "- None None None".to_owned(),
        ];
        for piece in [1, 2, 3, 7, 1000, text.len()] {
            assert_eq!(read(text.as_bytes(), piece).unwrap(), expected, "{piece}");
        }
    }

    #[test]
    fn what_is_no_answer_is_not_taken_for_one() {
        for text in [
            "\n",
            "\r\n",
            "HD\n",
            "HELLO\r\n",
            "HDc17\r\n",
            "HD c\r\n",
            "HD tx\r\n",
            "HD ü\r\n",
            "VA\r\n",
            "VA x\r\n\r\n",
            "VA -1\r\n\r\n",
            "VA 1\r\nab\r\n",
            "VA 99999999999\r\n",
            "VA 18446744073709551615\r\n",
            "VALUE a 0\r\n",
            "VALUE a 0 1 2\r\na\r\n",
            "VALUE a 0 99999999999\r\n",
            "VALUE a b 1\r\na\r\n",
            "STORED x\r\n",
            "-ERR unknown command\r\n",
            "HTTP/1.1 400 Bad Request\r\n",
        ] {
            read(text.as_bytes(), text.len()).expect_err(text);
        }
        read(b"\xff\xff\r\n", 4).unwrap_err();
        read(&[b'a'; MAX_LINE + 2], MAX_LINE + 2).unwrap_err();
    }

    proptest! {
        #[test]
        fn nothing_makes_a_panic(text in prop::collection::vec(prop::sample::select(
            b"VAHDENSTORCLI_ 0123456789cft-\r\n\r\n\xff".to_vec()), 0..60)) {
            let (mut reader, mut buffer) = (Reader::default(), BytesMut::from(&text[..]));
            while let Ok(Some(_)) = reader.next(&mut buffer) {}
        }
    }
}
