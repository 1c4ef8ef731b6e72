//! Batches: what goes together in one request does, which is one transaction and not as many as there are items.
//! ZooKeeper does all writes of a request or none; so what it refuses together is done one by one, where each
//! item fails alone.

use futures_util::stream::iter;
use futures_util::{StreamExt as _, TryStreamExt as _};
use kvstore_core::{
    Bytes, DeleteRequest, Error, ErrorKind, Expiry, GetRequest, Key, Outcome, Result, SetRequest,
};
use tokio::time::Instant;

use crate::Acl;
use crate::client::{Call, Client, Effect, TAKEN};
use crate::config::MAX_VALUE_LEN;
use crate::data::Data;
use crate::error::lost;
use crate::place::Place;
use crate::read::{Node, got_all, is_there, version};
use crate::wire::{ANY, Code, Frames, Write};
use crate::write::data;

/// How many items there are in a request at most.
const PART: usize = 256;

/// How many writes of their own are under way at once.
const AT_ONCE: usize = 64;

/// How often writes are tried together.
const TRIES: usize = 4;

/// What a request may have beside the largest value: whoever tells `max_value_len` leaves as much.
const ROOM: usize = TAKEN - MAX_VALUE_LEN;

/// How much is read at once, where all values are of the largest: the server may have all of it in memory.
pub(crate) const READ: usize = 1 << 27;

