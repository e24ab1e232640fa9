//! Publishing to a cluster in order, while its nodes come and go.

mod driver;
mod nodes;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nsq_protocol::{TopicName, encode};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;

use self::driver::{Driver, Publish, Timing};
use self::nodes::Nodes;
use crate::config::Config;
use crate::connect::Dialer;
use crate::error::SetupError;
use crate::producer::{
    COMMAND_BYTES, DEFAULT_MAX_PENDING_BYTES, PublishError, Receipt, check, check_many,
};

/// Publishes to a cluster of nsqds. Clones share it; it ends when the last of them is gone and all is answered.
///
/// It publishes through one node, and learns the others from it. When that node is lost, silent or cannot store what it
/// gets, it sends everything that was not answered to the next one, oldest first. So no publish is lost, and the last copy
/// of each comes in the order in which they were started; but one that a lost node had stored is stored twice. It gives a
/// publish up only when no node has taken it for a while ([`ClusterProducerBuilder::give_up_after`]).
///
/// Nsqds without a cluster can be used as well: each is then a place of its own for messages.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use nsq_client::{ClusterProducer, TopicName};
///
/// // One address is enough; more help when this node is down at the start.
/// let producer = ClusterProducer::builder(&["10.0.0.1:4150"]).build()?;
/// producer.publish(&TopicName::parse("orders")?, "one").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ClusterProducer(Arc<Inner>);

/// What a [`ClusterProducer`] is made of.
#[derive(Debug)]
pub struct ClusterProducerBuilder {
    addresses: Vec<String>,
    config: Config,
    max_pending_bytes: u32,
    give_up_after: Duration,
    answer_timeout: Duration,
}

struct Inner {
    /// `None` once it is stopped.
    queue: Mutex<Option<mpsc::UnboundedSender<Publish>>>,
    room: Arc<Semaphore>,
    max_pending_bytes: u32,
    give_up_after: Duration,
    nodes: watch::Receiver<Vec<String>>,
}

impl ClusterProducerBuilder {
    /// How it behaves; [`Config::default`] if not given.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Bytes that may wait for an answer, commands included. They are kept until then, to be sent again. A publish past
    /// that waits; a single message above it still goes, alone. 64 MiB if not given.
    #[must_use]
    pub fn max_pending_bytes(mut self, bytes: u32) -> Self {
        self.max_pending_bytes = bytes.max(1);
        self
    }

    /// How long a publish is tried before it fails. 30 s if not given.
    #[must_use]
    pub fn give_up_after(mut self, time: Duration) -> Self {
        self.give_up_after = time;
        self
    }

    /// How long a node may take to answer before the next one is tried. It should be more than nsqd's
    /// `--cluster-publish-timeout`. 6 s if not given.
    #[must_use]
    pub fn answer_timeout(mut self, time: Duration) -> Self {
        self.answer_timeout = time;
        self
    }

    /// Makes it, without connecting.
    ///
    /// # Errors
    /// [`SetupError::Config`] for a configuration that does not hold together, [`SetupError::NoAddress`] without an address.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn build(self) -> Result<ClusterProducer, SetupError> {
        let dialer = Arc::new(Dialer::new(self.config)?.asking_for_nodes());
        let (nodes, known) = Nodes::new(self.addresses, dialer).ok_or(SetupError::NoAddress)?;
        let (sender, receiver) = mpsc::unbounded_channel();
        let timing = Timing {
            answer: self.answer_timeout,
            give_up: self.give_up_after,
        };
        tokio::spawn(Driver::new(nodes, receiver, timing).run());
        let permits = usize::try_from(self.max_pending_bytes).unwrap_or(usize::MAX);
        Ok(ClusterProducer(Arc::new(Inner {
            queue: Mutex::new(Some(sender)),
            room: Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS))),
            max_pending_bytes: self.max_pending_bytes,
            give_up_after: self.give_up_after,
            nodes: known,
        })))
    }
}

impl ClusterProducer {
    /// Begins to make one that first connects to one of these nodes, each `host:port` of nsqd's TCP port.
    pub fn builder<A: AsRef<str>>(addresses: &[A]) -> ClusterProducerBuilder {
        ClusterProducerBuilder {
            addresses: addresses.iter().map(|a| a.as_ref().to_owned()).collect(),
            config: Config::default(),
            max_pending_bytes: DEFAULT_MAX_PENDING_BYTES,
            give_up_after: GIVE_UP_AFTER,
            answer_timeout: ANSWER_TIMEOUT,
        }
    }

