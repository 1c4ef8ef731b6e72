//! Every change of what is in the file.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kvstore_core::{Outcome, Version};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, Table, WriteTransaction};

use crate::data::{ABOUT, DEADLINES, ENTRIES, Result, deadline, is_live};

/// How many versions are reserved at once.
const RESERVED: u64 = 1000;

/// When a key is to expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expires {
    Never,
    After(Duration),
    AsBefore,
}

/// What must hold for a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Only {
    Always,
    IfAbsent,
    IfPresent,
    IfVersion(Version),
}

/// The versions that can be given: those after the one that was given last, up to the counter in the file. The counter
/// is raised by many at once, so that few transactions have to write it; what is left when the file is closed is
/// never given.
#[derive(Clone, Copy, Debug)]
struct Versions {
    given: u64,
    counter: u64,
}

/// By what it can be told, in a file that is opened anew, whether a transaction was committed.
pub(crate) enum Mark {
    /// The key is at this version.
    Version(Box<str>, u64),
    /// The counter is this one.
    Counter(u64),
}

/// Why a transaction came to nothing, or may have.
pub(crate) enum Lost {
    /// Nothing was written.
    Before(redb::Error),
    /// It failed as it was committed. If it was all the same, the file has its mark.
    Commit(redb::Error, Mark),
}

impl<E: Into<redb::Error>> From<E> for Lost {
    fn from(error: E) -> Self {
        Self::Before(error.into())
    }
}

/// The open database.
pub(crate) struct Open {
    pub(crate) database: Database,
    /// Nothing where the counter in the file has to be asked.
    versions: Mutex<Option<Versions>>,
}

impl Open {
    pub(crate) fn new(database: Database) -> Self {
        Self {
            database,
            versions: Mutex::default(),
        }
    }

