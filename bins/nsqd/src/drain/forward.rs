//! Giving what is left to another nsqd: each channel's messages to that channel there, and what no channel was offered to
//! the topic.
//!
//! A batch is taken out of the channel, sent, and finished here only when the other nsqd has it on disk. So a kill of
//! either may repeat a batch, and loses none.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use nsq_core::channel::Budget;
use nsq_core::topic::Unoffered;
use nsq_core::{Broker, ChannelCell, Reserved, StoreError, Topic};
use nsq_protocol::TopicName;
use tokio::task::JoinError;

use super::batch;
use super::order::Order;
use super::target::{Offer, Target, TargetError};
use crate::clock;

/// The most in one batch; the message that passes it is still taken.
const PARCEL: Budget = Budget {
    messages: 4096,
    bytes: 1 << 20,
};

/// Why forwarding stopped for now.
#[derive(Debug, thiserror::Error)]
pub(super) enum ForwardError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("messages cannot be read: {0}")]
    Read(#[from] nsq_queue::ReadError),
    #[error("forwarded messages cannot be dropped: {0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Task(#[from] JoinError),
}

/// Forwards all there is, once or again and again.
pub(super) struct Forwarder {
    target: Target,
    /// Of this nsqd.
    process: String,
    broker: Arc<Broker>,
    order: Arc<Order>,
    /// What the target takes, once it said so and has every topic and channel.
    offer: Option<Offer>,
    /// How far what no channel was offered has been sent, by topic: an attempt that failed continues there.
    walks: HashMap<TopicName, Walk>,
    /// Of the last round.
    too_large_count: u64,
    /// Topics with a message too large among what no channel was offered: all of it stays.
    too_large_topics: HashSet<TopicName>,
}

struct Walk {
    unoffered: Unoffered,
    /// Read and not yet taken.
    batch: Vec<u8>,
    count: usize,
}

impl Forwarder {
    pub(super) fn new(
        target: Target,
        process: String,
        broker: Arc<Broker>,
        order: Arc<Order>,
    ) -> Forwarder {
        Forwarder {
            target,
            process,
            broker,
            order,
            offer: None,
            walks: HashMap::new(),
            too_large_count: 0,
            too_large_topics: HashSet::new(),
        }
    }

    /// Asks the target what it takes, and has every topic and channel that is kept on disk made there, those without
    /// messages too, and paused where they are paused here.
    pub(super) async fn prepare(&mut self) -> Result<(), ForwardError> {
        let offer = self.target.ask(&self.process).await?;
        for topic in self.kept_topics() {
            self.target
                .make_topic(topic.name(), topic.is_paused())
                .await?;
            for cell in topic.channels() {
                let (is_kept, is_paused) = {
                    let channel = cell.lock();
                    (!channel.is_in_memory(), channel.is_paused())
                };
                if is_kept {
                    self.target
                        .make_channel(topic.name(), cell.name(), is_paused)
                        .await?;
                }
            }
        }
        self.offer = Some(offer);
        Ok(())
    }

    fn kept_topics(&self) -> impl Iterator<Item = Arc<Topic>> + use<> {
        let topics = self.broker.topics().into_iter();
        topics.filter(|topic| !topic.name().is_ephemeral())
    }

    /// Sends all that no client holds.
    pub(super) async fn forward(&mut self) -> Result<(), ForwardError> {
        if self.offer.is_none() {
            self.prepare().await?;
        }
        let Some(offer) = self.offer.clone() else {
            return Ok(());
        };
        self.too_large_count = 0;
        self.too_large_topics.clear();
        let outcome = self.forward_topics(&offer).await;
        if let Err(ForwardError::Target(_)) = outcome {
            // It may be another one when it answers again.
            self.offer = None;
        }
        outcome
    }

    async fn forward_topics(&mut self, offer: &Offer) -> Result<(), ForwardError> {
        for topic in self.kept_topics() {
            for cell in topic.channels() {
                self.forward_channel(&topic, &cell, offer).await?;
            }
            self.forward_unoffered(&topic, offer).await?;
        }
        Ok(())
    }

    /// What the target cannot take, if there is anything.
    pub(super) fn left_behind(&self) -> Option<String> {
        let max = self.offer.as_ref()?.max_msg_size;
        if self.too_large_count == 0 && self.too_large_topics.is_empty() {
            return None;
        }
        let mut text = format!(
            "{} messages are larger than the {max} bytes that the other nsqd takes (its --max-msg-size), and stay here",
            self.too_large_count
        );
        let mut topics: Vec<_> = self
            .too_large_topics
            .iter()
            .map(TopicName::as_str)
            .collect();
        topics.sort_unstable();
        if !topics.is_empty() {
            text.push_str(", with all that waits for a channel in ");
            text.push_str(&topics.join(", "));
        }
        Some(text)
    }

