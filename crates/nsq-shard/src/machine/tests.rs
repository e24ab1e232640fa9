//! What a replica is after a crash of its machine.

use std::path::Path;

use nsq_cluster::codec::BatchBuilder;
use nsq_core::change::LogKind;
use nsq_core::{Ends, crash};
use nsq_queue::NewRecord;

use super::*;
use crate::ShardOptions;
use crate::codec;
use crate::simulation::node::{options_in, settings};

fn open(root: &Path, boot_id: &str) -> (Arc<Shard>, ShardMachine) {
    let boot_id = boot_id.to_owned();
    let options = ShardOptions {
        boot_id,
        ..options_in(root, 0)
    };
    Shard::open(options).unwrap()
}

fn batch(term: u64, commands: &[Command<'_>]) -> Batch {
    let mut bytes = Vec::new();
    codec::begin(&mut bytes, term);
    for command in commands {
        codec::put_command(&mut bytes, command);
    }
    let mut batch = BatchBuilder::default();
    batch.push(&bytes);
    batch.build()
}

fn publish(term: u64, ids: std::ops::Range<u64>) -> Batch {
    let name = "t".try_into().unwrap();
    let records: Vec<_> = ids
        .map(|id| NewRecord {
            id,
            timestamp: 1,
            due: 0,
            attempts: 0,
            body: &[b'x'; 100],
        })
        .collect();
    let publish = Command::Publish {
        topic: &name,
        log: LogKind::Main,
        records: &records,
    };
    batch(term, &[publish])
}

fn create(term: u64) -> Batch {
    let name = "t".try_into().unwrap();
    let channel = "c".try_into().unwrap();
    let create = [
        Command::CreateTopic(&name),
        Command::CreateChannel(&name, &channel),
    ];
    batch(term, &create)
}

fn entry(term: u64, index: u64) -> LogId {
    LogId { term, index }
}

fn ends(root: &Path) -> Ends {
    crash::ends_of(root, settings().log_options).unwrap()
}

#[test]
fn what_was_executed_and_not_stored_is_gone_after_a_crash_though_the_disk_has_it() {
    let [crashed, whole] = [(), ()].map(|()| tempfile::tempdir().unwrap());
    let (shard, mut machine) = open(crashed.path(), "one");
    machine.apply(entry(1, 1), &create(1)).unwrap();
    machine.apply(entry(1, 2), &publish(1, 10..20)).unwrap();
    shard.maintain().unwrap();
    machine.apply(entry(1, 3), &publish(1, 20..90)).unwrap();
    drop((shard, machine));
    // The log has lost entry 3 as well, and another one follows the second.
    let (shard, mut machine) = open(crashed.path(), "two");
    assert_eq!(machine.applied(), Some(entry(1, 2)));
    machine.apply(entry(2, 3), &publish(2, 200..205)).unwrap();
    shard.close().unwrap();
    let (shard, mut machine) = open(whole.path(), "one");
    machine.apply(entry(1, 1), &create(1)).unwrap();
    machine.apply(entry(1, 2), &publish(1, 10..20)).unwrap();
    machine.apply(entry(2, 3), &publish(2, 200..205)).unwrap();
    shard.close().unwrap();
    // Whatever is finished later has the same place on both.
    assert_eq!(ends(crashed.path()), ends(whole.path()));
}

#[test]
fn a_kill_leaves_what_was_executed() {
    let root = tempfile::tempdir().unwrap();
    let (shard, mut machine) = open(root.path(), "one");
    machine.apply(entry(1, 1), &create(1)).unwrap();
    machine.apply(entry(1, 2), &publish(1, 10..20)).unwrap();
    drop((shard, machine));
    let before = ends(root.path());
    drop(open(root.path(), "one"));
    assert_eq!(ends(root.path()), before);
}

#[test]
fn what_a_leader_had_executed_when_it_resigned_survives_a_crash_once_it_is_stored() {
    let root = tempfile::tempdir().unwrap();
    let (shard, mut machine) = open(root.path(), "one");
    machine.apply(entry(1, 1), &create(1)).unwrap();
    shard.lead(1).unwrap();
    machine.apply(entry(1, 2), &publish(1, 10..20)).unwrap();
    shard.follow().unwrap();
    shard.lead(1).unwrap();
    shard.follow().unwrap();
    shard.maintain().unwrap();
    drop((shard, machine));
    drop(open(root.path(), "two"));
    let ends = ends(root.path());
    assert_eq!(ends.values().next().map(|ends| ends.main), Some(10));
}

#[test]
fn parts_of_an_entry_that_is_not_in_the_log_any_more_count_for_no_other() {
    let root = tempfile::tempdir().unwrap();
    let (shard, mut machine) = open(root.path(), "one");
    machine.apply(entry(1, 1), &create(1)).unwrap();
    let (name, other) = ("t".try_into().unwrap(), "other".try_into().unwrap());
    // Pausing stores how far it has got; then the disk refuses.
    let pause = [Command::PauseTopic(&name, true)];
    machine.apply(entry(1, 2), &batch(1, &pause)).unwrap();
    let mut held = shard.held();
    held.meta.applied = Some(entry(1, 1));
    (held.meta.parts, held.meta.parts_term) = (1, 1);
    shard.store_meta(&mut held, &Ends::new()).unwrap();
    drop(held);
    drop((shard, machine));
    let (shard, mut machine) = open(root.path(), "two");
    let create = [Command::CreateTopic(&other)];
    machine.apply(entry(2, 2), &batch(2, &create)).unwrap();
    assert!(shard.topics(None).iter().any(|(topic, _)| *topic == other));
}
