//! Takes the place of the crate of this name, in which openraft counts how large its batches are and how long they take.
//! No one reads these figures here, and that crate fills tables of 26 MiB in every process that counts anything: more than
//! all the rest of an idle nsqd. This one has what openraft needs of it, and one counter for each power of two.

use std::fmt;
use std::marker::PhantomData;

/// Counts values by their highest bit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    /// Values below 1, below 2, below 4, and so on.
    counts: [u64; BUCKETS],
    data: PhantomData<T>,
}

/// One for each number of significant bits of a `u64`.
const BUCKETS: usize = 65;

impl<T> Histogram<T> {
    /// One without values.
    #[must_use]
    pub fn new() -> Self {
        Self {
            counts: [0; BUCKETS],
            data: PhantomData,
        }
    }

    /// Counts a value.
    #[inline]
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts a value `count` times.
    #[inline]
    pub fn record_n(&mut self, value: u64, count: u64) {
        let bits = (u64::BITS - value.leading_zeros()) as usize;
        self.counts[bits] = self.counts[bits].saturating_add(count);
    }

    /// How many values were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        let counts = self.counts.iter();
        counts.fold(0, |total, count| total.saturating_add(*count))
    }

    /// A value that is at least as high as this many of a thousand, and at most twice as high; 0 without values.
    fn permille(&self, permille: u64) -> u64 {
        let wanted = u128::from(self.total()) * u128::from(permille);
        let mut passed = 0;
        for (bits, count) in self.counts.iter().enumerate() {
            passed += u128::from(*count) * 1000;
            if *count > 0 && passed >= wanted {
                return u64::MAX
                    .checked_shr(u64::BITS - u32::try_from(bits).unwrap_or(0))
                    .unwrap_or(0);
            }
        }
        0
    }

    /// The usual percentiles.
    #[must_use]
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total(),
            p0_1: self.permille(1),
            p1: self.permille(10),
            p5: self.permille(50),
            p10: self.permille(100),
            p50: self.permille(500),
            p90: self.permille(900),
            p99: self.permille(990),
            p99_9: self.permille(999),
        }
    }
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Upper bounds of percentiles, each at most twice the true one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PercentileStats {
    /// How many values there were.
    pub samples: u64,
    /// A tenth of a percent.
    pub p0_1: u64,
    /// One percent.
    pub p1: u64,
    /// 5 percent.
    pub p5: u64,
    /// 10 percent.
    pub p10: u64,
    /// The median.
    pub p50: u64,
    /// 90 percent.
    pub p90: u64,
    /// 99 percent.
    pub p99: u64,
    /// 99.9 percent.
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            samples,
            p50,
            p90,
            p99,
            ..
        } = self;
        write!(to, "{samples} values, P50 {p50}, P90 {p90}, P99 {p99}")
    }
}

/// Several histograms, a line each.
#[derive(Debug, Clone, Default)]
pub struct AsciiChart {
    lines: Vec<(String, PercentileStats)>,
}

impl AsciiChart {
    /// One without lines.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a line.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "the other crate takes it so")]
    pub fn add(mut self, name: &str, histogram: Histogram) -> Self {
        let stats = histogram.percentile_stats();
        self.lines.push((name.to_owned(), stats));
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = self.lines.iter();
        lines.try_for_each(|(name, stats)| writeln!(to, "{name}: {stats}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_at_most_twice_the_true_ones() {
        let mut histogram = Histogram::<()>::new();
        assert_eq!(histogram.percentile_stats().p50, 0);
        for value in 1..=1000 {
            histogram.record(value);
        }
        let stats = histogram.percentile_stats();
        assert_eq!(stats.samples, 1000);
        for (found, of) in [(stats.p1, 10), (stats.p50, 500), (stats.p99, 990)] {
            assert!((of..2 * of).contains(&found), "{found} for {of}");
        }
    }

    #[test]
    fn the_ends_of_the_range_count_too() {
        let mut histogram = Histogram::<()>::new();
        histogram.record(0);
        assert_eq!(histogram.percentile_stats().p99_9, 0);
        histogram.record_n(u64::MAX, u64::MAX);
        let stats = histogram.percentile_stats();
        assert_eq!((stats.samples, stats.p99_9), (u64::MAX, u64::MAX));
        let chart = AsciiChart::new().add("stage", histogram);
        assert!(chart.to_string().starts_with("stage: 1844674407370955161"));
    }
}
