//! Moments as `expires_at` has them: RFC 3339, UTC, milliseconds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};
use time::macros::format_description;

/// A moment by this machine's clock, or as an object has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment {
    /// Since 1970; what was before is as good as 1970.
    since: Duration,
}

impl Moment {
    pub(crate) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            since: since.unwrap_or_default(),
        }
    }

    /// The moment after a span, rounded up to milliseconds.
    pub(crate) fn after(self, span: Duration) -> Self {
        let since = self.since.saturating_add(span);
        let odd = Duration::from_nanos(u64::from(since.subsec_nanos() % 1_000_000));
        match odd.is_zero() {
            true => Self { since },
            false => Self {
                since: (since - odd).saturating_add(Duration::from_millis(1)),
            },
        }
    }

    /// How long it is until this moment; `None` when it is there.
    pub(crate) fn until(self, now: Self) -> Option<Duration> {
        self.since
            .checked_sub(now.since)
            .filter(|left| !left.is_zero())
    }

    /// How far two moments are apart.
    pub(crate) fn apart(self, other: Self) -> Duration {
        self.since.abs_diff(other.since)
    }

    /// The text, unless the year has more than four digits.
    pub(crate) fn to_text(self) -> Option<String> {
        let format = format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
        );
        let nanos = i128::try_from(self.since.as_nanos()).ok()?;
        let date = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()?;
        date.format(format).ok()
    }

    /// Reads any RFC 3339 text.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        Self::from_date(OffsetDateTime::parse(text, &Rfc3339).ok()?)
    }

    /// Reads what the header `date` of an answer has.
    pub(crate) fn from_header(text: &str) -> Option<Self> {
        Self::from_date(OffsetDateTime::parse(text, &Rfc2822).ok()?)
    }

    fn from_date(date: OffsetDateTime) -> Option<Self> {
        let nanos = date.unix_timestamp_nanos().max(0);
        let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
        let nanos = u32::try_from(nanos % 1_000_000_000).ok()?;
        Some(Self {
            since: Duration::new(seconds, nanos),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment {
            since: Duration::from_millis(millis),
        }
    }

    #[test]
    fn moments_come_back_from_text() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_827_696_789, "2000-02-29T12:34:56.789Z"),
            (4_949_251_200_001, "2126-11-02T00:00:00.001Z"),
        ] {
            assert_eq!(at(millis).to_text().as_deref(), Some(text));
            assert_eq!(Moment::from_text(text), Some(at(millis)));
        }
        assert_eq!(
            Moment::from_text("1970-01-01T01:00:01+01:00"),
            Some(at(1000))
        );
        assert_eq!(Moment::from_text("1960-01-01T00:00:00Z"), Some(at(0)));
        for text in ["", "soon", "2000-02-30T00:00:00Z", "2000-01-01", "1234"] {
            assert_eq!(Moment::from_text(text), None, "{text}");
        }
    }

    #[test]
    fn the_servers_date_is_read() {
        let date = Moment::from_header("Tue, 29 Feb 2000 12:34:56 GMT");
        assert_eq!(date, Some(at(951_827_696_000)));
        assert_eq!(at(5).apart(at(7)), Duration::from_millis(2));
    }

    #[test]
    fn a_span_is_rounded_up_and_the_moment_itself_is_over() {
        assert_eq!(at(5).after(Duration::from_nanos(1)), at(6));
        assert_eq!(at(5).after(Duration::from_millis(2)), at(7));
        assert_eq!(at(5).until(at(5)), None);
        assert_eq!(at(5).until(at(6)), None);
        assert_eq!(at(5).until(at(4)), Some(Duration::from_millis(1)));
        assert_eq!(Moment::now().after(Duration::MAX).to_text(), None);
    }
}
