//! The parts of a node that serve publishers, operators and other nodes, put together.
//!
//! ```text
//! the rest of nsqd ─▶ Control: ClusterOps    topics and channels, /cluster, /metrics
//! Server           ─▶ router()               publishes
//! other nodes      ─▶ answer()               forwarded publishes, consumers, changes of the directory, status
//! the node         ─▶ router().set_target    whenever another node leads the own shard
//!                  ─▶ follow()               for each shard, while this node leads it
//! ```

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use nsq_cluster::codec::{self as reply, DecodeError, Refusal};
use nsq_cluster::directory::{Change, Directory, Outcome, Refused};
use nsq_cluster::group::{Group, Role};
use nsq_cluster::{GroupId, NodeId};
use nsq_core::broker;
use nsq_daemon::listen::join_host_port;
use nsq_daemon::metrics::Exposition;
use nsq_protocol::{ChannelName, TopicName};
use nsq_server::{Server, Shards};
use tokio::sync::watch;
use tokio::time::Instant;

use super::calls::{Call, Changed, NODE, NOT_REMOVED, REMOVED};
use super::consume::Consuming;
use super::differences::changes;
use super::directory_client::{DirectoryClient, propose};
use super::local_shard::LocalShard;
use super::ops::Operations;
use super::report::{Report, Snapshot};
use super::route::receive::receive;
use super::route::{self, Limits, Router};
use super::status::{Heard, Peers, own_status};
use super::this_node::ThisNode;
use super::{metrics, registry};
use crate::clock;
use crate::cluster_ops::{Answer, Catalogue, ClusterOps, Leading, RemoveError, Removed};
use crate::registration::Registration;
use crate::settings::ClusterSettings;

/// The parts of a node that others turn to. Lives as long as nsqd.
pub(crate) struct Control {
    node: Arc<dyn ThisNode>,
    operations: Operations,
    directory: DirectoryClient,
    peers: Peers,
    router: Router,
    consuming: Consuming,
    /// `--replicas`.
    replicas: usize,
}

impl Control {
    /// The parts of `node`. Nothing runs before [`run`](Self::run).
    pub(crate) fn new(node: Arc<dyn ThisNode>, settings: &ClusterSettings) -> Arc<Control> {
        let timeout = settings.publish_timeout;
        let directory = DirectoryClient::new(Arc::clone(&node), timeout);
        let router = Router::new(
            Arc::new(Copy(node.directory())),
            node.network(),
            Limits::new(timeout),
        );
        Arc::new(Control {
            operations: Operations::new(Arc::clone(&node), Arc::new(directory.clone())),
            consuming: Consuming::new(Arc::clone(&node)),
            node,
            directory,
            peers: Peers::default(),
            router,
            replicas: settings.replicas,
        })
    }

    /// Where publishes to durable topics go. The node sets its target.
    pub(crate) fn router(&self) -> &Router {
        &self.router
    }

    /// What brings messages of other nodes to consumers, and messages of this one to consumers of others.
    pub(crate) fn consuming(&self) -> &Consuming {
        &self.consuming
    }

    /// Has the leader of the directory make changes.
    pub(crate) fn directory_client(&self) -> &DirectoryClient {
        &self.directory
    }

    /// This node's copy of the directory, for those who look up topics and channels.
    pub(crate) fn catalogue(&self) -> Arc<dyn Catalogue> {
        Arc::new(Copy(self.node.directory()))
    }

    /// Moves publishes, watches the other members, and spreads the news of topics and channels, until
    /// [`Router::close`] was called.
    pub(crate) async fn run(&self, server: &Server, registration: &Registration) {
        tokio::select! {
            () = self.router.run() => {}
            () = self.peers.run(&*self.node) => {}
            () = self.spread(server, registration) => {}
        }
    }

    /// Has the shard number `number` follow the directory, as long as this node leads it. `shards` learns of what is new.
    /// `followed` is called each time before that.
    pub(crate) async fn follow(
        &self,
        number: u64,
        shard: Arc<dyn LocalShard>,
        shards: &Shards,
        followed: impl Fn(),
    ) {
        let directory = self.node.directory();
        registry::follow(number, shard, directory, &self.directory, || {
            followed();
            shards.note_change(None);
            self.router.note_followed();
        })
        .await;
    }

    /// What the other members have said last.
    pub(crate) fn heard(&self) -> BTreeMap<NodeId, Heard> {
        self.peers.heard()
    }

