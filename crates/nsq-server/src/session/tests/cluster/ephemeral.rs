//! Ephemeral channels of replicated topics.

use crate::testing::{TestNode, at};

#[test]
fn an_ephemeral_channel_is_in_every_shard_and_goes_with_its_last_client() {
    let node = TestNode::leading(&[1, 2]);
    let mut one = node.connect(1);
    one.subscribe("e#ephemeral", 10);
    let mut two = node.connect(2);
    two.subscribe("e#ephemeral", 10);
    node.lead(3);
    one.deliver(at(1));
    for shard in 1..=3 {
        node.publish(shard, &["x"], at(2));
    }
    one.deliver(at(3));
    two.deliver(at(3));
    assert_eq!(one.read().len() + two.read().len(), 3);

    one.session.leave();
    for shard in 1..=3 {
        assert!(node.channel(shard, "e#ephemeral").is_some());
    }
    two.session.leave();
    for shard in 1..=3 {
        assert!(node.channel(shard, "e#ephemeral").is_none());
    }
}

#[test]
fn an_ephemeral_channel_of_a_topic_without_a_shard_here_is_made_when_there_is_one() {
    let node = TestNode::new();
    let mut consumer = node.connect(1);
    consumer.subscribe("e#ephemeral", 10);
    node.lead(1);
    consumer.deliver(at(1));
    node.publish(1, &["x"], at(2));
    consumer.deliver(at(3));
    assert_eq!(consumer.read(), ["message x"]);
}
