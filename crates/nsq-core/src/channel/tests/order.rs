//! The order in which messages that came back are delivered again.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use crate::broker::Settings;
use crate::peek::PeekLimits;
use crate::testing::{ALICE, Got, MSG_TIMEOUT, SECOND, TestBroker, finish_all};
use crate::topic::ChannelCell;

fn queue_of(mem_queue_size: u64) -> impl FnOnce(&mut Settings) {
    move |settings| settings.mem_queue_size = mem_queue_size
}

/// The bodies of the next `count` messages, each finished at once.
fn next(house: &TestBroker, cell: &Arc<ChannelCell>, count: usize) -> Vec<String> {
    let take = |_| {
        let got = house.take_one(cell, ALICE);
        finish_all(cell, ALICE, std::slice::from_ref(&got));
        got.body
    };
    (0..count).map(take).collect()
}

#[test]
fn a_consumer_that_requeues_every_message_meets_each_of_them() {
    for name in ["c", "c#ephemeral"] {
        let house = TestBroker::with(queue_of(100));
        let cell = house.channel("t", name);
        house.subscribe(&cell, ALICE, 1);
        house.publish_numbered("t", "m", 100);
        let mut met = BTreeSet::new();
        for _ in 0..100 {
            let got = house.take_one(&cell, ALICE);
            house.requeue(&cell, ALICE, got.id, Duration::ZERO).unwrap();
            assert_eq!(got.attempts, 1);
            met.insert(got.body);
        }
        assert_eq!(met.len(), 100);
        assert_eq!(house.take_one(&cell, ALICE).body, "m0");
    }
}

/// However a message comes back, it follows those that waited then.
#[test]
fn a_message_that_comes_back_follows_those_that_waited() {
    type ComeBack = fn(&mut TestBroker, &Arc<ChannelCell>, &Got);
    let ways: [ComeBack; 3] = [
        |house, cell, got| {
            house.requeue(cell, ALICE, got.id, Duration::ZERO).unwrap();
        },
        |house, cell, _| {
            house.pass(MSG_TIMEOUT);
            house.handle_timeout(cell);
        },
        |house, cell, got| {
            house.requeue(cell, ALICE, got.id, SECOND).unwrap();
            house.pass(SECOND);
            house.handle_timeout(cell);
        },
    ];
    for come_back in ways {
        let mut house = TestBroker::new();
        let cell = house.channel("t", "c");
        house.subscribe(&cell, ALICE, 1);
        house.publish("t", &["a", "b", "c"]);
        let first = house.take_one(&cell, ALICE);
        come_back(&mut house, &cell, &first);
        house.publish("t", &["d"]);
        assert_eq!(next(&house, &cell, 4), ["b", "c", "a", "d"]);
    }
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 1);
    house.publish_deferred("t", "due", SECOND);
    house.publish("t", &["a", "b"]);
    house.pass(SECOND);
    house.handle_timeout(&cell);
    house.publish("t", &["c"]);
    assert_eq!(next(&house, &cell, 4), ["a", "b", "due", "c"]);
}

#[test]
fn a_deep_backlog_delays_a_message_that_comes_back_by_no_more_than_the_memory_queue() {
    let house = TestBroker::with(queue_of(3));
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 1);
    house.publish_numbered("t", "m", 50);
    let first = house.take_one(&cell, ALICE);
    house
        .requeue(&cell, ALICE, first.id, Duration::ZERO)
        .unwrap();
    assert_eq!(next(&house, &cell, 5), ["m1", "m2", "m3", "m0", "m4"]);
}

#[test]
fn without_a_memory_queue_a_message_that_comes_back_still_follows_others() {
    let house = TestBroker::with(queue_of(0));
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 1);
    house.publish("t", &["a", "b", "c"]);
    let first = house.take_one(&cell, ALICE);
    house
        .requeue(&cell, ALICE, first.id, Duration::ZERO)
        .unwrap();
    assert_eq!(next(&house, &cell, 3), ["b", "c", "a"]);
}

#[test]
fn after_a_restart_what_had_come_back_follows_what_waits() {
    for restart in [TestBroker::restart, TestBroker::kill] {
        let mut house = TestBroker::with(queue_of(2));
        let cell = house.channel("t", "c");
        house.subscribe(&cell, ALICE, 2);
        house.publish("t", &["a", "b", "c", "d", "e", "f"]);
        let got = [house.take_one(&cell, ALICE), house.take_one(&cell, ALICE)];
        for message in &got {
            house
                .requeue(&cell, ALICE, message.id, Duration::ZERO)
                .unwrap();
        }
        restart(&mut house);
        let cell = house.channel("t", "c");
        house.subscribe(&cell, ALICE, 1);
        assert_eq!(next(&house, &cell, 6), ["c", "d", "a", "b", "e", "f"]);
    }
}

