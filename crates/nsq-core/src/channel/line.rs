//! Those who wait for messages, in the order in which they began to.

use std::collections::VecDeque;

use crate::client::ClientId;

/// How near a client is to this nsqd: the nearer ones are preferred. All are equally far where nobody asked for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Locality {
    /// In nsqd's zone.
    Zone = 0,
    /// In nsqd's region.
    Region = 1,
    /// Somewhere else, or nobody knows where.
    #[default]
    Elsewhere = 2,
}

impl Locality {
    pub(crate) const COUNT: usize = 3;

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// The waiting clients of one locality.
#[derive(Debug, Default)]
pub(crate) struct Line {
    queue: VecDeque<ClientId>,
    /// Those that have nothing to do.
    pub(crate) idle_count: usize,
    /// Those that were told to come and have not come yet.
    pub(crate) rung_count: usize,
    /// Of both, those that have had their share in this round.
    pub(crate) served_count: usize,
    /// How many messages both have room for, as far as known when they began to wait.
    pub(crate) room: usize,
}

impl Line {
    pub(crate) fn join(&mut self, client: ClientId) {
        self.queue.push_back(client);
    }

    /// Who has waited longest, in force or not.
    pub(crate) fn pop(&mut self) -> Option<ClientId> {
        self.queue.pop_front()
    }

    pub(crate) fn remove(&mut self, client: ClientId) {
        self.queue.retain(|&waiting| waiting != client);
    }

    /// Clients that want messages and have not had their share of what is there.
    pub(crate) fn rival_count(&self) -> usize {
        self.idle_count + self.rung_count - self.served_count
    }
}
