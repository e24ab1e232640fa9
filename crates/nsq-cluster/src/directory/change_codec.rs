//! Changes as bytes, each after a version.

use nsq_protocol::{ChannelName, TopicName};

use super::codec::{all, founders, nodes, put_all, put_founders, put_number, unknown, wide};
use super::{Change, MAX_ZONE_BYTES, MemberInfo};
use crate::codec::{DecodeError, Decoder, Wire, put_bytes, put_optional};
use crate::{ClusterId, NodeId};

impl Wire for Change {
    fn encode(&self, to: &mut Vec<u8>) {
        to.push(VERSION);
        match self {
            Self::Found { cluster, members } => {
                to.push(FOUND);
                cluster.encode(to);
                put_founders(to, members);
            }
            Self::AddMember {
                info,
                token,
                replaces,
            } => {
                to.push(ADD_MEMBER);
                info.encode(to);
                to.extend_from_slice(&token.to_le_bytes());
                put_optional(to, replaces.as_ref());
            }
            Self::UpdateMember { node, info } => {
                to.push(UPDATE_MEMBER);
                node.encode(to);
                info.encode(to);
            }
            Self::SetZone { node, zone } => {
                to.push(SET_ZONE);
                node.encode(to);
                put_bytes(to, zone.as_bytes());
            }
            Self::RemoveMember(node) => {
                to.push(REMOVE_MEMBER);
                node.encode(to);
            }
            Self::CreateShard { owner } => {
                to.push(CREATE_SHARD);
                owner.encode(to);
            }
            Self::PlaceShard { shard, replicas } => {
                to.push(PLACE_SHARD);
                put_number(to, *shard);
                put_all(to, replicas);
            }
            Self::RecordVoters { shard, voters } => {
                to.push(RECORD_VOTERS);
                put_number(to, *shard);
                put_all(to, voters);
            }
            Self::SetOwner { shard, owner } => {
                to.push(SET_OWNER);
                put_number(to, *shard);
                put_optional(to, owner.as_ref());
            }
            Self::RetireShard(shard) => {
                to.push(RETIRE_SHARD);
                put_number(to, *shard);
            }
            Self::CreateTopic { topic, channels } => {
                to.push(CREATE_TOPIC);
                topic.encode(to);
                put_all(to, channels);
            }
            Self::DeleteTopic(topic) => {
                to.push(DELETE_TOPIC);
                topic.encode(to);
            }
            Self::CreateChannel(topic, channel) => {
                to.push(CREATE_CHANNEL);
                topic.encode(to);
                channel.encode(to);
            }
            Self::DeleteChannel(topic, channel) => {
                to.push(DELETE_CHANNEL);
                topic.encode(to);
                channel.encode(to);
            }
        }
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        from.version(VERSION, "the version of a change")?;
        Ok(match from.u8("a change's kind")? {
            FOUND => Self::Found {
                cluster: ClusterId::decode(from)?,
                members: founders(from)?,
            },
            ADD_MEMBER => Self::AddMember {
                info: MemberInfo::decode(from)?,
                token: wide(from, "a member's token")?,
                replaces: from.optional("the replaced member")?,
            },
            UPDATE_MEMBER => Self::UpdateMember {
                node: NodeId::decode(from)?,
                info: MemberInfo::decode(from)?,
            },
            SET_ZONE => Self::SetZone {
                node: NodeId::decode(from)?,
                zone: from.text(MAX_ZONE_BYTES, "a zone")?,
            },
            REMOVE_MEMBER => Self::RemoveMember(NodeId::decode(from)?),
            CREATE_SHARD => Self::CreateShard {
                owner: NodeId::decode(from)?,
            },
            PLACE_SHARD => Self::PlaceShard {
                shard: from.u64("a shard's number")?,
                replicas: all(from, 8, "a shard's replicas")?,
            },
            RECORD_VOTERS => Self::RecordVoters {
                shard: from.u64("a shard's number")?,
                voters: nodes(from, "a shard's voters")?,
            },
            SET_OWNER => Self::SetOwner {
                shard: from.u64("a shard's number")?,
                owner: from.optional("a shard's owner")?,
            },
            RETIRE_SHARD => Self::RetireShard(from.u64("a shard's number")?),
            CREATE_TOPIC => Self::CreateTopic {
                topic: TopicName::decode(from)?,
                channels: all(from, 4, "a topic's channels")?,
            },
            DELETE_TOPIC => Self::DeleteTopic(TopicName::decode(from)?),
            CREATE_CHANNEL => {
                Self::CreateChannel(TopicName::decode(from)?, ChannelName::decode(from)?)
            }
            DELETE_CHANNEL => {
                Self::DeleteChannel(TopicName::decode(from)?, ChannelName::decode(from)?)
            }
            found => return Err(unknown("a change's kind", found)),
        })
    }
}

const VERSION: u8 = 1;
const FOUND: u8 = 0;
const ADD_MEMBER: u8 = 1;
const UPDATE_MEMBER: u8 = 2;
const REMOVE_MEMBER: u8 = 3;
const CREATE_SHARD: u8 = 4;
const PLACE_SHARD: u8 = 5;
const RECORD_VOTERS: u8 = 6;
const SET_OWNER: u8 = 7;
const RETIRE_SHARD: u8 = 8;
const CREATE_TOPIC: u8 = 9;
const DELETE_TOPIC: u8 = 10;
const CREATE_CHANNEL: u8 = 11;
const DELETE_CHANNEL: u8 = 12;
const SET_ZONE: u8 = 13;
