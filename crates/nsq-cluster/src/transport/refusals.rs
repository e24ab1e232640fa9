//! Log lines about connections that were refused or broke.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// There is at most one line in this time.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// Logs refused connections, at most one each second, with the number of those that were not logged.
#[derive(Default)]
pub(super) struct RefusalLog(Mutex<Refusals>);

#[derive(Default)]
struct Refusals {
    logged: Option<Instant>,
    unlogged: u64,
}

impl RefusalLog {
    pub(super) fn note(&self, address: Option<SocketAddr>, why: &dyn Display) {
        let Some(unlogged) = self.count(Instant::now()) else {
            return;
        };
        let from = address.map_or("the cluster's port".to_owned(), |address| {
            format!("connection from {address} to the cluster's port")
        });
        if unlogged == 0 {
            tracing::warn!("cluster: {from}: {why}");
        } else {
            tracing::warn!("cluster: {from}: {why} (and {unlogged} others since the last line)");
        }
    }

    /// How many were not logged since the last line, if it is time for a line.
    fn count(&self, now: Instant) -> Option<u64> {
        let mut refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if refusals.logged.is_some_and(|at| now < at + LOG_EVERY) {
            refusals.unlogged += 1;
            return None;
        }
        refusals.logged = Some(now);
        Some(std::mem::take(&mut refusals.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_counts_the_others() {
        let log = RefusalLog::default();
        let now = Instant::now();
        assert_eq!(log.count(now), Some(0));
        assert_eq!([log.count(now), log.count(now)], [None, None]);
        assert_eq!(log.count(now + LOG_EVERY), Some(2));
        assert_eq!(log.count(now + LOG_EVERY), None);
    }
}
