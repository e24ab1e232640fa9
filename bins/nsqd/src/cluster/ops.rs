//! Creating, deleting, pausing and emptying topics and channels in a cluster.
//!
//! What exists is the directory's business: a creation or deletion is a change of the directory, and is done once the shards
//! that this node leads have followed it. Pausing and emptying concern the shards that this node leads, as they concern one
//! nsqd of several without a cluster.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use nsq_cluster::directory::{Change, Outcome, Refused};
use nsq_cluster::group::Role;
use nsq_core::command::Command;
use nsq_core::{Broker, Pending};
use nsq_protocol::{ChannelName, TopicName};
use tokio::time::Instant;

use super::directory_client::Changes;
use super::local_shard::{LocalShard, Refusal};
use super::settled::Settled;
use super::this_node::ThisNode;
use crate::cluster_ops::ClusterError;

/// How long a creation or deletion waits for the shards that this node leads.
const FOLLOWING: Duration = Duration::from_secs(3);
/// Between two looks at whether they have followed.
const LOOK: Duration = Duration::from_millis(2);

/// Makes changes of topics and channels.
pub(crate) struct Operations {
    node: Arc<dyn ThisNode>,
    directory: Arc<dyn Changes>,
    /// Creations under way: connections that publish to the same new topic share one.
    creating: Mutex<HashMap<Creation, Creating>>,
}

type Creation = (TopicName, Vec<ChannelName>);
type Creating = Shared<BoxFuture<'static, Result<(), ClusterError>>>;

impl Operations {
    pub(crate) fn new(node: Arc<dyn ThisNode>, directory: Arc<dyn Changes>) -> Operations {
        Operations {
            node,
            directory,
            creating: Mutex::default(),
        }
    }

    /// Creates a topic with these channels, or adds them to it.
    pub(crate) async fn create_topic(
        &self,
        topic: &TopicName,
        channels: &[ChannelName],
    ) -> Result<(), ClusterError> {
        if let Some(index) = self.listed_since(topic, channels) {
            followed(&*self.node, index).await;
            return Ok(());
        }
        let key = (topic.clone(), channels.to_vec());
        let creating = {
            let mut all = self.creating.lock().unwrap_or_else(PoisonError::into_inner);
            let creating = all.entry(key.clone()).or_insert_with(|| {
                let (topic, channels) = key.clone();
                let node = Arc::clone(&self.node);
                let directory = Arc::clone(&self.directory);
                // A task of its own: the client that asked first may leave.
                let creating = tokio::spawn(async move {
                    let change = Change::CreateTopic { topic, channels };
                    let index = done(directory.change(&change, true).await?)?;
                    followed(&*node, index).await;
                    Ok(())
                });
                // It fails only when nsqd is going down.
                let creating = creating.map(|made| made.unwrap_or(Err(ClusterError::Exiting)));
                creating.boxed().shared()
            });
            creating.clone()
        };
        let outcome = creating.clone().await;
        let mut all = self.creating.lock().unwrap_or_else(PoisonError::into_inner);
        if all
            .get(&key)
            .is_some_and(|current| current.ptr_eq(&creating))
        {
            all.remove(&key);
        }
        outcome
    }

    /// Since which change the directory lists all of them, as far as this node knows.
    fn listed_since(&self, topic: &TopicName, channels: &[ChannelName]) -> Option<u64> {
        let directory = self.node.directory();
        let directory = directory.borrow();
        let entry = directory.topics.topic(topic)?;
        channels.iter().try_fold(entry.created_at, |last, channel| {
            Some(last.max(*entry.channels.get(channel)?))
        })
    }

    pub(crate) async fn delete_topic(&self, topic: &TopicName) -> Result<(), ClusterError> {
        self.change(&Change::DeleteTopic(topic.clone()), false)
            .await
    }

    pub(crate) async fn create_channel(
        &self,
        topic: &TopicName,
        channel: &ChannelName,
    ) -> Result<(), ClusterError> {
        let change = Change::CreateChannel(topic.clone(), channel.clone());
        self.change(&change, true).await
    }

