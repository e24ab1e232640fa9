use std::time::Duration;

use super::expect_no_tasks;
use super::fake_nsqd::{Client, FakeNsqd};
use crate::{ClusterProducer, PublishError, SetupError, TopicName};

fn topic() -> TopicName {
    TopicName::parse("t").unwrap()
}

/// Three nodes, and a producer that was given the first one's address.
struct Fixture {
    nodes: [FakeNsqd; 3],
    producer: ClusterProducer,
}

impl Fixture {
    async fn new() -> Self {
        Self::with_answer_timeout(Duration::from_mins(1)).await
    }

    async fn with_answer_timeout(time: Duration) -> Self {
        let nodes = [
            FakeNsqd::start().await,
            FakeNsqd::start().await,
            FakeNsqd::start().await,
        ];
        let producer = ClusterProducer::builder(&[nodes[0].address()])
            .answer_timeout(time)
            .build()
            .unwrap();
        Self { nodes, producer }
    }

    /// The producer's connection to this node, which tells it all three.
    async fn connected(&self, node: usize) -> Client {
        let mut client = self.nodes[node].accept().await;
        let identity = client.expect("IDENTIFY").await;
        let identity: serde_json::Value = serde_json::from_slice(&identity).unwrap();
        assert_eq!(identity["cluster_nodes"], true);
        let nodes = self.nodes.each_ref().map(FakeNsqd::address);
        let answer = serde_json::json!({"max_rdy_count": 2500, "cluster_nodes": nodes});
        client.respond(&answer.to_string()).await;
        client
    }
}

#[tokio::test]
async fn what_a_lost_node_has_not_answered_goes_to_another_in_order() {
    let fixture = Fixture::new().await;
    let (producer, topic) = (&fixture.producer, &topic());
    let mut receipts = Vec::new();
    for body in ["1", "2", "3"] {
        receipts.push(producer.start_publish(topic, body).await.unwrap());
    }
    let mut first = fixture.connected(0).await;
    for body in ["1", "2", "3"] {
        assert_eq!(first.expect("PUB t").await, body.as_bytes());
    }
    first.respond("OK").await;
    receipts.remove(0).await.unwrap();
    drop(first);

    // One that is started now comes after those that were started before.
    receipts.push(producer.start_publish(topic, "4").await.unwrap());
    let mut second = fixture.connected(1).await;
    for body in ["2", "3", "4"] {
        assert_eq!(second.expect("PUB t").await, body.as_bytes());
        second.respond("OK").await;
    }
    for receipt in receipts {
        receipt.await.unwrap();
    }
    let mut known = producer.nodes();
    known.sort();
    let mut all = fixture.nodes.each_ref().map(FakeNsqd::address);
    all.sort();
    assert_eq!(known, all);
}

#[tokio::test]
async fn a_node_that_cannot_store_is_passed_over() {
    let fixture = Fixture::new().await;
    let (producer, topic) = (&fixture.producer, &topic());
    let batch = producer.start_publish_many(topic, &["1", "2"]).await;
    let single = producer.start_publish(topic, "3").await.unwrap();
    let mut first = fixture.connected(0).await;
    first.expect("MPUB t").await;
    first.refuse("E_MPUB_FAILED MPUB failed: disk full").await;
    let mut second = fixture.connected(1).await;
    let bodies = second.expect("MPUB t").await;
    assert_eq!(bodies, b"\0\0\0\x02\0\0\0\x011\0\0\0\x012");
    assert_eq!(second.expect("PUB t").await, b"3");
    second.respond("OK").await;
    second.respond("OK").await;
    batch.unwrap().await.unwrap();
    single.await.unwrap();
}

#[tokio::test]
async fn a_message_that_no_node_takes_does_not_hold_up_the_others() {
    let fixture = Fixture::new().await;
    let (producer, topic) = (&fixture.producer, &topic());
    let bad = producer.start_publish(topic, "bad").await.unwrap();
    let good = producer.start_publish(topic, "good").await.unwrap();
    let mut first = fixture.connected(0).await;
    first.expect("PUB t").await;
    first.refuse("E_BAD_MESSAGE PUB message too big").await;
    // As nsqd does after such an error.
    drop(first);
    let refused = bad.await.unwrap_err();
    assert_eq!(refused.to_string(), "E_BAD_MESSAGE PUB message too big");
    let mut second = fixture.connected(1).await;
    assert_eq!(second.expect("PUB t").await, b"good");
    second.respond("OK").await;
    good.await.unwrap();
}

#[tokio::test]
async fn a_silent_node_is_passed_over() {
    let fixture = Fixture::with_answer_timeout(Duration::from_millis(100)).await;
    let receipt = fixture.producer.start_publish(&topic(), "1").await.unwrap();
    // It takes the publish and says no more.
    let mut silent = fixture.connected(0).await;
    silent.expect("PUB t").await;
    let mut second = fixture.connected(1).await;
    assert_eq!(second.expect("PUB t").await, b"1");
    second.respond("OK").await;
    receipt.await.unwrap();
    silent.expect_end().await;
}

#[tokio::test]
async fn a_publish_is_given_up_when_no_node_takes_it() {
    // No one listens there. A port that a fake node had given back might already be another test's node.
    let producer = ClusterProducer::builder(&["127.0.0.1:1"])
        .give_up_after(Duration::from_millis(50))
        .build()
        .unwrap();
    let error = producer.publish(&topic(), "1").await.unwrap_err();
    assert!(matches!(error, PublishError::GivenUp { .. }), "{error}");
    assert!(!error.may_have_been_accepted(), "nothing was ever sent");
    assert!(error.to_string().contains("connect"), "{error}");
}

#[tokio::test]
async fn stopping_waits_for_answers() {
    let fixture = Fixture::new().await;
    let producer = fixture.producer.clone();
    let receipt = producer.start_publish(&topic(), "1").await.unwrap();
    let stopping = tokio::spawn({
        let producer = producer.clone();
        async move { producer.stop().await }
    });
    let mut first = fixture.connected(0).await;
    first.expect("PUB t").await;
    assert!(!stopping.is_finished());
    first.respond("OK").await;
    receipt.await.unwrap();
    stopping.await.unwrap();
    first.expect_end().await;
    let late = producer.start_publish(&topic(), "2").await.unwrap_err();
    assert!(matches!(late, PublishError::Stopped));
    drop(fixture);
    expect_no_tasks().await;
}

#[tokio::test]
async fn it_needs_an_address() {
    let none: [&str; 0] = [];
    let error = ClusterProducer::builder(&none).build().unwrap_err();
    assert!(matches!(error, SetupError::NoAddress), "{error}");
}
