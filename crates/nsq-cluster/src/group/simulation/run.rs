//! One run: nodes start, clients propose, things fail, everything heals, and then the nodes must agree.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use openraft::AsyncRuntime;
use openraft::type_config::TypeConfigExt;
use openraft_rt_sim::SimRuntime;

use super::Sim;
use super::disk::{Life, SimLane};
use super::network::SimNetwork;
use super::world::World;
use crate::codec::LogId;
use crate::group::replica::Replica;
use crate::group::{GroupLimits, GroupOptions};
use crate::network::Transfers;
use crate::testing::{Record, Recorder, fast_folder, lock};
use crate::wal::{Durability, Opening, Wal, WalLanes, WalOptions};
use crate::{GroupId, Member, NodeId};

/// What a run is to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    nodes: u64,
    faults: u32,
}

impl Plan {
    pub(super) fn new(nodes: u64) -> Self {
        Self { nodes, faults: 25 }
    }
}

/// What a run came to; equal for equal seeds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) acknowledged: usize,
    pub(super) kills: usize,
    pub(super) replacements: usize,
    pub(super) checkpoints: usize,
    record: Record,
}

/// A machine with the replica on it.
struct Node {
    id: NodeId,
    folder: tempfile::TempDir,
    record: Arc<Mutex<Record>>,
    /// `None` while it is down.
    life: Option<Life>,
}

struct Cluster {
    world: World,
    nodes: Vec<Node>,
    next_id: u64,
    kills: usize,
    replacements: usize,
    /// How many were installed.
    checkpoints: Arc<AtomicUsize>,
}

pub(super) fn run(seed: u64, plan: Plan) -> Outcome {
    let guard = NameOnPanic(seed);
    let outcome = SimRuntime::with_seed(seed).block_on(async move {
        let mut cluster = Cluster::start(seed, plan).await;
        cluster.live(plan).await;
        cluster.settle().await
    });
    drop(guard);
    outcome
}

struct NameOnPanic(u64);

impl Drop for NameOnPanic {
    #[expect(clippy::print_stderr, reason = "a failing test names its seed")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the run failed with SEED={}", self.0);
        }
    }
}

impl Cluster {
    async fn start(seed: u64, plan: Plan) -> Self {
        let mut cluster = Self {
            world: World::new(seed),
            nodes: Vec::new(),
            next_id: plan.nodes + 1,
            kills: 0,
            replacements: 0,
            checkpoints: Arc::default(),
        };
        let members: BTreeMap<_, _> = (1..=plan.nodes)
            .map(|id| (NodeId(id), member(NodeId(id))))
            .collect();
        for &id in members.keys() {
            cluster.nodes.push(Node {
                id,
                folder: tempfile::tempdir_in(fast_folder()).unwrap(),
                record: Arc::default(),
                life: None,
            });
        }
        for at in 0..cluster.nodes.len() {
            cluster.boot(at).await;
        }
        for (_, replica) in cluster.world.replicas() {
            replica.initialize(members.clone()).await.unwrap();
        }
        cluster
    }

    /// Starts the process of a node.
    async fn boot(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let life = Life::begin();
        let lane = || Arc::new(SimLane::new(self.world.clone(), life.clone()));
        let lanes = WalLanes {
            writer: lane(),
            reader: lane(),
        };
        let durability = if node.id.0.is_multiple_of(2) {
            Durability::Written
        } else {
            Durability::Synced
        };
        let options = WalOptions {
            segment_bytes: 16 << 10,
            cache_bytes: 4 << 10,
            boot_id: "one".to_owned(),
            ..WalOptions::new(durability)
        };
        let opened = Wal::open(&path(node), options, lanes).unwrap();
        let Opening::Ready(wal) = opened else {
            panic!("node {} is not trusted after a kill: {opened:?}", node.id);
        };
        let options = GroupOptions {
            group: GroupId(7),
            node: node.id,
            folder: node.folder.path().join("replica"),
            network: Arc::new(SimNetwork {
                world: self.world.clone(),
                me: node.id,
                life: life.clone(),
            }),
            transfers: Arc::new(Transfers::new(self.world.draw(super::Random::next))),
            applier: lane(),
            reader: lane(),
            limits: GroupLimits {
                max_entry_bytes: 4 << 10,
                kept_log_bytes: 48 << 10,
                max_log_bytes: 160 << 10,
                ..GroupLimits::default()
            },
        };
        // What was applied last may be gone after a kill, but for what a checkpoint has synced.
        let lost = self.world.draw(|chance| chance.below(20));
        lock(&node.record).forget(lost);
        let machine = Box::new(Recorder {
            record: Arc::clone(&node.record),
            installs: Arc::clone(&self.checkpoints),
        });
        let replica = Replica::<Sim>::start(options, wal, machine).await.unwrap();
        self.world.put(node.id, replica);
        node.life = Some(life);
    }

