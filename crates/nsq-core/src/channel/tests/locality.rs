//! Nearer clients are preferred, and no one is left out for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::channel::Budget;
use crate::channel::Locality::{self, Elsewhere, OtherNode, Region, Zone};
use crate::client::ClientId;
use crate::testing::{ALICE, BOB, CAROL, PLENTY, TestBroker, finish_all};
use crate::topic::ChannelCell;

const DAVE: ClientId = ClientId(4);

/// A channel with these clients, all waiting.
fn channel(
    house: &TestBroker,
    clients: &[(ClientId, Locality, u32)],
) -> std::sync::Arc<ChannelCell> {
    let cell = house.channel("t", "c");
    for &(client, locality, ready_count) in clients {
        house.subscribe_from(&cell, client, ready_count, locality);
        assert!(house.take(&cell, client).is_empty());
    }
    cell
}

/// Everyone who is woken takes, and holds what it got. Returns how many each holds by then.
fn serve_all(house: &TestBroker, cell: &Arc<ChannelCell>) -> BTreeMap<ClientId, u32> {
    while let Some(client) = house.bells.next() {
        house.take(cell, client);
    }
    let channel = cell.lock();
    let held = [ALICE, BOB, CAROL, DAVE].into_iter().filter_map(|client| {
        let stats = channel.consumer_stats(client)?;
        Some((client, stats.in_flight_count))
    });
    held.collect()
}

/// How many of `count` messages each client gets, published at once or one by one, woken at once or at the end.
#[track_caller]
fn check(clients: &[(ClientId, Locality, u32)], count: usize, expected: &[u32]) {
    let expected: BTreeMap<_, _> = clients
        .iter()
        .zip(expected)
        .map(|(client, &count)| (client.0, count))
        .collect();
    for (batch, is_slow) in [(count, false), (1, false), (1, true)] {
        let house = TestBroker::new();
        let cell = channel(&house, clients);
        for _ in 0..count / batch {
            house.publish_numbered("t", "m", batch);
            if !is_slow {
                serve_all(&house, &cell);
            }
        }
        let got = serve_all(&house, &cell);
        assert_eq!(got, expected, "{batch} at once");
    }
}

#[test]
fn the_nearest_get_all_they_have_room_for() {
    let near_and_far = [
        (CAROL, Elsewhere, 10),
        (ALICE, Zone, 10),
        (DAVE, Elsewhere, 10),
        (BOB, Zone, 10),
    ];
    check(&near_and_far, 20, &[0, 10, 0, 10]);
    check(&near_and_far, 22, &[1, 10, 1, 10]);
    check(&near_and_far, 40, &[10, 10, 10, 10]);
    check(&near_and_far, 50, &[10, 10, 10, 10]);
}

#[test]
fn the_zone_comes_before_the_region_and_the_region_before_the_rest() {
    let clients = [(ALICE, Elsewhere, 5), (BOB, Region, 5), (CAROL, Zone, 5)];
    check(&clients, 3, &[0, 0, 3]);
    check(&clients, 7, &[0, 2, 5]);
    check(&clients, 14, &[4, 5, 5]);
    check(&[(ALICE, Elsewhere, 5), (BOB, Region, 5)], 7, &[2, 5]);
}

#[test]
fn one_message_wakes_the_nearest_who_waits() {
    let house = TestBroker::new();
    let cell = channel(&house, &[(ALICE, Elsewhere, 5), (BOB, Region, 1)]);
    house.publish("t", &["a"]);
    assert_eq!(house.bells.take_all(), [BOB]);
    house.publish("t", &["b"]);
    assert_eq!(house.bells.take_all(), [ALICE], "Bob has room for one");
    assert_eq!(house.take(&cell, ALICE).len(), 1);
    assert_eq!(house.take(&cell, BOB).len(), 1);
}

#[test]
fn who_is_farther_leaves_it_to_the_nearer_who_are_on_their_way() {
    let house = TestBroker::new();
    let cell = channel(&house, &[(ALICE, Elsewhere, 5), (BOB, Zone, 3)]);
    house.publish_numbered("t", "m", 4);
    assert_eq!(house.bells.take_all(), [BOB, ALICE]);
    // Alice is faster, and comes twice.
    assert_eq!(house.take(&cell, ALICE).len(), 1);
    assert_eq!(house.take(&cell, ALICE).len(), 0);
    assert_eq!(house.bells.take_all(), []);
    assert_eq!(house.take(&cell, BOB).len(), 3);
}

