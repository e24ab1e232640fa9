//! Shards that come and go under several clients which do anything, against a naive model. Clients act only when they are woken or
//! have sent something, as in nsqd: so a wake-up that is lost shows as a message that lies there while a client has room.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use nsq_core::Now;
use nsq_protocol::RawMessageId;

use crate::Next;
use crate::testing::{TestNode, TestSession, at, commands};

const SHARDS: u64 = 4;
const CLIENTS: u32 = 3;
const STEPS: usize = 250;
/// The timeout of clients that ask for none, in milliseconds.
const MSG_TIMEOUT: u64 = 60_000;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % sides
    }
}

struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A message that a client holds, as far as the model knows.
#[derive(Debug, Clone)]
struct Held {
    shard: u64,
    body: String,
    /// When it comes back, in milliseconds.
    deadline: u64,
}

struct Consumer {
    session: TestSession,
    bell: Arc<Bell>,
    ready: usize,
    is_blocked: bool,
    held: BTreeMap<RawMessageId, Held>,
    /// Ids that it held once.
    lost: Vec<RawMessageId>,
}

struct World {
    node: TestNode,
    dice: Dice,
    millis: u64,
    next_body: u64,
    led: BTreeSet<u64>,
    /// Of each shard, led or not: the bodies of messages that no one has finished.
    unfinished: BTreeMap<u64, BTreeSet<String>>,
    consumers: Vec<Consumer>,
}

impl World {
    fn new(seed: u64) -> World {
        let node = TestNode::new();
        node.make("t", Some("c"));
        let consumers = (1..=CLIENTS).map(|id| {
            let mut session = node.connect(id);
            assert_eq!(session.send(b"SUB t c\n", at(0)), Next::Wait);
            assert_eq!(session.read(), ["OK"]);
            Consumer {
                session,
                bell: Arc::new(Bell(AtomicBool::new(true))),
                ready: 0,
                is_blocked: false,
                held: BTreeMap::new(),
                lost: Vec::new(),
            }
        });
        World {
            consumers: consumers.collect(),
            node,
            dice: Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            millis: 0,
            next_body: 0,
            led: BTreeSet::new(),
            unfinished: BTreeMap::new(),
        }
    }

    fn now(&self) -> Now {
        at(self.millis)
    }

    fn step(&mut self) {
        let which = usize::try_from(self.dice.roll(u64::from(CLIENTS))).unwrap();
        let shard = 1 + self.dice.roll(SHARDS);
        match self.dice.roll(20) {
            0..=4 => self.publish(shard),
            5..=6 => {
                let ready = self.dice.roll(6);
                self.ready(which, ready);
            }
            7..=11 => self.finish(which),
            12..=13 => self.requeue(which),
            14 => self.finish_lost(which),
            15 => self.pass(),
            16 => self.block(which),
            17 => self.lead(shard),
            18 if self.dice.roll(2) == 0 => self.stop_leading(shard),
            _ => {
                let paused = self.dice.roll(3) == 0;
                if self.led.contains(&shard) {
                    let channel = self.node.channel(shard, "c").unwrap();
                    channel.lock().set_paused(paused);
                }
            }
        }
        if self.dice.roll(3) > 0 {
            self.serve();
        }
    }

    fn publish(&mut self, shard: u64) {
        if !self.led.contains(&shard) {
            return;
        }
        let count = 1 + self.dice.roll(5);
        let bodies: Vec<_> = (0..count)
            .map(|at| (self.next_body + at).to_string())
            .collect();
        self.next_body += count;
        let texts: Vec<_> = bodies.iter().map(String::as_str).collect();
        self.node.publish(shard, &texts, self.now());
        self.unfinished.entry(shard).or_default().extend(bodies);
    }

    fn send(&mut self, which: usize, bytes: &[u8]) {
        let now = self.now();
        let consumer = &mut self.consumers[which];
        assert_eq!(consumer.session.send(bytes, now), Next::Wait);
        consumer.bell.0.store(true, Ordering::SeqCst);
    }

    fn ready(&mut self, which: usize, ready: u64) {
        self.consumers[which].ready = usize::try_from(ready).unwrap();
        self.send(which, format!("RDY {ready}\n").as_bytes());
    }

    /// Some of the messages that the client holds, which it holds no longer.
    fn give_up(&mut self, which: usize) -> Vec<(RawMessageId, Held)> {
        let dice = &mut self.dice;
        let held = &mut self.consumers[which].held;
        held.extract_if(.., |_, _| dice.roll(2) == 0).collect()
    }

    fn finish(&mut self, which: usize) {
        let finished = self.give_up(which);
        for (_, held) in &finished {
            let unfinished = self.unfinished.get_mut(&held.shard).unwrap();
            assert!(unfinished.remove(&held.body));
        }
        self.send(
            which,
            &commands("FIN", finished.iter().map(|(id, _)| id), ""),
        );
    }

    fn requeue(&mut self, which: usize) {
        let given_up = self.give_up(which);
        let delay = if self.dice.roll(2) == 0 {
            " 0"
        } else {
            " 5000"
        };
        self.send(
            which,
            &commands("REQ", given_up.iter().map(|(id, _)| id), delay),
        );
    }

    /// FIN of a message that the client does not hold any more is refused, and changes nothing.
    fn finish_lost(&mut self, which: usize) {
        let consumer = &self.consumers[which];
        let lost = consumer.lost.iter().rev();
        let lost: Vec<_> = lost
            .filter(|id| !consumer.held.contains_key(*id))
            .take(2)
            .copied()
            .collect();
        let before = self.refusals(which);
        self.send(which, &commands("FIN", &lost, ""));
        assert_eq!(self.refusals(which), before + lost.len());
    }

