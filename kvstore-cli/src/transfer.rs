//! Writes keys into a store, many at once: what `copy` and `import` have in common.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::try_join;
use futures_util::stream::{iter, unfold};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use kvstore_core::{
    Bytes, Condition, Entry, ErrorKind, Outcome, Provider, Result as StoreResult, SetOptions,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::Context;
use crate::args::How;
use crate::budget::{Budget, Room};
use crate::counts::{Counts, add};
use crate::failure::{End, Failure};
use crate::output::{Messages, shown};
use crate::progress;
use crate::source::{PAUSES, patiently};
use crate::stores::Store;
use crate::value::Kind;

/// How many batches are written at once.
const BATCHES: usize = 4;

/// By how much two clocks may differ, and how long a key may be under way: expiries that are no further apart are
/// the same, beyond what the servers count in.
pub(crate) const SLACK: Duration = Duration::from_secs(3);

/// How long ago an item may have been read that is to be written only where nothing is: one that is deleted
/// meanwhile is not to come back. Older ones are read again.
const FRESH: Duration = Duration::from_secs(3);

/// What is to be written.
pub(crate) struct Item {
    pub(crate) key: String,
    pub(crate) kind: Kind,
    pub(crate) value: Bytes,
    pub(crate) expires: Option<Instant>,
    /// When it was read.
    pub(crate) at: Instant,
    #[expect(dead_code, reason = "it is held until the item is done with")]
    pub(crate) room: Room,
}

/// The store that is written, and how.
pub(crate) struct Target<'a> {
    stores: [Store; Kind::ALL.len()],
    how: How,
    jobs: usize,
    slack: Duration,
    /// For what the target holds, while it is compared.
    budget: Budget,
    counts: Counts,
    context: &'a Context<'a>,
}

impl<'a> Target<'a> {
    pub(crate) fn new(
        context: &'a Context<'a>,
        provider: &Arc<dyn Provider>,
        how: How,
        jobs: usize,
    ) -> Result<Self, Failure> {
        let [bytes, text, json] = Kind::ALL.map(|kind| context.on(provider, kind));
        let unit = provider.capabilities().expiry.unwrap_or_default();
        Ok(Self {
            stores: [bytes?, text?, json?],
            how,
            jobs,
            slack: SLACK + 2 * unit,
            budget: Budget::new(),
            counts: Counts::default(),
            context,
        })
    }

    /// Takes it that the source counts expiries in units of this.
    pub(crate) fn with_source_unit(mut self, unit: Option<Duration>) -> Self {
        self.slack += 2 * unit.unwrap_or_default();
        self
    }

    fn store(&self, kind: Kind) -> &Store {
        &self.stores[kind as usize]
    }

    fn messages(&self) -> &Messages {
        self.context.messages
    }

    /// Writes all items, and says how it went. Each comes as a future, so that many are read at once; `None` is
    /// one that there is nothing to do for. The source is where an item can be read again.
    pub(crate) async fn run<F>(
        &self,
        items: impl Stream<Item = F>,
        source: Option<&Store>,
    ) -> Result<End, Failure>
    where
        F: Future<Output = Result<Option<Item>, Failure>>,
    {
        let begin = Instant::now();
        // Reads and writes are two futures side by side, so that reads go on while writes wait: what stops in the middle
        // keeps its connection, and there may be no other for the writes.
        let (ready, batches) = mpsc::channel(self.jobs);
        let looked_at = async move {
            let look = async |item: F| match item.await? {
                Some(item) => self.look(item).await,
                None => Ok(None),
            };
            let send = async |item| {
                if let Some(item) = look(item).await.transpose() {
                    // Nobody listens where a write has failed, which ends all.
                    let _ = ready.send(item).await;
                }
            };
            items.for_each_concurrent(self.jobs, send).await;
            Ok(())
        };
        // What is there makes a batch: none waits for others to come.
        let batches = unfold(batches, async |mut batches| {
            let mut batch = Vec::new();
            let some = batches.recv_many(&mut batch, self.jobs).await > 0;
            some.then_some((batch, batches))
        });
        let written = batches
            .map(|batch| self.write(batch, source))
            .buffer_unordered(BATCHES)
            .try_for_each(async |()| Ok(()));
        let written = try_join(looked_at, written);
        let interrupted = async {
            tokio::select! {
                done = written => done.map(drop),
                () = self.context.signals.interrupted() => Err(Failure::Interrupted),
            }
        };
        let count = || self.counts.read.load(Ordering::Relaxed);
        let done = progress::during(self.messages(), count, interrupted).await;
        let told = self.counts.tell(self.context, self.how, begin.elapsed());
        if done.is_err() && !self.how.dry_run {
            self.messages()
                .note("not done; run it again, and what is there already will be skipped");
        }
        done?;
        match self.counts.failed.load(Ordering::Relaxed) {
            0 => told.map(|()| End::Done),
            // Which counts more than that nobody reads of it.
            _ => Ok(End::Incomplete),
        }
    }

