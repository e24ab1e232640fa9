//! What nodes say to each other about membership. Each is the body of a [`Request::Call`](crate::codec::Request::Call) to
//! [`GroupId::DIRECTORY`](crate::GroupId::DIRECTORY), or of its answer.

use std::collections::BTreeSet;

use crate::directory::MemberInfo;
use crate::identity::Founders;
use crate::{ClusterId, NodeId};

/// A call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Who are you? Answered by [`CallAnswer::Hello`], by every node at any time.
    Hello(Introduction),
    /// From the founder of a cluster to the other founders. Answered by [`CallAnswer::Stored`].
    Found(Found),
    /// From a node that is to become a member. The directory's leader answers with [`CallAnswer::Joined`], others with
    /// [`CallAnswer::NotLeader`].
    Join(Join),
}

/// An answer to a call.
#[expect(clippy::large_enum_variant, reason = "a handful exist at a time")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallAnswer {
    /// To [`Call::Hello`].
    Hello(Introduction),
    /// To [`Call::Found`]: the node has stored it.
    Stored,
    /// To [`Call::Join`].
    Joined {
        /// The cluster.
        cluster: ClusterId,
        /// The number of the node that joined.
        node: NodeId,
    },
    /// The node does not lead the directory.
    NotLeader {
        /// The address of the leader, if it knows one.
        leader: Option<String>,
    },
    /// Not now; a later try may succeed.
    Later(String),
    /// No. Trying again does not help before something is changed.
    Refused(String),
}

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// A random number of the process: by it a node recognises itself, and two nodes with one address.
    pub process: u128,
    /// What the node says of itself.
    pub info: MemberInfo,
    /// Its `--cluster-peer` flags.
    pub peers: BTreeSet<String>,
    /// Its membership, unless it is still to be founded or to join.
    pub member: Option<Membered>,
}

impl Introduction {
    /// The address by which others reach the node.
    pub fn address(&self) -> &str {
        &self.info.address
    }
}

/// A node's membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membered {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its number.
    pub node: NodeId,
    /// The founders, as long as the node does not know that the directory lists the members.
    pub founders: Option<Founders>,
    /// Whether its log of the directory has entries.
    pub has_entries: bool,
    /// Whether its disk holds all that it has acknowledged.
    pub is_trusted: bool,
    /// The address of the directory's leader, if it hears one.
    pub leader: Option<String>,
    /// The groups that it leads.
    pub leads: BTreeSet<u64>,
}

impl Membered {
    /// Whether the cluster exists, and is not only being founded as far as this node knows.
    pub fn is_running(&self) -> bool {
        self.has_entries || self.founders.is_none()
    }
}

/// The first members of a cluster, for each of them to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The founder's process. It has said hello before: a message of an earlier process has no effect.
    pub process: u128,
    /// The founder's address.
    pub founder: String,
    /// The cluster.
    pub cluster: ClusterId,
    /// The members.
    pub founders: Founders,
}

/// A request to become a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// The joining process. The same process gets the same number however often it asks.
    pub process: u128,
    /// The node.
    pub info: MemberInfo,
    /// The cluster it was a member of and the number it had, if it no longer trusts its disk.
    pub was: Option<(ClusterId, NodeId)>,
}
