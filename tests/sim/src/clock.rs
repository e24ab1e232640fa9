//! The clocks and the random numbers of a thread that simulates a whole cluster: the C library's, as
//! [`system`](crate::system) stands in for them. Other threads have the real ones.
//!
//! While a machine's runtime runs, its clock is tokio's, which is paused and advances from timer to timer. All of std's and
//! tokio's times therefore agree, and follow from the seed.

use std::cell::{Cell, RefCell};
use std::time::Instant;

use crate::random::Random;

/// What the clocks of this thread show.
#[derive(Clone, Copy)]
struct Time {
    /// Nanoseconds since the machines were switched on.
    nanos: u64,
    /// What the machine's wall clock is ahead.
    wall_ahead: i64,
    /// The machine's runtime runs now.
    is_running: bool,
}

thread_local! {
    static TIME: Cell<Option<Time>> = const { Cell::new(None) };
    static START: Cell<Option<Instant>> = const { Cell::new(None) };
    static CHANCE: RefCell<Option<Random>> = const { RefCell::new(None) };
}

/// From now on this thread has virtual time, and random numbers from a seed.
pub(crate) fn begin(chance: Random) {
    CHANCE.with(|slot| *slot.borrow_mut() = Some(chance));
    set(0, 0, false);
    START.set(Some(Instant::now()));
}

/// Sets the clocks; `is_running` while tokio's clock is the one that counts.
pub(crate) fn set(nanos: u64, wall_ahead: i64, is_running: bool) {
    TIME.set(Some(Time {
        nanos,
        wall_ahead,
        is_running,
    }));
}

/// Nanoseconds since the machines were switched on.
pub(crate) fn nanos() -> u64 {
    monotonic().map_or(0, |(nanos, _)| nanos)
}

fn monotonic() -> Option<(u64, i64)> {
    let time = TIME.get()?;
    let Some(start) = START.get().filter(|_| time.is_running) else {
        return Some((time.nanos, time.wall_ahead));
    };
    // What asks for the time meanwhile gets it without asking tokio.
    TIME.set(Some(Time {
        is_running: false,
        ..time
    }));
    let now = tokio::time::Instant::now().into_std();
    TIME.set(Some(time));
    let nanos = u64::try_from(now.saturating_duration_since(start).as_nanos());
    Some((nanos.unwrap_or(u64::MAX), time.wall_ahead))
}

/// What the clock shows; `None` where the real one counts.
pub(crate) fn read(clock: libc::clockid_t) -> Option<libc::timespec> {
    let (nanos, wall_ahead) = monotonic()?;
    let nanos = i64::try_from(nanos).ok()?;
    let shown = match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => WALL_START + nanos + wall_ahead,
        // A machine has run for a while before.
        _ => 1_000_000_000_000 + nanos,
    };
    Some(libc::timespec {
        tv_sec: shown / 1_000_000_000,
        tv_nsec: shown % 1_000_000_000,
    })
}

/// Fills `buffer`, on a thread that simulates a cluster.
pub(crate) fn random_bytes(buffer: &mut [u8]) -> bool {
    CHANCE
        .try_with(|chance| {
            let Ok(mut chance) = chance.try_borrow_mut() else {
                return false;
            };
            let Some(chance) = chance.as_mut() else {
                return false;
            };
            for chunk in buffer.chunks_mut(8) {
                let word = chance.next().to_le_bytes();
                chunk.copy_from_slice(&word[..chunk.len()]);
            }
            true
        })
        .unwrap_or(false)
}

/// When the machines were switched on, in nanoseconds since 1970.
const WALL_START: i64 = 1_750_000_000_000_000_000;
