//! What the tests of this crate share: a server on a folder of its own, and sessions that are driven by hand.

mod node;

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use nsq_core::broker::{Change, Host as BrokerHost};
use nsq_core::{Broker, ChannelCell, ClientId, Now, SafeOnce, Settings as BrokerSettings, Tick};
use nsq_protocol::identify::{IdentifyLimits, ServerFeatures};
use nsq_protocol::{Frame, Limits, RawMessageId, TopicName, decode_frame, encode};
use nsq_queue::LogOptions;

pub(crate) use node::{TestCluster, TestNode};

use crate::syncs::{Ended, Turn};
use crate::{Client, Host, Next, Observer, Server, Session, Settings, TimerQueue, Topology};

pub(crate) fn at(millis: u64) -> Now {
    Now {
        tick: Tick::from_nanos((1_000_000 + millis) * 1_000_000),
        unix_nanos: 1_700_000_000_000_000_000 + i64::try_from(millis).unwrap() * 1_000_000,
    }
}

/// Notes what it is told.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) timers: TimerQueue,
    pub(crate) silent: Mutex<Vec<String>>,
}

impl BrokerHost for Notes {
    fn arm(&self, channel: &Arc<ChannelCell>, at: Tick) {
        self.timers.plan(channel, at);
    }

    fn registry_changed(&self, _: Change) {}
}

impl Host for Notes {
    fn sync_begins(&self) {}

    fn sync_gathered(&self) {}

    fn client_was_silent(&self, remote_address: &str, _: &str) {
        self.silent.lock().unwrap().push(remote_address.to_owned());
    }
}

/// A server on a folder of its own.
pub(crate) struct TestServer {
    pub(crate) server: Arc<Server>,
    pub(crate) notes: Arc<Notes>,
    pub(crate) folder: tempfile::TempDir,
}

impl TestServer {
    pub(crate) fn new() -> TestServer {
        TestServer::with(SafeOnce::Appended, |_| {})
    }

    /// One that answers publishes when they are synced.
    pub(crate) fn syncing() -> TestServer {
        TestServer::with(SafeOnce::Synced, |_| {})
    }

    pub(crate) fn with(safe_once: SafeOnce, change: impl FnOnce(&mut Settings)) -> TestServer {
        let folder = tempfile::tempdir().unwrap();
        let notes = Arc::new(Notes::default());
        let broker = open_broker(folder.path(), safe_once, &notes);
        let mut settings = settings();
        change(&mut settings);
        let host = Arc::clone(&notes) as Arc<dyn Host>;
        let server = Server::new(settings, Arc::new(broker), host);
        TestServer {
            server: Arc::new(server),
            notes,
            folder,
        }
    }

    pub(crate) fn connect(&self, id: u32) -> TestSession {
        self.connect_observed(id, ())
    }

    pub(crate) fn connect_observed<O: Observer>(&self, id: u32, observer: O) -> TestSession<O> {
        TestSession::open(&self.server, None, id, observer)
    }

    /// A consumer of channel `c` of topic `t`, with this ready count; what it is given first has been read.
    pub(crate) fn consumer(&self, id: u32, ready: u32) -> TestSession {
        let mut consumer = self.connect(id);
        consumer.subscribe("c", ready);
        consumer
    }

    pub(crate) fn channel(&self) -> Arc<ChannelCell> {
        let topic = self.server.broker().topic("t").unwrap();
        topic.channel("c").unwrap()
    }

    /// Makes the syncs that are wanted, each of which fails if `fails`.
    pub(crate) fn run_syncs(&self, now: Now, fails: bool) {
        let syncs = self.server.syncs();
        while let Some(mut worker) = syncs.begin() {
            loop {
                let turn = worker.turn(&mut syncs.lock(), now.tick);
                let round = match turn {
                    Turn::Sync(round) => round,
                    // The next is on its way; for a test that is as good as none.
                    Turn::WaitUntil(until) => {
                        let turn = worker.turn(&mut syncs.lock(), until);
                        assert!(matches!(turn, Turn::Dismissed));
                        break;
                    }
                    Turn::Dismissed => break,
                };
                let outcome = if fails {
                    Err(None)
                } else {
                    round.run(now).map_err(Some)
                };
                let ended = Ended {
                    began: now.tick,
                    ended: now.tick,
                    outcome,
                };
                syncs.end(&mut worker, &round, ended, self.server.broker());
            }
        }
    }
}

pub(crate) fn open_broker(
    folder: &std::path::Path,
    safe_once: SafeOnce,
    notes: &Arc<Notes>,
) -> Broker {
    open_broker_at(folder, 1, safe_once, notes, at(0))
}

fn open_broker_at(
    folder: &std::path::Path,
    node_id: u16,
    safe_once: SafeOnce,
    notes: &Arc<Notes>,
    now: Now,
) -> Broker {
    let settings = BrokerSettings {
        data_path: folder.to_path_buf(),
        node_id,
        mem_queue_size: 10_000,
        max_msg_timeout: Duration::from_mins(15),
        max_req_timeout: Duration::from_hours(1),
        max_msg_size: 1 << 20,
        safe_once,
        sync_every: 2500,
        max_free_segment_bytes: 256 << 20,
        log_options: LogOptions::default(),
        percentiles: None,
        is_replicated: false,
    };
    Broker::open(settings, Arc::clone(notes) as Arc<dyn BrokerHost>, now).unwrap()
}

