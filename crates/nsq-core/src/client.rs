//! What the core knows of a client: a number, and a way to reach it.

use std::sync::Arc;

/// One TCP connection to nsqd; unique in the process, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u32);

/// How the core reaches the task that serves a client. Both calls only leave a note; neither may block.
pub trait ClientHandle: Send + Sync {
    /// There may be messages for the client, or room where there was none: it should call `take`.
    fn wake(&self);
    /// The client's channel is gone: its connection is to be closed.
    fn close(&self);
}

/// Clients to be woken, handed out of a core call so that nobody is woken under a lock.
#[derive(Default)]
#[must_use = "a client that is not woken may wait for ever"]
pub struct Wakes(Vec<Arc<dyn ClientHandle>>);

impl Wakes {
    pub(crate) fn push(&mut self, client: Arc<dyn ClientHandle>) {
        self.0.push(client);
    }

    /// How many clients will be woken.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Wakes them.
    pub fn ring(self) {
        for client in self.0 {
            client.wake();
        }
    }
}
