//! A leader's broker and a replica that follows, with the same commands: both are to hold the same, and between them
//! nothing may be lost, whichever node is killed.

mod model;

use std::collections::BTreeMap;

use crate::command::Command;
use nsq_queue::NewRecord;

use crate::change::LogKind;
use crate::replica::Replica;
use crate::testing::{
    ALICE, Pair, SECOND, SMALL_SEGMENTS, bytes_in, channel_name, contents_of, topic_name,
};

fn with_channel() -> Pair {
    let mut pair = Pair::new();
    pair.commit(Command::CreateTopic(topic_name("t")));
    pair.commit(Command::CreateChannel(topic_name("t"), channel_name("c")));
    pair
}

#[test]
fn a_replicated_topic_takes_committed_messages_only() {
    let mut pair = with_channel();
    let now = pair.now;
    let topic = pair.broker().topic("t").unwrap();
    let body: &[u8] = b"body";
    assert!(topic.publish([body].into_iter(), now).is_err());
    assert!(topic.publish_deferred(body, 1, now).is_err());
    assert!(topic.adopt(None, &[], now).is_err());
    assert!(topic.empty().is_err());
    topic.set_paused(true, now);
    assert!(!topic.is_paused());
    let made = topic.get_or_create_channel(channel_name("d"), now);
    assert!(made.is_err());
    assert!(!topic.delete_channel("c"));
    let broker = pair.broker();
    assert!(!broker.delete_topic("t"));
    let made = broker.get_or_create_topic(topic_name("u"), false, now);
    assert!(made.is_err());

    // What is ephemeral is not replicated.
    let ephemeral = topic_name("gone#ephemeral");
    let (gone, _) = broker.get_or_create_topic(ephemeral, false, now).unwrap();
    gone.publish([body].into_iter(), now).unwrap();
    let name = channel_name("e#ephemeral");
    let cell = topic.get_or_create_channel(name, now).unwrap();
    pair.publish("t", &["both".to_owned()], None);
    assert_eq!(pair.take(&cell, 10).len(), 1);
    assert_eq!(pair.take(&pair.cell("t", "c"), 10).len(), 1);
    assert!(topic.delete_channel("e#ephemeral"));
    assert!(pair.broker().delete_topic("gone#ephemeral"));
}

#[test]
fn a_topic_that_is_deleted_and_made_again_is_not_paused_after_a_kill() {
    let mut pair = with_channel();
    let (topic, channel) = (topic_name("t"), channel_name("c"));
    pair.commit(Command::PauseChannel(topic, channel, true));
    pair.commit(Command::DeleteChannel(topic, channel));
    pair.commit(Command::CreateChannel(topic, channel));
    pair.lead_again();
    let [leader, follower] = pair.contents();
    assert!(leader.contains_key("t:c paused false"), "{leader:?}");
    assert_eq!(leader, follower);
    pair.commit(Command::PauseTopic(topic, true));
    pair.commit(Command::DeleteTopic(topic));
    pair.commit(Command::CreateTopic(topic));
    pair.lead_again();
    let [leader, follower] = pair.contents();
    assert!(leader.contains_key("t paused false"), "{leader:?}");
    assert_eq!(leader, follower);
}

#[test]
fn messages_that_are_executed_again_after_all_of_them_were_freed_are_known() {
    let mut pair = with_channel();
    for round in 0..200 {
        pair.publish("t", &[format!("{round:0150}")], None);
        let cell = pair.cell("t", "c");
        let got = pair.take(&cell, 1);
        cell.lock().finish(ALICE, got[0].0, pair.now).unwrap();
        pair.flush();
    }
    pair.follow(usize::MAX);
    for _ in 0..3 {
        pair.maintain();
    }
    // Every node executes all of it once more.
    pair.kill_follower();
    pair.lead_again();
    let [leader, follower] = pair.contents();
    assert_eq!(leader["t:c paused false"].len(), 0);
    assert_eq!(leader, follower);
    pair.publish("t", &["next".to_owned()], None);
    assert_eq!(pair.take(&pair.cell("t", "c"), 10).len(), 1);
    for path in [pair.leader_path(), pair.follower_path()] {
        let bytes = bytes_in(&path.join("topics"));
        assert!(bytes < 64 << 10, "segments are freed: {bytes}");
    }
}

