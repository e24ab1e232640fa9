//! The router with a fake shard, a fake network and a fake directory.

mod codec;
mod fakes;
mod queue;
mod receive;

use std::time::Duration;

use futures_util::FutureExt as _;
use nsq_cluster::codec::{Answer, Refusal as NodeRefusal};
use nsq_cluster::network::CallError;
use nsq_core::TicketState;
use nsq_server::{RouteError, Router as _};

use self::fakes::{FakeShard, Harness, TOO_LARGE, bodies, topic};
use super::codec::Outcome;
use super::{Limits, Target};
use crate::cluster::local_shard::Refusal;

/// Limits under which nothing runs out by itself.
fn patient() -> Limits {
    Limits {
        hold: Duration::from_mins(1),
        publish_timeout: Duration::from_mins(1),
        max_bytes: 1 << 20,
        max_call_bytes: 1 << 16,
    }
}

fn unknown(why: &str) -> Target {
    Target::Unknown {
        why: why.to_owned(),
    }
}

#[tokio::test]
async fn while_this_node_leads_a_publish_goes_straight_to_the_shard() {
    let harness = Harness::start(patient());
    let shard = FakeShard::new(1);
    harness.lead(&shard);
    harness.until_direct().await;
    let pending = harness.publish("a", "1").unwrap();
    assert_eq!(shard.published(), [("a".to_owned(), bodies(["1"]))]);
    assert_eq!(pending.state(), TicketState::Pending);
    shard.settle_all();
    assert_eq!(pending.state(), TicketState::Safe);
    assert_eq!(harness.held_count(), 0);
}

#[tokio::test]
async fn a_router_has_a_direction_once_a_leader_is_known() {
    for leads in [true, false] {
        let harness = Harness::start(patient());
        harness.router.set_target(unknown("the cluster is forming"));
        assert!(harness.router.directed().now_or_never().is_none());
        if leads {
            harness.lead(&FakeShard::new(1));
        } else {
            harness.follow(2);
        }
        assert!(harness.router.directed().now_or_never().is_some());
        // Those who wait for it do so at the start.
        harness.router.set_target(unknown("no leader is known"));
        assert!(harness.router.directed().now_or_never().is_some());
    }
}

#[tokio::test]
async fn publishes_are_held_until_a_leader_is_known_and_keep_their_order() {
    let harness = Harness::start(patient());
    let mut pendings = Vec::new();
    for body in ["1", "2", "3"] {
        pendings.push(harness.publish("a", body).unwrap());
    }
    assert_eq!(harness.held_count(), 3);
    let shard = FakeShard::new(1);
    harness.lead(&shard);
    harness.until_direct().await;
    pendings.push(harness.publish("a", "4").unwrap());
    let published = shard.published().into_iter().flat_map(|(_, bodies)| bodies);
    assert_eq!(published.collect::<Vec<_>>(), bodies(["1", "2", "3", "4"]));
    shard.settle_all();
    assert!(
        pendings
            .iter()
            .all(|pending| pending.state() == TicketState::Safe)
    );
}

#[tokio::test]
async fn a_held_publish_fails_with_the_reason_when_no_leader_gets_known() {
    let limits = Limits {
        hold: Duration::from_millis(50),
        ..patient()
    };
    let harness = Harness::start(limits);
    harness.router.set_target(unknown("no node leads shard 7"));
    let pending = harness.publish("a", "1").unwrap();
    let why = harness.failure(&pending).await;
    assert!(
        why.contains("was not stored within 0.1s: no node leads shard 7"),
        "{why}"
    );
    assert_eq!(harness.router.waiting(), (0, 0));
}

#[tokio::test]
async fn publishes_that_come_during_a_call_go_together_in_the_next_one() {
    let harness = Harness::start(patient());
    harness.follow(2);
    let first = harness.publish("a", "1").unwrap();
    let call = harness.call().await;
    assert_eq!((call.to.0, call.bodies()), (2, bodies(["1"])));
    let later = ["2", "3", "4"].map(|body| harness.publish("a", body).unwrap());
    call.answer(&[Outcome::Stored]);
    let next = harness.call().await;
    assert_eq!(next.bodies(), bodies(["2", "3", "4"]));
    assert_eq!(first.state(), TicketState::Safe);
    next.answer(&[
        Outcome::Stored,
        Outcome::Refused("no".to_owned()),
        Outcome::Stored,
    ]);
    harness.settled(&later[2]).await;
    assert_eq!(later[0].state(), TicketState::Safe);
    assert_eq!(later[1].state(), TicketState::Failed("no".to_owned()));
    assert_eq!(harness.router.waiting(), (0, 0));
}

