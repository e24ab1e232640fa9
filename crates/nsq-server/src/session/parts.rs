//! The parts of a subscription in a cluster: the same channel in each shard that this node leads, and in the shards that other
//! nodes lead.
//!
//! Parts come and go with the [table of shards](crate::Shards). A subscription without any part waits for the first one.

use std::sync::Arc;

use nsq_core::{
    ChannelCell, ClientHandle, ClientId, Locality, Now, StoreError, SubscribeError, Topic,
};
use nsq_protocol::{ChannelName, ClientState, TopicName, frame};

use super::subscription::{SUBSCRIBE_TRIES, Subscription, no_channel, too_many};
use super::{Observer, Session, Stop};
use crate::client::Client;
use crate::fetch::{RemotePart, Wanted};
use crate::server::Server;
use crate::shards::{PartHandle, ServedShard};

/// A subscription in one channel.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) topic: Arc<Topic>,
    pub(crate) cell: Arc<ChannelCell>,
    /// The shard that the channel belongs to; `None` where the server's own broker has it.
    pub(crate) shard: Option<ServedShard>,
}

impl Part {
    pub(crate) fn is_retired(&self) -> bool {
        self.shard.as_ref().is_some_and(ServedShard::is_retired)
    }

    pub(crate) fn is_in(&self, shard: &ServedShard) -> bool {
        let own = self.shard.as_ref();
        own.is_some_and(|own| own.number == shard.number)
    }
}

/// How a client becomes one of a channel's clients.
#[derive(Clone, Copy)]
pub(crate) struct Joining {
    pub(crate) msg_timeout: std::time::Duration,
    pub(crate) sample_rate: u8,
    pub(crate) locality: Locality,
    pub(crate) ready_count: u32,
    /// Most clients of one channel; 0 for no limit.
    pub(crate) limit: usize,
}

impl Joining {
    /// Becomes one of the channel's clients.
    pub(crate) fn join(
        &self,
        cell: &Arc<ChannelCell>,
        client: ClientId,
        handle: Arc<dyn ClientHandle>,
    ) -> Result<(), SubscribeError> {
        let subscription = nsq_core::Subscription {
            client,
            handle,
            msg_timeout: self.msg_timeout,
            sample_rate: self.sample_rate,
            locality: self.locality,
        };
        let mut channel = cell.lock();
        channel.subscribe(subscription, self.limit)?;
        channel.set_ready_count(client, self.ready_count);
        Ok(())
    }

    /// Subscribes to the channel in one shard; `None` when the shard does not have it (yet).
    pub(crate) fn attach(
        &self,
        client: &Arc<Client>,
        shard: &ServedShard,
        topic: &TopicName,
        channel: &ChannelName,
        now: Now,
    ) -> Result<Option<Part>, AttachError> {
        for _ in 0..SUBSCRIBE_TRIES {
            let Some(topic) = shard.broker.topic(topic.as_str()) else {
                return Ok(None);
            };
            let cell = if channel.is_ephemeral() {
                match topic.get_or_create_channel(channel, now) {
                    Ok(cell) => cell,
                    Err(StoreError::Exiting) => return Ok(None),
                    Err(error) => return Err(AttachError::Store(error)),
                }
            } else if let Some(cell) = topic.channel(channel.as_str()) {
                cell
            } else {
                return Ok(None);
            };
            let handle = PartHandle::new(client, shard);
            match self.join(
                &cell,
                client.id(),
                Arc::new(handle) as Arc<dyn ClientHandle>,
            ) {
                Ok(()) => {
                    let shard = Some(shard.clone());
                    return Ok(Some(Part { topic, cell, shard }));
                }
                Err(SubscribeError::TooManyClients { limit }) => {
                    return Err(AttachError::TooManyClients { limit });
                }
                // The shard is retired, or the channel was deleted. An ephemeral one is made again.
                Err(SubscribeError::Exiting) if shard.is_retired() => return Ok(None),
                Err(SubscribeError::Exiting) => {}
            }
        }
        Ok(None)
    }
}

/// Leaves the channels; ephemeral ones go with their last client.
pub(crate) fn leave_parts(server: &Server, client: ClientId, parts: &[Part]) {
    // A retired shard's broker is closed, or about to be.
    for part in parts.iter().filter(|part| !part.is_retired()) {
        let left = part.cell.lock().unsubscribe(client);
        let broker = part.shard.as_ref().map(|shard| &shard.broker);
        let broker = broker.unwrap_or(server.broker());
        broker.client_left(&part.topic, &part.cell, left);
    }
}

/// What a subscription needs that has a part in each served shard.
pub(super) struct Sharing {
    pub(super) topic: TopicName,
    pub(super) channel: ChannelName,
    /// That of the table of shards when the parts were last compared with it.
    version: u64,
    /// The part that gives its messages first the next time.
    pub(super) first: usize,
    /// The messages of shards that other nodes lead; `None` where nothing fetches them.
    pub(super) remote: Option<Arc<RemotePart>>,
}

/// Why a part could not be had.
pub(crate) enum AttachError {
    TooManyClients { limit: usize },
    Store(StoreError),
}

