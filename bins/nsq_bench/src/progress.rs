//! What the threads of a run tell each other.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters shared by all threads; added to once per socket read, not per message.
#[derive(Debug)]
pub(crate) struct Progress {
    published: AtomicU64,
    received: AtomicU64,
    /// How many messages have to be received; `u64::MAX` while that is not known.
    wanted: AtomicU64,
    start_nanos: AtomicU64,
}

impl Progress {
    /// Zero counts. Receiving is done at `wanted` messages, if that number is known already.
    pub(crate) fn new(wanted: Option<u64>) -> Self {
        Self {
            published: AtomicU64::new(0),
            received: AtomicU64::new(0),
            wanted: AtomicU64::new(wanted.unwrap_or(u64::MAX)),
            start_nanos: AtomicU64::new(0),
        }
    }

    /// Sets when the measured phase starts; the threads read it once they are let go.
    pub(crate) fn start_at(&self, unix_nanos: u64) {
        self.start_nanos.store(unix_nanos, Ordering::SeqCst);
    }

    pub(crate) fn start_nanos(&self) -> u64 {
        self.start_nanos.load(Ordering::SeqCst)
    }

    pub(crate) fn add_published(&self, count: u64) {
        self.published.fetch_add(count, Ordering::SeqCst);
    }

    /// Counts messages and returns whether all wanted ones have been received.
    pub(crate) fn add_received(&self, count: u64) -> bool {
        let received = self.received.fetch_add(count, Ordering::SeqCst) + count;
        received >= self.wanted.load(Ordering::SeqCst)
    }

    /// Sets how many messages have to be received and returns whether they have been.
    ///
    /// Either this or a later [`Progress::add_received`] returns true: each writes its own number before it reads the
    /// other's, in one order for all threads.
    pub(crate) fn want(&self, count: u64) -> bool {
        self.wanted.store(count, Ordering::SeqCst);
        self.received() >= count
    }

    pub(crate) fn published(&self) -> u64 {
        self.published.load(Ordering::SeqCst)
    }

    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_is_said_by_whoever_comes_last() {
        let progress = Progress::new(None);
        assert!(!progress.add_received(5));
        assert!(!progress.want(6));
        assert!(progress.add_received(1));

        let progress = Progress::new(None);
        assert!(!progress.add_received(6));
        assert!(progress.want(6));
    }
}