    fn budget(offer: &Offer) -> Budget {
        Budget {
            // Heads and bodies together may not pass the other's limit; a single message may be as large as it likes.
            bytes: PARCEL.bytes.min(offer.max_parcel_bytes() / 2),
            ..PARCEL
        }
    }

    async fn forward_channel(
        &mut self,
        topic: &Arc<Topic>,
        cell: &Arc<ChannelCell>,
        offer: &Offer,
    ) -> Result<(), ForwardError> {
        loop {
            if !self.order.is_in_force() {
                return Ok(());
            }
            let (aside, batch) = self.pack(cell, offer).await?;
            if aside.is_empty() {
                self.too_large_count += aside.too_large;
                return Ok(());
            }
            let given = self
                .target
                .give(topic.name(), Some(cell.name()), batch)
                .await;
            if let Err(error) = given {
                cell.lock().release_reserved(aside);
                return Err(error.into());
            }
            self.order.count_forwarded(aside.len());
            let cell = Arc::clone(cell);
            tokio::task::spawn_blocking(move || cell.lock().finish_reserved(aside)).await?;
        }
    }

    async fn pack(
        &self,
        cell: &Arc<ChannelCell>,
        offer: &Offer,
    ) -> Result<(Reserved, Vec<u8>), ForwardError> {
        let cell = Arc::clone(cell);
        let (budget, max_bytes) = (Self::budget(offer), offer.max_message_bytes());
        let packed = tokio::task::spawn_blocking(move || {
            let mut batch = Vec::new();
            let aside = cell
                .lock()
                .reserve(budget, max_bytes, clock::now(), |message| {
                    batch::write(&mut batch, &message);
                });
            (aside, batch)
        });
        Ok(packed.await?)
    }

    async fn forward_unoffered(
        &mut self,
        topic: &Arc<Topic>,
        offer: &Offer,
    ) -> Result<(), ForwardError> {
        let known = self.walks.remove(topic.name());
        let known = known.filter(|walk| topic.still_waits(&walk.unoffered));
        let mut walk = match known {
            Some(walk) => walk,
            None => match self.begin_walk(topic, offer).await? {
                Some(unoffered) => Walk {
                    unoffered,
                    batch: Vec::new(),
                    count: 0,
                },
                None => return Ok(()),
            },
        };
        loop {
            if !self.order.is_in_force() {
                return Ok(());
            }
            if walk.count == 0 {
                let budget = Self::budget(offer);
                let read = tokio::task::spawn_blocking(move || {
                    let shown = walk.unoffered.next(budget, |message| {
                        batch::write(&mut walk.batch, &message);
                        walk.count += 1;
                    });
                    (walk, shown)
                });
                let shown;
                (walk, shown) = read.await?;
                if let Err(error) = shown {
                    // What was read before is sent with the next attempt.
                    self.walks.insert(topic.name().clone(), walk);
                    return Err(error.into());
                }
            }
            if walk.count == 0 {
                let topic = Arc::clone(topic);
                let dropped =
                    tokio::task::spawn_blocking(move || topic.drop_unoffered(&walk.unoffered));
                dropped.await??;
                return Ok(());
            }
            let given = self
                .target
                .give(topic.name(), None, walk.batch.clone())
                .await;
            if let Err(error) = given {
                self.walks.insert(topic.name().clone(), walk);
                return Err(error.into());
            }
            self.order.count_forwarded(walk.count);
            walk.batch.clear();
            walk.count = 0;
        }
    }

    /// A walk over what the topic offered to no channel; `None` when there is nothing, or a message that is too large:
    /// what waits there can only go as a whole.
    async fn begin_walk(
        &mut self,
        topic: &Arc<Topic>,
        offer: &Offer,
    ) -> Result<Option<Unoffered>, ForwardError> {
        let (walked, max_bytes) = (Arc::clone(topic), offer.max_message_bytes());
        let looked = tokio::task::spawn_blocking(move || {
            let mut too_large = 0;
            let mut look = walked.unoffered();
            while let Some(walk) = &mut look {
                let shown = walk.next(PARCEL, |message| {
                    too_large += u64::from(message.body.len() > max_bytes);
                })?;
                if shown == 0 {
                    break;
                }
            }
            let walk = walked.unoffered().filter(|_| too_large == 0);
            Ok::<_, ForwardError>((walk, too_large))
        });
        let (walk, too_large) = looked.await??;
        if too_large > 0 {
            self.too_large_count += too_large;
            self.too_large_topics.insert(topic.name().clone());
        }
        Ok(walk)
    }
}
