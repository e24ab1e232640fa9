//! The nodes, and what happens to them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::group::Cluster;
use super::random::Random;
use super::*;
use crate::codec::Membership;
use crate::directory::MemberInfo;
use crate::identity::Identity;
use crate::{ClusterId, Member};

/// What a run has in it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outline {
    /// Nodes with the same list.
    pub(super) founders: usize,
    /// Nodes that name only the last of the first ones.
    pub(super) later: usize,
    /// At most as many kills.
    pub(super) kills: usize,
    /// As many of the kills take the disk as well.
    pub(super) wipes: usize,
}

/// Milliseconds.
pub(super) type Time = u64;

pub(super) fn run(seed: u64, outline: Outline) {
    let mut world = World::new(seed, outline);
    while world.now < END {
        let Some(((at, _), event)) = world.events.pop_first() else {
            break;
        };
        world.now = at;
        world.handle(event);
        world.check_always();
    }
    world.check_end();
}

pub(super) struct World {
    pub(super) random: Random,
    pub(super) now: Time,
    pub(super) events: BTreeMap<(Time, u64), Event>,
    pub(super) next_number: u64,
    pub(super) nodes: Vec<Node>,
    /// All clusters that were ever initialised.
    pub(super) clusters: BTreeMap<ClusterId, Cluster>,
    pub(super) wipes_left: usize,
    /// When the next message from a process to a node arrives at the earliest: they keep their order.
    pub(super) order: BTreeMap<(u128, usize), Time>,
}

pub(super) struct Node {
    pub(super) address: String,
    pub(super) peers: Vec<String>,
    /// The disk.
    pub(super) identity: Option<Identity>,
    pub(super) has_entries: bool,
    pub(super) process: Option<Process>,
}

pub(super) struct Process {
    pub(super) number: u128,
    pub(super) bootstrap: Option<Bootstrap>,
    pub(super) greeter: Greeter,
    /// Calls that wait for an answer.
    pub(super) calls: BTreeMap<u64, String>,
    pub(super) done: Option<Done>,
}

pub(super) enum Event {
    Start(usize),
    Kill(usize),
    Step(usize, u128),
    Arrive {
        call: u64,
        from: (usize, u128),
        to: usize,
        body: Call,
    },
    Answer {
        call: u64,
        to: (usize, u128),
        answer: Result<CallAnswer, String>,
    },
    /// The node's disk has stored an identity, for its own bootstrap or for a call.
    Stored {
        node: usize,
        process: u128,
        identity: Box<Identity>,
        answer: Option<(u64, (usize, u128), CallAnswer)>,
    },
    /// The directory's group does what it can.
    Tick,
}

