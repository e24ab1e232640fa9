use std::time::Duration;

use super::expect_no_tasks;
use super::fake_nsqd::FakeNsqd;
use crate::{Config, Producer, PublishError, TopicName};

fn topic() -> TopicName {
    TopicName::parse("t").unwrap()
}

fn producer(nsqd: &FakeNsqd) -> Producer {
    Producer::new(&nsqd.address(), Config::default()).unwrap()
}

#[tokio::test]
async fn answers_go_to_publishes_in_their_order() {
    let nsqd = FakeNsqd::start().await;
    let producer = producer(&nsqd);
    let topic = topic();
    let (first, mut client) = tokio::join!(producer.start_publish(&topic, "1"), nsqd.identified());
    let second = producer
        .start_publish_many(&topic, &["2", "3"])
        .await
        .unwrap();
    let delay = Duration::from_millis(1500);
    let third = producer
        .start_publish_deferred(&topic, delay, "4")
        .await
        .unwrap();
    assert_eq!(client.expect("PUB t").await, b"1");
    let batch = b"\0\0\0\x02\0\0\0\x012\0\0\0\x013";
    assert_eq!(client.expect("MPUB t").await, batch);
    assert_eq!(client.expect("DPUB t 1500").await, b"4");
    client.respond("OK").await;
    client.respond("_heartbeat_").await;
    client.refuse("E_MPUB_FAILED MPUB failed exiting").await;
    client.respond("OK").await;
    first.unwrap().await.unwrap();
    let refused = second.await.unwrap_err();
    assert_eq!(refused.to_string(), "E_MPUB_FAILED MPUB failed exiting");
    assert!(refused.is_about_nsqd() && !refused.may_have_been_accepted());
    third.await.unwrap();
    client.expect("NOP").await;
}

#[tokio::test]
async fn a_lost_connection_tells_what_may_have_arrived() {
    let nsqd = FakeNsqd::start().await;
    let producer = producer(&nsqd);
    let topic = topic();
    let (small, mut client) = tokio::join!(producer.start_publish(&topic, "1"), nsqd.identified());
    client.expect("PUB t").await;
    // Far more than fits between the two, so it cannot have left in whole.
    let body = vec![b'x'; 32 * 1024 * 1024];
    let large = producer.start_publish(&topic, &body).await.unwrap();
    drop(client);
    let lost = small.unwrap().await.unwrap_err();
    assert!(matches!(lost, PublishError::Lost(_)), "{lost}");
    assert!(lost.may_have_been_accepted());
    let unsent = large.await.unwrap_err();
    assert!(matches!(unsent, PublishError::NotSent(_)), "{unsent}");
    assert!(!unsent.may_have_been_accepted());

    // The next publish connects again.
    let (again, mut client) = tokio::join!(producer.start_publish(&topic, "2"), nsqd.identified());
    assert_eq!(client.expect("PUB t").await, b"2");
    client.respond("OK").await;
    again.unwrap().await.unwrap();
}

#[tokio::test]
async fn what_nsqd_would_not_take_is_not_sent() {
    let nsqd = FakeNsqd::start().await;
    let producer = producer(&nsqd);
    let empty = producer.publish(&topic(), "").await.unwrap_err();
    assert!(matches!(empty, PublishError::Empty));
    let none = producer.publish_many::<&str>(&topic(), &[]).await;
    assert!(matches!(none, Err(PublishError::Empty)));
    let hole = producer.publish_many(&topic(), &["a", ""]).await;
    assert!(matches!(hole, Err(PublishError::Empty)));
    expect_no_tasks().await;
}

#[tokio::test]
async fn what_waits_for_answers_is_bounded() {
    let nsqd = FakeNsqd::start().await;
    let producer = Producer::builder(&nsqd.address())
        .max_pending_bytes(1000)
        .build()
        .unwrap();
    let topic = topic();
    // Larger than the bound, so it goes alone.
    let body = vec![b'x'; 5000];
    let (first, mut client) =
        tokio::join!(producer.start_publish(&topic, &body), nsqd.identified());
    let first = first.unwrap();
    let mut second = std::pin::pin!(producer.start_publish(&topic, "2"));
    let is_held = futures_util::FutureExt::now_or_never(second.as_mut()).is_none();
    assert!(is_held);
    client.expect("PUB t").await;
    client.respond("OK").await;
    first.await.unwrap();
    let second = second.await.unwrap();
    assert_eq!(client.expect("PUB t").await, b"2");
    client.respond("OK").await;
    second.await.unwrap();
}

#[tokio::test]
async fn a_stop_waits_for_answers_and_takes_no_more() {
    let nsqd = FakeNsqd::start().await;
    let producer = producer(&nsqd);
    let topic = topic();
    let (receipt, mut client) =
        tokio::join!(producer.start_publish(&topic, "1"), nsqd.identified());
    let clone = producer.clone();
    let stopping = tokio::spawn(async move { clone.stop().await });
    client.expect("PUB t").await;
    client.respond("OK").await;
    receipt.unwrap().await.unwrap();
    client.expect_end().await;
    stopping.await.unwrap();
    let refused = producer.publish(&topic, "2").await.unwrap_err();
    assert_eq!(refused.to_string(), "stopped");
    expect_no_tasks().await;
}

#[tokio::test]
async fn who_drops_it_gets_the_answers_still() {
    let nsqd = FakeNsqd::start().await;
    let producer = producer(&nsqd);
    let topic = topic();
    let (receipt, mut client) =
        tokio::join!(producer.start_publish(&topic, "1"), nsqd.identified());
    drop(producer);
    client.expect("PUB t").await;
    client.respond("OK").await;
    receipt.unwrap().await.unwrap();
    client.expect_end().await;
    expect_no_tasks().await;
}

#[tokio::test]
async fn nobody_there_is_an_error_at_once_and_again() {
    let producer = Producer::new("127.0.0.1:1", Config::default()).unwrap();
    for _ in 0..3 {
        let refused = producer.publish(&topic(), "1").await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "dial tcp 127.0.0.1:1: connect: connection refused"
        );
        assert!(!refused.may_have_been_accepted());
    }
    let refused = producer.ping().await.unwrap_err();
    assert!(matches!(refused, PublishError::Connect(_)));
}

#[tokio::test]
async fn an_answer_to_nothing_ends_the_connection() {
    let nsqd = FakeNsqd::start().await;
    let producer = producer(&nsqd);
    let (pinged, mut client) = tokio::join!(producer.ping(), nsqd.identified());
    pinged.unwrap();
    client.expect("NOP").await;
    client.respond("OK").await;
    client.expect_end().await;
}
