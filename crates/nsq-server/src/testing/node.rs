//! A node of a cluster: a server that leads any number of shards, with a cluster around it that does what the test says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use nsq_core::{Broker, ChannelCell, Now, Pending, SafeOnce, TicketWaiter};
use nsq_protocol::{ChannelName, TopicName};

use super::{Notes, TestSession, at, open_broker, settings};
use crate::fetch::Fetcher;
use crate::{Host, Observer, RouteError, Router, Server, Settings};

/// What was published through the router.
#[derive(Clone)]
pub(crate) struct RoutedPublish {
    pub(crate) bodies: Vec<String>,
    pub(crate) due: Option<i64>,
    /// For the test to settle.
    pub(crate) pending: Arc<Pending>,
}

/// The cluster: it knows which topics and channels exist, and notes what is published.
#[derive(Default)]
pub(crate) struct TestCluster {
    topics: Mutex<BTreeMap<TopicName, BTreeSet<ChannelName>>>,
    published: Mutex<Vec<RoutedPublish>>,
    /// Why the next publishes are refused.
    pub(crate) refusal: Mutex<Option<String>>,
}

impl TestCluster {
    /// Everything published since the last call.
    pub(crate) fn published(&self) -> Vec<RoutedPublish> {
        std::mem::take(&mut *self.published.lock().unwrap())
    }

    /// Makes the topic and the channel in the directory and in the shards that the node leads.
    pub(crate) fn make(
        &self,
        server: &Server,
        topic: &TopicName,
        channel: Option<&ChannelName>,
        now: Now,
    ) {
        let mut topics = self.topics.lock().unwrap();
        topics
            .entry(topic.clone())
            .or_default()
            .extend(channel.cloned());
        drop(topics);
        for shard in &*server.shards().snapshot() {
            self.fill(&shard.broker, now);
        }
        server.shards().note_change(Some(topic));
    }

    /// Makes every topic and channel of the directory in a shard.
    fn fill(&self, broker: &Broker, now: Now) {
        for (topic, channels) in &*self.topics.lock().unwrap() {
            let (topic, _) = broker.get_or_create_topic(topic, false, now).unwrap();
            for channel in channels {
                topic.get_or_create_channel(channel, now).unwrap();
            }
        }
    }
}

impl Router for TestCluster {
    fn publish(
        &self,
        topic: &TopicName,
        bodies: &mut dyn ExactSizeIterator<Item = &[u8]>,
        due: Option<i64>,
        _: Now,
        waiter: Arc<dyn TicketWaiter>,
    ) -> Result<Arc<Pending>, RouteError> {
        if let Some(cause) = &*self.refusal.lock().unwrap() {
            return Err(RouteError::Refused(cause.clone()));
        }
        if !self.topics.lock().unwrap().contains_key(topic) {
            return Err(RouteError::NoTopic);
        }
        let pending = Pending::new(waiter);
        let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
        self.published.lock().unwrap().push(RoutedPublish {
            bodies: bodies.map(text).collect(),
            due,
            pending: Arc::clone(&pending),
        });
        Ok(pending)
    }

    fn nodes(&self) -> Vec<String> {
        vec!["a:4150".to_owned(), "b:4150".to_owned()]
    }
}

/// One node of a cluster.
pub(crate) struct TestNode {
    pub(crate) server: Arc<Server>,
    pub(crate) cluster: Arc<TestCluster>,
    pub(crate) notes: Arc<Notes>,
    folder: tempfile::TempDir,
}

impl TestNode {
    /// A node that leads no shard.
    pub(crate) fn new() -> TestNode {
        TestNode::with(|_| {})
    }

    /// A node that leads these shards, where topic `t` has the channel `c`.
    pub(crate) fn leading(shards: &[u64]) -> TestNode {
        let node = TestNode::new();
        for &shard in shards {
            node.lead(shard);
        }
        node.make("t", Some("c"));
        node
    }

    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> TestNode {
        TestNode::made(change, |_| {})
    }

