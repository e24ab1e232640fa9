//! Handing the leadership of a shard over: back to its owner, or to anyone before nsqd stops.
//!
//! ```text
//! owner has caught up for a while ─▶ messages in flight are answered, or 5 s have passed
//!   ─▶ consumers and publishes are let go ─▶ the next leader holds everything ─▶ it is asked to take over
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use nsq_cluster::group::{Group, GroupMetrics, Role};
use nsq_cluster::{GroupId, NodeId};
use nsq_core::{Broker, Tick};
use tokio::time::Instant;

use super::Served;
use crate::clock;
use crate::cluster::node::{Node, Phase};
use crate::cluster::replica::ShardReplica;
use crate::cluster::settled::Settled;

/// Finds out when the leadership is to be handed over.
#[derive(Debug, Default)]
pub(super) struct GivingBack {
    /// Since when the owner could take over.
    able_since: Option<(NodeId, Tick)>,
}

impl GivingBack {
    /// To whom the leadership is to be handed now, if it is.
    pub(super) async fn due(
        &mut self,
        node: &Node,
        replica: &Arc<ShardReplica>,
        served: &Served,
    ) -> Option<NodeId> {
        let me = node.me();
        if !node.wants_to_lead() {
            return successor(node, GroupId(replica.number), &replica.group);
        }
        let owner = node.newest_directory().shards.get(&replica.number)?.owner?;
        let is_unable = || {
            node.around()
                .control
                .snapshot()
                .unable(replica.number)
                .contains(&owner)
        };
        if owner == me || !is_able(&replica.group.metrics(), owner) || is_unable() {
            self.able_since = None;
            return None;
        }
        let since = match self.able_since {
            Some((node, since)) if node == owner => since,
            _ => clock::tick(),
        };
        self.able_since = Some((owner, since));
        let able_for = clock::tick().since(since);
        if able_for < STEADY {
            return None;
        }
        // What it has said before it was able may not hold any more.
        match node.heard_since(owner, since) {
            None => return None,
            Some(true) => {
                self.able_since = None;
                return None;
            }
            Some(false) => {}
        }
        // The locks for that may have to wait for a disk.
        let broker = Arc::clone(&served.broker);
        let counting = node.blocking(move || in_flight(&broker));
        let is_quiet = counting.await.is_some_and(|count| count == 0);
        (is_quiet || able_for >= STEADY + PATIENCE).then_some(owner)
    }
}

/// Whether a node that is to take over answers, and takes what is proposed from now on. The shard goes on being served meanwhile: a
/// node that has just gone, or has just come, must not cost a pause.
pub(super) async fn is_there(replica: &ShardReplica, to: NodeId) -> bool {
    let begun = Instant::now();
    // If the shard is served: something that it does not hold yet.
    flush(replica).await;
    let last = replica.group.metrics().last.unwrap_or(0);
    while begun.elapsed() < HEARING {
        let metrics = replica.group.metrics();
        if metrics.standing.role != Role::Leader {
            return false;
        }
        let heard = metrics.heard_from.get(&to).copied().flatten();
        let held = metrics.held_by.get(&to).copied().flatten();
        if heard.is_some_and(|ago| ago < begun.elapsed())
            && held.is_some_and(|held| held.index >= last)
        {
            return true;
        }
        tokio::time::sleep(POLL).await;
    }
    false
}

/// Has a majority store what was accepted so far, publishes and progress.
async fn flush(replica: &ShardReplica) {
    let settled = Settled::default();
    let pending = settled.pending();
    if replica.shard.flush_progress(&pending).is_ok() {
        let _ = tokio::time::timeout(FLUSH, settled.outcome(&pending)).await;
    }
}

/// Hands the leadership to `to`. Whether it worked is seen in the group's standing.
pub(super) async fn run(node: &Node, replica: &Arc<ShardReplica>, to: NodeId) {
    let number = replica.number;
    let next = node.name(to);
    tracing::info!("cluster: shard {number}: handing the leadership over to {next}");
    // What consumers finish from now on does not count, so the rest of what they finished goes first. What was published is
    // committed with it, so that no publish is left without an answer.
    node.around().server.shards().remove(number);
    replica.set_handing_over(true);
    flush(replica).await;
    let deadline = Instant::now() + CATCHING_UP;
    while replica.shard.figures().waiting_bytes > 0 || !holds_all(&replica.group, to) {
        if Instant::now() >= deadline {
            tracing::warn!(
                "cluster: shard {number}: {next} lags behind, so this node continues to lead"
            );
            return;
        }
        tokio::time::sleep(POLL).await;
    }
    transfer(replica, to, &next).await;
}

/// Finds out that the disk of a leader refuses for longer than a moment.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    since: Option<Instant>,
}

impl Trouble {
    /// What the disk refuses, once that has lasted; then the time begins again.
    pub(super) async fn lasting(&mut self, group: &Group) -> Option<Arc<str>> {
        let Some(trouble) = trouble_of(group).await else {
            self.since = None;
            return None;
        };
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() < TROUBLED {
            return None;
        }
        self.since = None;
        Some(trouble)
    }
}

/// What the disk of a group's replica refuses, if anything.
pub(in crate::cluster) async fn trouble_of(group: &Group) -> Option<Arc<str>> {
    let trouble = tokio::time::timeout(DISK_PATIENCE, group.trouble());
    trouble
        .await
        .unwrap_or_else(|_| Some(Arc::from("the disk does not answer")))
}

