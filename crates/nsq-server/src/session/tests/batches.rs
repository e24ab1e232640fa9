//! Commands applied together, messages handed out together, and topics that go away under a client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nsq_core::{ChannelCell, NotInFlight, Now, SafeOnce};
use nsq_protocol::{MessageId, RawMessageId};

use crate::Next;
use crate::session::{Handling, Observer};
use crate::testing::{TestServer, TestSession, at, commands, open_broker, publish};

fn publish_many(server: &TestServer, count: usize) {
    let mut publisher = server.connect(99);
    for _ in 0..count {
        assert_eq!(publisher.send(&publish("x"), at(1)), Next::Wait);
    }
}

fn ids<O: Observer>(session: &mut TestSession<O>) -> Vec<RawMessageId> {
    let frames = session.frames();
    frames.into_iter().filter_map(|(_, id)| id).collect()
}

#[test]
fn a_turn_hands_out_at_most_1024_messages() {
    let server = TestServer::new();
    let mut consumer = server.consumer(1, 2500);
    publish_many(&server, 1500);
    consumer.deliver(at(2));
    assert_eq!(ids(&mut consumer).len(), 1024);
    assert!(consumer.session.wants_delivery());
    consumer.deliver(at(2));
    assert_eq!(ids(&mut consumer).len(), 1500 - 1024);
}

#[test]
fn a_client_that_does_not_read_is_given_no_more_messages() {
    let server = TestServer::new();
    let mut consumer = server.consumer(1, 2500);
    publish_many(&server, 1500);
    consumer.session.outbox().handle_blocked(at(2).tick);
    consumer.deliver(at(2));
    assert_eq!(consumer.read().len(), 0);
    consumer.deliver(at(2));
    assert_eq!(consumer.read().len(), 1024);
}

/// At the first FIN, has another thread wait for the channel, and sees at the later ones that it has not got in between.
#[derive(Default)]
struct Rival {
    has_entered: Arc<AtomicBool>,
    thread: Option<JoinHandle<usize>>,
    cell: Option<Arc<ChannelCell>>,
}

impl Observer for Rival {
    fn handled(
        &mut self,
        _: &ChannelCell,
        _: Handling,
        _: MessageId,
        outcome: Result<(), NotInFlight>,
        _: Now,
    ) {
        outcome.unwrap();
        let cell = self.cell.clone().expect("set by the test");
        let has_entered = Arc::clone(&self.has_entered);
        self.thread.get_or_insert_with(|| {
            std::thread::spawn(move || {
                let count = cell.lock().in_flight_count();
                has_entered.store(true, Ordering::SeqCst);
                count
            })
        });
        // Gives the other thread the chance to do what it must not be able to do.
        for _ in 0..1000 {
            std::thread::yield_now();
        }
        assert!(!self.has_entered.load(Ordering::SeqCst));
    }
}

#[test]
fn a_run_of_commands_to_the_channel_is_applied_under_one_lock() {
    let server = TestServer::new();
    let mut consumer = server.connect_observed(1, Rival::default());
    consumer.send(b"SUB t c\nRDY 100\n", at(0));
    publish_many(&server, 50);
    consumer.deliver(at(2));
    let held = ids(&mut consumer);
    assert_eq!(held.len(), 50);
    consumer.session.observer().cell = Some(server.channel());
    consumer.send(&commands("FIN", &held, ""), at(3));
    let thread = consumer.session.observer().thread.take().unwrap();
    assert_eq!(thread.join().unwrap(), 0);
}

#[test]
fn a_requeue_is_journaled_although_another_command_follows_it() {
    let server = TestServer::new();
    let mut consumer = server.consumer(1, 1);
    publish_many(&server, 1);
    consumer.deliver(at(2));
    let held = ids(&mut consumer);
    let mut bytes = commands("REQ", &held, " 60000");
    bytes.extend_from_slice(b"NOP\n");
    consumer.send(&bytes, at(3));

    // As a kill leaves it.
    let notes = Arc::default();
    let broker = open_broker(server.folder.path(), SafeOnce::Appended, &notes);
    let topic = broker.topic("t").unwrap();
    let channel = topic.channel("c").unwrap();
    assert_eq!(channel.lock().deferred_count(), 1);
}

#[test]
fn a_publish_to_a_topic_deleted_meanwhile_goes_to_the_next_of_its_name() {
    let server = TestServer::new();
    let mut publisher = server.connect(1);
    publisher.send(&publish("before"), at(1));
    assert!(server.server.broker().delete_topic("t"));
    let run = [publish("one"), publish("two")].concat();
    assert_eq!(publisher.send(&run, at(2)), Next::Wait);
    assert_eq!(publisher.read(), ["OK", "OK", "OK"]);
    let topic = server.server.broker().topic("t").unwrap();
    assert_eq!(topic.stats().message_count, 2);
}

#[test]
fn a_publish_to_a_topic_deleted_and_made_again_meanwhile_goes_to_the_next_of_its_name() {
    let server = TestServer::new();
    let mut publisher = server.connect(1);
    publisher.send(&publish("before"), at(1));
    assert!(server.server.broker().delete_topic("t"));
    let mut other = server.connect(2);
    other.send(&publish("first"), at(2));
    let run = [publish("one"), publish("two")].concat();
    assert_eq!(publisher.send(&run, at(3)), Next::Wait);
    assert_eq!(publisher.read(), ["OK", "OK", "OK"]);
    let topic = server.server.broker().topic("t").unwrap();
    assert_eq!(topic.stats().message_count, 3);
}

#[test]
fn a_publish_to_a_topic_that_went_with_nsqd_is_refused() {
    let server = TestServer::new();
    let mut publisher = server.connect(1);
    publisher.send(&publish("before"), at(1));
    server.server.exit();
    assert!(server.server.broker().delete_topic("t"));
    assert_eq!(publisher.send(&publish("after"), at(2)), Next::Close);
    assert_eq!(publisher.read(), ["OK", "E_PUB_FAILED PUB failed exiting"]);
}

#[test]
fn a_subscription_to_a_topic_deleted_meanwhile_goes_to_the_next_of_its_name() {
    let server = TestServer::new();
    let mut client = server.connect(1);
    client.send(&publish("before"), at(1));
    assert!(server.server.broker().delete_topic("t"));
    assert_eq!(client.send(b"SUB t c\n", at(2)), Next::Wait);
    assert_eq!(client.read(), ["OK", "OK"]);
    assert_eq!(server.channel().lock().client_count(), 1);
}

#[test]
fn commands_are_taken_from_any_pieces_that_they_come_in() {
    let server = TestServer::new();
    let mut client = server.connect(1);
    for byte in publish("body") {
        assert_eq!(client.send(&[byte], at(1)), Next::Wait);
    }
    assert_eq!(client.read(), ["OK"]);
}

#[test]
fn a_client_that_leaves_counts_no_longer_and_what_it_holds_comes_back() {
    let server = TestServer::new();
    let mut consumer = server.consumer(1, 1);
    publish_many(&server, 1);
    consumer.deliver(at(2));
    assert_eq!(consumer.read(), ["message x"]);
    consumer.session.leave();
    assert_eq!(server.channel().lock().client_count(), 0);
    assert!(consumer.session.client().details().subscription.is_none());

    let mut next = server.consumer(2, 1);
    let mut looks = 0;
    server.notes.timers.run_due(at(2 + 61_000), |_| looks += 1);
    assert_eq!(looks, 1);
    next.deliver(at(2 + 61_000));
    assert_eq!(next.read(), ["message x"]);
}