    /// A node that leads no shard, and fetches messages from others.
    pub(crate) fn fetching(fetcher: &Arc<Fetcher>) -> TestNode {
        TestNode::made(|_| {}, |server| server.fetch_with(Arc::clone(fetcher)))
    }

    fn made(
        change: impl FnOnce(&mut Settings),
        change_server: impl FnOnce(&mut Server),
    ) -> TestNode {
        let folder = tempfile::tempdir().unwrap();
        let notes = Arc::new(Notes::default());
        let cluster = Arc::new(TestCluster::default());
        let local = open_broker(&folder.path().join("local"), SafeOnce::Appended, &notes);
        let mut settings = settings();
        change(&mut settings);
        let router = Arc::clone(&cluster) as Arc<dyn Router>;
        let host = Arc::clone(&notes) as Arc<dyn Host>;
        let mut server = Server::clustered(settings, Arc::new(local), router, host);
        change_server(&mut server);
        TestNode {
            server: Arc::new(server),
            cluster,
            notes,
            folder,
        }
    }

    /// Leads a shard from now on, with what it was left with the last time.
    pub(crate) fn lead(&self, shard: u64) -> Arc<Broker> {
        self.lead_at(shard, at(0))
    }

    pub(crate) fn lead_at(&self, shard: u64, now: Now) -> Arc<Broker> {
        let broker = super::open_broker_at(
            &self.shard_folder(shard),
            u16::try_from(shard).unwrap(),
            SafeOnce::Appended,
            &self.notes,
            now,
        );
        self.cluster.fill(&broker, now);
        let broker = Arc::new(broker);
        self.server.shards().add(shard, Arc::clone(&broker));
        broker
    }

    /// Leads the shard no longer.
    pub(crate) fn stop_leading(&self, shard: u64, now: Now) {
        let broker = self.server.shards().remove(shard).unwrap();
        broker.resign(now);
    }

    fn shard_folder(&self, shard: u64) -> PathBuf {
        self.folder.path().join(format!("shard-{shard}"))
    }

    /// Makes a topic, and a channel of it, in the cluster.
    pub(crate) fn make(&self, topic: &str, channel: Option<&str>) {
        let topic = TopicName::parse(topic).unwrap();
        let channel = channel.map(|name| ChannelName::parse(name).unwrap());
        self.cluster
            .make(&self.server, &topic, channel.as_ref(), at(0));
    }

    pub(crate) fn broker(&self, shard: u64) -> Arc<Broker> {
        let shards = self.server.shards().snapshot();
        let shard = shards.iter().find(|led| led.number == shard).unwrap();
        Arc::clone(&shard.broker)
    }

    /// A channel of topic `t` in a shard.
    pub(crate) fn channel(&self, shard: u64, name: &str) -> Option<Arc<ChannelCell>> {
        self.broker(shard).topic("t").unwrap().channel(name)
    }

    /// Publishes to topic `t` of one shard.
    pub(crate) fn publish(&self, shard: u64, bodies: &[&str], now: Now) {
        let topic = self.broker(shard).topic("t").unwrap();
        let bodies = bodies.iter().map(|body| body.as_bytes());
        topic.publish(bodies, now).unwrap();
    }

    pub(crate) fn connect(&self, id: u32) -> TestSession {
        self.connect_observed(id, ())
    }

    pub(crate) fn connect_observed<O: Observer>(&self, id: u32, observer: O) -> TestSession<O> {
        let cluster = Some(Arc::clone(&self.cluster));
        TestSession::open(&self.server, cluster, id, observer)
    }

    /// A consumer of channel `c` of topic `t`, with this ready count; what it is given first has been read.
    pub(crate) fn consumer(&self, id: u32, ready: u32) -> TestSession {
        let mut consumer = self.connect(id);
        consumer.subscribe("c", ready);
        consumer
    }
}
