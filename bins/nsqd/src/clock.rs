//! The clocks, read here and nowhere deeper.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nsq_core::{Now, Tick};

static START: OnceLock<Instant> = OnceLock::new();

fn start() -> Instant {
    *START.get_or_init(Instant::now)
}

/// Both clocks, now.
pub(crate) fn now() -> Now {
    read_both(tick, unix_nanos)
}

/// The monotonic clock, now.
pub(crate) fn tick() -> Tick {
    Tick::from_nanos(u64::try_from(start().elapsed().as_nanos()).unwrap_or(u64::MAX))
}

/// The wall clock, in nanoseconds since 1970.
pub(crate) fn unix_nanos() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// How long ago `published` was, in nanoseconds; 0 when it is ahead, as after the wall clock was set back.
pub(crate) fn age_nanos(published: i64) -> u64 {
    u64::try_from(unix_nanos().saturating_sub(published)).unwrap_or(0)
}

/// The instant of `tick`, for tokio's timers.
pub(crate) fn instant_of(tick: Tick) -> Instant {
    // A century ahead is never, and still an instant that can be computed with.
    const FAR: u64 = 100 * 365 * 24 * 3600 * 1_000_000_000;
    start() + Duration::from_nanos(tick.nanos().min(FAR))
}

/// Reads the wall clock between two readings of the monotonic one. On a machine with much to do, this thread may have
/// to wait in between, and times would be told with that error: then the clocks are read again.
fn read_both(mut tick: impl FnMut() -> Tick, mut unix_nanos: impl FnMut() -> i64) -> Now {
    let mut before = tick();
    for _ in 0..MOST_READINGS {
        let unix_nanos = unix_nanos();
        let after = tick();
        if after.since(before) <= ONE_MOMENT {
            return Now {
                tick: before,
                unix_nanos,
            };
        }
        before = after;
    }
    Now {
        tick: before,
        unix_nanos: unix_nanos(),
    }
}

/// A reading takes some 30 ns.
const ONE_MOMENT: Duration = Duration::from_micros(5);
/// Where reading a clock itself takes longer than that, as in some virtual machines, it has to do.
const MOST_READINGS: usize = 3;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn both_clocks_are_of_one_moment_even_if_the_thread_waits_between_them() {
        let (millis, waits) = (Cell::new(0), Cell::new(2));
        let tick = || Tick::from_nanos(millis.get() * 1_000_000);
        let unix_nanos = || {
            if waits.get() > 0 {
                waits.set(waits.get() - 1);
                millis.set(millis.get() + 7);
            }
            i64::try_from(millis.get() * 1_000_000).unwrap()
        };
        let now = read_both(tick, unix_nanos);
        assert_eq!(now.tick, Tick::from_nanos(14_000_000));
        assert_eq!(now.unix_nanos, 14_000_000);
    }

    #[test]
    fn clocks_that_are_slow_to_read_are_read_all_the_same() {
        let millis = Cell::new(0);
        let tick = || {
            millis.set(millis.get() + 1);
            Tick::from_nanos(millis.get() * 1_000_000)
        };
        let now = read_both(tick, || 5);
        assert_eq!((now.tick, now.unix_nanos), (Tick::from_nanos(4_000_000), 5));
    }
}
