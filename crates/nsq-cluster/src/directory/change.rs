//! Changes of the directory, and what becomes of them.

use std::collections::BTreeSet;

use nsq_protocol::{ChannelName, TopicName};

use super::MemberInfo;
use crate::identity::Founders;
use crate::{ClusterId, NodeId};

/// One change. Each replica checks it against the state that it meets, with the same result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Lists the first members of an empty directory. Its leader proposes it.
    Found {
        /// The cluster.
        cluster: ClusterId,
        /// The members.
        members: Founders,
    },
    /// Adds a member under a new number.
    AddMember {
        /// The member.
        info: MemberInfo,
        /// A random number of the joining process. If a member has it already, that member is the outcome.
        token: u128,
        /// The member that this one was until it lost its disk, or the trust in it. The new one takes over its shard and its
        /// places, and the old one is removed. A shard of which the old one was the only voter is given up; its owner gets
        /// another shard, into which it brings the topics that it has in its data path.
        replaces: Option<NodeId>,
    },
    /// A member has another address, port or version than it had.
    UpdateMember {
        /// The member.
        node: NodeId,
        /// What it says now; when it joined stays as it was.
        info: MemberInfo,
    },
    /// A member stands in another zone than it did. Only once all members read [`ZONES_FORMAT`](super::ZONES_FORMAT).
    SetZone {
        /// The member.
        node: NodeId,
        /// Its zone; empty for none.
        zone: String,
    },
    /// Removes a member for good. Its shard has no owner from then on; a shard of which it was the only voter is given up.
    RemoveMember(NodeId),
    /// Creates a shard, which is placed on its owner alone at first.
    CreateShard {
        /// The owner, which has no shard yet.
        owner: NodeId,
    },
    /// Says where a shard's replicas are to be.
    PlaceShard {
        /// The shard.
        shard: u64,
        /// The nodes.
        replicas: Vec<NodeId>,
    },
    /// Notes who may be a voter of a shard's group. See [`ShardInfo::voters`](super::ShardInfo::voters).
    RecordVoters {
        /// The shard.
        shard: u64,
        /// The nodes; for a shard without voters, only the one that creates the group.
        voters: BTreeSet<NodeId>,
    },
    /// Gives a shard another owner, or none.
    SetOwner {
        /// The shard.
        shard: u64,
        /// A member without a shard.
        owner: Option<NodeId>,
    },
    /// Gives up a shard that has no owner and no messages.
    RetireShard(u64),
    /// Creates a durable topic and channels of it. What exists already stays as it is.
    CreateTopic {
        /// The topic.
        topic: TopicName,
        /// The channels.
        channels: Vec<ChannelName>,
    },
    /// Deletes a topic with its channels.
    DeleteTopic(TopicName),
    /// Creates a channel of an existing topic.
    CreateChannel(TopicName, ChannelName),
    /// Deletes a channel.
    DeleteChannel(TopicName, ChannelName),
}

impl Change {
    /// Whether it concerns topics and channels, and neither members nor shards.
    pub fn is_about_topics(&self) -> bool {
        match self {
            Self::CreateTopic { .. }
            | Self::DeleteTopic(_)
            | Self::CreateChannel(..)
            | Self::DeleteChannel(..) => true,
            Self::Found { .. }
            | Self::AddMember { .. }
            | Self::UpdateMember { .. }
            | Self::SetZone { .. }
            | Self::RemoveMember(_)
            | Self::CreateShard { .. }
            | Self::PlaceShard { .. }
            | Self::RecordVoters { .. }
            | Self::SetOwner { .. }
            | Self::RetireShard(_) => false,
        }
    }
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The directory is as the change wants it since this directory index.
    Done(u64),
    /// The member has this number.
    Member(NodeId),
    /// The shard has this number.
    Shard(u64),
    /// Nothing was changed.
    Refused(Refused),
}

/// Why a change was refused. It had no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The directory is not empty.
    #[error("the cluster exists already")]
    AlreadyFounded,
    /// The directory is still empty.
    #[error("the cluster does not exist yet")]
    NotFounded,
    /// There is no such member.
    #[error("the cluster has no node {0}")]
    NoSuchMember(NodeId),
    /// Another member has the address.
    #[error("node {node} of the cluster has the address {address} already")]
    AddressTaken {
        /// The member.
        node: NodeId,
        /// Its address.
        address: String,
    },
    /// What the member says of itself is not acceptable.
    #[error(transparent)]
    InvalidMember(#[from] InvalidMember),
    /// A cluster has at least one member.
    #[error("node {0} is the only one")]
    LastMember(NodeId),
    /// There is no such shard.
    #[error("the cluster has no shard {0}")]
    NoSuchShard(u64),
    /// A node owns one shard.
    #[error("node {owner} has shard {shard} already")]
    HasShard {
        /// The node.
        owner: NodeId,
        /// Its shard.
        shard: u64,
    },
    /// A shard in use is not given up.
    #[error("shard {shard} belongs to node {owner}")]
    HasOwner {
        /// The shard.
        shard: u64,
        /// Its owner.
        owner: NodeId,
    },
    /// The list of replicas is empty, too long, or names a node twice.
    #[error("the replicas of a shard are between 1 and {max} different nodes", max = super::MAX_REPLICAS)]
    InvalidReplicas,
    /// The voters are not as the change demands.
    #[error("these voters of shard {0} cannot be recorded")]
    InvalidVoters(u64),
    /// There is no such topic.
    #[error("the topic {0} does not exist")]
    NoSuchTopic(TopicName),
    /// There is no such channel.
    #[error("the channel {1} of the topic {0} does not exist")]
    NoSuchChannel(TopicName, ChannelName),
    /// Ephemeral topics and channels live on one node.
    #[error("{0} is ephemeral: the cluster does not share it")]
    Ephemeral(String),
    /// The directory is full.
    #[error("the cluster has {count} {what} already: no more are possible")]
    Full {
        /// Of what.
        what: String,
        /// The limit.
        count: u64,
    },
    /// The proposal is none that this node understands. An entry that only some of the members could read would make them
    /// differ, so this says that the bytes are damaged or that the proposer did not respect
    /// [`Directory::entry_format`](super::Directory::entry_format).
    #[error("the proposal cannot be read: {0}")]
    Unreadable(String),
}

/// What is wrong with what a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMember {
    /// The address for other nodes.
    #[error("{0:?} is not the address of a cluster port: --cluster-broadcast-address is host:port")]
    Address(String),
    /// The address for clients.
    #[error("{0:?} is not an address: see --broadcast-address")]
    BroadcastAddress(String),
    /// The version.
    #[error("{0:?} is not a version of nsqd")]
    Version(String),
    /// The zone.
    #[error("{0:?} is not a zone: see --topology-region and --topology-zone")]
    Zone(String),
}
