//! The state of each node's replicas, as the node itself knows it, and how the others learn of it.
//!
//! Every second a node asks all members for their [`NodeStatus`]. From the answers `/cluster` and `/metrics` know who is
//! alive, and what is to be known about shards that this node has no replica of.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use nsq_cluster::codec::{Answer, Request};
use nsq_cluster::group::{GroupMetrics, Role};
use nsq_cluster::{GroupId, Member, NodeId};
use nsq_core::Tick;
use serde::{Deserialize, Serialize};

use super::aside::SetAside;
use super::calls::{Call, NODE};
use super::this_node::ThisNode;
use crate::clock;

/// How often the members are asked, and how long they have for their answer.
const EVERY: Duration = Duration::from_secs(1);
/// A member that has not answered for this long counts as away.
const AWAY_AFTER: Duration = Duration::from_secs(3);

/// What a node says about its replicas. Nodes of other versions may know fewer or more fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct NodeStatus {
    /// It leads nothing, as far as others can, since an operator wants that.
    pub(crate) is_stepping_down: bool,
    pub(crate) groups: Vec<GroupStatus>,
    /// Damaged replicas that it has set aside.
    pub(crate) set_aside: Vec<SetAside>,
}

impl NodeStatus {
    /// As JSON, so that nodes of different versions understand each other.
    pub(crate) fn to_bytes(&self) -> Bytes {
        // It cannot fail: the status has no keys but texts and numbers.
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

/// One replica.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct GroupStatus {
    /// 0 for the directory, otherwise the number of the shard.
    pub(crate) group: u64,
    /// `leader`, `follower`, `candidate`, `learner` or `stopped`.
    pub(crate) role: String,
    pub(crate) term: u64,
    /// The leader it knows.
    pub(crate) leader: Option<u64>,
    pub(crate) voters: Vec<u64>,
    pub(crate) learners: Vec<u64>,
    /// The end of its log.
    pub(crate) last: Option<u64>,
    pub(crate) applied: Option<u64>,
    pub(crate) purged: Option<u64>,
    /// Of a leader: what each member surely holds.
    pub(crate) held_by: BTreeMap<u64, Option<u64>>,
    /// Of a leader: how long ago it surely had a majority.
    pub(crate) majority_heard_millis: Option<u64>,
    pub(crate) log_bytes: u64,
    /// What its disk refuses.
    pub(crate) trouble: Option<String>,
    /// Why the node could not serve the shard a moment ago, as its leader.
    pub(crate) unable: Option<String>,
    /// What is wrong with the files of the replica.
    pub(crate) damage: Option<String>,
}

impl GroupStatus {
    pub(crate) fn of(group: GroupId, metrics: &GroupMetrics) -> GroupStatus {
        let standing = &metrics.standing;
        let role = match standing.role {
            Role::Learner => "learner",
            Role::Follower => "follower",
            Role::Candidate => "candidate",
            Role::Leader => "leader",
            Role::Stopped => "stopped",
        };
        let voters = standing.members.voters.iter().flatten();
        let mut voters: Vec<u64> = voters.map(|node| node.0).collect();
        voters.sort_unstable();
        voters.dedup();
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let held_by = metrics.held_by.iter();
        GroupStatus {
            group: group.0,
            role: role.to_owned(),
            term: standing.term,
            leader: standing.leader.map(|node| node.0),
            voters,
            learners: standing.members.learners().map(|node| node.0).collect(),
            last: metrics.last,
            applied: metrics.applied.map(|id| id.index),
            purged: metrics.purged.map(|id| id.index),
            held_by: held_by
                .map(|(node, id)| (node.0, id.map(|id| id.index)))
                .collect(),
            majority_heard_millis: metrics.majority_heard.map(millis),
            log_bytes: metrics.log_bytes,
            trouble: metrics.trouble.as_deref().map(str::to_owned),
            unable: None,
            damage: None,
        }
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.role == "leader"
    }
}

/// This node's own status.
pub(crate) fn own_status(node: &dyn ThisNode) -> NodeStatus {
    let directory = node.directory_group();
    let directory = directory.map(|group| GroupStatus {
        damage: group.divergence(),
        ..GroupStatus::of(GroupId::DIRECTORY, &group.metrics())
    });
    let shards = node.shards();
    let shards = shards.iter().map(|held| GroupStatus {
        unable: held.shard.unable(),
        damage: held.shard.damage(),
        ..GroupStatus::of(held.group_id(), &held.group.metrics())
    });
    NodeStatus {
        is_stepping_down: node.is_stepping_down(),
        groups: directory.into_iter().chain(shards).collect(),
        set_aside: node.set_aside(),
    }
}

/// What the other members have said last.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    heard: Mutex<BTreeMap<NodeId, Heard>>,
    /// The leader that each replica of this node knew last.
    leaders: Mutex<BTreeMap<u64, u64>>,
    leader_changes: AtomicU64,
}

/// The last answer of a member.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    /// When it came.
    pub(crate) at: Tick,
    /// The answer.
    pub(crate) status: Arc<NodeStatus>,
}

impl Heard {
    /// Whether the member counts as alive.
    pub(crate) fn is_alive(&self, now: Tick) -> bool {
        now.since(self.at) < AWAY_AFTER
    }
}

impl Peers {
    /// The last answer of every member that has answered.
    pub(crate) fn heard(&self) -> BTreeMap<NodeId, Heard> {
        self.lock().clone()
    }

    /// Asks the members, for as long as nsqd runs.
    pub(crate) async fn run(&self, node: &dyn ThisNode) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.note_leaders(&own_status(node));
            self.ask_all(node).await;
        }
    }

    /// How often a replica of this node got to know another leader, looked at once a second.
    pub(crate) fn leader_changes(&self) -> u64 {
        self.leader_changes.load(Ordering::Relaxed)
    }

    fn note_leaders(&self, own: &NodeStatus) {
        let mut leaders = self.leaders.lock().unwrap_or_else(PoisonError::into_inner);
        for status in &own.groups {
            if let Some(leader) = status.leader
                && leaders.insert(status.group, leader) != Some(leader)
            {
                self.leader_changes.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    async fn ask_all(&self, node: &dyn ThisNode) {
        let directory = Arc::clone(&node.directory().borrow());
        let (me, network) = (node.node(), node.network());
        let others = directory.members.iter().filter(|(id, _)| Some(**id) != me);
        let asked = others.map(|(id, member)| {
            let member = Member {
                address: member.info.address.clone(),
            };
            let body = Call::Status.to_bytes();
            let request = Request::Call { group: NODE, body };
            let answer = network.call(*id, &member, request, Some(EVERY));
            async move { (*id, answer.await) }
        });
        for (id, answer) in join_all(asked).await {
            let Ok(Answer::Call(body)) = answer else {
                continue;
            };
            // A status that cannot be read still says that the member is alive.
            let status = serde_json::from_slice(&body).unwrap_or_default();
            let heard = Heard {
                at: clock::tick(),
                status: Arc::new(status),
            };
            self.lock().insert(id, heard);
        }
        self.lock()
            .retain(|id, _| directory.members.contains_key(id));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
