//! What limits a channel: pauses, samples, bounds, and being emptied.

use crate::error::{NotInFlight, SubscribeError};
use crate::testing::{ALICE, BOB, MSG_TIMEOUT, PLENTY, SECOND, TestBroker, counts, finish_all};

#[test]
fn a_paused_channel_delivers_nothing_but_all_else_goes_on() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 3);
    house.publish("t", &["a", "b"]);
    let got = house.take(&cell, ALICE);
    cell.lock().set_paused(true);
    house.publish("t", &["c"]);
    assert!(house.take(&cell, ALICE).is_empty());
    cell.lock().finish(ALICE, got[0].id, house.now).unwrap();
    house.pass(MSG_TIMEOUT);
    house.handle_timeout(&cell);
    assert_eq!(counts(&cell.lock()), (2, 0, 0));
    assert_eq!(house.bells.take_all(), [] as [crate::ClientId; 0]);

    cell.lock().set_paused(false);
    assert_eq!(house.bells.take_all(), [ALICE], "it asked in vain before");
    assert_eq!(house.take(&cell, ALICE).len(), 2);
}

#[test]
fn emptying_forgets_all_and_gives_clients_their_room_back() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 1);
    house.publish("t", &["a", "b", "c"]);
    house.publish_deferred("t", "d", SECOND);
    let held = house.take_one(&cell, ALICE);
    cell.lock().empty();
    assert_eq!(counts(&cell.lock()), (0, 0, 0));
    assert_eq!(house.bells.take_all(), [ALICE]);
    let late = cell.lock().finish(ALICE, held.id, house.now);
    assert_eq!(late, Err(NotInFlight::Unknown));
    assert!(house.take(&cell, ALICE).is_empty());

    house.publish("t", &["e"]);
    assert_eq!(house.bells.take_all(), [ALICE]);
    assert_eq!(house.bodies(&cell, ALICE), ["e"]);
    house.pass(MSG_TIMEOUT);
    house.handle_timeout(&cell);
    assert_eq!(house.bodies(&cell, ALICE), ["e"]);
    assert_eq!(cell.lock().stats(0).damaged_count, 0);
}

#[test]
fn an_emptied_channel_stays_empty_over_a_restart() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 1);
    house.publish("t", &["a", "b"]);
    house.publish_deferred("t", "d", SECOND);
    let held = house.take_one(&cell, ALICE);
    house.requeue(&cell, ALICE, held.id, SECOND).unwrap();
    cell.lock().empty();
    house.kill();
    assert_eq!(counts(&house.channel("t", "c").lock()), (0, 0, 0));
    house.restart();
    assert_eq!(counts(&house.channel("t", "c").lock()), (0, 0, 0));
}

#[test]
fn in_an_ephemeral_channel_the_oldest_give_way() {
    let house = TestBroker::with(|settings| settings.mem_queue_size = 3);
    let cell = house.channel("t", "c#ephemeral");
    house.subscribe(&cell, ALICE, 2);
    house.publish("t", &["a", "b", "c", "d", "e"]);
    assert_eq!(house.bodies(&cell, ALICE), ["c", "d"]);
    let stats = cell.lock().stats(3);
    assert_eq!((stats.dropped_count, stats.depth), (2, 1));
}

#[test]
fn without_a_memory_queue_an_ephemeral_channel_still_serves_those_who_wait() {
    let house = TestBroker::with(|settings| settings.mem_queue_size = 0);
    let cell = house.channel("t", "c#ephemeral");
    house.publish("t", &["lost"]);
    house.topic("t").maintain(house.now);
    house.subscribe(&cell, ALICE, 1);
    assert!(house.take(&cell, ALICE).is_empty());
    house.publish("t", &["a"]);
    house.topic("t").maintain(house.now);
    assert_eq!(house.bells.take_all(), [ALICE]);
    let got = house.take(&cell, ALICE);
    assert_eq!(got[0].body, "a");
    house.publish("t", &["b", "c"]);
    finish_all(&cell, ALICE, &got);
    assert_eq!(house.bodies(&cell, ALICE), ["c"]);
}

