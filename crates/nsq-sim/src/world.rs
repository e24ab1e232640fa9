//! One run: a broker, its disk and its clients, and what happens to them, drawn from a seed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nsq_core::{Now, Tick};
use nsq_protocol::{ChannelName, Limits, TopicName, encode};

use crate::client::{Client, Role};
use crate::disk::{self, ACTS, Fault};
use crate::medium::Medium;
use crate::model::{Model, Number};
use crate::random::Random;
use crate::server::{Server, settings};

const TOPICS: [&str; 4] = ["orders", "clicks", "mail", "gauge#ephemeral"];
const CHANNELS: [&str; 4] = ["archive", "bill", "count", "tail#ephemeral"];
const MAX_CLIENTS: usize = 8;
/// Rounds in which a drain must get somewhere.
const DRAIN_ROUNDS: usize = 20_000;

/// Something that happens.
type Act = fn(&mut World);

/// How a life of the broker ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Close,
    Kill,
    PowerCut,
}

/// What happens in a run, and how often: drawn anew for each seed, so that each dwells on something else.
#[expect(
    clippy::struct_excessive_bools,
    reason = "switches, each drawn on its own"
)]
#[derive(Debug)]
struct Profile {
    steps: u64,
    publish: u64,
    consume: u64,
    connect: u64,
    disconnect: u64,
    pass: u64,
    manage: u64,
    upkeep: u64,
    end: u64,
    faults: u64,
    drain: u64,
    max_body: usize,
    topics: usize,
    channels: usize,
    sync_publish: bool,
    power_cuts: bool,
    flips: bool,
    clock_jumps: bool,
}

