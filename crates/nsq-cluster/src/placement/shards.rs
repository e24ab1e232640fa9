//! Which nodes hold the replicas of which shard.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::NodeId;
use crate::directory::{Change, Directory, MAX_REPLICAS, ShardInfo};

/// Whether a member can be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Liveness {
    /// For how long it could not be reached, if it cannot.
    pub away_for: Option<Duration>,
}

/// What an operator has set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanOptions {
    /// `--replicas`.
    pub replicas: usize,
    /// `--cluster-replace-after`.
    pub replace_after: Duration,
}

/// What the directory lacks: a shard for each member, and replicas.
///
/// - A member without a shard gets one.
/// - A shard's replicas are its owner and the members with the fewest replicas; on different hosts, as long as there are some that
///   have none.
/// - A replica on a member that has been away for too long moves to another member, if there is one. Otherwise it stays: a
///   group with a voter less has no advantage.
/// - An owner that is back gets its replica back, and the replica that is then too many goes.
/// - The replicas of a shard are spread over zones as evenly as there are members for. Where that can be better, one replica at
///   a time moves, and only while all replicas of the shard are present. Members without a zone count as one more zone.
///
/// A member that `liveness` does not list counts as present. The same arguments give the same plan.
pub fn plan(
    directory: &Directory,
    liveness: &BTreeMap<NodeId, Liveness>,
    options: PlanOptions,
) -> Vec<Change> {
    if !directory.is_founded() {
        return Vec::new();
    }
    let mut changes = Vec::new();
    let mut planner = Planner::new(directory, liveness, options);
    for node in directory.members.keys() {
        if directory.shard_of(*node).is_none() && !planner.is_gone(*node) {
            changes.push(Change::CreateShard { owner: *node });
        }
    }
    for (number, shard) in &directory.shards {
        if let Some(replicas) = planner.place(shard) {
            changes.push(Change::PlaceShard {
                shard: *number,
                replicas,
            });
        }
    }
    changes
}

struct Planner<'a> {
    directory: &'a Directory,
    liveness: &'a BTreeMap<NodeId, Liveness>,
    options: PlanOptions,
    /// How many replicas each member holds, with what was planned so far.
    load: BTreeMap<NodeId, usize>,
}

impl<'a> Planner<'a> {
    fn new(
        directory: &'a Directory,
        liveness: &'a BTreeMap<NodeId, Liveness>,
        options: PlanOptions,
    ) -> Self {
        let members = directory.members.keys().map(|node| (*node, 0));
        let mut load: BTreeMap<_, _> = members.collect();
        for replica in directory.shards.values().flat_map(|shard| &shard.replicas) {
            if let Some(load) = load.get_mut(replica) {
                *load += 1;
            }
        }
        Self {
            directory,
            liveness,
            options,
            load,
        }
    }

    /// The shard's replicas if they are to be others than they are.
    fn place(&mut self, shard: &ShardInfo) -> Option<Vec<NodeId>> {
        let members = &self.directory.members;
        let wanted = self
            .options
            .replicas
            .clamp(1, MAX_REPLICAS)
            .min(members.len());
        let mut replicas = shard.replicas.clone();
        replicas.retain(|replica| members.contains_key(replica));
        if let Some(owner) = shard.owner
            && self.is_present(owner)
            && !replicas.contains(&owner)
        {
            self.add(&mut replicas, owner);
        }
        while replicas.len() > wanted {
            let Some(worst) = self.worst(&replicas, shard.owner) else {
                break;
            };
            self.remove(&mut replicas, worst);
        }
        while replicas.len() < wanted {
            let Some(spare) = self.spare(&replicas, shard.owner) else {
                break;
            };
            self.add(&mut replicas, spare);
        }
        for gone in replicas.clone() {
            if self.is_gone(gone)
                && let Some(spare) = self.spare(&replicas, shard.owner)
            {
                self.remove(&mut replicas, gone);
                self.add(&mut replicas, spare);
            }
        }
        if replicas == shard.replicas
            && let Some((from, to)) = self.better_zone(&replicas, shard.owner)
        {
            self.remove(&mut replicas, from);
            self.add(&mut replicas, to);
        }
        // As the directory orders them.
        replicas.sort_by_key(|replica| shard.owner != Some(*replica));
        (replicas != shard.replicas && !replicas.is_empty()).then_some(replicas)
    }

