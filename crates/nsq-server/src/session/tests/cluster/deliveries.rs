//! Messages of several shards on one subscription.

use std::sync::Arc;
use std::task::{Wake, Waker};

use nsq_protocol::RawMessageId;

use crate::Next;
use crate::testing::{Notes, TestNode, TestSession, at, commands};

/// The bodies and ids of the messages that the client has got.
fn got(consumer: &mut TestSession) -> Vec<(String, RawMessageId)> {
    let frames = consumer.frames().into_iter();
    let body = |text: String| text.trim_start_matches("message ").to_owned();
    frames
        .filter_map(|(text, id)| Some((body(text), id?)))
        .collect()
}

fn bodies(consumer: &mut TestSession) -> Vec<String> {
    got(consumer).into_iter().map(|(body, _)| body).collect()
}

#[test]
fn a_consumer_gets_the_messages_of_all_shards_and_finishes_each_where_it_is() {
    let node = TestNode::leading(&[1, 2, 3]);
    let mut consumer = node.consumer(1, 100);
    node.publish(1, &["a", "b"], at(1));
    node.publish(2, &["c"], at(1));
    node.publish(3, &["d", "e"], at(1));
    consumer.deliver(at(2));
    let got = got(&mut consumer);
    let mut bodies: Vec<_> = got.iter().map(|(body, _)| body.as_str()).collect();
    bodies.sort_unstable();
    assert_eq!(bodies, ["a", "b", "c", "d", "e"]);

    consumer.send(&commands("TOUCH", got.iter().map(|(_, id)| id), ""), at(3));
    consumer.send(&commands("REQ", [&got[0].1], " 0"), at(3));
    consumer.send(
        &commands("FIN", got[1..].iter().map(|(_, id)| id), ""),
        at(3),
    );
    consumer.deliver(at(4));
    let again = consumer.frames();
    assert_eq!(
        again.len(),
        1,
        "no error, and the message that was given back"
    );
    assert_eq!(again[0].1, Some(got[0].1));
    consumer.send(&commands("FIN", [&got[0].1], ""), at(5));
    assert_eq!(consumer.read().len(), 0);
    for shard in 1..=3 {
        let channel = node.channel(shard, "c").unwrap();
        let channel = channel.lock();
        assert_eq!((channel.depth(), channel.in_flight_count()), (0, 0));
    }
}

#[test]
fn a_message_that_no_shard_has_in_flight_is_refused_once() {
    let node = TestNode::leading(&[1, 2]);
    let mut consumer = node.consumer(1, 100);
    assert_eq!(consumer.send(b"FIN 0123456789abcdef\n", at(1)), Next::Wait);
    let refusal = "E_FIN_FAILED FIN 0123456789abcdef failed ID not in flight";
    assert_eq!(consumer.read(), [refusal]);
}

#[test]
fn a_message_of_another_client_is_refused_whichever_shard_has_it() {
    let node = TestNode::leading(&[1, 2]);
    let mut owner = node.consumer(1, 100);
    let mut other = node.consumer(2, 0);
    node.publish(1, &["a"], at(1));
    node.publish(2, &["b"], at(1));
    owner.deliver(at(1));
    for (_, id) in got(&mut owner) {
        other.send(&commands("REQ", [&id], " 0"), at(2));
        let id = String::from_utf8_lossy(&id).into_owned();
        let refusal = format!("E_REQ_FAILED REQ {id} failed client does not own message");
        assert_eq!(other.read(), [refusal]);
    }
}

#[test]
fn messages_of_an_id_that_says_nothing_of_the_shard_are_found_too() {
    let node = TestNode::leading(&[1, 2]);
    // Its ids look like those of shard 1.
    node.lead(1025);
    let mut consumer = node.consumer(1, 100);
    node.publish(1025, &["a"], at(1));
    consumer.deliver(at(1));
    let got = got(&mut consumer);
    consumer.send(&commands("FIN", [&got[0].1], ""), at(2));
    assert_eq!(consumer.read().len(), 0);
    assert_eq!(node.channel(1025, "c").unwrap().lock().in_flight_count(), 0);
}

#[test]
fn the_ready_count_holds_for_all_shards_together() {
    let node = TestNode::leading(&[1, 2]);
    let mut consumer = node.consumer(1, 3);
    node.publish(1, &["a", "b", "c"], at(1));
    node.publish(2, &["d", "e", "f"], at(1));
    consumer.deliver(at(2));
    let held = got(&mut consumer);
    assert_eq!(held.len(), 3);
    consumer.deliver(at(2));
    assert!(!consumer.session.wants_delivery());
    consumer.send(&commands("FIN", [&held[0].1, &held[2].1], ""), at(3));
    consumer.deliver(at(3));
    assert_eq!(bodies(&mut consumer).len(), 2);
    consumer.send(b"RDY 4\n", at(4));
    consumer.deliver(at(4));
    assert_eq!(bodies(&mut consumer).len(), 1);
}

#[test]
fn shards_take_turns_when_the_client_has_room_for_one_message() {
    let node = TestNode::leading(&[1, 2, 3]);
    let mut consumer = node.consumer(1, 1);
    for shard in 1..=3 {
        let name = shard.to_string();
        node.publish(shard, &[name.as_str(); 4], at(1));
    }
    let mut order = Vec::new();
    for _ in 0..9 {
        consumer.deliver(at(2));
        let got = got(&mut consumer);
        assert_eq!(got.len(), 1);
        order.push(got[0].0.clone());
        consumer.send(&commands("FIN", [&got[0].1], ""), at(2));
    }
    assert_eq!(order[..3], order[3..6]);
    assert_eq!(order[..3], order[6..]);
    order.truncate(3);
    order.sort_unstable();
    assert_eq!(order, ["1", "2", "3"]);
}