    fn refusals(&mut self, which: usize) -> usize {
        let outbox = self.consumers[which].session.session.outbox();
        let needle = b"E_FIN_FAILED".as_slice();
        let windows = outbox.unsent().windows(needle.len());
        windows.filter(|window| *window == needle).count()
    }

    fn pass(&mut self) {
        self.millis += [1, 100, 5_000, 61_000][usize::try_from(self.dice.roll(4)).unwrap()];
        self.node.notes.timers.run_due(self.now(), |_| {});
        for consumer in &mut self.consumers {
            let late = |_: &RawMessageId, held: &mut Held| held.deadline <= self.millis;
            let late = consumer.held.extract_if(.., late);
            consumer.lost.extend(late.map(|(id, _)| id));
        }
    }

    fn block(&mut self, which: usize) {
        let now = self.now();
        let consumer = &mut self.consumers[which];
        consumer.is_blocked = !consumer.is_blocked;
        if consumer.is_blocked {
            consumer.session.session.outbox().handle_blocked(now.tick);
        } else {
            consumer.session.session.outbox().handle_flushed();
            consumer.bell.0.store(true, Ordering::SeqCst);
        }
    }

    fn lead(&mut self, shard: u64) {
        if self.led.insert(shard) {
            let broker = self.node.lead_at(shard, self.now());
            let topic = broker.topic("t").unwrap();
            topic.channel("c").unwrap().lock().set_paused(false);
        }
    }

    fn stop_leading(&mut self, shard: u64) {
        if self.led.remove(&shard) {
            self.node.stop_leading(shard, self.now());
            for consumer in &mut self.consumers {
                let gone = |_: &RawMessageId, held: &mut Held| held.shard == shard;
                let gone = consumer.held.extract_if(.., gone);
                consumer.lost.extend(gone.map(|(id, _)| id));
            }
        }
    }

    /// Lets every client that was woken do what it has to, until all are quiet.
    fn serve(&mut self) {
        let mut is_quiet = false;
        while !is_quiet {
            is_quiet = true;
            for which in 0..self.consumers.len() {
                if self.consumers[which].bell.0.swap(false, Ordering::SeqCst) {
                    is_quiet = false;
                    self.poll(which);
                }
            }
        }
        self.check();
    }

    /// One client does the next thing that it has to do.
    fn poll(&mut self, which: usize) {
        let now = self.now();
        let consumer = &mut self.consumers[which];
        let waker = Waker::from(Arc::clone(&consumer.bell));
        let before = consumer.held.len();
        let session = &mut consumer.session.session;
        session.client().register(&waker);
        assert!(!session.client().is_closed());
        session.handle_wake();
        if !session.wants_delivery() {
            return;
        }
        session.deliver(now);
        self.read(which);
        let consumer = &self.consumers[which];
        assert!(
            consumer.held.len() <= consumer.ready.max(before),
            "a client with RDY {} was given more, and holds {:?}",
            consumer.ready,
            consumer.held
        );
        consumer.bell.0.store(true, Ordering::SeqCst);
    }

    /// Takes in what the client was given.
    fn read(&mut self, which: usize) {
        let deadline = self.millis + MSG_TIMEOUT;
        let consumer = &mut self.consumers[which];
        for (text, id) in consumer.session.frames() {
            let Some(id) = id else {
                continue;
            };
            let body = text.trim_start_matches("message ").to_owned();
            let shard = self
                .unfinished
                .iter()
                .find(|(_, bodies)| bodies.contains(&body));
            let (&shard, _) = shard.expect("a message that is not finished");
            assert!(self.led.contains(&shard), "shard {shard} is not led");
            let held = Held {
                shard,
                body,
                deadline,
            };
            assert!(consumer.held.insert(id, held).is_none(), "given twice");
        }
    }

    /// With every client quiet: no message lies in a shard while a client could have it, and the shards agree with the model.
    fn check(&self) {
        for &shard in &self.led {
            let cell = self.node.channel(shard, "c").unwrap();
            let channel = cell.lock();
            let held = self
                .consumers
                .iter()
                .flat_map(|consumer| consumer.held.values());
            let held = held.filter(|held| held.shard == shard).count();
            assert_eq!(
                channel.in_flight_count(),
                held,
                "in flight in shard {shard}"
            );
            if channel.depth() == 0 || channel.is_paused() {
                continue;
            }
            for (at, consumer) in self.consumers.iter().enumerate() {
                assert!(
                    consumer.is_blocked || consumer.held.len() >= consumer.ready,
                    "{} messages lie in shard {shard}, and client {at} has room",
                    channel.depth()
                );
            }
        }
    }

    /// Everything is delivered and finished in the end.
    fn drain(mut self) {
        for shard in 1..=SHARDS {
            self.lead(shard);
            let channel = self.node.channel(shard, "c").unwrap();
            channel.lock().set_paused(false);
        }
        for which in 0..self.consumers.len() {
            if self.consumers[which].is_blocked {
                self.block(which);
            }
            self.ready(which, 5);
        }
        for _ in 0..1000 {
            self.serve();
            if self.unfinished.values().all(BTreeSet::is_empty) {
                return;
            }
            for which in 0..self.consumers.len() {
                self.finish(which);
            }
            self.pass();
        }
        panic!("never delivered: {:?}", self.unfinished);
    }
}

#[test]
fn messages_of_shards_that_come_and_go_reach_clients_with_room_and_only_them() {
    let number =
        |name, default| std::env::var(name).map_or(default, |text| text.parse::<u64>().unwrap());
    let (first, seeds) = (number("SEED", 0), number("SEEDS", 40));
    for seed in first..first + seeds {
        let outcome = std::panic::catch_unwind(|| run(seed));
        assert!(outcome.is_ok(), "again with SEED={seed} SEEDS=1");
    }
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
    }
    world.serve();
    world.drain();
}
