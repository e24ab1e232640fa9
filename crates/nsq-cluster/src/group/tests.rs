//! Three replicas as nsqd will run them: on tokio, with threads for their disks, over a network that is a function call.

mod appends;
mod over_tcp;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::codec::{Answer, Batch, LogId, Manifest, ManifestFile, Request};
use crate::group::{ChangeError, Group, GroupLimits, GroupOptions, ProposeError, Role};
use crate::lane::{Lane, ThreadLane};
use crate::network::{CallError, Calling, Network, Transfers};
use crate::state_machine::{Checkpoint, CheckpointFiles, Staging, StateMachine};
use crate::wal::{Durability, Opening, Wal, WalLanes, WalOptions};
use crate::{GroupId, Member, NodeId};
use bytes::Bytes;

/// The groups that are up, by their node.
#[derive(Clone, Default)]
struct Wires(Arc<Mutex<BTreeMap<NodeId, Group>>>);

#[derive(Clone)]
struct Wire {
    wires: Wires,
    me: NodeId,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the wire of node {}", self.me)
    }
}

impl Network for Wire {
    fn call(&self, to: NodeId, _: &Member, request: Request, _: Option<Duration>) -> Calling {
        let group = self.wires.0.lock().unwrap().get(&to).cloned();
        let me = self.me;
        Box::pin(async move {
            let group = group.ok_or_else(|| CallError::Unreachable("it is down".to_owned()))?;
            Ok::<Answer, CallError>(group.handle(me, request).await)
        })
    }
}

/// Adds up the bytes it was given; its checkpoint is the sum, in the manifest's note.
#[derive(Clone, Debug, Default)]
struct Sum(Arc<Mutex<(Option<LogId>, u64)>>);

impl StateMachine for Sum {
    fn applied(&self) -> Option<LogId> {
        self.0.lock().unwrap().0
    }

    fn apply(&mut self, id: LogId, proposals: &Batch) -> io::Result<Vec<Bytes>> {
        let mut state = self.0.lock().unwrap();
        state.0 = Some(id);
        let sums = proposals.iter().map(|proposal| {
            state.1 += proposal.len() as u64;
            Bytes::copy_from_slice(&state.1.to_le_bytes())
        });
        Ok(sums.collect())
    }

    fn checkpoint(&mut self) -> io::Result<Checkpoint> {
        let sum = self.0.lock().unwrap().1;
        let manifest = Manifest {
            files: Vec::new(),
            note: Bytes::copy_from_slice(&sum.to_le_bytes()),
        };
        let files = Arc::new(NoFiles);
        Ok(Checkpoint { manifest, files })
    }

    fn stage(&mut self, manifest: &Manifest) -> io::Result<Box<dyn Staging>> {
        let sum = manifest
            .note
            .as_ref()
            .try_into()
            .map_err(io::Error::other)?;
        Ok(Box::new(StagedSum(u64::from_le_bytes(sum))))
    }

    fn install(&mut self, staged: Box<dyn Staging>, applied: LogId) -> io::Result<()> {
        let staged = staged.into_any().downcast::<StagedSum>();
        let staged = staged.map_err(|_| io::Error::other("staged elsewhere"))?;
        *self.0.lock().unwrap() = (Some(applied), staged.0);
        Ok(())
    }
}

#[derive(Debug)]
struct NoFiles;

impl CheckpointFiles for NoFiles {
    fn read(&self, _: usize, _: u64, _: usize) -> io::Result<Bytes> {
        Err(io::ErrorKind::NotFound.into())
    }
}

struct StagedSum(u64);

