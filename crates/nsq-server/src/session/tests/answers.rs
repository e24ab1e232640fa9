//! Answers to publishes that wait for a sync, and what happens meanwhile.

use nsq_protocol::encode;

use crate::Next;
use crate::session::answers::MAX_WAITING;
use crate::testing::{TestServer, at, commands, publish, topic_name};

#[test]
fn a_publish_is_answered_once_it_is_synced() {
    let server = TestServer::syncing();
    let mut publisher = server.connect(1);
    assert_eq!(publisher.send(&publish("one"), at(1)), Next::Wait);
    assert_eq!(publisher.send(&publish("two"), at(2)), Next::Wait);
    assert!(publisher.read().is_empty());
    server.run_syncs(at(3), false);
    assert_eq!(publisher.settle(at(3)), Next::Wait);
    assert_eq!(publisher.read(), ["OK", "OK"]);
}

#[test]
fn answers_keep_the_order_of_their_commands() {
    let server = TestServer::syncing();
    let mut consumer = server.consumer(1, 1);
    let mut bytes = publish("first");
    bytes.extend(commands("FIN", &[*b"0123456789abcdef"], ""));
    encode::publish_many(&mut bytes, &topic_name(), ["second", "third"]);
    bytes.extend_from_slice(b"CLS\n");
    assert_eq!(consumer.send(&bytes, at(1)), Next::Wait);
    assert!(consumer.read().is_empty());
    server.run_syncs(at(2), false);
    consumer.settle(at(2));
    assert_eq!(
        consumer.read(),
        [
            "OK",
            "E_FIN_FAILED FIN 0123456789abcdef failed ID not in flight",
            "OK",
            "CLOSE_WAIT"
        ]
    );
}

#[test]
fn messages_and_fins_do_not_wait_for_a_sync() {
    let server = TestServer::syncing();
    let mut consumer = server.consumer(1, 1);
    let mut other = server.connect(2);
    other.send(&publish("before"), at(1));
    server.run_syncs(at(1), false);

    let mut own = Vec::new();
    encode::publish(&mut own, &"other".try_into().unwrap(), b"waits");
    consumer.send(&own, at(2));
    consumer.deliver(at(2));
    let frames = consumer.frames();
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0].0, "message before");
    consumer.send(&commands("FIN", &frames[0].1, ""), at(3));
    assert_eq!(server.channel().lock().in_flight_count(), 0);

    server.run_syncs(at(4), false);
    consumer.settle(at(4));
    assert_eq!(consumer.read(), ["OK"]);
}

#[test]
fn heartbeats_do_not_wait_for_a_sync() {
    let server = TestServer::syncing();
    let mut publisher = server.connect(1);
    publisher.send(&publish("x"), at(1));
    assert_eq!(publisher.session.handle_timeout(at(30_000)), Next::Wait);
    assert_eq!(publisher.read(), ["_heartbeat_"]);
}

#[test]
fn a_failed_sync_refuses_the_publish_and_nothing_after_it_is_answered() {
    let server = TestServer::syncing();
    let mut publisher = server.connect(1);
    let mut bytes = publish("x");
    encode::publish_deferred(
        &mut bytes,
        &topic_name(),
        std::time::Duration::from_secs(1),
        b"y",
    );
    publisher.send(&bytes, at(1));
    server.run_syncs(at(2), true);
    assert_eq!(publisher.settle(at(2)), Next::Close);
    let answers = publisher.read();
    assert_eq!(answers, ["E_PUB_FAILED PUB failed the sync broke off"]);
}

#[test]
fn a_command_that_is_refused_is_answered_after_the_publishes_before_it() {
    let server = TestServer::syncing();
    let mut publisher = server.connect(1);
    let bytes = [publish("x"), b"WHAT\n".to_vec()].concat();
    assert_eq!(publisher.send(&bytes, at(1)), Next::Wait);
    assert!(publisher.read().is_empty());
    assert!(!publisher.session.wants_input());
    server.run_syncs(at(2), false);
    assert_eq!(publisher.settle(at(2)), Next::Close);
    assert_eq!(publisher.read(), ["OK", "E_INVALID invalid command WHAT"]);
}

