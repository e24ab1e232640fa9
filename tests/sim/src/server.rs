//! nsqd around the server that it ships: a broker, its connections, and the tasks next to them, each done when the world
//! says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nsq_core::broker::{Change, Host, OpenError};
use nsq_core::{Broker, ChannelCell, ClientId, Now, Settings, Tick};
use nsq_protocol::Limits;
use nsq_server::TimerQueue;
use nsq_server::syncs::{Ended, Extent, Round, SyncWorker, Turn};

use crate::connection::Connection;
use crate::disk;
use crate::model::{FoundTopic, Model, is_ephemeral};
use crate::settings::server_settings;

#[derive(Default)]
struct Hooks {
    timers: TimerQueue,
    registry_changed: AtomicBool,
}

impl Host for Hooks {
    fn arm(&self, channel: &Arc<ChannelCell>, at: Tick) {
        self.timers.plan(channel, at);
    }

    fn registry_changed(&self, _: Change) {
        self.registry_changed.store(true, Ordering::Relaxed);
    }
}

/// Nothing waits here for a note: the world looks by itself.
struct Unneeded;

impl nsq_server::Host for Unneeded {
    fn sync_begins(&self) {}

    fn sync_gathered(&self) {}

    fn client_was_silent(&self, _: &str, _: &str) {}
}

pub(crate) struct Server {
    pub(crate) broker: Arc<Broker>,
    hooks: Arc<Hooks>,
    shared: Arc<nsq_server::Server>,
    pub(crate) connections: Vec<Connection>,
    next_client: u32,
    sync_workers: Vec<SyncWorker>,
}

impl Server {
    pub(crate) fn open(settings: Settings, limits: Limits, now: Now) -> Result<Server, OpenError> {
        let hooks = Arc::new(Hooks::default());
        let host = Arc::clone(&hooks) as Arc<dyn Host>;
        let broker = Arc::new(Broker::open(settings, host, now)?);
        let settings = server_settings(limits);
        let server = nsq_server::Server::new(settings, Arc::clone(&broker), Arc::new(Unneeded));
        Ok(Server {
            broker,
            hooks,
            shared: Arc::new(server),
            connections: Vec::new(),
            next_client: 1,
            sync_workers: Vec::new(),
        })
    }

    pub(crate) fn found(&self) -> Vec<FoundTopic> {
        let topics = self.broker.topics().into_iter().map(|topic| FoundTopic {
            name: topic.name().to_string(),
            is_paused: topic.is_paused(),
            channels: topic
                .channels()
                .iter()
                .map(|cell| cell.name().to_string())
                .collect(),
        });
        topics.collect()
    }

    // ---- connections ----

    pub(crate) fn connect(&mut self, now: Now) -> ClientId {
        let id = ClientId(self.next_client);
        self.next_client += 1;
        self.connections
            .push(Connection::new(&self.shared, id, now));
        id
    }

    pub(crate) fn connection(&mut self, id: ClientId) -> Option<&mut Connection> {
        self.connections
            .iter_mut()
            .find(|connection| connection.id == id)
    }

    /// Lets every connection do what it has to do, once, beginning with any of them.
    pub(crate) fn poll_connections(&mut self, first: usize, model: &mut Model, now: Now) {
        let count = self.connections.len();
        for at in 0..count {
            self.connections[(first + at) % count].poll(&self.broker, model, now);
        }
    }

    /// The connection is gone.
    pub(crate) fn leave(&mut self, id: ClientId, model: &mut Model) {
        let mut connections = self.connections.iter();
        let Some(at) = connections.position(|connection| connection.id == id) else {
            return;
        };
        let mut connection = self.connections.remove(at);
        connection.leave();
        let Some((topic_name, name)) = &connection.subscription else {
            return;
        };
        let current = self.broker.topic(topic_name);
        let is_there = |topic: &Arc<nsq_core::Topic>| topic.channel(name).is_some();
        if is_ephemeral(name) && !current.as_ref().is_some_and(is_there) {
            if model.topics.contains_key(topic_name) {
                model.channel_deleted(topic_name, name);
            }
            if current.is_none() {
                model.topic_deleted(topic_name);
            }
        }
    }

    // ---- the tasks next to the connections ----

    /// When the next channel is to be looked at.
    pub(crate) fn next_look(&self) -> Option<Tick> {
        self.hooks.timers.next_at()
    }

    /// Looks at every channel for which that is due.
    pub(crate) fn run_timers(&mut self, model: &mut Model, now: Now) {
        self.hooks.timers.run_due(now, |cell| {
            if !cell.lock().is_exiting() {
                model.expired(cell.topic().as_str(), cell.name().as_str(), now);
            }
        });
    }

