//! Three replicas of a shard with a log that is a list: whatever Raft may do to them happens here, and a model checks what
//! they hold. Every run follows from its seed.

mod clients;
mod faults;
mod model;
pub(crate) mod node;

use std::collections::VecDeque;
use std::sync::Arc;

use nsq_cluster::codec::{Batch, BatchBuilder, LogId};
use nsq_cluster::state_machine::StateMachine;
use nsq_core::{ClientHandle, Now, TicketWaiter};
use nsq_protocol::{ChannelName, TopicName};

use self::model::{Finish, Model};
use self::node::{NOON, Node};
use crate::accumulator::Proposal;
use crate::gathering::Enough;
use crate::leading::Leading;
use crate::repeating::Walk;

pub(crate) struct Nothing;

impl TicketWaiter for Nothing {
    fn ticket_settled(&self) {}
}

impl ClientHandle for Nothing {
    fn wake(&self) {}

    fn close(&self) {}
}

/// Numbers that follow from a seed (SplitMix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// A proposal that was made and not committed.
struct Proposed {
    by: Arc<Leading>,
    proposal: Proposal,
    finishes: Vec<Finish>,
}

struct Simulation {
    dice: Dice,
    now: Now,
    nodes: Vec<Node>,
    log: Vec<(LogId, Batch)>,
    term: u64,
    leader: usize,
    proposed: VecDeque<Proposed>,
    /// Executed by the leader, which does not know yet.
    executed: VecDeque<Proposed>,
    /// Finished since the leader's progress was flushed.
    finishes: Vec<Finish>,
    model: Model,
    bodies: u32,
    followed: u64,
}

impl Simulation {
    fn new(seed: u64) -> Simulation {
        let mut simulation = Simulation {
            dice: Dice(seed),
            now: NOON,
            nodes: (0..3).map(Node::new).collect(),
            log: Vec::new(),
            term: 0,
            leader: 0,
            proposed: VecDeque::new(),
            executed: VecDeque::new(),
            finishes: Vec::new(),
            model: Model::default(),
            bodies: 0,
            followed: 0,
        };
        simulation.elect(0);
        simulation
    }

    fn leading(&self) -> Arc<Leading> {
        self.nodes[self.leader].shard.leading().unwrap()
    }

    fn topic(&mut self) -> TopicName {
        TopicName::try_from(["a", "b"][self.dice.below(2)]).unwrap()
    }

    fn channel(&mut self) -> ChannelName {
        ChannelName::try_from(["x", "y"][self.dice.below(2)]).unwrap()
    }

    fn step(&mut self) {
        let millis = self.dice.below(3) as u64;
        self.now.unix_nanos += i64::try_from(millis * 1_000_000).unwrap();
        match self.dice.below(100) {
            0..30 => self.publish(),
            30..42 => self.change(),
            42..60 => self.consume(),
            60..66 => self.flush(),
            66..80 => {
                self.propose();
                self.commit(true);
            }
            80..84 => self.note_executed(),
            84..92 => {
                let node = self.dice.below(3);
                let count = self.dice.below(6);
                self.apply(node, count);
            }
            92..94 => {
                let node = self.dice.below(3);
                self.nodes[node].shard.maintain().unwrap();
            }
            94..96 => self.change_leader(),
            96 => self.lead_again(),
            97 => self.kill(),
            98 if self.dice.percent(50) => self.restore(),
            98 => self.fail_proposal(),
            _ => self.maintain_topics(),
        }
    }

    fn propose(&mut self) {
        let leading = self.leading();
        while let Some(proposal) = leading.take(Enough::ANYTHING) {
            self.proposed.push_back(Proposed {
                by: Arc::clone(&leading),
                proposal,
                finishes: Vec::new(),
            });
        }
    }

    /// Commits some of what was proposed.
    fn commit(&mut self, leader_applies: bool) {
        let count = self.dice.below(self.proposed.len() + 1);
        self.commit_many(count, leader_applies);
    }

    fn commit_many(&mut self, count: usize, leader_applies: bool) {
        if count == 0 {
            return;
        }
        let mut batch = BatchBuilder::default();
        let taken: Vec<_> = self.proposed.drain(..count).collect();
        for proposed in &taken {
            batch.push(&proposed.proposal.bytes);
            self.model.commit(&proposed.proposal.bytes);
            self.model.know(proposed.finishes.clone());
        }
        self.push(batch.build());
        if !leader_applies {
            return;
        }
        let outcomes = self.apply(self.leader, usize::MAX);
        assert!(outcomes.iter().all(bytes::Bytes::is_empty));
        self.executed.extend(taken);
        if self.dice.percent(70) {
            self.note_executed();
        }
    }

    fn push(&mut self, batch: Batch) {
        let id = LogId {
            term: self.term,
            index: self.log.len() as u64 + 1,
        };
        trace(&format_args!("entry {id}"));
        self.log.push((id, batch));
    }

    fn note_executed(&mut self) {
        for executed in self.executed.drain(..) {
            executed
                .by
                .note_changes(&executed.proposal.changes, &Ok(()));
            executed.by.note_progress(executed.proposal.progress, true);
            for pending in executed.proposal.waiting {
                pending.settle(Ok(()));
            }
        }
    }

    /// A node applies some of what it has not; returns the outcomes of the last entry.
    fn apply(&mut self, node: usize, count: usize) -> Vec<bytes::Bytes> {
        let node = &mut self.nodes[node];
        let mut outcomes = Vec::new();
        let applied = node.applied();
        for (id, batch) in self.log.iter().skip(applied).take(count) {
            outcomes = node.machine.apply(*id, batch).unwrap();
            assert_eq!(outcomes.len(), batch.len());
        }
        outcomes
    }

    /// All replicas apply everything, and hold the same.
    fn settle(&mut self) {
        self.note_executed();
        self.repeat();
        loop {
            self.flush();
            if self.proposed.is_empty() {
                break;
            }
            self.commit_many(self.proposed.len(), true);
            self.note_executed();
        }
        for node in 0..3 {
            self.apply(node, usize::MAX);
            self.nodes[node].shard.follow().unwrap();
            self.nodes[node].shard.maintain().unwrap();
            self.nodes[node].check(&self.model);
        }
        for node in 0..3 {
            self.nodes[node].check_against(&self.nodes[self.leader]);
        }
    }

    /// The leader repeats what it knows, if the others may lack something.
    fn repeat(&mut self) {
        let leading = self.leading();
        if leading.behind.try_begin() {
            trace(&"repeat");
            let mut walk = Walk::of(&leading.broker);
            while !walk.go_on(&leading, self.now) {}
            leading.behind.finish(true);
        }
    }
}

/// A trace of what happens, for the study of a seed that fails.
fn trace(what: &dyn std::fmt::Display) {
    if std::env::var_os("TRACE").is_some() {
        eprintln!("{what}");
    }
}

fn run(seed: u64) {
    let mut simulation = Simulation::new(seed);
    for _ in 0..4 {
        for _ in 0..100 {
            simulation.step();
        }
        simulation.settle();
        simulation.elect(0);
    }
}

#[test]
fn nothing_committed_is_lost_and_nothing_finished_returns() {
    let count = std::env::var("SEEDS")
        .ok()
        .and_then(|seeds| seeds.parse().ok());
    let first = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let first: u64 = first.unwrap_or(1);
    for seed in first..first + count.unwrap_or(20) {
        let outcome = std::panic::catch_unwind(|| run(seed));
        if let Err(panic) = outcome {
            eprintln!("it was seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