#[test]
fn whoever_can_take_gets_it_when_the_nearer_cannot() {
    let check = |hinder: &dyn Fn(&TestBroker, &Arc<ChannelCell>)| {
        let house = TestBroker::new();
        let cell = channel(&house, &[(ALICE, Elsewhere, 5), (BOB, Zone, 5)]);
        house.publish("t", &["a"]);
        assert_eq!(house.bells.take_all(), [BOB]);
        hinder(&house, &cell);
        assert_eq!(house.bells.take_all(), [ALICE]);
        assert_eq!(house.bodies(&cell, ALICE), ["a"]);
    };
    // It is blocked, it leaves, it is not ready any more.
    check(&|_, cell| cell.lock().decline(BOB));
    check(&|_, cell| assert_eq!(cell.lock().unsubscribe(BOB), 1));
    check(&|house, cell| {
        cell.lock().set_ready_count(BOB, 0);
        assert!(house.take(cell, BOB).is_empty());
    });
}

#[test]
fn clients_of_one_place_share_as_ever() {
    let house = TestBroker::new();
    let cell = channel(
        &house,
        &[
            (ALICE, Zone, 100),
            (BOB, Zone, 100),
            (CAROL, Elsewhere, 100),
        ],
    );
    house.publish_numbered("t", "m", 11);
    let got = serve_all(&house, &cell);
    assert_eq!(got.values().copied().collect::<Vec<_>>(), [6, 5, 0]);
}

/// A steady flow: as long as those nearby keep up, no one else gets anything; what is too much for them goes to others.
#[test]
fn under_load_the_nearest_stay_the_first() {
    let check = |batch: usize, far_share: usize| {
        let house = TestBroker::new();
        let cell = channel(&house, &[(ALICE, Elsewhere, 50), (BOB, Zone, 8)]);
        let mut held = Vec::new();
        for _ in 0..100 {
            house.publish_numbered("t", "m", batch);
            while let Some(client) = house.bells.next() {
                let budget = Budget {
                    messages: 3,
                    ..PLENTY
                };
                loop {
                    let (got, taken) = house.take_within(&cell, client, budget);
                    if client == ALICE {
                        finish_all(&cell, client, &got);
                    } else {
                        held.extend(got);
                    }
                    if !taken.more {
                        break;
                    }
                }
            }
            // Who is near is slow: it finishes all it holds before the publisher comes again.
            finish_all(&cell, BOB, &held);
            held = house.take(&cell, BOB);
        }
        let stats = cell.lock().stats(0);
        assert_eq!(stats.delivered_count, 100 * batch as u64);
        assert_eq!(
            stats.delivered_count - stats.zone_local_count,
            far_share as u64
        );
    };
    check(8, 0);
    check(10, 200);
}

#[test]
fn deliveries_are_counted_by_where_they_go() {
    let house = TestBroker::new();
    let cell = channel(
        &house,
        &[(ALICE, Elsewhere, 9), (BOB, Region, 2), (CAROL, Zone, 1)],
    );
    house.publish_numbered("t", "m", 6);
    serve_all(&house, &cell);
    let stats = cell.lock().stats(0);
    let counts = (
        stats.zone_local_count,
        stats.region_local_count,
        stats.delivered_count,
    );
    assert_eq!(counts, (1, 2, 6));
}

#[test]
fn clients_of_other_nodes_come_last() {
    check(&[(ALICE, OtherNode, 5), (BOB, Elsewhere, 5)], 4, &[0, 4]);
    check(&[(ALICE, OtherNode, 5), (BOB, Elsewhere, 5)], 7, &[2, 5]);
    check(&[(ALICE, OtherNode, 5), (BOB, OtherNode, 5)], 6, &[3, 3]);
}

#[test]
fn clients_of_other_nodes_are_not_counted_and_fill_no_channel() {
    let house = TestBroker::new();
    let cell = channel(&house, &[(ALICE, OtherNode, 5), (BOB, Elsewhere, 5)]);
    assert_eq!(cell.lock().stats(0).client_count, 1);
    assert_eq!(cell.lock().client_count(), 2);
    let mut subscription = house.subscription(CAROL);
    assert!(cell.lock().subscribe(subscription, 1).is_err());
    subscription = house.subscription(CAROL);
    assert!(cell.lock().subscribe(subscription, 2).is_ok());
    assert_eq!(cell.lock().unsubscribe(ALICE), 2);
    assert_eq!(cell.lock().stats(0).client_count, 2);
}