    /// Publishes a message, and waits until the cluster has it.
    ///
    /// # Errors
    /// [`PublishError::GivenUp`] when no node took it in time, and those that are about the message itself.
    pub async fn publish(
        &self,
        topic: &TopicName,
        body: impl AsRef<[u8]>,
    ) -> Result<(), PublishError> {
        self.start_publish(topic, body).await?.await
    }

    /// Publishes several messages at once, all or none, and waits until the cluster has them.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn publish_many<B: AsRef<[u8]>>(
        &self,
        topic: &TopicName,
        bodies: &[B],
    ) -> Result<(), PublishError> {
        self.start_publish_many(topic, bodies).await?.await
    }

    /// Publishes a message that is held back for `delay`, in whole milliseconds, counted from when nsqd stores it.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn publish_deferred(
        &self,
        topic: &TopicName,
        delay: Duration,
        body: impl AsRef<[u8]>,
    ) -> Result<(), PublishError> {
        self.start_publish_deferred(topic, delay, body).await?.await
    }

    /// As [`publish`](Self::publish), but returns once the message is in line.
    ///
    /// # Errors
    /// [`PublishError`] if it cannot even start.
    pub async fn start_publish(
        &self,
        topic: &TopicName,
        body: impl AsRef<[u8]>,
    ) -> Result<Receipt, PublishError> {
        let body = body.as_ref();
        let bytes = check(body)?;
        self.start(bytes, |out| encode::publish(out, topic, body))
            .await
    }

    /// As [`publish_many`](Self::publish_many), but returns once the messages are in line.
    ///
    /// # Errors
    /// [`PublishError`] if it cannot even start.
    pub async fn start_publish_many<B: AsRef<[u8]>>(
        &self,
        topic: &TopicName,
        bodies: &[B],
    ) -> Result<Receipt, PublishError> {
        let bytes = check_many(bodies)?;
        self.start(bytes, |out| encode::publish_many(out, topic, bodies))
            .await
    }

    /// As [`publish_deferred`](Self::publish_deferred), but returns once the message is in line.
    ///
    /// # Errors
    /// [`PublishError`] if it cannot even start.
    pub async fn start_publish_deferred(
        &self,
        topic: &TopicName,
        delay: Duration,
        body: impl AsRef<[u8]>,
    ) -> Result<Receipt, PublishError> {
        let body = body.as_ref();
        let bytes = check(body)?;
        self.start(bytes, |out| {
            encode::publish_deferred(out, topic, delay, body);
        })
        .await
    }

    /// The addresses that it knows: those it was given, and what the last node that it connected to said.
    pub fn nodes(&self) -> Vec<String> {
        self.0.nodes.borrow().clone()
    }

    /// Takes no more publishes, waits until those in line are answered or given up, and closes the connection. For all
    /// clones.
    pub async fn stop(&self) {
        self.0.lock().take();
        self.0.room.close();
        // The driver has the other end, and drops it when it is done.
        let mut nodes = self.0.nodes.clone();
        while nodes.changed().await.is_ok() {}
    }

    async fn start(
        &self,
        body_bytes: usize,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Receipt, PublishError> {
        let bytes = u32::try_from(body_bytes + COMMAND_BYTES).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.0.room);
        let room = room.acquire_many_owned(bytes.min(self.0.max_pending_bytes));
        let room = room.await.map_err(|_| PublishError::Stopped)?;
        let mut command = Vec::with_capacity(body_bytes + COMMAND_BYTES);
        encode(&mut command);
        let (reply, receipt) = oneshot::channel();
        let deadline = Instant::now() + self.0.give_up_after;
        let publish = Publish::new(command, reply, deadline, room);
        let queue = self.0.lock();
        let sent = queue.as_ref().map(|queue| queue.send(publish).is_ok());
        match sent {
            Some(true) => Ok(Receipt::new(receipt)),
            Some(false) | None => Err(PublishError::Stopped),
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Option<mpsc::UnboundedSender<Publish>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ClusterProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClusterProducer")
            .field(&*self.0.nodes.borrow())
            .finish()
    }
}

/// A cluster elects a leader within seconds; a node takes a minute to be replaced by its supervisor.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);

/// Above the 5 s within which a node of a cluster answers by default.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(6);
