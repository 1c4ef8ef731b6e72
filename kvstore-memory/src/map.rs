//! The map: shards, each behind a lock of its own, and the clean-up that goes round them.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};

use hashbrown::DefaultHashBuilder;

use crate::shard::{Hashed, Shard};

/// How many shards there are: more than there are tasks at the same moment on most machines, so that they
/// seldom meet.
pub(crate) const SHARDS: usize = 64;

/// Every so many writes to a shard clean up a shard, in turn.
const CLEAN_EVERY: u64 = 4;

/// As many expired entries are removed at once: on average four a write, so that they become fewer while
/// every write adds one, and never so many that a call is held up.
const CLEAN_AT_MOST: usize = 16;

pub(crate) struct Map {
    shards: Box<[RwLock<Shard>; SHARDS]>,
    /// Seeded at random, and much faster than the standard library's.
    hasher: DefaultHashBuilder,
    /// Counts the clean-ups, to take the shards in turn: also those that nobody writes to any more.
    cleaned: AtomicUsize,
}

impl Map {
    pub(crate) fn new() -> Self {
        // From a random number on, so that a version that somebody kept from an earlier process, or from
        // another map, does not hold here. The upper half is left to count in.
        let first_version = RandomState::new().hash_one(()) >> 1;
        let hasher = DefaultHashBuilder::default();
        let shard = |_| RwLock::new(Shard::new(hasher.clone(), first_version));
        Self {
            shards: Box::new(std::array::from_fn(shard)),
            hasher,
            cleaned: AtomicUsize::new(0),
        }
    }

    fn hashed<'a>(&self, key: &'a str) -> (Hashed<'a>, &RwLock<Shard>) {
        let hash = self.hasher.hash_one(key);
        // Bits that the table in the shard does not look at: it takes the lowest, and the seven highest.
        let shard = usize::from(hash.to_be_bytes()[1]) % SHARDS;
        (Hashed { key, hash }, &self.shards[shard])
    }

    /// Reads in the shard of a key.
    pub(crate) fn read<R>(&self, key: &str, read: impl FnOnce(&Shard, Hashed<'_>) -> R) -> R {
        let (key, shard) = self.hashed(key);
        read(&reading(shard), key)
    }

    /// Writes in the shard of a key, and does its share of cleaning up.
    pub(crate) fn write<R>(&self, key: &str, write: impl FnOnce(&mut Shard, Hashed<'_>) -> R) -> R {
        let (key, shard) = self.hashed(key);
        let (answer, number) = {
            let mut shard = writing(shard);
            let number = shard.begin_write();
            (write(&mut shard, key), number)
        };
        if number.is_multiple_of(CLEAN_EVERY) {
            self.clean();
        }
        answer
    }

    /// Removes some expired entries of the next shard, unless somebody is in it.
    fn clean(&self) {
        let turn = self.cleaned.fetch_add(1, Ordering::Relaxed);
        let mut shard = match self.shards[turn % SHARDS].try_write() {
            Ok(shard) => shard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        shard.remove_expired(CLEAN_AT_MOST);
    }

    /// The keys of one shard that begin with a prefix, those that have expired included.
    pub(crate) fn keys_of_shard(&self, shard: usize, prefix: &str) -> Vec<Arc<str>> {
        reading(&self.shards[shard]).keys(prefix)
    }
}

// Nothing panics while a lock is held, and a shard is whole between any two steps: a poisoned lock is no
// reason to fail.
fn reading(shard: &RwLock<Shard>) -> RwLockReadGuard<'_, Shard> {
    shard.read().unwrap_or_else(PoisonError::into_inner)
}

fn writing(shard: &RwLock<Shard>) -> RwLockWriteGuard<'_, Shard> {
    shard.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
