//! The line of progress.

use std::time::Duration;

use tokio::time::{Instant, interval_at};

use crate::output::{Messages, number};

/// Does some work, and meanwhile shows how far it is, where a person watches.
pub(crate) async fn during<T>(
    messages: &Messages,
    count: impl Fn() -> u64,
    work: impl Future<Output = T>,
) -> T {
    if !messages.shows_progress() {
        return work.await;
    }
    let begin = Instant::now();
    let mut last = (begin, 0);
    let show = |time: Duration, done, rate| {
        let bar = BAR[(time.as_millis() / TICK.as_millis()) as usize % BAR.len()];
        let (done, rate) = (number(done), number(rate));
        messages.set_progress(format!("{bar} {done} keys, {rate} a second"));
    };
    show(Duration::ZERO, 0, 0);
    let mut ticks = interval_at(begin + TICK, TICK);
    tokio::pin!(work);
    // Also when this is dropped, by an interruption.
    let _cleared = Cleared(messages);
    loop {
        tokio::select! {
            now = ticks.tick() => {
                let done = count();
                let rate = per_second(done - last.1, now - last.0);
                last = (now, done);
                show(begin.elapsed(), done, rate);
            }
            done = &mut work => return done,
        }
    }
}

/// Ends the line of progress when it is dropped.
struct Cleared<'a>(&'a Messages);

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        self.0.set_progress(String::new());
    }
}

/// How often it changes.
const TICK: Duration = Duration::from_millis(250);

/// How many there are is not known before the last one, so this says that something moves.
const BAR: [&str; 8] = [
    "[=   ]", "[==  ]", "[=== ]", "[ ===]", "[  ==]", "[   =]", "[    ]", "[    ]",
];

pub(crate) fn per_second(count: u64, time: Duration) -> u64 {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    count.saturating_mul(1000) / millis
}