#[test]
fn in_an_ephemeral_channel_the_requeued_give_way_first() {
    let house = TestBroker::with(|settings| settings.mem_queue_size = 3);
    let cell = house.channel("t", "c#ephemeral");
    house.subscribe(&cell, ALICE, 2);
    house.publish("t", &["a", "b", "c", "d", "e"]);
    let held = house.take(&cell, ALICE);
    house.publish("t", &["f"]);
    house.subscribe(&cell, BOB, 1);
    cell.lock().set_ready_count(ALICE, 0);
    cell.lock().set_ready_count(BOB, 0);
    for message in &held {
        house
            .requeue(&cell, ALICE, message.id, std::time::Duration::ZERO)
            .unwrap();
    }
    let stats = cell.lock().stats(3);
    assert_eq!((stats.dropped_count, stats.depth), (3, 3));
    cell.lock().set_ready_count(BOB, 9);
    let mut left = house.bodies(&cell, BOB);
    left.sort();
    assert_eq!(left, ["d", "e", "f"]);
}

#[test]
fn what_comes_back_by_timeouts_to_an_ephemeral_channel_is_bounded_too() {
    let mut house = TestBroker::with(|settings| settings.mem_queue_size = 10);
    let cell = house.channel("t", "c#ephemeral");
    house.subscribe(&cell, ALICE, 100);
    house.publish_numbered("t", "m", 100);
    assert_eq!(house.take(&cell, ALICE).len(), 100);
    cell.lock().set_ready_count(ALICE, 0);
    house.pass(MSG_TIMEOUT);
    house.handle_timeout(&cell);
    let stats = cell.lock().stats(10);
    assert_eq!((stats.dropped_count, stats.depth), (90, 10));
    assert_eq!(
        cell.lock().shared().main_floor(),
        90,
        "their memory is free"
    );
}

#[test]
fn an_ephemeral_channel_holds_back_no_more_than_its_bound() {
    let house = TestBroker::with(|settings| settings.mem_queue_size = 3);
    let cell = house.channel("t", "c#ephemeral");
    for _ in 0..10 {
        house.publish_deferred("t", "d", SECOND);
    }
    let stats = cell.lock().stats(3);
    assert_eq!((stats.deferred_count, stats.dropped_count), (3, 7));
    // What its clients have room for may be more.
    house.subscribe(&cell, ALICE, 5);
    house.publish("t", &["a", "b", "c", "d", "e"]);
    let held = house.take(&cell, ALICE);
    assert_eq!(held.len(), 5);
    for message in &held {
        house.requeue(&cell, ALICE, message.id, SECOND).unwrap();
    }
    let stats = cell.lock().stats(3);
    assert_eq!((stats.deferred_count, stats.dropped_count), (5, 10));
}

#[test]
fn an_ephemeral_topic_without_a_channel_holds_back_no_more_than_its_bound() {
    let house = TestBroker::with(|settings| settings.mem_queue_size = 3);
    for _ in 0..10 {
        house.publish_deferred("t#ephemeral", "d", SECOND);
    }
    assert_eq!(house.topic("t#ephemeral").stats().dropped_count, 7);
    let cell = house.channel("t#ephemeral", "c");
    assert_eq!(cell.lock().deferred_count(), 3);
}

#[test]
fn an_ephemeral_topic_keeps_no_more_than_its_bound() {
    let house = TestBroker::with(|settings| settings.mem_queue_size = 100);
    house.publish_numbered("t#ephemeral", "m", 250);
    let stats = house.topic("t#ephemeral").stats();
    assert_eq!((stats.depth, stats.dropped_count), (100, 150));
    let cell = house.channel("t#ephemeral", "c");
    for _ in 0..50 {
        house.publish_numbered("t#ephemeral", "n", 100);
    }
    house.topic("t#ephemeral").maintain(house.now);
    assert_eq!(cell.lock().depth(), 100);
    assert_eq!(
        house.topic("t#ephemeral").stats().channels[0].message_count,
        5100
    );
}

#[test]
fn a_sample_keeps_its_share_and_consumes_the_rest() {
    let check = |rate: u8, least: usize, most: usize| {
        let house = TestBroker::new();
        let cell = house.channel("t", "c");
        let mut subscription = house.subscription(ALICE);
        subscription.sample_rate = rate;
        cell.lock().subscribe(subscription, 0).unwrap();
        cell.lock().set_ready_count(ALICE, 20_000);
        house.publish_numbered("t", "m", 10_000);
        let got = house.take(&cell, ALICE);
        assert!((least..=most).contains(&got.len()), "{rate}: {}", got.len());
        assert_eq!(counts(&cell.lock()), (0, got.len(), 0));
        finish_all(&cell, ALICE, &got);
        assert_eq!(cell.lock().shared().main_floor(), 10_000);
    };
    check(0, 10_000, 10_000);
    check(99, 10_000, 10_000);
    check(42, 3_800, 4_800);
    check(1, 100, 300);
}

