//! What a topic and its channels know of each other without a lock.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::tracked_message::LogKind;

/// How far a topic's logs have been offered to its channels; written by the topic, read by every channel without a lock.
#[derive(Debug, Default)]
pub(crate) struct Offered {
    main: AtomicU64,
    deferred: AtomicU64,
    /// A floor at or above this lets the topic free a segment.
    release_at: AtomicU64,
}

impl Offered {
    pub(crate) fn end(&self, log: LogKind) -> u64 {
        match log {
            LogKind::Main => self.main.load(Ordering::SeqCst),
            LogKind::Deferred => self.deferred.load(Ordering::SeqCst),
            LogKind::Private | LogKind::Inherited => u64::MAX,
        }
    }

    pub(crate) fn set_main(&self, sequence: u64) {
        // SeqCst, as the reads: a publisher that sees no idle client here, and a client that sees no message there,
        // must not both be right.
        self.main.store(sequence, Ordering::SeqCst);
    }

    pub(crate) fn set_deferred(&self, sequence: u64) {
        self.deferred.store(sequence, Ordering::SeqCst);
    }

    pub(crate) fn set_release_at(&self, sequence: u64) {
        self.release_at.store(sequence, Ordering::Relaxed);
    }

    /// Whether the topic may free a segment for a channel with this floor.
    pub(super) fn is_release_due(&self, floor: u64) -> bool {
        floor >= self.release_at.load(Ordering::Relaxed)
    }
}

/// What others may know of a channel without its lock.
#[derive(Debug)]
pub(crate) struct Shared {
    idle_count: AtomicUsize,
    main_floor: AtomicU64,
    deferred_floor: AtomicU64,
    /// An offer up to this sequence or a higher one fills a channel with a bound.
    full_at: AtomicU64,
}

impl Default for Shared {
    fn default() -> Shared {
        Shared {
            idle_count: AtomicUsize::new(0),
            main_floor: AtomicU64::new(0),
            deferred_floor: AtomicU64::new(0),
            full_at: AtomicU64::new(u64::MAX),
        }
    }
}

impl Shared {
    /// Whether a client waits for messages.
    pub(crate) fn has_idle_clients(&self) -> bool {
        self.idle_count.load(Ordering::SeqCst) > 0
    }

    /// Whether a publisher that offers messages up to `end` has to have the channel drop some.
    pub(crate) fn is_full_at(&self, end: u64) -> bool {
        end >= self.full_at.load(Ordering::Relaxed)
    }

    pub(super) fn set_full_at(&self, sequence: u64) {
        self.full_at.store(sequence, Ordering::Relaxed);
    }

    pub(crate) fn main_floor(&self) -> u64 {
        self.main_floor.load(Ordering::Acquire)
    }

    pub(crate) fn deferred_floor(&self) -> u64 {
        self.deferred_floor.load(Ordering::Acquire)
    }

    pub(super) fn set_idle_count(&self, count: usize) {
        self.idle_count.store(count, Ordering::SeqCst);
    }

    pub(super) fn set_main_floor(&self, sequence: u64) {
        self.main_floor.store(sequence, Ordering::Release);
    }

    pub(super) fn set_deferred_floor(&self, sequence: u64) {
        self.deferred_floor.store(sequence, Ordering::Release);
    }
}