/// Asks another voter to lead a shard that this node leads and cannot serve, if there is one that can.
pub(super) async fn pass_on(node: &Node, replica: &Arc<ShardReplica>) {
    let number = replica.number;
    let unable = node.around().control.snapshot().unable(number);
    let members = Arc::clone(&replica.group.standing().borrow().members);
    let voters = members.voters.iter().flatten().copied();
    let able = voters.filter(|voter| !unable.contains(voter)).collect();
    let Some(to) = best_successor_among(&replica.group, node.me(), &able) else {
        return;
    };
    let next = node.name(to);
    tracing::warn!(
        "cluster: shard {number}: this node leads it and cannot serve it, so {next} is asked to lead"
    );
    transfer(replica, to, &next).await;
}

/// Has another node lead, which holds everything.
async fn transfer(replica: &ShardReplica, to: NodeId, name: &str) {
    if replica.group.transfer_to(to).await.is_err() {
        return;
    }
    let mut standing = replica.group.standing();
    let gone = standing.wait_for(|standing| standing.role != Role::Leader);
    if tokio::time::timeout(TAKING_OVER, gone).await.is_err() {
        let number = replica.number;
        tracing::warn!("cluster: shard {number}: {name} did not take over in time");
    }
}

/// Whom this node hands the leadership of a group to that it must not keep: not to a node that has stepped down or cannot serve
/// it, if that can be helped. A node that has stepped down itself keeps it then: one of them has to lead.
pub(in crate::cluster) fn successor(node: &Node, id: GroupId, group: &Group) -> Option<NodeId> {
    let me = node.me();
    let members = Arc::clone(&group.standing().borrow().members);
    let voters: BTreeSet<_> = members.voters.iter().flatten().copied().collect();
    let mut unfit = node.others_that_step_down();
    if let Some(around) = node.surroundings() {
        unfit.extend(around.control.snapshot().unable(id.0));
    }
    let fit = voters.difference(&unfit).copied().collect();
    best_successor_among(group, me, &fit).or_else(|| {
        let is_stopping = !node.is(Phase::Running);
        is_stopping
            .then(|| best_successor_among(group, me, &voters))
            .flatten()
    })
}

/// To whom a node that has stepped down hands a shard at once that it was elected to lead, if there is someone.
pub(super) fn successor_if_unwanted(node: &Node, replica: &ShardReplica) -> Option<NodeId> {
    if node.wants_to_lead() {
        return None;
    }
    successor(node, GroupId(replica.number), &replica.group)
}

/// The one of these voters that is best able to take over.
pub(in crate::cluster) fn best_successor_among(
    group: &Group,
    me: NodeId,
    among: &BTreeSet<NodeId>,
) -> Option<NodeId> {
    let metrics = group.metrics();
    let able = among
        .iter()
        .copied()
        .filter(|voter| *voter != me && is_able(&metrics, *voter));
    able.max_by_key(|voter| metrics.held_by.get(voter).copied().flatten())
}

/// Whether a node votes, answers, and holds nearly everything.
fn is_able(metrics: &GroupMetrics, node: NodeId) -> bool {
    let is_voter = metrics
        .standing
        .members
        .voters
        .iter()
        .all(|set| set.contains(&node));
    is_voter && answers(metrics, node) && has_caught_up(metrics, node)
}

/// Whether a leader has heard from a member a moment ago.
pub(in crate::cluster) fn answers(metrics: &GroupMetrics, node: NodeId) -> bool {
    let heard = metrics.heard_from.get(&node).copied().flatten();
    metrics.standing.leader == Some(node) || heard.is_some_and(|ago| ago < ANSWERING)
}

/// Whether a member holds nearly everything that its leader has.
pub(in crate::cluster) fn has_caught_up(metrics: &GroupMetrics, node: NodeId) -> bool {
    let held = metrics.held_by.get(&node).copied().flatten();
    let last = metrics.last.unwrap_or(0);
    metrics.standing.leader == Some(node) || held.is_some_and(|held| held.index + NEARLY >= last)
}

fn holds_all(group: &Group, node: NodeId) -> bool {
    let metrics = group.metrics();
    let held = metrics.held_by.get(&node).copied().flatten();
    held.map(|id| id.index) == metrics.last
}

fn in_flight(broker: &Broker) -> usize {
    let topics = broker.topics();
    let channels = topics.iter().flat_map(|topic| topic.channels());
    channels
        .map(|channel| channel.lock().in_flight_count())
        .sum()
}

/// How long the owner must have been able to lead.
const STEADY: Duration = Duration::from_secs(1);
/// How long messages in flight may hold the handover up.
const PATIENCE: Duration = Duration::from_secs(5);
/// A leader whose disk refuses for this long asks another replica to lead.
const TROUBLED: Duration = Duration::from_secs(1);
/// How long a disk may take to find room for an entry.
const DISK_PATIENCE: Duration = Duration::from_secs(1);
/// More than two heartbeats, and than a leader waits until it tries again to send entries.
const HEARING: Duration = Duration::from_millis(700);
const FLUSH: Duration = Duration::from_millis(500);
const CATCHING_UP: Duration = Duration::from_millis(500);
const TAKING_OVER: Duration = Duration::from_millis(1500);
const POLL: Duration = Duration::from_millis(2);
/// A member that was heard from within this time answers.
const ANSWERING: Duration = Duration::from_secs(2);
/// Entries that a member may lack to count as caught up.
const NEARLY: u64 = 64;
