//! The directory: the small table that all nodes of a cluster share. Raft group 0, of which every node has a replica.
//!
//! ```text
//! proposal ─▶ [`Change`] ─▶ committed ─▶ [`Directory::apply`] on every replica ─▶ [`Outcome`] for the proposer
//!                                             └▶ watch: `Arc<Directory>` for every reader on the node
//! ```
//! It lists the members, the shards and where their replicas are placed, and the durable topics and channels. Every change
//! that has an effect gets the next *directory index*, so that a shard can note up to which change it has followed
//! ([`registry_steps`]).
//!
//! Numbers are never used twice: neither a node's nor a shard's. So a number below `next_node` that no member has belongs to
//! a node that was removed ([`Directory::is_former`]); the same holds for shards ([`Directory::is_retired`]).

mod apply;
mod apply_names;
mod change;
mod change_codec;
pub(crate) mod codec;
mod machine;
mod outcome_codec;
mod recover;
mod registry;
#[cfg(test)]
mod tests;
mod tombstones;
mod topics;

use std::collections::{BTreeMap, BTreeSet};

use nsq_protocol::{ChannelName, TopicName};
use serde::{Deserialize, Serialize};

pub use self::change::{Change, InvalidMember, Outcome, Refused};
pub use self::machine::DirectoryMachine;
pub use self::recover::{DirectoryLook, Recovery};
pub use self::registry::{ShardTopics, Step, registry_steps, registry_steps_among};
pub use self::tombstones::Tombstones;
pub use self::topics::{TopicEntry, Topics};

use crate::{ClusterId, NodeId};

/// The table as of one change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// The cluster; [`ClusterId::NONE`] until it is founded.
    pub cluster: ClusterId,
    /// How many changes have had an effect: the index of the last one.
    pub index: u64,
    /// The members.
    pub members: BTreeMap<NodeId, ListedMember>,
    /// The shards.
    pub shards: BTreeMap<u64, ShardInfo>,
    /// The durable topics and channels.
    pub topics: Topics,
    /// The number that the next member gets.
    pub next_node: u64,
    /// The number that the next shard gets.
    pub next_shard: u64,
}

/// A member as the directory lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedMember {
    /// What it says of itself.
    pub info: MemberInfo,
    /// The random number of the process that joined: the same join proposed twice gives one member.
    pub token: u128,
    /// Where it stands, as an operator has named it: what has the same zone may fail together. Empty if it was not named.
    pub zone: String,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberInfo {
    /// Where its cluster port is reached, as `host:port`. No two members have the same.
    pub address: String,
    /// Where clients reach it, without a port.
    pub broadcast_address: String,
    /// The port for clients.
    pub tcp_port: u16,
    /// The port for HTTP.
    pub http_port: u16,
    /// Its version of nsqd.
    pub version: String,
    /// The newest format of entries that it reads.
    pub entry_format: u32,
    /// When it joined, in seconds since 1970.
    pub joined: i64,
}

impl MemberInfo {
    /// Checks what every replica relies on.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), InvalidMember> {
        let is_text = |text: &str, max: usize| {
            !text.is_empty() && text.len() <= max && !text.contains(char::is_control)
        };
        let port = self.address.rsplit_once(':').map(|(_, port)| port);
        let has_port = port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
        if !is_text(&self.address, MAX_ADDRESS_BYTES) || !has_port {
            return Err(InvalidMember::Address(shortened(&self.address)));
        }
        if !is_text(&self.broadcast_address, MAX_ADDRESS_BYTES) {
            return Err(InvalidMember::BroadcastAddress(shortened(
                &self.broadcast_address,
            )));
        }
        if !is_text(&self.version, MAX_VERSION_BYTES) {
            return Err(InvalidMember::Version(shortened(&self.version)));
        }
        Ok(())
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(MAX_ADDRESS_BYTES).collect()
}

/// A shard as the directory lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardInfo {
    /// The node whose clients publish to it. None once that node was removed: then the shard is only drained.
    pub owner: Option<NodeId>,
    /// Where its replicas are to be, the owner first if it is among them.
    pub replicas: Vec<NodeId>,
    /// Nodes that may be voters of its Raft group: the group's leader records them here before it makes them voters. Empty as
    /// long as the group does not exist; [`Directory::group_creator`] says who may create it.
    pub voters: BTreeSet<NodeId>,
    /// The directory index of its creation.
    pub created_at: u64,
}