impl Profile {
    fn draw(chance: &mut Random) -> Profile {
        Profile {
            steps: 50 + chance.below(350),
            publish: 1 + chance.below(10),
            consume: 1 + chance.below(20),
            connect: 1 + chance.below(5),
            disconnect: chance.below(3),
            pass: 1 + chance.below(6),
            manage: chance.below(4),
            upkeep: chance.below(8),
            end: chance.below(4),
            faults: if chance.chance(30) {
                1 + chance.below(3)
            } else {
                0
            },
            drain: chance.below(2),
            max_body: [300, 300, 3000, 20_000][chance.index(4)],
            topics: 1 + chance.index(TOPICS.len()),
            channels: 1 + chance.index(CHANNELS.len()),
            sync_publish: chance.chance(35),
            power_cuts: chance.chance(60),
            flips: chance.chance(15),
            clock_jumps: chance.chance(30),
        }
    }
}

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
                max_req_timeout: Duration::from_hours(1),
            },
            now: Now {
                tick: Tick::from_nanos(5_000_000_000),
                unix_nanos: 1_700_000_000_000_000_000,
            },
            server: None,
            clients: Vec::new(),
            model: Model::default(),
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
        server.poll_sessions(first, &mut self.model, now);
        if self.chance.chance(40) {
            server.run_syncer(&mut self.model);
        }
        if self.chance.chance(30) {
            server.save_registry(&mut self.model);
        }
        self.drop_closed();
    }

    /// Clients whose connection the server has closed notice it.
    fn drop_closed(&mut self) {
        let server = self.server.as_mut().expect("runs");
        let over: Vec<_> = server
            .sessions
            .iter()
            .filter(|session| session.is_over)
            .map(|session| session.id)
            .collect();
        for id in over {
            server.leave(id, &mut self.model);
            self.clients.retain(|client| client.id != id);
        }
    }

    // ---- what clients do ----

    fn topic(&mut self) -> TopicName {
        let name = TOPICS[self.chance.index(self.profile.topics)];
        TopicName::parse(name).expect("a name")
    }

    fn channel(&mut self) -> ChannelName {
        let name = CHANNELS[self.chance.index(self.profile.channels)];
        ChannelName::parse(name).expect("a name")
    }

    fn client_of(&mut self, wanted: fn(&Role) -> bool) -> Option<usize> {
        let all: Vec<_> = (0..self.clients.len())
            .filter(|&at| wanted(&self.clients[at].role))
            .collect();
        (!all.is_empty()).then(|| *self.chance.pick(&all))
    }

    fn connect(&mut self) {
        if self.clients.len() >= MAX_CLIENTS {
            return self.disconnect();
        }
        let id = self.server().connect();
        if self.chance.chance(30) {
            self.note(|| format!("{id:?} connects to publish"));
            self.clients.push(Client::publisher(id));
            return;
        }
        let (topic, channel) = (self.topic(), self.channel());
        let ready = [1, 1, 5, 100, 2500][self.chance.index(5)];
        self.note(|| format!("{id:?} subscribes to {topic}/{channel}, RDY {ready}"));
        let mut client = Client::consumer(id, &topic, &channel, ready);
        client.never_reads = self.chance.chance(4);
        self.clients.push(client);
        self.send(self.clients.len() - 1);
    }

    fn send(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let server = self.server.as_mut().expect("runs");
        if let Some(session) = server.session(client.id) {
            client.send(session, &mut self.chance);
        }
    }

    fn publish(&mut self) {
        let is_publisher = |role: &Role| matches!(role, Role::Publisher);
        let Some(at) = self.client_of(is_publisher) else {
            let id = self.server().connect();
            self.clients.push(Client::publisher(id));
            return;
        };
        let topic = self.topic();
        let count = [1, 1, 3, 10, 40][self.chance.index(5)];
        let numbers = self.next_number..self.next_number + count;
        self.next_number += count;
        let id = self.clients[at].id;
        self.note(|| format!("{id:?} publishes {numbers:?} to {topic}"));
        let client = &mut self.clients[at];
        client.publish(&topic, numbers, &mut self.chance, self.profile.max_body);
        self.send(at);
    }

    fn consume(&mut self) {
        let is_consumer = |role: &Role| matches!(role, Role::Consumer);
        let Some(at) = self.client_of(is_consumer) else {
            return;
        };
        let others = self.clients.len() > 1;
        let client = &mut self.clients[at];
        let server = self.server.as_mut().expect("runs");
        let Some(session) = server.session(client.id) else {
            return;
        };
        client.read(session);
        match self.chance.below(30) {
            0 => encode::ready(&mut client.outgoing, 0),
            1 => encode::ready(&mut client.outgoing, 3),
            2 => encode::ready(&mut client.outgoing, 200),
            3 if self.chance.chance(20) => encode::close(&mut client.outgoing),
            4 => encode::nop(&mut client.outgoing),
            5 if others => {
                // A message that somebody else holds.
                let other = self.chance.index(self.clients.len());
                let foreign = self.clients[other].held.first().copied();
                if let Some(id) = foreign.filter(|_| other != at) {
                    encode::finish(&mut self.clients[at].outgoing, &id);
                }
            }
            _ => client.answer(&mut self.chance),
        }
        self.send(at);
    }

    fn disconnect(&mut self) {
        if self.clients.is_empty() {
            return;
        }
        let at = self.chance.index(self.clients.len());
        let client = self.clients.remove(at);
        self.note(|| format!("{:?} is gone", client.id));
        let server = self.server.as_mut().expect("runs");
        server.leave(client.id, &mut self.model);
    }

    // ---- time ----

    fn pass(&mut self) {
        let millis = match self.chance.below(6) {
            0 => 1,
            1 => 100,
            2 => 1000 * (1 + self.chance.below(10)),
            3 => 61_000,
            4 => 1000 * self.chance.below(200),
            _ => 0,
        };
        if self.profile.clock_jumps && self.chance.chance(20) {
            let seconds = self.chance.below(7200).cast_signed() - 3600;
            self.now.unix_nanos += seconds * 1_000_000_000;
            self.model.clock_set(self.now);
            self.note(|| format!("the clock is set by {seconds} s"));
        }
        self.advance(Duration::from_millis(millis));
        // The timers' task may be late.
        if self.chance.chance(80) {
            let now = self.now;
            let server = self.server.as_mut().expect("runs");
            server.run_timers(&mut self.model, now);
        }
    }

    fn advance(&mut self, span: Duration) {
        self.now.tick = self.now.tick.after(span);
        self.now.unix_nanos = self.now.unix_after(span);
    }

    fn upkeep(&mut self) {
        let now = self.now;
        let server = self.server.as_mut().expect("runs");
        match self.chance.below(4) {
            0 => server.run_syncer(&mut self.model),
            1 => server.save_registry(&mut self.model),
            _ => server.maintain(now),
        }
        self.note(|| "upkeep".to_owned());
    }

    // ---- what operators do ----

    fn manage(&mut self) {
        let (topic, channel) = (self.topic(), self.channel());
        let now = self.now;
        let act = self.chance.below(12);
        let server = self.server.as_mut().expect("runs");
        let model = &mut self.model;
        let found = server.broker.topic(topic.as_str());
        let cell = found
            .as_ref()
            .and_then(|found| found.channel(channel.as_str()));
        let mut wakes = nsq_core::Wakes::default();
        let is_paused = self.chance.chance(40);
        let what = match (act, found, cell) {
            (0, _, _) => {
                if server
                    .broker
                    .get_or_create_topic(&topic, false, now)
                    .is_ok()
                {
                    model.topic_made(topic.as_str());
                }
                "create topic"
            }
            (1 | 2, Some(found), _) => {
                if found.get_or_create_channel(&channel, now).is_ok() {
                    model.channel_made(topic.as_str(), channel.as_str(), now);
                }
                "create channel"
            }
            (3, Some(_), _) if self.chance.chance(30) => {
                if server.broker.delete_topic(topic.as_str()) {
                    model.topic_deleted(topic.as_str());
                    server.save(model);
                }
                "delete topic"
            }
            (4, Some(found), Some(_)) => {
                if found.delete_channel(channel.as_str()) {
                    model.channel_deleted(topic.as_str(), channel.as_str());
                    server.broker.drop_if_unused(&found);
                    if server.broker.topic(topic.as_str()).is_none() {
                        model.topic_deleted(topic.as_str());
                    }
                    server.save(model);
                }
                "delete channel"
            }
            (5 | 6, Some(found), _) => {
                found.set_paused(is_paused, now);
                model.topic_paused(topic.as_str(), is_paused, now);
                server.save(model);
                if is_paused {
                    "pause topic"
                } else {
                    "unpause topic"
                }
            }
            (7 | 8, Some(_), Some(cell)) => {
                cell.lock().set_paused(is_paused, &mut wakes);
                server.save(model);
                if is_paused {
                    "pause channel"
                } else {
                    "unpause channel"
                }
            }
            (9, Some(found), Some(cell)) => {
                cell.lock().empty(&mut wakes);
                model.channel_emptied(topic.as_str(), channel.as_str());
                found.release();
                "empty channel"
            }
            (10, Some(found), _) => {
                if found.empty().is_ok() {
                    model.topic_emptied(topic.as_str());
                } else {
                    model.topic_partly_emptied(topic.as_str());
                }
                "empty topic"
            }
            _ => "nothing",
        };
        wakes.ring();
        self.note(|| format!("{what} {topic} {channel}"));
    }

    // ---- faults ----

    fn change_faults(&mut self) {
        self.model.had_faults = true;
        match self.chance.below(4) {
            0 => {
                let is_full = self.chance.chance(60);
                self.note(|| format!("disk full: {is_full}"));
                disk::with(|disk| disk.is_full = is_full);
            }
            1 => {
                disk::with(|disk| disk.fault = None);
            }
            _ => {
                let act = *self.chance.pick(&ACTS);
                let errno = match act {
                    disk::Act::Open | disk::Act::Create if self.chance.chance(50) => libc::EMFILE,
                    _ => libc::EIO,
                };
                let fault = Fault {
                    act,
                    after: self.chance.below(4),
                    errno,
                };
                self.note(|| format!("to fail: {fault:?}"));
                disk::with(|disk| disk.fault = Some(fault));
            }
        }
    }

    fn end_faults() {
        disk::with(|disk| {
            disk.is_full = false;
            disk.fault = None;
        });
    }

    // ---- lives ----

    fn open(&mut self) {
        loop {
            self.outcome.lives += 1;
            let (first, max) = self.segments;
            let settings = settings(&self.folder, first, max, self.sync_every);
            if self.chance.chance(10) && self.profile.end > 0 {
                let within = self.chance.below(30);
                disk::with(|disk| disk.plan_kill(within));
            }
            if self.profile.faults > 0 && self.chance.chance(10) {
                self.change_faults();
            }
            let limits = self.limits.clone();
            let was_forgotten = disk::with(|disk| disk.medium.has_forgotten_records());
            let opened = Server::open(settings, limits, self.profile.sync_publish, self.now);
            disk::with(disk::Disk::observe);
            let killed = disk::with(disk::Disk::take_killed).flatten();
            if let Some(medium) = killed {
                self.note(|| "killed while starting".to_owned());
                disk::with(disk::Disk::end_process);
                drop(opened);
                self.lay_out(Some(medium));
                continue;
            }
            let server = match opened {
                Ok(server) => server,
                Err(error) => {
                    assert!(self.model.had_faults, "the broker does not start: {error}");
                    self.note(|| format!("does not start: {error}"));
                    Self::end_faults();
                    disk::with(disk::Disk::end_process);
                    self.lay_out(None);
                    continue;
                }
            };
            let found = server.found();
            let had_failed_sync = disk::with(|disk| disk.failed_sync_count > 0);
            self.model.had_failed_sync = had_failed_sync == Some(true);
            self.model.has_forgotten_records = was_forgotten == Some(true);
            let had_faults = disk::with(|disk| disk.is_full || disk.fault.is_some());
            self.model.reopened(&found, self.now);
            self.model.had_faults = had_faults == Some(true);
            self.server = Some(server);
            let names: Vec<_> = found
                .iter()
                .map(|topic| format!("{}:{:?}", topic.name, topic.channels))
                .collect();
            self.note(|| format!("open, with {names:?}"));
            return;
        }
    }

    /// Puts the medium's files in place for the next life.
    fn lay_out(&mut self, medium: Option<Medium>) {
        let folder = self.folder.clone();
        disk::with(|disk| {
            disk.is_recording = false;
            if let Some(medium) = medium {
                disk.medium = medium;
            }
            disk.medium.forget_nameless();
            for entry in std::fs::read_dir(&folder).expect("the test's folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    std::fs::remove_dir_all(path).expect("a folder of the test");
                } else {
                    std::fs::remove_file(path).expect("a file of the test");
                }
            }
            disk.medium.write_out(&folder);
            disk.is_recording = true;
        });
    }

    fn end(&mut self, end: End) {
        self.note(|| format!("{end:?}"));
        self.clients.clear();
        let server = self.server.take().expect("runs");
        match end {
            End::Close => {
                server.close(&mut self.model, self.now);
                self.compare();
                disk::with(disk::Disk::end_process);
            }
            End::Kill => {
                self.compare();
                disk::with(disk::Disk::end_process);
                self.model.killed();
                drop(server);
            }
            End::PowerCut => {
                self.outcome.power_cuts += 1;
                disk::with(|disk| {
                    disk.end_process();
                    disk.medium.cut_power(&mut self.chance);
                });
                self.model.power_cut();
                drop(server);
            }
        }
        self.flip_bits();
        self.lay_out(None);
        self.pass_between_lives();
        Self::end_faults();
        self.open();
    }

    fn end_within(&mut self, before: &Model, mut medium: Medium) {
        self.clients.clear();
        let is_power_cut = self.profile.power_cuts && self.chance.chance(40);
        self.note(|| format!("killed within; power cut: {is_power_cut}"));
        disk::with(disk::Disk::end_process);
        self.server = None;
        self.model.killed_within(before);
        if is_power_cut {
            self.outcome.power_cuts += 1;
            medium.cut_power(&mut self.chance);
            self.model.power_cut();
        }
        disk::with(|disk| disk.medium = medium);
        self.flip_bits();
        self.lay_out(None);
        self.pass_between_lives();
        Self::end_faults();
        self.open();
    }

    fn pass_between_lives(&mut self) {
        let seconds = [0, 0, 1, 100, 4000][self.chance.index(5)];
        self.now.unix_nanos += seconds * 1_000_000_000;
        if self.profile.clock_jumps && self.chance.chance(30) {
            self.now.unix_nanos -= 1_000_000_000 * self.chance.below(3600).cast_signed();
        }
        // Each process has a monotonic clock of its own.
        self.now.tick = Tick::from_nanos(5_000_000_000 + self.chance.below(1 << 40));
    }

    fn flip_bits(&mut self) {
        if !self.profile.flips || self.chance.chance(50) {
            return;
        }
        let chance = &mut self.chance;
        let flipped = disk::with(|disk| {
            let files = disk
                .medium
                .file_names(|name| matches!(name.rsplit('.').next(), Some("log" | "marks")));
            if files.is_empty() {
                return None;
            }
            let name = chance.pick(&files).clone();
            let Some(crate::medium::Node::File(inode)) = disk.medium.node(&name) else {
                return None;
            };
            let bytes = disk.medium.bytes(inode);
            // Where something is written, rather than in the empty rest.
            let end = bytes.iter().rposition(|&byte| byte != 0)?;
            let byte = chance.index(end + 1);
            let bit = u8::try_from(chance.below(8)).expect("a bit of a byte");
            disk.medium.flip(&name, byte, bit);
            Some((name, byte, bit))
        });
        if let Some((name, byte, bit)) = flipped.flatten() {
            self.note(|| format!("bit {bit} of byte {byte} of {name} flips"));
            self.outcome.flips += 1;
            self.model.had_flip();
        }
    }

    /// Whether the disk has seen everything.
    fn compare(&self) {
        let outcome = disk::with(|disk| {
            disk.observe();
            disk.medium.compare(&self.folder)
        });
        if let Some(Err(difference)) = outcome {
            panic!("a file operation went by unseen: {difference}");
        }
    }

    /// Lets good clients have everything there is, and checks that all that had to come has come.
    fn drain(&mut self) {
        self.note(|| "drain".to_owned());
        Self::end_faults();
        let now = self.now;
        let server = self.server.as_mut().expect("runs");
        for client in std::mem::take(&mut self.clients) {
            server.leave(client.id, &mut self.model);
        }
        while let Some(id) = server.sessions.first().map(|session| session.id) {
            server.leave(id, &mut self.model);
        }
        let mut wakes = nsq_core::Wakes::default();
        let mut consumers = Vec::new();
        for topic in server.broker.topics() {
            topic.set_paused(false, now);
            self.model.topic_paused(topic.name().as_str(), false, now);
            let mut channels: Vec<_> = topic
                .channels()
                .iter()
                .map(|cell| cell.name().clone())
                .collect();
            if channels.is_empty() && self.model.waits(topic.name().as_str()) {
                channels.push(ChannelName::parse("drain").expect("a name"));
            }
            for cell in topic.channels() {
                cell.lock().set_paused(false, &mut wakes);
            }
            for name in channels {
                let id = server.connect();
                consumers.push(Client::consumer(id, topic.name(), &name, 2500));
            }
        }
        wakes.ring();
        server.save(&mut self.model);
        let mut is_empty = false;
        for _ in 0..DRAIN_ROUNDS {
            let server = self.server.as_mut().expect("runs");
            let mut progress = 0;
            for consumer in &mut consumers {
                let session = server.session(consumer.id).expect("nobody closes it");
                consumer.read(session);
                progress += consumer.finish_all() + consumer.outgoing.len();
                session.inbox.append(&mut consumer.outgoing);
            }
            server.poll_sessions(0, &mut self.model, self.now);
            server.run_syncer(&mut self.model);
            if progress > 0 {
                continue;
            }
            let left = server.broker.topics().into_iter().any(|topic| {
                topic.channels().iter().any(|cell| {
                    let channel = cell.lock();
                    channel.depth() + (channel.in_flight_count() + channel.deferred_count()) as u64
                        > 0
                })
            });
            if !left {
                is_empty = true;
                break;
            }
            let Some(next) = server.next_look() else {
                break;
            };
            let wait = next.since(self.now.tick).max(Duration::from_millis(1));
            self.advance(wait);
            let now = self.now;
            let server = self.server.as_mut().expect("runs");
            server.run_timers(&mut self.model, now);
        }
        let server = self.server.as_mut().expect("runs");
        if !is_empty {
            server.check(&self.model);
            let stats: Vec<_> = server
                .broker
                .topics()
                .iter()
                .map(|topic| topic.stats())
                .collect();
            panic!("messages do not come although clients wait for them: {stats:#?}");
        }
        self.model.drained();
        server.check(&self.model);
        for consumer in consumers {
            server.leave(consumer.id, &mut self.model);
        }
        server.maintain(self.now);
        server.run_syncer(&mut self.model);
        self.model.flips = 0;
    }
}
