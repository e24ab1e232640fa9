//! Small random numbers from one seed for all, which reports tell and `SEED` sets.

use std::sync::LazyLock;
use std::time::SystemTime;

/// The dice of one thread, which no other thread's uses disturb.
#[derive(Debug)]
pub(crate) struct Dice(u64);

/// What all dice of this run come from.
pub(crate) static SEED: LazyLock<u64> = LazyLock::new(|| {
    let given = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    given.unwrap_or_else(|| u64::from(since.subsec_nanos()))
});

impl Dice {
    pub(crate) fn of(thread: u64) -> Self {
        // An odd factor keeps neighbouring seeds apart, and the last bit keeps zero out.
        Self((*SEED + thread + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number from 0 to `bound` - 1.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // xorshift64: good enough to vary what happens.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    /// One of these.
    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let index = self.below(from.len() as u64);
        from[usize::try_from(index).expect("it is small")]
    }
}
