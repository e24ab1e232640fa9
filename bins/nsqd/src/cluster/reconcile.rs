//! The leader of a group gives it the members that the directory wants.
//!
//! For a shard these are the nodes that it is placed on. For the directory itself it is every member of the cluster: up to
//! five vote, the others only receive.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use nsq_cluster::directory::{Change, Directory, Outcome};
use nsq_cluster::group::{ChangeError, Group, GroupMetrics, Role};
use nsq_cluster::identity::Identity;
use nsq_cluster::in_step;
use nsq_cluster::placement::{self, GroupState, MembershipStep, Wanted};
use nsq_cluster::{GroupId, Member, NodeId};

use super::lead::hand_over::{answers, best_successor_among, has_caught_up, successor, trouble_of};
use super::lead::repair::Repair;
use super::node::{Node, Phase};
use super::replica::ShardReplica;

/// Keeps the members of a shard's group as the directory wants them, while this node leads it.
pub(super) async fn run_shard(node: Arc<Node>, replica: Arc<ShardReplica>) {
    let mut dismissed = replica.dismissed.subscribe();
    let mut turn = Turn::default();
    while !*dismissed.borrow() && !node.is(Phase::Stopping) {
        tokio::select! {
            done = shard_turn(&node, &replica) => turn.note(GroupId(replica.number), done),
            _ = dismissed.wait_for(|is_dismissed| *is_dismissed) => return,
        }
        turn.note_disk(GroupId(replica.number), &replica.group);
        turn.pause(&replica.group).await;
    }
}

/// Keeps the members of the directory's group, while this node leads it.
pub(super) async fn run_directory(node: Arc<Node>, group: Group) {
    let mut turn = Turn::default();
    let mut repair = Repair::default();
    while !node.is(Phase::Stopping) {
        repair.look_at_directory(&node, &group).await;
        if let Some(failure) = &group.standing().borrow().failure {
            node.fail(&format!(
                "the replica of the directory cannot go on: {failure}"
            ));
        }
        let done = directory_turn(&node, &group).await;
        turn.note(GroupId::DIRECTORY, done);
        turn.note_disk(GroupId::DIRECTORY, &group);
        turn.pause(&group).await;
    }
}

/// Remembers what failed last, so that it is logged once.
#[derive(Default)]
struct Turn {
    trouble: Option<String>,
    /// What the disk refuses.
    disk: Option<Arc<str>>,
    /// The last turn changed something, so that the next one may have more to do.
    is_busy: bool,
}

impl Turn {
    fn note(&mut self, group: GroupId, done: Result<bool, String>) {
        self.is_busy = done == Ok(true);
        let trouble = done.err();
        if let Some(why) = &trouble
            && self.trouble != trouble
        {
            tracing::warn!("cluster: {group}: its members cannot be changed yet: {why}");
        }
        self.trouble = trouble;
    }

    /// Logs what the disk of a replica refuses, and when it works again: the replica waits for that.
    fn note_disk(&mut self, id: GroupId, group: &Group) {
        let refused = group.metrics().trouble;
        match (&self.disk, &refused) {
            (None, Some(why)) => {
                tracing::error!("cluster: {id}: the disk refuses its replica: {why}");
            }
            (Some(_), None) => tracing::info!("cluster: {id}: the disk takes its replica again"),
            (Some(_), Some(_)) | (None, None) => {}
        }
        self.disk = refused;
    }

    async fn pause(&self, group: &Group) {
        let mut standing = group.standing();
        standing.mark_unchanged();
        if self.is_busy {
            return tokio::time::sleep(BUSY_PAUSE).await;
        }
        tokio::select! {
            _ = standing.changed() => tokio::time::sleep(BUSY_PAUSE).await,
            () = in_step::pause(PAUSE) => {}
        }
    }
}

