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
    Now {
        tick: tick(),
        unix_nanos: unix_nanos(),
    }
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

/// The instant of `tick`, for tokio's timers.
pub(crate) fn instant_of(tick: Tick) -> Instant {
    // A century ahead is never, and still an instant that can be computed with.
    const FAR: u64 = 100 * 365 * 24 * 3600 * 1_000_000_000;
    start() + Duration::from_nanos(tick.nanos().min(FAR))
}
