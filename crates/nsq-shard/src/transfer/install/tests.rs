//! Replacing and removing what a replica has, killed at every step.

use std::cell::Cell;
use std::ffi::OsString;
use std::io;
use std::path::Path;

use nsq_cluster::codec::{BatchBuilder, LogId};
use nsq_cluster::state_machine::StateMachine;
use nsq_core::command::Command;
use nsq_queue::NewRecord;

use crate::codec;
use crate::simulation::node::{Contents, copy_folder, options_in};
use crate::{Shard, ShardMachine};

thread_local! {
    /// After so many steps the process is killed.
    static STEPS_LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
}

pub(super) fn step() -> io::Result<()> {
    STEPS_LEFT.with(|left| {
        let next = left.get().checked_sub(1);
        left.set(next.unwrap_or(0));
        next.map(drop).ok_or_else(|| io::Error::other("killed"))
    })
}

/// Runs `work`, which is killed after `steps` steps.
fn killed_after<T>(steps: usize, work: impl FnOnce() -> T) -> T {
    STEPS_LEFT.set(steps);
    let done = work();
    STEPS_LEFT.set(usize::MAX);
    done
}

const ID: LogId = LogId { term: 3, index: 9 };

/// A replica with a topic that has one message.
fn filled(root: &Path, topic: &str) {
    let (shard, mut machine) = Shard::open(options_in(root, 0)).unwrap();
    std::fs::write(root.join("nsqd.lock"), "of nsqd").unwrap();
    let name = topic.try_into().unwrap();
    let channel = "c".try_into().unwrap();
    let record = NewRecord {
        id: 8,
        timestamp: 1,
        due: 0,
        attempts: 0,
        body: topic.as_bytes(),
    };
    let mut bytes = Vec::new();
    codec::begin(&mut bytes, 3);
    let commands = [
        Command::CreateTopic(&name),
        Command::CreateChannel(&name, &channel),
        Command::Publish {
            topic: &name,
            log: nsq_core::change::LogKind::Main,
            records: &[record],
        },
    ];
    for command in &commands {
        codec::put_command(&mut bytes, command);
    }
    let mut batch = BatchBuilder::default();
    batch.push(&bytes);
    machine.apply(ID, &batch.build()).unwrap();
    shard.close().unwrap();
}

/// Receives the files of the replica in `from`, and installs them.
fn install(machine: &mut ShardMachine, from: &Path) -> io::Result<()> {
    let copy = tempfile::tempdir().unwrap();
    copy_folder(from, copy.path());
    let (_shard, mut other) = Shard::open(options_in(copy.path(), 0)).unwrap();
    let checkpoint = other.checkpoint().unwrap();
    let mut staged = machine.stage(&checkpoint.manifest).unwrap();
    for (number, file) in checkpoint.manifest.files.iter().enumerate() {
        let start = staged.needed_from(number, file).unwrap();
        let rest = usize::try_from(file.bytes - start).unwrap();
        let bytes = checkpoint.files.read(number, start, rest).unwrap();
        staged.write(number, start, &bytes).unwrap();
    }
    let applied = LogId { term: 3, index: 20 };
    // Opening the other one took steps of its own.
    let left = KILL_AFTER.get();
    killed_after(left, || machine.install(staged, applied))
}

