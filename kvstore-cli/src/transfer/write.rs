//! The second half of a transfer: what is written, and read back.

use std::time::Duration;

use futures_util::stream::iter;
use futures_util::{StreamExt as _, TryStreamExt as _};
use kvstore_core::{Condition, ErrorKind, Outcome, Result as StoreResult, SetOptions};
use tokio::time::{Instant, sleep};

use super::{Item, Target};
use crate::counts::add;
use crate::failure::Failure;
use crate::output::shown;
use crate::source::PAUSES;
use crate::stores::Store;
use crate::value::Kind;

/// How long ago an item may have been read that is to be written only where nothing is: one that is deleted
/// meanwhile is not to come back. Older ones are read again.
const FRESH: Duration = Duration::from_secs(3);

impl Target<'_> {
    /// Writes a batch.
    pub(super) async fn write(
        &self,
        batch: Vec<Result<Item, Failure>>,
        source: Option<&Store>,
    ) -> Result<(), Failure> {
        let mut end = Ok(());
        let mut items = Vec::with_capacity(batch.len());
        for item in batch {
            match item {
                Ok(item) => items.push(item),
                // What came before it is written all the same.
                Err(failure) => end = Err(failure),
            }
        }
        for kind in Kind::ALL {
            let (of_kind, others) = items.into_iter().partition(|item: &Item| item.kind == kind);
            items = others;
            let written = self.write_all(kind, of_kind, source).await;
            end = end.and(written);
        }
        end
    }

    /// Writes items of one type. Those that the server was away, slow or busy for are written again: it is the
    /// same that is written, and under the same condition.
    async fn write_all(
        &self,
        kind: Kind,
        items: Vec<Item>,
        source: Option<&Store>,
    ) -> Result<(), Failure> {
        let mut end = Ok(());
        let mut written = Vec::new();
        let mut left = items;
        let mut pauses = PAUSES.into_iter();
        while !left.is_empty() {
            let pause = pauses.next();
            let mut again = Vec::new();
            let is_old = |item: &Item| self.how.if_absent && item.at.elapsed() > FRESH;
            let (old, fresh): (Vec<_>, Vec<_>) = match source {
                Some(_) => left.into_iter().partition(is_old),
                None => (Vec::new(), left),
            };
            let mut results: Vec<_> = self.try_to_write(kind, fresh).await.collect();
            if let Some(source) = source {
                // Each is written as soon as it is read, or it would have to wait for the others.
                let mut read_again = iter(old)
                    .map(|item| self.try_to_write_again(kind, item, source))
                    .buffer_unordered(self.jobs);
                while let Some(result) = read_again.next().await {
                    results.extend(result);
                }
            }
            for (mut item, result) in results {
                match result {
                    Ok(Outcome::Applied(_)) => written.push(item),
                    Ok(Outcome::Unmet) => end = end.and(self.unmet(item, &mut written).await),
                    Err(error) if error.is_retryable() && pause.is_some() => {
                        item.may_be_there |= error.outcome_unknown();
                        again.push(item);
                    }
                    Err(error) => end = end.and(self.failed(error.into())),
                }
            }
            left = again;
            if let Some(pause) = pause.filter(|_| !left.is_empty()) {
                sleep(pause).await;
            }
        }
        if !self.how.verify {
            written.iter().for_each(|_| add(&self.counts.written));
            return end;
        }
        let verified = iter(written)
            .map(|item| self.verify(item))
            .buffer_unordered(self.jobs)
            .try_for_each(async |()| Ok(()));
        end.and(verified.await)
    }

    /// Something is there, which may be the item itself, by a write before whose answer was lost.
    async fn unmet(&self, item: Item, written: &mut Vec<Item>) -> Result<(), Failure> {
        if item.may_be_there {
            let (read, _room) = self.read(&item).await;
            match read {
                Ok(Some(entry)) if self.is_equal(&item, &entry) => {
                    written.push(item);
                    return Ok(());
                }
                Err(error) if error.kind() != ErrorKind::Decode => {
                    return self.failed(error.into());
                }
                _ => {}
            }
        }
        add(&self.counts.present);
        Ok(())
    }

    /// Reads an item again from the source, and writes it once; `None` where it is there no more.
    async fn try_to_write_again(
        &self,
        kind: Kind,
        mut item: Item,
        source: &Store,
    ) -> Option<(Item, StoreResult<Outcome>)> {
        match source.get_entry(&item.key).await {
            Ok(Some(entry)) => {
                item.at = Instant::now();
                item.expires = entry.expires_in.map(|left| item.at + left);
                item.value = entry.value;
                self.try_to_write(kind, vec![item]).await.next()
            }
            Ok(None) => {
                add(&self.counts.expired);
                None
            }
            Err(error) => Some((item, Err(error))),
        }
    }

    /// Writes items of one type once, but for those that have expired meanwhile.
    async fn try_to_write(
        &self,
        kind: Kind,
        items: Vec<Item>,
    ) -> impl Iterator<Item = (Item, StoreResult<Outcome>)> {
        let now = Instant::now();
        let condition = self.how.if_absent.then_some(Condition::Absent);
        let mut sent = Vec::with_capacity(items.len());
        let mut writes = Vec::with_capacity(items.len());
        for item in items {
            let options = match item.expires.map(|at| at.saturating_duration_since(now)) {
                None => SetOptions::new(),
                Some(Duration::ZERO) => {
                    add(&self.counts.expired);
                    continue;
                }
                Some(left) => SetOptions::new().ttl(left),
            };
            let (key, value) = (item.key.clone(), item.value.clone());
            writes.push((key, value, options, condition.clone()));
            sent.push(item);
        }
        let results: Vec<_> = match self.store(kind).set_each(writes).await {
            Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
            Err(batch) => batch.into_results(),
        };
        sent.into_iter().zip(results)
    }

    /// Reads back what was written.
    async fn verify(&self, item: Item) -> Result<(), Failure> {
        let wrong = |what: &str| {
            Failure::Data(
                format!("key {} is not as it was written", shown(&item.key)),
                what.to_owned(),
            )
        };
        let (read, _room) = self.read(&item).await;
        let failure = match read {
            Ok(Some(entry)) => {
                let expires = entry.expires_in.map(|left| Instant::now() + left);
                if !item.kind.same(&entry.value, &item.value) {
                    wrong("its value is another")
                } else if !self.same_expiry(item.expires, expires) {
                    wrong("it expires at another time")
                } else {
                    add(&self.counts.written);
                    return Ok(());
                }
            }
            // It may be over by now.
            Ok(None)
                if item
                    .expires
                    .is_some_and(|at| at <= Instant::now() + self.slack) =>
            {
                add(&self.counts.expired);
                return Ok(());
            }
            Ok(None) => wrong("it is missing"),
            Err(error) => error.into(),
        };
        self.failed(failure)
    }
}
