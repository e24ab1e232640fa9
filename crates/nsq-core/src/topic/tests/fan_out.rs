//! Which channel gets what.

use std::time::Duration;

use crate::broker::Change;
use crate::error::PublishError;
use crate::testing::{ALICE, SECOND, TestBroker, bytes_in, counts, finish_all};

/// A channel's messages, taken by a client that leaves again.
fn drain(house: &TestBroker, topic: &str, channel: &str) -> Vec<String> {
    let cell = house.channel(topic, channel);
    house.subscribe(&cell, ALICE, 1000);
    let got = house.take(&cell, ALICE);
    finish_all(&cell, ALICE, &got);
    cell.lock().unsubscribe(ALICE);
    got.into_iter().map(|message| message.body).collect()
}

#[test]
fn the_first_channel_gets_what_waited_and_later_ones_do_not() {
    let house = TestBroker::new();
    house.publish("t", &["a", "b"]);
    assert_eq!(house.topic("t").stats().depth, 2);
    house.channel("t", "c1");
    assert_eq!(house.topic("t").stats().depth, 0);
    house.channel("t", "c2");
    house.publish("t", &["c"]);
    assert_eq!(drain(&house, "t", "c1"), ["a", "b", "c"]);
    assert_eq!(drain(&house, "t", "c2"), ["c"]);
}

#[test]
fn a_paused_topic_holds_messages_also_for_channels_made_meanwhile() {
    let house = TestBroker::new();
    house.channel("t", "c1");
    house.publish("t", &["a"]);
    house.topic("t").set_paused(true, house.now);
    house.publish("t", &["b"]);
    house.publish_deferred("t", "late", SECOND);
    let c2 = house.channel("t", "c2");
    assert_eq!(counts(&c2.lock()), (0, 0, 0));
    assert_eq!(house.topic("t").stats().depth, 2);
    house.topic("t").set_paused(false, house.now);
    assert_eq!(house.topic("t").stats().depth, 0);
    assert_eq!(counts(&c2.lock()), (1, 0, 1));
    assert_eq!(drain(&house, "t", "c1"), ["a", "b"]);
    assert_eq!(drain(&house, "t", "c2"), ["b"]);
}

#[test]
fn a_topic_that_is_being_made_holds_messages_until_it_is_started() {
    let house = TestBroker::new();
    let name = nsq_protocol::TopicName::try_from("t").unwrap();
    let made = house.broker().get_or_create_topic(&name, true, house.now);
    let (topic, is_new) = made.unwrap();
    assert!(is_new);
    let c1 = house.channel("t", "c1");
    house.publish("t", &["a"]);
    let c2 = house.channel("t", "c2");
    assert_eq!(topic.stats().depth, 1);
    assert_eq!(c1.lock().depth(), 0);
    topic.start(house.now);
    assert_eq!((c1.lock().depth(), c2.lock().depth()), (1, 1));
}

#[test]
fn unpausing_wakes_waiting_clients() {
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 10);
    assert!(house.take(&cell, ALICE).is_empty());
    house.topic("t").set_paused(true, house.now);
    house.publish("t", &["a"]);
    assert!(house.bells.take_all().is_empty());
    house.topic("t").set_paused(false, house.now);
    assert_eq!(house.bells.take_all(), [ALICE]);
    assert_eq!(house.bodies(&cell, ALICE), ["a"]);
}

#[test]
fn emptying_a_topic_drops_only_what_no_channel_has() {
    let house = TestBroker::new();
    house.publish("t", &["a"]);
    house.publish_deferred("t", "b", SECOND);
    house.topic("t").empty().unwrap();
    assert_eq!(house.topic("t").stats().depth, 0);
    let cell = house.channel("t", "c");
    assert_eq!(counts(&cell.lock()), (0, 0, 0));
    house.publish("t", &["c"]);
    house.topic("t").empty().unwrap();
    assert_eq!(cell.lock().depth(), 1);
    house.topic("t").set_paused(true, house.now);
    house.publish("t", &["d"]);
    house.topic("t").empty().unwrap();
    house.publish("t", &["e"]);
    house.topic("t").set_paused(false, house.now);
    assert_eq!(drain(&house, "t", "c"), ["c", "e"]);
}