    pub(crate) async fn delete_channel(
        &self,
        topic: &TopicName,
        channel: &ChannelName,
    ) -> Result<(), ClusterError> {
        let change = Change::DeleteChannel(topic.clone(), channel.clone());
        self.change(&change, false).await
    }

    async fn change(&self, change: &Change, is_repeatable: bool) -> Result<(), ClusterError> {
        let outcome = self.directory.change(change, is_repeatable).await?;
        if let (Change::DeleteTopic(_) | Change::DeleteChannel(..), Outcome::Refused(refused)) =
            (change, &outcome)
            && self.was_deleted(refused)
        {
            return Ok(());
        }
        let index = done(outcome)?;
        followed(&*self.node, index).await;
        Ok(())
    }

    /// Whether what does not exist was deleted a moment ago.
    fn was_deleted(&self, refused: &Refused) -> bool {
        let directory = self.node.directory();
        let directory = directory.borrow();
        let topics = &directory.topics;
        match refused {
            Refused::NoSuchTopic(topic) => {
                topics.topic(topic).is_none() && directory.topic_deleted_at(topic).is_some()
            }
            Refused::NoSuchChannel(topic, channel) => {
                topics.channel(topic, channel).is_none()
                    && directory.channel_deleted_at(topic, channel).is_some()
            }
            _ => false,
        }
    }

    pub(crate) async fn pause_topic(
        &self,
        topic: &TopicName,
        paused: bool,
    ) -> Result<(), ClusterError> {
        self.in_shards_with(topic, None, |shard, _, settled| {
            let pending = settled.pending();
            shard.submit(Command::PauseTopic(topic, paused), &pending)?;
            Ok(pending)
        })
        .await
    }

    pub(crate) async fn pause_channel(
        &self,
        topic: &TopicName,
        channel: &ChannelName,
        paused: bool,
    ) -> Result<(), ClusterError> {
        self.in_shards_with(topic, Some(channel), |shard, _, settled| {
            let pending = settled.pending();
            shard.submit(Command::PauseChannel(topic, channel, paused), &pending)?;
            Ok(pending)
        })
        .await
    }

    pub(crate) async fn empty_topic(&self, topic: &TopicName) -> Result<(), ClusterError> {
        self.in_shards_with(topic, None, |shard, _, settled| {
            let pending = settled.pending();
            shard.submit(Command::EmptyTopic(topic), &pending)?;
            Ok(pending)
        })
        .await
    }

    pub(crate) async fn empty_channel(
        &self,
        topic: &TopicName,
        channel: &ChannelName,
    ) -> Result<(), ClusterError> {
        self.in_shards_with(topic, Some(channel), |shard, broker, settled| {
            let cell = broker
                .topic(topic.as_str())
                .and_then(|topic| topic.channel(channel.as_str()));
            let cell = cell.ok_or(Refusal::NoTopic)?;
            cell.lock().empty();
            let pending = settled.pending();
            shard.flush_progress(&pending)?;
            Ok(pending)
        })
        .await
    }

    /// Does the same in every shard that this node leads and that has the topic, or that channel of it. Waits for a leadership
    /// that is on its way to this node, and for a shard that has not followed the creation yet.
    async fn in_shards_with(
        &self,
        topic: &TopicName,
        channel: Option<&ChannelName>,
        work: impl Fn(&dyn LocalShard, &Broker, &Settled) -> Result<Arc<Pending>, Refusal>,
    ) -> Result<(), ClusterError> {
        self.must_exist(topic, channel)?;
        let settled = Settled::default();
        let deadline = Instant::now() + FOLLOWING;
        let pendings = loop {
            let pendings = self.submit_in_shards(topic, channel, &settled, &work)?;
            if !pendings.is_empty() {
                break pendings;
            }
            if !self.is_about_to_have(topic, channel) || Instant::now() >= deadline {
                return Err(ClusterError::NotLeading);
            }
            tokio::time::sleep(LOOK).await;
        };
        for pending in pendings {
            let outcome = settled.outcome(&pending).await;
            outcome.map_err(ClusterError::Unavailable)?;
        }
        Ok(())
    }

