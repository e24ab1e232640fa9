//! Checkpoints: read elsewhere, they hold what the data path held at their moment, whatever becomes of it meanwhile.

use std::path::Path;

use crate::checkpoint::DataFiles;
use crate::command::Command;
use crate::testing::{ALICE, Pair, SECOND, TestBroker, channel_name, contents_of, topic_name};

/// Writes the files of a checkpoint into a new folder.
fn restore(files: &DataFiles) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in &files.files {
        let path = folder.path().join(&file.name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut bytes = vec![0; usize::try_from(file.bytes).unwrap()];
        for (piece, offset) in bytes.chunks_mut(1000).zip((0..).step_by(1000)) {
            file.read_at(piece, offset).unwrap();
        }
        assert!(file.read_at(&mut [0], file.bytes).is_err());
        assert!(file.whole_bytes(u64::MAX).unwrap() <= file.bytes);
        std::fs::write(path, bytes).unwrap();
    }
    folder
}

fn finish(pair: &Pair, topic: &str, channel: &str, count: usize) {
    let cell = pair.cell(topic, channel);
    for (id, _) in pair.take(&cell, count) {
        cell.lock().finish(ALICE, id, pair.now).unwrap();
    }
}

fn eventful() -> Pair {
    let mut pair = Pair::new();
    for name in ["t", "u", "idle"] {
        pair.commit(Command::CreateTopic(topic_name(name)));
        for channel in ["c", "d"] {
            pair.commit(Command::CreateChannel(
                topic_name(name),
                channel_name(channel),
            ));
        }
        let bodies: Vec<_> = (0..300).map(|at| format!("{name}{at:0150}")).collect();
        pair.publish(name, &bodies, None);
        pair.publish(name, &[format!("{name}-late")], Some(50 * SECOND));
    }
    pair.commit(Command::PauseTopic(topic_name("u"), true));
    pair.publish("u", &["waits".to_owned()], None);
    pair.commit(Command::PauseChannel(
        topic_name("t"),
        channel_name("d"),
        true,
    ));
    finish(&pair, "t", "c", 100);
    let cell = pair.cell("t", "c");
    for (id, _) in pair.take(&cell, 10) {
        cell.lock().requeue(ALICE, id, SECOND, pair.now).unwrap();
    }
    pair.flush();
    pair.follow(usize::MAX);
    pair
}

/// Frees, rolls and deletes all that there was.
fn move_on(pair: &mut Pair) {
    pair.commit(Command::PauseChannel(
        topic_name("t"),
        channel_name("d"),
        false,
    ));
    pair.commit(Command::DeleteTopic(topic_name("idle")));
    pair.commit(Command::DeleteChannel(topic_name("u"), channel_name("d")));
    for round in 0..3 {
        for channel in ["c", "d"] {
            finish(pair, "t", channel, 10_000);
        }
        pair.flush();
        pair.follow(usize::MAX);
        pair.maintain();
        let bodies: Vec<_> = (0..300).map(|at| format!("{round}{at:0150}")).collect();
        pair.publish("t", &bodies, None);
    }
    pair.follow(usize::MAX);
}

fn has_links(path: &Path) -> bool {
    let entries = std::fs::read_dir(path.join("topics")).unwrap();
    let mut names = entries.map(|entry| entry.unwrap().file_name());
    names.any(|name| name.to_string_lossy().starts_with("checkpoint."))
}

#[test]
fn the_checkpoint_of_a_broker_holds_what_it_held() {
    let mut pair = eventful();
    let [wanted, _] = pair.contents();
    let (files, _) = pair.broker().checkpoint(pair.now).unwrap();
    let (again, _) = pair.broker().checkpoint(pair.now).unwrap();
    for (one, other) in files.files.iter().zip(&again.files) {
        assert_eq!(
            (&one.name, one.bytes, one.fingerprint),
            (&other.name, other.bytes, other.fingerprint)
        );
    }
    drop(again);
    move_on(&mut pair);
    assert_eq!(contents_of(restore(&files).path()), wanted);
    assert!(has_links(pair.leader_path()));
    drop(files);
    assert!(!has_links(pair.leader_path()));
}

#[test]
fn the_checkpoint_of_a_replica_holds_what_it_held() {
    let mut pair = eventful();
    let [wanted, _] = pair.contents();
    let names = |files: &DataFiles| -> Vec<String> {
        files.files.iter().map(|file| file.name.clone()).collect()
    };
    let (files, _) = pair.replica().checkpoint().unwrap();
    let named = names(&files);
    assert_eq!(contents_of(restore(&files).path()), wanted);
    drop(files);
    // A replica that has opened no topic has the same files.
    pair.sync();
    pair.kill_follower();
    let (quiet, _) = pair.replica().checkpoint().unwrap();
    assert_eq!(named, names(&quiet));
    let (files, _) = pair.replica().checkpoint().unwrap();
    move_on(&mut pair);
    for files in [files, quiet] {
        assert_eq!(contents_of(restore(&files).path()), wanted);
    }
}

#[test]
fn a_restored_checkpoint_follows() {
    let mut pair = eventful();
    let (files, _) = pair.broker().checkpoint(pair.now).unwrap();
    let folder = restore(&files);
    pair.replace_follower(folder);
    move_on(&mut pair);
    let [leader, follower] = pair.contents();
    assert_eq!(leader, follower);
    pair.kill_leader();
    finish(&pair, "t", "c", 10_000);
}

#[test]
fn a_truncation_does_not_change_a_checkpoint() {
    let house = TestBroker::new();
    house.publish_numbered("t", &"body".repeat(30), 100);
    house.broker().save_metadata().unwrap();
    let wanted = contents_of(house.path());
    let (files, _) = house.broker().checkpoint(house.now).unwrap();
    house.topic("t").empty().unwrap();
    house.publish_numbered("t", &"after".repeat(30), 200);
    assert_eq!(contents_of(restore(&files).path()), wanted);
}