fn settings() -> Settings {
    Settings {
        limits: Limits {
            max_msg_size: 1 << 20,
            max_body_size: 5 << 20,
            max_rdy_count: 2500,
            max_req_timeout: Duration::from_hours(1),
        },
        identify_limits: IdentifyLimits {
            max_heartbeat_interval: Duration::from_mins(1),
            min_output_buffer_timeout: Duration::from_millis(25),
            max_output_buffer_timeout: Duration::from_secs(30),
            max_output_buffer_size: 64 << 10,
            max_msg_timeout: Duration::from_mins(15),
            default_output_buffer_timeout: Duration::from_millis(250),
            default_msg_timeout: Duration::from_mins(1),
        },
        features: ServerFeatures {
            version: "1.3.0".to_owned(),
            tls_available: false,
            deflate: true,
            snappy: true,
            max_deflate_level: 6,
            auth_required: false,
            topology_region: String::new(),
            topology_zone: String::new(),
        },
        tls_required: false,
        max_channel_consumers: 0,
        first_command_timeout: Duration::from_mins(1),
        topology: Topology::default(),
    }
}

/// A session whose topics are made as soon as it asks.
pub(crate) struct TestSession<O = ()> {
    pub(crate) session: Session<O>,
    server: Arc<Server>,
    /// Where topics are made, for a node of a cluster.
    cluster: Option<Arc<TestCluster>>,
}

impl<O: Observer> TestSession<O> {
    fn open(
        server: &Arc<Server>,
        cluster: Option<Arc<TestCluster>>,
        id: u32,
        observer: O,
    ) -> TestSession<O> {
        let client = Client::new(ClientId(id), format!("client {id}"), String::new(), at(0));
        let session = Session::observed(Arc::clone(server), Arc::new(client), at(0), observer);
        let mut session = TestSession {
            session,
            server: Arc::clone(server),
            cluster,
        };
        let mut magic = Vec::new();
        encode::magic_v2(&mut magic);
        assert_eq!(session.send(&magic, at(0)), Next::Wait);
        session
    }

    /// Subscribes to this channel of topic `t`, and reads the answer.
    pub(crate) fn subscribe(&mut self, channel: &str, ready: u32) {
        let commands = format!("SUB t {channel}\nRDY {ready}\n");
        assert_eq!(self.send(commands.as_bytes(), at(0)), Next::Wait);
        assert_eq!(self.read(), ["OK"]);
    }

    pub(crate) fn send(&mut self, bytes: &[u8], now: Now) -> Next {
        let next = self.session.handle_input(bytes, now);
        self.carry_out(next, now)
    }

    /// Deals with an ended sync, if there was one.
    pub(crate) fn settle(&mut self, now: Now) -> Next {
        if !self.session.was_settled() {
            return Next::Wait;
        }
        let next = self.session.handle_settled(now);
        self.carry_out(next, now)
    }

    pub(crate) fn carry_out(&mut self, mut next: Next, now: Now) -> Next {
        while let Next::CreateTopic { topic, channel } = next {
            let made = match &self.cluster {
                Some(cluster) if !topic.is_ephemeral() => {
                    cluster.make(&self.server, &topic, channel.as_ref(), now);
                    Ok(())
                }
                _ => {
                    let broker = self.server.broker();
                    broker.get_or_create_topic(&topic, false, now).map(drop)
                }
            };
            next = self.session.handle_topic(made, now);
        }
        next
    }

    /// Takes the messages there are, in one turn.
    pub(crate) fn deliver(&mut self, now: Now) {
        self.session.handle_wake();
        if self.session.wants_delivery() {
            self.session.deliver(now);
        }
    }

    /// What the client reads: answers and errors as they are, messages as their bodies with `message ` in front.
    pub(crate) fn read(&mut self) -> Vec<String> {
        let frames = self.frames();
        frames.into_iter().map(|(text, _)| text).collect()
    }

    /// As [`read`](Self::read), with the messages' ids.
    pub(crate) fn frames(&mut self) -> Vec<(String, Option<RawMessageId>)> {
        let outbox = self.session.outbox();
        let bytes = outbox.unsent().to_vec();
        outbox.handle_sent(bytes.len());
        outbox.handle_flushed();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut frames = Vec::new();
        let mut at = 0;
        while let Some((frame, used)) = decode_frame(&bytes[at..], 1 << 24).unwrap() {
            at += used;
            frames.push(match frame {
                Frame::Response(body) | Frame::Error(body) => (text(body), None),
                Frame::Message(message) => {
                    (format!("message {}", text(message.body)), Some(message.id))
                }
            });
        }
        assert_eq!(at, bytes.len());
        frames
    }
}

pub(crate) fn topic_name() -> TopicName {
    TopicName::parse("t").unwrap()
}

/// A PUB to topic `t`.
pub(crate) fn publish(body: &str) -> Vec<u8> {
    let mut out = Vec::new();
    encode::publish(&mut out, &topic_name(), body.as_bytes());
    out
}

/// Commands to the messages of these ids, one a line.
pub(crate) fn commands<'a>(
    name: &str,
    ids: impl IntoIterator<Item = &'a RawMessageId>,
    rest: &str,
) -> Vec<u8> {
    let lines = ids
        .into_iter()
        .map(|id| format!("{name} {}{rest}\n", String::from_utf8_lossy(id)));
    lines.collect::<String>().into_bytes()
}