    fn submit_in_shards(
        &self,
        topic: &TopicName,
        channel: Option<&ChannelName>,
        settled: &Settled,
        work: &impl Fn(&dyn LocalShard, &Broker, &Settled) -> Result<Arc<Pending>, Refusal>,
    ) -> Result<Vec<Arc<Pending>>, ClusterError> {
        let mut pendings = Vec::new();
        for held in self.node.shards() {
            let Some(broker) = held.shard.broker() else {
                continue;
            };
            let has_it = broker.topic(topic.as_str()).is_some_and(|topic| {
                channel.is_none_or(|channel| topic.channel(channel.as_str()).is_some())
            });
            if !has_it {
                continue;
            }
            match work(&*held.shard, &broker, settled) {
                Ok(pending) => pendings.push(pending),
                // It has lost the leadership, or the topic, a moment ago.
                Err(Refusal::NotLeading | Refusal::NoTopic) => {}
                Err(Refusal::Exiting) => return Err(ClusterError::Exiting),
                Err(Refusal::Full(why) | Refusal::TooLarge(why)) => {
                    return Err(ClusterError::Unavailable(why));
                }
            }
        }
        Ok(pendings)
    }

    /// Whether a shard that this node leads, or is about to lead, will have the topic or channel soon. A group without a leader
    /// elects one, which may be this node.
    fn is_about_to_have(&self, topic: &TopicName, channel: Option<&ChannelName>) -> bool {
        let channels: Vec<_> = channel.into_iter().cloned().collect();
        let Some(index) = self.listed_since(topic, &channels) else {
            return false;
        };
        self.node.shards().iter().any(|held| {
            if held.shard.broker().is_some() {
                return held.shard.registry_index() < index;
            }
            let standing = held.group.standing();
            let standing = standing.borrow();
            standing.role == Role::Leader || standing.leader.is_none()
        })
    }

    fn must_exist(
        &self,
        topic: &TopicName,
        channel: Option<&ChannelName>,
    ) -> Result<(), ClusterError> {
        let directory = self.node.directory();
        let directory = directory.borrow();
        let entry = directory.topics.topic(topic).ok_or(ClusterError::NoTopic)?;
        match channel {
            Some(channel) if !entry.channels.contains_key(channel) => Err(ClusterError::NoChannel),
            _ => Ok(()),
        }
    }
}

/// The directory index of a change that was made.
fn done(outcome: Outcome) -> Result<u64, ClusterError> {
    match outcome {
        Outcome::Done(index) => Ok(index),
        Outcome::Refused(Refused::NoSuchTopic(_)) => Err(ClusterError::NoTopic),
        Outcome::Refused(Refused::NoSuchChannel(..)) => Err(ClusterError::NoChannel),
        Outcome::Refused(refused) => Err(ClusterError::Unavailable(refused.to_string())),
        Outcome::Member(_) | Outcome::Shard(_) => {
            let why = "the directory's outcome is of another change".to_owned();
            Err(ClusterError::Unavailable(why))
        }
    }
}

/// Completes once this node's copy of the directory, and the shards that it leads, have followed the change, or after some
/// time: what is missing then comes later, and publishes wait for it.
async fn followed(node: &dyn ThisNode, index: u64) {
    let following = async {
        let mut directory = node.directory();
        if directory
            .wait_for(|directory| directory.index >= index)
            .await
            .is_err()
        {
            return;
        }
        let is_behind = |held: &super::this_node::HeldShard| {
            held.shard.broker().is_some() && held.shard.registry_index() < index
        };
        while node.shards().iter().any(is_behind) {
            tokio::time::sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(FOLLOWING, following).await.is_err() {
        tracing::warn!(
            "cluster: shards that this node leads have not followed change {index} of the directory within {FOLLOWING:?}"
        );
    }
}
