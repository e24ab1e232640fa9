//! One run: machines form a cluster, clients publish and consume, things fail, everything heals, and then the model must be
//! content.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use nsq_protocol::{ChannelName, TopicName};

use super::clients::{Consumer, MILLISECOND, Producer, SECOND, Subject};
use super::faults::{Faults, Plan};
use super::machine::{Death, Fate, Machine};
use super::model::{Counts, Model, seconds};
use super::network::World;
use crate::clock;
use crate::random::Random;

pub(super) struct Run {
    pub(super) world: World,
    pub(super) machines: Vec<Machine>,
    subjects: Vec<Subject>,
    producers: Vec<Producer>,
    consumers: Vec<Consumer>,
    pub(super) model: Model,
    pub(super) plan: Plan,
    pub(super) now: u64,
    turn: u64,
    /// What each machine leads.
    led: Vec<BTreeSet<u64>>,
    /// When the machine's process is to be started again.
    pub(super) restarts: BTreeMap<usize, u64>,
    /// The machine that is a member no more.
    pub(super) removed: Option<usize>,
    pub(super) figures: Figures,
    chance: Random,
}

/// What a run came to; equal for equal seeds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) counts: Counts,
    pub(super) seconds: u64,
    pub(super) kills: u64,
    pub(super) kills_in_operations: u64,
    pub(super) ended: u64,
    pub(super) power_cuts: u64,
    pub(super) wipes: u64,
    pub(super) stops: u64,
    pub(super) left: u64,
    pub(super) leaderships: u64,
    pub(super) removed: u64,
    pub(super) digest: u64,
}

/// Runs a seed. `folder` is empty.
pub(super) fn run(seed: u64, folder: &Path) -> Figures {
    let mut chance = Random::new(seed ^ 0xC1);
    clock::begin(chance.split());
    let plan = Plan::draw(&mut chance);
    trace(|| format!("seed {seed}: {plan:?}"));
    let mut run = Run::new(plan, folder, chance);
    run.form();
    run.live();
    run.heal();
    run.drain();
    run.model.check();
    let mut figures = run.figures.clone();
    figures.counts = run.model.counts;
    figures.seconds = run.now / SECOND;
    figures.digest = run.world.digest();
    // Nothing of what still runs is dropped: no process ends in an orderly way here.
    std::mem::forget(run);
    figures
}

impl Run {
    fn new(plan: Plan, folder: &Path, mut chance: Random) -> Run {
        let hosts = plan.machines + plan.spares;
        let address = |host: usize| format!("machine{host}:4152");
        let addresses: Vec<_> = (0..hosts).map(address).collect();
        let world = World::new(chance.split(), addresses.clone());
        let peers = &addresses[..plan.machines];
        let machines = (0..hosts).map(|host| {
            let mut args: Vec<_> = peers
                .iter()
                .map(|peer| format!("--cluster-peer={peer}"))
                .collect();
            args.push(format!("--cluster-broadcast-address={}", address(host)));
            args.push("--cluster-address=127.0.0.1:4152".to_owned());
            args.push(format!("--replicas={}", plan.replicas));
            args.push("--cluster-max-log-bytes=1MiB".to_owned());
            args.push(format!("--cluster-replace-after={}s", plan.replace_after));
            args.push("--max-bytes-per-file=65536".to_owned());
            args.push("--msg-timeout=4s".to_owned());
            args.push(format!("--broadcast-address=machine{host}"));
            if plan.syncs {
                args.push("--sync-publish".to_owned());
            }
            let chance = chance.split();
            Machine::new(host, &world, folder, args, chance, plan.is_tracked)
        });
        let machines: Vec<_> = machines.collect();
        let subjects: Vec<_> = (0..plan.topics)
            .map(|topic| Subject {
                topic: TopicName::parse(&format!("topic{topic}")).expect("a name"),
                channels: (0..plan.channels)
                    .map(|at| ChannelName::parse(&format!("channel{at}")).expect("a name"))
                    .collect(),
            })
            .collect();
        let window = if plan.is_calm() {
            300 * MILLISECOND
        } else {
            6 * SECOND
        };
        Run {
            model: Model::new(vec![plan.channels; plan.topics], window),
            led: vec![BTreeSet::new(); hosts],
            machines,
            subjects,
            producers: Vec::new(),
            consumers: Vec::new(),
            turn: plan.turn_millis * MILLISECOND,
            restarts: BTreeMap::new(),
            removed: None,
            figures: Figures::default(),
            now: 0,
            world,
            plan,
            chance,
        }
    }

    // ---- one turn ----

