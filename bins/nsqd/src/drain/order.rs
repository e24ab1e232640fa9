//! An order to drain, and how it goes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::address::Address;

/// One order to drain, and how it goes.
pub(crate) struct Order {
    pub(crate) to: Option<Address>,
    /// Unix seconds.
    pub(crate) since: i64,
    forwarded_count: AtomicU64,
    trouble: Mutex<Option<String>>,
    is_revoked: AtomicBool,
}

impl Order {
    pub(super) fn new(to: Option<Address>, since: i64) -> Order {
        Order {
            to,
            since,
            forwarded_count: AtomicU64::new(0),
            trouble: Mutex::default(),
            is_revoked: AtomicBool::new(false),
        }
    }

    /// Another order has taken its place, or none.
    pub(super) fn revoke(&self) {
        self.is_revoked.store(true, Ordering::Release);
    }

    pub(super) fn is_in_force(&self) -> bool {
        !self.is_revoked.load(Ordering::Acquire)
    }

    pub(super) fn count_forwarded(&self, messages: usize) {
        self.forwarded_count
            .fetch_add(messages as u64, Ordering::Relaxed);
    }

    /// How many messages the other nsqd has taken.
    pub(crate) fn forwarded_count(&self) -> u64 {
        self.forwarded_count.load(Ordering::Relaxed)
    }

    /// Why it does not continue as it should, if so.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble_slot().clone()
    }

    pub(super) fn set_trouble(&self, trouble: Option<String>) {
        let mut known = self.trouble_slot();
        if *known != trouble {
            if let Some(trouble) = &trouble {
                tracing::warn!("DRAIN: {trouble}");
            } else {
                tracing::info!("DRAIN: resumed");
            }
            *known = trouble;
        }
    }

    fn trouble_slot(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
