//! Looking at a channel's messages changes nothing, and shows what a client would get.

use std::sync::Arc;
use std::time::Duration;

use nsq_queue::LogOptions;

use crate::peek::{Peek, PeekLimits, PeekedMessage};
use crate::testing::{ALICE, BOB, MSG_TIMEOUT, SECOND, TestBroker, counts, finish_all};
use crate::topic::ChannelCell;

const ALL: PeekLimits = PeekLimits {
    messages: 100,
    body_bytes: 100,
};

fn peek(house: &TestBroker, cell: &Arc<ChannelCell>, messages: usize) -> Peek {
    let limits = PeekLimits { messages, ..ALL };
    cell.peek(limits, house.now).expect("the channel is there")
}

fn bodies<'a>(messages: impl IntoIterator<Item = &'a PeekedMessage>) -> Vec<String> {
    let bodies = messages.into_iter().map(|message| message.body.clone());
    bodies
        .map(|body| String::from_utf8(body).unwrap())
        .collect()
}

fn queued(house: &TestBroker, cell: &Arc<ChannelCell>) -> Vec<String> {
    bodies(&peek(house, cell, 100).queued)
}

#[test]
fn every_message_shows_where_it_is() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 2);
    let published = house.now;
    house.publish("t", &["a", "b", "c", "d"]);
    house.publish_deferred("t", "later", 9 * SECOND);
    house.pass(SECOND);
    let taken = house.now;
    let got = house.take(&cell, ALICE);
    house.pass(SECOND);
    house.requeue(&cell, ALICE, got[1].id, 2 * SECOND).unwrap();

    let seen = peek(&house, &cell, 100);
    assert_eq!(
        (seen.queued_total, seen.in_flight_total, seen.deferred_total),
        (2, 1, 2)
    );
    assert_eq!(bodies(&seen.queued), ["c", "d"]);
    assert_eq!(
        (seen.queued[0].attempts, seen.queued[0].timestamp),
        (0, published.unix_nanos)
    );
    let [held] = &seen.in_flight[..] else {
        panic!("{seen:?}")
    };
    assert_eq!((held.message.id, held.message.attempts), (got[0].id, 1));
    assert_eq!(held.client, ALICE);
    assert_eq!(held.delivered_at, taken.unix_nanos);
    assert_eq!(held.due_at, taken.unix_after(MSG_TIMEOUT));
    assert_eq!(
        bodies(seen.deferred.iter().map(|it| &it.message)),
        ["b", "later"]
    );
    assert_eq!(seen.deferred[0].message.attempts, 1);
    assert_eq!(seen.deferred[0].due_at, house.now.unix_after(2 * SECOND));
    assert_eq!(seen.deferred[1].due_at, published.unix_after(9 * SECOND));
}

#[test]
fn the_next_messages_show_in_the_order_in_which_a_client_gets_them() {
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 3);
    house.publish_numbered("t", "m", 8);
    for got in house.take(&cell, ALICE) {
        house.requeue(&cell, ALICE, got.id, Duration::ZERO).unwrap();
    }
    let expected = queued(&house, &cell);
    assert_eq!(expected.len(), 8);
    assert_eq!(peek(&house, &cell, 3).queued.len(), 3);
    house.subscribe(&cell, BOB, 100);
    assert_eq!(house.bodies(&cell, BOB), expected);
    assert_eq!(queued(&house, &cell), [""; 0]);
}

#[test]
fn what_falls_due_first_shows_first_however_many_there_are() {
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    for seconds in [7, 3, 9, 5, 1, 8] {
        house.publish_deferred("t", &format!("{seconds}"), seconds * SECOND);
    }
    let seen = peek(&house, &cell, 3);
    assert_eq!(seen.deferred_total, 6);
    assert_eq!(
        bodies(seen.deferred.iter().map(|it| &it.message)),
        ["1", "3", "5"]
    );
    assert!(peek(&house, &cell, 0).deferred.is_empty());
}

#[test]
fn a_long_body_shows_its_beginning_and_its_size() {
    let house = TestBroker::with(|settings| settings.log_options = LogOptions::default());
    let cell = house.channel("t", "c");
    house.publish("t", &[&"x".repeat(1 << 20), "short"]);
    let seen = peek(&house, &cell, 100);
    assert_eq!(
        (seen.queued[0].body.len(), seen.queued[0].body_bytes),
        (100, 1 << 20)
    );
    assert_eq!(
        (seen.queued[1].body.len(), seen.queued[1].body_bytes),
        (5, 5)
    );
}

#[test]
fn huge_bodies_make_the_list_shorter_not_the_look_longer() {
    let house = TestBroker::with(|settings| settings.log_options = LogOptions::default());
    let cell = house.channel("t", "c");
    let body = "x".repeat(1 << 20);
    for _ in 0..40 {
        house.publish("t", &[&body]);
    }
    let seen = peek(&house, &cell, 100);
    assert_eq!((seen.queued_total, seen.queued.len()), (40, 24));
}

