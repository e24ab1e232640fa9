//! How fast the files of checkpoints leave this node.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Spreads bytes over time, for all transfers of a node together.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: u64,
    /// When the next bytes may leave.
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// `None` for as fast as possible.
    pub(super) fn new(bytes_per_second: u64) -> Option<Pace> {
        (bytes_per_second > 0).then(|| Pace {
            bytes_per_second,
            next: Mutex::default(),
        })
    }

    /// Completes when so many bytes may leave. What waits, leaves in order.
    pub(super) async fn wait_for(&self, bytes: u64) {
        let turn = self.turn(bytes, Instant::now());
        tokio::time::sleep_until(turn).await;
    }

    /// When so many bytes may leave.
    fn turn(&self, bytes: u64, now: Instant) -> Instant {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        // Time in which nothing was sent is not made up for.
        let turn = next.map_or(now, |next| next.max(now));
        *next = turn.checked_add(Duration::from_nanos(nanos));
        turn
    }
}