    /// Ends the process of a node, without any notice.
    async fn kill(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if let Some(life) = node.life.take() {
            life.end();
            self.kills += 1;
            let replica = self.world.take(node.id).expect("it is up");
            replica.shared().wal.abandon();
            replica.shutdown().await;
        }
    }

    /// A node with another number and an empty disk takes the place of `at`.
    async fn replace(&mut self, at: usize) {
        self.kill(at).await;
        let old = self.nodes[at].id;
        self.nodes[at] = Node {
            id: NodeId(self.next_id),
            folder: tempfile::tempdir_in(fast_folder()).unwrap(),
            record: Arc::default(),
            life: None,
        };
        self.next_id += 1;
        self.boot(at).await;
        self.change_members(old, self.nodes[at].id).await;
        self.replacements += 1;
    }

    /// What an operator does, or the directory: learner first, then voter, then the old one is removed.
    async fn change_members(&self, old: NodeId, new: NodeId) {
        let mut step = 0;
        for _ in 0..600 {
            Sim::sleep(Duration::from_millis(200)).await;
            self.check();
            let Some((_, leader)) = self.world.leader() else {
                continue;
            };
            let members = Arc::clone(&leader.standing().borrow().members);
            if step == 0 && members.nodes.contains_key(&new) {
                step = 1;
            }
            let voters = members.voters.last().cloned().unwrap_or_default();
            if step == 1 && members.voters.len() == 1 && voters.contains(&new) {
                step = 2;
            }
            if step == 2 && !members.nodes.contains_key(&old) {
                return;
            }
            // What fails is tried again.
            let changed = async {
                match step {
                    0 => leader.add_learner(new, member(new)).await.ok(),
                    1 => {
                        let mut voters: BTreeSet<_> = voters;
                        voters.remove(&old);
                        voters.insert(new);
                        leader.set_voters(voters).await.ok()
                    }
                    _ => leader.remove(BTreeSet::from([old])).await.ok(),
                }
            };
            let _ = Sim::timeout(Duration::from_secs(5), changed).await;
        }
        panic!("node {new} did not get to take the place of {old}");
    }

    /// Clients propose while things fail.
    async fn live(&mut self, plan: Plan) {
        for client in 0..3 {
            drop(Sim::spawn(propose(self.world.clone(), client)));
        }
        self.wait_for_leader().await;
        for _ in 0..plan.faults {
            let pause = self.world.draw(|chance| chance.micros(200_000..3_000_000));
            self.pass(pause).await;
            self.fail().await;
        }
        for at in 0..self.nodes.len() {
            if self.nodes[at].life.is_none() {
                self.boot(at).await;
            }
        }
        self.world.calm_down();
        self.wait_for_leader().await;
        self.pass(Duration::from_secs(3)).await;
        self.world.send_clients_home();
    }

