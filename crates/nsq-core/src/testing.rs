//! What this crate's tests stand on: a broker in a folder of its own, a clock moved by hand, clients that note when
//! they are woken.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nsq_protocol::{ChannelName, MessageId, TopicName};
use nsq_queue::LogOptions;

use crate::broker::{Broker, Change, Settings, Surroundings};
use crate::channel::{Budget, Channel, Locality, Subscription, Taken};
use crate::client::{ClientHandle, ClientId, Wakes};
use crate::error::NotInFlight;
use crate::time::{Now, Tick};
use crate::topic::{ChannelCell, Topic};

pub(crate) const ALICE: ClientId = ClientId(1);
pub(crate) const BOB: ClientId = ClientId(2);
pub(crate) const CAROL: ClientId = ClientId(3);

pub(crate) const MSG_TIMEOUT: Duration = Duration::from_mins(1);
pub(crate) const MAX_MSG_TIMEOUT: Duration = Duration::from_secs(150);
pub(crate) const NANOSECOND: Duration = Duration::from_nanos(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// When every house opens.
pub(crate) const MORNING: Now = Now {
    tick: Tick::from_nanos(5_000_000_000),
    unix_nanos: 1_700_000_000_000_000_000,
};
/// More than any test asks for at once.
pub(crate) const PLENTY: Budget = Budget {
    messages: 1 << 20,
    bytes: 1 << 30,
};

/// Small segments, so that little data spans many.
pub(crate) const SMALL_SEGMENTS: LogOptions = LogOptions {
    first_segment_bytes: 4096,
    max_segment_bytes: 4096,
};

/// The clients that were woken and have not come yet, in order; and those that were closed.
#[derive(Default)]
pub(crate) struct Bells {
    pub(crate) woken: Mutex<VecDeque<ClientId>>,
    pub(crate) closed: Mutex<Vec<ClientId>>,
}

impl Bells {
    pub(crate) fn next(&self) -> Option<ClientId> {
        self.woken.lock().unwrap().pop_front()
    }

    pub(crate) fn take_all(&self) -> Vec<ClientId> {
        self.woken.lock().unwrap().drain(..).collect()
    }
}

struct Handle {
    client: ClientId,
    bells: Arc<Bells>,
}

impl ClientHandle for Handle {
    fn wake(&self) {
        self.bells.woken.lock().unwrap().push_back(self.client);
    }

    fn close(&self) {
        self.bells.closed.lock().unwrap().push(self.client);
    }
}

/// What the core asked of its surroundings.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) armed: Mutex<Vec<Tick>>,
    pub(crate) changes: Mutex<Vec<Change>>,
}

impl Surroundings for Notes {
    fn arm(&self, _: &Arc<ChannelCell>, at: Tick) {
        self.armed.lock().unwrap().push(at);
    }

    fn registry_changed(&self, change: Change) {
        self.changes.lock().unwrap().push(change);
    }
}

/// A delivered message, with its body copied out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) id: MessageId,
    pub(crate) attempts: u16,
    pub(crate) body: String,
}

/// A broker that can be closed, killed and opened again.
pub(crate) struct House {
    pub(crate) now: Now,
    pub(crate) settings: Settings,
    pub(crate) bells: Arc<Bells>,
    pub(crate) notes: Arc<Notes>,
    broker: Option<Broker>,
    folders: Vec<tempfile::TempDir>,
}

impl House {
    pub(crate) fn new() -> House {
        House::with(|_| ())
    }

    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> House {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings_in(folder.path());
        change(&mut settings);
        let mut house = House {
            now: MORNING,
            settings,
            bells: Arc::default(),
            notes: Arc::default(),
            broker: None,
            folders: vec![folder],
        };
        house.open();
        house
    }

    pub(crate) fn open(&mut self) {
        let notes = Arc::clone(&self.notes) as Arc<dyn Surroundings>;
        self.broker = Some(Broker::open(self.settings.clone(), notes, self.now).unwrap());
    }

    pub(crate) fn broker(&self) -> &Broker {
        self.broker.as_ref().unwrap()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.settings.data_path
    }

    pub(crate) fn topic_folder(&self, topic: &str) -> PathBuf {
        self.path().join("topics").join(format!("{topic}.topic"))
    }

    /// Closes as nsqd does when told to stop, and starts again.
    pub(crate) fn restart(&mut self) {
        self.broker().save_metadata().unwrap();
        self.broker().close(self.now);
        self.broker = None;
        self.pass(SECOND);
        self.open();
    }

    /// What a killed nsqd leaves is what is in its files at that moment; the old one lives on, unseen.
    pub(crate) fn kill(&mut self) {
        let folder = tempfile::tempdir().unwrap();
        copy_folder(self.path(), folder.path());
        self.settings.data_path = folder.path().to_owned();
        self.folders.push(folder);
        self.broker = None;
        self.pass(SECOND);
        self.open();
    }

    pub(crate) fn pass(&mut self, span: Duration) {
        self.now = Now {
            tick: self.now.tick.after(span),
            unix_nanos: self.now.unix_after(span),
        };
    }

    pub(crate) fn topic(&self, name: &str) -> Arc<Topic> {
        let name = TopicName::try_from(name).unwrap();
        let made = self.broker().get_or_create_topic(&name, false, self.now);
        made.unwrap().0
    }

    pub(crate) fn channel(&self, topic: &str, name: &str) -> Arc<ChannelCell> {
        let name = ChannelName::try_from(name).unwrap();
        let topic = self.topic(topic);
        topic.get_or_create_channel(&name, self.now).unwrap()
    }

