//! A node's data: the raw value, or a header with its expiry before it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{BufMut as _, Bytes, BytesMut};
use kvstore_core::{Error, ErrorKind, Expiry, Result};

/// What a header begins with: no text does, since it is not UTF-8.
const MAGIC: [u8; 4] = *b"\xffkv\x01";

/// The magic bytes, and the milliseconds since 1970, 0 for never.
const HEADER_LEN: usize = MAGIC.len() + 8;

/// A moment by this machine's clock, in whole milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(u64);

impl Moment {
    /// Rounded down, so that a key is not missing before its deadline.
    pub(crate) fn now() -> Self {
        Self(millis(since_1970()))
    }

    /// The moment after a span from now, rounded up.
    fn after(span: Duration) -> Self {
        let moment = since_1970().saturating_add(span);
        let odd = !moment.subsec_nanos().is_multiple_of(1_000_000);
        Self(millis(moment).saturating_add(u64::from(odd)))
    }

    /// How long it is until this moment; `None` when it is there.
    pub(crate) fn until(self, now: Self) -> Option<Duration> {
        let left = self.0.checked_sub(now.0).filter(|left| *left > 0)?;
        Some(Duration::from_millis(left))
    }
}

fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// When a key that is written is to expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    Never,
    /// From when it is sent, and not from when its caller begins to wait for a connection.
    After(Duration),
    At(Moment),
}

impl Ends {
    /// As a key does that is as it was read.
    pub(crate) fn kept(expires_at: Option<Moment>) -> Self {
        expires_at.map_or(Self::Never, Self::At)
    }

    fn moment(self) -> Option<Moment> {
        match self {
            Self::Never => None,
            Self::After(span) => Some(Moment::after(span)),
            Self::At(moment) => Some(moment),
        }
    }
}

/// When a key expires that is written, and had the expiry `kept`.
pub(crate) fn ends(expiry: Expiry, kept: Option<Moment>) -> Result<Ends> {
    match expiry {
        Expiry::Never => Ok(Ends::Never),
        Expiry::After(span) => Ok(Ends::After(span)),
        Expiry::Keep => Ok(Ends::kept(kept)),
        _ => Err(Error::new(
            ErrorKind::Unsupported,
            "this release does not know that expiry",
        )),
    }
}

/// What is written to a node.
pub(crate) struct Data<'a> {
    value: &'a [u8],
    ends: Ends,
}

impl<'a> Data<'a> {
    pub(crate) const EMPTY: Data<'static> = Data {
        value: &[],
        ends: Ends::Never,
    };

    pub(crate) fn new(value: &'a [u8], ends: Ends) -> Self {
        Self { value, ends }
    }

    /// Whether the value expires, or would be taken for one that has a header.
    fn has_header(&self) -> bool {
        self.ends != Ends::Never || self.value.starts_with(&MAGIC)
    }

    pub(crate) fn len(&self) -> usize {
        let header = if self.has_header() { HEADER_LEN } else { 0 };
        header + self.value.len()
    }

    /// Writes it as it is at this moment: a span that is left to the key begins.
    pub(crate) fn put(&self, body: &mut BytesMut) {
        if self.has_header() {
            body.put_slice(&MAGIC);
            body.put_u64(self.ends.moment().map_or(0, |at| at.0));
        }
        body.put_slice(self.value);
    }
}

/// The value and the expiry that a node's data are.
pub(crate) fn read(data: Bytes) -> Result<(Bytes, Option<Moment>)> {
    let Some(rest) = data.strip_prefix(&MAGIC) else {
        return Ok((data, None));
    };
    let Some((moment, _)) = rest.split_first_chunk() else {
        return Err(Error::new(
            ErrorKind::Decode,
            "the node's data begins as a value with an expiry does, and ends there",
        ));
    };
    let expires_at = match u64::from_be_bytes(*moment) {
        0 => None,
        millis => Some(Moment(millis)),
    };
    Ok((data.slice(HEADER_LEN..), expires_at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: &[u8], expires_at: Option<Moment>) -> Bytes {
        let (data, mut body) = (Data::new(value, Ends::kept(expires_at)), BytesMut::new());
        data.put(&mut body);
        assert_eq!(body.len(), data.len());
        body.freeze()
    }

    #[test]
    fn values_come_back_with_their_expiry() {
        let values: [&[u8]; 7] = [
            b"",
            b"value",
            b"\xff",
            b"\xffkv",
            b"\xffkv\x01",
            b"\xffkv\x01 and more",
            b"\xffkv\x01\0\0\0\0\0\0\0\x01value",
        ];
        for value in values {
            for expires_at in [None, Some(Moment(1)), Some(Moment(u64::MAX))] {
                let data = written(value, expires_at);
                assert_eq!(
                    read(data).unwrap(),
                    (Bytes::copy_from_slice(value), expires_at)
                );
            }
        }
    }

    #[test]
    fn a_value_is_raw_unless_it_expires_or_looks_as_if_it_did() {
        assert_eq!(written(b"value", None), &b"value"[..]);
        assert_eq!(written(b"\xff\xd8\xff", None), &b"\xff\xd8\xff"[..]);
        assert_eq!(
            written(b"value", Some(Moment(0x0102_0304))),
            &b"\xffkv\x01\0\0\0\0\x01\x02\x03\x04value"[..]
        );
        assert_eq!(
            written(b"\xffkv\x01", None),
            &b"\xffkv\x01\0\0\0\0\0\0\0\0\xffkv\x01"[..]
        );
    }

    #[test]
    fn a_span_begins_when_it_is_written() {
        let data = Data::new(b"value", Ends::After(Duration::from_secs(60)));
        let mut bodies = [BytesMut::new(), BytesMut::new()];
        for body in &mut bodies {
            data.put(body);
            assert_eq!(body.len(), data.len());
            std::thread::sleep(Duration::from_millis(3));
        }
        let [first, second] = bodies.map(|body| read(body.freeze()).unwrap().1.unwrap());
        assert!(second.until(first).is_some());
    }

    #[test]
    fn a_header_that_is_cut_off_does_not_decode() {
        for data in [&b"\xffkv\x01"[..], b"\xffkv\x01\0\0\0\0\0\0\0"] {
            let error = read(Bytes::from_static(data)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Decode);
        }
    }

    #[test]
    fn a_span_is_rounded_up_and_the_moment_itself_is_over() {
        let (now, later) = (Moment::now(), Moment::after(Duration::from_nanos(1)));
        assert!(later.0 > now.0);
        assert_eq!(now.until(now), None);
        assert_eq!(Moment(5).until(Moment(6)), None);
        assert_eq!(Moment(7).until(Moment(6)), Some(Duration::from_millis(1)));
        assert_eq!(Moment::after(Duration::MAX), Moment(u64::MAX));
    }
}
