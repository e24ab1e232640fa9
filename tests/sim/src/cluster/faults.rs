//! What fails in a run, and when.

use std::collections::BTreeSet;

use super::clients::{MILLISECOND, SECOND};
use super::machine::Death;
use super::network::Weather;
use super::run::{Run, trace};
use crate::disk::{ACTS, Act, Fault};
use crate::random::Random;

/// What a run is to be like.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) machines: usize,
    /// Machines that may join.
    pub(super) spares: usize,
    pub(super) replicas: usize,
    pub(super) replace_after: u64,
    pub(super) topics: usize,
    pub(super) channels: usize,
    pub(super) producers: usize,
    /// Milliseconds between two publishes of a producer, about.
    pub(super) pace: u64,
    /// Bytes of the largest message, about.
    pub(super) largest: usize,
    pub(super) seconds: u64,
    pub(super) turn_millis: u64,
    /// `--sync-publish`
    pub(super) syncs: bool,
    /// The disks know what is synced.
    pub(super) is_tracked: bool,
    pub(super) weather: Weather,
    kinds: BTreeSet<Kind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// One process is killed and started again.
    Kill,
    /// Several processes are down at a time.
    Kills,
    /// A process is killed in the middle of a change of a file.
    KillInOperation,
    /// A process ends cleanly and is started again.
    Restart,
    /// A process is stopped for a while, as by SIGSTOP.
    Stop,
    /// A machine is cut off, or a link in one direction.
    Cut,
    /// A machine is replaced by one with an empty disk.
    Wipe,
    /// A machine loses its power.
    PowerCut,
    /// All machines lose their power at the same time.
    PowerCutOfAll,
    /// A disk is full for a while.
    FullDisk,
    /// A file operation fails.
    FailingDisk,
    /// A wall clock jumps.
    ClockJump,
    /// A machine joins.
    Join,
    /// A machine is removed.
    Remove,
}

const KINDS: [Kind; 14] = [
    Kind::Kill,
    Kind::Kills,
    Kind::KillInOperation,
    Kind::Restart,
    Kind::Stop,
    Kind::Cut,
    Kind::Wipe,
    Kind::PowerCut,
    Kind::PowerCutOfAll,
    Kind::FullDisk,
    Kind::FailingDisk,
    Kind::ClockJump,
    Kind::Join,
    Kind::Remove,
];

impl Plan {
    pub(super) fn draw(chance: &mut Random) -> Plan {
        let mut kinds: BTreeSet<_> = (0..=chance.below(4))
            .map(|_| *chance.pick(&KINDS))
            .collect();
        let machines = if chance.chance(80) { 3 } else { 5 };
        let spares = usize::from(kinds.contains(&Kind::Join));
        if kinds.contains(&Kind::Remove) && spares == 0 && machines == 3 {
            kinds.remove(&Kind::Remove);
            kinds.insert(Kind::Kill);
        }
        let needs_disk = [
            Kind::KillInOperation,
            Kind::PowerCut,
            Kind::PowerCutOfAll,
            Kind::FullDisk,
            Kind::FailingDisk,
        ];
        let is_rough = chance.chance(40);
        let weather = if is_rough {
            Weather {
                lost: *chance.pick(&[0, 5, 20]),
                doubled: *chance.pick(&[0, 10]),
                late: *chance.pick(&[0, 10, 50]),
                stalls: *chance.pick(&[0, 5, 30]),
            }
        } else {
            Weather::default()
        };
        Plan {
            machines,
            spares,
            replicas: if machines == 5 && chance.chance(30) {
                5
            } else {
                3
            },
            replace_after: *chance.pick(&[300, 300, 5]),
            topics: 1 + chance.index(2),
            channels: 1 + chance.index(2),
            producers: 1 + chance.index(4),
            pace: *chance.pick(&[20, 50, 100]),
            largest: *chance.pick(&[20, 200, 200, 4000]),
            seconds: 10 + chance.below(15),
            turn_millis: *chance.pick(&[2, 2, 4]),
            syncs: chance.chance(35),
            is_tracked: needs_disk.iter().any(|kind| kinds.contains(kind)),
            weather,
            kinds,
        }
    }

    pub(super) fn has_clock_jumps(&self) -> bool {
        self.kinds.contains(&Kind::ClockJump)
    }

