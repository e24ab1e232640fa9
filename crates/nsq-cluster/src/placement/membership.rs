//! The next change of one Raft group's members.

use std::collections::{BTreeMap, BTreeSet};

use super::{Liveness, PlanOptions};
use crate::NodeId;
use crate::codec::Membership;
use crate::directory::Directory;

/// Who is to belong to a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The voters; members as well.
    pub voters: BTreeSet<NodeId>,
    /// The members that are to be learners.
    pub learners: BTreeSet<NodeId>,
}

/// A group as its leader sees it.
#[derive(Clone, Copy, Debug)]
pub struct GroupState<'a> {
    /// The leader itself.
    pub leader: NodeId,
    /// The members as they are.
    pub members: &'a Membership,
    /// Nodes that can be reached now.
    pub present: &'a BTreeSet<NodeId>,
    /// Nodes whose logs reach to the leader's end, or nearly.
    pub caught_up: &'a BTreeSet<NodeId>,
    /// Of a shard: the voters that the directory has recorded. A node is recorded before it becomes a voter. `None` for the
    /// directory's own group.
    pub recorded: Option<&'a BTreeSet<NodeId>>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipStep {
    /// Propose [`Change::RecordVoters`](crate::directory::Change::RecordVoters) to the directory.
    Record(BTreeSet<NodeId>),
    /// Add a learner.
    AddLearner(NodeId),
    /// Make these the voters.
    SetVoters(BTreeSet<NodeId>),
    /// Remove these learners.
    Remove(BTreeSet<NodeId>),
}

/// The next step towards `wanted`; `None` when there is none, or none that is possible now.
///
/// A node becomes a voter once it has caught up. A voter that is to go stays until its successor has caught up. Voters change
/// only if of the new ones and of the old ones a majority is present: otherwise the change could not be committed.
///
/// Two voters need both, so the loss of either would stop the group: one voter waits for two others that are on their way.
pub fn next_step(wanted: &Wanted, group: &GroupState<'_>) -> Option<MembershipStep> {
    let members = group.members;
    if let [_, last] = members.voters.as_slice() {
        // A leader was lost in the middle of a change: it is completed first.
        return Some(MembershipStep::SetVoters(last.clone()));
    }
    let voters = members.voters.first()?;
    let is_present = |node: &NodeId| *node == group.leader || group.present.contains(node);
    let all = || wanted.voters.iter().chain(&wanted.learners);
    let is_missing = |node: &&NodeId| !members.nodes.contains_key(node);
    if let Some(missing) = all().filter(is_missing).find(|node| is_present(node)) {
        return Some(MembershipStep::AddLearner(*missing));
    }
    let is_ready = |node: &NodeId| {
        let is_member = members.nodes.contains_key(node);
        voters.contains(node) || (is_member && is_present(node) && group.caught_up.contains(node))
    };
    let mut target: BTreeSet<_> = wanted.voters.iter().copied().filter(is_ready).collect();
    let unready = wanted.voters.len() - target.len();
    let mut leaving: Vec<_> = voters.difference(&wanted.voters).copied().collect();
    leaving.sort_by_key(|node| (!is_present(node), *node));
    target.extend(leaving.into_iter().take(unready));
    let has_majority = |nodes: &BTreeSet<NodeId>| {
        let present = nodes.iter().filter(|node| is_present(node)).count();
        present > nodes.len() / 2
    };
    let is_on_its_way = |node: &NodeId| !target.contains(node) && is_present(node);
    let is_soon_larger = (voters.len(), target.len()) == (1, 2)
        && target.is_superset(voters)
        && wanted.voters.iter().any(is_on_its_way);
    if target != *voters && !is_soon_larger && has_majority(&target) && has_majority(voters) {
        return Some(match group.recorded {
            Some(recorded) if !target.is_subset(recorded) => {
                MembershipStep::Record(target.union(recorded).copied().collect())
            }
            _ => MembershipStep::SetVoters(target),
        });
    }
    let surplus: BTreeSet<_> = members
        .learners()
        .filter(|node| !wanted.voters.contains(node) && !wanted.learners.contains(node))
        .collect();
    if !surplus.is_empty() {
        return Some(MembershipStep::Remove(surplus));
    }
    // What is recorded beyond the voters is only for a change under way.
    let recorded = group.recorded?;
    (recorded != voters).then(|| MembershipStep::Record(voters.clone()))
}

/// Who is to belong to the directory's group: every member, up to five of them as voters. An odd number of voters is
/// preferred, since one more would only make majorities larger. They are spread over zones as evenly as there are members for;
/// besides, voters stay voters for as long as they are not away for too long.
pub fn directory_voters(
    directory: &Directory,
    voters: &BTreeSet<NodeId>,
    liveness: &BTreeMap<NodeId, Liveness>,
    options: PlanOptions,
) -> Wanted {
    let count = match directory.members.len() {
        // With one voter of two, the loss of its disk would be the loss of the directory.
        count @ 0..=3 => count,
        4 => 3,
        _ => MAX_DIRECTORY_VOTERS,
    };
    let away_for = |node: &NodeId| liveness.get(node).and_then(|liveness| liveness.away_for);
    let is_gone = |node: &NodeId| {
        let away_for = away_for(node);
        away_for.is_some_and(|away_for| away_for >= options.replace_after)
    };
    let zone = |node: &NodeId| directory.members.get(node).map(|member| &member.zone);
    let mut learners: BTreeSet<_> = directory.members.keys().copied().collect();
    let mut chosen = BTreeSet::new();
    while chosen.len() < count {
        let next = learners.iter().min_by_key(|node| {
            let in_zone = chosen.iter().filter(|other| zone(other) == zone(node));
            let is_away = away_for(node).is_some();
            (
                is_gone(node),
                in_zone.count(),
                !voters.contains(node),
                is_away,
                **node,
            )
        });
        let Some(next) = next.copied() else { break };
        learners.remove(&next);
        chosen.insert(next);
    }
    Wanted {
        voters: chosen,
        learners,
    }
}

const MAX_DIRECTORY_VOTERS: usize = 5;
