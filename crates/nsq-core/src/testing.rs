//! What this crate's tests stand on: a broker in a folder of its own, a clock moved by hand, clients that note when
//! they are woken.

pub(crate) mod committed;
mod mirror;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nsq_protocol::{ChannelName, MessageId, TopicName};
use nsq_queue::LogOptions;

use crate::broker::{Broker, Change, Host, Settings};
use crate::change::ChangeSink;
use crate::channel::{Budget, Channel, Locality, Subscription, Taken};
use crate::client::{ClientHandle, ClientId};
use crate::error::NotInFlight;
use crate::metadata;
use crate::time::{Now, Tick};
use crate::topic::{ChannelCell, SafeOnce, Topic};

pub(crate) use committed::{Pair, channel_name, topic_name};
pub(crate) use mirror::{Mirror, OwnedChange, contents_of};

pub(crate) const ALICE: ClientId = ClientId(1);
pub(crate) const BOB: ClientId = ClientId(2);
pub(crate) const CAROL: ClientId = ClientId(3);

pub(crate) const MSG_TIMEOUT: Duration = Duration::from_mins(1);
pub(crate) const MAX_MSG_TIMEOUT: Duration = Duration::from_secs(150);
pub(crate) const MAX_REQ_TIMEOUT: Duration = Duration::from_hours(1);
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

/// What the core asked of its host.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) armed: Mutex<Vec<Tick>>,
    pub(crate) changes: Mutex<Vec<Change>>,
}

impl Host for Notes {
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
pub(crate) struct TestBroker {
    pub(crate) now: Now,
    pub(crate) settings: Settings,
    pub(crate) bells: Arc<Bells>,
    pub(crate) notes: Arc<Notes>,
    broker: Option<Broker>,
    /// Follows the broker's data path, if changes are recorded.
    mirror: Option<Arc<Mirror>>,
    folders: Vec<tempfile::TempDir>,
}

impl TestBroker {
    pub(crate) fn new() -> TestBroker {
        TestBroker::with(|_| ())
    }

    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> TestBroker {
        TestBroker::build(change, false)
    }

    /// As [`TestBroker::with`], with a replica that follows the data path. At every end of the broker the two are
    /// compared.
    pub(crate) fn mirrored(change: impl FnOnce(&mut Settings)) -> TestBroker {
        TestBroker::build(change, true)
    }

    fn build(change: impl FnOnce(&mut Settings), is_mirrored: bool) -> TestBroker {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings_in(folder.path());
        change(&mut settings);
        let log_options = settings.log_options;
        let mut house = TestBroker {
            now: MORNING,
            settings,
            bells: Arc::default(),
            notes: Arc::default(),
            broker: None,
            mirror: is_mirrored.then(|| Arc::new(Mirror::new(log_options))),
            folders: vec![folder],
        };
        house.open();
        house
    }

    pub(crate) fn open(&mut self) {
        let notes = Arc::clone(&self.notes) as Arc<dyn Host>;
        let settings = self.settings.clone();
        let opened = match &self.mirror {
            None => Broker::open(settings, notes, self.now),
            Some(mirror) => {
                let sink = Arc::clone(mirror) as Arc<dyn ChangeSink>;
                Broker::open_recorded(settings, notes, sink, self.now)
            }
        };
        self.broker = Some(opened.unwrap());
    }

    pub(crate) fn mirror(&self) -> &Mirror {
        self.mirror.as_ref().expect("the house is mirrored")
    }

    /// Fails unless a start would find the same in the data path and in its replica.
    pub(crate) fn check_mirror(&self) {
        let Some(mirror) = &self.mirror else { return };
        let copy = tempfile::tempdir().unwrap();
        copy_folder(self.path(), copy.path());
        // nsqd writes it soon after each change of it.
        metadata::save(copy.path(), &self.broker().metadata()).unwrap();
        assert_eq!(mirror.contents(), contents_of(copy.path()));
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
        self.check_mirror();
        self.broker().save_metadata().unwrap();
        self.broker().close(self.now);
        self.check_mirror();
        self.broker = None;
        self.pass(SECOND);
        self.open();
    }

    /// What a killed nsqd leaves is what is in its files at that moment; the old one lives on, unseen.
    pub(crate) fn kill(&mut self) {
        self.check_mirror();
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

    pub(crate) fn subscribe(&self, cell: &Arc<ChannelCell>, client: ClientId, ready_count: u32) {
        self.subscribe_from(cell, client, ready_count, Locality::default());
    }

    pub(crate) fn subscribe_from(
        &self,
        cell: &Arc<ChannelCell>,
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

    /// When timers were to run that were asked for so far.
    pub(crate) fn planned(&self) -> Vec<Tick> {
        self.notes.armed.lock().unwrap().clone()
    }

    pub(crate) fn take_within(
        &self,
        cell: &Arc<ChannelCell>,
        client: ClientId,
        budget: Budget,
    ) -> (Vec<Got>, Taken) {
        let mut got = Vec::new();
        let taken = cell.lock().take(client, budget, self.now, |message| {
            got.push(Got {
                id: message.id,
                attempts: message.attempts,
                body: String::from_utf8(message.body.to_vec()).unwrap(),
            });
        });
        assert_eq!(taken.count, got.len());
        (got, taken)
    }

    pub(crate) fn take(&self, cell: &Arc<ChannelCell>, client: ClientId) -> Vec<Got> {
        self.take_within(cell, client, PLENTY).0
    }

    /// The bodies of what `client` now gets.
    pub(crate) fn bodies(&self, cell: &Arc<ChannelCell>, client: ClientId) -> Vec<String> {
        let got = self.take(cell, client).into_iter();
        got.map(|message| message.body).collect()
    }

    pub(crate) fn take_one(&self, cell: &Arc<ChannelCell>, client: ClientId) -> Got {
        let budget = Budget {
            messages: 1,
            ..PLENTY
        };
        let (mut got, _) = self.take_within(cell, client, budget);
        got.pop().expect("a message is ready")
    }

    pub(crate) fn requeue(
        &self,
        cell: &Arc<ChannelCell>,
        client: ClientId,
        id: MessageId,
        delay: Duration,
    ) -> Result<(), NotInFlight> {
        cell.lock().requeue(client, id, delay, self.now)
    }

    /// Returns when the next message falls due.
    pub(crate) fn handle_timeout(&self, cell: &Arc<ChannelCell>) -> Option<Tick> {
        cell.lock().handle_timeout(self.now);
        cell.lock().next_timeout()
    }
}

pub(crate) fn settings_in(folder: &Path) -> Settings {
    Settings {
        data_path: folder.to_owned(),
        node_id: 1,
        mem_queue_size: 10_000,
        max_msg_timeout: MAX_MSG_TIMEOUT,
        max_req_timeout: MAX_REQ_TIMEOUT,
        max_msg_size: 1 << 20,
        safe_once: SafeOnce::default(),
        sync_every: 2500,
        max_free_segment_bytes: 256 << 20,
        log_options: SMALL_SEGMENTS,
        percentiles: None,
        is_replicated: false,
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

pub(crate) fn finish_all(cell: &Arc<ChannelCell>, client: ClientId, got: &[Got]) {
    let mut channel = cell.lock();
    for message in got {
        channel.finish(client, message.id, MORNING).unwrap();
    }
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
