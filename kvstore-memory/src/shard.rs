//! One shard of the map: its entries, and the order in which they expire.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::{DefaultHashBuilder, HashTable};
use kvstore_core::{Bytes, Condition, Error, ErrorKind, Expiry, Outcome, Result, Version};

/// A table is not made smaller than this.
const SMALL: usize = 64;

/// What is kept for a key.
#[derive(Debug)]
pub(crate) struct Entry {
    key: Arc<str>,
    pub(crate) value: Bytes,
    pub(crate) version: u64,
    deadline: Option<Instant>,
}

impl Entry {
    /// The time left, where the key expires at all; `None` when it has expired.
    ///
    /// The clock is read only for a key that expires: reading it costs as much as the rest of a lookup.
    fn left(&self) -> Option<Option<Duration>> {
        let Some(deadline) = self.deadline else {
            return Some(None);
        };
        let left = deadline.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(Some(left))
    }

    fn is_live(&self) -> bool {
        self.left().is_some()
    }
}

/// A key with its hash, which is made once a call.
#[derive(Clone, Copy)]
pub(crate) struct Hashed<'a> {
    pub(crate) key: &'a str,
    pub(crate) hash: u64,
}

impl Hashed<'_> {
    fn is(self) -> impl Fn(&Entry) -> bool {
        move |entry| *entry.key == *self.key
    }
}

/// What a write asks for, but for the key.
pub(crate) struct Write<'a> {
    pub(crate) value: Bytes,
    pub(crate) expiry: Expiry,
    pub(crate) condition: Option<&'a Condition>,
}

pub(crate) struct Shard {
    entries: HashTable<Entry>,
    /// The keys that expire, by deadline; the version keeps those with the same deadline apart. An entry is
    /// in here exactly once while it has a deadline, so that writing a key again leaves nothing behind.
    deadlines: BTreeMap<(Instant, u64), Arc<str>>,
    /// Counts the writes: each has a number of its own, which is the version that it makes. A key stays in its
    /// shard, so a number of the shard never comes back for the key.
    writes: u64,
    hasher: DefaultHashBuilder,
}

impl Shard {
    /// An empty shard of a map with this hasher, which counts its writes from this number.
    pub(crate) fn new(hasher: DefaultHashBuilder, writes: u64) -> Self {
        Self {
            entries: HashTable::new(),
            deadlines: BTreeMap::new(),
            writes,
            hasher,
        }
    }

    /// Begins a write, and answers its number.
    pub(crate) fn begin_write(&mut self) -> u64 {
        self.writes = self.writes.wrapping_add(1);
        self.writes
    }

    /// The entry of a key that is present, with the time it has left.
    pub(crate) fn get(&self, key: Hashed<'_>) -> Option<(&Entry, Option<Duration>)> {
        let entry = self.entries.find(key.hash, key.is())?;
        Some((entry, entry.left()?))
    }

    /// Writes a value if the condition holds.
    pub(crate) fn set(&mut self, key: Hashed<'_>, write: Write<'_>) -> Result<Outcome> {
        let version = self.writes;
        let found = self.entries.find_mut(key.hash, key.is());
        let live = || found.as_deref().filter(|entry| entry.is_live());
        if let Some(condition) = write.condition
            && !holds(condition, live())?
        {
            return Ok(Outcome::Unmet);
        }
        let deadline = match write.expiry {
            Expiry::Keep => live().and_then(|entry| entry.deadline),
            expiry => deadline(expiry)?,
        };
        let entry = match found {
            Some(entry) => {
                if let Some(old) = entry.deadline {
                    self.deadlines.remove(&(old, entry.version));
                }
                entry.value = write.value;
                entry.version = version;
                entry.deadline = deadline;
                entry
            }
            None => {
                let entry = Entry {
                    key: key.key.into(),
                    value: write.value,
                    version,
                    deadline,
                };
                let rehash = |entry: &Entry| self.hasher.hash_one(&*entry.key);
                let inserted = self.entries.insert_unique(key.hash, entry, rehash);
                inserted.into_mut()
            }
        };
        if let Some(deadline) = deadline {
            let key = Arc::clone(&entry.key);
            self.deadlines.insert((deadline, version), key);
        }
        Ok(Outcome::Applied(Some(version.into())))
    }