    /// Writes `nsqd.dat` if something changed.
    pub(crate) fn save_registry(&mut self, model: &mut Model) {
        if self.hooks.registry_changed.swap(false, Ordering::Relaxed) {
            self.save(model);
        }
    }

    pub(crate) fn save(&mut self, model: &mut Model) {
        if self.broker.save_metadata().is_ok() {
            model.registry_saved();
        }
    }

    /// Makes the syncs that are due, each of which takes `took`. Returns when a worker has to be asked again, if one waits.
    pub(crate) fn run_syncs(
        &mut self,
        model: &mut Model,
        took: Duration,
        now: Now,
    ) -> Option<Tick> {
        let mut next = None;
        let mut waiting = Vec::new();
        loop {
            self.sync_workers.extend(self.shared.syncs().begin());
            let Some(mut worker) = self.sync_workers.pop() else {
                break;
            };
            // The lock is given up before the sync.
            let turn = worker.turn(&mut self.shared.syncs().lock(), now.tick);
            match turn {
                Turn::Sync(round) => {
                    self.sync(&mut worker, &round, took, model, now);
                    self.sync_workers.push(worker);
                }
                Turn::WaitUntil(until) => {
                    next = Some(next.map_or(until, |next: Tick| next.min(until)));
                    waiting.push(worker);
                }
                Turn::Dismissed => {}
            }
        }
        self.sync_workers = waiting;
        next
    }

    fn sync(
        &mut self,
        worker: &mut SyncWorker,
        round: &Round,
        took: Duration,
        model: &mut Model,
        now: Now,
    ) {
        let before = disk::with(|disk| disk.failed_count);
        let outcome = round.run(now);
        let topic = round.topic();
        let current = self.broker.topic(topic.name().as_str());
        if current.is_some_and(|current| Arc::ptr_eq(&current, topic)) {
            let is_full = round.extent() == Extent::All;
            let finished_too = is_full && disk::with(|disk| disk.failed_count) == before;
            match outcome {
                Ok(()) => model.synced(topic.name().as_str(), finished_too, now),
                Err(_) => model.sync_failed(topic.name().as_str(), now),
            }
        }
        let took = u64::try_from(took.as_nanos()).expect("a moment");
        let ended = Ended {
            began: Tick::from_nanos(now.tick.nanos() - took),
            ended: now.tick,
            outcome: outcome.map_err(Some),
        };
        let syncs = self.shared.syncs();
        syncs.end(worker, round, ended, &self.broker);
    }

    /// What nsqd does every `--sync-timeout`.
    pub(crate) fn maintain(&mut self, model: &mut Model, now: Now) {
        model.maintenance_count += 1;
        for topic in self.broker.used_topics() {
            if topic.maintain(now) {
                self.shared.syncs().ask(&topic, Extent::All);
            }
        }
    }

    // ---- ends ----

    /// SIGTERM, in nsqd's order.
    pub(crate) fn close(mut self, model: &mut Model, now: Now) {
        self.shared.exit();
        let ids = self.connections.iter().map(|connection| connection.id);
        for id in ids.collect::<Vec<_>>() {
            self.leave(id, model);
        }
        self.save(model);
        self.broker.close(now);
        model.closed(now);
    }

    /// Checks the broker's figures against the model.
    pub(crate) fn check(&self, model: &Model) {
        for topic in self.broker.topics() {
            let stats = topic.stats();
            let name = topic.name().as_str();
            assert_eq!(
                stats.message_count,
                model.published_in_life(name),
                "messages of {name}"
            );
            for channel in &stats.channels {
                let Some(figures) = model.figures(name, channel.name.as_str()) else {
                    panic!("{name}/{} is nothing the model knows", channel.name);
                };
                let at = format!("{name}/{}", channel.name);
                let total = channel.depth + channel.in_flight_count + channel.deferred_count;
                if let Some(expected) = figures.total {
                    assert_eq!(
                        total, expected,
                        "messages out and queued on {at}, which should be {:?}",
                        figures.open
                    );
                }
                assert!(
                    total + model.flips >= figures.least || model.had_faults,
                    "{at} has {total} messages and must have {}",
                    figures.least
                );
                assert_eq!(
                    channel.in_flight_count, figures.in_flight,
                    "in flight on {at}"
                );
                assert_eq!(
                    channel.requeue_count, figures.requeue_count,
                    "requeues on {at}"
                );
                assert_eq!(
                    channel.timeout_count, figures.timeout_count,
                    "timeouts on {at}"
                );
            }
        }
    }
}