    /// All machines have their turn, then the clients.
    pub(super) fn step(&mut self, is_publishing: bool, is_careful: bool) {
        let end = self.now + self.turn;
        self.world.begin_turn(end);
        for host in 0..self.machines.len() {
            let fate = self.machines[host].turn(self.now, end);
            self.note(host, fate, end);
        }
        self.now = end;
        clock::set(end, 0, false);
        for host in 0..self.machines.len() {
            self.look_at_leaders(host);
        }
        let (machines, subjects) = (&mut self.machines, &self.subjects);
        for producer in &mut self.producers {
            producer.act(machines, subjects, &mut self.model, end, is_publishing);
        }
        for consumer in &mut self.consumers {
            consumer.act(machines, subjects, &mut self.model, end, is_careful);
        }
        let due: Vec<_> = self
            .restarts
            .iter()
            .filter(|(_, at)| **at <= end)
            .map(|(host, _)| *host)
            .collect();
        for host in due {
            self.restarts.remove(&host);
            self.boot(host);
        }
    }

    fn note(&mut self, host: usize, fate: Fate, now: u64) {
        let (what, death) = match fate {
            Fate::Alive => return,
            Fate::Killed => ("is killed in a change of a file", Death::Kill),
            Fate::Ended => ("has ended itself", Death::Kill),
            Fate::Left => ("has left", Death::Kill),
        };
        trace(|| format!("machine {host} {what}"));
        match fate {
            Fate::Killed => self.figures.kills_in_operations += 1,
            Fate::Ended => self.figures.ended += 1,
            Fate::Left => self.figures.left += 1,
            Fate::Alive => {}
        }
        self.now = now;
        self.kill(host, death);
        let pause = 100 + self.chance.below(4000);
        self.restarts.insert(host, now + pause * MILLISECOND);
    }

    fn look_at_leaders(&mut self, host: usize) {
        let machine = &mut self.machines[host];
        if machine.is_stopped {
            return;
        }
        let replicas = machine.replicas();
        let mut led = BTreeSet::new();
        for replica in replicas.iter().filter(|replica| replica.leads) {
            led.insert(replica.group);
            self.model.lead(replica.group, replica.term, host);
        }
        let before = std::mem::replace(&mut self.led[host], led);
        let led = &self.led[host];
        for group in led.difference(&before) {
            self.figures.leaderships += 1;
            self.world.note(*group << 8 | host as u64);
            trace(|| format!("machine {host} leads group {group}"));
        }
        if before.difference(led).next().is_some() {
            self.model.disturb(self.now, self.now);
            trace(|| format!("machine {host} leads {led:?} only"));
        }
    }

    // ---- machines ----

    pub(super) fn boot(&mut self, host: usize) {
        trace(|| format!("machine {host} starts"));
        self.machines[host].boot(self.now);
    }

    pub(super) fn kill(&mut self, host: usize, death: Death) {
        trace(|| format!("machine {host}: {death:?}"));
        let unnoticed = match death {
            Death::PowerCut => UNNOTICED,
            Death::Kill | Death::Wipe => 0,
        };
        self.model.disturb(self.now, self.now + unnoticed);
        self.machines[host].kill(death);
        self.led[host].clear();
    }

    /// Whether every machine that is up says that all is well, and all are up.
    pub(super) fn is_healthy(&mut self) -> bool {
        let gone = self.removed;
        let count = self.plan.machines - usize::from(gone.is_some());
        let is_member = |machine: &&Machine| Some(machine.host) != gone;
        let members = self.machines.iter().filter(is_member);
        if members.filter(|machine| machine.is_running()).count() < count
            || !self.restarts.is_empty()
        {
            return false;
        }
        self.machines
            .iter_mut()
            .filter(|machine| machine.is_running() && Some(machine.host) != gone)
            .all(|machine| {
                machine
                    .report()
                    .is_some_and(|report| report["state"] == "ok")
            })
    }

    /// Whether every replica of every group has a vote and all of its group's entries, by what all machines say: only then
    /// may the cluster lose another disk.
    pub(super) fn has_full_replicas(&mut self) -> bool {
        if !self.is_healthy() {
            return false;
        }
        let wanted = self.plan.replicas;
        let gone = self.removed;
        self.machines
            .iter_mut()
            .filter(|machine| machine.is_running() && Some(machine.host) != gone)
            .all(|machine| {
                let Some(report) = machine.report() else {
                    return false;
                };
                let members = report["members"].as_array().map_or(0, Vec::len);
                let mut shards = report["shards"].as_array().into_iter().flatten();
                has_full_group(&report["directory"], 1)
                    && shards.all(|shard| has_full_group(shard, wanted.min(members)))
            })
    }

    // ---- the phases ----

    fn until(&mut self, what: &str, seconds_left: u64, mut is_so: impl FnMut(&mut Run) -> bool) {
        let end = self.now + seconds_left * SECOND;
        while !is_so(self) {
            assert!(
                self.now < end,
                "{what}: not after {seconds_left}s; {}",
                self.state()
            );
            for _ in 0..20 {
                self.step(false, true);
            }
        }
    }

