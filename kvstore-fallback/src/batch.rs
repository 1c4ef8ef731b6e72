//! The operations on many keys, in a few calls to each of the two.

use futures_util::{FutureExt as _, StreamExt as _, stream};
use kvstore_core::{
    Bytes, Condition, DeleteRequest, Error, ErrorKind, GetRequest, Outcome, Result, SetRequest,
};

use crate::copy::AT_ONCE;
use crate::provider::Both;
use crate::single::{check, is_one_step};

impl Both {
    pub(crate) async fn get_many(&self, requests: &[GetRequest<'_>]) -> Vec<Result<Option<Bytes>>> {
        let all: Vec<usize> = (0..requests.len()).collect();
        let mut results: Vec<Result<Option<Bytes>>> = vec![Ok(None); requests.len()];
        let missing = self.get_new(requests, &all, &mut results).await;

        let takes = |at: &usize| self.old_takes(requests[*at].key);
        let (asked, mut missing): (Vec<_>, Vec<_>) = missing.into_iter().partition(takes);
        let part: Vec<_> = asked.iter().map(|&at| requests[at]).collect();
        let found = match part.is_empty() {
            true => Vec::new(),
            false => self.old.get_many(&part).await,
        };
        for (at, found) in asked.into_iter().zip(complete(found, part.len())) {
            match self.judge_old(requests[at], found).await {
                Ok(None) => missing.push(at),
                found => results[at] = found,
            }
        }
        // They may have moved between the two looks.
        self.get_new(requests, &missing, &mut results).await;
        results
    }

    /// Gets what is asked for in the new provider alone; the answer is what it has nothing of.
    async fn get_new(
        &self,
        requests: &[GetRequest<'_>],
        asked: &[usize],
        results: &mut [Result<Option<Bytes>>],
    ) -> Vec<usize> {
        let part: Vec<_> = asked.iter().map(|&at| requests[at]).collect();
        if part.is_empty() {
            return Vec::new();
        }
        let found = complete(self.new.get_many(&part).await, part.len());
        let mut missing = Vec::new();
        for (&at, found) in asked.iter().zip(found) {
            match self.judge(requests[at], found).await {
                Ok(None) => missing.push(at),
                Ok(Some(found)) => results[at] = Ok(found),
                Err(error) => results[at] = Err(error),
            }
        }
        missing
    }

    pub(crate) async fn set_many(&self, requests: &[SetRequest<'_>]) -> Vec<Result<Outcome>> {
        let moved = self.move_many(requests).await;
        let mut results: Vec<Result<Outcome>> = Vec::with_capacity(requests.len());
        let (mut together, mut alone) = (Vec::new(), Vec::new());
        for (at, (request, moved)) in requests.iter().zip(moved).enumerate() {
            let way = if is_one_step(request) {
                &mut together
            } else {
                &mut alone
            };
            if moved.is_ok() {
                way.push(at);
            }
            results.push(moved.map(|()| Outcome::Unmet));
        }
        let part: Vec<_> = together.iter().map(|&at| requests[at].clone()).collect();
        let written = match part.is_empty() {
            true => Vec::new(),
            false => self.new.set_many(&part).await,
        };
        for (at, written) in together.into_iter().zip(complete(written, part.len())) {
            results[at] = self.tell(&requests[at], written);
        }
        let one = async |at: usize| {
            let request = requests[at].clone();
            match request.condition {
                Some(Condition::Version(_)) => self.set(request).await,
                _ => self.write(request).await,
            }
        };
        let mut written = stream::iter(alone)
            .map(|at| one(at).map(move |written| (at, written)))
            .buffer_unordered(AT_ONCE);
        while let Some((at, written)) = written.next().await {
            results[at] = written;
        }
        drop(written);
        results
    }

    /// Moves up those that the old provider has, but for what is to be written under a version.
    async fn move_many(&self, requests: &[SetRequest<'_>]) -> Vec<Result<()>> {
        let mut results: Vec<_> = requests.iter().map(check).collect();
        let asked = |at: &usize| {
            let request = &requests[*at];
            let has_version = matches!(request.condition, Some(Condition::Version(_)));
            results[*at].is_ok() && !has_version && self.old_takes(request.key)
        };
        let asked: Vec<_> = (0..requests.len()).filter(asked).collect();
        let get = |at: &usize| GetRequest::new(requests[*at].key, requests[*at].format);
        let part: Vec<_> = asked.iter().map(get).collect();
        let found = match part.is_empty() {
            true => Vec::new(),
            false => self.old.get_many(&part).await,
        };
        let found = complete(found, part.len());
        let mut moving = Vec::new();
        for ((at, request), found) in asked.into_iter().zip(part).zip(found) {
            match found {
                Ok(None) => {}
                // One of another type moves too.
                Err(error) if error.kind() != ErrorKind::Decode => {
                    results[at] = Err(crate::error::not_begun(self.old_failed()(error)));
                }
                _ => moving.push(async move { (at, self.move_up(request).await) }),
            }
        }
        let mut moving = stream::iter(moving).buffer_unordered(AT_ONCE);
        while let Some((at, moved)) = moving.next().await {
            results[at] = moved;
        }
        results
    }

    pub(crate) async fn delete_many(&self, requests: &[DeleteRequest<'_>]) -> Vec<Result<Outcome>> {
        let mut results: Vec<Result<Outcome>> = vec![Ok(Outcome::Applied(None)); requests.len()];
        // As in `delete`: in the old one first.
        let asked =
            |at: &usize| requests[*at].version.is_none() && self.old_takes(requests[*at].key);
        let asked: Vec<_> = (0..requests.len()).filter(asked).collect();
        let part: Vec<_> = asked.iter().map(|&at| requests[at].clone()).collect();
        let deleted = match part.is_empty() {
            true => Vec::new(),
            false => self.old.delete_many(&part).await,
        };
        for (at, deleted) in asked.into_iter().zip(complete(deleted, part.len())) {
            results[at] = deleted.map_err(self.old_failed());
        }

        let left = |at: &usize| requests[*at].version.is_none() && results[*at].is_ok();
        let left: Vec<_> = (0..requests.len()).filter(left).collect();
        let part: Vec<_> = left
            .iter()
            .map(|&at| self.tombstone(requests[at].key))
            .collect();
        // Of keys that come twice one is enough, and `set_many` takes no more.
        let mut known = std::collections::HashMap::new();
        let mut tombstones = Vec::with_capacity(part.len());
        let mut places = Vec::with_capacity(part.len());
        for tombstone in part {
            let place = *known.entry(tombstone.key.as_str()).or_insert_with(|| {
                tombstones.push(tombstone.clone());
                tombstones.len() - 1
            });
            places.push(place);
        }
        let buried = match tombstones.is_empty() {
            true => Vec::new(),
            false => self.new.set_many(&tombstones).await,
        };
        let buried = complete(buried, tombstones.len());
        for (at, place) in left.into_iter().zip(places) {
            if let Err(error) = &buried[place] {
                results[at] = Err(self.new_failed()(error.clone()).with_outcome_unknown());
            }
        }

        let versions = (0..requests.len()).filter(|&at| requests[at].version.is_some());
        let mut deleted = stream::iter(versions)
            .map(|at| {
                self.delete(requests[at].clone())
                    .map(move |deleted| (at, deleted))
            })
            .buffer_unordered(AT_ONCE);
        while let Some((at, deleted)) = deleted.next().await {
            results[at] = deleted;
        }
        drop(deleted);
        results
    }
}

/// The answers to a batch, as many as there were requests.
fn complete<T: Clone>(answers: Vec<Result<T>>, asked: usize) -> Vec<Result<T>> {
    if answers.len() == asked {
        return answers;
    }
    let message = "one of the two providers answered fewer or more items than it was asked";
    let error = Error::new(ErrorKind::Other, message).with_outcome_unknown();
    vec![Err(error); asked]
}
