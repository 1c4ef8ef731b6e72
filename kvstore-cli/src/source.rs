//! Reads the keys of a store, many at once, in bounded memory.

use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use kvstore_core::{Bytes, Keys, Result};
use tokio::time::{Instant, sleep};

use crate::budget::{Budget, Room};
use crate::stores::Store;

pub(crate) struct Source {
    pub(crate) store: Store,
    budget: Budget,
}

/// What a key holds.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) value: Bytes,
    pub(crate) expires: Option<Instant>,
    /// When it was read.
    pub(crate) at: Instant,
    /// Given back when the value is done with.
    pub(crate) room: Room,
}

impl Source {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            budget: Budget::new(),
        }
    }

    /// The keys that begin with a prefix.
    pub(crate) fn keys(&self, prefix: &str) -> Keys {
        self.store.keys(prefix)
    }

    /// The same. Where the server was away, slow or busy, the listing is begun anew, so that keys come again.
    pub(crate) fn keys_patiently(&self, prefix: &str) -> impl Stream<Item = Result<String>> {
        let listing = Listing {
            keys: self.keys(prefix),
            came: 0,
            farthest: 0,
            pauses: PAUSES.into_iter(),
        };
        unfold(Some(listing), async move |listing| {
            let mut listing = listing?;
            loop {
                match listing.keys.next().await? {
                    Ok(key) => {
                        listing.came();
                        return Some((Ok(key), Some(listing)));
                    }
                    Err(error) => match listing.pauses.next().filter(|_| error.is_retryable()) {
                        Some(pause) => {
                            sleep(pause).await;
                            listing.keys = self.keys(prefix);
                            listing.came = 0;
                        }
                        None => return Some((Err(error), None)),
                    },
                }
            }
        })
    }

    /// Waits for the room that a value is likely to need.
    pub(crate) async fn reserve(&self) -> Room {
        self.budget.reserve().await
    }

    /// Reads a key; `None` when it is missing.
    pub(crate) async fn read(&self, key: &str, mut room: Room) -> Result<Option<Found>> {
        let entry = patiently(async || self.store.get_entry(key).await).await?;
        let len = entry.as_ref().map_or(0, |entry| entry.value.len());
        self.budget.learn(&mut room, len);
        Ok(entry.map(|entry| Found {
            expires: entry.expires_in.map(|left| Instant::now() + left),
            value: entry.value,
            at: Instant::now(),
            room,
        }))
    }
}

/// A listing that is begun anew where it fails, as often as a call that comes no farther.
struct Listing {
    keys: Keys,
    /// How many keys came since it was begun.
    came: u64,
    farthest: u64,
    pauses: std::array::IntoIter<Duration, 3>,
}

impl Listing {
    fn came(&mut self) {
        self.came += 1;
        if self.came > self.farthest {
            self.farthest = self.came;
            self.pauses = PAUSES.into_iter();
        }
    }
}

/// How long to wait before a call is made again that a server was away, slow or busy for.
pub(crate) const PAUSES: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(2),
];

/// Makes a call that may be repeated, again where the server was away, slow or busy: a moment of that is not to
/// end a run of hours.
pub(crate) async fn patiently<T>(call: impl AsyncFn() -> Result<T>) -> Result<T> {
    for pause in PAUSES {
        match call().await {
            Err(error) if error.is_retryable() => sleep(pause).await,
            answer => return answer,
        }
    }
    call().await
}
