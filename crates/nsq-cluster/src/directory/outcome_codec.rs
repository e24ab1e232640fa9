//! The outcome of a change as bytes, after a version.

use nsq_protocol::{ChannelName, TopicName};

use super::codec::{put_number, unknown};
use super::{InvalidMember, Outcome, Refused};
use crate::NodeId;
use crate::codec::{DecodeError, Decoder, Wire, put_bytes};

impl Wire for Outcome {
    fn encode(&self, to: &mut Vec<u8>) {
        to.push(VERSION);
        match self {
            Self::Done(index) => {
                to.push(DONE);
                put_number(to, *index);
            }
            Self::Member(node) => {
                to.push(MEMBER);
                node.encode(to);
            }
            Self::Shard(shard) => {
                to.push(SHARD);
                put_number(to, *shard);
            }
            Self::Refused(refused) => {
                to.push(REFUSED);
                refused.encode(to);
            }
        }
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        from.version(VERSION, "the version of an outcome")?;
        Ok(match from.u8("an outcome's kind")? {
            DONE => Self::Done(from.u64("a directory index")?),
            MEMBER => Self::Member(NodeId::decode(from)?),
            SHARD => Self::Shard(from.u64("a shard's number")?),
            REFUSED => Self::Refused(Refused::decode(from)?),
            found => return Err(unknown("an outcome's kind", found)),
        })
    }
}

impl Wire for Refused {
    fn encode(&self, to: &mut Vec<u8>) {
        match self {
            Self::AlreadyFounded => to.push(ALREADY_FOUNDED),
            Self::NotFounded => to.push(NOT_FOUNDED),
            Self::NoSuchMember(node) => {
                to.push(NO_SUCH_MEMBER);
                node.encode(to);
            }
            Self::AddressTaken { node, address } => {
                to.push(ADDRESS_TAKEN);
                node.encode(to);
                put_text(to, address);
            }
            Self::InvalidMember(why) => {
                to.push(INVALID_MEMBER);
                why.encode(to);
            }
            Self::LastMember(node) => {
                to.push(LAST_MEMBER);
                node.encode(to);
            }
            Self::NoSuchShard(shard) => {
                to.push(NO_SUCH_SHARD);
                put_number(to, *shard);
            }
            Self::HasShard { owner, shard } => {
                to.push(HAS_SHARD);
                owner.encode(to);
                put_number(to, *shard);
            }
            Self::HasOwner { shard, owner } => {
                to.push(HAS_OWNER);
                put_number(to, *shard);
                owner.encode(to);
            }
            Self::InvalidReplicas => to.push(INVALID_REPLICAS),
            Self::InvalidVoters(shard) => {
                to.push(INVALID_VOTERS);
                put_number(to, *shard);
            }
            Self::NoSuchTopic(topic) => {
                to.push(NO_SUCH_TOPIC);
                topic.encode(to);
            }
            Self::NoSuchChannel(topic, channel) => {
                to.push(NO_SUCH_CHANNEL);
                topic.encode(to);
                channel.encode(to);
            }
            Self::Ephemeral(name) => {
                to.push(EPHEMERAL);
                put_text(to, name);
            }
            Self::Full { what, count } => {
                to.push(FULL);
                put_text(to, what);
                put_number(to, *count);
            }
            Self::Unreadable(why) => {
                to.push(UNREADABLE);
                put_text(to, why);
            }
        }
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(match from.u8("the kind of a refusal")? {
            ALREADY_FOUNDED => Self::AlreadyFounded,
            NOT_FOUNDED => Self::NotFounded,
            NO_SUCH_MEMBER => Self::NoSuchMember(NodeId::decode(from)?),
            ADDRESS_TAKEN => Self::AddressTaken {
                node: NodeId::decode(from)?,
                address: text(from)?,
            },
            INVALID_MEMBER => Self::InvalidMember(InvalidMember::decode(from)?),
            LAST_MEMBER => Self::LastMember(NodeId::decode(from)?),
            NO_SUCH_SHARD => Self::NoSuchShard(from.u64("a number")?),
            HAS_SHARD => Self::HasShard {
                owner: NodeId::decode(from)?,
                shard: from.u64("a number")?,
            },
            HAS_OWNER => Self::HasOwner {
                shard: from.u64("a number")?,
                owner: NodeId::decode(from)?,
            },
            INVALID_REPLICAS => Self::InvalidReplicas,
            INVALID_VOTERS => Self::InvalidVoters(from.u64("a number")?),
            NO_SUCH_TOPIC => Self::NoSuchTopic(TopicName::decode(from)?),
            NO_SUCH_CHANNEL => {
                Self::NoSuchChannel(TopicName::decode(from)?, ChannelName::decode(from)?)
            }
            EPHEMERAL => Self::Ephemeral(text(from)?),
            FULL => Self::Full {
                what: text(from)?,
                count: from.u64("a number")?,
            },
            UNREADABLE => Self::Unreadable(text(from)?),
            found => return Err(unknown("the kind of a refusal", found)),
        })
    }
}

impl Wire for InvalidMember {
    fn encode(&self, to: &mut Vec<u8>) {
        let (kind, what) = match self {
            Self::Address(what) => (0, what),
            Self::BroadcastAddress(what) => (1, what),
            Self::Version(what) => (2, what),
            Self::Zone(what) => (3, what),
        };
        to.push(kind);
        put_text(to, what);
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let kind = from.u8("what is wrong with a member")?;
        let what = text(from)?;
        Ok(match kind {
            0 => Self::Address(what),
            1 => Self::BroadcastAddress(what),
            2 => Self::Version(what),
            3 => Self::Zone(what),
            found => return Err(unknown("what is wrong with a member", found)),
        })
    }
}

/// Long texts are cut: they are for people.
fn put_text(to: &mut Vec<u8>, text: &str) {
    let end = text.floor_char_boundary(MAX_TEXT_BYTES);
    put_bytes(to, &text.as_bytes()[..end]);
}

fn text(from: &mut Decoder) -> Result<String, DecodeError> {
    from.text(MAX_TEXT_BYTES, "a reason")
}

const VERSION: u8 = 1;
const MAX_TEXT_BYTES: usize = 4096;
const DONE: u8 = 0;
const MEMBER: u8 = 1;
const SHARD: u8 = 2;
const REFUSED: u8 = 3;
const ALREADY_FOUNDED: u8 = 0;
const NOT_FOUNDED: u8 = 1;
const NO_SUCH_MEMBER: u8 = 2;
const ADDRESS_TAKEN: u8 = 3;
const INVALID_MEMBER: u8 = 4;
const LAST_MEMBER: u8 = 5;
const NO_SUCH_SHARD: u8 = 6;
const HAS_SHARD: u8 = 7;
const HAS_OWNER: u8 = 8;
const INVALID_REPLICAS: u8 = 9;
const INVALID_VOTERS: u8 = 10;
const NO_SUCH_TOPIC: u8 = 11;
const NO_SUCH_CHANNEL: u8 = 12;
const EPHEMERAL: u8 = 13;
const FULL: u8 = 14;
const UNREADABLE: u8 = 15;
