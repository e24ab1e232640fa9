//! Shards, topics and channels that come and go under a subscription.

use nsq_protocol::{ChannelName, TopicName};

use crate::Next;
use crate::testing::{TestNode, TestSession, at, commands, topic_name};

fn is_closed(consumer: &TestSession) -> bool {
    consumer.session.client().is_closed()
}

#[test]
fn a_subscription_without_any_shard_waits_for_one() {
    let node = TestNode::new();
    let mut consumer = node.connect(1);
    let next = consumer.session.handle_input(b"SUB t c\n", at(0));
    let topic = topic_name();
    let channel = Some(ChannelName::parse("c").unwrap());
    assert_eq!(next, Next::CreateTopic { topic, channel });
    assert_eq!(consumer.carry_out(next, at(0)), Next::Wait);
    consumer.send(b"RDY 2\nFIN 0123456789abcdef\n", at(1));
    let refusal = "E_FIN_FAILED FIN 0123456789abcdef failed ID not in flight";
    assert_eq!(consumer.read(), ["OK", refusal]);
    consumer.deliver(at(1));

    node.lead(7);
    node.publish(7, &["a", "b", "c"], at(2));
    consumer.deliver(at(2));
    assert_eq!(consumer.read(), ["message a", "message b"]);
}

#[test]
fn a_topic_that_every_shard_has_needs_not_be_made() {
    let node = TestNode::leading(&[1, 2]);
    let mut consumer = node.connect(1);
    assert_eq!(
        consumer.session.handle_input(b"SUB t c\n", at(0)),
        Next::Wait
    );
    assert_eq!(consumer.read(), ["OK"]);
    assert_eq!(node.channel(2, "c").unwrap().lock().client_count(), 1);
}

#[test]
fn a_shard_led_later_and_a_channel_made_later_give_their_messages_within_the_ready_count() {
    let node = TestNode::leading(&[1]);
    let mut consumer = node.consumer(1, 2);
    node.publish(1, &["a"], at(1));
    consumer.deliver(at(1));
    assert_eq!(consumer.read(), ["message a"]);
    node.lead(2);
    node.publish(2, &["b", "c"], at(2));
    consumer.deliver(at(2));
    assert_eq!(consumer.read(), ["message b"]);

    // A shard that has not followed the directory yet.
    let node = TestNode::new();
    node.lead(1);
    let mut consumer = node.connect(1);
    let next = consumer.session.handle_input(b"SUB t c\n", at(0));
    assert!(matches!(next, Next::CreateTopic { .. }));
    assert_eq!(consumer.session.handle_topic(Ok(()), at(0)), Next::Wait);
    consumer.send(b"RDY 1\n", at(1));
    assert_eq!(consumer.read(), ["OK"]);
    node.make("t", Some("c"));
    consumer.deliver(at(2));
    node.publish(1, &["late"], at(3));
    consumer.deliver(at(3));
    assert_eq!(consumer.read(), ["message late"]);
}

#[test]
fn a_shard_that_is_led_no_longer_leaves_its_clients_connected() {
    let node = TestNode::leading(&[1, 2]);
    let mut consumer = node.consumer(1, 2);
    node.publish(1, &["a"], at(1));
    node.publish(2, &["b"], at(1));
    consumer.deliver(at(1));
    let held = consumer.frames();
    assert_eq!(held.len(), 2);
    node.stop_leading(1, at(2));
    assert!(!is_closed(&consumer));
    let mut ids = held.into_iter().filter_map(|(_, id)| id);
    let (of_one, of_two) = (ids.next().unwrap(), ids.next().unwrap());

    // What it held of that shard leaves room for others.
    node.publish(2, &["c"], at(3));
    consumer.deliver(at(3));
    assert_eq!(consumer.read(), ["message c"]);
    consumer.send(&commands("FIN", [&of_one, &of_two], ""), at(4));
    let id = String::from_utf8_lossy(&of_one).into_owned();
    let refusal = format!("E_FIN_FAILED FIN {id} failed ID not in flight");
    assert_eq!(consumer.read(), [refusal]);

    // When it is led again, its message comes again.
    node.lead_at(1, at(5));
    consumer.deliver(at(5));
    assert_eq!(consumer.read(), ["message a"]);
    assert!(!is_closed(&consumer));
}

#[test]
fn a_client_whose_last_shard_went_away_waits_for_the_next() {
    let node = TestNode::leading(&[1]);
    let mut consumer = node.consumer(1, 2);
    node.publish(1, &["a"], at(1));
    node.stop_leading(1, at(2));
    consumer.deliver(at(2));
    consumer.send(b"RDY 1\n", at(3));
    node.lead_at(1, at(4));
    node.publish(1, &["b"], at(4));
    consumer.deliver(at(4));
    assert_eq!(consumer.read(), ["message a"]);
}

