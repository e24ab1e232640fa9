//! The leader's side of forwarded publishes.

use std::sync::Arc;

use bytes::Bytes;

use super::fakes::{FakeShard, bodies, topic};
use crate::clock;
use crate::cluster::local_shard::Refusal;
use crate::cluster::route::codec::{Outcome, Publish, decode_answer, encode_call};
use crate::cluster::route::receive::receive;

fn publish(name: &str, created_at: u64, body: &str) -> Publish {
    let bodies = &mut std::iter::once(body.as_bytes());
    Publish::new(topic(name), created_at, None, bodies)
}

/// The outcomes of a call, whose accepted publishes are settled by `settle` once there are `accepted` of them.
async fn outcomes(
    shard: &Arc<FakeShard>,
    publishes: &[Publish],
    accepted: usize,
    settle: impl Fn(&FakeShard),
) -> Vec<Outcome> {
    let body = encode_call(publishes.iter());
    let called = Arc::clone(shard);
    let answer = tokio::spawn(async move { receive(&*called, body, clock::now()).await });
    while shard.pending_count() < accepted {
        tokio::task::yield_now().await;
    }
    assert!(accepted == 0 || !answer.is_finished());
    settle(shard);
    decode_answer(answer.await.unwrap().unwrap()).unwrap()
}

#[tokio::test]
async fn the_answer_comes_once_every_publish_is_settled() {
    let shard = FakeShard::new(1);
    let call = [
        publish("a", 1, "1"),
        publish("b", 1, "2"),
        publish("a", 1, "3"),
    ];
    let stored = outcomes(&shard, &call, 3, FakeShard::settle_all).await;
    assert_eq!(stored, [Outcome::Stored, Outcome::Stored, Outcome::Stored]);
    assert_eq!(shard.published_to("a"), bodies(["1", "3"]));
    let failed = outcomes(&shard, &call[..1], 1, |shard| shard.fail_all("lost")).await;
    assert_eq!(failed, [Outcome::Unconfirmed("lost".to_owned())]);
}

#[tokio::test]
async fn a_node_that_does_not_lead_stores_nothing() {
    let shard = FakeShard::new(1);
    shard.refuse(Some(Refusal::NotLeading));
    let call = [publish("a", 1, "1"), publish("b", 1, "2")];
    let refused = outcomes(&shard, &call, 0, |_| {}).await;
    assert_eq!(refused, [Outcome::NotLeading, Outcome::NotLeading]);
    assert_eq!(shard.published(), []);
}

#[tokio::test]
async fn publishes_do_not_overtake_an_earlier_one_of_their_topic_that_was_refused() {
    let shard = FakeShard::new(5);
    // The shard may still have the topic's predecessor: it has not followed the change 6 of the directory.
    let call = [
        publish("a", 6, "1"),
        publish("b", 1, "2"),
        publish("a", 1, "3"),
    ];
    let refused = outcomes(&shard, &call, 1, FakeShard::settle_all).await;
    assert_eq!(
        refused,
        [Outcome::NoTopic, Outcome::Stored, Outcome::NoTopic]
    );
    shard.set_missing(Some(topic("b")));
    let refused = outcomes(&shard, &call[1..2], 0, |_| {}).await;
    assert_eq!(refused, [Outcome::NoTopic]);
    assert_eq!(shard.published().len(), 1);
}

#[tokio::test]
async fn what_is_no_call_is_an_error() {
    let shard = FakeShard::new(1);
    let garbage = Bytes::from_static(b"\x01garbage");
    receive(&*shard, garbage, clock::now()).await.unwrap_err();
    assert_eq!(shard.published(), []);
}
