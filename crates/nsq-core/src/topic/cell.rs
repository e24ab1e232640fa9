//! A channel as all but itself see it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nsq_protocol::{ChannelName, TopicName};

use crate::channel::{Channel, Shared};
use crate::peek::{Peek, PeekLimits};
use crate::time::{Now, Tick};

/// A channel behind its lock, with what can be known without it.
pub struct ChannelCell {
    name: ChannelName,
    topic: TopicName,
    pub(super) shared: Arc<Shared>,
    /// When its next timeout is scheduled, in ticks.
    armed: AtomicU64,
    channel: Mutex<Channel>,
}

impl ChannelCell {
    pub(super) fn new(topic: TopicName, channel: Channel) -> ChannelCell {
        ChannelCell {
            name: channel.name().clone(),
            topic,
            shared: Arc::clone(channel.shared()),
            armed: AtomicU64::new(u64::MAX),
            channel: Mutex::new(channel),
        }
    }

    /// The channel's name.
    pub fn name(&self) -> &ChannelName {
        &self.name
    }

    /// The topic's name.
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// The channel, for one call or one batch of calls; never across a wait.
    pub fn lock(&self) -> MutexGuard<'_, Channel> {
        // A panic in the core is our own mistake; the other channels are better served by going on.
        self.channel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the channel's messages and leaves them as they are; `None` when it was deleted. May wait for the disk.
    pub fn peek(&self, limits: PeekLimits, now: Now) -> Option<Peek> {
        let view = self.lock().view(limits, now)?;
        Some(view.read())
    }

    /// Notes that the channel has to be looked at by `at`. Whether that is earlier than what was scheduled.
    pub fn arm(&self, at: Tick) -> bool {
        self.armed.fetch_min(at.nanos(), Ordering::AcqRel) > at.nanos()
    }

    /// The look planned for `at` is due: whether it is to be taken, and none is scheduled then. One that an earlier look
    /// overtook is not: whoever took that has planned the next, and two that go on planning would never be one again.
    pub fn disarm(&self, at: Tick) -> bool {
        let (at, none) = (at.nanos(), u64::MAX);
        let disarmed = self
            .armed
            .compare_exchange(at, none, Ordering::AcqRel, Ordering::Acquire);
        disarmed.is_ok()
    }
}
