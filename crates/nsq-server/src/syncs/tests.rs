//! Which syncs are made, and when.

use std::sync::Arc;

use nsq_core::{ClientId, Tick, Topic};

use super::*;
use crate::testing::{TestServer, at};

fn topic(server: &TestServer, name: &str) -> Arc<Topic> {
    let name = name.try_into().unwrap();
    let broker = server.server.broker();
    broker.get_or_create_topic(&name, false, at(0)).unwrap().0
}

fn client(id: u32) -> PublisherId {
    PublisherId::Client(ClientId(id))
}

/// Asks the worker what to do; a round is made, and takes `took`. The millisecond at which the worker has to be asked
/// again, if it waits.
fn step(server: &TestServer, worker: &mut SyncWorker, millis: u64, took: u64) -> Step {
    let syncs = server.server.syncs();
    let turn = worker.turn(&mut syncs.lock(), at(millis).tick);
    match turn {
        Turn::Sync(round) => {
            let extent = round.extent();
            let name = round.topic().name().to_string();
            let ended = Ended {
                began: at(millis).tick,
                ended: at(millis + took).tick,
                outcome: round.run(at(millis)).map_err(Some),
            };
            syncs.end(worker, &round, ended, server.server.broker());
            Step::Synced(name, extent)
        }
        Turn::WaitUntil(until) => Step::Waits(until),
        Turn::Dismissed => Step::Dismissed,
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Synced(String, Extent),
    Waits(Tick),
    Dismissed,
}

fn synced(name: &str, extent: Extent) -> Step {
    Step::Synced(name.to_owned(), extent)
}

#[test]
fn publishers_that_wait_together_share_a_sync() {
    let server = TestServer::new();
    let topic = topic(&server, "t");
    let syncs = server.server.syncs();
    for id in 0..16 {
        syncs.join(&topic, client(id));
    }
    let mut worker = syncs.begin().unwrap();
    assert_eq!(
        step(&server, &mut worker, 0, 2),
        synced("t", Extent::Published)
    );
    // None has come back, and the worker does not wait longer than the sync took.
    assert_eq!(step(&server, &mut worker, 2, 0), Step::Waits(at(4).tick));
    assert_eq!(step(&server, &mut worker, 4, 0), Step::Dismissed);
    assert!(syncs.begin().is_none());
}

#[test]
fn the_next_sync_waits_for_those_that_the_last_one_answered() {
    let server = TestServer::new();
    let topic = topic(&server, "t");
    let syncs = server.server.syncs();
    syncs.join(&topic, client(1));
    syncs.join(&topic, client(2));
    let mut worker = syncs.begin().unwrap();
    step(&server, &mut worker, 0, 2);
    syncs.join(&topic, client(1));
    assert_eq!(step(&server, &mut worker, 2, 0), Step::Waits(at(4).tick));
    syncs.join(&topic, client(2));
    assert_eq!(
        step(&server, &mut worker, 3, 0),
        synced("t", Extent::Published)
    );
}

#[test]
fn a_publisher_that_waits_for_the_next_sync_already_is_awaited_with_what_it_publishes_when_answered()
 {
    let server = TestServer::new();
    let topic = topic(&server, "t");
    let syncs = server.server.syncs();
    syncs.join(&topic, client(1));
    let mut worker = syncs.begin().unwrap();
    let Turn::Sync(round) = worker.turn(&mut syncs.lock(), at(0).tick) else {
        panic!("a publisher waits");
    };
    // It publishes again while its first publish is synced.
    syncs.join(&topic, client(1));
    let ended = Ended {
        began: at(0).tick,
        ended: at(2).tick,
        outcome: Ok(()),
    };
    syncs.end(&mut worker, &round, ended, server.server.broker());
    assert_eq!(step(&server, &mut worker, 2, 0), Step::Waits(at(4).tick));
    syncs.join(&topic, client(1));
    assert_eq!(
        step(&server, &mut worker, 3, 0),
        synced("t", Extent::Published)
    );
}

#[test]
fn a_long_sync_does_not_make_the_next_one_wait_as_long() {
    let server = TestServer::new();
    let topic = topic(&server, "t");
    let syncs = server.server.syncs();
    syncs.join(&topic, client(1));
    let mut worker = syncs.begin().unwrap();
    step(&server, &mut worker, 0, 1000);
    assert_eq!(
        step(&server, &mut worker, 1000, 0),
        Step::Waits(at(1005).tick)
    );
}

#[test]
fn so_many_topics_are_synced_at_a_time_and_others_have_their_turns() {
    let server = TestServer::new();
    let syncs = server.server.syncs();
    for number in 0..=CONCURRENT_SYNCS {
        let topic = topic(&server, &format!("t{number}"));
        syncs.join(&topic, client(1));
    }
    let mut workers = std::iter::from_fn(|| syncs.begin()).collect::<Vec<_>>();
    assert_eq!(workers.len(), CONCURRENT_SYNCS);
    let first = &mut workers[0];
    assert_eq!(step(&server, first, 0, 2), synced("t0", Extent::Published));
    syncs.join(&topic(&server, "t0"), client(1));
    // Another topic has no worker, so the one that had a sync goes to the end of the queue.
    let last = format!("t{CONCURRENT_SYNCS}");
    assert_eq!(step(&server, first, 2, 2), synced(&last, Extent::Published));
    assert_eq!(step(&server, first, 4, 2), synced("t0", Extent::Published));
}

#[test]
fn what_is_asked_for_by_count_syncs_messages_only_and_rests() {
    let server = TestServer::new();
    let topic = topic(&server, "t");
    let syncs = server.server.syncs();
    syncs.ask(&topic, Extent::Published);
    let mut worker = syncs.begin().unwrap();
    assert_eq!(
        step(&server, &mut worker, 0, 1),
        synced("t", Extent::Published)
    );
    syncs.ask(&topic, Extent::Published);
    assert_eq!(step(&server, &mut worker, 1, 0), Step::Waits(at(11).tick));
    assert_eq!(
        step(&server, &mut worker, 11, 1),
        synced("t", Extent::Published)
    );
    // The timer's sync does not wait.
    syncs.ask(&topic, Extent::All);
    syncs.ask(&topic, Extent::Published);
    assert_eq!(step(&server, &mut worker, 12, 1), synced("t", Extent::All));
    assert_eq!(step(&server, &mut worker, 14, 0), Step::Dismissed);
}

#[test]
fn a_sync_that_broke_off_counts_as_failed_and_the_next_one_is_made() {
    let server = TestServer::new();
    let topic = topic(&server, "t");
    let syncs = server.server.syncs();
    syncs.join(&topic, client(1));
    let mut worker = syncs.begin().unwrap();
    let Turn::Sync(round) = worker.turn(&mut syncs.lock(), at(0).tick) else {
        panic!("a publisher waits");
    };
    let ended = Ended {
        began: at(0).tick,
        ended: at(0).tick,
        outcome: Err(None),
    };
    syncs.end(&mut worker, &round, ended, server.server.broker());
    assert_eq!(syncs.failure_count(), 1);
    syncs.join(&topic, client(1));
    assert_eq!(
        step(&server, &mut worker, 1, 0),
        synced("t", Extent::Published)
    );
    assert_eq!(syncs.failure_count(), 1);
}

#[test]
fn a_late_request_for_a_deleted_topic_leaves_the_sync_to_the_next_of_its_name() {
    let server = TestServer::syncing();
    let syncs = server.server.syncs();
    let deleted = topic(&server, "t");
    assert!(server.server.broker().delete_topic("t"));
    let current = topic(&server, "t");
    let body: &[u8] = b"body";
    let published = current.publish([body].into_iter(), at(1)).unwrap();
    syncs.join(&current, client(1));
    syncs.join(&deleted, client(2));
    server.run_syncs(at(2), false);
    let state = current.ticket_state(published.ticket);
    assert_eq!(state, nsq_core::TicketState::Safe);
}
