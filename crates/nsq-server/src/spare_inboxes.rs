//! The spare inboxes: memory that held large commands, kept for the next large command of any client. Memory that was never
//! touched costs a page fault for each 4 KiB, and a connection that kept its own would hold megabytes while it is idle.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The most that is kept, of all connections together.
const MAX_BYTES: usize = 16 << 20;

#[derive(Default)]
pub(crate) struct SpareInboxes {
    inboxes: Mutex<Vec<Vec<u8>>>,
}

impl SpareInboxes {
    /// An empty inbox with room for a large command, if one is spare: the one that was given back last, since it is the
    /// likeliest to be in the processor's cache.
    pub(crate) fn take(&self) -> Option<Vec<u8>> {
        self.lock().pop()
    }

    /// Keeps an inbox that its connection does not need now, if there is room for it.
    pub(crate) fn put(&self, mut inbox: Vec<u8>) {
        inbox.clear();
        let mut inboxes = self.lock();
        let kept: usize = inboxes.iter().map(Vec::capacity).sum();
        if kept + inbox.capacity() <= MAX_BYTES {
            inboxes.push(inbox);
        }
    }

    /// Returns all of them to the system.
    pub(crate) fn let_go(&self) {
        let inboxes = std::mem::take(&mut *self.lock());
        // Without the lock: returning memory to the system takes a while.
        drop(inboxes);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.inboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inbox_serves_the_next_large_command() {
        let spare = SpareInboxes::default();
        assert!(spare.take().is_none());
        spare.put(vec![7; 1 << 20]);
        let inbox = spare.take().unwrap();
        assert_eq!((inbox.len(), inbox.capacity()), (0, 1 << 20));
        spare.put(inbox);
        spare.let_go();
        assert!(spare.take().is_none());
    }

    #[test]
    fn spare_inboxes_are_kept_up_to_a_bound() {
        let spare = SpareInboxes::default();
        for _ in 0..3 {
            spare.put(Vec::with_capacity(MAX_BYTES / 2));
        }
        assert!(spare.take().is_some());
        assert!(spare.take().is_some());
        assert!(spare.take().is_none());
    }
}