    fn state(&mut self) -> String {
        let machines = self.machines.iter_mut().map(|machine| {
            let report = machine.report();
            let problems = report.map(|report| report["problems"].to_string());
            let is_up = machine.is_up();
            format!("machine {} up {is_up}: {problems:?}", machine.host)
        });
        machines.collect::<Vec<_>>().join("; ")
    }

    fn form(&mut self) {
        for host in 0..self.plan.machines {
            let pause = self.chance.below(1500) * MILLISECOND;
            self.restarts.insert(host, pause);
        }
        self.until("the cluster is formed", 120, Run::is_healthy);
        trace(|| "the cluster is formed".to_owned());
        // A node delivers the messages of the shards that it leads: consumers connect to all.
        let hosts = self.machines.len();
        for subject in 0..self.plan.topics {
            for channel in 0..self.plan.channels {
                for host in 0..hosts {
                    let ready = 1 + u32::try_from(self.chance.below(20)).expect("small");
                    let chance = self.chance.split();
                    let consumer = Consumer::new(subject, channel, host, ready, chance);
                    self.consumers.push(consumer);
                }
            }
        }
        self.until("all are subscribed", 60, |run| {
            let count = run.plan.machines;
            let mut consumers = run.consumers.iter();
            let subscribed =
                consumers.all(|consumer| consumer.is_subscribed || consumer.host >= count);
            let Run {
                machines,
                subjects,
                plan,
                ..
            } = run;
            let mut names = subjects.iter().flat_map(|subject| {
                let channels = subject.channels.iter();
                channels.map(|channel| (&subject.topic, channel))
            });
            subscribed
                && names.all(|(topic, channel)| {
                    machines[..plan.machines]
                        .iter_mut()
                        .all(|machine| machine.knows(topic, channel))
                })
        });
        for at in 0..self.plan.producers {
            let subject = at % self.plan.topics;
            let chance = self.chance.split();
            let producer = Producer::new(subject, &self.plan, chance);
            self.producers.push(producer);
        }
    }

    fn live(&mut self) {
        trace(|| "clients publish".to_owned());
        let end = self.now + self.plan.seconds * SECOND;
        let mut faults = Faults::new(self.chance.split(), self.now);
        self.world.set_weather(self.plan.weather);
        while self.now < end {
            self.step(true, false);
            faults.act(self);
        }
        faults.end(self);
    }

    fn heal(&mut self) {
        trace(|| "everything heals".to_owned());
        self.world.set_weather(super::network::Weather::default());
        self.world.mend();
        for host in 0..self.machines.len() {
            self.machines[host].set_full(false);
            self.machines[host].wall_ahead = 0;
            if self.machines[host].is_stopped {
                self.machines[host].is_stopped = false;
                self.model.disturb(self.now, self.now);
            }
        }
        let is_answered =
            |run: &mut Run| run.producers.iter().all(|producer| !producer.is_waiting());
        self.until("every publish is answered", 60, is_answered);
        // A cluster that has lost the power waits for all members before it trusts what is left.
        self.until("the cluster is healthy", 600, Run::is_healthy);
    }

    fn drain(&mut self) {
        trace(|| "consumers take what is left".to_owned());
        let mut missing = usize::MAX;
        let mut end = 0;
        while missing > 0 {
            let now_missing = self.model.missing().len();
            if now_missing < missing {
                missing = now_missing;
                end = self.now + 60 * SECOND;
            }
            if self.now > end {
                break;
            }
            for _ in 0..100 {
                self.step(false, true);
            }
        }
        // What was not finished comes again, and nothing else.
        let end = self.now + 8 * SECOND;
        while self.now < end {
            self.step(false, true);
        }
        trace(|| format!("over at {}", seconds(self.now)));
    }
}

/// Whether a group in a report has so many voters at least, and all of its replicas are complete.
fn has_full_group(group: &serde_json::Value, voters: usize) -> bool {
    let replicas = group["replicas"].as_array().map_or(&[][..], Vec::as_slice);
    let is_complete = |replica: &serde_json::Value| {
        replica["is_alive"] == true && replica["is_catching_up"] == false
    };
    let votes =
        |replica: &&serde_json::Value| replica["role"] == "leader" || replica["role"] == "voter";
    let count = replicas.iter().filter(votes).count();
    !group["leader"].is_null() && count >= voters && replicas.iter().filter(votes).all(is_complete)
}

/// Writes a line of the trace, if there is one.
pub(super) fn trace(line: impl FnOnce() -> String) {
    tracing::info!("SIM: {}", line());
}

/// For how long a machine without power goes unnoticed: nothing resets its connections. A node that hands out messages of
/// another one's shard asks it twice a second, and waits two seconds for the answer.
const UNNOTICED: u64 = 2500 * MILLISECOND;
