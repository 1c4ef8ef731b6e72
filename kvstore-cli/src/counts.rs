//! How many keys a copy or an import had, by what became of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::Context;
use crate::args::How;
use crate::failure::Failure;
use crate::output::{self, number};
use crate::progress;

/// How many keys there were, by what became of them.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) read: AtomicU64,
    pub(crate) written: AtomicU64,
    pub(crate) equal: AtomicU64,
    pub(crate) present: AtomicU64,
    pub(crate) expired: AtomicU64,
    pub(crate) failed: AtomicU64,
}

/// Counts one more.
pub(crate) fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

impl Counts {
    /// Says how many there were, and how long it took.
    pub(crate) fn tell(
        &self,
        context: &Context<'_>,
        how: How,
        time: Duration,
    ) -> Result<(), Failure> {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Self {
            read,
            written,
            equal,
            present,
            expired,
            failed,
        } = self;
        if context.json {
            return output::json(&json!({
                "read": count(read),
                "written": count(written),
                "equal": count(equal),
                "present": count(present),
                "expired": count(expired),
                "failed": count(failed),
                "dry_run": how.dry_run,
                "seconds": time.as_secs_f64(),
            }));
        }
        let did = match (how.dry_run, how.verify) {
            (true, _) => "would be written",
            (false, true) => "written and read back",
            (false, false) => "written",
        };
        let mut text = format!("{} {did}", number(count(written)));
        for (some, name) in [
            (equal, "equal already"),
            (present, "there already"),
            (expired, "gone meanwhile"),
            (failed, "failed"),
        ] {
            match count(some) {
                0 => {}
                some => text.push_str(&format!(", {} {name}", number(some))),
            }
        }
        let rate = progress::per_second(count(read), time);
        let keys = number(count(read));
        context.messages.note(&format!(
            "{text}; {keys} keys in {:.1} s, {} a second",
            time.as_secs_f64(),
            number(rate)
        ));
        Ok(())
    }
}
