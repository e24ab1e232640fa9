//! What nsqd's HTTP endpoints, connections and registration ask of the cluster, when this nsqd is a node of one.
//!
//! Durable topics and channels exist cluster-wide, so they are created and deleted in the cluster's directory. Pausing
//! and emptying concern the shards that this node leads, and every replica of them has to do the same. Ephemeral topics
//! and channels belong to one node and are none of the cluster's business.

use futures_util::future::BoxFuture;
use nsq_daemon::metrics::Exposition;
use nsq_protocol::{ChannelName, TopicName};
use serde::Serialize;

use crate::cluster::report::Report;

/// Why the cluster did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClusterError {
    /// Neither the directory nor its memory of deleted topics has it.
    #[error("there is no such topic")]
    NoTopic,
    /// The topic exists; neither it nor its memory of deleted channels has the channel.
    #[error("there is no such channel")]
    NoChannel,
    /// This node leads no shard that has the topic or channel, so nothing was done.
    #[error("no shard that this node leads has it: ask the other nodes")]
    NotLeading,
    /// No majority of nodes answered in time. The change may or may not have been made.
    #[error("{0}")]
    Unavailable(String),
    /// nsqd is stopping.
    #[error("exiting")]
    Exiting,
}

/// An answer of the cluster that is under way.
pub(crate) type Answer<'a> = BoxFuture<'a, Result<(), ClusterError>>;

/// What a node of a cluster can ask for. The names are of durable topics and channels; callers keep ephemeral ones away.
/// A future that is dropped does not take the request back.
pub(crate) trait ClusterOps: Send + Sync {
    /// Creates a topic cluster-wide, with these channels, or adds the channels to a topic that exists. When the answer
    /// comes, every shard that this node leads has them all.
    fn create_topic<'a>(&'a self, topic: &'a TopicName, channels: &'a [ChannelName]) -> Answer<'a>;

    /// Deletes a topic cluster-wide. A topic that was deleted a moment ago is deleted: that is no error.
    fn delete_topic<'a>(&'a self, topic: &'a TopicName) -> Answer<'a>;

    /// Creates a channel of an existing topic cluster-wide.
    fn create_channel<'a>(&'a self, topic: &'a TopicName, channel: &'a ChannelName) -> Answer<'a>;

    /// Deletes a channel cluster-wide. A channel that was deleted a moment ago is deleted: that is no error.
    fn delete_channel<'a>(&'a self, topic: &'a TopicName, channel: &'a ChannelName) -> Answer<'a>;

    /// Pauses the topic, or ends the pause, in every shard that this node leads.
    fn pause_topic<'a>(&'a self, topic: &'a TopicName, paused: bool) -> Answer<'a>;

    /// Pauses the channel, or ends the pause, in every shard that this node leads.
    fn pause_channel<'a>(
        &'a self,
        topic: &'a TopicName,
        channel: &'a ChannelName,
        paused: bool,
    ) -> Answer<'a>;

    /// Empties the topic in every shard that this node leads.
    fn empty_topic<'a>(&'a self, topic: &'a TopicName) -> Answer<'a>;

    /// Empties the channel in every shard that this node leads.
    fn empty_channel<'a>(&'a self, topic: &'a TopicName, channel: &'a ChannelName) -> Answer<'a>;

    /// Adds the families `nsqd_cluster_*` to `/metrics`.
    fn write_metrics(&self, out: &mut Exposition);

    /// The answer of `/cluster`.
    fn report(&self) -> Report;

    /// Gives up everything that this node leads and takes nothing over, as far as others can lead it, until
    /// [`resume`](Self::resume) or the end of nsqd. Completes once that is so, or after some time.
    fn step_down(&self) -> BoxFuture<'_, Leading>;

    /// Undoes [`step_down`](Self::step_down).
    fn resume(&self) -> Leading;

    /// Removes a member for good. `node` is its number or its address for other nodes.
    fn remove_member<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<Removed, RemoveError>>;
}

/// What a node leads, and whether it is to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Leading {
    pub(crate) is_stepping_down: bool,
    /// The shards that it leads.
    pub(crate) shards: Vec<u64>,
    /// Whether it leads the directory.
    pub(crate) directory: bool,
}

/// A member that was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Removed {
    pub(crate) id: u64,
    pub(crate) address: String,
    /// Whether it was alive: such a node notices that it was removed, and stops.
    pub(crate) was_alive: bool,
}

/// Why a member was not removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RemoveError {
    /// No member has this number or address.
    #[error("the cluster has no member {0}")]
    Unknown(String),
    /// A cluster has at least one member.
    #[error("the last member of a cluster cannot be removed")]
    Last,
    /// The directory has not answered.
    #[error("{0}")]
    Unavailable(String),
}

/// The durable topics and channels that exist in the cluster, as far as this node knows: its copy of the directory. No
/// method waits.
pub(crate) trait Catalogue: Send + Sync {
    /// Every topic with its channels, by name.
    fn topics(&self) -> Vec<(TopicName, Vec<ChannelName>)>;

    /// Whether the topic, or that channel of it, exists.
    fn has(&self, topic: &TopicName, channel: Option<&ChannelName>) -> bool;

    /// How many topics exist.
    fn topic_count(&self) -> usize;

    /// How many channels the topic has; 0 if there is no such topic.
    fn channel_count(&self, topic: &TopicName) -> usize;
}
