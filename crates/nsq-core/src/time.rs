//! Readings of the clock, made by the caller: this crate never looks at one itself.

use std::time::Duration;

/// A point on the monotonic clock, in nanoseconds since a start that the caller chose.
///
/// Eight bytes where `Instant` takes sixteen: every message in flight holds two of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tick(u64);

impl Tick {
    /// Later than everything a deadline can name.
    pub const NEVER: Tick = Tick(u64::MAX);

    /// The point `nanos` nanoseconds after the caller's start.
    pub const fn from_nanos(nanos: u64) -> Tick {
        Tick(nanos)
    }

    /// Nanoseconds since the caller's start.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// The point `span` later; stops at [`Tick::NEVER`].
    #[must_use]
    pub fn after(self, span: Duration) -> Tick {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Tick(self.0.saturating_add(nanos))
    }

    /// How long `earlier` was before this; zero when it was not.
    pub fn since(self, earlier: Tick) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Both clocks, read at one moment: the monotonic one for deadlines, the wall clock for times that are written down.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// The monotonic clock.
    pub tick: Tick,
    /// The wall clock, in nanoseconds since 1970.
    pub unix_nanos: i64,
}

impl Now {
    /// The tick at which the wall clock will show `unix_nanos` if it is not set meanwhile; not before now.
    pub fn tick_at(self, unix_nanos: i64) -> Tick {
        let wait = u64::try_from(unix_nanos.saturating_sub(self.unix_nanos)).unwrap_or(0);
        self.tick.after(Duration::from_nanos(wait))
    }

    /// What the wall clock will show at `tick` if it is not set meanwhile.
    pub fn unix_at(self, tick: Tick) -> i64 {
        let ahead = i128::from(tick.0) - i128::from(self.tick.0);
        i64::try_from(i128::from(self.unix_nanos) + ahead).unwrap_or(i64::MAX)
    }

    /// What the wall clock will show `span` from now.
    pub fn unix_after(self, span: Duration) -> i64 {
        let nanos = i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
        self.unix_nanos.saturating_add(nanos)
    }
}