/// One look at a shard's group. Returns whether it changed something.
async fn shard_turn(node: &Node, replica: &ShardReplica) -> Result<bool, String> {
    let number = replica.number;
    let directory = node.newest_directory();
    let Some(about) = directory.shards.get(&number) else {
        return Ok(false);
    };
    let group = &replica.group;
    let metrics = group.metrics();
    if metrics.standing.role != Role::Leader {
        let is_empty = metrics.last.is_none() && metrics.standing.term == 0;
        if is_empty && directory.group_creator(number) == Some(node.me()) {
            return form(node, replica, &directory).await;
        }
        return Ok(false);
    }
    let is_alone = metrics.standing.members.nodes.len() == 1;
    if is_alone && metrics.purged.is_none() && has_topics(replica).await {
        // Its data may be from the time before the group: then its log alone is no way to get it.
        group
            .checkpoint_now()
            .await
            .map_err(|error| error.to_string())?;
        return Ok(true);
    }
    let wanted = Wanted {
        voters: about.replicas.iter().copied().collect(),
        learners: BTreeSet::new(),
    };
    let step = step(node, &wanted, &metrics, Some(&about.voters));
    match step {
        Some(step) => take(node, GroupId(number), group, &directory, step).await,
        None => Ok(false),
    }
}

/// Whether the shard has topics. Waits for its disk without holding anything up.
async fn has_topics(replica: &ShardReplica) -> bool {
    let topics = replica.on_lane(|shard| !shard.topics(None).is_empty());
    topics.await.unwrap_or(false)
}

/// The next step towards the wanted members of a group that this node leads.
fn step(
    node: &Node,
    wanted: &Wanted,
    metrics: &GroupMetrics,
    recorded: Option<&BTreeSet<NodeId>>,
) -> Option<MembershipStep> {
    let members = &metrics.standing.members;
    let in_group = members.nodes.keys().copied();
    let (present, caught_up): (BTreeSet<_>, BTreeSet<_>) = {
        let answering: BTreeSet<_> = in_group.filter(|node| answers(metrics, *node)).collect();
        let caught_up = answering.iter().copied();
        let caught_up = caught_up
            .filter(|node| has_caught_up(metrics, *node))
            .collect();
        // Whether a node that is no member yet can be reached is seen once it is one.
        let new = wanted.voters.union(&wanted.learners).copied();
        let new = new.filter(|node| !members.nodes.contains_key(node));
        (answering.iter().copied().chain(new).collect(), caught_up)
    };
    let state = GroupState {
        leader: node.me(),
        members,
        present: &present,
        caught_up: &caught_up,
        recorded,
    };
    placement::next_step(wanted, &state)
}

/// Begins the group of a shard that has none: with this node alone, the others join it.
async fn form(node: &Node, replica: &ShardReplica, directory: &Directory) -> Result<bool, String> {
    let number = replica.number;
    let about = &directory.shards[&number];
    let me = node.me();
    let alone = BTreeSet::from([me]);
    if about.voters != alone {
        if about.is_formed() {
            return Ok(false);
        }
        record_voters(node, number, &alone).await?;
        return Ok(true);
    }
    let member = node
        .member(me)
        .ok_or("the directory does not list this node")?;
    let members = BTreeMap::from([(me, member)]);
    match replica.group.initialize(members).await {
        Ok(()) => {}
        // It has begun a moment ago.
        Err(ChangeError::Refused(_)) => return Ok(true),
        Err(error) => return Err(error.to_string()),
    }
    tracing::info!("cluster: shard {number}: this node has begun its group");
    Ok(true)
}

