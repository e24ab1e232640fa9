//! Having a replica received again that is damaged, or has executed what the others do not have: the node ends, and its next
//! start does not trust what it finds.
//!
//! A node has one number for all of its groups, and a replica that is received again begins under another one. So the node
//! goes as a whole, and only while the others can do without it.

use std::sync::Arc;
use std::time::Duration;

use nsq_cluster::GroupId;
use nsq_cluster::group::Group;
use tokio::time::Instant;

use crate::cluster::local_shard::LocalShard as _;
use crate::cluster::node::{Node, Phase};
use crate::cluster::replica::ShardReplica;

/// Finds out when a damaged replica is to be received again.
#[derive(Debug, Default)]
pub(in crate::cluster) struct Repair {
    /// Since when the damage is known.
    damaged_since: Option<Instant>,
    looked_at: Option<Instant>,
}

impl Repair {
    /// Ends the process if the replica is damaged and the others can do without this node.
    pub(super) async fn look(&mut self, node: &Node, replica: &Arc<ShardReplica>) {
        let damage = || replica.damage();
        let (id, group) = (GroupId(replica.number), &replica.group);
        let Some(why) = self.find(node, id, group, damage).await else {
            return;
        };
        // This is the task that would hand over the leadership of this replica.
        super::hand_over::pass_on(node, replica).await;
        end(node, id, &why).await;
    }

    /// The same for the replica of the directory.
    pub(in crate::cluster) async fn look_at_directory(&mut self, node: &Node, group: &Group) {
        let id = GroupId::DIRECTORY;
        if let Some(why) = self.find(node, id, group, || group.divergence()).await {
            end(node, id, &why).await;
        }
    }

    /// What is wrong with the replica. Once this returns it, the node is to end: the next start does not trust it.
    async fn find(
        &mut self,
        node: &Node,
        id: GroupId,
        group: &Group,
        damage: impl Fn() -> Option<String>,
    ) -> Option<String> {
        if self.looked_at.is_some_and(|at| at.elapsed() < LOOK) {
            return None;
        }
        self.looked_at = Some(Instant::now());
        let why = damage().filter(|_| node.is(Phase::Running))?;
        let since = *self.damaged_since.get_or_insert_with(|| {
            tracing::error!(
                "cluster: {id}: this node's replica is damaged, and will be received again: {why}"
            );
            Instant::now()
        });
        // Until the others know of it, two nodes could go at the same time.
        if since.elapsed() < NOTICE || !node.around().control.snapshot().can_spare_this_node() {
            return None;
        }
        let group = group.clone();
        let noted = node.blocking({
            let why = why.clone();
            move || group.distrust(&why)
        });
        match noted.await {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                tracing::error!("cluster: {id}: its damage cannot be noted: {error}");
                return None;
            }
            None => return None,
        }
        node.enter(Phase::HandingOver);
        Some(why)
    }
}

async fn end(node: &Node, id: GroupId, why: &str) {
    let deadline = Instant::now() + HANDING_OVER;
    while node.leads_any() && Instant::now() < deadline {
        tokio::time::sleep(POLL).await;
    }
    node.fail(&format!(
        "{id}: this node's replica is damaged ({why}), and the next start receives it again"
    ));
}

const LOOK: Duration = Duration::from_secs(1);
/// Longer than the others need to learn of a damage.
const NOTICE: Duration = Duration::from_secs(5);
const HANDING_OVER: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(20);
