//! What a registry answers: copies, so that no one holds its lock while using them.

use std::sync::Arc;
use std::time::Instant;

use nsq_protocol::{ChannelName, TopicName};

use crate::Node;

/// What [`Registry::register`](super::Registry::register) had to add.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Added {
    /// The node was not on the topic before.
    pub topic: bool,
    /// The node was not on the channel before.
    pub channel: bool,
}

/// A topic, and channels of it, that a node is no longer on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// The topic.
    pub topic: TopicName,
    /// Whether the node was on the topic itself.
    pub was_on_topic: bool,
    /// The channels it was on.
    pub channels: Vec<ChannelName>,
}

/// The answer to "where is this topic?".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// All its channels, with nodes or without, by name.
    pub channels: Vec<ChannelName>,
    /// The nodes that are active and not tombstoned for the topic.
    pub producers: Vec<Arc<Node>>,
}

/// A node with what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReport {
    /// The node.
    pub node: Arc<Node>,
    /// Its topics, each with whether the node is tombstoned there. In no order.
    pub topics: Vec<(TopicName, bool)>,
}

/// One registration with everything known about those on it.
#[derive(Debug, Clone)]
pub struct Dump {
    /// The topic, or `None` for the registration of all nodes.
    pub topic: Option<TopicName>,
    /// The channel, or `None` for the topic itself.
    pub channel: Option<ChannelName>,
    /// Who is on it.
    pub entries: Vec<DumpEntry>,
}

/// A node on a registration.
#[derive(Debug, Clone)]
pub struct DumpEntry {
    /// The node.
    pub node: Arc<Node>,
    /// When it last identified itself or pinged.
    pub last_update: Instant,
    /// When it was tombstoned there, even if that is long over.
    pub tombstoned_at: Option<Instant>,
}

/// How much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Registered topics.
    pub topics: usize,
    /// Their channels, and those that outlived their topic.
    pub channels: usize,
    /// Topics at nodes: one for each topic and each node that has it.
    pub producers: usize,
    /// Of these, the ones that a tombstone hides now.
    pub tombstoned_producers: usize,
}
