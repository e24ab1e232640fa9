//! Calls between nodes as bytes, each after a version.

use std::collections::BTreeSet;

use super::{Call, CallAnswer, Found, Introduction, Join, Membered};
use crate::codec::{DecodeError, Decoder, Wire, put_bytes, put_count, put_optional};
use crate::directory::codec::{founders, put_founders, put_number, unknown, wide};
use crate::directory::{MAX_ADDRESS_BYTES, MemberInfo};
use crate::{ClusterId, NodeId};

impl Wire for Call {
    fn encode(&self, to: &mut Vec<u8>) {
        to.push(VERSION);
        match self {
            Self::Hello(introduction) => {
                to.push(HELLO);
                introduction.encode(to);
            }
            Self::Found(found) => {
                to.push(FOUND);
                put_wide(to, found.process);
                put_bytes(to, found.founder.as_bytes());
                found.cluster.encode(to);
                put_founders(to, &found.founders);
            }
            Self::Join(join) => {
                to.push(JOIN);
                put_wide(to, join.process);
                join.info.encode(to);
                to.push(u8::from(join.was.is_some()));
                if let Some((cluster, node)) = &join.was {
                    cluster.encode(to);
                    node.encode(to);
                }
            }
        }
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        from.version(VERSION, "the version of a call")?;
        Ok(match from.u8("a call's kind")? {
            HELLO => Self::Hello(Introduction::decode(from)?),
            FOUND => Self::Found(Found {
                process: wide(from, "a process")?,
                founder: address(from)?,
                cluster: ClusterId::decode(from)?,
                founders: founders(from)?,
            }),
            JOIN => Self::Join(Join {
                process: wide(from, "a process")?,
                info: MemberInfo::decode(from)?,
                was: if from.flag("whether the node was a member")? {
                    Some((ClusterId::decode(from)?, NodeId::decode(from)?))
                } else {
                    None
                },
            }),
            found => return Err(unknown("a call's kind", found)),
        })
    }
}

impl Wire for CallAnswer {
    fn encode(&self, to: &mut Vec<u8>) {
        to.push(VERSION);
        match self {
            Self::Hello(introduction) => {
                to.push(HELLO);
                introduction.encode(to);
            }
            Self::Stored => to.push(STORED),
            Self::Joined { cluster, node } => {
                to.push(JOINED);
                cluster.encode(to);
                node.encode(to);
            }
            Self::NotLeader { leader } => {
                to.push(NOT_LEADER);
                put_address(to, leader.as_deref());
            }
            Self::Later(why) => {
                to.push(LATER);
                put_text(to, why);
            }
            Self::Refused(why) => {
                to.push(REFUSED);
                put_text(to, why);
            }
        }
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        from.version(VERSION, "the version of an answer")?;
        Ok(match from.u8("an answer's kind")? {
            HELLO => Self::Hello(Introduction::decode(from)?),
            STORED => Self::Stored,
            JOINED => Self::Joined {
                cluster: ClusterId::decode(from)?,
                node: NodeId::decode(from)?,
            },
            NOT_LEADER => Self::NotLeader {
                leader: optional_address(from)?,
            },
            LATER => Self::Later(from.text(MAX_TEXT_BYTES, "a reason")?),
            REFUSED => Self::Refused(from.text(MAX_TEXT_BYTES, "a reason")?),
            found => return Err(unknown("an answer's kind", found)),
        })
    }
}

impl Wire for Introduction {
    fn encode(&self, to: &mut Vec<u8>) {
        put_wide(to, self.process);
        self.info.encode(to);
        put_count(to, self.peers.len());
        for peer in &self.peers {
            put_bytes(to, peer.as_bytes());
        }
        put_optional(to, self.member.as_ref());
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let process = wide(from, "a process")?;
        let info = MemberInfo::decode(from)?;
        let mut peers = BTreeSet::new();
        for _ in 0..from.count(4, "a node's peers")? {
            peers.insert(address(from)?);
        }
        Ok(Self {
            process,
            info,
            peers,
            member: from.optional("a node's membership")?,
        })
    }
}

impl Wire for Membered {
    fn encode(&self, to: &mut Vec<u8>) {
        self.cluster.encode(to);
        self.node.encode(to);
        to.push(u8::from(self.founders.is_some()));
        if let Some(founders) = &self.founders {
            put_founders(to, founders);
        }
        to.push(u8::from(self.has_entries));
        to.push(u8::from(self.is_trusted));
        put_address(to, self.leader.as_deref());
        put_count(to, self.leads.len());
        for group in &self.leads {
            put_number(to, *group);
        }
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let cluster = ClusterId::decode(from)?;
        let node = NodeId::decode(from)?;
        let founders = if from.flag("whether the cluster is being founded")? {
            Some(founders(from)?)
        } else {
            None
        };
        let has_entries = from.flag("whether the directory has entries")?;
        let is_trusted = from.flag("whether the node trusts its disk")?;
        let leader = optional_address(from)?;
        let mut leads = BTreeSet::new();
        for _ in 0..from.count(8, "the groups that a node leads")? {
            leads.insert(from.u64("a group")?);
        }
        Ok(Self {
            cluster,
            node,
            founders,
            has_entries,
            is_trusted,
            leader,
            leads,
        })
    }
}

fn put_wide(to: &mut Vec<u8>, number: u128) {
    to.extend_from_slice(&number.to_le_bytes());
}

fn put_address(to: &mut Vec<u8>, address: Option<&str>) {
    to.push(u8::from(address.is_some()));
    if let Some(address) = address {
        put_bytes(to, address.as_bytes());
    }
}

fn optional_address(from: &mut Decoder) -> Result<Option<String>, DecodeError> {
    if from.flag("whether there is an address")? {
        address(from).map(Some)
    } else {
        Ok(None)
    }
}

fn address(from: &mut Decoder) -> Result<String, DecodeError> {
    from.text(MAX_ADDRESS_BYTES, "an address")
}

/// Long texts are cut: they are for people.
fn put_text(to: &mut Vec<u8>, text: &str) {
    let end = text.floor_char_boundary(MAX_TEXT_BYTES);
    put_bytes(to, &text.as_bytes()[..end]);
}

const VERSION: u8 = 1;
const MAX_TEXT_BYTES: usize = 4096;
const HELLO: u8 = 0;
const FOUND: u8 = 1;
const JOIN: u8 = 2;
const STORED: u8 = 3;
const JOINED: u8 = 4;
const NOT_LEADER: u8 = 5;
const LATER: u8 = 6;
const REFUSED: u8 = 7;