#[test]
fn a_sample_passes_by_what_is_held_back_from_before_a_restart() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 100);
    house.publish_numbered("t", "m", 50);
    for message in house.take(&cell, ALICE) {
        house
            .requeue(&cell, ALICE, message.id, SECOND * 30)
            .unwrap();
    }
    house.restart();
    let cell = house.channel("t", "c");
    let mut subscription = house.subscription(ALICE);
    subscription.sample_rate = 1;
    cell.lock().subscribe(subscription, 0).unwrap();
    cell.lock().set_ready_count(ALICE, 100);
    house.publish_numbered("t", "n", 50);
    house.take(&cell, ALICE);
    let (depth, _, deferred) = counts(&cell.lock());
    assert_eq!((depth, deferred), (0, 50), "held back is not consumed");
    house.kill();
    assert_eq!(house.channel("t", "c").lock().deferred_count(), 50);
}

#[test]
fn a_channel_takes_no_more_clients_than_its_limit() {
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    let mut channel = cell.lock();
    channel.subscribe(house.subscription(ALICE), 1).unwrap();
    let refused = channel.subscribe(house.subscription(BOB), 1);
    assert_eq!(refused, Err(SubscribeError::TooManyClients { limit: 1 }));
    assert_eq!(refused.unwrap_err().to_string(), "exceeds limit of 1");
    channel.subscribe(house.subscription(BOB), 2).unwrap();
    assert_eq!(channel.client_count(), 2);
}

#[test]
fn a_channel_on_its_way_out_serves_nobody() {
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 5);
    house.publish("t", &["a", "b"]);
    let held = house
        .take_within(
            &cell,
            ALICE,
            crate::channel::Budget {
                messages: 1,
                ..PLENTY
            },
        )
        .0;
    house.topic("t").delete_channel("c");
    assert_eq!(*house.bells.closed.lock().unwrap(), [ALICE]);
    let mut channel = cell.lock();
    let refused = channel.subscribe(house.subscription(BOB), 0);
    assert_eq!(refused, Err(SubscribeError::Exiting));
    let late = channel.finish(ALICE, held[0].id, house.now);
    assert_eq!(late, Err(NotInFlight::Unknown));
    drop(channel);
    assert!(house.take(&cell, ALICE).is_empty());
}

#[test]
fn a_budget_ends_a_take_and_says_that_there_is_more() {
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 100);
    house.publish("t", &["aaaa", "bbbb", "cccc", "dddd"]);
    let by_count = crate::channel::Budget {
        messages: 1,
        ..PLENTY
    };
    let by_bytes = crate::channel::Budget { bytes: 5, ..PLENTY };
    let (got, taken) = house.take_within(&cell, ALICE, by_count);
    assert_eq!((got.len(), taken.more, taken.waiting), (1, true, false));
    let (got, taken) = house.take_within(&cell, ALICE, by_bytes);
    assert_eq!((got.len(), taken.more, taken.waiting), (2, true, false));
    let (got, taken) = house.take_within(&cell, ALICE, PLENTY);
    assert_eq!((got.len(), taken.more, taken.waiting), (1, false, true));
}

#[test]
fn an_ephemeral_channel_of_a_topic_on_disk_keeps_its_bound_while_nobody_reads() {
    let house = TestBroker::with(|settings| settings.mem_queue_size = 5);
    let cell = house.channel("t", "c#ephemeral");
    for batch in 0..100 {
        house.publish_numbered("t", &format!("m{batch}-"), 100);
        assert!(
            cell.lock_inner().depth() <= 5 + 1024 + 100,
            "a publisher trims it"
        );
    }
    let stats = house.topic("t").stats();
    let channel = &stats.channels[0];
    assert_eq!((channel.depth, channel.message_count), (5, 10_000));
    assert_eq!(channel.dropped_count, 9_995);
    house.subscribe(&cell, ALICE, 10);
    let newest: Vec<_> = (95..100).map(|at| format!("m99-{at}")).collect();
    assert_eq!(house.bodies(&cell, ALICE), newest);
}

#[test]
fn a_look_at_an_ephemeral_channel_shows_no_more_than_its_bound() {
    let house = TestBroker::with(|settings| settings.mem_queue_size = 5);
    let cell = house.channel("t", "c#ephemeral");
    house.publish_numbered("t", "m", 100);
    let limits = crate::PeekLimits {
        messages: 100,
        body_bytes: 10,
    };
    let seen = cell.peek(limits, house.now).unwrap();
    assert_eq!((seen.queued_total, seen.queued.len()), (5, 5));
    assert_eq!(seen.queued[0].body, b"m95");
}
