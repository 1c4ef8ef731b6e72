//! How much memory values may take while they are under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// In KiB: for all values.
const ALL: u32 = 64 << 10;
/// In KiB: how large the first are taken to be, which is as large as MongoDB can hold.
const FIRST: u32 = 16 << 10;

/// Room for values that are being read. Their sizes are known only when they are here, so each is taken to be as
/// large as those before it: many small ones are read at once, and few large ones.
pub(crate) struct Budget {
    room: Arc<Semaphore>,
    /// In KiB.
    expected: AtomicU32,
}

/// The room of one value, until it is dropped.
#[derive(Debug)]
pub(crate) struct Room(Option<OwnedSemaphorePermit>);

impl Budget {
    pub(crate) fn new() -> Self {
        Self {
            room: Arc::new(Semaphore::new(ALL as usize)),
            expected: AtomicU32::new(FIRST),
        }
    }

    /// Waits for the room that a value is likely to need.
    pub(crate) async fn reserve(&self) -> Room {
        let expected = self.expected.load(Ordering::Relaxed);
        let permit = Arc::clone(&self.room).acquire_many_owned(expected).await;
        // An error: it was closed, which nobody does.
        Room(permit.ok())
    }

    /// Waits for the room of a value whose size is known.
    pub(crate) async fn take(&self, bytes: usize) -> Room {
        let permit = Arc::clone(&self.room).acquire_many_owned(needed(bytes));
        Room(permit.await.ok())
    }

    /// Learns how many bytes a value has, and gives back what it does not need.
    pub(crate) fn learn(&self, room: &mut Room, bytes: usize) {
        let needed = needed(bytes);
        // Up at once, and down by and by.
        let learn = |expected: u32| Some(needed.max(expected - expected / 8));
        let _ = self
            .expected
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, learn);
        if let Some(permit) = &mut room.0
            && let Some(surplus) = permit.num_permits().checked_sub(needed as usize)
        {
            drop(permit.split(surplus));
        }
    }
}

/// In KiB. A value that is larger than all the room has all of it.
fn needed(bytes: usize) -> u32 {
    u32::try_from(bytes >> 10).unwrap_or(ALL).clamp(1, ALL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn large_values_are_read_few_at_once_and_small_ones_many() {
        let budget = Budget::new();
        let read = async |bytes| {
            let mut room = budget.reserve().await;
            budget.learn(&mut room, bytes);
            room
        };
        let at_once =
            || budget.room.available_permits() / budget.expected.load(Ordering::Relaxed) as usize;
        assert_eq!(at_once(), 4);
        drop(read(20 << 20).await);
        assert_eq!(at_once(), 3);
        for _ in 0..200 {
            drop(read(100).await);
        }
        assert!(at_once() > 5_000, "{}", at_once());
        drop(read(1 << 30).await);
        assert_eq!(
            at_once(),
            1,
            "one that is larger than all the room can still be read"
        );
        assert_eq!(
            budget.room.available_permits(),
            ALL as usize,
            "all is given back"
        );
    }
}