impl ShardInfo {
    /// Whether its Raft group exists, or may exist.
    pub fn is_formed(&self) -> bool {
        !self.voters.is_empty()
    }
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            cluster: ClusterId::NONE,
            index: 0,
            members: BTreeMap::new(),
            shards: BTreeMap::new(),
            topics: Topics::default(),
            next_node: 1,
            next_shard: 1,
        }
    }
}

impl Directory {
    /// Whether the directory lists a cluster's members already.
    pub fn is_founded(&self) -> bool {
        self.cluster != ClusterId::NONE
    }

    /// The member with this address.
    pub fn member_at(&self, address: &str) -> Option<NodeId> {
        let mut members = self.members.iter();
        members
            .find(|(_, member)| member.info.address == address)
            .map(|(node, _)| *node)
    }

    /// Whether the node was a member and is none any more.
    pub fn is_former(&self, node: NodeId) -> bool {
        node.0 != 0 && node.0 < self.next_node && !self.members.contains_key(&node)
    }

    /// Whether the shard existed and was given up: what a node still holds of it can be removed.
    pub fn is_retired(&self, shard: u64) -> bool {
        shard != 0 && shard < self.next_shard && !self.shards.contains_key(&shard)
    }

    /// The shard that the node owns.
    pub fn shard_of(&self, owner: NodeId) -> Option<u64> {
        let mut shards = self.shards.iter();
        shards
            .find(|(_, shard)| shard.owner == Some(owner))
            .map(|(number, _)| *number)
    }

    /// The shards that have a replica on the node.
    pub fn shards_on(&self, node: NodeId) -> BTreeSet<u64> {
        let shards = self.shards.iter();
        shards
            .filter(|(_, shard)| shard.replicas.contains(&node))
            .map(|(number, _)| *number)
            .collect()
    }

    /// The node that creates the Raft group of a shard that has none: its owner, otherwise its first replica. It proposes
    /// [`Change::RecordVoters`] with itself alone, and once that is applied it initialises the group with itself alone,
    /// provided its replica has neither entries nor a vote. The others join as learners.
    pub fn group_creator(&self, shard: u64) -> Option<NodeId> {
        let shard = self.shards.get(&shard)?;
        shard.owner.or_else(|| shard.replicas.first().copied())
    }

    /// The newest format of entries that every member reads.
    pub fn entry_format(&self) -> u32 {
        let formats = self.members.values().map(|member| member.info.entry_format);
        formats.min().unwrap_or(0)
    }

    /// Whether a member has a zone: then only nodes that know zones can be members.
    pub fn has_zones(&self) -> bool {
        let mut members = self.members.values();
        members.any(|member| !member.zone.is_empty())
    }

    /// The directory index at which the topic was deleted, if that is still known.
    pub fn topic_deleted_at(&self, topic: &TopicName) -> Option<u64> {
        self.topics.tombstones().topic(topic)
    }

    /// The directory index at which the channel was deleted, if that is still known and the topic was not deleted since.
    pub fn channel_deleted_at(&self, topic: &TopicName, channel: &ChannelName) -> Option<u64> {
        self.topics.tombstones().channel(topic, channel)
    }
}

/// A host name has at most 253 bytes.
pub(crate) const MAX_ADDRESS_BYTES: usize = 300;
const MAX_VERSION_BYTES: usize = 100;
/// The most bytes of a zone's name.
pub const MAX_ZONE_BYTES: usize = 200;
/// From this [format of entries](Directory::entry_format) on, members may have zones.
pub const ZONES_FORMAT: u32 = 2;
/// More nodes are beyond what one directory is meant for.
pub const MAX_MEMBERS: usize = 1000;
/// Shards of removed nodes may wait to be drained.
pub const MAX_SHARDS: usize = 4000;
/// Each replica of a shard costs its leader a stream of entries.
pub const MAX_REPLICAS: usize = 9;
/// Topics and channels together; each takes about 100 bytes of memory on each node.
pub const MAX_NAMES: usize = 1_000_000;
