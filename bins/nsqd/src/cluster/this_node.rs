//! What the router, the operations and the reports need of the node that they are part of.

use std::sync::Arc;

use nsq_cluster::directory::Directory;
use nsq_cluster::group::Group;
use nsq_cluster::network::Network;
use nsq_cluster::{GroupId, NodeId};
use tokio::sync::watch;

use super::aside::SetAside;
use super::local_shard::LocalShard;

/// This node, as the part that runs it sees it. No method waits.
pub(crate) trait ThisNode: Send + Sync + 'static {
    /// Its number; `None` until it has one.
    fn node(&self) -> Option<NodeId>;

    /// `host:port` by which the other nodes reach it.
    fn address(&self) -> &str;

    /// Its copy of the directory, and every change of it.
    fn directory(&self) -> watch::Receiver<Arc<Directory>>;

    /// Its replica of the directory's group; `None` until there is one.
    fn directory_group(&self) -> Option<Group>;

    /// Its replicas of shards, by number.
    fn shards(&self) -> Vec<HeldShard>;

    /// Its replica of this shard, if it has one.
    fn shard(&self, number: u64) -> Option<Arc<dyn LocalShard>>;

    /// Damaged replicas that it has set aside.
    fn set_aside(&self) -> Vec<SetAside>;

    /// How it reaches the others.
    fn network(&self) -> Arc<dyn Network>;

    /// From now on this node is to lead nothing, as far as others can; or it may lead again.
    fn set_stepping_down(&self, is_stepping_down: bool);

    /// Whether it is to lead nothing.
    fn is_stepping_down(&self) -> bool;
}

/// A replica of a shard on this node.
#[derive(Clone)]
pub(crate) struct HeldShard {
    /// The shard's number.
    pub(crate) number: u64,
    /// Its Raft group.
    pub(crate) group: Group,
    /// Its data.
    pub(crate) shard: Arc<dyn LocalShard>,
}

impl HeldShard {
    /// The number of its group.
    pub(crate) fn group_id(&self) -> GroupId {
        GroupId(self.number)
    }
}
