//! Daemons that did not answer of late, and how long they are waited for.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Where somebody waits for everybody, one who was silent a moment ago is waited for only briefly: else a single dead
/// host would make every page slow. Now and then it is waited for in full, since it may have become slow only.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// When each was last waited for in vain, in full.
    since: Mutex<HashMap<String, Instant>>,
}

impl Suspects {
    /// How long to wait for `address`, `full` at most.
    pub(super) fn patience(&self, address: &str, full: Duration, now: Instant) -> Duration {
        match self.lock().get(address) {
            Some(since) if now < *since + SUSPICION => full.min(BRIEF),
            Some(_) | None => full,
        }
    }

    /// It was waited for so long in vain.
    pub(super) fn was_silent(&self, address: &str, waited: Duration, now: Instant) {
        let mut since = self.lock();
        since.retain(|_, since| now < *since + MEMORY);
        if waited > BRIEF || !since.contains_key(address) {
            since.insert(address.to_owned(), now);
        }
    }

    /// It answered, whatever.
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

/// Those not asked any more are forgotten.
const MEMORY: Duration = Duration::from_mins(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_silent_are_waited_for_briefly_and_now_and_then_in_full() {
        let suspects = Suspects::default();
        let start = Instant::now();
        let full = Duration::from_secs(3);
        let patience = |now: Instant| suspects.patience("a", full, now);
        assert_eq!(patience(start), full);
        suspects.was_silent("a", full, start);
        assert_eq!(patience(start), BRIEF);
        assert_eq!(suspects.patience("b", full, start), full);
        suspects.was_silent("a", BRIEF, start + SUSPICION / 2);
        assert_eq!(patience(start + SUSPICION), full);
        suspects.was_silent("a", full, start + SUSPICION);
        assert_eq!(patience(start + SUSPICION), BRIEF);
        suspects.answered("a");
        assert_eq!(patience(start + SUSPICION), full);
    }
}
