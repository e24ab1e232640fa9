//! How long messages take from publish to FIN: counted in fixed buckets forever, and, where percentiles are asked for,
//! kept for a window of time.
//!
//! A channel has none of this until its first FIN, so an idle channel pays nothing.

#[cfg(test)]
mod tests;

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::time::{Now, Tick};

/// Upper bounds of the buckets in nanoseconds, each included in its bucket. What is above the last falls into one more.
pub const BUCKET_BOUNDS: [u64; 17] = {
    const MICROS: u64 = 1_000;
    const MILLIS: u64 = 1_000 * MICROS;
    const SECONDS: u64 = 1_000 * MILLIS;
    [
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
        SECONDS,
        2_500 * MILLIS,
        5 * SECONDS,
        10 * SECONDS,
        60 * SECONDS,
        600 * SECONDS,
        3_600 * SECONDS,
    ]
};

/// Latencies counted by bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LatencyBuckets {
    /// How many lie in each bucket of [`BUCKET_BOUNDS`] and in no lower one, and how many above them all.
    pub counts: [u64; BUCKET_BOUNDS.len() + 1],
    /// All of them added up. A day's backlog of a million messages passes what 64 bits hold.
    pub sum_nanos: u128,
}

impl LatencyBuckets {
    /// Counts one and returns its bucket. A `guess` that is right spares the search.
    #[inline]
    fn record(&mut self, nanos: u64, guess: usize) -> usize {
        let above = guess.checked_sub(1).map_or(0, |below| BUCKET_BOUNDS[below]);
        let upper = BUCKET_BOUNDS.get(guess).copied().unwrap_or(u64::MAX);
        let bucket = if above < nanos && nanos <= upper {
            guess
        } else {
            BUCKET_BOUNDS.partition_point(|&bound| bound < nanos)
        };
        self.counts[bucket] += 1;
        self.sum_nanos += u128::from(nanos);
        bucket
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds others to these.
    pub fn add(&mut self, others: &LatencyBuckets) {
        for (count, other) in self.counts.iter_mut().zip(&others.counts) {
            *count += other;
        }
        self.sum_nanos += others.sum_nanos;
    }
}

/// Which percentiles are kept, and for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct PercentileSettings {
    /// `--e2e-processing-latency-percentile`, each above 0 and up to 1, in the order in which they are shown.
    pub quantiles: Vec<f64>,
    /// `--e2e-processing-latency-window-time`; more than zero.
    pub window: Duration,
}

/// Percentiles of the latencies in the window.
#[derive(Debug, Clone, PartialEq)]
pub struct LatencySummary {
    /// How many latencies there are.
    pub count: u64,
    /// One for each quantile of the settings, in their order.
    pub percentiles: Vec<Percentile>,
}

/// One percentile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percentile {
    /// Above 0 and up to 1.
    pub quantile: f64,
    /// So many nanoseconds are not exceeded by that part of the latencies; 0 when there are none.
    pub nanos: u64,
}

/// The latencies of one channel.
pub(crate) struct Latencies {
    buckets: LatencyBuckets,
    /// Of the last message: the next one is most often in it too.
    bucket: usize,
    window: Option<Window>,
}

impl Latencies {
    /// For a channel's first FIN, at `now`.
    #[cold]
    pub(crate) fn new(percentiles: Option<&PercentileSettings>, now: Now) -> Latencies {
        Latencies {
            buckets: LatencyBuckets::default(),
            bucket: 0,
            window: percentiles.map(|settings| Window::new(settings.window, now.tick)),
        }
    }

    /// A message published at `published`, in unix nanoseconds, was finished.
    #[inline]
    pub(crate) fn record(&mut self, published: i64, now: Now) {
        // Negative when the wall clock was set back: no time at all then.
        let nanos = u64::try_from(now.unix_nanos.saturating_sub(published)).unwrap_or(0);
        self.bucket = self.buckets.record(nanos, self.bucket);
        if let Some(window) = &mut self.window {
            window.record(nanos, now.tick);
        }
    }

