//! Messages that move from one nsqd to another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use nsq_protocol::ChannelName;

use crate::channel::{Budget, Reserved, TransferMessage};
use crate::error::{PublishError, StoreError};
use crate::testing::{ALICE, MSG_TIMEOUT, PLENTY, SECOND, TestBroker, counts, finish_all};
use crate::topic::ChannelCell;

/// A message as it is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Packed {
    timestamp: i64,
    attempts: u16,
    due: i64,
    body: String,
}

impl Packed {
    fn of(moving: TransferMessage<'_>) -> Packed {
        Packed {
            timestamp: moving.timestamp,
            attempts: moving.attempts,
            due: moving.due,
            body: String::from_utf8(moving.body.to_vec()).unwrap(),
        }
    }

    fn moving(&self) -> TransferMessage<'_> {
        TransferMessage {
            timestamp: self.timestamp,
            attempts: self.attempts,
            due: self.due,
            body: self.body.as_bytes(),
        }
    }
}

fn reserve(
    house: &TestBroker,
    cell: &Arc<ChannelCell>,
    messages: usize,
) -> (Reserved, Vec<Packed>) {
    let mut packed = Vec::new();
    let budget = Budget { messages, ..PLENTY };
    let aside = cell.lock().reserve(budget, 1 << 20, house.now, |moving| {
        packed.push(Packed::of(moving));
    });
    assert_eq!(aside.len(), packed.len());
    (aside, packed)
}

fn adopt(house: &TestBroker, topic: &str, channel: Option<&str>, packed: &[Packed]) {
    let channel = channel.map(|name| ChannelName::try_from(name).unwrap());
    let messages: Vec<_> = packed.iter().map(Packed::moving).collect();
    let topic = house.topic(topic);
    topic.adopt(channel.as_ref(), &messages, house.now).unwrap();
}

fn bodies(packed: &[Packed]) -> Vec<&str> {
    packed.iter().map(|packed| packed.body.as_str()).collect()
}

#[test]
fn each_channels_messages_reach_that_channel_alone_as_they_were() {
    let (house, mut target) = (TestBroker::new(), TestBroker::new());
    let (bill, ship) = (house.channel("t", "bill"), house.channel("t", "ship"));
    house.publish("t", &["a", "b", "c"]);
    house.publish_deferred("t", "late", 10 * SECOND);
    house.subscribe(&bill, ALICE, 2);
    let got = house.take(&bill, ALICE);
    finish_all(&bill, ALICE, &got[..1]);
    house
        .requeue(&bill, ALICE, got[1].id, Duration::ZERO)
        .unwrap();
    let due = house.now.unix_after(10 * SECOND);
    for (cell, want) in [
        (&bill, vec![("b", 1, 0), ("c", 0, 0), ("late", 0, due)]),
        (
            &ship,
            vec![("a", 0, 0), ("b", 0, 0), ("c", 0, 0), ("late", 0, due)],
        ),
    ] {
        let (aside, packed) = reserve(&house, cell, 100);
        let seen = packed.iter();
        let seen: Vec<_> = seen
            .map(|packed| (packed.body.as_str(), packed.attempts, packed.due))
            .collect();
        assert_eq!(seen, want);
        assert!(packed.iter().all(|p| p.timestamp == house.now.unix_nanos));
        // Out of everyone's reach meanwhile.
        assert_eq!(counts(&cell.lock()), (0, want.len(), 0));
        adopt(&target, "t", Some(cell.name().as_str()), &packed);
        cell.lock().finish_reserved(aside);
        assert_eq!(counts(&cell.lock()), (0, 0, 0));
    }
    assert_eq!(house.topic("t").remaining().total(), 0);
    for _ in 0..2 {
        let bill = target.channel("t", "bill");
        assert_eq!(counts(&bill.lock()), (2, 0, 1));
        assert_eq!(counts(&target.channel("t", "ship").lock()), (3, 0, 1));
        target.kill();
    }
    let bill = target.channel("t", "bill");
    target.pass(10 * SECOND);
    target.handle_timeout(&bill);
    target.subscribe(&bill, ALICE, 10);
    let mut got = target.take(&bill, ALICE);
    got.sort_by(|left, right| left.body.cmp(&right.body));
    let seen = got.iter().map(|got| (got.body.as_str(), got.attempts));
    assert_eq!(seen.collect::<Vec<_>>(), [("b", 2), ("c", 1), ("late", 1)]);
}

