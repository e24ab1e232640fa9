//! Random faults, one after the other, under load.
//!
//! `CLUSTER_NODES` says of how many nodes the cluster is, `CLUSTER_FAULTS` how many faults there are, or `CLUSTER_MINUTES` for how
//! long there are some, and `CLUSTER_FAULT_EVERY` how many seconds lie between two of them. `SEED` repeats a campaign.

use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime};

use nsq_tests::{Cluster, say_loudly};
use rustix::process::Signal;

use crate::faults::under_this_load;
use crate::measure::resident_kib;
use crate::traffic::Traffic;

const FEW_FAULTS: u64 = 4;

/// Small random numbers from a seed that is reported.
struct Dice(u64);

impl Dice {
    fn new() -> Dice {
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let seed = given("SEED").unwrap_or_else(|| u64::from(since.subsec_nanos()));
        say_loudly(&format!("the campaign's seed is {seed}"));
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn node(&mut self, cluster: &Cluster) -> usize {
        let count = cluster.len() as u64;
        usize::try_from(self.below(count)).expect("it is small")
    }

    /// Waits for less than so many milliseconds.
    fn wait(&mut self, millis: u64) {
        std::thread::sleep(Duration::from_millis(self.below(millis)));
    }
}

/// A number of the environment; an empty text is none.
fn given(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// When a campaign is over.
struct Plan {
    faults: u64,
    until: Option<Instant>,
    every: Duration,
}

impl Plan {
    fn given() -> Plan {
        let minutes = given("CLUSTER_MINUTES");
        Plan {
            faults: given("CLUSTER_FAULTS").unwrap_or(FEW_FAULTS),
            until: minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes)),
            every: Duration::from_secs(given("CLUSTER_FAULT_EVERY").unwrap_or(0)),
        }
    }

    fn is_over(&self, faults: u64) -> bool {
        match self.until {
            Some(until) => Instant::now() >= until,
            None => faults >= self.faults,
        }
    }
}

#[test]
fn random_faults_under_load_lose_nothing() {
    let nodes = usize::try_from(given("CLUSTER_NODES").unwrap_or(3)).expect("it is small");
    let mut dice = Dice::new();
    let mut cluster = Cluster::start(nodes, &["--msg-timeout=2s"]);
    let addresses = cluster.nodes().iter().map(|node| node.tcp());
    let traffic = Traffic::new("orders", addresses.collect()).with_mixed_commands();
    let plan = Plan::given();
    let mut faults = 0;
    let mut memory = vec![];
    let what = format!("random faults of {nodes} nodes");
    under_this_load(&what, &mut cluster, traffic, |cluster, traffic| {
        memory.push(resident(cluster));
        while !plan.is_over(faults) {
            let begun = Instant::now();
            one_fault(&mut dice, cluster);
            faults += 1;
            traffic.wait_for_publishes(50);
            std::thread::sleep(plan.every.saturating_sub(begun.elapsed()));
        }
        cluster.wait_until_ok();
    });
    memory.push(resident(&cluster));
    say_loudly(&format!(
        "{what}: {faults} faults; {}; resident memory of each node at the start {}, at the end {}",
        replication(&cluster),
        memory[0],
        memory[1]
    ));
}

fn one_fault(dice: &mut Dice, cluster: &mut Cluster) {
    let node = dice.node(cluster);
    dice.wait(300);
    match dice.below(8) {
        0..=3 => {
            cluster[node].kill9();
            dice.wait(2000);
            cluster[node].start_again();
        }
        4 | 5 => {
            // A second disk may only be lost once everything is held by all again.
            cluster.wait_until_ok();
            cluster.lose(node);
            dice.wait(2000);
            cluster[node].start_again();
            cluster.wait_until_ok();
        }
        6 => {
            cluster[node].notify(Signal::STOP);
            dice.wait(4000);
            cluster[node].notify(Signal::CONT);
        }
        _ => {
            assert!(cluster[node].terminate().success());
            cluster[node].start_again();
        }
    }
}

fn resident(cluster: &Cluster) -> String {
    let mut text = String::new();
    for node in cluster.nodes() {
        let mib = resident_kib(node) / 1024;
        let separator = if text.is_empty() { "" } else { ", " };
        write!(text, "{separator}{mib}").expect("a text takes everything");
    }
    format!("{text} MiB")
}

/// What the first node says of the replicas.
fn replication(cluster: &Cluster) -> String {
    let report = cluster.report(0).expect("it answers");
    let shards = report["shards"].as_array().cloned().unwrap_or_default();
    let lacking = shards.iter();
    let lacking = lacking.filter(|shard| shard["is_under_replicated"] != false);
    let (lacking, all, state) = (lacking.count(), shards.len(), &report["state"]);
    assert_eq!(lacking, 0, "{report:#}");
    format!("{lacking} of {all} shards are under-replicated at the end, and the state is {state}")
}