    pub(crate) fn buckets(&self) -> &LatencyBuckets {
        &self.buckets
    }

    /// What the window holds, as of `now`.
    pub(crate) fn sketch(&mut self, now: Now) -> Sketch {
        self.window
            .as_mut()
            .map_or_else(Sketch::new, |window| window.all(now.tick))
    }
}

/// The latencies of the last while, in two halves that take turns: what is asked covers between half the window and
/// all of it, as upstream's does.
struct Window {
    halves: [Sketch; 2],
    current: usize,
    /// When the current half's turn began.
    turn: Tick,
    half: Duration,
}

impl Window {
    fn new(window: Duration, now: Tick) -> Window {
        Window {
            halves: [Sketch::new(), Sketch::new()],
            current: 0,
            turn: now,
            half: window / 2,
        }
    }

    #[inline]
    fn record(&mut self, nanos: u64, now: Tick) {
        if now.since(self.turn) > self.half {
            self.take_turns(now);
        }
        self.halves[self.current].record(nanos);
    }

    fn all(&mut self, now: Tick) -> Sketch {
        self.take_turns(now);
        let mut all = self.halves[0].clone();
        all.add(&self.halves[1]);
        all
    }

    /// Forgets what is too old by `now`.
    fn take_turns(&mut self, now: Tick) {
        for _ in 0..self.halves.len() {
            if now.since(self.turn) <= self.half {
                return;
            }
            self.current = 1 - self.current;
            self.halves[self.current].forget();
            self.turn = self.turn.after(self.half);
        }
        if now.since(self.turn) > self.half {
            // Both are empty: it does not matter where in turn a half is.
            self.turn = now;
        }
    }
}

/// A distribution of latencies in bounded memory: values within one percent of the true ones, 8 to 30 KiB.
#[derive(Clone)]
pub(crate) struct Sketch {
    histogram: Histogram<u32>,
    /// The histogram would round it up.
    max_nanos: u64,
}

/// Shorter latencies are not told apart.
const RESOLUTION_NANOS: u64 = 1_000;
/// Longer latencies, of more than three months, are not told apart.
const MAX_NANOS: u64 = 1 << 53;
const SIGNIFICANT_DIGITS: u8 = 2;

impl Sketch {
    pub(crate) fn new() -> Sketch {
        let mut histogram =
            Histogram::new_with_bounds(RESOLUTION_NANOS, 2 * RESOLUTION_NANOS, SIGNIFICANT_DIGITS)
                .expect("the bounds are in order and the digits few");
        // It begins at 1 KiB and grows with the longest latency.
        histogram.auto(true);
        Sketch {
            histogram,
            max_nanos: 0,
        }
    }

    #[inline]
    fn record(&mut self, nanos: u64) {
        let nanos = nanos.min(MAX_NANOS);
        self.max_nanos = self.max_nanos.max(nanos);
        self.histogram
            .record(nanos)
            .expect("it grows as it has to, which MAX_NANOS bounds");
    }

    /// Adds the other's latencies to these.
    pub(crate) fn add(&mut self, other: &Sketch) {
        self.histogram
            .add(&other.histogram)
            .expect("it grows as it has to, which MAX_NANOS bounds");
        self.max_nanos = self.max_nanos.max(other.max_nanos);
    }

    fn forget(&mut self) {
        self.histogram.reset();
        self.max_nanos = 0;
    }

    /// The result.
    pub(crate) fn summary(&self, quantiles: &[f64]) -> LatencySummary {
        let percentile = |&quantile: &f64| Percentile {
            quantile,
            nanos: self
                .histogram
                .value_at_quantile(quantile)
                .min(self.max_nanos),
        };
        LatencySummary {
            count: self.histogram.len(),
            percentiles: quantiles.iter().map(percentile).collect(),
        }
    }
}
