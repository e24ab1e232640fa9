//! The directory as bytes.
//!
//! The format begins with a version. Names are checked when they are read, so that the rest of the crate can
//! rely on them.

use std::collections::{BTreeMap, BTreeSet};

use nsq_protocol::{ChannelName, TopicName};

use super::tombstones::Tombstones;
use super::{
    Directory, ListedMember, MAX_ADDRESS_BYTES, MAX_ZONE_BYTES, MemberInfo, ShardInfo, TopicEntry,
    Topics,
};
use crate::codec::{DecodeError, Decoder, Wire, put_bytes, put_count, put_optional};
use crate::identity::Founders;
use crate::{ClusterId, NodeId};

impl Wire for ClusterId {
    fn encode(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.0.to_le_bytes());
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        wide(from, "a cluster id").map(Self)
    }
}

/// A number of 16 bytes.
pub(crate) fn wide(from: &mut Decoder, what: &'static str) -> Result<u128, DecodeError> {
    let low = from.u64(what)?;
    let high = from.u64(what)?;
    Ok(u128::from(high) << 64 | u128::from(low))
}

impl Wire for NodeId {
    fn encode(&self, to: &mut Vec<u8>) {
        put_number(to, self.0);
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        from.u64("a node's number").map(Self)
    }
}

impl Wire for MemberInfo {
    fn encode(&self, to: &mut Vec<u8>) {
        to.push(MEMBER_VERSION);
        put_bytes(to, self.address.as_bytes());
        put_bytes(to, self.broadcast_address.as_bytes());
        to.extend_from_slice(&self.tcp_port.to_le_bytes());
        to.extend_from_slice(&self.http_port.to_le_bytes());
        put_bytes(to, self.version.as_bytes());
        to.extend_from_slice(&self.entry_format.to_le_bytes());
        to.extend_from_slice(&self.joined.to_le_bytes());
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        from.version(MEMBER_VERSION, "the version of a member's description")?;
        Ok(Self {
            address: from.text(MAX_ADDRESS_BYTES, "a member's address")?,
            broadcast_address: from.text(MAX_ADDRESS_BYTES, "a broadcast address")?,
            tcp_port: port(from)?,
            http_port: port(from)?,
            version: from.text(MAX_ADDRESS_BYTES, "a version of nsqd")?,
            entry_format: from.u32("a format of entries")?,
            joined: i64::from_le_bytes(from.u64("a time")?.to_le_bytes()),
        })
    }
}

fn port(from: &mut Decoder) -> Result<u16, DecodeError> {
    let low = from.u8("a port")?;
    let high = from.u8("a port")?;
    Ok(u16::from_le_bytes([low, high]))
}

pub(crate) fn put_founders(to: &mut Vec<u8>, founders: &Founders) {
    put_count(to, founders.len());
    for (node, info) in founders {
        node.encode(to);
        info.encode(to);
    }
}

pub(crate) fn founders(from: &mut Decoder) -> Result<Founders, DecodeError> {
    let mut founders = Founders::new();
    for _ in 0..from.count(8 + LEAST_MEMBER_BYTES, "the first members")? {
        let node = NodeId::decode(from)?;
        founders.insert(node, MemberInfo::decode(from)?);
    }
    Ok(founders)
}

impl Wire for Directory {
    fn encode(&self, to: &mut Vec<u8>) {
        // Nodes that do not know zones read what has none.
        let has_zones = self.has_zones();
        to.push(if has_zones {
            DIRECTORY_VERSION
        } else {
            WITHOUT_ZONES
        });
        self.cluster.encode(to);
        put_number(to, self.index);
        put_number(to, self.next_node);
        put_number(to, self.next_shard);
        put_count(to, self.members.len());
        for (node, member) in &self.members {
            node.encode(to);
            member.info.encode(to);
            to.extend_from_slice(&member.token.to_le_bytes());
            if has_zones {
                put_bytes(to, member.zone.as_bytes());
            }
        }
        put_count(to, self.shards.len());
        for (number, shard) in &self.shards {
            put_number(to, *number);
            shard.encode(to);
        }
        put_topics(to, &self.topics);
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let version = match from.u8("the version of a directory")? {
            version @ (WITHOUT_ZONES | DIRECTORY_VERSION) => version,
            found => return Err(unknown("the version of a directory", found)),
        };
        let mut directory = Self {
            cluster: ClusterId::decode(from)?,
            index: from.u64("a directory index")?,
            next_node: from.u64("the next node's number")?,
            next_shard: from.u64("the next shard's number")?,
            ..Self::default()
        };
        for _ in 0..from.count(8 + LEAST_MEMBER_BYTES + 16, "the members")? {
            let node = NodeId::decode(from)?;
            let member = ListedMember {
                info: MemberInfo::decode(from)?,
                token: wide(from, "a member's token")?,
                zone: if version == WITHOUT_ZONES {
                    String::new()
                } else {
                    from.text(MAX_ZONE_BYTES, "a zone")?
                },
            };
            directory.members.insert(node, member);
        }
        for _ in 0..from.count(8 + LEAST_SHARD_BYTES, "the shards")? {
            let number = from.u64("a shard's number")?;
            directory.shards.insert(number, ShardInfo::decode(from)?);
        }
        directory.topics = topics(from)?;
        Ok(directory)
    }
}

