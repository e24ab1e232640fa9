//! A replica of a shard on this node, as far as publishes, operators and the directory concern it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use nsq_cluster::directory::ShardTopics;
use nsq_core::command::Command;
use nsq_core::{Broker, Now, Pending};
use nsq_protocol::TopicName;

/// A replica of a shard. What it accepts is proposed to the replicas, and `pending` is settled once it is committed and
/// applied here, or may never be.
pub(crate) trait LocalShard: Send + Sync + fmt::Debug {
    /// Accepts messages, while this node leads the shard. Call it by [`publish_once`].
    fn publish(
        &self,
        topic: &TopicName,
        bodies: &mut dyn ExactSizeIterator<Item = &[u8]>,
        due: Option<i64>,
        now: Now,
        pending: &Arc<Pending>,
    ) -> Result<(), Refusal>;

    /// Accepts a change of topics and channels, while this node leads the shard. Changes are made in the order of the calls.
    fn submit(&self, command: Command<'_>, pending: &Arc<Pending>) -> Result<(), Refusal>;

    /// Notes that the shard has the topics and channels of the directory as of `index`, after all changes submitted before.
    fn submit_followed(&self, index: u64, pending: &Arc<Pending>) -> Result<(), Refusal>;

    /// Has the other replicas know what was finished by now.
    fn flush_progress(&self, pending: &Arc<Pending>) -> Result<(), Refusal>;

    /// Up to which change of the directory the shard has the topics and channels.
    fn registry_index(&self) -> u64;

    /// The topics and channels of the shard: all, or those with one of these names.
    fn topics(&self, names: Option<&BTreeSet<TopicName>>) -> ShardTopics;

    /// What serves the shard's consumers, while this node leads it.
    fn broker(&self) -> Option<Arc<Broker>>;

    /// Why this node could not serve the shard a moment ago, as its leader.
    fn unable(&self) -> Option<String> {
        None
    }

    /// What is wrong with the files of the replica, if they are damaged.
    fn damage(&self) -> Option<String> {
        None
    }
}

/// Publishes to a shard. A refusal has taken nothing from `bodies`, except [`Refusal::TooLarge`].
///
/// # Errors
/// [`Refusal`].
pub(crate) fn publish_once(
    shard: &dyn LocalShard,
    topic: &TopicName,
    bodies: &mut dyn ExactSizeIterator<Item = &[u8]>,
    due: Option<i64>,
    now: Now,
    pending: &Arc<Pending>,
) -> Result<(), Refusal> {
    let count = bodies.len();
    match shard.publish(topic, bodies, due, now, pending) {
        Err(Refusal::Full(why)) if bodies.len() < count => Err(Refusal::TooLarge(why)),
        outcome => outcome,
    }
}

/// Why a shard took nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// This node does not lead it.
    #[error("this node no longer leads the shard")]
    NotLeading,
    /// It does not have the topic, or not yet.
    #[error("the shard does not have the topic")]
    NoTopic,
    /// It has too much to do at the moment.
    #[error("{0}")]
    Full(String),
    /// The messages are too large for it, and always will be. What [`publish`](LocalShard::publish) refuses as
    /// [`Full`](Self::Full) after it has looked at the messages is this.
    #[error("{0}")]
    TooLarge(String),
    /// It stops with nsqd.
    #[error("exiting")]
    Exiting,
}