/// Has the directory list all that may vote.
async fn record_voters(node: &Node, shard: u64, voters: &BTreeSet<NodeId>) -> Result<(), String> {
    let voters = voters.clone();
    let change = Change::RecordVoters { shard, voters };
    match node
        .around()
        .control
        .directory_client()
        .change(&change, true)
        .await
    {
        Ok(Outcome::Refused(refused)) => Err(refused.to_string()),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// One look at the directory's group. Returns whether it changed something.
async fn directory_turn(node: &Node, group: &Group) -> Result<bool, String> {
    let metrics = group.metrics();
    if metrics.standing.role != Role::Leader {
        return Ok(false);
    }
    // A disk that refuses would hold every change up; those of others may work.
    let is_unwanted = !node.wants_to_lead() || trouble_of(group).await.is_some();
    if is_unwanted && successor(node, GroupId::DIRECTORY, group).is_some() {
        return hand_directory_over(node, group).await;
    }
    let directory = node.newest_directory();
    if !directory.is_founded() {
        return found(node).await;
    }
    let voters = metrics
        .standing
        .members
        .voters
        .iter()
        .flatten()
        .copied()
        .collect();
    let liveness = node.liveness().of(&directory, &metrics, node.me());
    let options = node.plan_options();
    let wanted = placement::directory_voters(&directory, &voters, &liveness, options);
    match step(node, &wanted, &metrics, None) {
        Some(step) => take(node, GroupId::DIRECTORY, group, &directory, step).await,
        None => Ok(false),
    }
}

async fn hand_directory_over(node: &Node, group: &Group) -> Result<bool, String> {
    let Some(to) = successor(node, GroupId::DIRECTORY, group) else {
        return Ok(false);
    };
    let next = node.name(to);
    tracing::info!("cluster: directory: handing the leadership over to {next}");
    let transfer = group.transfer_to(to).await;
    transfer.map_err(|error| error.to_string())?;
    let mut standing = group.standing();
    let gone = standing.wait_for(|standing| standing.role != Role::Leader);
    let _ = tokio::time::timeout(TAKING_OVER, gone).await;
    Ok(false)
}

/// Lists the first members in a directory that is still empty.
async fn found(node: &Node) -> Result<bool, String> {
    let Some(Identity {
        cluster,
        founders: Some(members),
        ..
    }) = node.identity()
    else {
        return Ok(false);
    };
    let change = Change::Found { cluster, members };
    match node
        .around()
        .control
        .directory_client()
        .change(&change, true)
        .await
    {
        Ok(_) => {
            tracing::info!("cluster: the cluster {cluster} is founded");
            Ok(true)
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Makes one change of a group's members.
async fn take(
    node: &Node,
    id: GroupId,
    group: &Group,
    directory: &Directory,
    step: MembershipStep,
) -> Result<bool, String> {
    let done = match step {
        MembershipStep::Record(voters) => {
            record_voters(node, id.0, &voters).await?;
            return Ok(true);
        }
        MembershipStep::AddLearner(new) => {
            let Some(listed) = directory.members.get(&new) else {
                return Ok(false);
            };
            let address = listed.info.address.clone();
            tracing::info!("cluster: {id}: node {new} ({address}) gets a replica");
            group.add_learner(new, Member { address }).await
        }
        MembershipStep::SetVoters(voters) => {
            if !voters.contains(&node.me())
                && let Some(to) = best_successor_among(group, node.me(), &voters)
            {
                // It makes the change as the leader, so that there is one all the time.
                let next = node.name(to);
                tracing::info!(
                    "cluster: {id}: handing the leadership over to {next}, since this node is to give it up"
                );
                let transfer = group.transfer_to(to).await;
                return transfer.map(|()| false).map_err(|error| error.to_string());
            }
            group.set_voters(voters).await
        }
        MembershipStep::Remove(gone) => {
            for gone in &gone {
                let gone = node.name(*gone);
                tracing::info!("cluster: {id}: the replica on {gone} is given up");
            }
            group.remove(gone).await
        }
    };
    match done {
        Ok(_) => Ok(true),
        Err(ChangeError::NotLeader { .. }) => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);
const BUSY_PAUSE: Duration = Duration::from_millis(20);
const TAKING_OVER: Duration = Duration::from_secs(1);
