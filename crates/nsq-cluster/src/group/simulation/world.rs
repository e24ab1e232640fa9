//! Who is up, which links are cut, and what must be true at every moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;

use super::{Random, Sim};
use crate::NodeId;
use crate::codec::LogId;
use crate::group::Role;
use crate::group::replica::Replica;
use crate::testing::{Record, lock};

/// Shared by all nodes of a run.
#[derive(Clone)]
pub(super) struct World(Arc<Mutex<State>>);

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("World")
    }
}

struct State {
    chance: Random,
    replicas: BTreeMap<NodeId, Replica<Sim>>,
    /// Links that take nothing, by sender and receiver.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// Whether messages get lost, late or doubled, and disks stall.
    is_rough: bool,
    has_clients: bool,
    leaders: BTreeMap<u64, NodeId>,
    /// What was applied anywhere, by its place.
    chosen: BTreeMap<(LogId, usize), Bytes>,
    /// How much of each node's record was compared.
    checked: BTreeMap<NodeId, usize>,
    acknowledged: BTreeMap<Bytes, LogId>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            chance: Random::new(seed),
            replicas: BTreeMap::new(),
            cut: BTreeSet::new(),
            is_rough: true,
            has_clients: true,
            leaders: BTreeMap::new(),
            chosen: BTreeMap::new(),
            checked: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    pub(super) fn draw<T>(&self, draw: impl FnOnce(&mut Random) -> T) -> T {
        draw(&mut self.state().chance)
    }

    // ---- nodes ----

    pub(super) fn put(&self, node: NodeId, replica: Replica<Sim>) {
        self.state().replicas.insert(node, replica);
    }

    pub(super) fn take(&self, node: NodeId) -> Option<Replica<Sim>> {
        self.state().replicas.remove(&node)
    }

    pub(super) fn replica(&self, node: NodeId) -> Option<Replica<Sim>> {
        self.state().replicas.get(&node).cloned()
    }

    pub(super) fn replicas(&self) -> Vec<(NodeId, Replica<Sim>)> {
        let state = self.state();
        let replicas = state.replicas.iter();
        replicas
            .map(|(node, replica)| (*node, replica.clone()))
            .collect()
    }

    /// A node that says of itself that it leads: the one with the newest term.
    pub(super) fn leader(&self) -> Option<(NodeId, Replica<Sim>)> {
        let standings = self.replicas().into_iter().map(|(node, replica)| {
            let standing = replica.standing().borrow().clone();
            (standing, node, replica)
        });
        standings
            .filter(|(standing, ..)| standing.role == Role::Leader)
            .max_by_key(|(standing, ..)| standing.term)
            .map(|(_, node, replica)| (node, replica))
    }

    // ---- network and disk ----

    pub(super) fn cut(&self, from: NodeId, to: NodeId) {
        self.state().cut.insert((from, to));
    }

    pub(super) fn mend(&self) {
        self.state().cut.clear();
    }

    pub(super) fn calm_down(&self) {
        let mut state = self.state();
        state.cut.clear();
        state.is_rough = false;
    }

    /// How long a message travels and whether it arrives twice; `None` if it never arrives.
    pub(super) fn travel(&self, from: NodeId, to: NodeId) -> Option<(Duration, bool)> {
        let mut state = self.state();
        let is_rough = state.is_rough;
        let is_lost = state.cut.contains(&(from, to)) || is_rough && state.chance.happens(10);
        if is_lost {
            return None;
        }
        let chance = &mut state.chance;
        let delay = if is_rough && chance.happens(20) {
            chance.micros(20_000..400_000)
        } else {
            chance.micros(100..3_000)
        };
        Some((delay, is_rough && chance.happens(10)))
    }

    pub(super) fn disk_delay(&self) -> Duration {
        let mut state = self.state();
        let is_rough = state.is_rough;
        let chance = &mut state.chance;
        if is_rough && chance.happens(4) {
            chance.micros(100_000..1_500_000)
        } else {
            chance.micros(20..2_000)
        }
    }

    // ---- clients ----

    pub(super) fn has_clients(&self) -> bool {
        self.state().has_clients
    }

    pub(super) fn send_clients_home(&self) {
        self.state().has_clients = false;
    }

    // ---- what must be true ----

    pub(super) fn acknowledge(&self, proposal: Bytes, id: LogId) {
        self.state().acknowledged.insert(proposal, id);
    }

    pub(super) fn acknowledged(&self) -> BTreeMap<Bytes, LogId> {
        self.state().acknowledged.clone()
    }

    /// No term has two leaders.
    pub(super) fn check_leaders(&self) {
        for (node, replica) in self.replicas() {
            let standing = replica.standing().borrow().clone();
            assert_eq!(standing.failure, None, "node {node} cannot go on");
            if standing.role == Role::Leader {
                let leader = *self.state().leaders.entry(standing.term).or_insert(node);
                assert_eq!(leader, node, "two nodes lead in term {}", standing.term);
            }
        }
    }

    /// What a node has applied, every other one has applied or will apply at the same place.
    pub(super) fn check_record(&self, node: NodeId, record: &Record, is_last: bool) {
        let mut state = self.state();
        let State {
            checked, chosen, ..
        } = &mut *state;
        let checked = checked.entry(node).or_default();
        let (mut at, mut last) = (0, None);
        // A checkpoint replaces the record by a longer one with the same beginning, which is looked at once, at the end.
        let begin = (*checked).min(record.proposals.len()).saturating_sub(1);
        let begin = (0..=begin)
            .rev()
            .find(|&at| at == 0 || record.proposals[at - 1].0 != record.proposals[at].0);
        let begin = begin.filter(|_| !is_last).unwrap_or(0);
        *checked = record.proposals.len();
        for (id, proposal) in &record.proposals[begin..] {
            at = if last == Some(*id) { at + 1 } else { 0 };
            last = Some(*id);
            let chosen = chosen.entry((*id, at)).or_insert_with(|| proposal.clone());
            assert_eq!(
                chosen, proposal,
                "node {node} applied something else at {id}"
            );
        }
    }
}
