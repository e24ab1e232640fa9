//! The scale of a run.

use std::time::Duration;

/// A full run, or a part of one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    factor: f64,
    /// How often the loads next to upstream are run.
    pub(crate) rounds: u32,
}

impl Scale {
    /// The full run is 1.
    pub(crate) fn new(factor: f64) -> Self {
        let rounds = if factor >= 1.0 { 3 } else { 1 };
        Self { factor, rounds }
    }

    /// The document's words for it.
    pub(crate) fn name(self) -> String {
        if self.factor >= 1.0 {
            "the full run".to_owned()
        } else {
            format!("a quick run, at {} of the full counts", self.factor)
        }
    }

    /// A count of the full run scaled down, but not below `least`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "counts are far below 2^53 and the factor is above 0"
    )]
    pub(crate) fn count(self, full: u64, least: u64) -> u64 {
        ((full as f64 * self.factor) as u64).max(least)
    }

    /// As [`Scale::count`], for numbers of connections.
    pub(crate) fn places(self, full: u64, least: u64) -> usize {
        usize::try_from(self.count(full, least)).unwrap_or(usize::MAX)
    }

    pub(crate) fn time(self, full: Duration) -> Duration {
        full.mul_f64(self.factor.min(1.0))
    }

    /// The points of an axis up to the scaled end, and always the first one.
    pub(crate) fn points(self, all: &[u64], end: u64) -> Vec<u64> {
        let first = all.first().copied().unwrap_or(0);
        let end = self.count(end, first);
        all.iter().copied().filter(|&at| at <= end).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_shrink_to_the_least_and_points_to_the_first() {
        let quick = Scale::new(0.1);
        assert_eq!(quick.count(1000, 10), 100);
        assert_eq!(quick.count(1000, 500), 500);
        assert_eq!(quick.points(&[1, 10, 100, 1000], 1000), [1, 10, 100]);
        assert_eq!(Scale::new(0.0001).points(&[1, 10], 10), [1]);
        assert_eq!(Scale::new(1.0).points(&[0, 10], 10), [0, 10]);
    }
}