impl Staging for StagedSum {
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }

    fn needed_from(&mut self, _: usize, about: &ManifestFile) -> io::Result<u64> {
        Ok(about.bytes)
    }

    fn write(&mut self, _: usize, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn member(node: NodeId) -> Member {
    Member {
        address: format!("node-{node}:4152"),
    }
}

async fn start(wires: &Wires, node: NodeId, folder: &Path, sum: &Sum) -> Group {
    let network = Arc::new(Wire {
        wires: wires.clone(),
        me: node,
    });
    let group = start_on(network, node, folder, sum).await;
    wires.0.lock().unwrap().insert(node, group.clone());
    group
}

async fn start_on(network: Arc<dyn Network>, node: NodeId, folder: &Path, sum: &Sum) -> Group {
    let lane = || Arc::new(ThreadLane::start("test").unwrap()) as Arc<dyn Lane>;
    let lanes = WalLanes {
        writer: lane(),
        reader: lane(),
    };
    let options = WalOptions {
        segment_bytes: 64 << 10,
        ..WalOptions::new(Durability::Written)
    };
    let opened = Wal::open(&folder.join("wal"), options, lanes).unwrap();
    let Opening::Ready(wal) = opened else {
        panic!("node {node} is not trusted: {opened:?}");
    };
    let options = GroupOptions {
        group: GroupId(3),
        node,
        folder: folder.join("replica"),
        network,
        transfers: Arc::new(Transfers::new(node.0 << 32)),
        applier: lane(),
        reader: lane(),
        limits: GroupLimits {
            max_entry_bytes: 10_000,
            kept_log_bytes: 128 << 10,
            max_log_bytes: 256 << 10,
            ..GroupLimits::default()
        },
    };
    let group = Group::start(options, wal, Box::new(sum.clone())).await;
    group.unwrap()
}

/// Waits until the group has a leader that is confirmed.
async fn leader(groups: &BTreeMap<NodeId, Group>) -> (NodeId, Group) {
    for _ in 0..600 {
        for (node, group) in groups {
            let is_leader = group.standing().borrow().role == Role::Leader;
            if is_leader && group.confirm_leadership().await.is_ok() {
                return (*node, group.clone());
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no node leads");
}

async fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..600 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what} did not come to be");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_elect_replicate_hand_over_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let wires = Wires::default();
    let nodes: Vec<_> = (1..=4).map(NodeId).collect();
    let sums: BTreeMap<_, _> = nodes.iter().map(|node| (*node, Sum::default())).collect();
    let path = |node: NodeId| folder.path().join(node.to_string());
    let mut groups = BTreeMap::new();
    for &node in &nodes[..3] {
        groups.insert(node, start(&wires, node, &path(node), &sums[&node]).await);
    }
    let members: BTreeMap<_, _> = nodes[..3]
        .iter()
        .map(|node| (*node, member(*node)))
        .collect();
    for group in groups.values() {
        // A member that was quicker may have asked this one for its vote already.
        match group.initialize(members.clone()).await {
            Ok(()) | Err(ChangeError::Refused(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let (first, group) = leader(&groups).await;

    // Many at once share entries.
    let proposals = (0..500).map(|_| {
        let group = group.clone();
        tokio::spawn(async move { group.propose(Bytes::from_static(&[7; 100])).await })
    });
    let mut ids = BTreeSet::new();
    for proposal in proposals.collect::<Vec<_>>() {
        ids.insert(proposal.await.unwrap().unwrap().id);
    }
    assert!(ids.len() < 400, "500 proposals took {} entries", ids.len());
    let too_large = group.propose(Bytes::from(vec![0; 10_001])).await;
    assert!(matches!(too_large, Err(ProposeError::TooLarge { .. })));

    // Another one takes over on demand, and the first one says who it is.
    let second = *groups.keys().find(|node| **node != first).unwrap();
    group.transfer_to(second).await.unwrap();
    let taker = groups[&second].clone();
    let standing = taker.standing();
    wait_for("the handover", || standing.borrow().role == Role::Leader).await;
    taker.confirm_leadership().await.unwrap();
    wait_for("the news", || group.leader() == Some(second)).await;
    let refused = group.propose(Bytes::from_static(b"x")).await;
    let other = ProposeError::NotLeader {
        leader: Some(second),
    };
    assert_eq!(refused, Err(other));

    // So much that the log is purged; then a node without anything joins and gets a checkpoint.
    for _ in 0..60 {
        taker.propose(Bytes::from(vec![1; 9_000])).await.unwrap();
    }
    wait_for("the purge", || taker.metrics().purged.is_some()).await;
    let fourth = nodes[3];
    groups.insert(
        fourth,
        start(&wires, fourth, &path(fourth), &sums[&fourth]).await,
    );
    let (_, now) = leader(&groups).await;
    now.add_learner(fourth, member(fourth)).await.unwrap();
    let sum_of = |node: NodeId| sums[&node].0.lock().unwrap().1;
    let expected = 500 * 100 + 60 * 9_000;
    wait_for("the checkpoint", || sum_of(fourth) == expected).await;
    now.set_voters(nodes[1..].iter().copied().collect())
        .await
        .unwrap();

    // All stop in order and come back with what they had.
    for group in groups.values() {
        group.shutdown().await;
    }
    wires.0.lock().unwrap().clear();
    let mut again = BTreeMap::new();
    for &node in &nodes[1..] {
        again.insert(node, start(&wires, node, &path(node), &sums[&node]).await);
    }
    let (_, now) = leader(&again).await;
    let applied = now.propose(Bytes::from_static(b"12345")).await.unwrap();
    assert_eq!(applied.outcome, (expected + 5).to_le_bytes().as_slice());
    for node in &nodes[1..] {
        wait_for("agreement", || sum_of(*node) == expected + 5).await;
    }
    for group in again.values() {
        group.shutdown().await;
    }
}
