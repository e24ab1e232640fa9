//! Chance, where it need only be spread well: which connection, how much jitter.

use std::hash::{BuildHasher, RandomState};

/// SplitMix64: small, quick, and the same sequence for the same seed. Nothing secret may rest on it.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    #[cfg(test)]
    pub(crate) const fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// A seed from the keys that the standard library gets from the operating system.
    pub(crate) fn new() -> Self {
        Self(RandomState::new().hash_one(0_u64))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `0..below`, which is not 0.
    pub(crate) fn index(&mut self, below: usize) -> usize {
        // The remainder's bias is below 2^-50 for any list that fits in memory here.
        let below = u64::try_from(below).expect("a usize has at most 64 bits");
        usize::try_from(self.next() % below).expect("below a usize")
    }

    /// In `[0, 1)`.
    pub(crate) fn fraction(&mut self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits are what an f64 holds")]
        let bits = (self.next() >> 11) as f64;
        bits / 9_007_199_254_740_992.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_and_only_fractions_come_up() {
        let mut random = Random::seeded(7);
        let mut counts = [0; 5];
        for _ in 0..5000 {
            counts[random.index(5)] += 1;
            assert!((0.0..1.0).contains(&random.fraction()));
        }
        assert!(counts.iter().all(|count| *count > 800), "{counts:?}");
    }
}