    /// Whether nothing delays what a leader writes down of what was finished.
    pub(super) fn is_calm(&self) -> bool {
        let quiet = [
            Kind::Kill,
            Kind::KillInOperation,
            Kind::Restart,
            Kind::ClockJump,
            Kind::Join,
        ];
        let Weather {
            lost,
            doubled,
            late,
            stalls,
        } = self.weather;
        self.kinds.iter().all(|kind| quiet.contains(kind)) && lost + doubled + late + stalls == 0
    }
}

/// Draws faults during a run.
pub(super) struct Faults {
    chance: Random,
    next_at: u64,
    /// What ends, and when.
    endings: Vec<(u64, Ending)>,
    /// No disk may be lost before that: the cluster has to replace the last one first.
    is_fragile: bool,
    look_at: u64,
    has_cut_all: bool,
    has_removed: bool,
}

#[derive(Clone, Copy)]
enum Ending {
    Stop(usize),
    Cuts,
    FullDisk(usize),
}

impl Faults {
    pub(super) fn new(chance: Random, now: u64) -> Faults {
        Faults {
            chance,
            next_at: now + SECOND,
            endings: Vec::new(),
            is_fragile: false,
            look_at: 0,
            has_cut_all: false,
            has_removed: false,
        }
    }

    /// Does what is due.
    pub(super) fn act(&mut self, run: &mut Run) {
        let now = run.now;
        let (due, later) = std::mem::take(&mut self.endings)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.endings = later;
        let due: Vec<(u64, Ending)> = due;
        for (_, ending) in due {
            end(run, ending);
        }
        if self.is_fragile && now >= self.look_at {
            self.look_at = now + 500 * MILLISECOND;
            self.is_fragile = !run.has_full_replicas();
        }
        if now < self.next_at {
            return;
        }
        self.next_at = now + (300 + self.chance.below(4000)) * MILLISECOND;
        let kinds: Vec<_> = run.plan.kinds.iter().copied().collect();
        let kind = *self.chance.pick(&kinds);
        let host = self.chance.index(run.machines.len());
        self.begin(run, kind, host);
    }

    /// Everything that has begun ends.
    pub(super) fn end(&mut self, run: &mut Run) {
        for (_, ending) in std::mem::take(&mut self.endings) {
            end(run, ending);
        }
    }

    fn begin(&mut self, run: &mut Run, kind: Kind, host: usize) {
        let now = run.now;
        let is_up = run.machines[host].is_up() && !run.machines[host].is_leaving();
        let down = run
            .machines
            .iter()
            .filter(|machine| !machine.is_running() && machine.life > 0)
            .count();
        match kind {
            Kind::Kill if is_up && down == 0 => self.kill(run, host, Death::Kill),
            Kind::Kills if is_up => self.kill(run, host, Death::Kill),
            Kind::KillInOperation if is_up && down == 0 => {
                let operation = self.chance.below(60);
                run.machines[host].plan_kill(operation);
                trace(|| format!("machine {host} dies {operation} changes later"));
            }
            Kind::Restart if is_up && down == 0 => {
                trace(|| format!("machine {host} is told to end"));
                run.machines[host].leave();
            }
            Kind::Stop if run.machines[host].is_running() => {
                let millis = 100 + self.chance.below(4000);
                trace(|| format!("machine {host} stops for {millis}ms"));
                run.figures.stops += 1;
                run.machines[host].is_stopped = true;
                run.model.disturb(now, now + millis * MILLISECOND);
                self.ends_after(run, millis, Ending::Stop(host));
            }
            Kind::Cut if !run.world.is_cut() => self.cut(run, host),
            Kind::Wipe if is_up && self.may_lose_a_disk(run) => self.kill(run, host, Death::Wipe),
            Kind::PowerCut if is_up && self.may_lose_a_disk(run) => {
                self.kill(run, host, Death::PowerCut);
            }
            Kind::PowerCutOfAll if !self.has_cut_all && self.may_lose_a_disk(run) => {
                self.cut_power_of_all(run);
            }
            Kind::FullDisk if is_up => {
                let millis = 500 + self.chance.below(6000);
                trace(|| format!("machine {host}: the disk is full for {millis}ms"));
                run.machines[host].set_full(true);
                run.model.disturb(now, now + millis * MILLISECOND);
                self.ends_after(run, millis, Ending::FullDisk(host));
            }
            Kind::FailingDisk if is_up => {
                // A file that cannot be opened or removed is no matter of a disk that is full or worn out.
                let act = *self.chance.pick(&ACTS[2..5]);
                let after = self.chance.below(40);
                trace(|| format!("machine {host}: {act:?} fails, {after} later"));
                let errno = if act == Act::Allocate {
                    libc::ENOSPC
                } else {
                    libc::EIO
                };
                run.machines[host].fail_next(Fault { act, after, errno });
            }
            Kind::ClockJump => {
                let ahead = i64::try_from(self.chance.below(7_200_000)).expect("small") - 3_600_000;
                trace(|| format!("machine {host}: the clock is {ahead}ms ahead"));
                run.machines[host].wall_ahead = ahead * 1_000_000;
            }
            Kind::Join if run.plan.spares > 0 => {
                let new = run.plan.machines;
                if run.machines[new].life == 0 {
                    trace(|| format!("machine {new} joins"));
                    run.boot(new);
                }
            }
            Kind::Remove if down == 0 && !self.has_removed => self.remove(run),
            _ => {}
        }
    }

