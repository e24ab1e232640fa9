//! The queue of the messages that came back: by a REQ, by a timeout, or because they fell due.
//!
//! A message that comes back is delivered after the messages that were waiting then, as upstream puts it at the tail of
//! its queue; but after no more of them than a bound, so that a deep backlog does not hold it for hours. So each has a
//! *turn*: the [`passed_count`](super::logs::ChannelLogs::passed_count) from which on it goes before the waiting
//! messages.
//!
//! Invariant: turns ascend, so that the queue is first in, first out. They do, since both of what a turn is the smaller
//! of, the passed and the waiting messages together and the passed ones plus the bound, never fall.

use std::collections::VecDeque;

/// Room for this many is kept when the queue has run empty.
const KEPT: usize = 4096;

/// One place in the queue. A message that was removed leaves its place, which is passed over.
#[derive(Debug, Clone, Copy)]
struct Place {
    id: u64,
    turn: u64,
}

#[derive(Debug, Default)]
pub(super) struct RequeuedQueue {
    places: VecDeque<Place>,
}

/// The turn of a message that goes before all that wait.
pub(super) const AT_ONCE: u64 = 0;

impl RequeuedQueue {
    pub(super) fn push_back(&mut self, id: u64, turn: u64) {
        self.places.push_back(Place { id, turn });
    }

    /// For a message that was taken from the front and was not delivered.
    pub(super) fn push_front(&mut self, id: u64) {
        let turn = AT_ONCE;
        self.places.push_front(Place { id, turn });
    }

    /// The first message and its turn, in force or not.
    #[inline]
    pub(super) fn first(&self) -> Option<(u64, u64)> {
        self.places.front().map(|place| (place.id, place.turn))
    }

    pub(super) fn pop_front(&mut self) {
        self.places.pop_front();
        if self.places.is_empty() && self.places.capacity() > KEPT {
            self.places = VecDeque::new();
        }
    }

    /// Every message with its turn, in order, in force or not.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.places.iter().map(|place| (place.id, place.turn))
    }
}
