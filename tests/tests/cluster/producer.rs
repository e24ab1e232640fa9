//! The Rust client's producer for clusters.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use nsq_client::{ClusterProducer, TopicName};
use nsq_tests::{Cluster, Frame, wait_until};

use crate::members::channel;

const MESSAGES: usize = 3000;
/// Publishes on their way at a time.
const WINDOW: usize = 50;
const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn a_producer_that_knows_one_node_survives_its_loss_without_an_error() {
    let mut cluster = Cluster::start(3, &[]);
    channel(&cluster[1], "orders");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let producer = {
        let _inside = runtime.enter();
        ClusterProducer::builder(&[cluster[0].tcp().to_string()]).build()
    };
    let producer = producer.expect("the address is fine");
    let publishing = runtime.spawn({
        let producer = producer.clone();
        async move {
            let topic = TopicName::parse("orders").expect("the name is fine");
            let mut under_way = VecDeque::new();
            for number in 0..MESSAGES {
                let started = producer.start_publish(&topic, number.to_string());
                under_way.push_back(started.await.expect("it can start"));
                if under_way.len() == WINDOW {
                    let oldest = under_way.pop_front().expect("there are some");
                    oldest.await.expect("some node takes it");
                }
            }
            for receipt in under_way {
                receipt.await.expect("some node takes it");
            }
            producer.stop().await;
        }
    });
    // The topic's counts of the node that is going to be lost.
    wait_until("some are published", PATIENCE, || {
        cluster[0].topic("orders")["message_count"]
            .as_u64()
            .is_some_and(|count| count > 200)
    });
    cluster.lose(0);
    runtime.block_on(publishing).expect("nothing failed");
    assert_eq!(producer.nodes().len(), 3, "{:?}", producer.nodes());

    let mut copies: BTreeMap<usize, usize> = BTreeMap::new();
    let mut consumer = cluster[1].subscribe("orders", "c", 100);
    let deadline = Instant::now() + PATIENCE;
    while copies.len() < MESSAGES {
        let left = deadline.saturating_duration_since(Instant::now());
        match consumer.next_frame(left) {
            Ok(Frame::Message(message)) => {
                consumer.finish(&message);
                let number = message.text().parse().expect("a number");
                *copies.entry(number).or_default() += 1;
            }
            Ok(Frame::Response(_)) => consumer.send(b"NOP\n"),
            other => panic!("{} of {MESSAGES} came, then {other:?}", copies.len()),
        }
    }
    let twice = copies.values().filter(|count| **count > 1).count();
    assert!(twice <= WINDOW, "{twice} came twice");
    eprintln!("{twice} of {MESSAGES} were stored twice");
}