#[tokio::test]
async fn publishes_to_different_topics_do_not_wait_for_each_other() {
    let harness = Harness::start(patient());
    harness.follow(2);
    let slow = harness.publish("a", "1").unwrap();
    let slow_call = harness.call().await;
    let quick = harness.publish("b", "2").unwrap();
    harness.call().await.answer(&[Outcome::Stored]);
    harness.settled(&quick).await;
    assert_eq!(slow.state(), TicketState::Pending);
    slow_call.answer(&[Outcome::Stored]);
    harness.settled(&slow).await;
}

#[tokio::test]
async fn what_a_former_leader_did_not_store_goes_to_the_next_one_before_later_publishes() {
    let harness = Harness::start(patient());
    harness.follow(2);
    let first = harness.publish("a", "1").unwrap();
    let call = harness.call().await;
    let second = harness.publish("a", "2").unwrap();
    call.answer(&[Outcome::NotLeading]);
    // Again to the same one, which is all that is known, until another is.
    let again = harness.call().await;
    assert_eq!((again.to.0, again.bodies()), (2, bodies(["1", "2"])));
    again.answer(&[Outcome::NotLeading, Outcome::NotLeading]);
    harness.follow(3);
    let mut call = harness.call().await;
    while call.to.0 == 2 {
        call.answer(&[Outcome::NotLeading, Outcome::NotLeading]);
        call = harness.call().await;
    }
    assert_eq!((call.to.0, call.bodies()), (3, bodies(["1", "2"])));
    call.answer(&[Outcome::Stored, Outcome::Stored]);
    harness.settled(&second).await;
    assert_eq!(first.state(), TicketState::Safe);
}

#[tokio::test]
async fn what_was_surely_not_sent_is_sent_again() {
    let harness = Harness::start(patient());
    harness.follow(2);
    let pending = harness.publish("a", "1").unwrap();
    let refused = "connection refused".to_owned();
    harness.call().await.reply(Err(CallError::NotSent(refused)));
    let no_group = Answer::Refused(NodeRefusal::NoSuchGroup);
    harness.call().await.reply(Ok(no_group));
    harness.call().await.answer(&[Outcome::Stored]);
    harness.settled(&pending).await;
    assert_eq!(pending.state(), TicketState::Safe);
}

#[tokio::test]
async fn what_may_have_been_stored_is_never_sent_again() {
    let harness = Harness::start(patient());
    harness.follow(2);
    let lost = CallError::Unreachable("connection reset".to_owned());
    let late = CallError::TimedOut(Duration::from_secs(5));
    let failed = NodeRefusal::Failed("of a reason".to_owned());
    for reply in [
        Err(lost),
        Err(late),
        Ok(Answer::Refused(failed)),
        Ok(Answer::Call(b"garbage".as_slice().into())),
        Ok(Answer::Call([1, 0, 0, 0, 0].as_slice().into())),
    ] {
        let pending = harness.publish("a", "1").unwrap();
        let expected = format!("{reply:?}");
        harness.call().await.reply(reply);
        let why = harness.failure(&pending).await;
        assert!(
            why.ends_with("may or may not have been stored"),
            "{expected}: {why}"
        );
        assert!(why.starts_with("node 2 at n2:4152"), "{why}");
    }
    harness.no_call().await;
}

#[tokio::test]
async fn a_call_to_a_silent_former_leader_is_given_up_when_another_node_leads() {
    let harness = Harness::start(patient());
    harness.follow(2);
    let first = harness.publish("a", "1").unwrap();
    let silent = harness.call().await;
    let second = harness.publish("a", "2").unwrap();
    // That none is known for a while gives nothing up.
    harness.router.set_target(unknown("an election"));
    harness.follow(3);
    let why = harness.failure(&first).await;
    assert!(why.contains("may or may not have been stored"), "{why}");
    let next = harness.call().await;
    assert_eq!((next.to.0, next.bodies()), (3, bodies(["2"])));
    next.answer(&[Outcome::Stored]);
    harness.settled(&second).await;
    drop(silent);
}

#[tokio::test]
async fn what_waits_is_bounded_in_bytes() {
    let limits = Limits {
        max_bytes: 1000,
        ..patient()
    };
    let harness = Harness::start(limits);
    let large = "x".repeat(600);
    harness.publish("a", &large).unwrap();
    let refused = harness.publish("a", &large).unwrap_err();
    assert!(
        matches!(&refused, RouteError::Refused(why) if why.contains("was not stored")),
        "{refused}"
    );
    harness.publish("b", "small").unwrap();
    let shard = FakeShard::new(1);
    harness.lead(&shard);
    harness.until_direct().await;
    assert_eq!(harness.router.waiting(), (0, 0));
    assert_eq!(shard.published().len(), 2);
}

