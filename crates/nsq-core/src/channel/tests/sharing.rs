//! How messages are shared out among clients.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::client::ClientId;
use crate::testing::{ALICE, BOB, CAROL, TestBroker, finish_all};
use crate::topic::ChannelCell;

/// Everyone who is woken takes, and holds what it got. Returns how many each got.
fn serve_all(house: &TestBroker, cell: &Arc<ChannelCell>) -> BTreeMap<ClientId, usize> {
    let mut counts = BTreeMap::new();
    while let Some(client) = house.bells.next() {
        *counts.entry(client).or_default() += house.take(cell, client).len();
    }
    counts
}

/// Clients with this ready count, all waiting.
fn waiting(house: &TestBroker, cell: &Arc<ChannelCell>, clients: &[ClientId], ready_count: u32) {
    for &client in clients {
        house.subscribe(cell, client, ready_count);
        assert!(house.take(cell, client).is_empty());
    }
}

#[test]
fn a_batch_is_split_evenly_among_those_who_wait() {
    let check = |clients: &[ClientId], count: usize| {
        let house = TestBroker::new();
        let cell = house.channel("t", "c");
        waiting(&house, &cell, clients, 100);
        house.publish_numbered("t", "m", count);
        let served = serve_all(&house, &cell);
        assert_eq!(served.values().sum::<usize>(), count);
        let most = served.values().max().unwrap();
        let least = served.values().min().unwrap();
        assert!(
            served.len() == clients.len() && most - least <= 1,
            "{served:?}"
        );
    };
    check(&[ALICE, BOB], 10);
    check(&[ALICE, BOB], 2);
    check(&[ALICE, BOB, CAROL], 10);
    check(&[ALICE], 10);
}

#[test]
fn what_a_full_client_leaves_goes_to_the_others() {
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    waiting(&house, &cell, &[ALICE], 1);
    waiting(&house, &cell, &[BOB], 100);
    house.publish_numbered("t", "m", 10);
    let served = serve_all(&house, &cell);
    assert_eq!(served, BTreeMap::from([(ALICE, 1), (BOB, 9)]));
}

#[test]
fn single_messages_go_round_all_who_wait() {
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    let clients = [ALICE, BOB, CAROL];
    waiting(&house, &cell, &clients, 1);
    let mut order = Vec::new();
    for _ in 0..6 {
        house.publish("t", &["m"]);
        while let Some(client) = house.bells.next() {
            let got = house.take(&cell, client);
            finish_all(&cell, client, &got);
            // As a connection does after a FIN.
            assert!(house.take(&cell, client).is_empty());
            order.push(client);
        }
    }
    assert_eq!(order, [ALICE, BOB, CAROL, ALICE, BOB, CAROL]);
}

#[test]
fn a_fast_reader_leaves_their_share_to_those_rung() {
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    waiting(&house, &cell, &[ALICE, BOB], 100);
    house.publish_numbered("t", "m", 10);
    // Alice is rung, but comes again and again before Bob.
    assert_eq!(house.take(&cell, ALICE).len(), 5);
    assert_eq!(house.bells.take_all(), [ALICE, BOB]);
    assert_eq!(house.take(&cell, BOB).len(), 5);
    assert_eq!(cell.lock().depth(), 0);
}

#[test]
fn one_message_wakes_one_client() {
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    waiting(&house, &cell, &[ALICE, BOB, CAROL], 100);
    house.publish("t", &["a"]);
    assert_eq!(house.bells.take_all(), [ALICE]);
    house.publish("t", &["b", "c", "d", "e"]);
    assert_eq!(house.bells.take_all(), [BOB, CAROL], "one was rung already");
}

#[test]
fn a_client_that_declines_hands_its_wake_on() {
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    waiting(&house, &cell, &[ALICE, BOB], 100);
    house.publish("t", &["a"]);
    assert_eq!(house.bells.take_all(), [ALICE]);
    cell.lock().decline(ALICE);
    assert_eq!(house.bells.take_all(), [BOB]);
}

#[test]
fn a_client_that_leaves_hands_its_wake_on() {
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    waiting(&house, &cell, &[ALICE, BOB], 100);
    house.publish("t", &["a"]);
    assert_eq!(house.bells.take_all(), [ALICE]);
    cell.lock().unsubscribe(ALICE);
    assert_eq!(house.bells.take_all(), [BOB]);
}

#[test]
fn a_full_client_is_not_put_in_line() {
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    waiting(&house, &cell, &[ALICE, BOB], 1);
    house.publish("t", &["a", "b"]);
    serve_all(&house, &cell);
    house.publish("t", &["c"]);
    assert!(house.bells.take_all().is_empty(), "nobody has room");
}
