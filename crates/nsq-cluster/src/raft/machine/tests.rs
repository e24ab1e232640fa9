//! Members and state after a kill.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use futures_util::stream;
use openraft::storage::RaftStateMachine;

use super::*;
use crate::raft::Tokio;
use crate::raft::types::Entry;
use crate::testing::{HandLane, Record, Recorder, lock};

/// A replica's folder and the state that outlives its process.
struct Bench {
    folder: tempfile::TempDir,
    record: Arc<Mutex<Record>>,
}

impl Bench {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            record: Arc::default(),
        }
    }

    fn open(&self) -> Machine<Tokio> {
        let recorder = Recorder {
            record: Arc::clone(&self.record),
            installs: Arc::default(),
        };
        Machine::open(
            self.folder.path(),
            Arc::new(HandLane::default()),
            Box::new(recorder),
        )
        .unwrap()
    }

    /// Kills the process, which takes the state back to the entry before `end`, and starts it again.
    fn kill(&self, end: u64) -> Machine<Tokio> {
        lock(&self.record).applied = end.checked_sub(1).map(|index| id(1, index));
        self.open()
    }
}

fn id(term: u64, index: u64) -> codec::LogId {
    codec::LogId { term, index }
}

/// The members 1 to `count`, all of them voters.
fn members(count: u64) -> Membership {
    let nodes = (1..=count).map(NodeId);
    let voters: BTreeSet<_> = nodes.clone().collect();
    let nodes: BTreeMap<_, _> = nodes.map(|node| (node, Member::default())).collect();
    Membership::new(vec![voters], nodes).unwrap()
}

/// Applies the entry `index` of `term`, which makes it as many members.
async fn apply(machine: &mut Machine<Tokio>, term: u64, index: u64) {
    let entry = Entry {
        log_id: convert::to_log_id(id(term, index)),
        payload: Payload::Membership(members(index + 1)),
    };
    machine
        .apply(stream::iter([Ok((entry, None))]))
        .await
        .unwrap();
}

/// Checks that the members are those of the last of `end` entries.
async fn check(machine: &mut Machine<Tokio>, end: u64) {
    let expected = match end.checked_sub(1) {
        Some(last) => {
            let id = convert::to_log_id(id(1, last));
            (Some(id), StoredMembership::new(Some(id), members(end)))
        }
        None => (None, StoredMembership::default()),
    };
    assert_eq!(machine.applied_state().await.unwrap(), expected);
}

#[tokio::test]
async fn after_a_kill_the_members_are_those_of_the_state_and_not_newer_ones() {
    for end in 0..=5 {
        let bench = Bench::new();
        let mut machine = bench.open();
        for index in 0..5 {
            apply(&mut machine, 1, index).await;
        }
        check(&mut machine, 5).await;
        let mut machine = bench.kill(end);
        check(&mut machine, end).await;
        // Killed once more before anything else.
        let mut machine = bench.kill(end);
        check(&mut machine, end).await;
        for index in end..5 {
            apply(&mut machine, 1, index).await;
        }
        check(&mut machine, 5).await;
    }
}

#[tokio::test]
async fn members_whose_entry_the_group_has_lost_do_not_come_back() {
    let bench = Bench::new();
    let mut machine = bench.open();
    for index in 0..3 {
        apply(&mut machine, 1, index).await;
    }
    let mut machine = bench.kill(2);
    check(&mut machine, 2).await;
    // Other entries come in the place of the third.
    lock(&bench.record).applied = Some(id(2, 7));
    let (_, found) = bench.open().applied_state().await.unwrap();
    assert_eq!(found.membership(), &members(2));

    // The same where the state is left with nothing.
    let mut machine = bench.kill(0);
    check(&mut machine, 0).await;
    apply(&mut machine, 3, 8).await;
    lock(&bench.record).applied = Some(id(3, 5));
    let (_, found) = bench.open().applied_state().await.unwrap();
    assert_eq!(found.membership(), &members(9));
}

#[tokio::test]
async fn a_checkpoint_that_is_not_installed_leaves_the_members_and_one_that_is_brings_its_own() {
    let source = Bench::new();
    let mut of_leader = source.open();
    for index in 0..5 {
        apply(&mut of_leader, 1, index).await;
    }
    for is_installed in [false, true] {
        let bench = Bench::new();
        let mut machine = bench.open();
        for index in 0..2 {
            apply(&mut machine, 1, index).await;
        }
        let offered = of_leader.shared.snapshot().await.unwrap();
        machine
            .install_snapshot(&offered.meta, offered.snapshot)
            .await
            .unwrap();
        check(&mut machine, 5).await;
        // The members are stored before the state is.
        let end = if is_installed { 5 } else { 2 };
        let mut machine = bench.kill(end);
        check(&mut machine, end).await;
    }
}

#[tokio::test]
async fn many_changes_of_members_have_the_state_synced() {
    let bench = Bench::new();
    let mut machine = bench.open();
    for index in 0..100 {
        apply(&mut machine, 1, index).await;
    }
    let least = lock(&bench.record).synced.unwrap();
    assert!(least.index > 50, "{least}");
    let before = bench.folder.path().join("members.before");
    let most = 40 * 100 * 100;
    assert!(before.metadata().unwrap().len() < most);
    let mut machine = bench.kill(least.index + 1);
    check(&mut machine, least.index + 1).await;
}
