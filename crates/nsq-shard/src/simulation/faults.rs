//! What happens to nodes.

use nsq_cluster::codec::{Batch, BatchBuilder};
use nsq_cluster::state_machine::StateMachine;

use super::{Proposed, Simulation, trace};
use crate::machine::OF_ANOTHER_TERM;

impl Simulation {
    /// Another node leads from now on, or the same in a later term.
    pub(super) fn change_leader(&mut self) {
        if self.dice.percent(50) {
            self.propose();
        }
        if self.dice.percent(50) {
            // The leader may be gone before it knows.
            let leader_applies = self.dice.percent(50);
            self.commit(leader_applies);
        }
        if self.dice.percent(30) {
            self.nodes[self.leader].shard.follow().unwrap();
        }
        let next = self.dice.below(3);
        self.elect(next);
    }

    pub(super) fn elect(&mut self, node: usize) {
        self.term += 1;
        trace(&format_args!("elect {node}, not {}", self.leader));
        self.push(Batch::default());
        self.apply(node, usize::MAX);
        self.leader = node;
        self.nodes[node].shard.lead(self.term).unwrap();
        self.finishes.clear();
        self.executed.clear();
        let late = std::mem::take(&mut self.proposed);
        // Proposals on their way through a leader that lost and won.
        if self.dice.percent(50) && !late.is_empty() {
            let mut batch = BatchBuilder::default();
            for proposed in late {
                batch.push(&proposed.proposal.bytes);
            }
            self.push(batch.build());
            let outcomes = self.apply(node, usize::MAX);
            assert!(outcomes.iter().all(|outcome| outcome == OF_ANOTHER_TERM));
        }
    }

    /// The leader gives its broker up, and opens it again in the same term, with a clock that has gone back.
    pub(super) fn lead_again(&mut self) {
        let shard = &self.nodes[self.leader].shard;
        shard.follow().unwrap();
        shard.lead(self.term).unwrap();
        trace(&"again");
        self.finishes.clear();
        self.now.unix_nanos -= 1_000_000_000;
    }

    pub(super) fn kill(&mut self) {
        let node = self.dice.below(3);
        trace(&format_args!(
            "kill {node} at {}",
            self.nodes[node].applied()
        ));
        match self.dice.below(10) {
            0..2 => self.nodes[node].restart(),
            2..6 => self.nodes[node].kill(),
            _ => self.nodes[node].crash(),
        }
        if node == self.leader {
            let next = self.dice.below(3);
            self.elect(next);
        }
    }

    /// A node that lost its disk, or is far behind, gets a checkpoint.
    pub(super) fn restore(&mut self) {
        let node = self.dice.below(3);
        if node == self.leader {
            return;
        }
        if self.dice.percent(40) {
            self.nodes[node].wipe();
        }
        let from = self.dice.below(3);
        if from == node || self.nodes[from].applied() < self.nodes[node].applied() {
            return;
        }
        let checkpoint = self.nodes[from].machine.checkpoint().unwrap();
        let Some(applied) = self.nodes[from].machine.applied() else {
            return;
        };
        // Traffic continues while it is read.
        for _ in 0..self.dice.below(3) {
            self.consume();
            self.apply(from, 2);
        }
        trace(&format_args!(
            "checkpoint of {applied} from {from} to {node}"
        ));
        self.nodes[node].receive(&checkpoint, applied);
    }

    /// The disk refuses a proposal, and the leader continues leading.
    pub(super) fn fail_proposal(&mut self) {
        self.flush();
        let Some(Proposed { by, proposal, .. }) = self.proposed.pop_back() else {
            return;
        };
        trace(&"a proposal fails");
        let outcome = Err("the disk is full".to_owned());
        by.note_changes(&proposal.changes, &outcome);
        by.note_progress(proposal.progress, false);
        for pending in proposal.waiting {
            pending.settle(outcome.clone());
        }
    }

    pub(super) fn maintain_topics(&mut self) {
        let broker = self.nodes[self.leader].shard.broker().unwrap();
        for topic in broker.topics() {
            topic.maintain(self.now);
        }
        broker.save_metadata().unwrap();
    }
}
