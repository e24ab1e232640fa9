//! Publishing to an nsqd.

mod connection;
mod error;

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use nsq_protocol::{TopicName, encode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

pub use self::error::PublishError;

use self::connection::{Link, Pending};
use crate::config::Config;
use crate::connect::Dialer;
use crate::error::{ConnectError, SetupError};

/// Publishes to one nsqd. Clones share the connection, which ends with the last of them.
///
/// It connects when there is something to publish, and again when the connection is lost. Publishes do not wait
/// for each other: any number can be on their way, in one write where they come together, and each gets its own
/// answer. What waits for answers is bounded ([`ProducerBuilder::max_pending_bytes`]); a publish past that waits.
#[derive(Clone)]
pub struct Producer(Arc<Inner>);

/// One connection of a [`Producer`], for who must know that a publish goes by no other.
pub(crate) struct Connection(Arc<Link>);

/// What a [`Producer`] is made of.
#[derive(Debug)]
pub struct ProducerBuilder {
    address: String,
    config: Config,
    max_pending_bytes: u32,
}

struct Inner {
    address: String,
    dialer: Arc<Dialer>,
    state: Mutex<State>,
    /// Held while a connection is being made.
    dialling: tokio::sync::Mutex<()>,
    room: Arc<Semaphore>,
    max_pending_bytes: u32,
}

#[derive(Default)]
struct State {
    link: Option<Arc<Link>>,
    failure: Option<Failure>,
    /// What the last nsqd that was connected to said of its cluster.
    cluster_nodes: Vec<String>,
    is_stopped: bool,
}

/// The last attempt to connect, if it failed.
struct Failure {
    error: Arc<ConnectError>,
    /// How long until the next attempt.
    delay: Duration,
    until: Instant,
}

/// A publish on its way: a future of nsqd's answer. Dropping it does not take the publish back.
#[derive(Debug)]
#[must_use = "whether nsqd has the message is known once this has been awaited"]
pub struct Receipt(oneshot::Receiver<Result<(), PublishError>>);

impl Receipt {
    pub(crate) fn new(answer: oneshot::Receiver<Result<(), PublishError>>) -> Self {
        Self(answer)
    }
}

impl Future for Receipt {
    type Output = Result<(), PublishError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| {
            // The task that publishes was cut off, as when the runtime ends.
            let lost = || PublishError::Lost(Arc::new(ConnectError::Closed));
            answer.unwrap_or_else(|_| Err(lost()))
        })
    }
}

impl ProducerBuilder {
    /// How it behaves; [`Config::default`] if not given.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Bytes that may wait for nsqd's answer, commands included. A single message above it still goes, alone.
    /// 64 MiB if not given.
    #[must_use]
    pub fn max_pending_bytes(mut self, bytes: u32) -> Self {
        self.max_pending_bytes = bytes.max(1);
        self
    }

    /// Makes it, without connecting.
    ///
    /// # Errors
    /// [`SetupError::Config`] for a configuration that does not hold together.
    pub fn build(self) -> Result<Producer, SetupError> {
        let dialer = Arc::new(Dialer::new(self.config)?);
        Ok(Producer::with(self.address, dialer, self.max_pending_bytes))
    }
}

impl Producer {
    /// Begins to make one for the nsqd at `address`, `host:port`.
    pub fn builder(address: &str) -> ProducerBuilder {
        ProducerBuilder {
            address: address.to_owned(),
            config: Config::default(),
            max_pending_bytes: DEFAULT_MAX_PENDING_BYTES,
        }
    }

    /// Makes one for the nsqd at `address`, `host:port`, without connecting.
    ///
    /// # Errors
    /// [`SetupError::Config`] for a configuration that does not hold together.
    pub fn new(address: &str, config: Config) -> Result<Self, SetupError> {
        Self::builder(address).config(config).build()
    }