#[test]
fn a_client_that_does_not_read_lets_go_of_a_shard_that_went_away() {
    let node = TestNode::leading(&[1, 2]);
    let mut consumer = node.consumer(1, 2);
    consumer.session.outbox().handle_blocked(at(1).tick);
    node.stop_leading(1, at(2));
    consumer.session.handle_wake();
    let client = consumer.session.client();
    assert_eq!(client.details().channels.len(), 1);
}

#[test]
fn the_deletion_of_a_topic_or_channel_closes_its_clients() {
    for what in ["topic", "channel"] {
        let node = TestNode::leading(&[1, 2]);
        let consumer = node.consumer(1, 2);
        let topic = node.broker(2).topic("t").unwrap();
        match what {
            "topic" => assert!(node.broker(2).delete_topic("t")),
            _ => assert!(topic.delete_channel("c")),
        }
        assert!(is_closed(&consumer), "{what}");
    }
}

#[test]
fn a_deletion_in_the_directory_closes_clients_that_have_no_shard() {
    let node = TestNode::new();
    let [mut one, mut two, mut other] = [1, 2, 3].map(|id| node.connect(id));
    one.subscribe("c", 1);
    two.subscribe("d", 1);
    assert_eq!(other.send(b"SUB u c\n", at(0)), Next::Wait);
    let shards = node.server.shards();
    let channel = ChannelName::parse("c").unwrap();
    shards.note_deleted(&topic_name(), Some(&channel));
    assert!(is_closed(&one) && !is_closed(&two) && !is_closed(&other));
    shards.note_deleted(&topic_name(), None);
    assert!(is_closed(&two) && !is_closed(&other));
    other.session.leave();
    shards.note_deleted(&TopicName::parse("u").unwrap(), None);
    assert!(!is_closed(&other), "it has left");
}

#[test]
fn a_channel_takes_so_many_consumers_in_each_shard() {
    let node = TestNode::with(|settings| settings.max_channel_consumers = 1);
    node.lead(1);
    node.lead(2);
    node.make("t", Some("c"));
    let mut first = node.consumer(1, 1);
    let mut second = node.connect(2);
    assert_eq!(second.send(b"SUB t c\n", at(1)), Next::Close);
    let refusal = "E_SUB_FAILED SUB failed consumers for t:c exceeds limit of 1";
    assert_eq!(second.read(), [refusal]);
    second.session.leave();
    first.session.leave();
    for shard in 1..=2 {
        assert_eq!(node.channel(shard, "c").unwrap().lock().client_count(), 0);
    }
    node.consumer(3, 1);
}

#[test]
fn what_the_client_said_of_itself_holds_in_shards_that_are_led_later() {
    let node = TestNode::with(|settings| settings.topology.zone = "z".to_owned());
    node.lead(1);
    let mut consumer = node.connect(1);
    let body = br#"{"msg_timeout":2000,"topology_zone":"z"}"#;
    let mut identify = b"IDENTIFY\n".to_vec();
    identify.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
    identify.extend_from_slice(body);
    consumer.send(&identify, at(0));
    assert_eq!(consumer.read(), ["OK"]);
    consumer.subscribe("c", 10);
    node.lead(2);
    consumer.deliver(at(1));
    node.publish(2, &["a"], at(1));
    consumer.deliver(at(1));
    assert_eq!(consumer.read(), ["message a"]);
    node.notes.timers.run_due(at(2001), |_| {});
    consumer.deliver(at(2001));
    assert_eq!(consumer.read(), ["message a"], "after its own timeout");
    let stats = node.broker(2).topic("t").unwrap().stats();
    assert_eq!(
        stats.channels[0].zone_local_count, 2,
        "deliveries in the zone"
    );
}

#[test]
fn a_shard_whose_broker_resigns_before_it_leaves_the_table_keeps_no_client_busy() {
    for others in [&[][..], &[2]] {
        let node = TestNode::leading(&[1]);
        for &shard in others {
            node.lead(shard);
        }
        let mut consumer = node.consumer(1, 2);
        let mut ephemeral = node.connect(2);
        ephemeral.subscribe("e#ephemeral", 1);
        node.publish(1, &["a"], at(1));
        consumer.deliver(at(1));
        let held = consumer.frames()[0].1.unwrap();
        node.broker(1).resign(at(2));
        consumer.deliver(at(2));
        assert!(!consumer.session.wants_delivery());
        consumer.send(&commands("FIN", [&held], ""), at(3));
        assert_eq!(consumer.read().len(), 1);
        let mut late = node.connect(3);
        assert_eq!(late.send(b"SUB t c\nRDY 1\n", at(3)), Next::Wait);
        assert_eq!(late.read(), ["OK"]);
        ephemeral.session.leave();

        node.server.shards().remove(1).unwrap();
        node.lead_at(1, at(4));
        late.deliver(at(4));
        assert_eq!(late.read(), ["message a"]);
        assert!(!is_closed(&consumer) && !is_closed(&late));
    }
}
