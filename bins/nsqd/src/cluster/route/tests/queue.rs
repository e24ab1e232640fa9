//! The queue keeps the order of each topic, and counts what it has.

use std::sync::Arc;
use std::time::Duration;

use nsq_core::Tick;

use super::fakes::topic;
use crate::cluster::route::codec::Publish;
use crate::cluster::route::queue::{Again, Held, Queue, Stuck};
use crate::cluster::settled::Settled;

fn at(millis: u64) -> Tick {
    Tick::from_nanos(millis * 1_000_000)
}

fn held(name: &str, body: &str, millis: u64) -> Held {
    let bodies = &mut std::iter::once(body.as_bytes());
    Held {
        publish: Publish::new(topic(name), 1, None, bodies),
        pending: Settled::default().pending(),
        since: at(millis),
    }
}

fn names(taken: &[Held]) -> Vec<String> {
    let name = |held: &Held| {
        let body = held.publish.bodies().next().unwrap();
        format!("{}{}", held.publish.topic, String::from_utf8_lossy(body))
    };
    taken.iter().map(name).collect()
}

fn queue_of(all: &[(&str, &str)]) -> Queue {
    let mut queue = Queue::default();
    for (name, body) in all {
        queue.push(held(name, body, 0));
    }
    queue
}

#[test]
fn a_topic_under_way_is_not_taken_again_before_it_is_given_back() {
    let mut queue = queue_of(&[("a", "1"), ("b", "1"), ("a", "2")]);
    let taken = queue.take_ready(usize::MAX);
    assert_eq!(names(&taken), ["a1", "a2", "b1"]);
    queue.push(held("a", "3", 0));
    assert!(queue.take_ready(usize::MAX).is_empty());
    let (of_a, of_b) = taken.split_at(2);
    queue.give_back(&topic("b"), of_b, None);
    assert!(!queue.has(&topic("b")));
    assert!(queue.take_ready(usize::MAX).is_empty());
    queue.give_back(&topic("a"), of_a, None);
    let taken = queue.take_ready(usize::MAX);
    assert_eq!(names(&taken), ["a3"]);
    queue.give_back(&topic("a"), &taken, None);
    assert_eq!((queue.len(), queue.bytes()), (0, 0));
    assert!(queue.is_empty());
}

#[test]
fn what_goes_back_is_first_again_once_its_pause_is_over() {
    let mut queue = queue_of(&[("a", "1"), ("a", "2")]);
    let mut taken = queue.take_ready(usize::MAX);
    queue.push(held("a", "3", 0));
    let back = taken.split_off(1);
    let again = Again {
        held: back,
        at: at(50),
        why: "busy".to_owned(),
    };
    queue.give_back(&topic("a"), &taken, Some(again));
    assert!(queue.take_ready(usize::MAX).is_empty());
    assert_eq!(queue.end_pauses(at(49)), at(50));
    assert!(queue.take_ready(usize::MAX).is_empty());
    assert_eq!(queue.end_pauses(at(50)), Tick::NEVER);
    assert_eq!(names(&queue.take_ready(usize::MAX)), ["a2", "a3"]);
}

#[test]
fn one_publish_is_taken_however_large_and_no_more_than_the_limit_otherwise() {
    let large = "x".repeat(5000);
    let mut queue = queue_of(&[("a", &large), ("a", "2"), ("b", "1")]);
    let taken = queue.take_ready(1000);
    assert_eq!(taken.len(), 1);
    assert_eq!(names(&queue.take_ready(1000)), ["b1"]);
    queue.give_back(&topic("a"), &taken, None);
    assert_eq!(names(&queue.take_ready(1000)), ["a2"]);
}

#[test]
fn a_lane_that_is_cut_by_the_limit_continues_later_in_order() {
    let mut queue = queue_of(&[("a", "1"), ("a", "2"), ("a", "3")]);
    let size = queue.bytes() / 3;
    let taken = queue.take_ready(2 * size);
    assert_eq!(names(&taken), ["a1", "a2"]);
    assert!(queue.take_ready(usize::MAX).is_empty());
    queue.give_back(&topic("a"), &taken, None);
    assert_eq!(names(&queue.take_ready(usize::MAX)), ["a3"]);
}

#[test]
fn what_has_waited_too_long_comes_out_with_the_reason() {
    let mut queue = Queue::default();
    queue.push(held("a", "1", 0));
    queue.push(held("a", "2", 30));
    queue.push(held("b", "1", 0));
    let taken = queue.take_ready(usize::MAX);
    let (of_a, of_b): (Vec<_>, Vec<_>) = taken
        .into_iter()
        .partition(|held| held.publish.topic == topic("a"));
    let again = Again {
        held: of_a,
        at: Tick::NEVER,
        why: "busy".to_owned(),
    };
    queue.give_back(&topic("a"), &[], Some(again));
    let limit = |stuck: Stuck<'_>| match stuck {
        Stuck::Waiting => Duration::from_millis(100),
        Stuck::Paused(_) => Duration::from_millis(40),
    };
    let mut expired = Vec::new();
    let mut expire = |queue: &mut Queue, now| {
        let mut count = 0;
        let next = queue.expire(now, limit, |held, stuck| {
            expired.push(format!("{:?} {stuck:?}", names(&[held])));
            count += 1;
        });
        (next, count)
    };
    assert_eq!(expire(&mut queue, at(39)), (at(40), 0));
    assert_eq!(expire(&mut queue, at(40)), (at(70), 1));
    assert_eq!(expire(&mut queue, at(70)), (Tick::NEVER, 1));
    assert!(!queue.has(&topic("a")));
    // What is under way is left alone.
    assert_eq!(expire(&mut queue, at(5000)), (Tick::NEVER, 0));
    assert_eq!(
        expired,
        [r#"["a1"] Paused("busy")"#, r#"["a2"] Paused("busy")"#]
    );
    queue.give_back(&topic("b"), &of_b, None);
    assert_eq!((queue.len(), queue.bytes()), (0, 0));
}

#[test]
fn draining_leaves_what_is_under_way() {
    let mut queue = queue_of(&[("a", "1"), ("b", "1")]);
    let size = queue.bytes() / 2;
    let taken = queue.take_ready(size);
    assert_eq!(names(&taken), ["a1"]);
    queue.push(held("a", "2", 0));
    let mut drained = names(&queue.drain());
    drained.sort();
    assert_eq!(drained, ["a2", "b1"]);
    assert_eq!(queue.len(), 1);
    queue.give_back(&topic("a"), &taken, None);
    assert!(queue.is_empty());
    assert_eq!(Arc::strong_count(&taken[0].pending), 1);
}
