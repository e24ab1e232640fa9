//! The work that a batch of calls on a channel leaves for the moment its lock is free again.
//!
//! The calls collect it in the channel. [`ChannelGuard`](crate::topic::ChannelGuard) takes it out at the end of the
//! batch and carries it out, so that no caller can forget a part of it. The topic, which calls its channels with its own
//! lock held, merges their effects and carries them out once that lock is released.

use std::ops::Deref;
use std::sync::Arc;

use crate::client::ClientHandle;
use crate::time::Tick;
use crate::topic::{ChannelCell, Topic};

/// Clients to wake, the time of the channel's next timeout, and whether the topic may free a segment.
#[must_use = "a client that is not woken may wait for ever, and a timeout that is not planned never comes"]
pub(crate) struct Effects {
    wakes: Vec<Arc<dyn ClientHandle>>,
    timeout_at: Tick,
    may_release: bool,
}

impl Default for Effects {
    fn default() -> Effects {
        Effects {
            wakes: Vec::new(),
            timeout_at: Tick::NEVER,
            may_release: false,
        }
    }
}

impl Effects {
    /// The client is to be woken.
    pub(crate) fn wake(&mut self, client: Arc<dyn ClientHandle>) {
        self.wakes.push(client);
    }

    /// The channel's timer has to run by `at`.
    pub(crate) fn arm(&mut self, at: Tick) {
        self.timeout_at = self.timeout_at.min(at);
    }

    /// The topic may free a segment.
    pub(crate) fn release(&mut self) {
        self.may_release = true;
    }

    /// Plans the timer of `cell`, whose effects these are. Locks neither a topic nor a channel.
    #[inline]
    pub(crate) fn plan_timeout(&mut self, cell: &Arc<ChannelCell>) {
        let at = std::mem::replace(&mut self.timeout_at, Tick::NEVER);
        if at != Tick::NEVER {
            cell.arm(at);
        }
    }

    /// Whether nothing is left to be done.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.wakes.is_empty() && !self.may_release && self.timeout_at == Tick::NEVER
    }

    /// Adds the effects of another channel of the topic, whose timeout is planned.
    pub(crate) fn merge(&mut self, other: Effects) {
        debug_assert_eq!(other.timeout_at, Tick::NEVER, "the timeout is planned");
        self.may_release |= other.may_release;
        if self.wakes.is_empty() {
            self.wakes = other.wakes;
        } else {
            self.wakes.extend(other.wakes);
        }
    }

    /// Frees segments and wakes the clients. With no lock of a topic or channel held.
    #[inline]
    pub(crate) fn carry_out<T: Deref<Target = Topic>>(self, topic: impl FnOnce() -> Option<T>) {
        debug_assert_eq!(self.timeout_at, Tick::NEVER, "the timeout is planned");
        if self.may_release
            && let Some(topic) = topic()
        {
            topic.release();
        }
        for client in &self.wakes {
            client.wake();
        }
    }
}
