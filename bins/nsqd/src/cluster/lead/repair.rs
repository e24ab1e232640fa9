//! Having a damaged replica received again: the node ends, and its next start does not trust what it finds.
//!
//! A node has one number for all of its groups, and a replica that is received again begins under another one. So the node
//! goes as a whole, and only while the others can do without it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::node::{Node, Phase};
use crate::cluster::replica::ShardReplica;

/// Finds out when a damaged replica is to be received again.
#[derive(Debug, Default)]
pub(super) struct Repair {
    /// Since when the damage is known.
    damaged_since: Option<Instant>,
    looked_at: Option<Instant>,
}

impl Repair {
    /// Ends the process if the replica is damaged and the others can do without this node.
    pub(super) async fn look(&mut self, node: &Node, replica: &Arc<ShardReplica>) {
        if self.looked_at.is_some_and(|at| at.elapsed() < LOOK) {
            return;
        }
        self.looked_at = Some(Instant::now());
        let Some(why) = replica.shard.damage().filter(|_| node.is(Phase::Running)) else {
            return;
        };
        let number = replica.number;
        let since = *self.damaged_since.get_or_insert_with(|| {
            tracing::error!(
                "cluster: shard {number}: this node's replica is damaged, and is to be received again: {why}"
            );
            Instant::now()
        });
        // Until the others know of it, two nodes could go at the same time.
        if since.elapsed() < NOTICE || !node.around().control.snapshot().can_spare_this_node() {
            return;
        }
        let group = replica.group.clone();
        let noted = node.blocking({
            let why = why.clone();
            move || group.distrust(&why)
        });
        match noted.await {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                return tracing::error!(
                    "cluster: shard {number}: its damage cannot be noted: {error}"
                );
            }
            None => return,
        }
        node.enter(Phase::HandingOver);
        let deadline = Instant::now() + HANDING_OVER;
        // This is the task that would hand over the leadership of this replica.
        super::hand_over::pass_on(node, replica).await;
        while node.leads_any() && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
        node.fail(&format!(
            "shard {number}: this node's replica is damaged ({why}), and the next start receives it again"
        ));
    }
}

const LOOK: Duration = Duration::from_secs(1);
/// Longer than the others need to learn of a damage.
const NOTICE: Duration = Duration::from_secs(5);
const HANDING_OVER: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(20);
