//! Appends on their way to a follower, and checkpoints on demand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::{Sum, Wire, Wires, leader, member, start, start_on, wait_for};
use crate::codec::{Answer, AppendAnswer, Entry, EntryBody, LogId, Membership, Request, Vote};
use crate::network::{Calling, Network};
use crate::raft::MAX_CALLS;
use crate::{GroupId, Member, NodeId};

/// A network that holds the answers to appends with entries back while its gate is closed.
#[derive(Debug)]
struct Gated {
    wire: Wire,
    is_open: watch::Receiver<bool>,
    under_way: Arc<AtomicUsize>,
}

impl Network for Gated {
    fn call(
        &self,
        to: NodeId,
        member: &Member,
        request: Request,
        timeout: Option<Duration>,
    ) -> Calling {
        let has_entries =
            matches!(&request, Request::Append { entries, .. } if !entries.is_empty());
        let calling = self.wire.call(to, member, request, timeout);
        if !has_entries {
            return calling;
        }
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let (mut is_open, under_way) = (self.is_open.clone(), Arc::clone(&self.under_way));
        Box::pin(async move {
            let answer = calling.await;
            let _ = is_open.wait_for(|is_open| *is_open).await;
            under_way.fetch_sub(1, Ordering::SeqCst);
            answer
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_sends_further_entries_before_the_first_are_answered_but_not_without_limit() {
    let folder = tempfile::tempdir().unwrap();
    let wires = Wires::default();
    let (gate, is_open) = watch::channel(true);
    let under_way = Arc::new(AtomicUsize::new(0));
    let (one, two) = (NodeId(1), NodeId(2));
    let gated = Gated {
        wire: Wire {
            wires: wires.clone(),
            me: one,
        },
        is_open,
        under_way: Arc::clone(&under_way),
    };
    let sums = [Sum::default(), Sum::default()];
    let group = start_on(Arc::new(gated), one, &folder.path().join("1"), &sums[0]).await;
    wires.0.lock().unwrap().insert(one, group.clone());
    let follower = start(&wires, two, &folder.path().join("2"), &sums[1]).await;
    let members = BTreeMap::from([(one, member(one))]);
    group.initialize(members).await.unwrap();
    let groups = BTreeMap::from([(one, group.clone())]);
    leader(&groups).await;
    group.add_learner(two, member(two)).await.unwrap();
    // While a leader looks for the end of a follower's log it sends one append and waits for its answer, so the gate stays
    // open until an answer has come back.
    wait_for("the follower's first answer", || {
        let held = group.metrics().held_by;
        held.get(&two).is_some_and(Option::is_some)
    })
    .await;

    // One entry after the other, each committed by the leader alone; the follower's answers are held back.
    gate.send_replace(false);
    let mut count = 0;
    // On a busy machine several entries may go into one append.
    while under_way.load(Ordering::SeqCst) < 4 {
        group.propose(Bytes::from_static(&[7; 100])).await.unwrap();
        count += 1;
        assert!(count < 5000, "there is one append at a time");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for _ in 0..MAX_CALLS + 20 {
        group.propose(Bytes::from_static(&[7; 100])).await.unwrap();
        count += 1;
    }
    assert!(under_way.load(Ordering::SeqCst) <= MAX_CALLS);
    gate.send_replace(true);
    let expected = count * 100;
    wait_for("the follower", || sums[1].0.lock().unwrap().1 == expected).await;
    for group in [group, follower] {
        group.shutdown().await;
    }
}

/// A network that counts the appends without entries.
#[derive(Debug)]
struct Counted {
    wire: Wire,
    empty: Arc<AtomicUsize>,
}

impl Network for Counted {
    fn call(
        &self,
        to: NodeId,
        member: &Member,
        request: Request,
        timeout: Option<Duration>,
    ) -> Calling {
        if matches!(&request, Request::Append { entries, .. } if entries.is_empty()) {
            self.empty.fetch_add(1, Ordering::SeqCst);
        }
        self.wire.call(to, member, request, timeout)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_is_told_what_is_committed_every_few_milliseconds_and_not_after_each_entry() {
    let folder = tempfile::tempdir().unwrap();
    let wires = Wires::default();
    let empty = Arc::new(AtomicUsize::new(0));
    let (one, two) = (NodeId(1), NodeId(2));
    let counted = Counted {
        wire: Wire {
            wires: wires.clone(),
            me: one,
        },
        empty: Arc::clone(&empty),
    };
    let sums = [Sum::default(), Sum::default()];
    let group = start_on(Arc::new(counted), one, &folder.path().join("1"), &sums[0]).await;
    wires.0.lock().unwrap().insert(one, group.clone());
    let follower = start(&wires, two, &folder.path().join("2"), &sums[1]).await;
    let members = BTreeMap::from([(one, member(one))]);
    group.initialize(members).await.unwrap();
    leader(&BTreeMap::from([(one, group.clone())])).await;
    group.add_learner(two, member(two)).await.unwrap();
    wait_for("the follower's first answer", || {
        let held = group.metrics().held_by;
        held.get(&two).is_some_and(Option::is_some)
    })
    .await;

    let (begun, before) = (tokio::time::Instant::now(), empty.load(Ordering::SeqCst));
    for _ in 0..300 {
        group.propose(Bytes::from_static(&[7; 100])).await.unwrap();
    }
    // Nothing follows, and it learns of the last one too.
    wait_for("the follower", || sums[1].0.lock().unwrap().1 == 300 * 100).await;
    let told = empty.load(Ordering::SeqCst) - before;
    let times = begun.elapsed().as_millis() / 5;
    // Heartbeats have no entries either.
    let heartbeats = begun.elapsed().as_millis() / 100 + 3;
    assert!(
        (told as u128) <= times + heartbeats,
        "{told} requests in {:?}",
        begun.elapsed()
    );
    for group in [group, follower] {
        group.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_joins_after_a_checkpoint_on_demand_gets_the_state_and_not_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let wires = Wires::default();
    let (one, two) = (NodeId(1), NodeId(2));
    // The owner has data that its log knows nothing of.
    let sums = [Sum::default(), Sum::default()];
    sums[0].0.lock().unwrap().1 = 5000;
    let group = start(&wires, one, &folder.path().join("1"), &sums[0]).await;
    let members = BTreeMap::from([(one, member(one))]);
    group.initialize(members).await.unwrap();
    leader(&BTreeMap::from([(one, group.clone())])).await;
    group.propose(Bytes::from_static(&[7; 100])).await.unwrap();
    group.checkpoint_now().await.unwrap();
    let metrics = group.metrics();
    assert_eq!(metrics.purged, metrics.applied);
    // Once more changes nothing.
    group.checkpoint_now().await.unwrap();

    let follower = start(&wires, two, &folder.path().join("2"), &sums[1]).await;
    group.add_learner(two, member(two)).await.unwrap();
    group.propose(Bytes::from_static(&[7; 11])).await.unwrap();
    wait_for("the state", || sums[1].0.lock().unwrap().1 == 5111).await;
    group.set_voters([one, two].into()).await.unwrap();
    group.checkpoint_now().await.unwrap();
    group.propose(Bytes::from_static(&[7; 9])).await.unwrap();
    wait_for("more of it", || sums[1].0.lock().unwrap().1 == 5120).await;
    for group in [group, follower] {
        group.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_has_executed_what_its_leader_does_not_have_takes_no_more_entries() {
    let folder = tempfile::tempdir().unwrap();
    let wires = Wires::default();
    let (one, two) = (NodeId(1), NodeId(2));
    let sum = Sum::default();
    let group = start(&wires, one, &folder.path().join("1"), &sum).await;
    let members = BTreeMap::from([(one, member(one))]);
    group.initialize(members).await.unwrap();
    let groups = BTreeMap::from([(one, group.clone())]);
    leader(&groups).await;
    let executed = group.propose(Bytes::from_static(b"x")).await.unwrap().id;
    wait_for("the entry", || group.metrics().applied == Some(executed)).await;
    let append = |previous: LogId, entries: &[LogId]| Request::Append {
        group: GroupId(3),
        vote: Vote {
            term: executed.term + 5,
            node: two,
            is_committed: true,
        },
        previous: Some(previous),
        committed: None,
        entries: entries
            .iter()
            .map(|id| Entry {
                id: *id,
                body: EntryBody::Blank,
            })
            .collect(),
    };
    let next = LogId {
        term: executed.term + 5,
        index: executed.index + 1,
    };
    let answer = group.handle(two, append(executed, &[next])).await;
    assert_eq!(answer, Answer::Append(AppendAnswer::Success));
    assert_eq!(group.divergence(), None);
    // A leader that was elected without the executed entry has another one in its place.
    let other = LogId {
        term: executed.term + 5,
        ..executed
    };
    let before = LogId {
        index: executed.index - 1,
        ..executed
    };
    for request in [append(before, &[other, next]), append(other, &[])] {
        let answer = group.handle(two, request).await;
        assert!(matches!(&answer, Answer::Refused(_)), "{answer:?}");
        assert!(group.divergence().is_some());
    }
    group.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_knows_members_whose_entries_a_kill_has_taken_receives_them_again() {
    let folder = tempfile::tempdir().unwrap();
    let wires = Wires::default();
    let (one, two) = (NodeId(1), NodeId(2));
    let sums = [Sum::default(), Sum::default()];
    let group = start(&wires, one, &folder.path().join("1"), &sums[0]).await;
    let members = BTreeMap::from([(one, member(one))]);
    group.initialize(members).await.unwrap();
    leader(&BTreeMap::from([(one, group.clone())])).await;

    // It was killed before any of this was in its log.
    let killed = folder.path().join("2");
    let known = LogId { term: 1, index: 9 };
    let alone = Membership::alone(one, member(one));
    crate::raft::store_members(&killed.join("replica"), known, alone).unwrap();
    let follower = start(&wires, two, &killed, &sums[1]).await;
    group.add_learner(two, member(two)).await.unwrap();
    group.propose(Bytes::from_static(&[7; 100])).await.unwrap();
    wait_for("the follower", || sums[1].0.lock().unwrap().1 == 100).await;
    assert_eq!(follower.standing().borrow().failure, None);
    for group in [group, follower] {
        group.shutdown().await;
    }
}