#[test]
fn after_the_last_channel_messages_pile_up_again() {
    let mut house = TestBroker::new();
    house.channel("t", "c");
    house.publish("t", &["a"]);
    house.publish_deferred("t", "a2", SECOND);
    assert!(house.topic("t").delete_channel("c"));
    assert!(!house.topic("t").delete_channel("c"));
    house.publish("t", &["b"]);
    house.publish_deferred("t", "b2", SECOND);
    assert_eq!(house.topic("t").stats().depth, 2);
    for is_kill in [true, false] {
        if is_kill {
            house.kill();
        } else {
            house.restart();
        }
        assert_eq!(house.topic("t").stats().depth, 2);
    }
    let cell = house.channel("t", "d");
    assert_eq!(
        counts(&cell.lock()),
        (2, 0, 0),
        "what was deferred is due by now"
    );
    let mut bodies = drain(&house, "t", "d");
    bodies.sort();
    assert_eq!(bodies, ["b", "b2"]);
    assert!(drain(&house, "t", "c").is_empty());
}

#[test]
fn a_channel_made_again_under_its_old_name_knows_nothing_of_the_old_one() {
    let mut house = TestBroker::new();
    let old = house.channel("t", "c");
    house.channel("t", "other");
    house.subscribe(&old, ALICE, 1000);
    house.publish_numbered("t", "m", 100);
    let held = house.take(&old, ALICE);
    house.requeue(&old, ALICE, held[0].id, SECOND).unwrap();
    house.topic("t").delete_channel("c");
    let new = house.channel("t", "c");
    house.publish("t", &["n"]);
    // The old one's client has not noticed yet.
    for message in &held[1..] {
        assert!(old.lock().finish(ALICE, message.id, house.now).is_err());
    }
    old.lock().empty();
    old.lock().maintain(house.now);
    old.lock().save(house.now);
    assert_eq!(counts(&new.lock()), (1, 0, 0));
    house.kill();
    assert_eq!(drain(&house, "t", "c"), ["n"]);
}

#[test]
fn a_topic_made_again_under_its_old_name_keeps_its_files() {
    let mut house = TestBroker::new();
    let old = house.topic("t");
    let old_cell = house.channel("t", "c");
    house.publish_numbered("t", "old", 500);
    house.subscribe(&old_cell, ALICE, 1000);
    house.take(&old_cell, ALICE);
    assert!(house.broker().delete_topic("t"));
    assert!(!house.broker().delete_topic("t"));
    let refused = old.publish([b"x".as_slice()].into_iter(), house.now);
    assert!(matches!(refused, Err(PublishError::Exiting)));
    assert_eq!(refused.unwrap_err().to_string(), "exiting");

    house.channel("t", "c");
    house.publish_numbered("t", "new", 500);
    // Someone still holds the old topic, and tidies up.
    old_cell.lock().empty();
    old.release();
    old.maintain(house.now);
    old.sync(house.now).unwrap();
    house.kill();
    let bodies = drain(&house, "t", "c");
    assert_eq!(bodies.len(), 500);
    assert!(bodies.iter().all(|body| body.starts_with("new")));
}

#[test]
fn a_pause_and_its_position_survive_restart_and_kill() {
    let mut house = TestBroker::new();
    house.channel("t", "c");
    house.publish("t", &["a"]);
    house.topic("t").set_paused(true, house.now);
    house.publish("t", &["b"]);
    house.restart();
    assert!(house.topic("t").is_paused());
    assert_eq!(house.topic("t").stats().depth, 1);
    house.publish("t", &["c"]);
    house.kill();
    assert_eq!(house.topic("t").stats().depth, 2);
    assert_eq!(drain(&house, "t", "c"), ["a"]);
    house.topic("t").set_paused(false, house.now);
    assert_eq!(drain(&house, "t", "c"), ["b", "c"]);
}

#[test]
fn a_kill_after_unpausing_brings_nothing_finished_back() {
    let mut house = TestBroker::new();
    house.channel("t", "c");
    house.topic("t").set_paused(true, house.now);
    house.publish("t", &["a", "b"]);
    house.broker().save_metadata().unwrap();
    house.topic("t").set_paused(false, house.now);
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 10);
    let got = house.take(&cell, ALICE);
    finish_all(&cell, ALICE, &got[1..]);
    // The kill comes before nsqd.dat is written again.
    house.kill();
    assert!(house.topic("t").is_paused());
    house.publish("t", &["c"]);
    assert_eq!(drain(&house, "t", "c"), ["a"]);
    house.topic("t").set_paused(false, house.now);
    assert_eq!(drain(&house, "t", "c"), ["c"]);
}

