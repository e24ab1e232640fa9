//! A queue of the clients that wait for messages, in the order in which they began to.

use std::collections::VecDeque;

use crate::client::ClientId;

/// How near a client is to this nsqd: nearer ones are preferred. All are equally far where that is not configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Locality {
    /// In nsqd's zone.
    Zone = 0,
    /// In nsqd's region.
    Region = 1,
    /// Somewhere else, or unknown.
    #[default]
    Elsewhere = 2,
    /// At another node of the cluster, which fetches messages for it.
    OtherNode = 3,
}

impl Locality {
    pub(crate) const COUNT: usize = 4;

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// The waiting clients of one locality.
#[derive(Debug, Default)]
pub(crate) struct WaitQueue {
    queue: VecDeque<ClientId>,
    /// Those that have nothing to do.
    pub(crate) idle_count: usize,
    /// Those that were woken and have not come yet.
    pub(crate) woken_count: usize,
    /// Of both, those that have had their share in this round.
    pub(crate) served_count: usize,
    /// How many messages both have room for, as far as known when they began to wait.
    pub(crate) room: usize,
}

impl WaitQueue {
    pub(crate) fn join(&mut self, client: ClientId) {
        self.queue.push_back(client);
    }

    /// The client that has waited longest, in force or not.
    pub(crate) fn pop(&mut self) -> Option<ClientId> {
        self.queue.pop_front()
    }

    pub(crate) fn remove(&mut self, client: ClientId) {
        self.queue.retain(|&waiting| waiting != client);
    }

    /// Clients that want messages and have not had their share of this round.
    pub(crate) fn rival_count(&self) -> usize {
        self.idle_count + self.woken_count - self.served_count
    }
}
