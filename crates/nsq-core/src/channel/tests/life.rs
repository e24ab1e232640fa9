//! One message's life: taken, touched, requeued, timed out, finished.

use std::time::Duration;

use nsq_protocol::MessageId;

use crate::error::NotInFlight;
use crate::testing::{
    ALICE, BOB, MAX_MSG_TIMEOUT, MSG_TIMEOUT, NANOSECOND, PLENTY, SECOND, TestBroker, counts,
    finish_all,
};

#[test]
fn messages_come_in_the_order_they_were_published() {
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 10);
    house.publish("t", &["a", "b"]);
    house.publish("t", &["c"]);
    assert_eq!(house.bodies(&cell, ALICE), ["a", "b", "c"]);
}

#[test]
fn a_message_keeps_the_time_of_its_publishing() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 10);
    let published = house.now.unix_nanos;
    house.publish("t", &["a"]);
    house.pass(SECOND);
    let mut timestamps = Vec::new();
    cell.lock().take(ALICE, PLENTY, house.now, |message| {
        timestamps.push(message.timestamp);
    });
    assert_eq!(timestamps, [published]);
}

#[test]
fn a_finished_message_is_gone_for_good() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 10);
    house.publish("t", &["a"]);
    let got = house.take(&cell, ALICE);
    assert_eq!(counts(&cell.lock()), (0, 1, 0));
    finish_all(&cell, ALICE, &got);
    assert_eq!(counts(&cell.lock()), (0, 0, 0));
    house.pass(MSG_TIMEOUT);
    assert_eq!(house.handle_timeout(&cell), None);
    assert_eq!(
        cell.lock().finish(ALICE, got[0].id, house.now),
        Err(NotInFlight::Unknown)
    );
    assert!(house.take(&cell, ALICE).is_empty());
}

#[test]
fn nobody_holds_more_than_its_ready_count() {
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 2);
    house.publish("t", &["a", "b", "c", "d"]);
    let got = house.take(&cell, ALICE);
    assert_eq!(got.len(), 2);
    assert!(house.take(&cell, ALICE).is_empty(), "it is full");
    finish_all(&cell, ALICE, &got[..1]);
    assert_eq!(house.bodies(&cell, ALICE), ["c"], "a ceiling, not a credit");
    cell.lock().set_ready_count(ALICE, 0);
    finish_all(&cell, ALICE, &got[1..]);
    assert!(house.take(&cell, ALICE).is_empty(), "what it holds stays");
    assert_eq!(counts(&cell.lock()), (1, 1, 0));
}

#[test]
fn a_client_without_a_ready_count_gets_nothing() {
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 0);
    house.publish("t", &["a"]);
    assert!(house.take(&cell, ALICE).is_empty());
    assert_eq!(counts(&cell.lock()), (1, 0, 0));
}

#[test]
fn a_requeue_without_delay_makes_the_message_ready_at_once() {
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 1);
    house.publish("t", &["a"]);
    for attempts in 1..=6 {
        let got = house.take_one(&cell, ALICE);
        assert_eq!((got.body.as_str(), got.attempts), ("a", attempts));
        house.requeue(&cell, ALICE, got.id, Duration::ZERO).unwrap();
        assert_eq!(counts(&cell.lock()), (1, 0, 0));
    }
    assert_eq!(cell.lock().stats(0).requeue_count, 6);
}

#[test]
fn a_requeue_with_a_delay_holds_the_message_back_until_it_is_due() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 1);
    house.publish("t", &["a"]);
    let got = house.take_one(&cell, ALICE);
    house.requeue(&cell, ALICE, got.id, SECOND).unwrap();
    assert_eq!(counts(&cell.lock()), (0, 0, 1));
    let due = house.now.tick.after(SECOND);

    house.pass(SECOND.checked_sub(NANOSECOND).unwrap());
    assert_eq!(house.handle_timeout(&cell), Some(due), "never early");
    assert!(house.take(&cell, ALICE).is_empty());
    house.pass(NANOSECOND);
    assert_eq!(house.handle_timeout(&cell), None);
    assert_eq!(house.take_one(&cell, ALICE).attempts, 2);
    assert_eq!(cell.lock().stats(0).timeout_count, 0);
}

#[test]
fn a_message_held_to_its_deadline_is_ready_again() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 1);
    house.publish("t", &["a"]);
    let held = house.take_one(&cell, ALICE);
    house.pass(MSG_TIMEOUT.checked_sub(NANOSECOND).unwrap());
    house.handle_timeout(&cell);
    assert_eq!(counts(&cell.lock()), (0, 1, 0));
    house.pass(NANOSECOND);
    house.handle_timeout(&cell);

    assert_eq!(counts(&cell.lock()), (1, 0, 0));
    let mut channel = cell.lock();
    let late = channel.finish(ALICE, held.id, house.now);
    assert_eq!(late, Err(NotInFlight::Unknown));
    let stats = channel.stats(0);
    assert_eq!((stats.timeout_count, stats.requeue_count), (1, 0));
    assert_eq!(channel.consumer_stats(ALICE).unwrap().in_flight_count, 0);
    drop(channel);
    assert_eq!(house.take_one(&cell, ALICE).attempts, 2);
}