/// Does each part of a batch, with a deadline of its own.
macro_rules! by_parts {
    ($client:expr, $requests:expr, $most:expr, $size:expr, $do:ident) => {{
        let requests = $requests;
        let mut call = match $client.call() {
            Ok(call) => call,
            Err(error) => return requests.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut results = Vec::with_capacity(requests.len());
        let mut last = 0;
        while let rest @ [_, ..] = &requests[results.len()..] {
            let part = $client.fitting(rest.iter().take($most).map($size));
            call.go_on(&results[last..]);
            last = results.len();
            results.extend(call.$do(&rest[..part]).await);
        }
        results
    }};
}

impl Client {
    pub(crate) async fn get_many(&self, requests: &[GetRequest<'_>]) -> Vec<Result<Option<Bytes>>> {
        let most = self.readable(READ).min(PART);
        by_parts!(self, requests, most, |get| escaped(get.key), get_part)
    }

    pub(crate) async fn set_many(&self, requests: &[SetRequest<'_>]) -> Vec<Result<Outcome>> {
        let size = |set: &SetRequest<'_>| escaped(set.key) + set.value.len();
        by_parts!(self, requests, PART, size, set_part)
    }

    pub(crate) async fn delete_many(&self, requests: &[DeleteRequest<'_>]) -> Vec<Result<Outcome>> {
        let size = |delete: &DeleteRequest<'_>| escaped(delete.key);
        by_parts!(self, requests, PART, size, delete_part)
    }

    /// How many nodes have no more than so many bytes, whatever they hold; one at least.
    pub(crate) fn readable(&self, bytes: usize) -> usize {
        // A node of others may have as much as servers take unless they are told otherwise.
        let largest = self.config.max_value_len.max(1 << 20) + 128;
        (bytes / largest).max(1)
    }

    /// How many items go into one request, which is at least one; with what their keys and values need of it.
    pub(crate) fn fitting(&self, sizes: impl Iterator<Item = usize>) -> usize {
        let acl = self.acl.iter().map(Acl::len).sum::<usize>();
        // Beside the key the paths of its node and of the bucket, and what is around them.
        let each = 2 * self.root.path().len() + acl + 128;
        let mut room = self.config.max_value_len.max(ROOM);
        let fits = |size: &usize| {
            let left = room.checked_sub(size + each);
            room = left.unwrap_or_default();
            left.is_some()
        };
        sizes.take_while(fits).count().max(1)
    }
}

/// How long a key's name is at most: each byte may be escaped.
fn escaped(key: Key<'_>) -> usize {
    3 * key.as_str().len()
}

/// The same error for each.
fn all<T>(result: Result<Vec<Result<T>>>, items: usize) -> Vec<Result<T>> {
    result.unwrap_or_else(|error| (0..items).map(|_| Err(error.clone())).collect())
}

impl Call<'_> {
    /// Begins the next part of a batch, with a deadline of its own, unless the server was too slow for the last
    /// part, or not there: then the next has no more time than that.
    fn go_on<T>(&mut self, last: &[Result<T>]) {
        let is_gone = |result: &Result<T>| result.as_ref().is_err_and(Error::is_retryable);
        if !last.iter().any(is_gone) {
            self.deadline = Instant::now() + self.client.config.timeout;
        }
    }

    async fn get_part(&self, requests: &[GetRequest<'_>]) -> Vec<Result<Option<Bytes>>> {
        let places = self.places(requests.iter().map(|request| request.key.as_str()));
        let get = async {
            let paths: Vec<_> = places.iter().map(Place::node).collect();
            let frames = || self.get_all(Frames::fresh(), &paths);
            let answers = self.ask(Effect::None, frames).await?.into_iter();
            let value = |node: Option<Node>| node.filter(Node::is_live).map(|node| node.value);
            let nodes = got_all(answers, places.len())?.into_iter();
            Ok(nodes.map(|node| node.map(value)).collect())
        };
        all(get.await, requests.len())
    }

    fn places<'a>(&self, keys: impl Iterator<Item = &'a str>) -> Vec<Place> {
        keys.map(|key| self.client.root.place(key)).collect()
    }

    async fn set_part(&self, requests: &[SetRequest<'_>]) -> Vec<Result<Outcome>> {
        let is_plain = |request: &SetRequest<'_>| {
            request.condition.is_none() && request.expiry != Expiry::Keep
        };
        let together = match requests {
            [_, _, ..] if requests.iter().all(is_plain) => self.set_together(requests).await,
            _ => Ok(None),
        };
        match together {
            Ok(Some(zxid)) => {
                let applied = || Ok(Outcome::Applied(Some(version(zxid))));
                requests.iter().map(|_| applied()).collect()
            }
            Ok(None) => {
                let each = iter(0..requests.len()).map(|at| self.set(&requests[at]));
                each.buffered(AT_ONCE).collect().await
            }
            // Together they were too long, and each by itself need not be.
            Err(error) if error.kind() == ErrorKind::ValueTooLarge => {
                let long = |request: &SetRequest<'_>| request.value.len() > TAKEN;
                let each = requests.iter().map(|request| match long(request) {
                    true => Err(error.clone()),
                    false => Err(lost().with_outcome_unknown()),
                });
                each.collect()
            }
            Err(error) => all(Err(error), requests.len()),
        }
    }

    /// Writes all in one transaction, which is the answer, or, when the server does not do it together, none.
    async fn set_together(&self, requests: &[SetRequest<'_>]) -> Result<Option<i64>> {
        let places = self.places(requests.iter().map(|request| request.key.as_str()));
        let datas: Result<Vec<_>> = requests.iter().map(|request| data(request, None)).collect();
        let datas = datas?;
        // Found out by trying, so that most often one request is enough.
        let mut there = vec![true; requests.len()];
        for attempt in 0..TRIES {
            let write = |at: usize| match there[at] {
                true => Write::Set {
                    path: places[at].node(),
                    data: &datas[at],
                    version: ANY,
                },
                false => Write::Create {
                    path: places[at].node(),
                    data: &datas[at],
                    acl: &self.client.acl,
                },
            };
            let writes: Vec<_> = (0..requests.len()).map(write).collect();
            match self.all_or_none(&writes).await? {
                Ok(zxid) => return Ok(Some(zxid)),
                // What comes after one that is new is most often new as well.
                Err((at, Code::NO_NODE)) if attempt == 0 => there[at..].fill(false),
                Err((_, Code::NO_NODE | Code::NODE_EXISTS)) => {
                    let look = self.look_for(&places).await?;
                    let missing = look.iter().zip(&places).filter(|(found, _)| !found.bucket);
                    let mut missing: Vec<_> = missing.map(|(_, place)| place.bucket()).collect();
                    missing.sort_unstable();
                    missing.dedup();
                    match self.create_buckets(&missing).await {
                        // One by one, those fail whose bucket it is.
                        Err(error) if !error.is_retryable() => return Ok(None),
                        created => created?,
                    }
                    there = look.iter().map(|found| found.node).collect();
                }
                Err(_) => return Ok(None),
            }
        }
        Ok(None)
    }

    async fn create_buckets(&self, buckets: &[&str]) -> Result<()> {
        // The first alone, since it makes what is above them all.
        let (first, rest) = buckets.split_at(buckets.len().min(1));
        for bucket in first {
            self.create_parents(bucket).await?;
        }
        let each = iter(0..rest.len()).map(|at| self.create_parents(rest[at]));
        each.buffered(AT_ONCE).try_collect().await
    }

    /// Which of some nodes are there, and their buckets.
    async fn look_for(&self, places: &[Place]) -> Result<Vec<Found>> {
        let frames = || {
            let look =
                |frames: Frames, place: &Place| frames.exists(place.bucket()).exists(place.node());
            places.iter().fold(Frames::fresh(), look)
        };
        let answers = self.ask(Effect::None, frames).await?.into_iter();
        let there = answers.map(|answer| is_there(&answer));
        let there = there.collect::<Result<Vec<_>>>()?;
        let (pairs, _) = there.as_chunks();
        let found = |&[bucket, node]: &[bool; 2]| Found { bucket, node };
        Ok(pairs.iter().map(found).collect())
    }

    async fn delete_part(&self, requests: &[DeleteRequest<'_>]) -> Vec<Result<Outcome>> {
        let is_plain = |request: &DeleteRequest<'_>| request.version.is_none();
        let together = match requests {
            [_, _, ..] if requests.iter().all(is_plain) => self.delete_together(requests).await,
            _ => Ok(false),
        };
        match together {
            Ok(true) => requests
                .iter()
                .map(|_| Ok(Outcome::Applied(None)))
                .collect(),
            Ok(false) => {
                let each = iter(0..requests.len()).map(|at| self.delete(&requests[at]));
                each.buffered(AT_ONCE).collect().await
            }
            Err(error) => all(Err(error), requests.len()),
        }
    }

    /// Deletes all or, when the server does not do it together, none.
    async fn delete_together(&self, requests: &[DeleteRequest<'_>]) -> Result<bool> {
        let mut places = self.places(requests.iter().map(|request| request.key.as_str()));
        // Each once: the server would not find the second.
        places.sort_unstable_by(|a, b| a.node().cmp(b.node()));
        places.dedup_by(|a, b| a.node() == b.node());
        for _ in 0..TRIES {
            if places.is_empty() {
                return Ok(true);
            }
            let delete = |place| Write::Delete {
                path: Place::node(place),
                version: ANY,
            };
            let mut buckets: Vec<_> = places.iter().map(Place::bucket).collect();
            buckets.dedup();
            let begin = |bucket| Write::Set {
                path: bucket,
                data: &Data::EMPTY,
                version: ANY,
            };
            // Each bucket is written, as with every delete.
            let writes = places.iter().map(delete);
            let writes: Vec<_> = writes.chain(buckets.into_iter().map(begin)).collect();
            match self.all_or_none(&writes).await? {
                Ok(_) => return Ok(true),
                Err((_, Code::NO_NODE)) => {
                    let mut found = self.look_for(&places).await?.into_iter();
                    places.retain(|_| found.next().is_some_and(|found| found.node));
                }
                Err(_) => return Ok(false),
            }
        }
        Ok(false)
    }
}

/// Whether a node is there, and its bucket.
struct Found {
    bucket: bool,
    node: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ZooKeeperConfig;
    use crate::handshake::MAX_FRAME;

    #[test]
    fn what_is_read_at_once_is_bounded_whatever_the_nodes_hold() {
        // The last is the largest that can be told.
        for (largest, nodes) in [(1, 127), (1_000_000, 127), (3_000_000, 44), (1 << 27, 1)] {
            let config = ZooKeeperConfig::new("h", 2181).max_value_len(largest);
            assert!(config.check().is_ok());
            let client = Client::new(config);
            assert_eq!(client.readable(READ), nodes);
            // With the header of an expiry, and what ZooKeeper puts around it.
            assert!(nodes * (largest + 12 + 9 + 4 + 68) + 32 <= MAX_FRAME);
        }
    }
}
