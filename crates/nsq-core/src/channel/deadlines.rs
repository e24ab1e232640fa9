//! When something falls due, for many messages at once.
//!
//! Entries are not searched for when a message is finished: they stay until they reach the top, or until they
//! outnumber the living two to one and are swept out. So the set holds at most about twice what is live.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::time::Tick;

/// Below this many entries sweeping is not worth it.
const SWEEP_FLOOR: usize = 1024;

/// A heap of `(due, id)`, in which an entry counts only while the message still has that very due time.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    heap: BinaryHeap<Reverse<(Tick, u64)>>,
}

impl Deadlines {
    /// Notes that message `id` falls due at `due`.
    pub(crate) fn push(&mut self, due: Tick, id: u64) {
        self.heap.push(Reverse((due, id)));
    }

    /// The earliest entry that is due by `now`, taken out; it may be out of date.
    pub(crate) fn pop_due(&mut self, now: Tick) -> Option<(Tick, u64)> {
        let Reverse((due, _)) = *self.heap.peek()?;
        if due > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// The earliest due time among entries for which `is_live` holds; the others on the way are dropped.
    pub(crate) fn earliest(&mut self, mut is_live: impl FnMut(Tick, u64) -> bool) -> Option<Tick> {
        while let Some(&Reverse((due, id))) = self.heap.peek() {
            if is_live(due, id) {
                return Some(due);
            }
            self.heap.pop();
        }
        None
    }

    /// Whether so many entries are out of date, with `live` messages waiting for theirs, that a sweep pays.
    pub(crate) fn wants_sweep(&self, live: usize) -> bool {
        self.heap.len() > SWEEP_FLOOR && self.heap.len() / 2 > live
    }

    /// Drops every entry for which `is_live` does not hold.
    pub(crate) fn sweep(&mut self, mut is_live: impl FnMut(Tick, u64) -> bool) {
        let mut entries = std::mem::take(&mut self.heap).into_vec();
        entries.retain(|Reverse((due, id))| is_live(*due, *id));
        // A message that came to the same due time twice has an entry for each.
        entries.sort_unstable();
        entries.dedup();
        entries.shrink_to(SWEEP_FLOOR);
        self.heap = entries.into();
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    pub(crate) fn clear(&mut self) {
        self.heap = BinaryHeap::new();
    }
}