#[test]
fn a_touch_moves_the_deadline_but_not_past_the_longest_timeout() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 1);
    house.publish("t", &["a"]);
    let delivered = house.now.tick;
    let held = house.take_one(&cell, ALICE);
    let touch = |house: &TestBroker, timeout| {
        let mut channel = cell.lock();
        channel.touch(ALICE, held.id, timeout, house.now).unwrap();
        channel.next_timeout().unwrap()
    };
    house.pass(50 * SECOND);
    assert_eq!(touch(&house, MSG_TIMEOUT), delivered.after(110 * SECOND));
    assert_eq!(
        touch(&house, SECOND),
        delivered.after(51 * SECOND),
        "also shorter"
    );
    assert_eq!(touch(&house, MSG_TIMEOUT), delivered.after(110 * SECOND));
    house.pass(50 * SECOND);
    assert_eq!(touch(&house, MSG_TIMEOUT), delivered.after(MAX_MSG_TIMEOUT));
    house.pass(49 * SECOND);
    assert_eq!(touch(&house, MSG_TIMEOUT), delivered.after(MAX_MSG_TIMEOUT));
    house.handle_timeout(&cell);
    assert_eq!(counts(&cell.lock()), (0, 1, 0));
    house.pass(SECOND);
    house.handle_timeout(&cell);
    assert_eq!(counts(&cell.lock()), (1, 0, 0));
}

#[test]
fn only_the_holder_may_finish_requeue_or_touch() {
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 1);
    house.subscribe(&cell, BOB, 1);
    house.publish("t", &["a"]);
    let held = house.take_one(&cell, ALICE);
    let stranger = MessageId::from_u64(12345);
    for (client, id, error) in [
        (BOB, held.id, NotInFlight::NotOwner),
        (ALICE, stranger, NotInFlight::Unknown),
    ] {
        let refused = Err(error);
        assert_eq!(cell.lock().finish(client, id, house.now), refused);
        let touched = cell.lock().touch(client, id, SECOND, house.now);
        assert_eq!(touched, refused);
        assert_eq!(house.requeue(&cell, client, id, SECOND), refused);
    }
    assert_eq!(counts(&cell.lock()), (0, 1, 0));
    cell.lock().finish(ALICE, held.id, house.now).unwrap();
}

#[test]
fn a_message_that_went_to_somebody_else_is_no_longer_its_first_holders() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 1);
    house.subscribe(&cell, BOB, 1);
    house.publish("t", &["a"]);
    let held = house.take_one(&cell, ALICE);
    house.pass(MSG_TIMEOUT);
    house.handle_timeout(&cell);
    let again = house.take_one(&cell, BOB);
    assert_eq!((again.id, again.attempts), (held.id, 2));
    let late = cell.lock().finish(ALICE, held.id, house.now);
    assert_eq!(late, Err(NotInFlight::NotOwner));
}

#[test]
fn a_leaving_client_keeps_its_messages_until_their_timeout() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 1);
    house.publish("t", &["a"]);
    house.take_one(&cell, ALICE);
    assert_eq!(cell.lock().unsubscribe(ALICE), 0);
    assert_eq!(counts(&cell.lock()), (0, 1, 0));
    house.subscribe(&cell, BOB, 1);
    assert!(house.take(&cell, BOB).is_empty());
    house.pass(MSG_TIMEOUT);
    house.handle_timeout(&cell);
    assert_eq!(house.take_one(&cell, BOB).attempts, 2);
    assert_eq!(cell.lock().stats(0).timeout_count, 1);
}

#[test]
fn the_timer_is_planned_for_the_first_timeout() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 10);
    assert!(house.take(&cell, ALICE).is_empty());
    assert!(house.planned().is_empty());
    house.publish("t", &["a"]);
    house.take(&cell, ALICE);
    let first = house.now.tick.after(MSG_TIMEOUT);
    assert_eq!(house.planned(), [first]);
    house.pass(SECOND);
    house.publish("t", &["b"]);
    house.take(&cell, ALICE);
    assert_eq!(house.planned(), [first], "it runs before the second one");
    assert_eq!(cell.lock().next_timeout(), Some(first));
}

#[test]
fn touching_at_one_moment_again_and_again_costs_no_memory() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 1);
    house.publish("t", &["a"]);
    let held = house.take_one(&cell, ALICE);
    house.pass(100 * SECOND);
    for _ in 0..10_000 {
        let mut channel = cell.lock();
        channel
            .touch(ALICE, held.id, MSG_TIMEOUT, house.now)
            .unwrap();
    }
    assert_eq!(cell.lock().tracked.slot_count(), 1);
}

#[test]
fn a_message_that_has_not_reached_its_client_goes_back_as_if_it_had_never_been_taken() {
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 2);
    house.publish("t", &["a", "b", "c"]);
    let got = house.take(&cell, ALICE);
    assert_eq!(got.len(), 2);
    assert!(cell.lock().holds(ALICE, got[0].id));
    assert!(!cell.lock().holds(BOB, got[0].id));
    cell.lock().set_ready_count(ALICE, 0);
    for message in got.iter().rev() {
        assert_eq!(
            cell.lock().release(BOB, message.id),
            Err(NotInFlight::NotOwner)
        );
        assert_eq!(cell.lock().release(ALICE, message.id), Ok(()));
    }
    assert_eq!(
        cell.lock().release(ALICE, got[0].id),
        Err(NotInFlight::Unknown)
    );
    assert_eq!(counts(&cell.lock()), (3, 0, 0));
    assert_eq!(cell.lock().held_by(ALICE), 0);
    house.subscribe(&cell, BOB, 5);
    let again = house.take(&cell, BOB);
    let bodies: Vec<_> = again.iter().map(|message| message.body.as_str()).collect();
    assert_eq!(bodies, ["a", "b", "c"]);
    assert_eq!(again[0].attempts, 1);
}
