//! When a message is safe: its publisher is answered then, and not before that do channels get it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::channel::TransferMessage;
use crate::testing::{ALICE, BOB, SECOND, TestBroker, counts, finish_all};
use crate::topic::{Published, SafeOnce, TicketState, TicketWaiter};

#[derive(Default)]
struct Waiter(AtomicUsize);

impl TicketWaiter for Waiter {
    fn ticket_settled(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Waiter {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// A broker with `--sync-publish`.
fn synced() -> TestBroker {
    TestBroker::with(|settings| settings.safe_once = SafeOnce::Synced)
}

fn publish(house: &TestBroker, body: &str) -> Published {
    let bodies = std::iter::once(body.as_bytes());
    house.topic("t").publish(bodies, house.now).unwrap()
}

fn publish_deferred(house: &TestBroker, body: &str) -> Published {
    let due = house.now.unix_after(SECOND);
    let topic = house.topic("t");
    topic
        .publish_deferred(body.as_bytes(), due, house.now)
        .unwrap()
}

fn wait(house: &TestBroker, published: Published) -> (Arc<Waiter>, TicketState) {
    let waiter = Arc::new(Waiter::default());
    let as_waiter = Arc::clone(&waiter) as Arc<dyn TicketWaiter>;
    let state = house.topic("t").await_ticket(published.ticket, &as_waiter);
    (waiter, state)
}

/// The main log's file, once the log has closed it: without it, a sync fails.
fn resting_file(house: &mut TestBroker) -> PathBuf {
    house.pass(SECOND);
    // What was just used rests at the second look.
    while house.topic("t").maintain(house.now) {}
    let entries = std::fs::read_dir(house.topic_folder("t")).unwrap();
    let mut files = entries.map(|entry| entry.unwrap().path());
    let is_main = |path: &PathBuf| path.display().to_string().contains("/main.0");
    files.find(is_main).expect("the log has a file")
}

#[test]
fn a_message_is_safe_and_delivered_once_it_is_appended() {
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    for published in [publish(&house, "a"), publish_deferred(&house, "late")] {
        assert!(published.is_safe);
        let topic = house.topic("t");
        assert_eq!(topic.ticket_state(published.ticket), TicketState::Safe);
        assert_eq!(wait(&house, published).1, TicketState::Safe);
    }
    assert_eq!(counts(&cell.lock()), (1, 0, 1));
}

#[test]
fn with_sync_publish_a_message_is_answered_and_delivered_once_it_is_synced() {
    let house = synced();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 10);
    assert!(house.take(&cell, ALICE).is_empty());
    let topic = house.topic("t");
    let first = publish(&house, "a");
    let deferred = publish_deferred(&house, "late");
    let waiters = [first, deferred].map(|published| {
        assert!(!published.is_safe);
        let (waiter, state) = wait(&house, published);
        assert_eq!(state, TicketState::Pending);
        waiter
    });
    assert_eq!(counts(&cell.lock()), (0, 0, 0));
    assert_eq!(topic.stats().depth, 2);
    assert_eq!(house.bells.next(), None);

    topic.sync_published(house.now).unwrap();
    let last = publish(&house, "b");
    assert_eq!(waiters.map(|waiter| waiter.count()), [1, 1]);
    assert_eq!(topic.ticket_state(first.ticket), TicketState::Safe);
    assert_eq!(topic.ticket_state(deferred.ticket), TicketState::Safe);
    assert_eq!(topic.ticket_state(last.ticket), TicketState::Pending);
    assert_eq!(house.bells.next(), Some(ALICE));
    assert_eq!(house.bodies(&cell, ALICE), ["a"]);
    assert_eq!(counts(&cell.lock()), (0, 1, 1));
}

#[test]
fn a_channel_made_before_a_sync_gets_what_becomes_safe_with_it() {
    let house = synced();
    house.channel("t", "c1");
    publish(&house, "a");
    let c2 = house.channel("t", "c2");
    house.topic("t").sync(house.now).unwrap();
    house.subscribe(&c2, BOB, 10);
    assert_eq!(house.bodies(&c2, BOB), ["a"]);
}

#[test]
fn what_waits_in_a_topic_is_safe_before_its_first_channel_comes() {
    let house = synced();
    let published = publish(&house, "a");
    let (waiter, _) = wait(&house, published);
    house.topic("t").sync(house.now).unwrap();
    assert_eq!(waiter.count(), 1);
    assert_eq!(house.topic("t").stats().depth, 1);
    assert_eq!(counts(&house.channel("t", "c").lock()), (1, 0, 0));
}

#[test]
fn after_a_failed_sync_publishers_hear_of_it_and_the_message_comes_with_the_next_one() {
    let mut house = synced();
    let cell = house.channel("t", "c");
    let published = publish(&house, "a");
    let (waiter, _) = wait(&house, published);
    let file = resting_file(&mut house);
    let hidden = file.with_extension("hidden");
    std::fs::rename(&file, &hidden).unwrap();
    let topic = house.topic("t");
    topic.sync(house.now).unwrap_err();
    assert_eq!(waiter.count(), 1);
    let state = topic.ticket_state(published.ticket);
    assert!(matches!(&state, TicketState::Failed(why) if why.contains("main.0")));
    assert_eq!(wait(&house, published).1, state);
    assert_eq!(counts(&cell.lock()), (0, 0, 0));

    std::fs::rename(&hidden, &file).unwrap();
    let next = publish(&house, "b");
    assert_eq!(topic.ticket_state(next.ticket), TicketState::Pending);
    topic.sync(house.now).unwrap();
    assert_eq!(topic.ticket_state(next.ticket), TicketState::Safe);
    assert_eq!(topic.ticket_state(published.ticket), TicketState::Safe);
    house.subscribe(&cell, ALICE, 10);
    assert_eq!(house.bodies(&cell, ALICE), ["a", "b"]);
}

#[test]
fn a_topic_whose_sync_failed_is_synced_again_although_nothing_else_happens_in_it() {
    let mut house = synced();
    publish(&house, "a");
    let file = resting_file(&mut house);
    let hidden = file.with_extension("hidden");
    std::fs::rename(&file, &hidden).unwrap();
    let topic = house.topic("t");
    topic.sync(house.now).unwrap_err();
    std::fs::rename(&hidden, &file).unwrap();
    assert!(topic.maintain(house.now));
    topic.sync(house.now).unwrap();
    assert!(!topic.maintain(house.now));
}

#[test]
fn a_sync_that_breaks_off_leaves_no_publisher_waiting() {
    let house = synced();
    let published = publish(&house, "a");
    let (waiter, _) = wait(&house, published);
    let topic = house.topic("t");
    topic.fail_pending_tickets("broke off");
    assert_eq!(waiter.count(), 1);
    let failed = TicketState::Failed("broke off".to_owned());
    assert_eq!(topic.ticket_state(published.ticket), failed);
}

#[test]
fn tickets_of_messages_that_were_emptied_are_settled_and_later_ones_are_not() {
    let house = synced();
    let topic = house.topic("t");
    let dropped = [publish(&house, "a"), publish_deferred(&house, "late")];
    let waiters = dropped.map(|published| wait(&house, published).0);
    topic.empty().unwrap();
    assert_eq!(waiters.map(|waiter| waiter.count()), [1, 1]);
    for published in dropped {
        assert_eq!(topic.ticket_state(published.ticket), TicketState::Safe);
    }
    // It gets the same sequence.
    let next = publish(&house, "b");
    let (waiter, state) = wait(&house, next);
    assert_eq!((waiter.count(), state), (0, TicketState::Pending));
    topic.sync(house.now).unwrap();
    assert_eq!(waiter.count(), 1);
}

#[test]
fn no_publisher_waits_for_a_topic_that_was_deleted() {
    let house = synced();
    let published = publish(&house, "a");
    let topic = house.topic("t");
    let (waiter, _) = wait(&house, published);
    assert!(house.broker().delete_topic("t"));
    assert_eq!(waiter.count(), 1);
    assert_eq!(topic.ticket_state(published.ticket), TicketState::Safe);
}

#[test]
fn what_nsqd_closes_is_safe() {
    let house = synced();
    let published = publish(&house, "a");
    let topic = house.topic("t");
    let (waiter, _) = wait(&house, published);
    house.broker().close(house.now);
    assert_eq!(waiter.count(), 1);
    assert_eq!(topic.ticket_state(published.ticket), TicketState::Safe);
}

#[test]
fn what_a_killed_nsqd_had_not_synced_is_delivered_by_the_next_one() {
    let mut house = synced();
    house.channel("t", "c");
    publish(&house, "a");
    house.kill();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 10);
    let got = house.take(&cell, ALICE);
    assert_eq!(got.len(), 1);
    finish_all(&cell, ALICE, &got);
}

#[test]
fn adopted_messages_are_delivered_once_they_are_synced() {
    let house = synced();
    let cell = house.channel("t", "c");
    let message = TransferMessage {
        timestamp: 1,
        attempts: 0,
        due: 0,
        body: b"a",
    };
    house.topic("t").adopt(None, &[message], house.now).unwrap();
    assert_eq!(counts(&cell.lock()), (1, 0, 0));
}

#[test]
fn a_failed_adoption_shows_in_the_health_until_an_append_works() {
    for (channel, delay) in [(None, 0), (None, 1), (Some("c"), 0), (Some("c"), 1)] {
        let house = TestBroker::new();
        house.channel("t", "c");
        let topic = house.topic("t");
        let channel = channel.map(|name| nsq_protocol::ChannelName::try_from(name).unwrap());
        let message = TransferMessage {
            timestamp: 1,
            attempts: 0,
            due: house.now.unix_after(delay * SECOND),
            body: b"a",
        };
        let folder = house.topic_folder("t");
        let hidden = folder.with_extension("hidden");
        std::fs::rename(&folder, &hidden).unwrap();
        topic
            .adopt(channel.as_ref(), &[message], house.now)
            .unwrap_err();
        let health = house.broker().health();
        assert!(
            health.starts_with("NOK - "),
            "{channel:?} {delay}: {health}"
        );
        assert_eq!(
            house.broker().failed_append_count(),
            1,
            "{channel:?} {delay}"
        );
        std::fs::rename(&hidden, &folder).unwrap();
        house.publish("t", &["b"]);
        assert_eq!(house.broker().health(), "OK");
    }
}
