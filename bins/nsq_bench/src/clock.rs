//! One clock for a whole run: unix nanoseconds that never step back.
//!
//! Messages carry their send time to their receivers, so the times have to be wall-clock
//! times; a step of the wall clock within a run must still not become a latency.

use std::time::{Duration, Instant, SystemTime};

/// Reads unix nanoseconds that advance with the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
    origin_nanos: u64,
}

impl Clock {
    /// Ties the monotonic clock to the wall clock, once.
    pub fn start() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Self {
            origin: Instant::now(),
            origin_nanos: nanos(since_epoch),
        }
    }

    /// Unix nanoseconds now.
    pub fn now(&self) -> u64 {
        self.origin_nanos + nanos(self.origin.elapsed())
    }
}

/// A duration in whole nanoseconds; the most a `u64` holds is 584 years.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_starts_at_the_wall_clock_and_never_goes_back() {
        let wall = nanos(
            SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap(),
        );
        let clock = Clock::start();
        let first = clock.now();
        assert!(first.abs_diff(wall) < 10_000_000_000, "{first} {wall}");
        assert!(clock.now() >= first);
    }
}
