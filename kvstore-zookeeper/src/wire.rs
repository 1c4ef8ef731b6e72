//! ZooKeeper's protocol: requests to bytes, bytes to answers.

mod answer;
mod request;

pub(crate) use answer::{
    Answer, Connected, Found, Stat, failed_write, names, take_all_data, take_data,
};
pub(crate) use request::{Frames, Write, auth, close, connect, ping};

/// What a frame is that belongs to no request, by its number.
pub(crate) mod xid {
    pub(crate) const NOTIFICATION: i32 = -1;
    pub(crate) const PING: i32 = -2;
    pub(crate) const AUTH: i32 = -4;
}

mod op {
    pub(super) const CREATE: i32 = 1;
    pub(super) const DELETE: i32 = 2;
    pub(super) const EXISTS: i32 = 3;
    pub(super) const GET_DATA: i32 = 4;
    pub(super) const SET_DATA: i32 = 5;
    pub(super) const GET_CHILDREN: i32 = 8;
    pub(super) const SYNC: i32 = 9;
    pub(super) const PING: i32 = 11;
    pub(super) const CHECK: i32 = 13;
    pub(super) const MULTI: i32 = 14;
    pub(super) const MULTI_READ: i32 = 22;
    pub(super) const AUTH: i32 = 100;
    pub(super) const CLOSE: i32 = -11;
    /// The end of a multi, and in its answer what has failed.
    pub(super) const NONE: i32 = -1;
}

/// The version that stands for any.
pub(crate) const ANY: i32 = -1;

/// The number after a number: never a negative one, which would be no request's.
pub(crate) fn next(number: i32) -> i32 {
    number.checked_add(1).unwrap_or(1)
}

/// What stands where the protocol wants something else.
#[derive(Debug)]
pub(crate) struct Garbled;

impl From<bytes::TryGetError> for Garbled {
    fn from(_: bytes::TryGetError) -> Self {
        Self
    }
}

/// Why the server did not do what it was asked, as its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) i32);

impl Code {
    pub(crate) const NO_NODE: Self = Self(-101);
    pub(crate) const NO_AUTH: Self = Self(-102);
    pub(crate) const BAD_VERSION: Self = Self(-103);
    pub(crate) const NODE_EXISTS: Self = Self(-110);
    pub(crate) const NOT_EMPTY: Self = Self(-111);
    pub(crate) const SESSION_EXPIRED: Self = Self(-112);
    pub(crate) const AUTH_FAILED: Self = Self(-115);
    pub(crate) const AUTH_WANTED: Self = Self(-124);
}
