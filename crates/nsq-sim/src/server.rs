//! nsqd without sockets, threads and a clock: a broker, its connections, and what nsqd runs beside them, each done
//! when the world says so.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use nsq_core::broker::{Change, OpenError, Surroundings};
use nsq_core::{Broker, ChannelCell, ClientId, Now, Settings, Tick, Topic, Wakes};
use nsq_protocol::Limits;

use crate::disk;
use crate::model::{FoundTopic, Model, is_ephemeral};
use crate::session::{Around, Session};

struct Look {
    at: Tick,
    /// Which was planned first.
    order: u64,
    channel: Weak<ChannelCell>,
}

impl PartialEq for Look {
    fn eq(&self, other: &Look) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Look {}

impl PartialOrd for Look {
    fn partial_cmp(&self, other: &Look) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Look {
    fn cmp(&self, other: &Look) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

#[derive(Default)]
struct Notes {
    planned: Mutex<BinaryHeap<Reverse<Look>>>,
    order: AtomicU64,
    registry_changed: AtomicBool,
}

impl Notes {
    fn plan(&self, channel: &Arc<ChannelCell>, at: Tick) {
        let order = self.order.fetch_add(1, Ordering::Relaxed);
        let channel = Arc::downgrade(channel);
        let look = Look { at, order, channel };
        self.planned.lock().expect("one thread").push(Reverse(look));
    }
}

impl Surroundings for Notes {
    fn arm(&self, channel: &Arc<ChannelCell>, at: Tick) {
        self.plan(channel, at);
    }

    fn registry_changed(&self, _: Change) {
        self.registry_changed.store(true, Ordering::Relaxed);
    }
}

pub(crate) struct Server {
    pub(crate) broker: Arc<Broker>,
    notes: Arc<Notes>,
    pub(crate) sessions: Vec<Session>,
    next_client: u32,
    limits: Limits,
    sync_publish: bool,
    /// Topics whose sync was asked for, and whether that of their channels too.
    pub(crate) wanted: Vec<(Arc<Topic>, bool)>,
}

impl Server {
    pub(crate) fn open(
        settings: Settings,
        limits: Limits,
        sync_publish: bool,
        now: Now,
    ) -> Result<Server, OpenError> {
        let notes = Arc::new(Notes::default());
        let surroundings = Arc::clone(&notes) as Arc<dyn Surroundings>;
        let broker = Arc::new(Broker::open(settings, surroundings, now)?);
        Ok(Server {
            broker,
            notes,
            sessions: Vec::new(),
            next_client: 1,
            limits,
            sync_publish,
            wanted: Vec::new(),
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

    pub(crate) fn connect(&mut self) -> ClientId {
        let id = ClientId(self.next_client);
        self.next_client += 1;
        self.sessions.push(Session::new(id));
        id
    }

    pub(crate) fn session(&mut self, id: ClientId) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|session| session.id == id)
    }

    /// Lets every connection do what it has to do, once, beginning with any of them.
    pub(crate) fn poll_sessions(&mut self, first: usize, model: &mut Model, now: Now) {
        let count = self.sessions.len();
        for at in 0..count {
            let session = &mut self.sessions[(first + at) % count];
            let mut around = Around {
                broker: &self.broker,
                model,
                now,
                sync_publish: self.sync_publish,
                limits: &self.limits,
                wanted: &mut self.wanted,
            };
            session.poll(&mut around);
        }
    }

    /// The connection is gone.
    pub(crate) fn leave(&mut self, id: ClientId, model: &mut Model) {
        let Some(at) = self.sessions.iter().position(|session| session.id == id) else {
            return;
        };
        let session = self.sessions.remove(at);
        if let Some((topic, cell)) = session.subscription {
            let mut wakes = Wakes::default();
            let left = cell.lock().unsubscribe(id, &mut wakes);
            wakes.ring();
            self.broker.client_left(&topic, &cell, left);
            let (topic_name, name) = (topic.name().as_str(), cell.name().as_str());
            let current = self.broker.topic(topic_name);
            if is_ephemeral(name)
                && current
                    .as_ref()
                    .is_none_or(|topic| topic.channel(name).is_none())
            {
                if model.topics.contains_key(topic_name) {
                    model.channel_deleted(topic_name, name);
                }
                if current.is_none() {
                    model.topic_deleted(topic_name);
                }
            }
        }
    }

    // ---- what runs beside the connections ----

    /// When the next channel is to be looked at.
    pub(crate) fn next_look(&self) -> Option<Tick> {
        let planned = self.notes.planned.lock().expect("one thread");
        planned.peek().map(|Reverse(look)| look.at)
    }

    /// Looks at every channel for which that is due.
    pub(crate) fn run_timers(&mut self, model: &mut Model, now: Now) {
        loop {
            let channel = {
                let mut planned = self.notes.planned.lock().expect("one thread");
                if planned
                    .peek()
                    .is_none_or(|Reverse(look)| look.at > now.tick)
                {
                    return;
                }
                let look = planned.pop().expect("just looked at").0;
                look.channel.upgrade().filter(|cell| cell.disarm(look.at))
            };
            let Some(cell) = channel else { continue };
            let mut wakes = Wakes::default();
            let (next, is_current) = {
                let mut channel = cell.lock();
                let next = channel.handle_timeout(now, &mut wakes);
                (next, !channel.is_exiting())
            };
            wakes.ring();
            if is_current {
                model.expired(cell.topic().as_str(), cell.name().as_str(), now);
            }
            if let Some(next) = next
                && cell.arm(next)
            {
                self.notes.plan(&cell, next);
            }
        }
    }

    /// Writes `nsqd.dat` if something changed.
    pub(crate) fn save_registry(&mut self, model: &mut Model) {
        if self.notes.registry_changed.swap(false, Ordering::Relaxed) {
            self.save(model);
        }
    }

    pub(crate) fn save(&mut self, model: &mut Model) {
        if self.broker.save_metadata().is_ok() {
            model.registry_saved();
        }
    }

    /// Syncs every topic that somebody asked for.
    pub(crate) fn run_syncer(&mut self, model: &mut Model) {
        for (topic, is_full) in std::mem::take(&mut self.wanted) {
            self.sync(&topic, is_full, model);
        }
        while let Some(topic) = self
            .sessions
            .iter()
            .find_map(|session| session.unsynced.first().cloned())
        {
            self.sync(&topic, false, model);
        }
    }

    /// Syncs a topic: all of it, or what was published, for those who wait to hear that.
    fn sync(&mut self, topic: &Arc<Topic>, is_full: bool, model: &mut Model) {
        let before = disk::with(|disk| disk.failed_count);
        let outcome = if is_full {
            topic.sync()
        } else {
            topic.sync_published()
        };
        self.broker.note_sync(outcome.as_ref().err());
        let is_current = self
            .broker
            .topic(topic.name().as_str())
            .is_some_and(|current| Arc::ptr_eq(&current, topic));
        if outcome.is_ok() && is_current {
            let marks_too = is_full && disk::with(|disk| disk.failed_count) == before;
            model.synced(topic.name().as_str(), marks_too);
        }
        for session in &mut self.sessions {
            session.sync_done(topic, outcome.is_ok());
        }
    }

    /// What nsqd does every `--sync-timeout`.
    pub(crate) fn maintain(&mut self, now: Now) {
        for topic in self.broker.topics() {
            if topic.maintain(now) {
                self.wanted.push((topic, true));
            }
        }
    }

    // ---- ends ----

    /// SIGTERM, in nsqd's order.
    pub(crate) fn close(mut self, model: &mut Model, now: Now) {
        for id in self
            .sessions
            .iter()
            .map(|session| session.id)
            .collect::<Vec<_>>()
        {
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

/// What a seed does not change of a broker's settings.
pub(crate) fn settings(data_path: &Path, first: u32, max: u32, sync_every: u64) -> Settings {
    Settings {
        data_path: data_path.to_path_buf(),
        node_id: 1,
        mem_queue_size: 10_000,
        max_msg_timeout: crate::model::MAX_MSG_TIMEOUT,
        max_msg_size: 1 << 20,
        sync_every,
        log_options: nsq_queue::LogOptions {
            first_segment_bytes: first,
            max_segment_bytes: max,
        },
        percentiles: None,
    }
}
