//! Who leads this node's own shard, for the router.

use nsq_cluster::NodeId;
use std::sync::Arc;

use super::Served;
use crate::cluster::node::Node;
use crate::cluster::replica::ShardReplica;
use crate::cluster::route::Target;

/// Says where publishes go, whenever that changes.
pub(super) struct Director {
    is_own: bool,
    last: Option<Aim>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Aim {
    Here { term: u64 },
    There { node: NodeId, address: String },
    Nowhere(&'static str),
}

impl Director {
    pub(super) fn new(replica: &ShardReplica) -> Director {
        Director {
            is_own: replica.is_own,
            last: None,
        }
    }

    /// Publishes wait, since leadership is being handed over.
    pub(super) fn pause(&mut self, node: &Node, replica: &Arc<ShardReplica>) {
        self.aim(
            node,
            replica,
            Aim::Nowhere("its leader is handing over to another node"),
        );
    }

    pub(super) fn update(
        &mut self,
        node: &Node,
        replica: &Arc<ShardReplica>,
        served: Option<&Served>,
    ) {
        if !self.is_own {
            return;
        }
        let aim = match served {
            Some(served) if replica.has_enough_voters() => Aim::Here { term: served.term },
            Some(_) => Aim::Nowhere("this node's shard does not have enough replicas yet"),
            None => {
                let standing = replica.group.standing().borrow().clone();
                let leader = standing.leader.filter(|leader| *leader != node.me());
                let member = leader.and_then(|leader| {
                    let member = standing.members.nodes.get(&leader)?;
                    Some((leader, member.address.clone()))
                });
                match member {
                    Some((node, address)) => Aim::There { node, address },
                    None if standing.members.voters.is_empty() => {
                        Aim::Nowhere("the cluster is forming")
                    }
                    None => Aim::Nowhere("no leader of this node's shard is known"),
                }
            }
        };
        self.aim(node, replica, aim);
    }

    fn aim(&mut self, node: &Node, replica: &Arc<ShardReplica>, aim: Aim) {
        if !self.is_own || self.last.as_ref() == Some(&aim) {
            return;
        }
        self.last = Some(aim.clone());
        node.direct_publishes(match aim {
            Aim::Here { .. } => Target::Local(Arc::clone(replica) as _),
            Aim::There { node, address } => Target::Remote {
                shard: replica.number,
                node,
                member: nsq_cluster::Member { address },
            },
            Aim::Nowhere(why) => Target::Unknown {
                why: why.to_owned(),
            },
        });
    }
}
