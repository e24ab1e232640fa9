//! What was refused because of a limit: counted, and told in the log, but not for each of a flood.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::metrics::Family;

/// The refusals of one daemon, by limit; a limit goes by its flag, without dashes in front.
#[derive(Debug, Default)]
pub struct Refusals {
    limits: Mutex<BTreeMap<&'static str, Refused>>,
}

/// What one limit has refused.
#[derive(Debug, Default)]
struct Refused {
    count: u64,
    /// When it was told last.
    told: Option<Instant>,
    /// How many came since then.
    untold_count: u64,
}

/// The limit that no flag sets: files and sockets the system lets the process have.
pub const OPEN_FILES: &str = "open-files";

impl Refusals {
    /// None yet. These limits are shown from the beginning, with 0.
    pub fn of(limits: &[&'static str]) -> Self {
        let limits = limits.iter().map(|limit| (*limit, Refused::default()));
        Self {
            limits: Mutex::new(limits.collect()),
        }
    }

    /// Counts a refusal by `limit`, and logs `what`; of more than one in a while only how many there were.
    pub fn note(&self, limit: &'static str, what: impl Display) {
        if let Some(untold_count) = self.count(limit, Instant::now()) {
            match untold_count {
                0 => tracing::warn!("{what}"),
                more => tracing::warn!("{what} ({more} more like this before)"),
            }
        }
    }

    /// `None` when nothing is to be told; else how many were not.
    fn count(&self, limit: &'static str, now: Instant) -> Option<u64> {
        let mut limits = self.limits();
        let refused = limits.entry(limit).or_default();
        refused.count += 1;
        if refused.told.is_some_and(|told| now < told + PAUSE) {
            refused.untold_count += 1;
            return None;
        }
        refused.told = Some(now);
        Some(std::mem::take(&mut refused.untold_count))
    }

    /// Writes a sample for each limit.
    pub fn write(&self, family: &mut Family<'_>) {
        for (limit, refused) in &*self.limits() {
            family.sample(&[("limit", limit)], refused.count);
        }
    }

    fn limits(&self) -> MutexGuard<'_, BTreeMap<&'static str, Refused>> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Between two lines about the same limit: a flood must not fill a disk.
const PAUSE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_once_in_a_while_and_counted_in_full() {
        let refusals = Refusals::of(&["max-connections", "max-topics"]);
        let start = Instant::now();
        assert_eq!(refusals.count("max-connections", start), Some(0));
        for _ in 0..5 {
            assert_eq!(refusals.count("max-connections", start + PAUSE / 2), None);
        }
        assert_eq!(refusals.count("max-topics", start), Some(0));
        assert_eq!(refusals.count("max-connections", start + PAUSE), Some(5));
        assert_eq!(
            refusals.count("max-connections", start + 2 * PAUSE),
            Some(0)
        );
        let counts: Vec<_> = refusals.limits().values().map(|r| r.count).collect();
        assert_eq!(counts, [8, 1]);
    }
}
