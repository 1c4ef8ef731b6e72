//! Requests, as bytes.

use bytes::{BufMut, BytesMut};

use super::{next, op, xid};
use crate::Acl;
use crate::data::Data;

/// Requests that are sent together, and answered in their order.
#[derive(Default)]
pub(crate) struct Frames {
    bytes: BytesMut,
    count: usize,
    longest: usize,
    multi: bool,
    fresh: bool,
}

impl Frames {
    pub(crate) fn new() -> Self {
        Self {
            // Enough for most reads.
            bytes: BytesMut::with_capacity(128),
            ..Self::default()
        }
    }

    /// What is asked for here is answered with all that was written before, by any client on any server.
    pub(crate) fn fresh() -> Self {
        Self {
            fresh: true,
            ..Self::new()
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// How long the longest request is, as servers count it.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// Whether it is one request of several writes, whose answer has the errors within.
    pub(crate) fn is_multi(&self) -> bool {
        self.multi
    }

    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Makes a follower catch up with the leader before it answers what follows.
    pub(crate) fn sync(self) -> Self {
        // Any path does; it need not be there.
        self.frame(op::SYNC, |body| put_text(body, "/"))
    }

    pub(crate) fn exists(self, path: &str) -> Self {
        self.frame(op::EXISTS, |body| put_path_without_watch(body, path))
    }

    pub(crate) fn get(self, path: &str) -> Self {
        self.frame(op::GET_DATA, |body| put_path_without_watch(body, path))
    }

    pub(crate) fn children(self, path: &str) -> Self {
        self.frame(op::GET_CHILDREN, |body| put_path_without_watch(body, path))
    }

    /// Does one write.
    pub(crate) fn write(self, write: &Write<'_>) -> Self {
        self.frame(write.op(), |body| write.put(body))
    }

    /// Does all writes or, when one of them fails, none.
    pub(crate) fn multi(mut self, writes: &[Write<'_>]) -> Self {
        self.multi = true;
        self.frame(op::MULTI, |body| {
            body.reserve(writes.iter().map(Write::len).sum());
            for write in writes {
                put_multi_header(body, write.op(), false);
                write.put(body);
            }
            put_multi_header(body, op::NONE, true);
        })
    }

    /// Gets many at once.
    pub(crate) fn multi_get(self, paths: &[&str]) -> Self {
        self.frame(op::MULTI_READ, |body| {
            for path in paths {
                put_multi_header(body, op::GET_DATA, false);
                put_path_without_watch(body, path);
            }
            put_multi_header(body, op::NONE, true);
        })
    }

    fn frame(mut self, op: i32, put: impl FnOnce(&mut BytesMut)) -> Self {
        let begin = self.bytes.len();
        // The length and the number, which are not known yet.
        self.bytes.put_slice(&[0; 8]);
        self.bytes.put_i32(op);
        put(&mut self.bytes);
        let len = self.bytes.len() - begin - 4;
        self.bytes[begin..begin + 4].copy_from_slice(&length(len).to_be_bytes());
        self.longest = self.longest.max(len);
        self.count += 1;
        self
    }

    /// The bytes to send, the requests numbered from `number` on, which becomes the one after them.
    pub(crate) fn numbered(mut self, number: &mut i32) -> BytesMut {
        let mut at = 0;
        while let Some(&[a, b, c, d]) = self.bytes.get(at..at + 4) {
            self.bytes[at + 4..at + 8].copy_from_slice(&number.to_be_bytes());
            at += 4 + usize::try_from(i32::from_be_bytes([a, b, c, d])).unwrap_or_default();
            *number = next(*number);
        }
        self.bytes
    }
}

/// One write, alone or in a multi.
pub(crate) enum Write<'a> {
    Create {
        path: &'a str,
        data: &'a Data<'a>,
        acl: &'a [Acl],
    },
    Set {
        path: &'a str,
        data: &'a Data<'a>,
        version: i32,
    },
    Delete {
        path: &'a str,
        version: i32,
    },
    Check {
        path: &'a str,
        version: i32,
    },
}

impl Write<'_> {
    fn op(&self) -> i32 {
        match self {
            Self::Create { .. } => op::CREATE,
            Self::Set { .. } => op::SET_DATA,
            Self::Delete { .. } => op::DELETE,
            Self::Check { .. } => op::CHECK,
        }
    }

    /// About how long it is in a multi.
    fn len(&self) -> usize {
        let around = 32;
        match self {
            Self::Create { path, data, acl } => {
                let acl = acl.iter().map(Acl::len).sum::<usize>();
                around + path.len() + data.len() + acl
            }
            Self::Set { path, data, .. } => around + path.len() + data.len(),
            Self::Delete { path, .. } | Self::Check { path, .. } => around + path.len(),
        }
    }

    fn put(&self, body: &mut BytesMut) {
        match self {
            Self::Create { path, data, acl } => {
                put_text(body, path);
                put_data(body, data);
                body.put_i32(length(acl.len()));
                for acl in *acl {
                    body.put_i32(acl.rights.bits());
                    put_text(body, &acl.scheme);
                    put_text(body, &acl.id);
                }
                // A node that stays, and is named as it is told.
                body.put_i32(0);
            }
            Self::Set {
                path,
                data,
                version,
            } => {
                put_text(body, path);
                put_data(body, data);
                body.put_i32(*version);
            }
            Self::Delete { path, version } | Self::Check { path, version } => {
                put_text(body, path);
                body.put_i32(*version);
            }
        }
    }
}

/// Begins a session, or goes on with one.
pub(crate) fn connect(zxid: i64, timeout: i32, session: i64, password: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 4];
    frame.put_i32(0);
    frame.put_i64(zxid);
    frame.put_i32(timeout);
    frame.put_i64(session);
    put_bytes(&mut frame, password);
    // Not with a server that is cut off from the others.
    frame.put_u8(0);
    finish(frame)
}

