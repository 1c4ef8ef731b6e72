//! Writes keys into a store, many at once: what `copy` and `import` have in common.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::try_join;
use futures_util::stream::unfold;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use kvstore_core::{Bytes, Entry, ErrorKind, Provider, Result as StoreResult};
use tokio::sync::mpsc;
use tokio::time::Instant;

mod write;

use crate::Context;
use crate::args::How;
use crate::budget::{Budget, Room};
use crate::counts::{Counts, add};
use crate::dry::Dry;
use crate::failure::{End, Failure};
use crate::output::Messages;
use crate::progress;
use crate::source::{Found, patiently};
use crate::stores::Store;
use crate::turns::{Turn, Turns};
use crate::value::Kind;

/// How many batches are written at once.
const BATCHES: usize = 4;

/// By how much two clocks may differ, and how long a key may be under way: expiries that are no further apart are
/// the same, beyond what the servers count in.
pub(crate) const SLACK: Duration = Duration::from_secs(3);

/// What is to be written.
pub(crate) struct Item {
    pub(crate) key: String,
    pub(crate) kind: Kind,
    pub(crate) value: Bytes,
    pub(crate) expires: Option<Instant>,
    /// When it was read.
    pub(crate) at: Instant,
    /// Whether a write of it was lost that may have been done.
    may_be_there: bool,
    #[expect(dead_code, reason = "it is held until the item is done with")]
    room: Room,
    #[expect(
        dead_code,
        reason = "the next of the same key comes when the item is done with"
    )]
    turn: Turn,
}

impl Item {
    /// What was read, by whose turn it was.
    pub(crate) fn new(turn: Turn, key: String, kind: Kind, found: Found) -> Self {
        Self {
            key,
            kind,
            value: found.value,
            expires: found.expires,
            at: found.at,
            may_be_there: false,
            room: found.room,
            turn,
        }
    }
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
    turns: Turns,
    context: &'a Context<'a>,
}

impl<'a> Target<'a> {
    pub(crate) fn new(
        context: &'a Context<'a>,
        provider: &Arc<dyn Provider>,
        how: How,
        jobs: usize,
    ) -> Result<Self, Failure> {
        let provider = match how.dry_run {
            true => Arc::new(Dry(Arc::clone(provider))),
            false => Arc::clone(provider),
        };
        let [bytes, text, json] = Kind::ALL.map(|kind| context.on(&provider, kind));
        let unit = provider.capabilities().expiry.unwrap_or_default();
        Ok(Self {
            stores: [bytes?, text?, json?],
            how,
            jobs,
            slack: SLACK + 2 * unit,
            budget: Budget::new(),
            counts: Counts::default(),
            turns: Turns::default(),
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

    /// Counts what was gone before it was read.
    pub(crate) fn count_gone(&self) {
        add(&self.counts.expired);
    }

    /// A place behind those of the same key that came before, to be waited for before it is read: of two, the later
    /// is what the target is to hold.
    pub(crate) fn queue(&self, key: &str) -> Turn {
        self.turns.queue(key)
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
            Ok(Some(entry)) => (true, self.is_equal(&item, &entry)),
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

    /// Whether the target holds an item already.
    fn is_equal(&self, item: &Item, entry: &Entry<Bytes>) -> bool {
        let expires = entry.expires_in.map(|left| Instant::now() + left);
        item.kind.same(&entry.value, &item.value) && self.same_expiry(item.expires, expires)
    }

    fn same_expiry(&self, a: Option<Instant>, b: Option<Instant>) -> bool {
        same_expiry(a, b, self.slack)
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
