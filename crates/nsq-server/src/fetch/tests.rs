//! Consumers of one node that get messages which another node leads.

mod wire;

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use nsq_core::Now;
use nsq_protocol::{MessageId, RawMessageId};

use self::wire::Wire;
use super::{PATIENCE, Urgency};
use crate::feed::{Act, Event, Order};
use crate::testing::{TestNode, TestSession, at, commands};

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

/// The depth, in flight and deferred counts of the channel in shard 2, which the other node leads.
fn counts(leader: &TestNode) -> (u64, usize, usize) {
    let channel = leader.channel(2, "c").unwrap();
    let channel = channel.lock();
    (
        channel.depth(),
        channel.in_flight_count(),
        channel.deferred_count(),
    )
}

/// The attempts of the messages that wait, as the next consumer sees them.
fn next_attempts(leader: &TestNode, now: Now) -> Vec<u16> {
    let channel = leader.channel(2, "c").unwrap();
    let id = nsq_core::ClientId(77);
    let joining = crate::session::parts::Joining {
        msg_timeout: Duration::from_mins(1),
        sample_rate: 0,
        locality: nsq_core::Locality::Elsewhere,
        ready_count: 10,
        limit: 0,
    };
    let client = crate::Client::new(id, String::new(), String::new(), now);
    joining
        .join(&channel, id, std::sync::Arc::new(client))
        .unwrap();
    let mut attempts = Vec::new();
    let budget = nsq_core::channel::Budget {
        messages: 10,
        bytes: 1 << 20,
    };
    channel
        .lock()
        .take(id, budget, now, |message| attempts.push(message.attempts));
    attempts
}