#[test]
fn a_message_of_the_inherited_log_that_comes_back_follows_both_logs() {
    let source = TestBroker::new();
    let given = source.channel("t", "c");
    source.publish("t", &["old", "older than new"]);
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.publish("t", &["new", "newer"]);
    let budget = crate::testing::PLENTY;
    let mut moved = Vec::new();
    let reserved = given
        .lock()
        .reserve(budget, 1 << 20, source.now, |message| {
            moved.push((message.timestamp, message.body.to_vec()));
        });
    let messages: Vec<_> = moved
        .iter()
        .map(|(timestamp, body)| crate::TransferMessage {
            timestamp: *timestamp,
            attempts: 0,
            due: 0,
            body,
        })
        .collect();
    let topic = house.topic("t");
    topic
        .adopt(Some(cell.name()), &messages, house.now)
        .unwrap();
    given.lock().finish_reserved(reserved);

    house.subscribe(&cell, ALICE, 1);
    let first = house.take_one(&cell, ALICE);
    assert_eq!(first.body, "old");
    house
        .requeue(&cell, ALICE, first.id, Duration::ZERO)
        .unwrap();
    let want = ["older than new", "new", "newer", "old"];
    assert_eq!(next(&house, &cell, 4), want);
}

#[test]
fn messages_that_another_nsqd_did_not_take_keep_their_place() {
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 1);
    house.publish("t", &["back", "a", "b", "c"]);
    let first = house.take_one(&cell, ALICE);
    house
        .requeue(&cell, ALICE, first.id, Duration::ZERO)
        .unwrap();
    let budget = crate::channel::Budget {
        messages: 3,
        ..crate::testing::PLENTY
    };
    let mut seen = Vec::new();
    let reserved = cell.lock().reserve(budget, 1 << 20, house.now, |message| {
        seen.push(String::from_utf8(message.body.to_vec()).unwrap());
    });
    cell.lock().release_reserved(reserved);
    seen.push("c".to_owned());
    assert_eq!(next(&house, &cell, 4), seen);
}

#[derive(Debug, Clone)]
enum Step {
    Publish(usize),
    /// Takes a message and requeues it.
    Requeue,
    /// Takes a message and finishes it.
    Finish,
    /// Takes a message and lets it time out.
    TimeOut,
    /// Takes a message and defers it until the next step.
    Defer,
    Pause,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1_usize..6).prop_map(Step::Publish),
        4 => Just(Step::Requeue),
        3 => Just(Step::Finish),
        1 => Just(Step::TimeOut),
        1 => Just(Step::Defer),
        1 => Just(Step::Pause),
    ]
}

/// The queue as a plain list: each body, and whether it came back.
#[derive(Default)]
struct Model {
    queue: VecDeque<(String, bool)>,
}

impl Model {
    /// Puts a message after those that wait, but after no more than `limit` of them, and after those that came back.
    fn come_back(&mut self, body: String, limit: usize) {
        let mut waiting = 0;
        let mut place = 0;
        for (at, (_, came_back)) in self.queue.iter().enumerate() {
            if *came_back {
                place = at + 1;
            } else if waiting < limit {
                waiting += 1;
                place = at + 1;
            }
        }
        self.queue.insert(place, (body, true));
    }
}

fn follow(steps: &[Step], limit: usize) {
    let mut house = TestBroker::with(queue_of(limit as u64));
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 1);
    let mut model = Model::default();
    let mut count = 0;
    let limits = PeekLimits {
        messages: 1000,
        body_bytes: 100,
    };
    for step in steps {
        let seen = cell.peek(limits, house.now).unwrap().queued.into_iter();
        let seen: Vec<_> = seen
            .map(|message| String::from_utf8(message.body).unwrap())
            .collect();
        let want: Vec<_> = model.queue.iter().map(|(body, _)| body.clone()).collect();
        assert_eq!(seen, want);
        if let Step::Publish(some) = step {
            for _ in 0..*some {
                let body = format!("m{count}");
                count += 1;
                house.publish("t", &[&body]);
                model.queue.push_back((body, false));
            }
            continue;
        }
        if let Step::Pause = step {
            cell.lock().set_paused(true);
            assert!(house.take(&cell, ALICE).is_empty());
            cell.lock().set_paused(false);
            continue;
        }
        let Some((body, _)) = model.queue.pop_front() else {
            continue;
        };
        let got = house.take_one(&cell, ALICE);
        assert_eq!(got.body, body);
        match step {
            Step::Requeue => house.requeue(&cell, ALICE, got.id, Duration::ZERO).unwrap(),
            Step::TimeOut => house.pass(MSG_TIMEOUT),
            Step::Defer => {
                house.requeue(&cell, ALICE, got.id, SECOND).unwrap();
                house.pass(SECOND);
            }
            Step::Finish | Step::Publish(_) | Step::Pause => {
                finish_all(&cell, ALICE, &[got]);
                continue;
            }
        }
        house.handle_timeout(&cell);
        model.come_back(body, limit);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn deliveries_and_peeks_follow_the_order_of_a_plain_list(
        steps in prop::collection::vec(step(), 0..60),
        limit in 1_usize..8,
    ) {
        follow(&steps, limit);
    }
}
