//! Nodes and how they are numbered.

use std::fmt;

/// The number of a node in its cluster.
///
/// The directory assigns it when a node joins and never assigns it again: a node that lost its disk, or that can no longer
/// vouch for what its disk holds, comes back under another number. 0 is never assigned; it stands for "none yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<u64> for NodeId {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

/// What the members of a Raft group know of one another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Member {
    /// Where the node's cluster port is reached, as `host:port`.
    pub address: String,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// The number of a Raft group: one for the directory, one for each shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u64);

impl GroupId {
    /// The directory: the one group that every cluster has from its first moment.
    pub const DIRECTORY: Self = Self(0);
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::DIRECTORY => f.write_str("directory"),
            Self(shard) => write!(f, "shard {shard}"),
        }
    }
}