#[test]
fn publishes_before_the_end_of_the_input_are_answered() {
    let server = TestServer::syncing();
    let mut publisher = server.connect(1);
    publisher.send(&publish("x"), at(1));
    assert_eq!(publisher.session.handle_end_of_input(), Next::Wait);
    server.run_syncs(at(2), false);
    assert_eq!(publisher.settle(at(2)), Next::Close);
    assert_eq!(publisher.read(), ["OK"]);
}

#[test]
fn a_subscription_waits_for_the_publishes_before_it() {
    let server = TestServer::syncing();
    let mut client = server.connect(1);
    let bytes = [publish("x"), b"SUB t c\nRDY 1\n".to_vec()].concat();
    client.send(&bytes, at(1));
    client.deliver(at(1));
    assert!(client.read().is_empty());
    server.run_syncs(at(2), false);
    client.settle(at(2));
    client.deliver(at(2));
    assert_eq!(client.read(), ["OK", "OK", "message x"]);
}

#[test]
fn only_so_many_publishes_of_a_connection_wait_at_a_time() {
    let server = TestServer::syncing();
    let mut publisher = server.connect(1);
    let count = MAX_WAITING + 10;
    let mut batch = Vec::new();
    for _ in 0..count {
        encode::publish_many(&mut batch, &topic_name(), ["x"]);
    }
    publisher.send(&batch, at(1));
    assert!(!publisher.session.wants_input());
    let topic = server.server.broker().topic("t").unwrap();
    assert_eq!(topic.stats().message_count, MAX_WAITING as u64);
    // We stopped reading, so the client's silence means nothing.
    for millis in [70_000, 71_000, 140_000, 141_000] {
        assert_eq!(publisher.session.handle_timeout(at(millis)), Next::Wait);
    }
    publisher.read();

    server.run_syncs(at(150_000), false);
    publisher.settle(at(150_000));
    assert_eq!(topic.stats().message_count, count as u64);
    server.run_syncs(at(150_001), false);
    publisher.settle(at(150_001));
    assert_eq!(publisher.read(), vec!["OK"; count]);
    assert!(publisher.session.wants_input());
}

#[test]
fn a_publisher_that_is_dismissed_gets_its_answers_before_the_end() {
    let server = TestServer::syncing();
    let mut publisher = server.connect(1);
    publisher.send(&publish("one"), at(1));
    publisher.session.dismiss();
    // What came meanwhile is taken, too.
    publisher.send(&publish("two"), at(2));
    assert!(publisher.session.is_between_commands());
    assert_eq!(publisher.session.finish(), Next::Wait);
    server.run_syncs(at(3), false);
    assert_eq!(publisher.settle(at(3)), Next::Close);
    assert_eq!(publisher.read(), ["OK", "OK"]);
}

#[test]
fn a_consumer_that_is_dismissed_gets_no_more_messages_and_may_finish_those_it_has() {
    let server = TestServer::new();
    let mut consumer = server.consumer(1, 2);
    let mut publisher = server.connect(2);
    publisher.send(&publish("before"), at(1));
    consumer.deliver(at(1));
    let frames = consumer.frames();
    assert_eq!(frames[0].0, "message before");
    consumer.session.dismiss();
    publisher.send(&publish("after"), at(2));
    consumer.send(b"RDY 5\n", at(2));
    consumer.send(&commands("FIN", &frames[0].1, ""), at(2));
    consumer.deliver(at(3));
    assert!(consumer.read().is_empty());
    assert_eq!(server.channel().lock().in_flight_count(), 0);
    assert_eq!(consumer.session.finish(), Next::Close);
}