#[test]
fn a_consumer_gets_what_another_node_leads_and_finishes_it_there() {
    let mut wire = Wire::new(&[1]);
    let mut consumer = wire.consumer(1, 10);
    wire.leader.publish(2, &["a", "b"], at(1));
    wire.here.publish(1, &["c"], at(1));
    wire.run(at(1));
    consumer.deliver(at(1));
    let held = got(&mut consumer);
    let mut names: Vec<_> = held.iter().map(|(body, _)| body.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(counts(&wire.leader), (0, 2, 0));

    consumer.send(&commands("FIN", held.iter().map(|(_, id)| id), ""), at(2));
    wire.run(at(2));
    assert_eq!(counts(&wire.leader), (0, 0, 0));
    assert_eq!(consumer.read().len(), 0, "no error");
}

#[test]
fn a_consumer_of_a_node_that_leads_nothing_is_served_by_others() {
    let mut wire = Wire::new(&[]);
    let mut consumer = wire.consumer(1, 1);
    for body in ["a", "b", "c"] {
        wire.leader.publish(2, &[body], at(1));
    }
    for body in ["a", "b", "c"] {
        wire.run(at(1));
        consumer.deliver(at(1));
        let held = got(&mut consumer);
        assert_eq!(held.len(), 1, "the ready count is 1");
        assert_eq!(held[0].0, body);
        consumer.send(&commands("FIN", [&held[0].1], ""), at(1));
    }
    wire.run(at(1));
    assert_eq!(counts(&wire.leader), (0, 0, 0));
}

/// Has the consumer get and finish one message after the other, and returns how urgent each FIN is for the leader.
fn finish_one_by_one(
    wire: &mut Wire,
    consumer: &mut TestSession,
    count: usize,
) -> Vec<Option<Urgency>> {
    let mut urgencies = Vec::new();
    for _ in 0..count {
        wire.leader.publish(2, &["a"], at(1));
        wire.run(at(1));
        consumer.deliver(at(1));
        let held = got(consumer);
        assert_eq!(held.len(), 1, "the ready count is 1");
        consumer.send(&commands("FIN", [&held[0].1], ""), at(1));
        let mut context = Context::from_waker(Waker::noop());
        urgencies.push(match wire.source.poll_orders(&mut context) {
            Poll::Ready(urgency) => Some(urgency),
            Poll::Pending => None,
        });
        consumer.deliver(at(1));
    }
    urgencies
}

#[test]
fn a_finish_waits_for_others_while_the_leader_may_hand_out_more() {
    let mut wire = Wire::new(&[]);
    let mut consumer = wire.consumer(1, 1);
    let urgencies = finish_one_by_one(&mut wire, &mut consumer, 20);
    // At first the leader may hand out one message at a time.
    assert_eq!(urgencies[0], Some(Urgency::AtOnce));
    // A quick consumer gets messages ahead, so that its next one need not wait for the FIN of the last one.
    assert_eq!(urgencies[10..], [Some(Urgency::CanWait); 10]);
}

#[test]
fn a_finish_that_makes_room_for_a_consumer_is_told_soon() {
    let mut wire = Wire::new(&[]);
    let mut consumer = wire.consumer(1, 9);
    wire.leader.publish(2, &["a"; 9], at(1));
    wire.run(at(1));
    consumer.deliver(at(1));
    let held = got(&mut consumer);
    assert_eq!(held.len(), 9);
    let mut urgencies = Vec::new();
    for (_, id) in &held[..5] {
        // It is not quick, so that no messages are fetched ahead.
        consumer.send(&commands("FIN", [id], ""), at(1000));
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(urgency) = wire.source.poll_orders(&mut context) {
            urgencies.push(urgency);
        }
    }
    let soon = [Urgency::Soon; 4];
    assert_eq!(urgencies[..4], soon, "it has enough to do");
    assert_eq!(urgencies[4..], [Urgency::AtOnce], "half of it is finished");
}

#[test]
fn the_leaders_own_consumers_come_first() {
    let mut wire = Wire::new(&[]);
    let mut far = wire.consumer(1, 10);
    let mut near = wire.leader.consumer(2, 2);
    near.deliver(at(1));
    wire.run(at(1));
    wire.leader.publish(2, &["a", "b", "c"], at(1));
    near.deliver(at(1));
    wire.run(at(1));
    far.deliver(at(1));
    assert_eq!(bodies(&mut near).len(), 2);
    assert_eq!(bodies(&mut far).len(), 1);
}

#[test]
fn what_finds_no_room_goes_back_without_an_attempt() {
    let mut wire = Wire::new(&[1]);
    let mut consumer = wire.consumer(1, 1);
    wire.run(at(1));
    // Both nodes have one for it, and it may hold one.
    wire.here.publish(1, &["here"], at(1));
    wire.leader.publish(2, &["there"], at(1));
    consumer.deliver(at(1));
    wire.run(at(1));
    consumer.deliver(at(1));
    assert_eq!(bodies(&mut consumer), ["here"]);
    assert_eq!(counts(&wire.leader), (0, 1, 0));

    let later = at(2 + u64::try_from(PATIENCE.as_millis()).unwrap());
    wire.fetcher.expire(later);
    wire.run(later);
    assert_eq!(counts(&wire.leader), (1, 0, 0), "it is not asked for again");
    assert_eq!(next_attempts(&wire.leader, later), [1]);
}

#[test]
fn what_finds_no_room_is_had_at_once_when_there_is_room_in_time() {
    let mut wire = Wire::new(&[1]);
    let mut consumer = wire.consumer(1, 1);
    wire.run(at(1));
    wire.here.publish(1, &["here"], at(1));
    wire.leader.publish(2, &["there"], at(1));
    consumer.deliver(at(1));
    wire.run(at(1));
    let held = got(&mut consumer);
    consumer.send(&commands("FIN", [&held[0].1], ""), at(3));
    // Without any exchange between the nodes.
    consumer.deliver(at(3));
    assert_eq!(bodies(&mut consumer), ["there"]);
}

#[test]
fn a_message_is_given_back_and_comes_again_with_another_attempt() {
    let mut wire = Wire::new(&[]);
    let mut consumer = wire.consumer(1, 5);
    wire.leader.publish(2, &["a", "b"], at(1));
    wire.run(at(1));
    consumer.deliver(at(1));
    let held = got(&mut consumer);
    consumer.send(&commands("REQ", [&held[0].1], " 0"), at(2));
    consumer.send(&commands("REQ", [&held[1].1], " 5000"), at(2));
    wire.run(at(2));
    assert_eq!(counts(&wire.leader), (0, 1, 1));
    consumer.deliver(at(2));
    assert_eq!(bodies(&mut consumer), ["a"]);
    wire.leader.notes.timers.run_due(at(5003), |_| ());
    wire.run(at(5003));
    consumer.deliver(at(5003));
    assert_eq!(bodies(&mut consumer), ["b"]);
}

#[test]
fn a_message_times_out_at_the_leader_and_its_client_has_room_again() {
    let mut wire = Wire::new(&[]);
    let mut consumer = wire.consumer(1, 1);
    wire.leader.publish(2, &["a", "b"], at(1));
    wire.run(at(1));
    consumer.deliver(at(1));
    let held = got(&mut consumer);
    assert_eq!(held.len(), 1);
    consumer.send(&commands("TOUCH", [&held[0].1], ""), at(30_000));
    wire.run(at(30_000));
    wire.leader.notes.timers.run_due(at(60_002), |_| ());
    wire.run(at(60_002));
    assert_eq!(counts(&wire.leader).1, 1, "it was touched");
    wire.leader.notes.timers.run_due(at(90_001), |_| ());
    wire.run(at(90_001));
    consumer.deliver(at(90_001));
    wire.run(at(90_001));
    consumer.deliver(at(90_001));
    let next = got(&mut consumer);
    assert_eq!(next.len(), 1);
    let id = String::from_utf8_lossy(&held[0].1).into_owned();
    if next[0].1 != held[0].1 {
        consumer.send(&commands("FIN", [&held[0].1], ""), at(90_002));
        let refusal = format!("E_FIN_FAILED FIN {id} failed ID not in flight");
        assert_eq!(consumer.read(), [refusal]);
    }
}

#[test]
fn a_message_times_out_although_its_client_has_been_full_for_long() {
    let mut wire = Wire::new(&[]);
    let mut consumer = wire.consumer(1, 1);
    wire.leader.publish(2, &["a"], at(1));
    wire.run(at(1));
    consumer.deliver(at(1));
    assert_eq!(bodies(&mut consumer), ["a"]);
    consumer.deliver(at(2));
    wire.fetcher.expire(at(1000));
    wire.run(at(1000));
    wire.leader.notes.timers.run_due(at(60_002), |_| ());
    wire.run(at(60_002));
    consumer.deliver(at(60_002));
    wire.run(at(60_002));
    consumer.deliver(at(60_002));
    assert_eq!(bodies(&mut consumer), ["a"], "it comes again");
}

#[test]
fn a_fin_that_comes_too_late_at_the_leader_is_refused_to_the_client() {
    let mut wire = Wire::new(&[]);
    let mut consumer = wire.consumer(1, 5);
    wire.leader.publish(2, &["a"], at(1));
    wire.run(at(1));
    consumer.deliver(at(1));
    let held = got(&mut consumer);
    wire.leader.channel(2, "c").unwrap().lock().empty();
    consumer.send(&commands("FIN", [&held[0].1], ""), at(2));
    assert_eq!(consumer.read().len(), 0);
    wire.run(at(2));
    consumer.deliver(at(2));
    let id = String::from_utf8_lossy(&held[0].1).into_owned();
    let refusal = format!("E_FIN_FAILED FIN {id} failed ID not in flight");
    assert_eq!(consumer.read(), [refusal]);
}

#[test]
fn a_node_that_is_gone_leaves_nothing_in_flight_and_room_for_others() {
    let mut wire = Wire::new(&[1]);
    let mut consumer = wire.consumer(1, 1);
    wire.leader.publish(2, &["there"], at(1));
    wire.run(at(1));
    consumer.deliver(at(1));
    let held = got(&mut consumer);
    assert_eq!(held[0].0, "there");
    wire.here.publish(1, &["here"], at(2));
    consumer.deliver(at(2));
    assert_eq!(bodies(&mut consumer).len(), 0, "it is full");

    wire.source.close();
    consumer.deliver(at(3));
    assert_eq!(bodies(&mut consumer), ["here"]);
    consumer.send(&commands("FIN", [&held[0].1], ""), at(3));
    let id = String::from_utf8_lossy(&held[0].1).into_owned();
    let refusal = format!("E_FIN_FAILED FIN {id} failed ID not in flight");
    assert_eq!(consumer.read(), [refusal]);
}

#[test]
fn everything_is_requeued_when_the_node_of_the_consumers_is_gone() {
    let mut wire = Wire::new(&[]);
    let mut consumer = wire.consumer(1, 10);
    wire.leader.publish(2, &["a", "b", "c"], at(1));
    wire.run(at(1));
    consumer.deliver(at(1));
    assert_eq!(bodies(&mut consumer).len(), 3);
    wire.end_feed(at(2));
    assert_eq!(counts(&wire.leader), (3, 0, 0));
    assert_eq!(
        wire.leader.channel(2, "c").unwrap().lock().client_count(),
        0
    );
}

/// A consumer holds two messages, has sent FIN for one of them, and the way between the nodes is lost.
fn lose_the_way_with_a_finish(carried: bool) -> (Wire, TestSession) {
    let mut wire = Wire::new(&[]);
    let mut consumer = wire.consumer(1, 10);
    wire.leader.publish(2, &["a", "b"], at(1));
    wire.run(at(1));
    consumer.deliver(at(1));
    let held = got(&mut consumer);
    assert_eq!(held.len(), 2);
    consumer.send(&commands("FIN", [&held[0].1], ""), at(2));
    if carried {
        // It may or may not have arrived.
        let sent = wire.source.take_orders(usize::MAX);
        assert!(!sent.is_empty());
        wire.lose(sent, at(2));
    } else {
        wire.lose(Vec::new(), at(2));
    }
    assert_eq!(counts(&wire.leader), (0, 2, 0), "all of it is held");
    (wire, consumer)
}

#[test]
fn a_finish_that_a_lost_way_swallowed_is_said_again() {
    for carried in [false, true] {
        let (mut wire, mut consumer) = lose_the_way_with_a_finish(carried);
        // It may take more than one try.
        wire.lose(Vec::new(), at(3));
        wire.reopen(at(3));
        wire.run(at(3));
        consumer.deliver(at(3));
        assert_eq!(bodies(&mut consumer), ["b"]);
        assert_eq!(counts(&wire.leader), (0, 1, 0));
    }
}

#[test]
fn a_finish_that_comes_after_the_leader_gave_up_changes_nothing() {
    let (mut wire, mut consumer) = lose_the_way_with_a_finish(true);
    wire.end_feed(at(3));
    wire.reopen(at(3));
    wire.run(at(3));
    consumer.deliver(at(3));
    assert_eq!(bodies(&mut consumer).len(), 2);
    assert_eq!(counts(&wire.leader), (0, 2, 0));
}

#[test]
fn a_finish_that_was_carried_out_may_be_said_again() {
    let mut wire = Wire::new(&[]);
    let mut consumer = wire.consumer(1, 1);
    wire.leader.publish(2, &["a"], at(1));
    wire.run(at(1));
    consumer.deliver(at(1));
    let held = got(&mut consumer);
    consumer.send(&commands("FIN", [&held[0].1], ""), at(2));
    let sent = wire.source.take_orders(usize::MAX);
    wire.source.take_back(sent.clone());
    wire.carry(sent, at(2));
    assert_eq!(counts(&wire.leader), (0, 0, 0));
    wire.reopen(at(3));
    wire.run(at(3));
    assert_eq!(counts(&wire.leader), (0, 0, 0));
    assert_eq!(consumer.read().len(), 0, "no error");
}

#[test]
fn a_feed_that_is_held_leaves_messages_to_others() {
    let mut wire = Wire::new(&[]);
    let mut far = wire.consumer(1, 10);
    wire.lose(Vec::new(), at(1));
    let mut near = wire.leader.consumer(2, 1);
    near.deliver(at(1));
    wire.leader.publish(2, &["a"], at(2));
    near.deliver(at(2));
    assert_eq!(bodies(&mut near), ["a"]);
    wire.leader.publish(2, &["b"], at(3));
    assert_eq!(wire.events(at(3)).len(), 0);
    assert_eq!(counts(&wire.leader), (1, 1, 0));
    wire.reopen(at(4));
    wire.run(at(4));
    far.deliver(at(4));
    assert_eq!(bodies(&mut far), ["b"]);
}

#[test]
fn a_client_that_leaves_keeps_what_it_holds_until_its_timeout_and_no_more() {
    let mut wire = Wire::new(&[]);
    let mut consumer = wire.consumer(1, 1);
    wire.leader.publish(2, &["a", "b"], at(1));
    wire.run(at(1));
    consumer.deliver(at(1));
    assert_eq!(bodies(&mut consumer), ["a"]);
    // Two turns in quick succession: one more than it may hold is fetched.
    consumer.session.leave();
    wire.run(at(2));
    assert_eq!(counts(&wire.leader), (1, 1, 0));
    assert_eq!(
        wire.leader.channel(2, "c").unwrap().lock().client_count(),
        0
    );
    assert!(!wire.fetcher.is_wanted());
}

#[test]
fn a_lowered_ready_count_sends_back_what_waits() {
    let mut wire = Wire::new(&[]);
    let mut consumer = wire.consumer(1, 3);
    wire.leader.publish(2, &["a", "b"], at(1));
    wire.run(at(1));
    consumer.send(b"RDY 0\n", at(2));
    consumer.deliver(at(2));
    wire.run(at(2));
    assert_eq!(bodies(&mut consumer).len(), 0);
    assert_eq!(counts(&wire.leader), (2, 0, 0));
    consumer.send(b"RDY 3\n", at(3));
    consumer.deliver(at(3));
    wire.run(at(3));
    consumer.deliver(at(3));
    assert_eq!(bodies(&mut consumer), ["a", "b"]);
}

#[test]
fn a_paused_channel_gives_nothing_and_goes_on_when_it_is_resumed() {
    let mut wire = Wire::new(&[]);
    let mut consumer = wire.consumer(1, 3);
    wire.run(at(1));
    let channel = wire.leader.channel(2, "c").unwrap();
    channel.lock().set_paused(true);
    wire.leader.publish(2, &["a"], at(1));
    wire.run(at(1));
    consumer.deliver(at(1));
    assert_eq!(bodies(&mut consumer).len(), 0);
    channel.lock().set_paused(false);
    wire.run(at(2));
    consumer.deliver(at(2));
    assert_eq!(bodies(&mut consumer), ["a"]);
}

#[test]
fn a_shard_that_is_led_no_longer_leaves_nothing_in_flight() {
    let mut wire = Wire::new(&[]);
    let mut consumer = wire.consumer(1, 1);
    wire.leader.publish(2, &["a"], at(1));
    wire.run(at(1));
    consumer.deliver(at(1));
    let held = got(&mut consumer);
    wire.leader.stop_leading(2, at(2));
    wire.run(at(2));
    consumer.send(&commands("FIN", [&held[0].1], ""), at(3));
    assert_eq!(consumer.read().len(), 1, "it is not in flight any more");
    wire.leader.lead(2);
    wire.run(at(4));
    consumer.deliver(at(4));
    assert_eq!(bodies(&mut consumer), ["a"]);
}

#[test]
fn a_deleted_channel_closes_the_consumers_of_other_nodes() {
    let mut wire = Wire::new(&[]);
    let consumer = wire.consumer(1, 1);
    wire.run(at(1));
    wire.leader
        .broker(2)
        .topic("t")
        .unwrap()
        .delete_channel("c");
    wire.run(at(2));
    assert!(consumer.session.client().is_closed());
}

#[test]
fn clients_of_other_nodes_are_not_counted_and_do_not_fill_a_channel() {
    let mut wire = Wire::new(&[]);
    let _consumer = wire.consumer(1, 1);
    wire.run(at(1));
    let channel = wire.leader.channel(2, "c").unwrap();
    assert_eq!(channel.lock().client_count(), 1);
    assert_eq!(channel.lock().stats(0).client_count, 0);
}

#[test]
fn events_are_dealt_with_in_the_order_of_their_numbers() {
    let mut wire = Wire::new(&[]);
    let mut consumer = wire.consumer(1, 10);
    wire.carry_orders(at(1));
    wire.leader.publish(2, &["a"], at(1));
    let first = wire.events(at(1));
    wire.leader.publish(2, &["b"], at(1));
    let second = wire.events(at(1));
    assert!(!first.is_empty() && !second.is_empty());
    wire.source.receive(wire.opening, 1, second, at(2)).unwrap();
    consumer.deliver(at(2));
    assert_eq!(bodies(&mut consumer).len(), 0);
    wire.source.receive(wire.opening, 0, first, at(2)).unwrap();
    consumer.deliver(at(2));
    assert_eq!(bodies(&mut consumer), ["a", "b"]);
}

/// After a change of leader, two nodes hand out the same message.
#[test]
fn what_a_former_leader_takes_back_is_not_what_the_next_one_handed_out() {
    let mut wire = Wire::new(&[]);
    let mut consumer = wire.consumer(1, 10);
    let [former, next] = [3, 4].map(|node| {
        let source = wire.fetcher.add_source(node);
        source.open(1);
        source
    });
    let id = MessageId::from_u64(5);
    let message = Event::Message {
        subscription: 1,
        timestamp: 0,
        attempts: 1,
        id,
        body: Bytes::from_static(b"a"),
    };
    let gone = Event::Gone {
        subscription: 1,
        id,
    };
    next.receive(1, 0, vec![message], at(1)).unwrap();
    former.receive(1, 0, vec![gone.clone()], at(1)).unwrap();
    consumer.deliver(at(1));
    let held = got(&mut consumer);
    assert_eq!(held.len(), 1, "it still waited");

    former.receive(1, 1, vec![gone], at(2)).unwrap();
    next.take_orders(usize::MAX);
    consumer.send(&commands("FIN", [&held[0].1], ""), at(2));
    assert_eq!(consumer.read().len(), 0, "it is still in flight");
    let finish = Order::Message {
        subscription: 1,
        id,
        act: Act::Finish,
    };
    assert!(next.take_orders(usize::MAX).contains(&finish));
}

/// Random traffic between two nodes: every message is finished exactly where it is, and none is left behind.
#[test]
fn nothing_is_left_behind_whatever_consumers_do() {
    for seed in 1..60_u64 {
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut dice = move |sides: u64| {
            random ^= random >> 12;
            random ^= random << 25;
            random ^= random >> 27;
            (random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides
        };
        let mut wire = Wire::new(if dice(2) == 0 { &[] } else { &[1] });
        let mut consumers: Vec<_> = (1..=3)
            .map(|id| wire.consumer(id, u32::try_from(dice(4)).unwrap()))
            .collect();
        let mut held: Vec<Vec<(String, RawMessageId)>> = vec![Vec::new(); 3];
        let mut finished = std::collections::BTreeSet::new();
        let (mut count, mut millis) = (0, 1);
        let mut step = |wire: &mut Wire,
                        who: usize,
                        act: u64,
                        consumers: &mut Vec<TestSession>,
                        millis: u64,
                        any: u64| {
            let now = at(millis);
            match act {
                0 | 1 => {
                    count += 1;
                    let body = format!("m{count}");
                    wire.leader.publish(2, &[&body], now);
                }
                2 => wire.run(now),
                3 => wire.fetcher.expire(now),
                4 => {
                    let ready = format!("RDY {}\n", any % 4);
                    consumers[who].send(ready.as_bytes(), now);
                }
                5 => {
                    if any.is_multiple_of(8) {
                        wire.reopen(now);
                    }
                }
                6 => {
                    if let Some((_, id)) = held[who].pop() {
                        consumers[who].send(&commands("REQ", [&id], " 0"), now);
                    }
                }
                _ => {
                    if let Some((body, id)) = held[who].pop() {
                        consumers[who].send(&commands("FIN", [&id], ""), now);
                        finished.insert(body);
                    }
                }
            }
            consumers[who].deliver(now);
            held[who].extend(got(&mut consumers[who]));
            (count, finished.len())
        };
        for _ in 0..400 {
            millis += dice(4);
            if dice(100) == 0 {
                // Messages in flight time out.
                millis += 61_000;
                wire.leader.notes.timers.run_due(at(millis), |_| ());
            }
            let who = usize::try_from(dice(3)).unwrap();
            step(&mut wire, who, dice(10), &mut consumers, millis, dice(64));
        }
        for consumer in &mut consumers {
            consumer.send(b"RDY 5\n", at(millis));
        }
        // What was requeued when a node was lost is refused once and comes again.
        let mut outcome = (0, 0);
        for _ in 0..2000 {
            millis += 1;
            for who in 0..3 {
                outcome = step(&mut wire, who, 9, &mut consumers, millis, 0);
                step(&mut wire, who, 2, &mut consumers, millis, 0);
            }
            if counts(&wire.leader) == (0, 0, 0) {
                break;
            }
        }
        assert_eq!(counts(&wire.leader), (0, 0, 0), "seed {seed}");
        assert_eq!(outcome.0, outcome.1, "seed {seed}: every message came");
    }
}
