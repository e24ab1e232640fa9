//! Publishes that go through the cluster's router.

use nsq_protocol::{TopicName, encode};

use crate::Next;
use crate::testing::{TestNode, at, publish, topic_name};

#[test]
fn publishes_are_answered_once_the_cluster_has_them_and_in_their_order() {
    let node = TestNode::leading(&[1]);
    let mut publisher = node.connect(1);
    let run = [publish("one"), publish("two")].concat();
    assert_eq!(publisher.send(&run, at(1)), Next::Wait);
    publisher.send(&publish("three"), at(2));
    let published = node.cluster.published();
    let bodies: Vec<_> = published.iter().map(|run| &run.bodies).collect();
    assert_eq!(bodies, [&vec!["one", "two"], &vec!["three"]]);
    assert_eq!(publisher.read().len(), 0);

    assert!(published[1].pending.settle(Ok(())));
    assert_eq!(publisher.settle(at(3)), Next::Wait);
    assert_eq!(publisher.read().len(), 0);
    assert!(published[0].pending.settle(Ok(())));
    assert_eq!(publisher.settle(at(3)), Next::Wait);
    assert_eq!(publisher.read(), ["OK", "OK", "OK"]);
    // Nothing of it is in the shard: the cluster brings it there.
    assert_eq!(node.broker(1).topic("t").unwrap().stats().message_count, 0);
    let counts = &publisher.session.client().details().published;
    assert_eq!(counts.get(&topic_name()), Some(&3));
}

#[test]
fn a_deferred_publish_goes_to_the_cluster_with_the_time_when_it_is_due() {
    let node = TestNode::leading(&[1]);
    let mut publisher = node.connect(1);
    publisher.send(b"DPUB t 1500\n\0\0\0\x01a", at(1));
    let published = node.cluster.published();
    assert_eq!(published[0].due, Some(at(1501).unix_nanos));
    assert_eq!(published[0].bodies, ["a"]);
    published[0].pending.settle(Ok(()));
    publisher.settle(at(2));
    assert_eq!(publisher.read(), ["OK"]);
}

#[test]
fn a_batch_goes_to_the_cluster_as_one_and_gets_one_answer() {
    let node = TestNode::leading(&[1]);
    let mut publisher = node.connect(1);
    let mut batch = Vec::new();
    encode::publish_many(&mut batch, &topic_name(), [&b"a"[..], b"b"]);
    publisher.send(&batch, at(1));
    let published = node.cluster.published();
    assert_eq!(published[0].bodies, ["a", "b"]);
    published[0].pending.settle(Ok(()));
    publisher.settle(at(2));
    assert_eq!(publisher.read(), ["OK"]);
}

#[test]
fn a_publish_that_fails_in_the_cluster_ends_the_connection_with_the_cause() {
    let node = TestNode::leading(&[1]);
    let mut publisher = node.connect(1);
    publisher.send(&publish("a"), at(1));
    publisher.send(&publish("b"), at(1));
    let published = node.cluster.published();
    published[0].pending.settle(Err("no majority".to_owned()));
    published[1].pending.settle(Ok(()));
    assert_eq!(publisher.settle(at(2)), Next::Close);
    assert_eq!(publisher.read(), ["E_PUB_FAILED PUB failed no majority"]);
}

#[test]
fn a_publish_that_the_cluster_refuses_ends_the_connection_with_the_cause() {
    let node = TestNode::leading(&[1]);
    *node.cluster.refusal.lock().unwrap() = Some("full".to_owned());
    let mut publisher = node.connect(1);
    let mut batch = Vec::new();
    encode::publish_many(&mut batch, &topic_name(), [&b"a"[..]]);
    assert_eq!(publisher.send(&batch, at(1)), Next::Close);
    assert_eq!(publisher.read(), ["E_MPUB_FAILED MPUB failed full"]);
    let mut publisher = node.connect(2);
    let deferred = b"DPUB t 1500\n\0\0\0\x01a";
    assert_eq!(publisher.send(deferred, at(1)), Next::Close);
    assert_eq!(publisher.read(), ["E_DPUB_FAILED DPUB failed full"]);
}

#[test]
fn a_run_of_publishes_waits_until_its_new_topic_is_in_the_cluster() {
    let node = TestNode::new();
    let mut publisher = node.connect(1);
    let run = [publish("one"), publish("two")].concat();
    let next = publisher.session.handle_input(&run, at(1));
    let topic = topic_name();
    let channel = None;
    assert_eq!(next, Next::CreateTopic { topic, channel });
    assert_eq!(publisher.carry_out(next, at(1)), Next::Wait);
    let published = node.cluster.published();
    assert_eq!(published.len(), 1);
    assert_eq!(published[0].bodies, ["one", "two"]);
}

#[test]
fn an_ephemeral_topic_is_published_to_on_this_node_alone() {
    let node = TestNode::leading(&[1]);
    let mut publisher = node.connect(1);
    let name = TopicName::parse("e#ephemeral").unwrap();
    let mut command = Vec::new();
    encode::publish(&mut command, &name, b"x");
    publisher.send(&command, at(1));
    publisher.send(&publish("routed"), at(1));
    assert_eq!(node.cluster.published().len(), 1);
    assert_eq!(publisher.read(), ["OK"]);
    let topic = node.server.broker().topic("e#ephemeral").unwrap();
    assert_eq!(topic.stats().message_count, 1);

    let mut consumer = node.connect(2);
    consumer.send(b"SUB e#ephemeral c\nRDY 5\n", at(2));
    consumer.deliver(at(2));
    assert_eq!(consumer.read(), ["OK", "message x"]);
}

#[test]
fn so_many_publishes_wait_for_the_cluster_and_no_more_are_read() {
    let node = TestNode::leading(&[1]);
    let mut publisher = node.connect(1);
    for count in 0..256 {
        assert!(publisher.session.wants_input(), "after {count}");
        publisher.send(&publish("x"), at(1));
    }
    assert!(!publisher.session.wants_input());
    for run in node.cluster.published() {
        run.pending.settle(Ok(()));
    }
    publisher.settle(at(2));
    assert!(publisher.session.wants_input());
    assert_eq!(publisher.read().len(), 256);
}