    pub(crate) fn publish(&self, topic: &str, bodies: &[&str]) {
        let bodies = bodies.iter().map(|body| body.as_bytes());
        self.topic(topic).publish(bodies, self.now).unwrap();
    }

    /// Publishes `prefix0`, `prefix1`, ...
    pub(crate) fn publish_numbered(&self, topic: &str, prefix: &str, count: usize) {
        let bodies: Vec<String> = (0..count).map(|at| format!("{prefix}{at}")).collect();
        let bodies = bodies.iter().map(String::as_bytes);
        self.topic(topic).publish(bodies, self.now).unwrap();
    }

    pub(crate) fn publish_deferred(&self, topic: &str, body: &str, delay: Duration) {
        let due = self.now.unix_after(delay);
        let topic = self.topic(topic);
        topic
            .publish_deferred(body.as_bytes(), due, self.now)
            .unwrap();
    }

    pub(crate) fn subscription(&self, client: ClientId) -> Subscription {
        Subscription {
            client,
            handle: Arc::new(Handle {
                client,
                bells: Arc::clone(&self.bells),
            }),
            msg_timeout: MSG_TIMEOUT,
            sample_rate: 0,
            locality: Locality::default(),
        }
    }

    pub(crate) fn subscribe(&self, cell: &ChannelCell, client: ClientId, ready_count: u32) {
        self.subscribe_from(cell, client, ready_count, Locality::default());
    }

    pub(crate) fn subscribe_from(
        &self,
        cell: &ChannelCell,
        client: ClientId,
        ready_count: u32,
        locality: Locality,
    ) {
        let subscription = Subscription {
            locality,
            ..self.subscription(client)
        };
        let mut channel = cell.lock();
        channel.subscribe(subscription, 0).unwrap();
        channel.set_ready_count(client, ready_count);
    }

    pub(crate) fn unsubscribe(&self, cell: &ChannelCell, client: ClientId) -> usize {
        self.ring(|wakes| cell.lock().unsubscribe(client, wakes))
    }

    /// Runs `act` and rings whom it wants woken.
    #[expect(clippy::unused_self, reason = "reads as what the house does")]
    pub(crate) fn ring<T>(&self, act: impl FnOnce(&mut Wakes) -> T) -> T {
        let mut wakes = Wakes::default();
        let result = act(&mut wakes);
        wakes.ring();
        result
    }

    pub(crate) fn take_within(
        &self,
        cell: &ChannelCell,
        client: ClientId,
        budget: Budget,
    ) -> (Vec<Got>, Taken) {
        let mut got = Vec::new();
        let taken = self.ring(|wakes| {
            cell.lock()
                .take(client, budget, self.now, wakes, |message| {
                    got.push(Got {
                        id: message.id,
                        attempts: message.attempts,
                        body: String::from_utf8(message.body.to_vec()).unwrap(),
                    });
                })
        });
        assert_eq!(taken.count, got.len());
        (got, taken)
    }

    pub(crate) fn take(&self, cell: &ChannelCell, client: ClientId) -> Vec<Got> {
        self.take_within(cell, client, PLENTY).0
    }

    /// The bodies of what `client` now gets.
    pub(crate) fn bodies(&self, cell: &ChannelCell, client: ClientId) -> Vec<String> {
        let got = self.take(cell, client).into_iter();
        got.map(|message| message.body).collect()
    }

    pub(crate) fn take_one(&self, cell: &ChannelCell, client: ClientId) -> Got {
        let budget = Budget {
            messages: 1,
            ..PLENTY
        };
        let (mut got, _) = self.take_within(cell, client, budget);
        got.pop().expect("a message is ready")
    }

    pub(crate) fn requeue(
        &self,
        cell: &ChannelCell,
        client: ClientId,
        id: MessageId,
        delay: Duration,
    ) -> Result<(), NotInFlight> {
        self.ring(|wakes| {
            let mut channel = cell.lock();
            let outcome = channel.requeue(client, id, delay, self.now, wakes);
            channel.settle();
            outcome
        })
    }

    pub(crate) fn handle_timeout(&self, cell: &ChannelCell) -> Option<Tick> {
        self.ring(|wakes| cell.lock().handle_timeout(self.now, wakes))
    }
}

pub(crate) fn settings_in(folder: &Path) -> Settings {
    Settings {
        data_path: folder.to_owned(),
        node_id: 1,
        mem_queue_size: 10_000,
        max_msg_timeout: MAX_MSG_TIMEOUT,
        max_msg_size: 1 << 20,
        sync_every: 2500,
        log_options: SMALL_SEGMENTS,
        percentiles: None,
    }
}

/// `depth`, `in_flight_count`, `deferred_count`.
pub(crate) fn counts(channel: &Channel) -> (u64, usize, usize) {
    (
        channel.depth(),
        channel.in_flight_count(),
        channel.deferred_count(),
    )
}

pub(crate) fn finish_all(cell: &ChannelCell, client: ClientId, got: &[Got]) {
    let mut channel = cell.lock();
    for message in got {
        channel.finish(client, message.id, MORNING).unwrap();
    }
    channel.settle();
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// Bytes of all files below `folder`.
pub(crate) fn bytes_in(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                bytes_in(&entry.path())
            } else {
                entry.metadata().map_or(0, |metadata| metadata.len())
            }
        })
        .sum()
}