/// Says who the session is, by the scheme `digest`.
pub(crate) fn auth(user_and_password: &str) -> Vec<u8> {
    let mut frame = vec![0; 4];
    frame.put_i32(xid::AUTH);
    frame.put_i32(op::AUTH);
    frame.put_i32(0);
    put_text(&mut frame, "digest");
    put_text(&mut frame, user_and_password);
    finish(frame)
}

pub(crate) fn ping() -> Vec<u8> {
    let mut frame = vec![0; 4];
    frame.put_i32(xid::PING);
    frame.put_i32(op::PING);
    finish(frame)
}

/// Ends the session.
pub(crate) fn close() -> Vec<u8> {
    let mut frame = vec![0; 4];
    frame.put_i32(0);
    frame.put_i32(op::CLOSE);
    finish(frame)
}

fn finish(mut frame: Vec<u8>) -> Vec<u8> {
    let length = length(frame.len() - 4);
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}

fn length(length: usize) -> i32 {
    // Values are far below it: their limit is checked.
    i32::try_from(length).unwrap_or(i32::MAX)
}

fn put_text(body: &mut impl BufMut, text: &str) {
    put_bytes(body, text.as_bytes());
}

fn put_bytes(body: &mut impl BufMut, bytes: &[u8]) {
    body.put_i32(length(bytes.len()));
    body.put_slice(bytes);
}

fn put_path_without_watch(body: &mut BytesMut, path: &str) {
    put_text(body, path);
    body.put_u8(0);
}

fn put_data(body: &mut BytesMut, data: &Data<'_>) {
    body.reserve(data.len() + 64);
    body.put_i32(length(data.len()));
    data.put(body);
}

fn put_multi_header(body: &mut BytesMut, op: i32, done: bool) {
    body.put_i32(op);
    body.put_u8(u8::from(done));
    body.put_i32(-1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_request_is_what_a_server_takes_or_not() {
        let one = Frames::new().exists("/a");
        // The number, the kind, the path with its length, and that there is no watch.
        assert_eq!(one.longest(), 4 + 4 + 4 + 2 + 1);
        let path = "/a".repeat(100);
        let some = one.exists(&path).exists("/b").exists("/c");
        assert_eq!(some.longest(), 4 + 4 + 4 + 200 + 1);
        assert_eq!(some.count(), 4);
    }

    #[test]
    fn requests_are_numbered_on() {
        let mut number = i32::MAX - 1;
        let bytes = Frames::new().sync().sync().sync().numbered(&mut number);
        let numbers = bytes.chunks(17).map(|frame| frame[4..8].to_vec());
        let expected = [i32::MAX - 1, i32::MAX, 1].map(|number| number.to_be_bytes().to_vec());
        assert_eq!(numbers.collect::<Vec<_>>(), expected);
        assert_eq!(number, 2);
    }
}
