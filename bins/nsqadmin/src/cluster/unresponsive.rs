//! Daemons that did not answer lately, and how long to wait for them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Where a page waits for all daemons, it waits only briefly for one that did not answer a moment ago: else a single dead
/// host would make every page slow. Now and then it waits in full, since the daemon may only be slow.
#[derive(Debug, Default)]
pub(super) struct Unresponsive {
    /// When each last failed to answer within the full time.
    since: Mutex<HashMap<String, Instant>>,
}

impl Unresponsive {
    /// How long to wait for `address`, `full` at most.
    pub(super) fn patience(&self, address: &str, full: Duration, now: Instant) -> Duration {
        match self.lock().get(address) {
            Some(since) if now < *since + SUSPICION => full.min(BRIEF),
            Some(_) | None => full,
        }
    }

    /// It did not answer within this time.
    pub(super) fn was_silent(&self, address: &str, waited: Duration, now: Instant) {
        let mut since = self.lock();
        since.retain(|_, since| now < *since + MEMORY);
        if waited > BRIEF || !since.contains_key(address) {
            since.insert(address.to_owned(), now);
        }
    }

    /// It answered, with whatever status.
    pub(super) fn answered(&self, address: &str) {
        let mut since = self.lock();
        if !since.is_empty() {
            since.remove(address);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const BRIEF: Duration = Duration::from_millis(300);

/// From one wait in full to the next.
const SUSPICION: Duration = Duration::from_secs(20);

/// Daemons that are no longer asked are forgotten.
const MEMORY: Duration = Duration::from_mins(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unresponsive_daemon_gets_little_time_and_now_and_then_the_full_time() {
        let unresponsive = Unresponsive::default();
        let start = Instant::now();
        let full = Duration::from_secs(3);
        let patience = |now: Instant| unresponsive.patience("a", full, now);
        assert_eq!(patience(start), full);
        unresponsive.was_silent("a", full, start);
        assert_eq!(patience(start), BRIEF);
        assert_eq!(unresponsive.patience("b", full, start), full);
        unresponsive.was_silent("a", BRIEF, start + SUSPICION / 2);
        assert_eq!(patience(start + SUSPICION), full);
        unresponsive.was_silent("a", full, start + SUSPICION);
        assert_eq!(patience(start + SUSPICION), BRIEF);
        unresponsive.answered("a");
        assert_eq!(patience(start + SUSPICION), full);
    }
}
