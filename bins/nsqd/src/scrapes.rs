//! What is counted for `/metrics` alone.

use std::sync::{Arc, Mutex, PoisonError};

use nsq_core::stats::Totals;
use nsq_daemon::http::RequestCounts;

#[derive(Default)]
pub(crate) struct Scrapes {
    /// Of all listeners.
    pub(crate) requests: Arc<RequestCounts>,
    /// The totals as they were last shown.
    shown: Mutex<Totals>,
}

impl Scrapes {
    /// Raises `totals` to what was shown before, which they never fall below: a topic deleted during a scrape is missed
    /// by it.
    pub(crate) fn show(&self, totals: &mut Totals) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        totals.raise_to(&shown);
        shown.clone_from(totals);
    }
}
