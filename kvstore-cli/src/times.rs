//! How long many calls took, in little memory.

use std::collections::BTreeMap;
use std::time::Duration;

/// How many calls took how long, to the hundredth part or so: of each time its first seven binary digits count.
#[derive(Default)]
pub(crate) struct Times {
    pub(crate) count: u64,
    longest: Duration,
    /// How many took so many nanoseconds, rounded down.
    by_length: BTreeMap<u64, u64>,
}

const DIGITS: u32 = 7;

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let dropped = (u64::BITS - nanos.leading_zeros()).saturating_sub(DIGITS);
        *self
            .by_length
            .entry(nanos >> dropped << dropped)
            .or_insert(0) += 1;
        self.count += 1;
        self.longest = self.longest.max(time);
    }

    pub(crate) fn add_all(&mut self, others: &Self) {
        for (length, count) in &others.by_length {
            *self.by_length.entry(*length).or_insert(0) += count;
        }
        self.count += others.count;
        self.longest = self.longest.max(others.longest);
    }

    /// What this share of the calls did not take longer than, or a hundredth longer.
    pub(crate) fn within(&self, percent: u64) -> Duration {
        if percent == 100 {
            return self.longest;
        }
        let wanted = self.count.saturating_mul(percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (length, count) in &self.by_length {
            seen += count;
            if seen >= wanted {
                return Duration::from_nanos(*length);
            }
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_right_to_the_hundredth_and_take_little_memory() {
        let mut all = Times::default();
        for half in [0, 1] {
            let mut times = Times::default();
            for micros in 1..=50_000 {
                times.add(Duration::from_micros(2 * micros - half));
            }
            all.add_all(&times);
        }
        for (percent, micros) in [(50, 50_000.0), (90, 90_000.0), (99, 99_000.0)] {
            let ratio = all.within(percent).as_secs_f64() * 1e6 / micros;
            assert!((0.98..=1.0).contains(&ratio), "{percent}: {ratio}");
        }
        assert_eq!(all.within(100), Duration::from_micros(100_000));
        assert_eq!(all.count, 100_000);
        assert!(all.by_length.len() < 2_000, "{}", all.by_length.len());
        assert_eq!(Times::default().within(99), Duration::ZERO);
    }
}