thread_local! {
    static KILL_AFTER: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The topics in a replica's folder, and up to which entry it has applied. Nothing of a transfer is left in it.
fn found(root: &Path, again_after: usize) -> (Vec<String>, Option<u64>) {
    // Killed again while it starts.
    let started = killed_after(again_after, || Shard::open(options_in(root, 0)));
    drop(started);
    let (shard, machine) = Shard::open(options_in(root, 0)).unwrap();
    let applied = machine.applied().map(|id| id.index);
    shard.close().unwrap();
    let contents = Contents::of(root);
    for (topic, channels) in &contents.channels {
        assert!(channels["c"].contains(topic), "{contents:?}");
    }
    let of_shard = std::fs::read_dir(root.join("cluster/shard-7")).unwrap();
    let names: Vec<_> = of_shard.map(|entry| entry.unwrap().file_name()).collect();
    let is_its_own = |name: &OsString| name == "meta" || name == "ahead";
    assert!(names.iter().all(is_its_own), "{names:?}");
    let stranger = std::fs::read_to_string(root.join("nsqd.lock")).unwrap();
    assert_eq!(stranger, "of nsqd");
    (contents.channels.into_keys().collect(), applied)
}

/// Kills `work` on a copy of a replica at every step, and the start after it too. Returns what was found.
fn at_every_step(
    work: impl Fn(&Shard, &mut ShardMachine) -> bool,
) -> Vec<(Vec<String>, Option<u64>)> {
    let original = tempfile::tempdir().unwrap();
    filled(original.path(), "old");
    let mut all = Vec::new();
    for steps in 0.. {
        let mut is_done = false;
        for again_after in 0..10 {
            let root = tempfile::tempdir().unwrap();
            copy_folder(original.path(), root.path());
            let (shard, mut machine) = Shard::open(options_in(root.path(), 0)).unwrap();
            KILL_AFTER.set(steps);
            is_done = work(&shard, &mut machine);
            drop((shard, machine));
            all.push(found(root.path(), again_after));
        }
        if is_done {
            assert!(steps > 5);
            break;
        }
    }
    all
}

#[test]
fn a_kill_while_a_checkpoint_is_installed_leaves_the_old_state_or_the_new_one() {
    let other = tempfile::tempdir().unwrap();
    filled(other.path(), "new");
    let all = at_every_step(|_, machine| install(machine, other.path()).is_ok());
    let old = (vec!["old".to_owned()], Some(9));
    let new = (vec!["new".to_owned()], Some(20));
    assert!(
        all.iter().all(|found| *found == old || *found == new),
        "{all:?}"
    );
    assert!(all.contains(&old) && all.last() == Some(&new));
}

#[test]
fn a_kill_while_a_replica_forgets_leaves_all_or_nothing() {
    let all = at_every_step(|shard, _| killed_after(KILL_AFTER.get(), || shard.forget()).is_ok());
    let old = (vec!["old".to_owned()], Some(9));
    let none = (Vec::new(), None);
    assert!(
        all.iter().all(|found| *found == old || *found == none),
        "{all:?}"
    );
    assert!(all.contains(&old) && all.last() == Some(&none));
}

/// How much of each segment of `from` a replica finds in the data of an earlier one, and whether it has the message then.
fn reused(from: &Path, previous: &Path) -> Vec<(u64, u64)> {
    let fresh = tempfile::tempdir().unwrap();
    let mut options = options_in(fresh.path(), 0);
    options.previous = Some(previous.to_owned());
    let (shard, mut machine) = Shard::open(options).unwrap();
    let (_from, mut other) = Shard::open(options_in(from, 0)).unwrap();
    let checkpoint = other.checkpoint().unwrap();
    let mut staged = machine.stage(&checkpoint.manifest).unwrap();
    let mut segments = Vec::new();
    for (number, file) in checkpoint.manifest.files.iter().enumerate() {
        let start = staged.needed_from(number, file).unwrap();
        let rest = usize::try_from(file.bytes - start).unwrap();
        let bytes = checkpoint.files.read(number, start, rest).unwrap();
        staged.write(number, start, &bytes).unwrap();
        if file.fingerprint != 0 {
            segments.push((start, file.bytes));
        }
    }
    let applied = LogId { term: 3, index: 20 };
    machine.install(staged, applied).unwrap();
    shard.close().unwrap();
    let contents = Contents::of(fresh.path());
    assert!(contents.channels["orders"]["c"].contains("orders"));
    segments
}

#[test]
fn whole_segments_of_an_earlier_replica_are_not_received_again() {
    let (source, earlier) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    filled(source.path(), "orders");
    let (shard, mut machine) = Shard::open(options_in(earlier.path(), 0)).unwrap();
    install(&mut machine, source.path()).unwrap();
    shard.close().unwrap();

    let previous = tempfile::tempdir().unwrap();
    copy_folder(earlier.path(), previous.path());
    let whole = reused(source.path(), previous.path());
    assert!(!whole.is_empty());
    assert!(
        whole.iter().all(|(found, bytes)| found == bytes),
        "{whole:?}"
    );

    let previous = tempfile::tempdir().unwrap();
    copy_folder(earlier.path(), previous.path());
    let segment = previous
        .path()
        .join("topics/orders.topic/main.00000000.log");
    let mut bytes = std::fs::read(&segment).unwrap();
    let body = bytes.windows(6).position(|text| text == b"orders").unwrap();
    bytes[body] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let damaged = reused(source.path(), previous.path());
    assert!(
        damaged.iter().any(|(found, bytes)| found < bytes),
        "{damaged:?}"
    );
}
