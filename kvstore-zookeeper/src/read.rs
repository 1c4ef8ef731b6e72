//! Reads of what any client wrote before.

use std::time::Duration;

use bytes::Bytes;
use kvstore_core::{Entry, Error, ErrorKind, Result, Version};

use crate::client::{Call, Effect};
use crate::data::{self, Moment};
use crate::error::refused;
use crate::place::Place;
use crate::wire::{self, Answer, Code, Found, Frames, Stat};

/// What a key's node holds.
pub(crate) struct Node {
    pub(crate) value: Bytes,
    pub(crate) expires_at: Option<Moment>,
    pub(crate) stat: Stat,
}

/// A key's node, and what must be so still for it to be the same node.
pub(crate) struct Seen {
    /// How often a key of the bucket was deleted before; `None`: there is no bucket.
    pub(crate) epoch: Option<i32>,
    pub(crate) node: Option<Node>,
}

impl Node {
    /// The value, its version and its expiry; `None` when it has expired.
    pub(crate) fn entry(self) -> Option<Entry<Bytes>> {
        let left = self.left()?;
        let entry = Entry::new(self.value).with_version(version(self.stat.mzxid));
        Some(match left {
            Some(left) => entry.with_expires_in(left),
            None => entry,
        })
    }

    /// The time that is left, if it expires; `None` when it has expired.
    fn left(&self) -> Option<Option<Duration>> {
        match self.expires_at {
            None => Some(None),
            Some(moment) => moment.until(Moment::now()).map(Some),
        }
    }

    pub(crate) fn is_live(&self) -> bool {
        self.left().is_some()
    }
}

/// The version that callers see: no other write has the same, but for those of one batch, which are of other keys,
/// and for those that servers do which have lost all they had and count anew.
pub(crate) fn version(zxid: i64) -> Version {
    // They begin at 1, and count up.
    Version::from(zxid.unsigned_abs())
}

/// What a node holds, if it is there; of an answer of so many bytes.
fn node(found: Found, answer: usize) -> Result<Option<Node>> {
    let (data, stat) = match found {
        Ok(found) => found,
        Err(Code::NO_NODE) => return Ok(None),
        Err(code) => return Err(refused(code)),
    };
    // A value is not to keep much that was read with it.
    let data = match data.len() < (answer / 4).max(4096) {
        true => Bytes::copy_from_slice(&data),
        false => data,
    };
    let (value, expires_at) = data::read(data)?;
    Ok(Some(Node {
        value,
        expires_at,
        stat,
    }))
}

/// What the node holds that was got, if it is there.
fn got(answer: Answer) -> Result<Option<Node>> {
    match answer.result {
        Ok(mut body) => {
            let length = body.len();
            node(Ok(wire::take_data(&mut body)?), length)
        }
        Err(code) => node(Err(code), 0),
    }
}

/// What the nodes hold that were asked for by [`Call::get_all`]: a result for each.
pub(crate) fn got_all(
    answers: impl Iterator<Item = Answer>,
    nodes: usize,
) -> Result<Vec<Result<Option<Node>>>> {
    let mut all = Vec::with_capacity(nodes);
    for answer in answers {
        let mut body = done(answer)?;
        let length = body.len();
        let found = wire::take_all_data(&mut body)?.into_iter();
        all.extend(found.map(|found| node(found, length)));
    }
    match all.len() == nodes {
        true => Ok(all),
        false => Err(unanswered()),
    }
}

/// The same number of answers as there were requests.
pub(crate) fn exactly<const N: usize>(answers: Vec<Answer>) -> Result<[Answer; N]> {
    answers.try_into().map_err(|_| unanswered())
}

fn unanswered() -> Error {
    Error::new(ErrorKind::Other, "the server did not answer each request")
}

/// Whether it was done.
pub(crate) fn done(answer: Answer) -> Result<Bytes> {
    answer.result.map_err(refused)
}

/// How long an answer with several nodes may be, where it is one with the largest values.
const ANSWER: usize = 1 << 24;

impl Call<'_> {
    pub(crate) async fn node(&self, place: &Place) -> Result<Option<Node>> {
        let frames = || Frames::fresh().get(place.node());
        let [found] = exactly(self.ask(Effect::None, frames).await?)?;
        Ok(got(found)?.filter(Node::is_live))
    }

    /// Asks for several nodes, some in each request: the server has an answer in memory more than once before it
    /// sends any of it.
    pub(crate) fn get_all(&self, frames: Frames, paths: &[&str]) -> Frames {
        let parts = paths.chunks(self.client.readable(ANSWER));
        parts.fold(frames, |frames, part| frames.multi_get(part))
    }

    /// Looks at a node before it is written under a condition.
    pub(crate) async fn see(&self, place: &Place) -> Result<Seen> {
        // The bucket first: a node that is deleted in between is of a later epoch.
        let frames = || Frames::fresh().exists(place.bucket()).get(place.node());
        let [bucket, found] = exactly(self.ask(Effect::None, frames).await?)?;
        Ok(Seen {
            epoch: epoch(bucket)?,
            node: got(found)?,
        })
    }
}

/// Whether a node is there that was asked for.
pub(crate) fn is_there(answer: &Answer) -> Result<bool> {
    match answer.result {
        // Newer servers want the right to read here as well.
        Ok(_) | Err(Code::NO_AUTH) => Ok(true),
        Err(Code::NO_NODE) => Ok(false),
        Err(code) => Err(refused(code)),
    }
}

/// How often a bucket's keys were deleted; `None`: there is no bucket.
pub(crate) fn epoch(answer: Answer) -> Result<Option<i32>> {
    match answer.result {
        Ok(mut body) => Ok(Some(Stat::take(&mut body)?.version)),
        Err(Code::NO_NODE) => Ok(None),
        Err(code) => Err(refused(code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_keeps_no_more_than_some_times_its_length() {
        let answer = Bytes::from(vec![7; 1 << 20]);
        let stat = Stat {
            mzxid: 1,
            version: 0,
        };
        let keeps = |length: usize, of: usize| {
            let found = Ok((answer.slice(..length), stat));
            let value = node(found, of).unwrap().unwrap().value;
            assert_eq!(value.len(), length);
            value.as_ptr() == answer.as_ptr()
        };
        for (length, of) in [(10, 98), (4095, 4200), (4096, 20_000), (200_000, 1 << 20)] {
            assert!(!keeps(length, of), "{length} of {of}");
        }
        for (length, of) in [(4096, 4200), (300_000, 1 << 20), (1 << 20, 1 << 20)] {
            assert!(keeps(length, of), "{length} of {of}");
        }
    }
}