    async fn fail(&mut self) {
        let count = self.nodes.len() as u64;
        let (kind, victim, other) = self
            .world
            .draw(|chance| (chance.below(100), chance.below(count), chance.below(count)));
        let victim = usize::try_from(victim).unwrap();
        let other = usize::try_from(other).unwrap();
        let (a, b) = (self.nodes[victim].id, self.nodes[other].id);
        match kind {
            // The leader, to see another one elected.
            0..20 => {
                let leader = self.world.leader().map(|(leader, _)| leader);
                let at = self.nodes.iter().position(|node| Some(node.id) == leader);
                self.kill(at.unwrap_or(victim)).await;
            }
            20..35 => self.kill(victim).await,
            35..60 => {
                for at in 0..self.nodes.len() {
                    if self.nodes[at].life.is_none() {
                        self.boot(at).await;
                    }
                }
            }
            60..66 => self.world.cut(a, b),
            66..72 => {
                for node in &self.nodes {
                    self.world.cut(a, node.id);
                    if other.is_multiple_of(2) {
                        self.world.cut(node.id, a);
                    }
                }
            }
            72..84 => self.world.mend(),
            84..89 => {
                for at in 0..self.nodes.len() {
                    self.kill(at).await;
                }
            }
            89..94 => {
                if let Some((_, leader)) = self.world.leader() {
                    let _ = leader.transfer_to(b).await;
                }
            }
            // All but one must be there for it, or nothing could be decided.
            _ => {
                self.world.mend();
                for at in 0..self.nodes.len() {
                    if at != victim && self.nodes[at].life.is_none() {
                        self.boot(at).await;
                    }
                }
                self.replace(victim).await;
            }
        }
    }

    /// Everything heals; then all nodes must have applied the same, and all that was acknowledged.
    async fn settle(self) -> Outcome {
        for _ in 0..600 {
            self.pass(Duration::from_millis(100)).await;
            let records: Vec<_> = self
                .nodes
                .iter()
                .map(|node| lock(&node.record).clone())
                .collect();
            if records.windows(2).all(|pair| pair[0] == pair[1]) {
                for node in &self.nodes {
                    self.world.check_record(node.id, &lock(&node.record), true);
                }
                let mut places: BTreeMap<Bytes, LogId> = BTreeMap::new();
                for (id, proposal) in &records[0].proposals {
                    let twice = places.insert(proposal.clone(), *id);
                    assert_eq!(twice, None, "{proposal:?} was applied twice");
                }
                let acknowledged = self.world.acknowledged();
                for (proposal, id) in &acknowledged {
                    assert_eq!(places.get(proposal), Some(id), "{proposal:?} is lost");
                }
                for (_, replica) in self.world.replicas() {
                    replica.shutdown().await;
                }
                return Outcome {
                    acknowledged: acknowledged.len(),
                    kills: self.kills,
                    replacements: self.replacements,
                    checkpoints: self.checkpoints.load(Ordering::Relaxed),
                    record: records[0].clone(),
                };
            }
        }
        let ends = self
            .nodes
            .iter()
            .map(|node| (node.id, lock(&node.record).applied));
        panic!("the nodes do not agree: {:?}", ends.collect::<Vec<_>>());
    }

    async fn wait_for_leader(&self) {
        for _ in 0..300 {
            self.pass(Duration::from_millis(100)).await;
            if let Some((_, leader)) = self.world.leader()
                && leader.confirm_leadership().await.is_ok()
            {
                return;
            }
        }
        panic!("no node leads");
    }

    /// Lets time pass and looks at what must be true all the while.
    async fn pass(&self, time: Duration) {
        let step = Duration::from_millis(50);
        let end = Sim::now() + time;
        while Sim::now() < end {
            Sim::sleep(step).await;
            self.check();
        }
    }

    fn check(&self) {
        self.world.check_leaders();
        for node in &self.nodes {
            self.world.check_record(node.id, &lock(&node.record), false);
        }
    }
}

/// A client: proposes what no one else proposes, one after the other, to the leader.
async fn propose(world: World, client: u64) {
    let mut number = 0_u64;
    while world.has_clients() {
        number += 1;
        let pause = world.draw(|chance| chance.micros(500..40_000));
        Sim::sleep(pause).await;
        let Some((_, leader)) = world.leader() else {
            continue;
        };
        let size = world.draw(|chance| chance.below(900));
        let text = format!(
            "{client}/{number} {}",
            "x".repeat(usize::try_from(size).unwrap())
        );
        let proposal = Bytes::from(text);
        let proposed = leader.propose(proposal.clone());
        if let Ok(Ok(applied)) = Sim::timeout(Duration::from_secs(5), proposed).await {
            world.acknowledge(proposal, applied.id);
        }
    }
}

fn member(node: NodeId) -> Member {
    Member {
        address: format!("node-{node}:4152"),
    }
}

fn path(node: &Node) -> PathBuf {
    node.folder.path().join("wal")
}
