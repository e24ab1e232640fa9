//! A channel as seen from outside: its lock, and what can be known without it.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use nsq_protocol::{ChannelName, TopicName};

use super::Topic;
use crate::broker::Context;
use crate::channel::{Channel, Shared};
use crate::effects::Effects;
use crate::peek::{Peek, PeekLimits};
use crate::time::{Now, Tick};

/// A channel with its lock.
pub struct ChannelCell {
    name: ChannelName,
    topic_name: TopicName,
    topic: Weak<Topic>,
    context: Arc<Context>,
    pub(super) shared: Arc<Shared>,
    /// When its timer is planned to run, in ticks.
    armed: AtomicU64,
    channel: Mutex<Channel>,
}

impl ChannelCell {
    pub(super) fn new(topic: &Topic, channel: Channel) -> ChannelCell {
        ChannelCell {
            name: channel.name().clone(),
            topic_name: topic.name.clone(),
            topic: Weak::clone(&topic.this),
            context: Arc::clone(&topic.context),
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
        &self.topic_name
    }

    /// The channel, for one call or one batch of calls; never across a wait.
    pub fn lock(self: &Arc<Self>) -> ChannelGuard<'_> {
        ChannelGuard {
            channel: self.lock_inner(),
            after: AfterUnlock {
                cell: self,
                effects: Effects::default(),
            },
        }
    }

    /// The channel without the end of a batch: to read from it, or for the topic, which has its own lock held. What a
    /// call changes has to be followed by [`Channel::end_batch`].
    pub(crate) fn lock_inner(&self) -> MutexGuard<'_, Channel> {
        // A panic in the core is our own mistake; it is better for the other channels to continue.
        self.channel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the channel's messages and leaves them as they are; `None` when it was deleted. May wait for the disk.
    pub fn peek(self: &Arc<Self>, limits: PeekLimits, now: Now) -> Option<Peek> {
        let view = {
            let mut channel = self.lock();
            channel.trim_to_max_depth();
            channel.view(limits, now)?
        };
        Some(view.read())
    }

    /// The timer that the host planned for `at` has run down: handles timeouts, unless an earlier timer took its place.
    /// Returns whether it was still in force.
    ///
    /// A timer that was overtaken must do nothing: the earlier one has planned the next, and two that each plan a
    /// successor would never become one again.
    pub fn handle_timer(self: &Arc<Self>, at: Tick, now: Now) -> bool {
        if !self.disarm(at) {
            return false;
        }
        self.lock().handle_timeout(now);
        true
    }

    /// Has the timer run by `at`, unless it is planned for then anyway.
    pub(crate) fn arm(self: &Arc<Self>, at: Tick) {
        if self.armed.fetch_min(at.nanos(), Ordering::AcqRel) > at.nanos() {
            self.context.host.arm(self, at);
        }
    }

    /// Whether the timer planned for `at` is in force; none is planned then.
    fn disarm(&self, at: Tick) -> bool {
        let (at, none) = (at.nanos(), u64::MAX);
        let disarmed = self
            .armed
            .compare_exchange(at, none, Ordering::AcqRel, Ordering::Acquire);
        disarmed.is_ok()
    }
}

/// A channel, locked for one batch of calls.
///
/// When it goes, the batch ends: what the calls noted is written to the channel's journal and the floors are published
/// under the lock; then the lock is released; then the timer is planned, segments are freed and clients are woken. To be
/// dropped before a lock of the topic is taken.
pub struct ChannelGuard<'a> {
    // The fields' order is the order in which they are dropped: the lock first.
    channel: MutexGuard<'a, Channel>,
    after: AfterUnlock<'a>,
}

impl Deref for ChannelGuard<'_> {
    type Target = Channel;

    fn deref(&self) -> &Channel {
        &self.channel
    }
}

impl DerefMut for ChannelGuard<'_> {
    fn deref_mut(&mut self) -> &mut Channel {
        &mut self.channel
    }
}

impl Drop for ChannelGuard<'_> {
    fn drop(&mut self) {
        self.after.effects = self.channel.end_batch();
    }
}

/// What is left of a [`ChannelGuard`] once its lock is released.
struct AfterUnlock<'a> {
    cell: &'a Arc<ChannelCell>,
    effects: Effects,
}

impl Drop for AfterUnlock<'_> {
    fn drop(&mut self) {
        let mut effects = std::mem::take(&mut self.effects);
        effects.plan_timeout(self.cell);
        effects.carry_out(|| self.cell.topic.upgrade());
    }
}
