//! What is in the file, and how it is read.

use std::ops::Bound;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kvstore_core::{Bytes, Entry};
use redb::{Database, ReadOnlyTable, ReadableDatabase as _, TableDefinition, TableError};

/// Version, deadline and value of each key.
pub(crate) const ENTRIES: TableDefinition<'_, &str, (u64, Option<u64>, &[u8])> =
    TableDefinition::new("entries");
/// The keys that expire, by their deadlines, each exactly once.
pub(crate) const DEADLINES: TableDefinition<'_, (u64, &str), ()> =
    TableDefinition::new("deadlines");
/// What the file says of itself: `format`, and `counter`; no version is higher than that.
pub(crate) const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("kvstore");

/// The number of this format.
const FORMAT: u64 = 1;
/// How many keys a page of a listing looks at.
const PAGE: usize = 1000;
/// How many bytes of values it goes past, which lie beside the keys, before it ends.
const PAGE_BYTES: usize = 8 << 20;

pub(crate) type Result<T, E = redb::Error> = std::result::Result<T, E>;

/// The time since 1970, by this machine's clock.
fn now() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}

/// The moment after so long, in milliseconds since 1970, rounded up: a key may live a little longer than it was
/// told, and never shorter.
pub(crate) fn deadline(ttl: Duration) -> u64 {
    let nanoseconds = now().saturating_add(ttl).as_nanos();
    u64::try_from(nanoseconds.div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// The time left until a deadline; `None` when it has passed.
fn left(deadline: u64) -> Option<Duration> {
    let left = Duration::from_millis(deadline).checked_sub(now())?;
    (!left.is_zero()).then_some(left)
}

pub(crate) fn is_live(deadline: Option<u64>) -> bool {
    deadline.is_none_or(|deadline| left(deadline).is_some())
}

/// What kind of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    /// Written by a later release, in a format of this number.
    Newer(u64),
    /// A redb database without our tables.
    Foreign,
}

/// Makes the tables of a new file.
pub(crate) fn create(database: &Database) -> Result<()> {
    let transaction = database.begin_write()?;
    transaction.open_table(ABOUT)?.insert("format", FORMAT)?;
    transaction.open_table(ENTRIES)?;
    transaction.open_table(DEADLINES)?;
    transaction.commit()?;
    Ok(())
}

pub(crate) fn kind(database: &Database) -> Result<Kind> {
    let about = match database.begin_read()?.open_table(ABOUT) {
        Ok(about) => about,
        Err(TableError::Storage(error)) => return Err(error.into()),
        Err(_) => return Ok(Kind::Foreign),
    };
    let format = about.get("format")?.map(|format| format.value());
    Ok(match format {
        Some(FORMAT) => Kind::Ours,
        Some(format) => Kind::Newer(format),
        None => Kind::Foreign,
    })
}

/// What was there at one moment, while others write.
pub(crate) struct Snapshot {
    entries: ReadOnlyTable<&'static str, (u64, Option<u64>, &'static [u8])>,
}

impl Snapshot {
    pub(crate) fn new(database: &Database) -> Result<Self> {
        let entries = database.begin_read()?.open_table(ENTRIES)?;
        Ok(Self { entries })
    }

    pub(crate) fn get(&self, key: &str) -> Result<Option<Bytes>> {
        let found = self.entries.get(key)?;
        Ok(found.and_then(|found| {
            let (_, deadline, value) = found.value();
            is_live(deadline).then(|| Bytes::copy_from_slice(value))
        }))
    }

    pub(crate) fn has(&self, key: &str) -> Result<bool> {
        let found = self.entries.get(key)?;
        Ok(found.is_some_and(|found| is_live(found.value().1)))
    }

    pub(crate) fn get_entry(&self, key: &str) -> Result<Option<Entry<Bytes>>> {
        let found = self.entries.get(key)?;
        Ok(found.and_then(|found| {
            let (version, deadline, value) = found.value();
            let left = match deadline {
                Some(deadline) => Some(left(deadline)?),
                None => None,
            };
            let entry = Entry::new(Bytes::copy_from_slice(value)).with_version(version.into());
            Some(match left {
                Some(left) => entry.with_expires_in(left),
                None => entry,
            })
        }))
    }

    /// The next keys with a prefix, in their order, after this one; and the key after which to go on, if there
    /// may be more.
    pub(crate) fn page(
        &self,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<(Vec<String>, Option<String>)> {
        let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let mut keys = Vec::new();
        let mut bytes = 0;
        let range = self.entries.range::<&str>((from, Bound::Unbounded))?;
        for (number, item) in range.enumerate() {
            let (key, entry) = item?;
            let key = key.value();
            if !key.starts_with(prefix) {
                break;
            }
            let (_, deadline, value) = entry.value();
            if is_live(deadline) {
                keys.push(key.to_owned());
            }
            bytes += value.len();
            if number + 1 == PAGE || bytes >= PAGE_BYTES {
                return Ok((keys, Some(key.to_owned())));
            }
        }
        Ok((keys, None))
    }
}