    /// The answer to the call of another member, `from`. Calls of those who are no members are none of this.
    pub(crate) async fn answer(&self, from: NodeId, group: GroupId, body: Bytes) -> reply::Answer {
        let answered = if group == NODE {
            self.answer_node(from, body).await
        } else {
            match self.node.shard(group.0) {
                Some(shard) => receive(&*shard, body, clock::now()).await,
                None => return reply::Answer::Refused(Refusal::NoSuchGroup),
            }
        };
        match answered {
            Ok(body) => reply::Answer::Call(body),
            Err(error) => reply::Answer::Refused(Refusal::Failed(error.to_string())),
        }
    }

    async fn answer_node(&self, from: NodeId, body: Bytes) -> Result<Bytes, DecodeError> {
        Ok(match Call::from_bytes(body)? {
            Call::Change(proposal) => match self.node.directory_group() {
                Some(group) => propose(&group, proposal).await.to_bytes(),
                None => Changed::NotLeading.to_bytes(),
            },
            Call::Status => own_status(&*self.node).to_bytes(),
            Call::AmIRemoved => {
                let is_removed = self.node.directory().borrow().is_former(from);
                Bytes::from_static(if is_removed { REMOVED } else { NOT_REMOVED })
            }
        })
    }

    /// Tells the router, the nsqlookupds and the subscribers what has changed in the directory.
    async fn spread(&self, server: &Server, registration: &Registration) {
        let mut directory = self.node.directory();
        let mut old = Arc::new(Directory::default());
        loop {
            let new = Arc::clone(&directory.borrow_and_update());
            self.router.set_directory_index(new.index);
            for change in changes(&old, &new) {
                registration.announce(&change);
                match &change {
                    broker::Change::TopicDeleted(topic) => {
                        server.shards().note_deleted(topic, None);
                    }
                    broker::Change::ChannelDeleted(topic, channel) => {
                        server.shards().note_deleted(topic, Some(channel));
                    }
                    broker::Change::TopicCreated(_) | broker::Change::ChannelCreated(..) => {}
                }
            }
            old = new;
            if directory.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// What is known of the cluster.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            node: self.node.node(),
            address: self.node.address().to_owned(),
            directory: Arc::clone(&self.node.directory().borrow()),
            own: own_status(&*self.node),
            heard: self.peers.heard(),
            now: clock::tick(),
            replicas: self.replicas,
        }
    }

    /// What this node leads.
    fn leading(&self) -> Leading {
        let leads = |group: &Group| group.standing().borrow().role == Role::Leader;
        let shards = self.node.shards().into_iter();
        Leading {
            is_stepping_down: self.node.is_stepping_down(),
            shards: shards
                .filter(|held| leads(&held.group))
                .map(|held| held.number)
                .collect(),
            directory: self.node.directory_group().as_ref().is_some_and(leads),
        }
    }

