//! Stand-ins for what the router works with.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nsq_cluster::codec::{Answer, Request};
use nsq_cluster::directory::ShardTopics;
use nsq_cluster::network::{CallError, Calling, Network};
use nsq_cluster::{Member, NodeId};
use nsq_core::command::Command;
use nsq_core::{Broker, Now, Pending, TicketState, TicketWaiter};
use nsq_protocol::TopicName;
use nsq_server::{RouteError, Router as _};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::clock;
use crate::cluster::local_shard::{LocalShard, Refusal};
use crate::cluster::route::codec::{Outcome, Publish, decode_call, encode_answer};
use crate::cluster::route::{Limits, Listed, Router, Target};
use crate::cluster::settled::Settled;

/// A condition that does not come true within this time has failed.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn topic(name: &str) -> TopicName {
    TopicName::parse(name).unwrap()
}

pub(super) fn bodies<const N: usize>(bodies: [&str; N]) -> Vec<String> {
    bodies.map(str::to_owned).into()
}

fn texts<'a>(bodies: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    bodies
        .map(|body| String::from_utf8(body.to_vec()).unwrap())
        .collect()
}

/// Waits until `condition` holds.
async fn until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap();
}

/// A message that a shard refuses after it has looked at it.
pub(super) const TOO_LARGE: &str = "too large";

/// The own shard: takes messages, and settles them on demand.
#[derive(Debug, Default)]
pub(crate) struct FakeShard {
    published: Mutex<Vec<(String, Vec<String>)>>,
    pendings: Mutex<Vec<Arc<Pending>>>,
    refusal: Mutex<Option<Refusal>>,
    missing: Mutex<Option<TopicName>>,
    registry_index: AtomicU64,
}

impl FakeShard {
    pub(super) fn new(registry_index: u64) -> Arc<FakeShard> {
        let shard = FakeShard::default();
        shard
            .registry_index
            .store(registry_index, Ordering::Relaxed);
        Arc::new(shard)
    }

    /// Every publish is refused like this from now on, or none.
    pub(super) fn refuse(&self, refusal: Option<Refusal>) {
        *self.refusal.lock().unwrap() = refusal;
    }

    pub(super) fn set_missing(&self, topic: Option<TopicName>) {
        *self.missing.lock().unwrap() = topic;
    }

    pub(super) fn set_registry_index(&self, index: u64) {
        self.registry_index.store(index, Ordering::Relaxed);
    }

    pub(super) fn published(&self) -> Vec<(String, Vec<String>)> {
        self.published.lock().unwrap().clone()
    }

    pub(super) fn published_to(&self, topic: &str) -> Vec<String> {
        let published = self.published().into_iter();
        published
            .filter(|(name, _)| name == topic)
            .flat_map(|(_, bodies)| bodies)
            .collect()
    }

    pub(super) async fn until_published(&self, topic: &str) {
        until(|| !self.published_to(topic).is_empty()).await;
    }

    pub(super) fn pending_count(&self) -> usize {
        self.pendings.lock().unwrap().len()
    }

    pub(super) fn settle_all(&self) {
        for pending in self.pendings.lock().unwrap().drain(..) {
            pending.settle(Ok(()));
        }
    }

    pub(super) fn fail_all(&self, why: &str) {
        for pending in self.pendings.lock().unwrap().drain(..) {
            pending.settle(Err(why.to_owned()));
        }
    }
}

impl LocalShard for FakeShard {
    fn publish(
        &self,
        topic: &TopicName,
        bodies: &mut dyn ExactSizeIterator<Item = &[u8]>,
        _: Option<i64>,
        _: Now,
        pending: &Arc<Pending>,
    ) -> Result<(), Refusal> {
        if let Some(refusal) = &*self.refusal.lock().unwrap() {
            return Err(refusal.clone());
        }
        if self.missing.lock().unwrap().as_ref() == Some(topic) {
            return Err(Refusal::NoTopic);
        }
        let bodies = texts(bodies);
        if bodies.iter().any(|body| body == TOO_LARGE) {
            return Err(Refusal::Full("too large".to_owned()));
        }
        let published = (topic.to_string(), bodies);
        self.published.lock().unwrap().push(published);
        self.pendings.lock().unwrap().push(Arc::clone(pending));
        Ok(())
    }

    fn submit(&self, _: Command<'_>, _: &Arc<Pending>) -> Result<(), Refusal> {
        Err(Refusal::NotLeading)
    }

    fn submit_followed(&self, _: u64, _: &Arc<Pending>) -> Result<(), Refusal> {
        Err(Refusal::NotLeading)
    }

    fn flush_progress(&self, _: &Arc<Pending>) -> Result<(), Refusal> {
        Err(Refusal::NotLeading)
    }

    fn registry_index(&self) -> u64 {
        self.registry_index.load(Ordering::Relaxed)
    }

    fn topics(&self, _: Option<&BTreeSet<TopicName>>) -> ShardTopics {
        ShardTopics::new()
    }

    fn broker(&self) -> Option<Arc<Broker>> {
        None
    }
}

/// The directory: topics with their creation.
#[derive(Debug, Default)]
struct FakeTopics(Mutex<HashMap<TopicName, u64>>);