#[test]
fn what_the_other_does_not_take_is_as_it_was() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.publish("t", &["a", "b"]);
    house.publish_deferred("t", "late", 10 * SECOND);
    house.subscribe(&cell, ALICE, 10);
    for _ in 0..3 {
        let (aside, packed) = reserve(&house, &cell, 100);
        assert_eq!(bodies(&packed), ["a", "b", "late"]);
        cell.lock().release_reserved(aside);
        assert_eq!(counts(&cell.lock()), (2, 0, 1));
    }
    house.pass(10 * SECOND);
    house.handle_timeout(&cell);
    let got = house.take(&cell, ALICE);
    assert!(got.iter().all(|got| got.attempts == 1), "{got:?}");
    assert_eq!(got.len(), 3);
}

#[test]
fn what_is_set_aside_and_forgotten_comes_back() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.publish("t", &["a"]);
    let (aside, _) = reserve(&house, &cell, 1);
    let planned = house.planned();
    house.pass(planned.last().unwrap().since(house.now.tick));
    house.handle_timeout(&cell);
    assert_eq!(counts(&cell.lock()), (1, 0, 0));
    // Too late to finish it.
    cell.lock().finish_reserved(aside);
    assert_eq!(counts(&cell.lock()), (1, 0, 0));
}

#[test]
fn large_messages_are_passed_over_and_hold_up_nobody() {
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.publish("t", &["large body", "a", "another large", "b", "c"]);
    house.publish_deferred("t", "a large one later", SECOND);
    let mut moved = Vec::new();
    loop {
        let budget = Budget {
            messages: 2,
            ..PLENTY
        };
        let aside = cell.lock().reserve(budget, 5, house.now, |moving| {
            moved.push(Packed::of(moving).body);
        });
        if aside.is_empty() {
            assert_eq!(aside.too_large, 3);
            break;
        }
        cell.lock().finish_reserved(aside);
    }
    assert_eq!(moved, ["a", "b", "c"]);
    assert_eq!(counts(&cell.lock()), (2, 0, 1));
    house.subscribe(&cell, ALICE, 10);
    assert_eq!(house.take(&cell, ALICE).len(), 2);
}

#[test]
fn what_waits_in_the_topic_moves_to_the_topic_and_goes_when_all_of_it_has_moved() {
    let (house, target) = (TestBroker::new(), TestBroker::new());
    let ours = target.channel("t", "c");
    house.publish("t", &["a", "b", "c"]);
    house.publish_deferred("t", "late", SECOND);
    house.broker().set_draining(true);
    let topic = house.topic("t");
    let mut walk = topic.unoffered().unwrap();
    loop {
        let mut packed = Vec::new();
        let budget = Budget {
            messages: 2,
            ..PLENTY
        };
        let shown = walk.next(budget, |moving| packed.push(Packed::of(moving)));
        if shown.unwrap() == 0 {
            break;
        }
        assert_eq!(topic.remaining().unoffered, 4, "until all of it has moved");
        adopt(&target, "t", None, &packed);
    }
    assert!(topic.drop_unoffered(&walk).unwrap());
    assert_eq!(topic.remaining().total(), 0);
    assert!(topic.unoffered().is_none());
    assert_eq!(counts(&ours.lock()), (3, 0, 1));
}

#[test]
fn nothing_is_dropped_behind_what_came_after_the_walk() {
    let house = TestBroker::new();
    house.publish("t", &["a"]);
    let topic = house.topic("t");
    let walk = topic.unoffered().unwrap();
    house.publish("t", &["b"]);
    assert!(!topic.drop_unoffered(&walk).unwrap());
    let walk = topic.unoffered().unwrap();
    let cell = house.channel("t", "c");
    assert!(!topic.drop_unoffered(&walk).unwrap());
    assert_eq!(cell.lock().depth(), 2);
}

