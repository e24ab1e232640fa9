//! The connection as a consumer: subscribing, and taking messages.

use std::sync::Arc;

use nsq_core::channel::Budget;
use nsq_core::{ChannelCell, SubscribeError, Topic, Wakes};
use nsq_protocol::{ChannelName, ClientState, CommandError, frame};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Connection, DELIVERY_LIMIT};
use crate::clock;

/// Messages handed out under one lock at most, so that others get at the channel too.
const TAKE_MESSAGES: usize = 1024;
/// How often SUB tries again when an ephemeral channel is deleted under it.
const SUBSCRIBE_TRIES: usize = 8;

pub(crate) struct Subscription {
    pub(crate) topic: Arc<Topic>,
    pub(crate) channel: Arc<ChannelCell>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// SUB, with the topic there.
    pub(super) fn subscribe(
        &mut self,
        topic: &Arc<Topic>,
        channel: &str,
    ) -> Result<(), CommandError> {
        let bad_name = || CommandError::BadChannel {
            name: channel.as_bytes().into(),
        };
        let name = ChannelName::parse(channel).map_err(|_| bad_name())?;
        let mut topic = Arc::clone(topic);
        let limit = self.nsqd.max_channel_consumers;
        for _ in 0..SUBSCRIBE_TRIES {
            let cell = match topic.get_or_create_channel(&name, clock::now()) {
                Ok(cell) => cell,
                Err(nsq_core::StoreError::Exiting) => {
                    // The topic was deleted a moment ago; the next one of that name is as good.
                    let made =
                        self.nsqd
                            .broker
                            .get_or_create_topic(topic.name(), false, clock::now());
                    topic = made.map_err(|_| CommandError::SubscribeExiting)?.0;
                    continue;
                }
                Err(nsq_core::StoreError::Draining) => {
                    return Err(CommandError::SubscribeExiting);
                }
                Err(nsq_core::StoreError::Refused(cause)) => {
                    return Err(CommandError::SubscribeFailed { cause });
                }
                Err(error) => {
                    tracing::error!(
                        "TOPIC({}): channel {name} cannot be made: {error}",
                        topic.name()
                    );
                    return Err(CommandError::SubscribeExiting);
                }
            };
            let subscription = nsq_core::Subscription {
                client: self.client.id,
                handle: Arc::clone(&self.client) as Arc<dyn nsq_core::ClientHandle>,
                msg_timeout: self.delivery_settings.msg_timeout,
                sample_rate: self.delivery_settings.sample_rate,
                locality: self.client.details().locality,
            };
            let outcome = cell.lock().subscribe(subscription, limit);
            match outcome {
                Ok(()) => {
                    self.client.details().channel = Some(Arc::clone(&cell));
                    self.subscription = Some(Subscription {
                        topic,
                        channel: cell,
                    });
                    self.state = ClientState::Subscribed;
                    self.client.set_state(self.state);
                    return Ok(());
                }
                Err(SubscribeError::TooManyClients { limit }) => {
                    let max = i64::try_from(limit).unwrap_or(i64::MAX);
                    return Err(CommandError::TooManyConsumers {
                        topic: topic.name().clone(),
                        channel: name,
                        max,
                    });
                }
                Err(SubscribeError::Exiting) => {}
            }
        }
        Err(CommandError::SubscribeDeleted)
    }

    /// Whether messages may be taken now.
    pub(super) fn can_deliver(&self) -> bool {
        !self.outbox.is_blocked() && self.outbox.waiting_bytes() < DELIVERY_LIMIT
    }

    /// Takes messages into the outbox, as many as there are, as the client may hold, and as fit.
    pub(super) fn deliver(&mut self) {
        if !self.can_deliver() {
            return;
        }
        self.wants_delivery = false;
        let Some(subscription) = &self.subscription else {
            return;
        };
        let budget = Budget {
            messages: TAKE_MESSAGES,
            bytes: DELIVERY_LIMIT,
        };
        let mut wakes = Wakes::default();
        let outbox = &mut self.outbox;
        let taken = outbox.write(|out| {
            subscription.channel.lock().take(
                self.client.id,
                budget,
                clock::now(),
                &mut wakes,
                |message| {
                    frame::write_message(
                        out,
                        message.timestamp,
                        message.attempts,
                        message.id,
                        message.body,
                    );
                },
            )
        });
        wakes.ring();
        if let Some(deadline) = taken.deadline {
            self.nsqd.broker.arm(&subscription.channel, deadline);
        }
        self.wants_delivery = taken.more;
    }
}