#[test]
fn a_resigned_broker_leaves_the_files_to_the_replica_and_its_clients_open() {
    let mut pair = with_channel();
    pair.publish("t", &["one".to_owned(), "two".to_owned()], None);
    let cell = pair.cell("t", "c");
    let got = pair.take(&cell, 1);
    pair.bells.take_all();
    let before = contents_of(pair.leader_path());
    pair.broker().resign(pair.now);
    assert_eq!(pair.bells.take_all(), [ALICE]);
    assert!(pair.bells.closed.lock().unwrap().is_empty());
    // A command that comes too late changes no file.
    let (id, now) = (got[0].0, pair.now);
    assert!(cell.lock().finish(ALICE, id, now).is_err());
    assert!(cell.lock().requeue(ALICE, id, SECOND, now).is_err());
    let late = Command::EmptyTopic(topic_name("t"));
    assert!(pair.broker().execute(&late, now).is_err());
    let held = |contents: &BTreeMap<String, Vec<String>>| contents["t:c paused false"].len();
    let after = contents_of(pair.leader_path());
    assert_eq!((held(&before), held(&after)), (2, 2));
}

#[test]
fn a_topic_that_is_emptied_gives_no_sequence_again() {
    let mut pair = with_channel();
    let topic = topic_name("t");
    pair.publish("t", &["kept".to_owned()], None);
    pair.commit(Command::PauseTopic(topic, true));
    pair.publish("t", &["dropped".to_owned(), "dropped too".to_owned()], None);
    let late = Some(50 * SECOND);
    pair.publish("t", &["dropped, late".to_owned()], late);
    pair.commit(Command::EmptyTopic(topic));
    pair.publish("t", &["after".to_owned()], None);
    pair.commit(Command::PauseTopic(topic, false));
    let cell = pair.cell("t", "c");
    assert_eq!(cell.lock().depth(), 2);
    assert_eq!(cell.lock().deferred_count(), 0);
    let bodies = pair.take(&cell, 10).into_iter().map(|(_, body)| body);
    assert_eq!(bodies.collect::<Vec<_>>(), ["kept", "after"]);
    let [leader, follower] = pair.contents();
    assert_eq!(leader["t:c paused false"].len(), 2);
    assert_eq!(leader, follower);
    // The marks of the leader's next life agree with the follower's.
    pair.lead_again();
    let cell = pair.cell("t", "c");
    assert_eq!(pair.take(&cell, 10).len(), 2);
}

#[test]
fn messages_that_an_ephemeral_channel_had_do_not_wait_for_a_durable_one() {
    let mut pair = Pair::new();
    let topic = topic_name("t");
    pair.commit(Command::CreateTopic(topic));
    pair.publish("t", &["first".to_owned()], None);
    let live = pair.broker().topic("t").unwrap();
    let ephemeral = live.get_or_create_channel(channel_name("e#ephemeral"), pair.now);
    assert_eq!(pair.take(&ephemeral.unwrap(), 10).len(), 1);
    // Only now does the follower learn of it.
    assert_eq!(pair.contents()[1]["t paused false"].len(), 1);
    pair.maintain();
    pair.flush();
    assert_eq!(pair.contents()[1]["t paused false"].len(), 0);
    pair.publish("t", &["second".to_owned()], None);
    pair.commit(Command::CreateChannel(topic, channel_name("c")));
    let [leader, follower] = pair.contents();
    assert_eq!(leader["t:c paused false"].len(), 1, "{leader:?}");
    assert_eq!(leader, follower);
}