    fn ends_after(&mut self, run: &Run, millis: u64, ending: Ending) {
        self.endings.push((run.now + millis * MILLISECOND, ending));
    }

    fn kill(&mut self, run: &mut Run, host: usize, death: Death) {
        match death {
            Death::Kill => run.figures.kills += 1,
            Death::PowerCut => run.figures.power_cuts += 1,
            Death::Wipe => run.figures.wipes += 1,
        }
        if death != Death::Kill {
            self.is_fragile = true;
            self.look_at = run.now + 5 * SECOND;
        }
        run.kill(host, death);
        let pause = 50 + self.chance.below(6000);
        run.restarts.insert(host, run.now + pause * MILLISECOND);
    }

    fn may_lose_a_disk(&mut self, run: &mut Run) -> bool {
        !self.is_fragile && run.has_full_replicas()
    }

    fn cut_power_of_all(&mut self, run: &mut Run) {
        self.has_cut_all = true;
        let now = run.now;
        if !run.plan.syncs {
            run.model.may_lose(now.saturating_sub(UNSYNCED), now);
        }
        for host in 0..run.machines.len() {
            run.model.disturb(now.saturating_sub(UNSYNCED), now);
            if run.machines[host].is_up() {
                self.kill(run, host, Death::PowerCut);
            }
        }
    }

    fn cut(&mut self, run: &mut Run, host: usize) {
        let others: Vec<_> = (0..run.machines.len())
            .filter(|other| *other != host)
            .collect();
        let millis = 200 + self.chance.below(6000);
        // What is finished meanwhile may not reach the others.
        let to = run.now + millis * MILLISECOND;
        run.model.disturb(run.now, to);
        match self.chance.below(4) {
            0 => {
                let other = *self.chance.pick(&others);
                trace(|| format!("machine {host} does not reach {other} for {millis}ms"));
                run.world.cut(host, other);
            }
            1 => {
                trace(|| format!("nothing of machine {host} arrives for {millis}ms"));
                for other in others {
                    run.world.cut(host, other);
                }
            }
            2 => {
                trace(|| format!("nothing arrives at machine {host} for {millis}ms"));
                for other in others {
                    run.world.cut(other, host);
                }
            }
            _ => {
                trace(|| format!("machine {host} is cut off for {millis}ms"));
                for other in others {
                    run.world.cut(host, other);
                    run.world.cut(other, host);
                }
            }
        }
        self.ends_after(run, millis, Ending::Cuts);
    }

    /// A machine asks for the removal of the one before it. Enough are left for all replicas: a cluster with fewer is never
    /// healthy again.
    fn remove(&mut self, run: &mut Run) {
        let running = run.machines.iter().filter(|machine| machine.is_running());
        if running.count() <= run.plan.replicas.max(3) || !self.may_lose_a_disk(run) {
            return;
        }
        self.has_removed = true;
        run.figures.removed += 1;
        let gone = self.chance.index(run.plan.machines);
        run.removed = Some(gone);
        let asked = (gone + 1) % run.plan.machines;
        trace(|| format!("machine {gone} is removed, on machine {asked}"));
        run.machines[asked].remove_member(&format!("machine{gone}:4152"));
    }
}

fn end(run: &mut Run, ending: Ending) {
    match ending {
        Ending::Stop(host) => {
            trace(|| format!("machine {host} goes on"));
            run.machines[host].is_stopped = false;
        }
        Ending::Cuts => {
            trace(|| "the links work again".to_owned());
            run.world.mend();
        }
        Ending::FullDisk(host) => {
            trace(|| format!("machine {host}: the disk has room"));
            run.machines[host].set_full(false);
        }
    }
}

/// How much of what was acknowledged by default a power cut may take: the interval of syncs, and the time that one takes.
const UNSYNCED: u64 = 4 * SECOND;