#[tokio::test]
async fn a_topic_that_the_directory_does_not_list_has_to_be_made_first() {
    let harness = Harness::start(patient());
    let shard = FakeShard::new(1);
    harness.lead(&shard);
    let made = harness.publish("new", "1").map(drop);
    assert_eq!(made, Err(RouteError::NoTopic));
}

#[tokio::test]
async fn a_publish_to_a_new_topic_waits_until_the_shard_has_it_and_holds_up_no_other() {
    let harness = Harness::start(patient());
    let shard = FakeShard::new(1);
    harness.lead(&shard);
    harness.until_direct().await;
    harness.create("new", 5);
    harness.router.set_directory_index(5);
    let waiting = harness.publish("new", "1").unwrap();
    harness.publish("a", "2").unwrap();
    shard.until_published("a").await;
    assert_eq!(shard.published_to("new"), bodies([]));
    shard.set_registry_index(5);
    harness.router.note_followed();
    shard.until_published("new").await;
    shard.settle_all();
    harness.settled(&waiting).await;
    assert_eq!(waiting.state(), TicketState::Safe);
}

#[tokio::test]
async fn a_topic_made_again_gets_its_messages_only_after_the_shard_has_deleted_the_former_one() {
    let harness = Harness::start(patient());
    let shard = FakeShard::new(1);
    harness.lead(&shard);
    harness.until_direct().await;
    // The shard still has the former topic, and would take the message.
    harness.create("a", 9);
    harness.router.set_directory_index(9);
    let pending = harness.publish("a", "1").unwrap();
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(shard.published(), []);
    shard.set_registry_index(9);
    shard.until_published("a").await;
    shard.settle_all();
    harness.settled(&pending).await;
}

#[tokio::test]
async fn a_publish_that_waits_for_a_topic_fails_when_the_topic_is_deleted() {
    let harness = Harness::start(patient());
    harness.follow(2);
    let pending = harness.publish("a", "1").unwrap();
    let call = harness.call().await;
    harness.delete("a");
    call.answer(&[Outcome::NoTopic]);
    let why = harness.failure(&pending).await;
    assert!(
        why.contains("was not stored: its topic was deleted"),
        "{why}"
    );
}

#[tokio::test]
async fn a_shard_that_has_too_much_to_do_gets_the_publish_a_little_later() {
    let harness = Harness::start(patient());
    let shard = FakeShard::new(1);
    harness.lead(&shard);
    harness.until_direct().await;
    shard.refuse(Some(Refusal::Full("full".to_owned())));
    harness.publish("a", "1").unwrap();
    harness.publish("a", "2").unwrap();
    shard.refuse(None);
    shard.until_published("a").await;
    harness.until_direct().await;
    assert_eq!(shard.published_to("a"), bodies(["1", "2"]));
}

#[tokio::test]
async fn messages_that_the_shard_can_never_take_are_refused_at_once() {
    let harness = Harness::start(patient());
    let held = harness.publish("a", TOO_LARGE).unwrap();
    let next = harness.publish("a", "1").unwrap();
    let shard = FakeShard::new(1);
    harness.lead(&shard);
    assert_eq!(harness.failure(&held).await, "too large");
    harness.until_direct().await;
    shard.settle_all();
    assert_eq!(next.state(), TicketState::Safe);
    let refused = harness.publish("a", TOO_LARGE).map(drop);
    assert_eq!(refused, Err(RouteError::Refused("too large".to_owned())));
}

#[tokio::test]
async fn closing_fails_what_waits_and_refuses_what_comes() {
    let harness = Harness::start(patient());
    let pending = harness.publish("a", "1").unwrap();
    harness.router.close();
    assert_eq!(harness.failure(&pending).await, "exiting");
    let refused = harness.publish("a", "2").map(drop);
    assert_eq!(refused, Err(RouteError::Refused("exiting".to_owned())));
    harness.ended().await;
}

#[tokio::test]
async fn a_publish_with_a_due_time_keeps_it_on_its_way() {
    let harness = Harness::start(patient());
    harness.follow(2);
    let pending = harness
        .router
        .publish(
            &topic("a"),
            &mut ["1", "2"].iter().map(|body| body.as_bytes()),
            Some(-7),
            crate::clock::now(),
            harness.waiter(),
        )
        .unwrap();
    let call = harness.call().await;
    assert_eq!(call.publishes()[0].due, Some(-7));
    assert_eq!(call.bodies(), bodies(["1", "2"]));
    call.answer(&[Outcome::Stored]);
    harness.settled(&pending).await;
}
