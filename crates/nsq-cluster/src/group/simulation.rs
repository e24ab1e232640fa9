//! Whole groups on a simulated network and simulated disks, under virtual time, with everything drawn from a seed.
//!
//! ```text
//! run      nodes, clients, faults
//!  ├─ world    who is up, which links are cut, what must be true
//!  ├─ network  delays, drops, duplicates and reorders, through the real codec
//!  └─ disk     lanes that take their time, stall, and die with their process
//! ```
//! `SEEDS=<count>` runs more seeds, `SEED=<number>` one. A failure names its seed.

mod disk;
mod network;
mod run;
mod world;

use std::time::Duration;

use openraft_rt_sim::SimRuntime;

use self::run::{Outcome, Plan, run};
use crate::raft::{LeaderId, Outcomes, Proposal};
use crate::{Member, NodeId};

openraft::declare_raft_types!(
    /// As nsqd's, but for the runtime.
    pub(super) Sim:
        D = Proposal,
        R = Outcomes,
        NodeId = NodeId,
        Node = Member,
        LeaderId = LeaderId,
        AsyncRuntime = SimRuntime,
);

/// Numbers that follow from a seed.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Whether something happens that does so `times` out of a thousand times.
    fn happens(&mut self, times: u64) -> bool {
        self.below(1000) < times
    }

    fn micros(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_micros(range.start + self.below(range.end - range.start))
    }
}

fn seeds(count: u64) -> Vec<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    if let Some(seed) = number("SEED") {
        return vec![seed];
    }
    (0..number("SEEDS").unwrap_or(count)).collect()
}

#[test]
fn three_nodes_lose_nothing_and_agree_whatever_fails() {
    let seeds = seeds(12);
    let runs: Vec<_> = seeds.iter().map(|&seed| run(seed, Plan::new(3))).collect();
    let total = |count: fn(&Outcome) -> usize| runs.iter().map(count).sum::<usize>();
    assert!(total(|run| run.acknowledged) > 100 * seeds.len());
    assert!(total(|run| run.kills) > seeds.len());
    if seeds.len() > 10 {
        assert!(total(|run| run.replacements) > 0);
        assert!(total(|run| run.checkpoints) > 0);
    }
}

#[test]
fn five_nodes_lose_nothing_and_agree_whatever_fails() {
    for seed in seeds(5) {
        run(seed, Plan::new(5));
    }
}

#[test]
fn a_seed_always_gives_the_same_run() {
    for seed in [3, 4] {
        assert_eq!(run(seed, Plan::new(3)), run(seed, Plan::new(3)));
    }
}