    /// The present member with the fewest replicas that holds none of this shard, on a host that holds none and in the zone that
    /// holds the fewest, if there is such a one; among several the next one after the owner, in a circle: the shards of neighbours then do not all choose the same one.
    fn spare(&self, replicas: &[NodeId], owner: Option<NodeId>) -> Option<NodeId> {
        let members = self.load.iter();
        members
            .filter(|(node, _)| self.is_present(**node) && !replicas.contains(node))
            .min_by_key(|(node, load)| {
                let is_crowded = self.shares_host(**node, replicas);
                let in_zone = self.count_in_zone(**node, replicas);
                (is_crowded, in_zone, **load, Some(**node) <= owner, **node)
            })
            .map(|(node, _)| *node)
    }

    /// The replica to give up first: one that is away, otherwise one that shares its host or its zone with the most others, or the
    /// one with the most replicas; never the owner while it is
    /// present.
    fn worst(&self, replicas: &[NodeId], owner: Option<NodeId>) -> Option<NodeId> {
        let kept = |node: NodeId| Some(node) == owner && self.is_present(node);
        let candidates = replicas.iter().copied().filter(|node| !kept(*node));
        candidates.max_by_key(|node| {
            let load = self.load.get(node).copied().unwrap_or_default();
            let is_crowded = self.shares_host(*node, replicas);
            let in_zone = self.count_in_zone(*node, replicas);
            (!self.is_present(*node), is_crowded, in_zone, load, *node)
        })
    }

    /// Whether another one of these nodes is on the node's host.
    fn shares_host(&self, node: NodeId, others: &[NodeId]) -> bool {
        let host = |node: NodeId| {
            let member = self.directory.members.get(&node)?;
            Some(member.info.broadcast_address.as_str())
        };
        let others = others.iter().filter(|other| **other != node);
        host(node).is_some_and(|own| others.clone().any(|other| host(*other) == Some(own)))
    }

    /// How many of these nodes are in the node's zone, without the node itself.
    fn count_in_zone(&self, node: NodeId, others: &[NodeId]) -> usize {
        let own = self.zone(node);
        let others = others.iter().filter(|other| **other != node);
        others.filter(|other| self.zone(**other) == own).count()
    }

    fn zone(&self, node: NodeId) -> &str {
        let member = self.directory.members.get(&node);
        member.map_or("", |member| member.zone.as_str())
    }

    /// A replica that is to move, and where to, so that the zones hold more equal numbers of this shard's replicas. Each such
    /// move makes the sum of the squares of these numbers smaller, so moving comes to an end.
    fn better_zone(&self, replicas: &[NodeId], owner: Option<NodeId>) -> Option<(NodeId, NodeId)> {
        if !replicas.iter().all(|replica| self.is_present(*replica)) {
            return None;
        }
        let movable = replicas.iter().copied().filter(|node| Some(*node) != owner);
        let from = movable.max_by_key(|node| {
            let load = self.load.get(node).copied().unwrap_or_default();
            (self.count_in_zone(*node, replicas), load, *node)
        })?;
        let mut rest = replicas.to_vec();
        rest.retain(|replica| *replica != from);
        let before = self.count_in_zone(from, &rest);
        let to = self.spare(&rest, owner).filter(|to| *to != from)?;
        let is_no_more_crowded = !self.shares_host(to, &rest) || self.shares_host(from, &rest);
        (self.count_in_zone(to, &rest) < before && is_no_more_crowded).then_some((from, to))
    }

    fn add(&mut self, replicas: &mut Vec<NodeId>, node: NodeId) {
        replicas.push(node);
        *self.load.entry(node).or_default() += 1;
    }

    fn remove(&mut self, replicas: &mut Vec<NodeId>, node: NodeId) {
        replicas.retain(|replica| *replica != node);
        if let Some(load) = self.load.get_mut(&node) {
            *load = load.saturating_sub(1);
        }
    }

    fn is_present(&self, node: NodeId) -> bool {
        self.away_for(node).is_none()
    }

    fn is_gone(&self, node: NodeId) -> bool {
        let away_for = self.away_for(node);
        away_for.is_some_and(|away_for| away_for >= self.options.replace_after)
    }

    fn away_for(&self, node: NodeId) -> Option<Duration> {
        self.liveness.get(&node)?.away_for
    }
}