impl Listed for FakeTopics {
    fn created_at(&self, topic: &TopicName) -> Option<u64> {
        self.0.lock().unwrap().get(topic).copied()
    }

    fn client_addresses(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Hands every call to the test.
#[derive(Debug)]
struct FakeNetwork(mpsc::UnboundedSender<Call>);

impl Network for FakeNetwork {
    fn call(&self, to: NodeId, _: &Member, request: Request, _: Option<Duration>) -> Calling {
        let Request::Call { group, body } = request else {
            panic!("{request:?}");
        };
        assert_eq!(group.0, SHARD);
        let publishes = decode_call(body).unwrap();
        let (reply, answer) = oneshot::channel();
        let call = Call {
            to,
            publishes,
            reply,
        };
        self.0.send(call).unwrap();
        Box::pin(async move { answer.await.unwrap_or(Err(CallError::Misfit)) })
    }
}

const SHARD: u64 = 7;

/// A call under way.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) to: NodeId,
    publishes: Vec<Publish>,
    reply: oneshot::Sender<Result<Answer, CallError>>,
}

impl Call {
    pub(super) fn publishes(&self) -> &[Publish] {
        &self.publishes
    }

    pub(super) fn bodies(&self) -> Vec<String> {
        texts(self.publishes.iter().flat_map(Publish::bodies))
    }

    pub(super) fn answer(self, outcomes: &[Outcome]) {
        assert_eq!(outcomes.len(), self.publishes.len());
        self.reply(Ok(Answer::Call(encode_answer(outcomes))));
    }

    pub(super) fn reply(self, answer: Result<Answer, CallError>) {
        self.reply.send(answer).unwrap();
    }
}

/// A running router with topics `a` and `b`, which were created by the directory's first change.
pub(super) struct Harness {
    pub(super) router: Router,
    topics: Arc<FakeTopics>,
    calls: tokio::sync::Mutex<mpsc::UnboundedReceiver<Call>>,
    settled: Settled,
    running: JoinHandle<()>,
}

impl Harness {
    pub(super) fn start(limits: Limits) -> Harness {
        let topics = Arc::new(FakeTopics::default());
        let (sender, calls) = mpsc::unbounded_channel();
        let network = Arc::new(FakeNetwork(sender));
        let router = Router::new(Arc::clone(&topics) as Arc<dyn Listed>, network, limits);
        router.set_directory_index(1);
        let running = router.clone();
        let harness = Harness {
            router,
            topics,
            calls: tokio::sync::Mutex::new(calls),
            settled: Settled::default(),
            running: tokio::spawn(async move { running.run().await }),
        };
        harness.create("a", 1);
        harness.create("b", 1);
        harness
    }

    pub(super) fn create(&self, name: &str, index: u64) {
        self.topics.0.lock().unwrap().insert(topic(name), index);
    }

    pub(super) fn delete(&self, name: &str) {
        self.topics.0.lock().unwrap().remove(name);
    }

    pub(super) fn lead(&self, shard: &Arc<FakeShard>) {
        let shard = Arc::clone(shard) as Arc<dyn LocalShard>;
        self.router.set_target(Target::Local(shard));
    }

    pub(super) fn follow(&self, node: u64) {
        self.router.set_target(Target::Remote {
            shard: SHARD,
            node: NodeId(node),
            member: Member {
                address: format!("n{node}:4152"),
            },
        });
    }

    pub(super) fn waiter(&self) -> Arc<dyn TicketWaiter> {
        self.settled.waiter()
    }

    pub(super) fn publish(&self, name: &str, body: &str) -> Result<Arc<Pending>, RouteError> {
        let bodies = &mut std::iter::once(body.as_bytes());
        self.router
            .publish(&topic(name), bodies, None, clock::now(), self.waiter())
    }

    /// Waits until publishes go straight to the own shard.
    pub(super) async fn until_direct(&self) {
        until(|| self.router.0.direct.read().unwrap().is_some()).await;
    }

    pub(super) fn held_count(&self) -> u64 {
        self.router.figures().held.load(Ordering::Relaxed)
    }

    /// The next call to another node.
    pub(super) async fn call(&self) -> Call {
        let mut calls = self.calls.lock().await;
        timeout(PATIENCE, calls.recv()).await.unwrap().unwrap()
    }

    /// Sees that there is no call, for longer than a retry would take.
    pub(super) async fn no_call(&self) {
        let mut calls = self.calls.lock().await;
        let call = timeout(super::super::RETRY * 5, calls.recv()).await;
        assert!(call.is_err(), "{call:?}");
    }

    /// Waits until the publish is settled.
    pub(super) async fn settled(&self, pending: &Pending) {
        until(|| pending.state() != TicketState::Pending).await;
    }

    /// Waits until the publish has failed, and returns why.
    pub(super) async fn failure(&self, pending: &Pending) -> String {
        self.settled(pending).await;
        match pending.state() {
            TicketState::Failed(why) => why,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until the router has stopped.
    pub(super) async fn ended(self) {
        timeout(PATIENCE, self.running).await.unwrap().unwrap();
    }
}