#[test]
fn a_paused_topic_gives_a_new_channel_nothing_when_it_becomes_known_what_an_ephemeral_one_had() {
    let mut pair = Pair::new();
    let topic = topic_name("t");
    pair.commit(Command::CreateTopic(topic));
    pair.publish("t", &["first".to_owned()], None);
    let live = pair.broker().topic("t").unwrap();
    let ephemeral = live.get_or_create_channel(channel_name("e#ephemeral"), pair.now);
    assert_eq!(pair.take(&ephemeral.unwrap(), 10).len(), 1);
    pair.commit(Command::PauseTopic(topic, true));
    pair.maintain();
    pair.commit(Command::CreateChannel(topic, channel_name("c")));
    pair.flush();
    let [leader, follower] = pair.contents();
    assert_eq!(leader["t:c paused false"].len(), 0, "{leader:?}");
    assert_eq!(leader["t paused true"].len(), 1, "{leader:?}");
    assert_eq!(leader, follower);
    pair.commit(Command::PauseTopic(topic, false));
    let [leader, follower] = pair.contents();
    assert_eq!(leader["t:c paused false"].len(), 1, "{leader:?}");
    assert_eq!(leader, follower);
}

#[test]
fn a_leader_that_knew_more_follows_with_later_commands() {
    let mut pair = with_channel();
    let bodies: Vec<String> = (0..40).map(|at| format!("{at:0150}")).collect();
    pair.publish("t", &bodies, None);
    pair.follow(usize::MAX);
    let cell = pair.cell("t", "c");
    let got = pair.take(&cell, 40);
    for (id, _) in &got[..10] {
        cell.lock().finish(ALICE, *id, pair.now).unwrap();
    }
    for (id, _) in &got[10..20] {
        cell.lock().requeue(ALICE, *id, SECOND, pair.now).unwrap();
    }
    // Nothing of that was committed.
    pair.kill_leader();
    let cell = pair.cell("t", "c");
    let again = pair.take(&cell, 40);
    assert_eq!(again.len(), 40);
    for (id, _) in &again[5..35] {
        cell.lock().finish(ALICE, *id, pair.now).unwrap();
    }
    pair.publish("t", &["next".to_owned()], None);
    pair.flush();
    let [leader, follower] = pair.contents();
    // Without the first five, which only the former leader has finished.
    assert_eq!(leader["t:c paused false"].len(), 11);
    assert_eq!(follower["t:c paused false"].len(), 6);
    pair.maintain();
    pair.kill_leader();
    let cell = pair.cell("t", "c");
    assert_eq!(pair.take(&cell, 40).len(), 6);
}

#[test]
fn messages_after_damage_that_a_machine_crash_left_are_appended_again_in_their_places() {
    let folder = tempfile::tempdir().unwrap();
    let bodies: Vec<String> = (0..60).map(|at| format!("{at:0150}")).collect();
    let publish = |replica: &mut Replica, ids: std::ops::Range<u64>| {
        for id in ids {
            let record = NewRecord {
                id: id + 100,
                timestamp: 5,
                body: bodies[usize::try_from(id).unwrap()].as_bytes(),
                due: 0,
                attempts: 0,
            };
            let command = Command::Publish {
                topic: topic_name("t"),
                log: LogKind::Main,
                records: &[record],
            };
            replica.execute(&command).unwrap();
        }
    };
    {
        let mut replica = Replica::open(folder.path(), SMALL_SEGMENTS).unwrap();
        replica
            .execute(&Command::CreateTopic(topic_name("t")))
            .unwrap();
        publish(&mut replica, 0..20);
        replica.sync().unwrap();
        publish(&mut replica, 20..60);
    }
    // The crash takes some of the sectors that were not synced: there are whole records before, between and after.
    let mut damaged = 0;
    for entry in std::fs::read_dir(folder.path().join("topics/t.topic")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        for id in [25, 26, 40] {
            let body = bodies[id].as_bytes();
            if let Some(at) = bytes.windows(body.len()).position(|found| found == body) {
                bytes[at..at + body.len()].fill(0);
                damaged += 1;
            }
        }
        std::fs::write(&path, bytes).unwrap();
    }
    assert_eq!(damaged, 3);
    {
        let mut replica = Replica::open(folder.path(), SMALL_SEGMENTS).unwrap();
        publish(&mut replica, 20..60);
        replica.sync().unwrap();
    }
    let held = contents_of(folder.path());
    let waiting = &held["t paused false"];
    assert_eq!(waiting.len(), 60, "{waiting:?}");
}