#[test]
fn a_draining_broker_takes_nothing_new() {
    let house = TestBroker::new();
    let topic = house.topic("t");
    house.channel("t", "there");
    let broker = house.broker();
    broker.set_draining(true);
    let refused = topic.publish([b"a".as_slice()].into_iter(), house.now);
    assert!(matches!(refused, Err(PublishError::Draining)));
    let refused = topic.publish_deferred(b"a", house.now.unix_after(SECOND), house.now);
    assert!(matches!(refused, Err(PublishError::Draining)));
    let name = ChannelName::try_from("c").unwrap();
    let refused = topic.get_or_create_channel(&name, house.now);
    assert!(matches!(refused, Err(StoreError::Draining)));
    let message = TransferMessage {
        timestamp: 1,
        attempts: 0,
        due: 0,
        body: b"a",
    };
    let there = ChannelName::try_from("there").unwrap();
    for channel in [None, Some(&there)] {
        let refused = topic.adopt(channel, &[message], house.now);
        assert!(matches!(refused, Err(StoreError::Draining)));
    }
    assert_eq!(topic.remaining().total(), 0);
    let name = nsq_protocol::TopicName::try_from("new").unwrap();
    let refused = broker.get_or_create_topic(&name, false, house.now);
    assert!(matches!(refused, Err(StoreError::Draining)));
    broker.set_draining(false);
    house.publish("t", &["a"]);
    house.channel("new", "c");
    topic.adopt(None, &[message], house.now).unwrap();
    topic.adopt(Some(&there), &[message], house.now).unwrap();
    topic.adopt(None, &[], house.now).unwrap();
    assert_eq!(house.channel("t", "there").lock().depth(), 3);
}

