//! The server's clock, where it is needed: beyond 30 days a time to live is a date by that clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kvstore_core::{Error, ErrorKind, Expiry, Result};
use tokio::time::Instant;

use crate::command::{Commands, MAX_SECONDS, Ttl};
use crate::error;
use crate::reply::{Reply, Stats};
use crate::server::Server;

/// For how long it is relied on that two clocks run at the same speed.
const FRESH: Duration = Duration::from_secs(60);

/// The last second that the server can count to, 2038-01-19 03:14:07 UTC: it takes later ones for times that have passed,
/// or for none at all.
const LAST: u64 = i32::MAX as u64;

/// What a server's clock showed.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    asked: Instant,
    /// The same moment by the clock that goes on while this machine sleeps.
    asked_at: SystemTime,
    seconds: u64,
}

/// A time to live, before the server's clock is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Span {
    Never,
    Seconds(u64),
    /// Longer than 30 days.
    Long(Duration),
}

/// How a key is to expire, as it can be told to Memcached; `None` where it keeps the expiry that it has.
///
/// The server's clock ticks once a second, so a key of N seconds lives for N - 1 to N: one more is given.
pub(crate) fn span(expiry: Expiry) -> Result<Option<Span>> {
    let ttl = match expiry {
        Expiry::Never => return Ok(Some(Span::Never)),
        Expiry::Keep => return Ok(None),
        Expiry::After(ttl) => ttl,
        _ => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "this release does not know that expiry",
            ));
        }
    };
    let seconds = whole(ttl).saturating_add(1);
    if seconds <= MAX_SECONDS {
        return Ok(Some(Span::Seconds(seconds)));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    if now.unwrap_or_default().saturating_add(ttl) > Duration::from_secs(LAST) {
        return Err(too_late());
    }
    Ok(Some(Span::Long(ttl)))
}

/// The seconds of a span, rounded up.
fn whole(span: Duration) -> u64 {
    span.as_secs()
        .saturating_add(u64::from(span.subsec_nanos() > 0))
}

fn too_late() -> Error {
    Error::new(
        ErrorKind::InvalidTtl,
        "Memcached counts seconds in 31 bits: no key can expire after 2038-01-19",
    )
}

impl Span {
    pub(crate) fn needs_clock(self) -> bool {
        matches!(self, Self::Long(_))
    }

    /// As it is told to the server that has this clock, if one is needed.
    pub(crate) fn ttl(self, clock: Option<Clock>) -> Result<Ttl> {
        match (self, clock) {
            (Self::Never, _) => Ok(Ttl::Never),
            (Self::Seconds(seconds), _) => Ok(Ttl::Seconds(seconds)),
            (Self::Long(span), Some(clock)) => clock.date(span),
            // Never so: whoever asks has looked whether one is needed.
            (Self::Long(_), None) => Err(error::not_understood()),
        }
    }
}

impl Clock {
    /// Asks the server.
    pub(crate) async fn ask(server: &Server, lane: usize, deadline: Instant) -> Result<Self> {
        let mut commands = Commands::default();
        commands.stats();
        let (asked, asked_at) = (Instant::now(), SystemTime::now());
        let replies = server.ask(lane, &commands.request(), deadline).await?;
        let seconds = match replies.first() {
            Some(Reply::List(stats, _)) => seconds(stats)?,
            Some(Reply::Refused(words)) => return Err(error::refused(words)),
            _ => return Err(error::not_understood()),
        };
        Ok(Self {
            asked,
            asked_at,
            seconds,
        })
    }

    /// Whether it can be reckoned from.
    pub(crate) fn is_fresh(&self) -> bool {
        let (elapsed, by_system) = (self.asked.elapsed(), self.asked_at.elapsed());
        // They differ where this machine has slept, or where its clock was set.
        let slept = by_system.map_or(Duration::MAX, |by_system| by_system.abs_diff(elapsed));
        elapsed < FRESH && slept < Duration::from_secs(1)
    }

    /// When the span is over that begins now.
    ///
    /// The clock may have been just short of its next second, so there is one more; it is rounded once, at last.
    fn date(self, span: Duration) -> Result<Ttl> {
        let date = self.seconds + 1 + whole(self.asked.elapsed() + span);
        match date <= LAST {
            true => Ok(Ttl::Date(date)),
            false => Err(too_late()),
        }
    }
}

/// The end of a key that has so many seconds left, or none to count, when its server's clock shows that.
pub(crate) fn end(seconds: u64, left: i64) -> Ttl {
    match u64::try_from(left) {
        Ok(left) => Ttl::Date(seconds.saturating_add(left).min(LAST)),
        Err(_) => Ttl::Never,
    }
}

/// The server's time, of its `stats`.
pub(crate) fn seconds(stats: &Stats) -> Result<u64> {
    // Anything else would be added to beyond what a number holds.
    let seconds = stats.number("time").filter(|seconds| *seconds <= LAST);
    seconds.ok_or_else(error::not_understood)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    #[test]
    fn spans_are_rounded_up() {
        let after = |ttl| span(Expiry::After(ttl)).unwrap().unwrap();
        for (ttl, seconds) in [
            (Duration::from_nanos(1), 2),
            (Duration::from_secs(1), 2),
            (Duration::from_nanos(1_000_000_001), 3),
            (30 * DAY - Duration::from_secs(1), MAX_SECONDS),
        ] {
            assert_eq!(after(ttl), Span::Seconds(seconds));
        }
        for ttl in [30 * DAY, 30 * DAY - Duration::from_nanos(1), 31 * DAY] {
            assert_eq!(after(ttl), Span::Long(ttl));
        }
        assert_eq!(span(Expiry::Never).unwrap(), Some(Span::Never));
        assert_eq!(span(Expiry::Keep).unwrap(), None);
        for ttl in [36_500 * DAY, Duration::from_secs(u64::MAX), Duration::MAX] {
            let error = span(Expiry::After(ttl)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidTtl);
        }
    }

    #[test]
    fn dates_are_by_the_servers_clock() {
        let clock = |seconds| Clock {
            asked: Instant::now(),
            asked_at: SystemTime::now(),
            seconds,
        };
        let date = |seconds, span| match clock(seconds).date(span) {
            Ok(Ttl::Date(date)) => Some(date),
            _ => None,
        };
        let at = 1_000_000_000;
        assert_eq!(date(at, Duration::from_millis(1500)), Some(at + 3));
        assert_eq!(date(LAST - 3, Duration::from_millis(1500)), Some(LAST));
        assert_eq!(date(LAST - 2, Duration::from_millis(1500)), None);
    }

    #[test]
    fn a_clock_is_asked_again_when_this_machine_has_slept() {
        let ago = |by_instant, by_system| Clock {
            asked: Instant::now().checked_sub(by_instant).unwrap(),
            asked_at: SystemTime::now() - by_system,
            seconds: 0,
        };
        let second = Duration::from_secs(1);
        assert!(ago(5 * second, 5 * second).is_fresh());
        assert!(!ago(second, 30 * second).is_fresh());
        assert!(!ago(5 * second, second).is_fresh());
        assert!(!ago(61 * second, 61 * second).is_fresh());
    }

    #[test]
    fn an_end_that_is_kept_is_never_later_than_the_server_can_count() {
        assert_eq!(end(1_000_000_000, -1), Ttl::Never);
        assert_eq!(end(1_000_000_000, 60), Ttl::Date(1_000_000_060));
        // The clock ticked after the time left was told.
        assert_eq!(
            end(1_000_000_001, i64::from(i32::MAX) - 1_000_000_000),
            Ttl::Date(LAST)
        );
    }
}