    /// Removes a key, if it is at this version where one is asked for. Answers its value if it was present.
    pub(crate) fn remove(&mut self, key: Hashed<'_>, version: Option<&Version>) -> Option<Bytes> {
        let found = self.entries.find_entry(key.hash, key.is()).ok()?;
        let live = found.get().is_live();
        if version.is_some_and(|version| !live || *version != Version::from(found.get().version)) {
            return None;
        }
        let (entry, _) = found.remove();
        if let Some(deadline) = entry.deadline {
            self.deadlines.remove(&(deadline, entry.version));
        }
        self.give_back_room();
        live.then_some(entry.value)
    }

    /// Sets the expiry of a key that is present; `false` when it is missing.
    pub(crate) fn touch(&mut self, key: Hashed<'_>, expiry: Expiry) -> Result<bool> {
        let Some(entry) = self.entries.find_mut(key.hash, key.is()) else {
            return Ok(false);
        };
        if !entry.is_live() {
            return Ok(false);
        }
        let new = match expiry {
            Expiry::Keep => entry.deadline,
            expiry => deadline(expiry)?,
        };
        if let Some(old) = std::mem::replace(&mut entry.deadline, new) {
            self.deadlines.remove(&(old, entry.version));
        }
        if let Some(new) = new {
            let key = Arc::clone(&entry.key);
            self.deadlines.insert((new, entry.version), key);
        }
        Ok(true)
    }

    /// Removes expired entries, those that expired first before the others, and at most so many.
    pub(crate) fn remove_expired(&mut self, most: usize) {
        if self.deadlines.is_empty() {
            return;
        }
        let now = Instant::now();
        for _ in 0..most {
            let Some(first) = self.deadlines.first_entry() else {
                break;
            };
            if first.key().0 > now {
                break;
            }
            let key = first.remove();
            let key = Hashed {
                key: &key,
                hash: self.hasher.hash_one(&*key),
            };
            if let Ok(found) = self.entries.find_entry(key.hash, key.is()) {
                found.remove();
            }
        }
        self.give_back_room();
    }

    /// Makes a table smaller that few entries are left in. Like growing, this moves them all, and happens once
    /// in as many calls as there are entries.
    fn give_back_room(&mut self) {
        let len = self.entries.len();
        if self.entries.capacity() > SMALL.max(8 * len) {
            let rehash = |entry: &Entry| self.hasher.hash_one(&*entry.key);
            self.entries.shrink_to(2 * len, rehash);
        }
    }

    /// The keys that begin with a prefix, those that have expired included.
    pub(crate) fn keys(&self, prefix: &str) -> Vec<Arc<str>> {
        let begin = self
            .entries
            .iter()
            .filter(|entry| entry.key.starts_with(prefix));
        begin.map(|entry| Arc::clone(&entry.key)).collect()
    }
}

#[cfg(test)]
impl Shard {
    /// How many entries, deadlines, and places for entries there are.
    pub(crate) fn sizes(&self) -> [usize; 3] {
        [
            self.entries.len(),
            self.deadlines.len(),
            self.entries.capacity(),
        ]
    }

    /// Lets the deadline of every entry that has one be now.
    pub(crate) fn expire_all(&mut self) {
        let now = Instant::now();
        self.deadlines.clear();
        for entry in &mut self.entries {
            if entry.deadline.is_some() {
                entry.deadline = Some(now);
                let key = Arc::clone(&entry.key);
                self.deadlines.insert((now, entry.version), key);
            }
        }
    }
}

fn holds(condition: &Condition, live: Option<&Entry>) -> Result<bool> {
    Ok(match condition {
        Condition::Absent => live.is_none(),
        Condition::Present => live.is_some(),
        Condition::Version(version) => {
            live.is_some_and(|entry| *version == Version::from(entry.version))
        }
        _ => return Err(unknown("the memory provider does not know this condition")),
    })
}

/// The moment from which on a key with this expiry is missing.
fn deadline(expiry: Expiry) -> Result<Option<Instant>> {
    match expiry {
        Expiry::Never => Ok(None),
        Expiry::After(ttl) => Instant::now().checked_add(ttl).map(Some).ok_or_else(|| {
            let message = "the time to live is beyond what this machine's clock can count";
            Error::new(ErrorKind::InvalidTtl, message)
        }),
        _ => Err(unknown("the memory provider does not know this expiry")),
    }
}

fn unknown(message: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, message)
}
