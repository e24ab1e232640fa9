//! Times counted as they pass, by several threads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{HistogramFamily, Labels};

/// Upper bounds of the buckets in nanoseconds, for what takes between a tenth of a millisecond and ten seconds.
pub const DURATION_BOUNDS: [u64; 16] = {
    const MICROS: u64 = 1_000;
    const MILLIS: u64 = 1_000 * MICROS;
    [
        100 * MICROS,
        250 * MICROS,
        500 * MICROS,
        MILLIS,
        2_500 * MICROS,
        5 * MILLIS,
        10 * MILLIS,
        25 * MILLIS,
        50 * MILLIS,
        100 * MILLIS,
        250 * MILLIS,
        500 * MILLIS,
        1_000 * MILLIS,
        2_500 * MILLIS,
        5_000 * MILLIS,
        10_000 * MILLIS,
    ]
};

/// Durations counted by bucket of [`DURATION_BOUNDS`].
#[derive(Debug, Default)]
pub struct Durations {
    counts: [AtomicU64; DURATION_BOUNDS.len() + 1],
    /// Enough for five hundred years.
    sum_nanos: AtomicU64,
}

impl Durations {
    /// Counts one.
    pub fn record(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = DURATION_BOUNDS.partition_point(|&bound| bound < nanos);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        let counts = self.counts.iter();
        counts.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Writes them as one histogram.
    pub fn write(&self, family: &mut HistogramFamily<'_>, labels: Labels<'_>) {
        let counts = self
            .counts
            .each_ref()
            .map(|count| count.load(Ordering::Relaxed));
        let sum = self.sum_nanos.load(Ordering::Relaxed);
        family.sample(labels, &DURATION_BOUNDS, &counts, sum.into());
    }
}