#[test]
fn what_only_an_ephemeral_channel_had_is_not_offered_again() {
    let mut house = TestBroker::new();
    house.channel("t", "c#ephemeral");
    house.publish("t", &["a"]);
    assert_eq!(drain(&house, "t", "c#ephemeral"), ["a"]);
    house.topic("t").maintain(house.now);
    house.kill();
    assert_eq!(house.topic("t").stats().depth, 0);
    house.channel("t", "c#ephemeral");
    house.publish("t", &["b"]);
    house.restart();
    house.publish("t", &["c"]);
    assert_eq!(drain(&house, "t", "d"), ["c"]);
}

#[test]
fn a_position_beyond_a_log_that_lost_its_end_swallows_nothing() {
    let mut house = TestBroker::new();
    house.channel("t", "c");
    house.publish("t", &["a"]);
    let early = tempfile::tempdir().unwrap();
    crate::testing::copy_folder(&house.topic_folder("t"), early.path());
    house.publish_numbered("t", "m", 10);
    house.topic("t").delete_channel("c");
    house.broker().save_metadata().unwrap();
    let log = "main.00000000.log";
    std::fs::copy(early.path().join(log), house.topic_folder("t").join(log)).unwrap();
    house.kill();
    house.publish("t", &["b"]);
    house.kill();
    assert_eq!(drain(&house, "t", "c"), ["b"]);
}

#[test]
fn freed_segments_are_kept_for_reuse() {
    let house = TestBroker::with(|settings| {
        settings.log_options = nsq_queue::LogOptions {
            first_segment_bytes: 64 << 10,
            max_segment_bytes: 64 << 10,
        }
    });
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 10_000);
    for _ in 0..10 {
        house.publish_numbered("t", "m", 3000);
        let got = house.take(&cell, ALICE);
        finish_all(&cell, ALICE, &got);
        house.topic("t").maintain(house.now);
    }
    assert!(bytes_in(&house.path().join("topics/free")) > 0);
}

#[test]
fn the_last_finish_in_a_segment_frees_it() {
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 1000);
    house.publish_numbered("t", "m", 300);
    let before = bytes_in(&house.topic_folder("t"));
    let got = house.take(&cell, ALICE);
    let (first, rest) = got.split_at(1);
    cell.lock().finish(ALICE, first[0].id, house.now).unwrap();
    assert_eq!(bytes_in(&house.topic_folder("t")), before);
    finish_all(&cell, ALICE, rest);
    assert!(bytes_in(&house.topic_folder("t")) < before);
}

#[test]
fn a_backlog_that_is_worked_off_is_kept_tidy_without_new_messages() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    let topic = house.topic("t");
    house.publish_numbered("t", "m", 2000);
    for _ in 0..3 {
        topic.maintain(house.now);
    }
    assert!(!topic.maintain(house.now), "nobody used it since");
    let again = house.channel("t", "c");
    house.subscribe(&again, ALICE, 5000);
    assert!(topic.maintain(house.now), "somebody came");
    let got = house.take(&cell, ALICE);
    house
        .requeue(&cell, ALICE, got[0].id, 3600 * SECOND)
        .unwrap();
    finish_all(&cell, ALICE, &got[1..]);
    for _ in 0..3 {
        house.pass(Duration::from_secs(1));
        topic.maintain(house.now);
        topic.sync(house.now).unwrap();
    }
    assert!(cell.lock().shared().main_floor() >= 1999);
}

#[test]
fn changes_are_reported() {
    let house = TestBroker::new();
    house.channel("t", "c");
    house.channel("t", "c");
    house.topic("t").delete_channel("c");
    house.broker().delete_topic("t");
    let topic = || nsq_protocol::TopicName::try_from("t").unwrap();
    let channel = || nsq_protocol::ChannelName::try_from("c").unwrap();
    assert_eq!(
        *house.notes.changes.lock().unwrap(),
        [
            Change::TopicCreated(topic()),
            Change::ChannelCreated(topic(), channel()),
            Change::ChannelDeleted(topic(), channel()),
            Change::TopicDeleted(topic()),
        ]
    );
}

/// Compat: a topic counts what it was given, whether or not it had room (Topic.PutMessages, nsqd/topic.go).
#[test]
fn messages_that_a_topic_in_memory_had_no_room_for_count_as_published() {
    let house = TestBroker::with(|settings| settings.mem_queue_size = 3);
    house.publish("t#ephemeral", &["a", "bb", "ccc", "dddd", "eeeee"]);
    house.publish("t#ephemeral", &["f"]);
    for _ in 0..4 {
        house.publish_deferred("t#ephemeral", "gg", SECOND);
    }
    let stats = house.topic("t#ephemeral").stats();
    assert_eq!((stats.message_count, stats.message_bytes), (10, 24));
    assert_eq!((stats.depth, stats.dropped_count), (6, 4));
}