#[test]
fn paused_and_memory_only_channels_are_shown_too() {
    let house = TestBroker::new();
    for (topic, name) in [("t", "c"), ("t", "c#ephemeral"), ("u#ephemeral", "c")] {
        let cell = house.channel(topic, name);
        house.subscribe(&cell, ALICE, 1);
        cell.lock().set_paused(true);
        house.publish(topic, &["a", "b"]);
        assert_eq!(queued(&house, &cell), ["a", "b"], "{topic}/{name}");
        assert!(house.take(&cell, ALICE).is_empty());
        house.topic(topic).empty().unwrap();
        cell.lock().empty();
    }
}

#[test]
fn what_a_paused_topic_holds_back_is_the_topics_and_not_the_channels() {
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.publish("t", &["a"]);
    house.topic("t").set_paused(true, house.now);
    house.publish("t", &["b", "c"]);
    house.publish_deferred("t", "later", 9 * SECOND);
    house.publish_deferred("t", "soon", SECOND);
    assert_eq!(queued(&house, &cell), ["a"]);
    let seen = house.topic("t").peek(ALL);
    assert_eq!((seen.queued_total, seen.deferred_total), (2, 2));
    assert_eq!(bodies(&seen.queued), ["b", "c"]);
    assert_eq!(
        bodies(seen.deferred.iter().map(|it| &it.message)),
        ["soon", "later"]
    );
    house.topic("t").set_paused(false, house.now);
    assert_eq!(house.topic("t").peek(ALL).queued, []);
    assert_eq!(queued(&house, &cell), ["a", "b", "c"]);
}

#[test]
fn after_a_restart_neither_the_finished_nor_what_is_out_shows_as_queued() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 5000);
    house.publish_numbered("t", "m", 4000);
    let got = house.take(&cell, ALICE);
    house.requeue(&cell, ALICE, got[0].id, 9 * SECOND).unwrap();
    house
        .requeue(&cell, ALICE, got[2].id, Duration::ZERO)
        .unwrap();
    finish_all(&cell, ALICE, &got[3..3990]);
    house.restart();
    let cell = house.channel("t", "c");
    let seen = peek(&house, &cell, 100);
    assert_eq!((seen.queued_total, seen.deferred_total), (12, 1));
    let shown = bodies(&seen.queued);
    assert_eq!(shown.len(), 12);
    house.subscribe(&cell, ALICE, 5000);
    assert_eq!(house.bodies(&cell, ALICE), shown);
}

#[test]
fn a_damaged_message_is_left_out_and_stays_for_others_to_find() {
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.publish("t", &["first", "broken", "last"]);
    let segment = std::fs::read_dir(house.topic_folder("t"))
        .unwrap()
        .flatten();
    let segment = segment.map(|entry| entry.path());
    let segment = segment
        .filter(|path| path.extension().is_some_and(|kind| kind == "log"))
        .find(|path| {
            std::fs::read(path)
                .unwrap()
                .windows(6)
                .any(|bytes| bytes == b"broken")
        })
        .expect("the message is in a segment");
    let bytes = std::fs::read(&segment).unwrap();
    let at = bytes
        .windows(6)
        .position(|bytes| bytes == b"broken")
        .unwrap();
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&segment)
        .unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"B", at as u64).unwrap();
    assert_eq!(queued(&house, &cell), ["first", "last"]);
    assert_eq!(cell.lock().stats(0).damaged_count, 0);
    assert_eq!(counts(&cell.lock()), (3, 0, 0));
}

#[test]
fn a_deleted_channel_shows_nothing() {
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.publish("t", &["a"]);
    house.topic("t").delete_channel("c");
    assert_eq!(cell.peek(ALL, house.now), None);
}

#[test]
fn looking_wakes_nobody_and_counts_nothing() {
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 2);
    house.publish_numbered("t", "m", 10);
    let got = house.take(&cell, ALICE);
    let before = house.topic("t").stats();
    for _ in 0..100 {
        assert_eq!(peek(&house, &cell, 5).queued.len(), 5);
        house.topic("t").peek(ALL);
    }
    assert_eq!(house.topic("t").stats(), before);
    assert_eq!(house.bells.take_all(), []);
    finish_all(&cell, ALICE, &got);
    assert_eq!(house.bodies(&cell, ALICE), ["m2", "m3"]);
}

#[test]
fn the_oldest_waiting_message_is_the_one_that_comes_next_or_came_back() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 1);
    let oldest = |cell: &Arc<ChannelCell>| cell.lock().oldest_published();
    assert_eq!(oldest(&cell), None);
    let first = house.now.unix_nanos;
    house.publish("t", &["a"]);
    // Its time to wait begins when it is due.
    house.publish_deferred("t", "later", SECOND);
    house.pass(2 * SECOND);
    let second = house.now.unix_nanos;
    house.publish("t", &["b"]);
    assert_eq!(oldest(&cell), Some(first));
    let got = house.take(&cell, ALICE);
    assert_eq!(oldest(&cell), Some(second), "the first is in flight");
    house
        .requeue(&cell, ALICE, got[0].id, Duration::ZERO)
        .unwrap();
    assert_eq!(oldest(&cell), Some(first), "it came back");
    assert_eq!(cell.lock().depth(), 2, "looking takes nothing");
}
