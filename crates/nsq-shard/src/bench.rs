//! What a message costs a replica, to be run by hand: `cargo test --release -p nsq-shard bench -- --ignored --nocapture`.

use std::sync::Arc;

use nsq_cluster::codec::{Batch, BatchBuilder, LogId};
use nsq_cluster::state_machine::StateMachine;
use nsq_core::Pending;
use nsq_core::command::Command;
use nsq_queue::LogOptions;

use crate::gathering::Enough;
use crate::simulation::Nothing;
use crate::simulation::node::{NOON, options_in};
use crate::{Shard, ShardMachine};

const BATCHES: u32 = 2000;
const MESSAGES: u32 = 200;

/// Nanoseconds that this thread has run.
fn ran() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse().unwrap()
}

fn open(folder: &tempfile::TempDir) -> (Arc<Shard>, ShardMachine) {
    let mut options = options_in(folder.path(), 0);
    options.core.log_options = LogOptions::default();
    Shard::open(options).unwrap()
}

#[test]
#[ignore = "a measurement"]
fn bench_of_publish_and_apply() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (leader, mut leaders) = open(&folders[0]);
    let (_follower, mut followers) = open(&folders[1]);
    let mut index = 1;
    let mut next = || {
        index += 1;
        LogId { term: 1, index }
    };
    leader.lead(1).unwrap();
    let leading = leader.leading().unwrap();
    let fence = leading.take(Enough::ANYTHING).unwrap();
    leading.note_changes(&fence.changes, &Ok(()));
    let topic = "t".try_into().unwrap();
    let channel = "c".try_into().unwrap();
    let pending = Pending::new(Arc::new(Nothing));
    leader
        .submit(&Command::CreateTopic(&topic), &pending)
        .unwrap();
    let create = Command::CreateChannel(&topic, &channel);
    leader.submit(&create, &pending).unwrap();
    let taken = |count: usize| -> Batch {
        let mut batch = BatchBuilder::default();
        for _ in 0..count {
            if let Some(proposal) = leading.take(Enough::ANYTHING) {
                batch.push(&proposal.bytes);
            }
        }
        batch.build()
    };
    let (id, first) = (next(), taken(1));
    leaders.apply(id, &first).unwrap();
    followers.apply(id, &first).unwrap();

    let body = [7_u8; 200];
    let mut spent = [0.0; 3];
    for _ in 0..BATCHES {
        let start = ran();
        let mut bodies = (0..MESSAGES).map(|_| &body[..]);
        leader
            .publish(&topic, &mut bodies, None, NOON, &pending)
            .unwrap();
        let batch = taken(1);
        let published = ran();
        let id = next();
        leaders.apply(id, &batch).unwrap();
        let led = ran();
        followers.apply(id, &batch).unwrap();
        for (spent, span) in spent
            .iter_mut()
            .zip([published - start, led - published, ran() - led])
        {
            *spent += span;
        }
    }
    for (what, spent) in ["publish", "apply at the leader", "apply at the follower"]
        .iter()
        .zip(spent)
    {
        let each = spent / f64::from(BATCHES * MESSAGES);
        eprintln!("{what}: {each:.0} ns for each message");
    }
}