impl Wire for ShardInfo {
    fn encode(&self, to: &mut Vec<u8>) {
        put_optional(to, self.owner.as_ref());
        put_all(to, &self.replicas);
        put_all(to, &self.voters);
        put_number(to, self.created_at);
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            owner: from.optional("a shard's owner")?,
            replicas: all(from, 8, "a shard's replicas")?,
            voters: nodes(from, "a shard's voters")?,
            created_at: from.u64("a directory index")?,
        })
    }
}

fn put_topics(to: &mut Vec<u8>, topics: &Topics) {
    put_count(to, topics.len());
    for (name, topic) in topics.iter() {
        name.encode(to);
        put_number(to, topic.created_at);
        put_count(to, topic.channels.len());
        for (channel, created_at) in &topic.channels {
            channel.encode(to);
            put_number(to, *created_at);
        }
    }
    let tombstones = topics.tombstones();
    put_number(to, tombstones.forgotten());
    put_count(to, tombstones.len());
    for ((topic, channel), deleted_at) in tombstones.iter() {
        topic.encode(to);
        put_optional(to, channel.as_ref());
        put_number(to, deleted_at);
    }
}

fn topics(from: &mut Decoder) -> Result<Topics, DecodeError> {
    let mut topics = Topics::default();
    for _ in 0..from.count(4 + 8 + 4, "the topics")? {
        let name = TopicName::decode(from)?;
        let created_at = from.u64("a directory index")?;
        let mut channels = BTreeMap::new();
        for _ in 0..from.count(4 + 8, "a topic's channels")? {
            let channel = ChannelName::decode(from)?;
            channels.insert(channel, from.u64("a directory index")?);
        }
        let entry = TopicEntry {
            created_at,
            channels,
        };
        if !topics.restore(name, entry) {
            return Err(DecodeError::Invalid {
                what: "the list of topics",
            });
        }
    }
    let mut tombstones = Tombstones::restore(from.u64("a directory index")?);
    for _ in 0..from.count(4 + 1 + 8, "the tombstones")? {
        let key = (
            TopicName::decode(from)?,
            from.optional("a tombstone's channel")?,
        );
        tombstones.insert(key, from.u64("a directory index")?);
    }
    topics.restore_tombstones(tombstones);
    Ok(topics)
}

impl Wire for TopicName {
    fn encode(&self, to: &mut Vec<u8>) {
        put_bytes(to, self.as_str().as_bytes());
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let what = "a topic's name";
        let text = from.text(MAX_NAME_BYTES, what)?;
        Self::parse(&text).map_err(|_| DecodeError::Invalid { what })
    }
}

impl Wire for ChannelName {
    fn encode(&self, to: &mut Vec<u8>) {
        put_bytes(to, self.as_str().as_bytes());
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let what = "a channel's name";
        let text = from.text(MAX_NAME_BYTES, what)?;
        Self::parse(&text).map_err(|_| DecodeError::Invalid { what })
    }
}

pub(crate) fn put_number(to: &mut Vec<u8>, number: u64) {
    to.extend_from_slice(&number.to_le_bytes());
}

pub(crate) fn put_all<'a, T: Wire + 'a>(
    to: &mut Vec<u8>,
    all: impl IntoIterator<Item = &'a T, IntoIter: ExactSizeIterator>,
) {
    let all = all.into_iter();
    put_count(to, all.len());
    for one in all {
        one.encode(to);
    }
}

/// A count and as many values of at least `least` bytes each.
pub(crate) fn all<T: Wire>(
    from: &mut Decoder,
    least: usize,
    what: &'static str,
) -> Result<Vec<T>, DecodeError> {
    let count = from.count(least, what)?;
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(T::decode(from)?);
    }
    Ok(all)
}

pub(crate) fn nodes(
    from: &mut Decoder,
    what: &'static str,
) -> Result<BTreeSet<NodeId>, DecodeError> {
    Ok(all(from, 8, what)?.into_iter().collect())
}

pub(crate) fn unknown(what: &'static str, found: u8) -> DecodeError {
    DecodeError::Unknown {
        what,
        found: u64::from(found),
    }
}

const DIRECTORY_VERSION: u8 = 2;
const WITHOUT_ZONES: u8 = 1;
const MEMBER_VERSION: u8 = 1;
const MAX_NAME_BYTES: usize = 64;
/// The version, three empty texts, two ports, a format and a time.
const LEAST_MEMBER_BYTES: usize = 1 + 3 * 4 + 2 * 2 + 4 + 8;
/// No owner, no replicas, no voters, and the index.
const LEAST_SHARD_BYTES: usize = 1 + 4 + 4 + 8;
