//! Expiry, measured by the test's own clock and never by a time that a machine under load could miss.

use std::future::Future;
use std::time::Duration;

use kvstore_core::KeyValueStore;
use tokio::time::{Instant, sleep, sleep_until};

use crate::check::{Checked, ensure, shown};
use crate::{Failure, Fixture};

/// By how much the server's clock may seem to differ from the test's within a case: clocks are read in whole
/// milliseconds, and slewed.
const CLOCKS: Duration = Duration::from_millis(10);
/// How late a key may be gone, beyond the two units of a granular server.
const SLACK: Duration = Duration::from_millis(500);
/// Longer than any case.
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// The time of a key with a time to live, which began somewhere within the write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    /// A read that has ended by then sees the key.
    there_until: Instant,
    /// A read that begins from then on does not.
    gone_from: Instant,
    /// What the server counts in.
    unit: Duration,
}

impl Lease {
    /// Does a write with a time to live.
    pub(crate) async fn start<T, E>(
        f: &Fixture,
        ttl: Duration,
        write: impl Future<Output = Result<T, E>>,
    ) -> Checked<(Self, T)>
    where
        Failure: From<E>,
    {
        let before = Instant::now();
        let answer = write.await?;
        let unit = f.capabilities().expiry.unwrap_or_default();
        let lease = Self {
            there_until: before + ttl - CLOCKS.min(ttl),
            gone_from: Instant::now() + ttl + 2 * unit + SLACK,
            unit,
        };
        Ok((lease, answer))
    }

    /// Waits until the key must be gone.
    pub(crate) async fn end(self) {
        sleep_until(self.gone_from).await;
    }

    /// Whether the key must be gone.
    pub(crate) fn is_over(self) -> bool {
        Instant::now() >= self.gone_from
    }

    /// Watches the key until it is gone: not too early, and not too late.
    pub(crate) async fn watch(self, store: &KeyValueStore<String>, key: &str) -> Checked {
        let shown = shown(key);
        loop {
            let began = Instant::now();
            let found = store.get(key).await?;
            let ended = Instant::now();
            if found.is_none() {
                let early = self.there_until.saturating_duration_since(ended);
                ensure!(early.is_zero(), "key {shown} is gone {early:?} too early");
                return Ok(());
            }
            let late = began.saturating_duration_since(self.gone_from);
            ensure!(
                late.is_zero(),
                "key {shown} is still there {late:?} after it must be gone"
            );
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Whether a time left that was read just now can be right: `asked` is from before it was read.
    pub(crate) fn check_left(self, left: Option<Duration>, asked: Instant, what: &str) -> Checked {
        let Some(left) = left else {
            return Err(Failure::new(format!("{what}: it does not expire")));
        };
        let ends = (asked + left, Instant::now() + left);
        ensure!(
            ends.1 + CLOCKS + self.unit >= self.there_until,
            "{what}: {left:?} left is too short"
        );
        ensure!(
            ends.0 <= self.gone_from + CLOCKS,
            "{what}: {left:?} left is too long"
        );
        Ok(())
    }
}

/// A time to live that the server keeps without rounding it to much more.
pub(crate) fn short(f: &Fixture) -> Duration {
    f.capabilities()
        .expiry
        .unwrap_or_default()
        .max(Duration::from_millis(300))
}
