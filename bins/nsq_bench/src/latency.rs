//! Latencies of one kind, and their percentiles.

use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Collects latencies in nanoseconds, with three digits of each kept.
#[derive(Debug)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self(
            Histogram::new_with_bounds(LOWEST_NANOS, HIGHEST_NANOS, SIGNIFICANT_DIGITS)
                .expect("the bounds are constants the histogram accepts"),
        )
    }
}

impl Latencies {
    /// Counts one latency; one above an hour counts as an hour.
    pub fn record(&mut self, nanos: u64) {
        self.0.saturating_record(nanos);
    }

    /// Adds all latencies that `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        self.0
            .add(&other.0)
            .expect("all have the default bounds, so what one holds fits the other");
    }

    /// The percentiles, or `None` when nothing was recorded.
    pub fn percentiles(&self) -> Option<Percentiles> {
        if self.0.is_empty() {
            return None;
        }
        let at = |quantile| micros(self.0.value_at_quantile(quantile));
        Some(Percentiles {
            count: self.0.len(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p99_9_us: at(0.999),
            max_us: micros(self.0.max()),
        })
    }
}

/// The percentiles of a set of latencies, in microseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Percentiles {
    pub count: u64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p99_9_us: f64,
    pub max_us: f64,
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
            Micros(self.p50_us),
            Micros(self.p90_us),
            Micros(self.p99_us),
            Micros(self.p99_9_us),
            Micros(self.max_us)
        )
    }
}

/// Microseconds shown in the unit that keeps them short.
#[derive(Debug, Clone, Copy)]
pub struct Micros(pub f64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0;
        if micros >= 1e6 {
            write!(f, "{:.2} s", micros / 1e6)
        } else if micros >= 1e4 {
            write!(f, "{:.1} ms", micros / 1e3)
        } else if micros >= 100.0 {
            write!(f, "{micros:.0} µs")
        } else {
            write!(f, "{micros:.2} µs")
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "an hour of nanoseconds has 42 bits, an f64 holds 53"
)]
fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

/// The histogram's finest step: well below what a socket can answer in.
const LOWEST_NANOS: u64 = 128;
/// An hour: longer latencies need no distinction.
const HIGHEST_NANOS: u64 = 3_600_000_000_000;
/// Three digits: a step of at most 0.1 %, for about 200 KB a histogram.
const SIGNIFICANT_DIGITS: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn close(actual: f64, expected: f64) {
        assert!(
            (actual / expected - 1.0).abs() < 0.002,
            "{actual} {expected}"
        );
    }

    #[test]
    fn percentiles_are_those_of_the_values() {
        let mut latencies = Latencies::default();
        for micros in 1..=10_000 {
            latencies.record(micros * 1000);
        }
        let percentiles = latencies.percentiles().unwrap();
        assert_eq!(percentiles.count, 10_000);
        close(percentiles.p50_us, 5_000.0);
        close(percentiles.p90_us, 9_000.0);
        close(percentiles.p99_us, 9_900.0);
        close(percentiles.p99_9_us, 9_990.0);
        close(percentiles.max_us, 10_000.0);
    }

    #[test]
    fn merging_counts_both() {
        let (mut one, mut other) = (Latencies::default(), Latencies::default());
        one.record(1_000_000);
        other.record(9_000_000);
        one.merge(&other);
        let percentiles = one.percentiles().unwrap();
        assert_eq!(percentiles.count, 2);
        close(percentiles.p50_us, 1_000.0);
        close(percentiles.max_us, 9_000.0);
    }

    #[test]
    fn nothing_recorded_is_no_percentiles() {
        assert_eq!(Latencies::default().percentiles(), None);
    }

    #[test]
    fn a_latency_past_the_highest_counts_as_the_highest() {
        let mut latencies = Latencies::default();
        latencies.record(u64::MAX);
        close(latencies.percentiles().unwrap().max_us, 3.6e9);
    }

    #[test]
    fn micros_are_shown_in_a_short_unit() {
        for (micros, shown) in [
            (1.5, "1.50 µs"),
            (250.4, "250 µs"),
            (12_340.0, "12.3 ms"),
            (2_500_000.0, "2.50 s"),
        ] {
            assert_eq!(Micros(micros).to_string(), shown);
        }
    }
}