    fn versions(&self) -> MutexGuard<'_, Option<Versions>> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does some work in a transaction, and removes expired keys with it: so many at most, and as many again as the
    /// work added keys that will expire, so that they do not become more and more. Answers how many there were.
    pub(crate) fn write(
        &self,
        sweep: usize,
        work: impl FnOnce(&mut Tables<'_>) -> Result<()>,
    ) -> Result<usize, Lost> {
        let transaction = self.database.begin_write()?;
        let mut tables = Tables::open(&transaction, self.versions().take())?;
        work(&mut tables)?;
        let swept = tables.sweep(sweep + tables.expiring)?;
        let (mark, versions) = tables.close()?;
        match mark {
            None => transaction.abort()?,
            Some(mark) => {
                let committed = transaction.commit();
                committed.map_err(|error| Lost::Commit(error.into(), mark))?;
            }
        }
        *self.versions() = Some(versions);
        Ok(swept)
    }

    /// Whether the transaction with this mark was committed.
    pub(crate) fn has(&self, mark: &Mark) -> Result<bool> {
        let snapshot = self.database.begin_read()?;
        Ok(match mark {
            Mark::Version(key, version) => {
                let found = snapshot.open_table(ENTRIES)?.get(&**key)?;
                found.is_some_and(|found| found.value().0 == *version)
            }
            Mark::Counter(counter) => {
                let found = snapshot.open_table(ABOUT)?.get("counter")?;
                found.is_some_and(|found| found.value() == *counter)
            }
        })
    }
}

/// The tables in a transaction.
pub(crate) struct Tables<'t> {
    transaction: &'t WriteTransaction,
    entries: Table<'t, &'static str, (u64, Option<u64>, &'static [u8])>,
    deadlines: Table<'t, (u64, &'static str), ()>,
    versions: Versions,
    changed: bool,
    /// A key that was set, and the version that it has.
    set: Option<(Box<str>, u64)>,
    /// How many keys were given a deadline.
    expiring: usize,
    /// How many bytes of keys and values were written.
    bytes: usize,
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction, versions: Option<Versions>) -> Result<Self> {
        let from_file = || -> Result<Versions> {
            let about = transaction.open_table(ABOUT)?;
            let counter = about.get("counter")?.map(|counter| counter.value());
            let counter = counter.unwrap_or_default();
            Ok(Versions {
                given: counter,
                counter,
            })
        };
        Ok(Self {
            transaction,
            entries: transaction.open_table(ENTRIES)?,
            deadlines: transaction.open_table(DEADLINES)?,
            versions: versions.map_or_else(from_file, Ok)?,
            changed: false,
            set: None,
            expiring: 0,
            bytes: 0,
        })
    }

    /// A mark of what was changed, if anything was; and the versions that are left.
    fn close(mut self) -> Result<(Option<Mark>, Versions)> {
        let mark = match self.set.take() {
            _ if !self.changed => None,
            Some((key, version)) => Some(Mark::Version(key, version)),
            None => {
                self.reserve(1)?;
                Some(Mark::Counter(self.versions.counter))
            }
        };
        Ok((mark, self.versions))
    }

    /// How many bytes of keys and values were written.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn reserve(&mut self, count: u64) -> Result<()> {
        let counter = self.versions.counter.checked_add(count);
        self.versions.counter = counter.ok_or_else(|| {
            redb::Error::Corrupted("the counter is higher than any that is written".to_owned())
        })?;
        let mut about = self.transaction.open_table(ABOUT)?;
        about.insert("counter", self.versions.counter)?;
        Ok(())
    }

    fn next_version(&mut self) -> Result<u64> {
        if self.versions.given == self.versions.counter {
            self.reserve(RESERVED)?;
        }
        self.versions.given += 1;
        Ok(self.versions.given)
    }

    /// The version and deadline of a key that is in the table.
    fn find(&self, key: &str) -> Result<Option<(u64, Option<u64>)>> {
        let found = self.entries.get(key)?;
        Ok(found.map(|found| {
            let (version, deadline, _) = found.value();
            (version, deadline)
        }))
    }

    pub(crate) fn set(
        &mut self,
        key: &str,
        value: &[u8],
        expires: Expires,
        only: &Only,
    ) -> Result<Outcome> {
        let live = match (only, expires) {
            // What it replaces does not matter.
            (Only::Always, Expires::Never | Expires::After(_)) => None,
            _ => self.find(key)?.filter(|(_, deadline)| is_live(*deadline)),
        };
        let holds = match only {
            Only::Always => true,
            Only::IfAbsent => live.is_none(),
            Only::IfPresent => live.is_some(),
            Only::IfVersion(version) => live.is_some_and(|(found, _)| *version == found.into()),
        };
        if !holds {
            return Ok(Outcome::Unmet);
        }
        let deadline = match expires {
            Expires::Never => None,
            Expires::After(ttl) => Some(deadline(ttl)),
            Expires::AsBefore => live.and_then(|(_, deadline)| deadline),
        };
        let version = self.next_version()?;
        self.put(key, (version, deadline, value))?;
        if self.set.as_ref().is_none_or(|(set, _)| **set == *key) {
            self.set = Some((key.into(), version));
        }
        Ok(Outcome::Applied(Some(version.into())))
    }

    /// Removes a key, if it is at this version where one is asked for. Answers what is read of its value, if it
    /// was present.
    pub(crate) fn remove<T>(
        &mut self,
        key: &str,
        version: Option<&Version>,
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>> {
        let Some((found, deadline)) = self.find(key)? else {
            return Ok(None);
        };
        let live = is_live(deadline);
        if version.is_some_and(|version| !live || *version != found.into()) {
            return Ok(None);
        }
        let removed = self.take_out(key, deadline, read)?;
        Ok(removed.filter(|_| live))
    }

    /// Sets the expiry of a key that is present; `false` when it is missing.
    pub(crate) fn touch(&mut self, key: &str, expires: Expires) -> Result<bool> {
        let Some(found) = self.entries.get(key)? else {
            return Ok(false);
        };
        let (version, old, value) = found.value();
        if !is_live(old) {
            return Ok(false);
        }
        let deadline = match expires {
            Expires::Never => None,
            Expires::After(ttl) => Some(deadline(ttl)),
            Expires::AsBefore => old,
        };
        if deadline == old {
            return Ok(true);
        }
        let value = value.to_vec();
        drop(found);
        self.put(key, (version, deadline, &value))?;
        Ok(true)
    }

    /// Writes an entry, and keeps the deadlines as the entries have them.
    fn put(&mut self, key: &str, entry: (u64, Option<u64>, &[u8])) -> Result<()> {
        self.changed = true;
        self.bytes += key.len() + entry.2.len();
        let new = entry.1;
        let old = self.entries.insert(key, entry)?;
        let old = old.and_then(|old| old.value().1);
        if old != new {
            if let Some(old) = old {
                self.deadlines.remove((old, key))?;
            }
            if let Some(new) = new {
                self.expiring += 1;
                self.deadlines.insert((new, key), ())?;
            }
        }
        Ok(())
    }

    /// Removes up to so many keys that have expired, those first that expired first. Answers how many.
    fn sweep(&mut self, most: usize) -> Result<usize> {
        for swept in 0..most {
            let (deadline, key) = match self.deadlines.first()? {
                Some((first, _)) if !is_live(Some(first.value().0)) => {
                    let (deadline, key) = first.value();
                    (deadline, key.to_owned())
                }
                _ => return Ok(swept),
            };
            match self.find(&key)? {
                Some((_, own)) if own == Some(deadline) => {
                    self.take_out(&key, own, |_| ())?;
                }
                // Another program has left it behind.
                _ => {
                    self.changed = true;
                    self.deadlines.remove((deadline, &*key))?;
                }
            }
        }
        Ok(most)
    }

    /// Removes an entry and its deadline, and with it the mark that it may be.
    fn take_out<T>(
        &mut self,
        key: &str,
        deadline: Option<u64>,
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>> {
        self.changed = true;
        self.set.take_if(|(set, _)| **set == *key);
        if let Some(deadline) = deadline {
            self.deadlines.remove((deadline, key))?;
        }
        let removed = self.entries.remove(key)?;
        Ok(removed.map(|removed| read(removed.value().2)))
    }
}