    pub(crate) fn with(address: String, dialer: Arc<Dialer>, max_pending_bytes: u32) -> Self {
        let permits = usize::try_from(max_pending_bytes).unwrap_or(usize::MAX);
        Self(Arc::new(Inner {
            address,
            dialer,
            state: Mutex::default(),
            dialling: tokio::sync::Mutex::default(),
            room: Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS))),
            max_pending_bytes,
        }))
    }

    /// The nsqd's address, as given.
    pub fn address(&self) -> &str {
        &self.0.address
    }

    /// Publishes a message, and waits until nsqd has it.
    ///
    /// # Errors
    /// [`PublishError`], which knows [whether nsqd may have it](PublishError::may_have_been_accepted).
    pub async fn publish(
        &self,
        topic: &TopicName,
        body: impl AsRef<[u8]>,
    ) -> Result<(), PublishError> {
        self.start_publish(topic, body).await?.await
    }

    /// Publishes several messages at once, all or none, and waits until nsqd has them.
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

    /// Publishes a message that nsqd holds back for `delay`, in whole milliseconds.
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

    /// As [`publish`](Self::publish), but returns once the message is on its way. Publishes of one caller reach
    /// nsqd in the order they were started.
    ///
    /// # Errors
    /// [`PublishError`] if it cannot even start.
    pub async fn start_publish(
        &self,
        topic: &TopicName,
        body: impl AsRef<[u8]>,
    ) -> Result<Receipt, PublishError> {
        let body = body.as_ref();
        self.start(check(body)?, |out| encode::publish(out, topic, body))
            .await
    }

    /// As [`publish_many`](Self::publish_many), but returns once the messages are on their way.
    ///
    /// # Errors
    /// [`PublishError`] if it cannot even start.
    pub async fn start_publish_many<B: AsRef<[u8]>>(
        &self,
        topic: &TopicName,
        bodies: &[B],
    ) -> Result<Receipt, PublishError> {
        let total = check_many(bodies)?;
        self.start(total, |out| encode::publish_many(out, topic, bodies))
            .await
    }

    /// As [`publish_deferred`](Self::publish_deferred), but returns once the message is on its way.
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
        self.start(check(body)?, |out| {
            encode::publish_deferred(out, topic, delay, body);
        })
        .await
    }

    /// Connects, unless it is connected, and sends nsqd a NOP: to know early whether it can be reached.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn ping(&self) -> Result<(), PublishError> {
        loop {
            if self.0.link().await?.ping() {
                return Ok(());
            }
        }
    }

    /// Takes no more publishes, waits for the answers of those on their way, and closes the connection. For all
    /// clones.
    pub async fn stop(&self) {
        // A task that is connecting now sees it afterwards.
        let link = {
            let mut state = self.0.lock();
            state.is_stopped = true;
            state.link.take()
        };
        self.0.room.close();
        if let Some(link) = link {
            link.leave();
            link.ended().await;
        }
    }

    /// The connection, which is made if there is none.
    pub(crate) async fn connection(&self) -> Result<Connection, PublishError> {
        Ok(Connection(self.0.link().await?))
    }

    /// What the last nsqd that was connected to said of its cluster: its nodes, if it was asked.
    pub(crate) fn cluster_nodes(&self) -> Vec<String> {
        self.0.lock().cluster_nodes.clone()
    }

    async fn start(
        &self,
        body_bytes: usize,
        encode: impl Fn(&mut Vec<u8>),
    ) -> Result<Receipt, PublishError> {
        let permit = self.0.make_room(body_bytes).await?;
        let (sender, receiver) = oneshot::channel();
        let mut pending = Pending::new(sender, Some(permit));
        loop {
            let link = self.0.link().await?;
            match link.send(pending, &encode) {
                Ok(()) => return Ok(Receipt(receiver)),
                // The connection ended in between: nothing was sent.
                Err(unsent) => pending = unsent,
            }
        }
    }
}

impl Connection {
    /// Sends a whole command. `None` if the connection has ended: then nothing was sent.
    pub(crate) fn start(&self, command: &[u8]) -> Option<Receipt> {
        let (sender, receiver) = oneshot::channel();
        let pending = Pending::new(sender, None);
        let sent = self.0.send(pending, |out| out.extend_from_slice(command));
        sent.is_ok().then_some(Receipt(receiver))
    }