    /// Reports what goes wrong with a key, and lets the others go on, unless they would fail the same way.
    pub(crate) fn failed(&self, failure: Failure) -> Result<(), Failure> {
        if failure.is_general() {
            return Err(failure);
        }
        add(&self.counts.failed);
        self.messages().problem(None, &failure);
        Ok(())
    }

    /// Counts what was read.
    pub(crate) fn count_read(&self) {
        add(&self.counts.read);
    }

    /// Looks at what the target holds already; `None` where there is nothing to write.
    async fn look(&self, item: Item) -> Result<Option<Item>, Failure> {
        let How {
            if_absent, dry_run, ..
        } = self.how;
        if item.expires.is_some_and(|at| at <= Instant::now()) {
            add(&self.counts.expired);
            return Ok(None);
        }
        // The write itself finds out.
        if if_absent && !dry_run {
            return Ok(Some(item));
        }
        let (read, _room) = self.read(&item).await;
        let (is_there, is_equal) = match read {
            Ok(None) => (false, false),
            Ok(Some(entry)) => {
                let expires = entry.expires_in.map(|left| Instant::now() + left);
                let same = item.kind.same(&entry.value, &item.value);
                (true, same && self.same_expiry(item.expires, expires))
            }
            // Something of another type.
            Err(error) if error.kind() == ErrorKind::Decode => (true, false),
            Err(error) => {
                self.failed(error.into())?;
                return Ok(None);
            }
        };
        if if_absent && is_there {
            add(&self.counts.present);
            return Ok(None);
        }
        if is_equal {
            add(&self.counts.equal);
            return Ok(None);
        }
        if dry_run {
            match self.refusal(&item) {
                Some(reason) => self.failed(reason)?,
                None => add(&self.counts.written),
            }
            return Ok(None);
        }
        Ok(Some(item))
    }

    /// Reads what the target holds under the key of an item.
    async fn read(&self, item: &Item) -> (StoreResult<Option<Entry<Bytes>>>, Room) {
        let mut room = self.budget.reserve().await;
        let store = self.store(item.kind);
        let read = patiently(async || store.get_entry(&item.key).await).await;
        if let Ok(entry) = &read {
            let len = entry.as_ref().map_or(0, |entry| entry.value.len());
            self.budget.learn(&mut room, len);
        }
        (read, room)
    }

    fn same_expiry(&self, a: Option<Instant>, b: Option<Instant>) -> bool {
        same_expiry(a, b, self.slack)
    }

    /// Why the target would refuse an item, as far as that is known without writing.
    fn refusal(&self, item: &Item) -> Option<Failure> {
        let capabilities = self.store(item.kind).capabilities();
        let problem = if item.expires.is_some() && capabilities.expiry.is_none() {
            "the target has no expiry".to_owned()
        } else if let Some(limit) = capabilities.max_value_len
            && item.value.len() > limit
        {
            let len = item.value.len();
            format!("the value has {len} bytes; the limit is {limit}")
        } else {
            return None;
        };
        Some(Failure::Data(
            format!("key {} cannot be written", shown(&item.key)),
            problem,
        ))
    }

    /// Writes a batch.
    async fn write(
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
            for (item, result) in results {
                match result {
                    Ok(Outcome::Applied(_)) => written.push(item),
                    Ok(Outcome::Unmet) => add(&self.counts.present),
                    Err(error) if error.is_retryable() && pause.is_some() => again.push(item),
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

/// Whether two keys expire at the same time, as far as that can be told.
pub(crate) fn same_expiry(a: Option<Instant>, b: Option<Instant>, slack: Duration) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => a.max(b) - a.min(b) <= slack,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