impl World {
    fn new(seed: u64, outline: Outline) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ outline.founders as u64);
        let first: Vec<_> = (0..outline.founders)
            .map(|node| format!("n{node}:4152"))
            .collect();
        let last = first.last().unwrap().clone();
        let later =
            (0..outline.later).map(|node| (format!("later{node}:4152"), vec![last.clone()]));
        let nodes = first.iter().map(|address| (address.clone(), first.clone()));
        let nodes = nodes.chain(later).map(|(address, peers)| Node {
            address,
            peers,
            identity: None,
            has_entries: false,
            process: None,
        });
        let nodes: Vec<_> = nodes.collect();
        let longest = if random.below(2) == 0 { 2_000 } else { 60_000 };
        let starts: Vec<_> = nodes.iter().map(|_| random.below(longest)).collect();
        let kills: Vec<_> = (0..random.below(outline.kills as u64 + 1))
            .map(|_| {
                (
                    random.below(longest + 10_000),
                    random.below(nodes.len() as u64),
                )
            })
            .collect();
        let mut world = Self {
            random,
            now: 0,
            events: BTreeMap::new(),
            next_number: 0,
            nodes,
            clusters: BTreeMap::new(),
            wipes_left: outline.wipes,
            order: BTreeMap::new(),
        };
        for (node, at) in starts.into_iter().enumerate() {
            world.schedule(at, Event::Start(node));
        }
        for (at, node) in kills {
            world.schedule(at, Event::Kill(usize::try_from(node).unwrap()));
        }
        world.schedule(0, Event::Tick);
        world
    }

    pub(super) fn schedule(&mut self, delay: Time, event: Event) -> u64 {
        self.next_number += 1;
        let key = (self.now + delay, self.next_number);
        self.events.insert(key, event);
        self.next_number
    }

    pub(super) fn is_calm(&self) -> bool {
        self.now > CALM
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Start(node) => self.start(node),
            Event::Kill(node) => self.kill(node),
            Event::Step(node, process) => self.step(node, process),
            Event::Arrive {
                call,
                from,
                to,
                body,
            } => self.arrive(call, from, to, &body),
            Event::Answer { call, to, answer } => self.answered(call, to, answer),
            Event::Stored {
                node,
                process,
                identity,
                answer,
            } => self.stored(node, process, *identity, answer),
            Event::Tick => {
                self.tick();
                self.schedule(100, Event::Tick);
            }
        }
    }

    fn start(&mut self, number: usize) {
        if self.nodes[number].process.is_some() {
            return;
        }
        let process = u128::from(self.random.next()) + 1;
        let new_cluster = ClusterId(u128::from(self.random.next()) + 1);
        let node = &mut self.nodes[number];
        let info = info(&node.address);
        let start = match &node.identity {
            None => Start::Fresh,
            Some(identity) => Start::Founding(identity.clone()),
        };
        let is_member = node
            .identity
            .as_ref()
            .is_some_and(|identity| !must_found(identity, node.has_entries));
        let options = BootstrapOptions {
            info,
            peers: node.peers.clone(),
            process,
            new_cluster,
            patience: Duration::from_mins(5),
            start,
        };
        let (bootstrap, mut greeter) = Bootstrap::new(options).unwrap();
        greeter.has_entries = node.has_entries;
        let done = node.identity.clone().filter(|_| is_member).map(Done::Start);
        node.process = Some(Process {
            number: process,
            bootstrap: (!is_member).then_some(bootstrap),
            greeter,
            calls: BTreeMap::new(),
            done,
        });
        self.schedule(0, Event::Step(number, process));
    }

    fn kill(&mut self, number: usize) {
        if self.is_calm() {
            return;
        }
        self.nodes[number].process = None;
        if self.wipes_left > 0 && self.random.below(2) == 0 {
            self.wipes_left -= 1;
            self.nodes[number].identity = None;
            self.nodes[number].has_entries = false;
        }
        let pause = self.random.below(5_000);
        self.schedule(pause, Event::Start(number));
    }

    pub(super) fn process(&mut self, number: usize, process: u128) -> Option<&mut Process> {
        let running = self.nodes[number].process.as_mut();
        running.filter(|running| running.number == process)
    }

    fn step(&mut self, number: usize, process: u128) {
        let now = self.now;
        let Some(running) = self.process(number, process) else {
            return;
        };
        let Some(bootstrap) = &mut running.bootstrap else {
            return;
        };
        match bootstrap.next(&mut running.greeter, Duration::from_millis(now)) {
            Next::Call(calls) => {
                for (address, body) in calls {
                    self.call(number, process, &address, body);
                }
            }
            Next::Store(identity) => {
                let delay = self.random.below(300);
                let answer = None;
                let node = number;
                self.schedule(
                    delay,
                    Event::Stored {
                        node,
                        process,
                        identity,
                        answer,
                    },
                );
            }
            Next::Wait(_) => drop(self.schedule(500, Event::Step(number, process))),
            Next::Fail(text) => panic!("{}: {text}", self.nodes[number].address),
            Next::Done(done) => {
                running.bootstrap = None;
                running.done = Some(done.clone());
                if let Done::Initialize(identity) = done {
                    self.nodes[number].has_entries = true;
                    self.greet(number, |greeter| greeter.has_entries = true);
                    let founders = identity.founders.expect("it has founded");
                    let members = Membership {
                        voters: vec![founders.keys().copied().collect()],
                        nodes: founders
                            .into_keys()
                            .map(|node| (node, Member::default()))
                            .collect(),
                    };
                    let cluster = self.clusters.entry(identity.cluster).or_default();
                    assert!(
                        !cluster.directory.is_founded(),
                        "initialised again after a commit"
                    );
                    cluster.members = members;
                }
            }
        }
    }

    fn stored(
        &mut self,
        node: usize,
        process: u128,
        identity: Identity,
        answer: Option<(u64, (usize, u128), CallAnswer)>,
    ) {
        // A kill before this has stored nothing; one afterwards finds it stored.
        let Some(running) = self.process(node, process) else {
            return;
        };
        if let Some((call, from, answer)) = answer {
            running.greeter.stored(identity.clone());
            self.nodes[node].identity = Some(identity);
            self.reply(call, from, answer);
            return;
        }
        if let Some(bootstrap) = &mut running.bootstrap {
            bootstrap.stored(&mut running.greeter);
        }
        self.nodes[node].identity = Some(identity);
        self.schedule(0, Event::Step(node, process));
    }

    pub(super) fn greet(&mut self, node: usize, change: impl FnOnce(&mut Greeter)) {
        if let Some(running) = &mut self.nodes[node].process {
            change(&mut running.greeter);
        }
    }
}

fn info(address: &str) -> MemberInfo {
    MemberInfo {
        address: address.to_owned(),
        broadcast_address: "host".to_owned(),
        tcp_port: 4150,
        http_port: 4151,
        version: "1.3.0".to_owned(),
        entry_format: 1,
        joined: 0,
    }
}

/// From then on nothing is lost and no one is killed.
const CALM: Time = 80_000;
const END: Time = 120_000;