#[test]
fn a_client_that_is_full_leaves_the_messages_of_every_shard_to_others() {
    let node = TestNode::leading(&[1, 2]);
    let mut full = node.consumer(1, 1);
    let mut other = node.consumer(2, 10);
    full.deliver(at(1));
    other.deliver(at(1));
    // The first one waits longest, and is woken in both shards.
    node.publish(1, &["a"], at(2));
    node.publish(2, &["b"], at(2));
    full.deliver(at(3));
    assert_eq!(bodies(&mut full).len(), 1);
    other.deliver(at(3));
    assert_eq!(bodies(&mut other).len(), 1);
}

#[test]
fn a_client_that_does_not_read_leaves_the_messages_of_every_shard_to_others() {
    let node = TestNode::leading(&[1, 2]);
    let mut stuck = node.consumer(1, 10);
    let mut other = node.consumer(2, 10);
    stuck.deliver(at(1));
    other.deliver(at(1));
    stuck.session.outbox().handle_blocked(at(2).tick);
    node.publish(1, &["a"], at(2));
    node.publish(2, &["b"], at(2));
    stuck.deliver(at(3));
    other.deliver(at(3));
    assert_eq!(bodies(&mut other), ["a", "b"]);
}

#[test]
fn a_timeout_in_one_shard_makes_room_for_the_messages_of_another() {
    let node = TestNode::leading(&[1, 2]);
    let mut consumer = node.consumer(1, 2);
    node.publish(1, &["a", "b"], at(1));
    consumer.deliver(at(1));
    assert_eq!(bodies(&mut consumer).len(), 2);
    node.publish(2, &["c"], at(2));
    consumer.deliver(at(2));
    assert_eq!(bodies(&mut consumer).len(), 0);
    // It wants fewer: only when both messages have come back is there room again.
    consumer.send(b"RDY 1\n", at(3));
    consumer.deliver(at(3));
    node.channel(1, "c").unwrap().lock().set_paused(true);
    node.notes.timers.run_due(at(60_002), |_| {});
    consumer.deliver(at(60_002));
    assert_eq!(bodies(&mut consumer), ["c"]);
}

#[test]
fn a_closing_client_gets_no_more_of_any_shard() {
    let node = TestNode::leading(&[1, 2]);
    let mut consumer = node.consumer(1, 10);
    consumer.send(b"CLS\n", at(1));
    node.publish(1, &["a"], at(2));
    node.publish(2, &["b"], at(2));
    node.lead(3);
    node.publish(3, &["c"], at(2));
    consumer.deliver(at(3));
    consumer.deliver(at(3));
    assert_eq!(consumer.read(), ["CLOSE_WAIT"]);
}

#[test]
fn a_turn_hands_out_at_most_1024_messages_of_all_shards() {
    let node = TestNode::leading(&[1, 2]);
    let mut consumer = node.consumer(1, 2500);
    for _ in 0..8 {
        node.publish(1, &["x"; 100], at(1));
        node.publish(2, &["y"; 100], at(1));
    }
    consumer.deliver(at(2));
    assert_eq!(bodies(&mut consumer).len(), 1024);
    assert!(consumer.session.wants_delivery());
    consumer.deliver(at(2));
    assert_eq!(bodies(&mut consumer).len(), 1600 - 1024);
    assert!(!consumer.session.wants_delivery());
}

#[test]
fn a_client_that_was_filled_by_one_shard_waits_in_no_other() {
    let node = TestNode::leading(&[1, 2]);
    let mut consumer = node.consumer(1, 2);
    node.publish(1, &["a"], at(1));
    consumer.deliver(at(1));
    node.publish(2, &["b"], at(2));
    consumer.deliver(at(2));
    let held = got(&mut consumer);
    consumer.send(&commands("FIN", [&held[1].1], ""), at(3));
    consumer.deliver(at(3));
    // Shard 1 comes first and has nothing, and shard 2 has more than there is room for.
    node.publish(2, &["c", "d"], at(30_000));
    consumer.deliver(at(30_000));
    assert_eq!(bodies(&mut consumer), ["c"]);
    // No one can have the message that comes back, so it wakes no one who waits for it.
    node.channel(1, "c").unwrap().lock().set_paused(true);
    node.notes.timers.run_due(at(60_001), |_| {});
    consumer.deliver(at(60_001));
    assert_eq!(bodies(&mut consumer), ["d"]);
}

/// Has the messages time out whose time has come when its client is woken.
struct Alarm(Arc<Notes>);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.timers.run_due(at(60_001), |_| {});
    }
}

#[test]
fn room_that_a_timeout_makes_during_a_turn_is_not_forgotten() {
    let node = TestNode::leading(&[1, 2, 3]);
    let mut consumer = node.consumer(1, 2);
    let mut other = node.consumer(2, 10);
    consumer.deliver(at(1));
    node.publish(3, &["a"], at(1));
    consumer.deliver(at(1));
    assert_eq!(bodies(&mut consumer), ["a"]);
    other.deliver(at(1));
    node.channel(3, "c").unwrap().lock().set_paused(true);
    // The client is woken by shards 1 and 2. Filled by 1, it leaves the message of 2 to the other one, and at that moment
    // what it has of 3 times out.
    node.publish(1, &["b"], at(60_001));
    node.publish(2, &["c"], at(60_001));
    let alarm = Waker::from(Arc::new(Alarm(Arc::clone(&node.notes))));
    other.session.client().register(&alarm);
    consumer.deliver(at(60_001));
    assert_eq!(bodies(&mut consumer), ["b"]);
    assert_eq!(node.channel(3, "c").unwrap().lock().in_flight_count(), 0);
    assert!(consumer.session.wants_delivery());
}
