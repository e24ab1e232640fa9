//! Places in a Raft log, and votes.

use std::fmt;

use super::{DecodeError, Decoder, Wire};
use crate::NodeId;

/// The place of an entry in a Raft log: two logs that have an entry with the same term and index agree up to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// The term of the leader that appended it.
    pub term: u64,
    /// Its number in the log; the first is 0.
    pub index: u64,
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.term, self.index)
    }
}

impl Wire for LogId {
    fn encode(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.term.to_le_bytes());
        to.extend_from_slice(&self.index.to_le_bytes());
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            term: from.u64("a log id's term")?,
            index: from.u64("a log id's index")?,
        })
    }
}

/// What a replica has promised: it follows this node in this term, and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Vote {
    /// The term.
    pub term: u64,
    /// The node that is to lead in it.
    pub node: NodeId,
    /// Whether a majority has promised the same, so that the node leads.
    pub is_committed: bool,
}

impl Wire for Vote {
    fn encode(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.term.to_le_bytes());
        to.extend_from_slice(&self.node.0.to_le_bytes());
        to.push(u8::from(self.is_committed));
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            term: from.u64("a vote's term")?,
            node: NodeId(from.u64("a vote's node")?),
            is_committed: from.flag("a vote's state")?,
        })
    }
}
