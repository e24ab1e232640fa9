//! The session as a consumer: subscribing, and taking messages.

use std::sync::Arc;

use nsq_core::channel::Budget;
use nsq_core::{ClientHandle, Delivery, Now, StoreError, SubscribeError, Topic};
use nsq_protocol::{ChannelName, ClientState, CommandError, TopicName, frame};

use super::parts::{Joining, Part, Sharing, leave_parts};
use super::{Hold, Observer, Session, log};
use crate::fetch::RemotePart;

/// Above this many bytes waiting for the client no more messages are taken for it.
pub(super) const DELIVERY_LIMIT: usize = 64 << 10;
/// Messages handed out under one lock at most, so that others get at the channel too.
pub(super) const TAKE_MESSAGES: usize = 1024;
/// How often SUB tries again when an ephemeral channel is deleted under it.
pub(super) const SUBSCRIBE_TRIES: usize = 8;

pub(super) struct Subscription {
    /// One, except for a durable topic in a cluster.
    pub(super) parts: Arc<[Part]>,
    /// For a durable topic in a cluster: the parts come and go.
    pub(super) sharing: Option<Box<Sharing>>,
}

impl Subscription {
    /// The messages of shards that other nodes lead.
    #[inline]
    pub(super) fn remote(&self) -> Option<&Arc<RemotePart>> {
        self.sharing.as_ref()?.remote.as_ref()
    }
}

impl<O: Observer> Session<O> {
    /// SUB, with the topic there.
    pub(super) fn subscribe(
        &mut self,
        topic: &Arc<Topic>,
        channel: &str,
        now: Now,
    ) -> Result<(), CommandError> {
        let name = ChannelName::parse(channel).map_err(|_| CommandError::BadChannel {
            name: channel.as_bytes().into(),
        })?;
        let mut topic = Arc::clone(topic);
        for _ in 0..SUBSCRIBE_TRIES {
            let cell = match topic.get_or_create_channel(&name, now) {
                Ok(cell) => cell,
                Err(StoreError::Exiting) => {
                    // The topic was deleted a moment ago; the next one of that name is as good.
                    let broker = self.server.broker();
                    let made = broker.get_or_create_topic(topic.name(), false, now);
                    topic = made.map_err(|_| CommandError::SubscribeExiting)?.0;
                    continue;
                }
                Err(error) => return Err(no_channel(topic.name(), &name, error)),
            };
            let handle = Arc::clone(&self.client) as Arc<dyn ClientHandle>;
            match self.joining().join(&cell, self.id(), handle) {
                Ok(()) => {
                    self.observer.subscribed(&cell, now);
                    let mut details = self.client.details();
                    details.subscription = Some((topic.name().clone(), name));
                    details.channels = vec![Arc::clone(&cell)];
                    drop(details);
                    let shard = None;
                    self.subscription = Some(Subscription {
                        parts: Arc::new([Part { topic, cell, shard }]),
                        sharing: None,
                    });
                    self.set_state(ClientState::Subscribed);
                    return Ok(());
                }
                Err(SubscribeError::TooManyClients { limit }) => {
                    return Err(too_many(topic.name(), &name, limit));
                }
                Err(SubscribeError::Exiting) => {}
            }
        }
        Err(CommandError::SubscribeDeleted)
    }

    /// How the client becomes one of a channel's clients, with the ready count that it has.
    pub(super) fn joining(&self) -> Joining {
        let settings = self.delivery_settings();
        Joining {
            msg_timeout: settings.msg_timeout,
            sample_rate: settings.sample_rate,
            locality: self.client.details().locality,
            ready_count: self.ready_count,
            limit: self.server.settings().max_channel_consumers,
        }
    }

    /// CLS: no more messages.
    pub(super) fn close_subscription(&mut self) {
        self.ready_count = 0;
        if let Some(subscription) = &self.subscription {
            for part in &*subscription.parts {
                part.cell.lock().set_ready_count(self.id(), 0);
            }
        }
    }

    pub(super) fn unsubscribe(&mut self) {
        let Some(subscription) = self.subscription.take() else {
            return;
        };
        if let Some(sharing) = &subscription.sharing {
            self.server.shards().unregister(&sharing.topic, self.id());
            if let Some(remote) = &sharing.remote {
                remote.leave();
            }
        }
        leave_parts(&self.server, self.id(), &subscription.parts);
        let mut details = self.client.details();
        details.subscription = None;
        details.remote = None;
        // They know the client, too.
        details.channels.clear();
    }

    /// The client may have been woken: there may be messages for it.
    pub fn handle_wake(&mut self) {
        if self.client.was_woken() {
            self.wants_delivery = true;
            if !self.can_deliver() {
                self.drop_retired_parts();
                self.pass_on();
            }
        }
    }

    /// Whether there may be messages, and they may be taken now: then [`deliver`](Self::deliver) is to be called.
    pub fn wants_delivery(&self) -> bool {
        self.wants_delivery && self.can_deliver()
    }

    fn can_deliver(&self) -> bool {
        !self.outbox.is_blocked()
            && self.outbox.waiting_bytes() < DELIVERY_LIMIT
            && self.hold != Hold::LastAnswer
    }

    /// Takes messages into the outbox, as many as there are, as the client may hold, and as fit.
    pub fn deliver(&mut self, now: Now) {
        if !self.can_deliver() {
            return;
        }
        self.refresh_parts(now);
        self.wants_delivery = false;
        let Some(subscription) = &self.subscription else {
            return;
        };
        let ([part], None) = (&*subscription.parts, subscription.remote()) else {
            return self.deliver_from_parts(now);
        };
        let budget = Budget {
            messages: TAKE_MESSAGES,
            bytes: DELIVERY_LIMIT,
        };
        let out = self.outbox.bytes();
        let begin = out.len();
        let mut channel = part.cell.lock();
        let observer = &mut self.observer;
        let taken = channel.take(self.client.id(), budget, now, |message| {
            observer.delivered(&part.cell, &message, now);
            write_message(out, &message);
        });
        drop(channel);
        if log::is_debugging() {
            log::messages(self.client.remote_address(), &out[begin..]);
        }
        self.wants_delivery = taken.more;
    }

    /// Lets another client have what this one was woken for.
    fn pass_on(&mut self) {
        if let Some(subscription) = &self.subscription {
            for part in &*subscription.parts {
                part.cell.lock().decline(self.client.id());
            }
        }
    }
}

#[inline]
pub(crate) fn write_message(out: &mut Vec<u8>, message: &Delivery<'_>) {
    frame::write_message(
        out,
        message.timestamp,
        message.attempts,
        message.id,
        message.body,
    );
}

pub(super) fn too_many(topic: &TopicName, channel: &ChannelName, limit: usize) -> CommandError {
    CommandError::TooManyConsumers {
        topic: topic.clone(),
        channel: channel.clone(),
        max: i64::try_from(limit).unwrap_or(i64::MAX),
    }
}

pub(super) fn no_channel(topic: &TopicName, name: &ChannelName, error: StoreError) -> CommandError {
    match error {
        StoreError::Refused(cause) => CommandError::SubscribeFailed { cause },
        StoreError::Draining | StoreError::Exiting => CommandError::SubscribeExiting,
        error @ (StoreError::Io { .. } | StoreError::Log(_)) => {
            tracing::error!("TOPIC({topic}): channel {name} cannot be created: {error}");
            CommandError::SubscribeExiting
        }
    }
}
