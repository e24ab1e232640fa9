//! What goes into a bootstrap, and what it says.

use std::time::Duration;

use super::call::Call;
#[cfg(doc)]
use super::decision::Bootstrap;
use super::untrusted::UntrustedNode;
use crate::directory::{InvalidMember, MemberInfo};
use crate::identity::{Founders, Identity};
use crate::{ClusterId, NodeId};

/// What a node knows when it starts.
#[derive(Clone, Debug)]
pub struct BootstrapOptions {
    /// What it says of itself.
    pub info: MemberInfo,
    /// The `--cluster-peer` flags.
    pub peers: Vec<String>,
    /// A random number of this process, not 0.
    pub process: u128,
    /// A random number, not 0, for the cluster that this node founds if it does.
    pub new_cluster: ClusterId,
    /// How long an untrusted node waits for members that it needs to hear before it counts them as lost.
    pub patience: Duration,
    /// What it found on its disk.
    pub start: Start,
}

/// What a node found on its disk. A node with a trusted identity needs no bootstrap, unless it [`must_found`].
#[derive(Clone, Debug)]
pub enum Start {
    /// No identity.
    Fresh,
    /// An identity with which it founds a cluster.
    Founding(Identity),
    /// An identity, and files that may lack what it has acknowledged.
    Untrusted(Box<UntrustedNode>),
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Make these calls, all at once and each with a time-out, report each by [`Bootstrap::answered`], and ask again.
    Call(Vec<(String, Call)>),
    /// Store the identity, report it by [`Bootstrap::stored`], and ask again.
    Store(Box<Identity>),
    /// Ask again a little later. The reason is for the log, once for as long as it stays the same.
    Wait(String),
    /// The bootstrap is over.
    Done(Done),
    /// The node cannot become a member: its flags have to be changed.
    Fail(String),
}

/// How a bootstrap ends. The identity is stored in each case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// Start the replica of the directory, and initialise its group with all founders.
    Initialize(Identity),
    /// Start the replica of the directory.
    Start(Identity),
    /// The node has another number than before. Reset every write-ahead log and forget how far each state machine had come,
    /// and then start the replicas.
    Rejoined(Identity),
    /// Start every replica with what there is.
    Trust(Identity),
}

/// Flags with which no bootstrap is possible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapError {
    /// No peer is given.
    #[error("--cluster-peer is not given")]
    NoPeers,
    /// A peer is no address.
    #[error("--cluster-peer={0} is not the address of a cluster port: it must be host:port")]
    Peer(String),
    /// What the node says of itself.
    #[error(transparent)]
    Member(#[from] InvalidMember),
}

/// Whether a node with a trusted identity has to found its cluster yet: it is the founder, and its log of the directory has no
/// entries. Other nodes with a trusted identity start their replicas at once.
pub fn must_found(identity: &Identity, has_entries: bool) -> bool {
    let founders = identity.founders.as_ref();
    let founder = founders.and_then(founder_of);
    !has_entries && founder == Some(identity.node)
}

/// The founder has the smallest address, and so the first number.
pub(super) fn founder_of(founders: &Founders) -> Option<NodeId> {
    founders.first_key_value().map(|(node, _)| *node)
}