    /// Ends the connection at once. Publishes that wait for an answer get none.
    pub(crate) fn cut(&self) {
        self.0.cut();
    }
}

impl Inner {
    async fn make_room(&self, body_bytes: usize) -> Result<OwnedSemaphorePermit, PublishError> {
        let bytes = u32::try_from(body_bytes + COMMAND_BYTES).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room);
        room.acquire_many_owned(bytes.min(self.max_pending_bytes))
            .await
            .map_err(|_| PublishError::Stopped)
    }

    /// The connection, which is made if there is none.
    async fn link(&self) -> Result<Arc<Link>, PublishError> {
        if let Some(link) = self.current()? {
            return Ok(link);
        }
        let _dialling = self.dialling.lock().await;
        if let Some(link) = self.current()? {
            return Ok(link);
        }
        let delay = {
            let state = self.lock();
            match &state.failure {
                Some(failure) if Instant::now() < failure.until => {
                    return Err(PublishError::Connect(Arc::clone(&failure.error)));
                }
                Some(failure) => (failure.delay * 2).min(LONGEST_DELAY),
                None => FIRST_DELAY,
            }
        };
        let address = &self.address;
        tracing::info!("({address}) connecting to nsqd");
        match self.dialer.connect(address).await {
            Ok(connected) => {
                let mut state = self.lock();
                if state.is_stopped {
                    return Err(PublishError::Stopped);
                }
                state.cluster_nodes = connected.cluster_nodes;
                let link = Link::start(address, connected.wire);
                state.link = Some(Arc::clone(&link));
                state.failure = None;
                Ok(link)
            }
            Err(error) => {
                tracing::error!("({address}) error connecting to nsqd - {error}");
                let error = Arc::new(error);
                self.lock().failure = Some(Failure {
                    error: Arc::clone(&error),
                    delay,
                    until: Instant::now() + delay,
                });
                Err(PublishError::Connect(error))
            }
        }
    }

    fn current(&self) -> Result<Option<Arc<Link>>, PublishError> {
        let mut state = self.lock();
        if state.is_stopped {
            return Err(PublishError::Stopped);
        }
        if state.link.as_ref().is_some_and(|link| link.has_ended()) {
            state.link = None;
        }
        Ok(state.link.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(link) = self.lock().link.take() {
            link.leave();
        }
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Producer").field(&self.0.address).finish()
    }
}

/// The length of a batch's bodies, if nsqd could take it at all.
pub(crate) fn check_many<B: AsRef<[u8]>>(bodies: &[B]) -> Result<usize, PublishError> {
    let mut total = 0;
    for body in bodies {
        total += check(body.as_ref())? + 4;
    }
    if bodies.is_empty() {
        return Err(PublishError::Empty);
    }
    if total > MOST_BODY_BYTES {
        return Err(PublishError::TooLong(total));
    }
    Ok(total)
}

/// A body's length, if nsqd could take it at all: a refusal there would end the connection for everyone.
pub(crate) fn check(body: &[u8]) -> Result<usize, PublishError> {
    match body.len() {
        0 => Err(PublishError::Empty),
        bytes if bytes > MOST_BODY_BYTES => Err(PublishError::TooLong(bytes)),
        bytes => Ok(bytes),
    }
}

/// Below the 2 GiB that a signed length can say, with room for a batch's own count.
const MOST_BODY_BYTES: usize = (1 << 31) - 16;

/// A command's line, and what it takes to remember it.
pub(crate) const COMMAND_BYTES: usize = 128;

pub(crate) const DEFAULT_MAX_PENDING_BYTES: u32 = 64 * 1024 * 1024;

/// After a failure to connect, publishes fail at once for this long, then for twice as long, and so on.
const FIRST_DELAY: Duration = Duration::from_millis(10);
const LONGEST_DELAY: Duration = Duration::from_secs(1);
