//! `--sample`: sending only some of the messages.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Decides by chance.
#[derive(Debug)]
pub(crate) struct Sampling {
    /// From 0 for none to 1 for all.
    share: f64,
    state: AtomicU64,
}

impl Sampling {
    pub(crate) fn new(share: f64) -> Self {
        Self {
            share,
            state: AtomicU64::new(RandomState::new().hash_one(0)),
        }
    }

    /// Whether the next message is sent.
    pub(crate) fn takes_next(&self) -> bool {
        self.share >= 1.0 || self.fraction() < self.share
    }

    /// From 0 up to but not including 1, all alike: SplitMix64.
    fn fraction(&self) -> f64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut bits = self.state.fetch_add(STEP, Ordering::Relaxed);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let fraction = (bits >> 11) as f64 / (1_u64 << 53) as f64;
        fraction
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_as_many_as_asked_for_all_of_them_or_none() {
        let taken = |share| {
            let sampling = Sampling::new(share);
            (0..100_000).filter(|_| sampling.takes_next()).count()
        };
        assert_eq!(taken(1.0), 100_000);
        assert_eq!(taken(0.0), 0);
        let quarter = taken(0.25);
        assert!((23_000..27_000).contains(&quarter), "{quarter}");
    }
}