    async fn give_everything_up(&self) -> Leading {
        if !self.node.is_stepping_down() {
            tracing::info!(
                "cluster: this node steps down on request: other nodes lead its shards until /cluster/resume"
            );
        }
        self.node.set_stepping_down(true);
        let deadline = Instant::now() + STEPPING_DOWN;
        loop {
            let leading = self.leading();
            let is_done = leading.shards.is_empty() && !leading.directory;
            if is_done || Instant::now() >= deadline {
                return leading;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn remove(&self, name: &str) -> Result<Removed, RemoveError> {
        let directory = Arc::clone(&self.node.directory().borrow());
        let node = match name.parse() {
            Ok(number) => Some(NodeId(number)),
            Err(_) => directory.member_at(name),
        };
        let member = node.and_then(|node| Some((node, directory.members.get(&node)?)));
        let (node, member) = member.ok_or_else(|| RemoveError::Unknown(name.to_owned()))?;
        let is_alive = self.snapshot().is_alive(node);
        let change = Change::RemoveMember(node);
        // Node ids are never used again, so removing twice is removing once.
        match self.directory.change(&change, true).await {
            Ok(Outcome::Refused(Refused::NoSuchMember(_)) | Outcome::Done(_)) => {}
            Ok(Outcome::Refused(Refused::LastMember(_))) => return Err(RemoveError::Last),
            Ok(Outcome::Refused(refused)) => {
                return Err(RemoveError::Unavailable(refused.to_string()));
            }
            Ok(Outcome::Member(_) | Outcome::Shard(_)) => {
                let why = "the directory's outcome is of another change".to_owned();
                return Err(RemoveError::Unavailable(why));
            }
            Err(error) => return Err(RemoveError::Unavailable(error.to_string())),
        }
        tracing::info!(
            "cluster: node {node} at {} was removed on request",
            member.info.address
        );
        Ok(Removed {
            id: node.0,
            address: member.info.address.clone(),
            was_alive: is_alive,
        })
    }
}

/// An operation in a box.
fn boxed<'a, T>(work: impl Future<Output = T> + Send + 'a) -> BoxFuture<'a, T> {
    Box::pin(work)
}

impl ClusterOps for Control {
    fn create_topic<'a>(&'a self, topic: &'a TopicName, channels: &'a [ChannelName]) -> Answer<'a> {
        boxed(self.operations.create_topic(topic, channels))
    }

    fn delete_topic<'a>(&'a self, topic: &'a TopicName) -> Answer<'a> {
        boxed(self.operations.delete_topic(topic))
    }

    fn create_channel<'a>(&'a self, topic: &'a TopicName, channel: &'a ChannelName) -> Answer<'a> {
        boxed(self.operations.create_channel(topic, channel))
    }

    fn delete_channel<'a>(&'a self, topic: &'a TopicName, channel: &'a ChannelName) -> Answer<'a> {
        boxed(self.operations.delete_channel(topic, channel))
    }

    fn pause_topic<'a>(&'a self, topic: &'a TopicName, paused: bool) -> Answer<'a> {
        boxed(self.operations.pause_topic(topic, paused))
    }

    fn pause_channel<'a>(
        &'a self,
        topic: &'a TopicName,
        channel: &'a ChannelName,
        paused: bool,
    ) -> Answer<'a> {
        boxed(self.operations.pause_channel(topic, channel, paused))
    }

    fn empty_topic<'a>(&'a self, topic: &'a TopicName) -> Answer<'a> {
        boxed(self.operations.empty_topic(topic))
    }

    fn empty_channel<'a>(&'a self, topic: &'a TopicName, channel: &'a ChannelName) -> Answer<'a> {
        boxed(self.operations.empty_channel(topic, channel))
    }

    fn write_metrics(&self, out: &mut Exposition) {
        metrics::write(
            out,
            &self.snapshot(),
            &self.router,
            &self.consuming,
            self.peers.leader_changes(),
        );
    }

    fn report(&self) -> Report {
        Report::of(&self.snapshot())
    }

    fn step_down(&self) -> BoxFuture<'_, Leading> {
        boxed(self.give_everything_up())
    }

    fn resume(&self) -> Leading {
        if self.node.is_stepping_down() {
            tracing::info!("cluster: this node leads shards again, on request");
        }
        self.node.set_stepping_down(false);
        self.leading()
    }

    fn remove_member<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<Removed, RemoveError>> {
        boxed(self.remove(node))
    }
}

/// This node's copy of the directory.
#[derive(Debug, Clone)]
pub(crate) struct Copy(pub(crate) watch::Receiver<Arc<Directory>>);

impl Copy {
    fn now(&self) -> Arc<Directory> {
        Arc::clone(&self.0.borrow())
    }
}

impl Catalogue for Copy {
    fn topics(&self) -> Vec<(TopicName, Vec<ChannelName>)> {
        let directory = self.now();
        let topics = directory.topics.iter();
        topics
            .map(|(name, topic)| (name.clone(), topic.channels.keys().cloned().collect()))
            .collect()
    }

    fn has(&self, topic: &TopicName, channel: Option<&ChannelName>) -> bool {
        let directory = self.0.borrow();
        directory
            .topics
            .topic(topic)
            .is_some_and(|topic| channel.is_none_or(|name| topic.channels.contains_key(name)))
    }

    fn topic_count(&self) -> usize {
        self.0.borrow().topics.len()
    }

    fn channel_count(&self, topic: &TopicName) -> usize {
        let directory = self.0.borrow();
        let topic = directory.topics.topic(topic);
        topic.map_or(0, |topic| topic.channels.len())
    }
}

impl route::Listed for Copy {
    fn created_at(&self, topic: &TopicName) -> Option<u64> {
        let directory = self.0.borrow();
        directory.topics.topic(topic).map(|topic| topic.created_at)
    }

    fn client_addresses(&self) -> Vec<String> {
        let directory = self.0.borrow();
        let infos = directory.members.values().map(|member| &member.info);
        infos
            .filter(|info| info.tcp_port != 0)
            .map(|info| join_host_port(&info.broadcast_address, info.tcp_port))
            .collect()
    }
}

/// How long the leaderships may take to be handed over.
const STEPPING_DOWN: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(20);