impl<O: Observer> Session<O> {
    /// SUB to a durable topic in a cluster.
    pub(super) fn subscribe_to_shards(
        &mut self,
        topic: &str,
        channel: &str,
        now: Now,
    ) -> Result<(), Stop> {
        // The decoder has checked the names.
        let topic = TopicName::parse(topic).map_err(|_| Stop::Drop)?;
        let channel = ChannelName::parse(channel).map_err(|_| Stop::Drop)?;
        if !self.topic_is_made && self.is_missing_somewhere(&topic, &channel) {
            let durable = (!channel.is_ephemeral()).then_some(channel);
            return Err(Stop::create(topic, durable));
        }
        // Registered before the table is read: a change after that wakes the client.
        let shards = self.server.shards();
        shards.register(&topic, &channel, &self.client);
        let version = shards.version();
        let mut parts = Vec::new();
        for shard in &*shards.snapshot() {
            match self.attach(shard, &topic, &channel, now) {
                Ok(part) => parts.extend(part),
                Err(error) => {
                    leave_parts(&self.server, self.id(), &parts);
                    self.server.shards().unregister(&topic, self.id());
                    return Err(self.refuse(&match error {
                        AttachError::TooManyClients { limit } => too_many(&topic, &channel, limit),
                        AttachError::Store(error) => no_channel(&topic, &channel, error),
                    }));
                }
            }
        }
        let remote = self.fetch_remotely(&topic, &channel);
        let mut details = self.client.details();
        details.subscription = Some((topic.clone(), channel.clone()));
        details.channels = cells(&parts);
        details.remote.clone_from(&remote);
        drop(details);
        self.subscription = Some(Subscription {
            parts: parts.into(),
            sharing: Some(Box::new(Sharing {
                topic,
                channel,
                version,
                first: 0,
                remote,
            })),
        });
        self.set_state(ClientState::Subscribed);
        self.answer(|out| out.extend_from_slice(frame::OK));
        Err(Stop::Again)
    }

    /// Whether the topic or the channel has to be made in the cluster, as far as this node's shards show. Without a shard they
    /// show nothing.
    fn is_missing_somewhere(&self, topic: &TopicName, channel: &ChannelName) -> bool {
        let shards = self.server.shards().snapshot();
        let has_both = |shard: &ServedShard| {
            let topic = shard.broker.topic(topic.as_str());
            topic.is_some_and(|topic| {
                channel.is_ephemeral() || topic.channel(channel.as_str()).is_some()
            })
        };
        shards.is_empty() || !shards.iter().all(has_both)
    }

    /// Has messages fetched that other nodes have for the channel.
    fn fetch_remotely(&self, topic: &TopicName, channel: &ChannelName) -> Option<Arc<RemotePart>> {
        let fetcher = self.server.fetcher()?;
        let settings = self.delivery_settings();
        let wanted = Wanted {
            topic: topic.clone(),
            channel: channel.clone(),
            msg_timeout: settings.msg_timeout,
            sample_rate: settings.sample_rate,
        };
        Some(fetcher.subscribe(&self.client, wanted))
    }

    fn attach(
        &mut self,
        shard: &ServedShard,
        topic: &TopicName,
        channel: &ChannelName,
        now: Now,
    ) -> Result<Option<Part>, AttachError> {
        let joining = self.joining();
        let part = joining.attach(&self.client, shard, topic, channel, now)?;
        if let Some(part) = &part {
            self.observer.subscribed(&part.cell, now);
        }
        Ok(part)
    }

    /// Compares the parts with the table of shards, if that has changed.
    #[inline]
    pub(super) fn refresh_parts(&mut self, now: Now) {
        if let Some(subscription) = &self.subscription
            && let Some(sharing) = &subscription.sharing
            && sharing.version != self.server.shards().version()
        {
            self.replace_parts(now);
        }
    }

    /// Drops the parts of retired shards, and attaches to those that are new.
    #[cold]
    fn replace_parts(&mut self, now: Now) {
        let shards = self.server.shards();
        let version = shards.version();
        let snapshot = shards.snapshot();
        self.drop_retired_parts();
        let Some(subscription) = &mut self.subscription else {
            return;
        };
        let Some(sharing) = &mut subscription.sharing else {
            return;
        };
        sharing.version = version;
        let (topic, channel) = (sharing.topic.clone(), sharing.channel.clone());
        let mut parts = subscription.parts.to_vec();
        let before = parts.len();
        for shard in &*snapshot {
            if parts.iter().any(|part| part.is_in(shard)) {
                continue;
            }
            match self.attach(shard, &topic, &channel, now) {
                Ok(part) => parts.extend(part),
                // The channel's clients are full: they take its messages.
                Err(AttachError::TooManyClients { .. }) => {}
                Err(AttachError::Store(error)) => tracing::error!(
                    "TOPIC({topic}): channel {channel} cannot be created in shard {}: {error}",
                    shard.number
                ),
            }
        }
        if parts.len() > before {
            self.set_parts(parts);
        }
    }

    /// Drops the parts whose shards this node leads no longer. What the client holds of them is not in flight any more; the
    /// next leader delivers it again.
    pub(super) fn drop_retired_parts(&mut self) {
        let Some(subscription) = &self.subscription else {
            return;
        };
        if subscription.parts.iter().any(Part::is_retired) {
            let parts = subscription.parts.iter();
            let left = parts.filter(|part| !part.is_retired()).cloned().collect();
            self.set_parts(left);
        }
    }

    fn set_parts(&mut self, parts: Vec<Part>) {
        if let [only] = &parts[..] {
            // From now on only one channel counts.
            let mut channel = only.cell.lock();
            channel.set_held_elsewhere(self.client.id(), 0);
        }
        self.client.details().channels = cells(&parts);
        if let Some(subscription) = &mut self.subscription {
            subscription.parts = parts.into();
            self.wants_delivery = true;
        }
    }
}

fn cells(parts: &[Part]) -> Vec<Arc<ChannelCell>> {
    parts.iter().map(|part| Arc::clone(&part.cell)).collect()
}