#[test]
fn adopted_ids_are_new_and_no_later_one_repeats_them() {
    let mut target = TestBroker::new();
    let cell = target.channel("t", "c");
    let packed = |body: &str, due| Packed {
        timestamp: 1,
        attempts: 0,
        due,
        body: body.to_owned(),
    };
    let due = target.now.unix_after(SECOND);
    adopt(&target, "t", Some("c"), &[packed("a", 0), packed("b", due)]);
    // The clock goes back, and the topic's own logs name no id.
    target.broker().save_metadata().unwrap();
    target.now.unix_nanos -= 3_600_000_000_000;
    drop(cell);
    target.kill();
    target.publish("t", &["c"]);
    target.pass(2 * 3600 * SECOND);
    let cell = target.channel("t", "c");
    target.handle_timeout(&cell);
    target.subscribe(&cell, ALICE, 10);
    let ids: BTreeMap<_, _> = target
        .take(&cell, ALICE)
        .into_iter()
        .map(|got| (got.id.as_u64(), got.body))
        .collect();
    assert_eq!(ids.into_values().collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[test]
fn what_is_kept_in_memory_only_does_not_move() {
    let house = TestBroker::new();
    let cell = house.channel("t", "c#ephemeral");
    house.publish("t", &["a"]);
    assert!(reserve(&house, &cell, 10).0.is_empty());
    assert_eq!(house.topic("t").remaining().total(), 0, "nobody is there");
    house.subscribe(&cell, ALICE, 1);
    assert_eq!(house.topic("t").remaining().queued, 1);
    let name = ChannelName::try_from("c#ephemeral").unwrap();
    let moving = Packed::moving(&Packed {
        timestamp: 1,
        attempts: 0,
        due: 0,
        body: "b".to_owned(),
    })
    .timestamp;
    let message = TransferMessage {
        timestamp: moving,
        attempts: 0,
        due: 0,
        body: b"b",
    };
    let refused = house.topic("t").adopt(Some(&name), &[message], house.now);
    assert!(refused.is_err());
}

/// Numbers that look random and come again for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

/// Clients take, finish, requeue and time out at one nsqd while its messages move to another, some batches in vain, some
/// with the answer lost, and either is killed in between.
#[test]
fn nothing_is_lost_and_only_what_was_in_doubt_comes_twice() {
    for seed in 0..4 {
        check_moving(seed);
    }
}

fn check_moving(seed: u64) {
    let mut dice = Dice(seed);
    let (mut house, mut target) = (TestBroker::new(), TestBroker::new());
    let names = ["a", "b"];
    for name in names {
        let cell = house.channel("t", name);
        house.subscribe(&cell, ALICE, 5);
    }
    let count = 60;
    for at in 0..count {
        if dice.below(4) == 0 {
            let delay = Duration::from_secs(1 + dice.below(100));
            house.publish_deferred("t", &format!("m{at}"), delay);
        } else {
            house.publish("t", &[&format!("m{at}")]);
        }
    }
    house.broker().set_draining(true);
    // By channel: what clients have finished, what arrived, and what may be at both.
    let mut finished: [BTreeSet<String>; 2] = Default::default();
    let mut doubtful: [BTreeSet<String>; 2] = Default::default();
    let mut steps = 0;
    while house.topic("t").remaining().total() > 0 {
        steps += 1;
        assert!(steps < 2000, "seed {seed}: it does not end");
        let which = usize::try_from(dice.below(2)).unwrap();
        let cell = house.topic("t").channel(names[which]).unwrap();
        match dice.below(9) {
            0..=2 => {
                for got in house.take(&cell, ALICE) {
                    match dice.below(4) {
                        0 => {
                            let delay = Duration::from_secs(dice.below(20));
                            house.requeue(&cell, ALICE, got.id, delay).unwrap();
                        }
                        1 => {}
                        _ => {
                            finish_all(&cell, ALICE, std::slice::from_ref(&got));
                            finished[which].insert(got.body);
                        }
                    }
                }
            }
            3..=6 => {
                let messages = 1 + usize::try_from(dice.below(12)).unwrap();
                let (aside, packed) = reserve(&house, &cell, messages);
                let fate = dice.below(6);
                if fate != 0 {
                    adopt(&target, "t", Some(names[which]), &packed);
                }
                if fate == 1 {
                    target.kill();
                }
                let all = packed.into_iter().map(|packed| packed.body);
                match fate {
                    // Refused.
                    0 => cell.lock().release_reserved(aside),
                    // The answer was lost.
                    2 => {
                        doubtful[which].extend(all);
                        cell.lock().release_reserved(aside);
                    }
                    // Killed before it came.
                    3 if dice.below(3) == 0 => {
                        doubtful[which].extend(all);
                        reopen(&mut house, &names);
                    }
                    _ => {
                        cell.lock().finish_reserved(aside);
                    }
                }
            }
            7 => {
                let span = Duration::from_secs(dice.below(MSG_TIMEOUT.as_secs()));
                house.pass(span);
                target.pass(span);
                for name in names {
                    house.handle_timeout(&house.topic("t").channel(name).unwrap());
                }
                house.topic("t").maintain(house.now);
            }
            _ if dice.below(4) == 0 => reopen(&mut house, &names),
            _ => {}
        }
    }
    target.kill();
    target.pass(Duration::from_hours(1));
    for (which, name) in names.into_iter().enumerate() {
        let cell = target.channel("t", name);
        target.handle_timeout(&cell);
        target.subscribe(&cell, ALICE, 10_000);
        let mut arrived: BTreeMap<String, usize> = BTreeMap::new();
        for body in target.bodies(&cell, ALICE) {
            *arrived.entry(body).or_default() += 1;
        }
        for at in 0..count {
            let body = format!("m{at}");
            let times = arrived.remove(&body).unwrap_or(0);
            let is_finished = finished[which].contains(&body);
            assert!(
                times > 0 || is_finished,
                "seed {seed}: {body} of {name} is lost"
            );
            let is_repeated = times + usize::from(is_finished) > 1;
            assert!(
                !is_repeated || doubtful[which].contains(&body),
                "seed {seed}: {body} of {name} came {times} times"
            );
        }
        assert!(arrived.is_empty(), "seed {seed}: {arrived:?} from nowhere");
    }
}

fn reopen(house: &mut TestBroker, names: &[&str]) {
    house.kill();
    house.broker().set_draining(true);
    for name in names {
        let cell = house.topic("t").channel(name).unwrap();
        house.subscribe(&cell, ALICE, 5);
    }
}

#[test]
fn deferred_messages_move_once_each_in_small_batches() {
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    for at in 0..1000 {
        house.publish_deferred("t", &format!("m{at}"), (at % 7 + 1) * SECOND);
    }
    let mut moved = Vec::new();
    loop {
        let (reserved, packed) = reserve(&house, &cell, 30);
        if reserved.is_empty() {
            break;
        }
        moved.extend(packed.into_iter().map(|packed| packed.body));
        cell.lock().finish_reserved(reserved);
    }
    let distinct: BTreeSet<_> = moved.iter().collect();
    assert_eq!((moved.len(), distinct.len()), (1000, 1000));
    assert_eq!(counts(&cell.lock()), (0, 0, 0));
}
