//! One run: a broker, its disk and its clients, and what happens to them, drawn from a seed.

use std::path::{Path, PathBuf};

use nsq_core::{Now, Tick};
use nsq_protocol::Limits;

use crate::client::Client;
use crate::disk;
use crate::model::{MAX_REQ_TIMEOUT, Model, Number};
use crate::random::Random;
use crate::server::Server;

mod clients;
mod drain;
mod faults;
mod lives;
mod operators;
mod profile;

use lives::End;
use profile::Profile;

const TOPICS: [&str; 4] = ["orders", "clicks", "mail", "gauge#ephemeral"];
const CHANNELS: [&str; 4] = ["archive", "bill", "count", "tail#ephemeral"];
const MAX_CLIENTS: usize = 8;

/// Something that happens.
type Act = fn(&mut World);

pub(crate) struct World {
    chance: Random,
    profile: Profile,
    folder: PathBuf,
    limits: Limits,
    segments: (u32, u32),
    sync_every: u64,
    now: Now,
    server: Option<Server>,
    clients: Vec<Client>,
    pub(crate) model: Model,
    next_number: Number,
    /// What was done, for the one who looks into a failure.
    pub(crate) trace: Vec<String>,
    is_traced: bool,
    pub(crate) outcome: Outcome,
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) steps: u64,
    pub(crate) lives: u64,
    pub(crate) power_cuts: u64,
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    pub(crate) repeated: u64,
    pub(crate) failed_operations: u64,
    pub(crate) flips: u64,
    /// Of all that was done, in order.
    pub(crate) digest: u64,
}

impl World {
    /// Makes the world of a seed, with its files in the empty folder `folder`.
    pub(crate) fn new(seed: u64, folder: &Path, is_traced: bool) -> World {
        let mut chance = Random::new(seed);
        let profile = Profile::draw(&mut chance);
        let answers_when_synced = profile.sync_publish;
        disk::insert(folder.to_path_buf(), chance.split());
        if is_traced {
            disk::with(|disk| disk.trace = Some(Vec::new()));
        }
        let segments = [
            (4096, 4096),
            (4096, 16 << 10),
            (16 << 10, 64 << 10),
            (64 << 10, 64 << 10),
        ];
        World {
            segments: *chance.pick(&segments),
            sync_every: 1 + chance.below(200),
            profile,
            folder: folder.to_path_buf(),
            limits: Limits {
                max_msg_size: 1 << 20,
                max_body_size: 5 << 20,
                max_rdy_count: 2500,
                max_req_timeout: MAX_REQ_TIMEOUT,
            },
            now: Now {
                tick: Tick::from_nanos(5_000_000_000),
                unix_nanos: 1_700_000_000_000_000_000,
            },
            server: None,
            clients: Vec::new(),
            model: Model::of(answers_when_synced),
            next_number: 1,
            trace: Vec::new(),
            is_traced,
            outcome: Outcome::default(),
            chance,
        }
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if self.is_traced {
            self.collect_trace();
            let line = format!("[{}] {}", self.now.tick.nanos() / 1_000_000, what());
            self.trace.push(line);
        }
    }

    /// Takes over what the disk noted.
    pub(crate) fn collect_trace(&mut self) {
        let noted = disk::with(|disk| disk.trace.as_mut().map(std::mem::take));
        let noted = noted.flatten().unwrap_or_default();
        let lines = noted.into_iter().map(|line| format!("    {line}"));
        self.trace.extend(lines);
    }

    fn server(&mut self) -> &mut Server {
        self.server.as_mut().expect("a broker that runs")
    }

    // ---- the run ----

    pub(crate) fn run(&mut self) {
        let profile = format!("{:?} {:?}", self.profile, self.segments);
        self.note(|| profile);
        self.open();
        for _ in 0..self.profile.steps {
            self.outcome.steps += 1;
            self.step();
            if self.chance.chance(20) {
                self.server.as_ref().expect("runs").check(&self.model);
            }
        }
        self.drain();
        // What was drained does not come again.
        let end = if self.chance.chance(50) {
            End::Kill
        } else {
            End::Close
        };
        self.end(end);
        self.drain();
        self.end_of_run();
    }

    fn end_of_run(&mut self) {
        self.outcome.published = self.model.published_count;
        self.outcome.delivered = self.model.delivered_count;
        self.outcome.repeated = self.model.repeated_count;
        let chance = &mut self.chance;
        let last = chance.next();
        self.outcome.digest ^= last;
        disk::with(|disk| {
            disk.end_process();
            self.outcome.failed_operations = disk.failed_count;
            self.outcome.digest ^= disk.operation_count;
        });
        self.server = None;
    }

    fn step(&mut self) {
        let before = (self.chance.chance(8) && self.profile.end > 0).then(|| {
            let within = self.chance.below(12);
            disk::with(|disk| disk.plan_kill(within));
            self.model.clone()
        });
        let acts: [(u64, Act); 9] = [
            (self.profile.publish, World::publish),
            (self.profile.consume, World::consume),
            (self.profile.connect, World::connect),
            (self.profile.disconnect, World::disconnect),
            (self.profile.pass, World::pass),
            (self.profile.manage, World::manage),
            (self.profile.upkeep, World::upkeep),
            (self.profile.faults, World::change_faults),
            (1, World::poll),
        ];
        let total: u64 = acts.iter().map(|(weight, _)| weight).sum();
        let mut ticket = self.chance.below(total);
        for (weight, act) in acts {
            if ticket < weight {
                act(self);
                break;
            }
            ticket -= weight;
        }
        self.poll();
        disk::with(disk::Disk::observe);
        if let Some(before) = before {
            let killed = disk::with(disk::Disk::take_killed).flatten();
            if let Some(medium) = killed {
                self.end_within(&before, medium);
            }
        } else if self.chance.below(200) < self.profile.end {
            let end = match self.chance.below(3) {
                0 => End::Close,
                1 => End::Kill,
                _ if self.profile.power_cuts => End::PowerCut,
                _ => End::Kill,
            };
            self.end(end);
        } else if self.chance.below(400) < self.profile.drain {
            self.drain();
        }
    }

    /// Every connection does what it has to do, and what waits for a sync gets it sooner or later.
    fn poll(&mut self) {
        let first = self.chance.index(MAX_CLIENTS);
        let now = self.now;
        let server = self.server.as_mut().expect("runs");
        server.poll_connections(first, &mut self.model, now);
        if self.chance.chance(40) {
            self.run_syncs();
        }
        if self.chance.chance(30) {
            let server = self.server.as_mut().expect("runs");
            server.save_registry(&mut self.model);
        }
        self.drop_closed();
    }

    /// Clients whose connection the server has closed notice it.
    fn drop_closed(&mut self) {
        let server = self.server.as_mut().expect("runs");
        let over: Vec<_> = server
            .connections
            .iter()
            .filter(|connection| connection.is_over)
            .map(|connection| connection.id)
            .collect();
        for id in over {
            server.leave(id, &mut self.model);
            self.clients.retain(|client| client.id != id);
        }
    }
}
