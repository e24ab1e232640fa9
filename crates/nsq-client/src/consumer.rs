//! Taking messages from a channel.

mod backoff;
mod connection;
mod discovery;
mod event;
mod flow;
mod handler;
mod inbox;
mod message;
mod messages;
mod ready;
mod shared;
mod supervisor;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nsq_protocol::{ChannelName, TopicName};
use tokio::sync::{mpsc, oneshot};

pub use self::event::ConsumerEvent;
pub use self::handler::{Handler, HandlerError, Outcome};
pub use self::message::{Answer, Delivery, Message};
pub use self::messages::Messages;

use self::discovery::{Discovery, Filter};
use self::shared::{OnEvent, Shared};
use self::supervisor::{Command, Supervisor};
use crate::config::Config;
use crate::connect::Dialer;
use crate::error::{ConnectError, SetupError};
use crate::lookup::{self, Lookup};

/// Takes the messages of one channel from any number of nsqds.
///
/// Messages go to handlers ([`serve`](Self::serve)) or are taken by hand ([`messages`](Self::messages)). They are
/// taken in from the first connection on, at most `max_in_flight` of them, and wait until they are taken.
///
/// [`stop`](Self::stop) ends it gracefully. Dropping it ends it at once: what no one took is given back to its
/// nsqd, and what is being handled is delivered again when its time is up.
pub struct Consumer {
    shared: Arc<Shared>,
    commands: mpsc::UnboundedSender<Command>,
}

/// What a [`Consumer`] is made of.
pub struct ConsumerBuilder {
    topic: String,
    channel: String,
    config: Config,
    on_event: Option<OnEvent>,
    filter: Option<Filter>,
}

/// Counts since a [`Consumer`] began, but for the last two, which are of now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerStats {
    /// Messages that came.
    pub messages_received: u64,
    /// Messages that were finished, including those given up.
    pub messages_finished: u64,
    /// Messages that were given back.
    pub messages_requeued: u64,
    /// Messages finished unseen for too many attempts.
    pub messages_given_up: u64,
    /// Messages that came and are not answered.
    pub messages_in_flight: usize,
    /// Connections to nsqds.
    pub connections: usize,
}

impl ConsumerBuilder {
    /// How it behaves; [`Config::default`] if not given.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Called with everything worth knowing that happens. It must not block.
    #[must_use]
    pub fn on_event(mut self, call: impl Fn(&ConsumerEvent<'_>) + Send + Sync + 'static) -> Self {
        self.on_event = Some(Box::new(call));
        self
    }

    /// Called with the addresses that an nsqlookupd named; what it returns is connected to.
    #[must_use]
    pub fn discovery_filter(
        mut self,
        filter: impl Fn(Vec<String>) -> Vec<String> + Send + Sync + 'static,
    ) -> Self {
        self.filter = Some(Box::new(filter));
        self
    }

    /// Begins. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`SetupError`] for a bad name or configuration.
    pub fn build(self) -> Result<Consumer, SetupError> {
        let topic = TopicName::parse(&self.topic).map_err(|_| SetupError::Topic)?;
        let channel = ChannelName::parse(&self.channel).map_err(|_| SetupError::Channel)?;
        let dialer = Dialer::new(self.config)?;
        let shared = Arc::new(Shared::new(topic, channel, dialer, self.on_event));
        let (sender, receiver) = mpsc::unbounded_channel();
        let discovery = Discovery::new(self.filter);
        tokio::spawn(Supervisor::new(Arc::clone(&shared), receiver, discovery).run());
        Ok(Consumer {
            shared,
            commands: sender,
        })
    }
}

impl Consumer {
    /// Begins to make one for this topic and channel.
    pub fn builder(topic: &str, channel: &str) -> ConsumerBuilder {
        ConsumerBuilder {
            topic: topic.to_owned(),
            channel: channel.to_owned(),
            config: Config::default(),
            on_event: None,
            filter: None,
        }
    }

    /// Makes one with nothing but a configuration. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`SetupError`] for a bad name or configuration.
    pub fn new(topic: &str, channel: &str, config: Config) -> Result<Self, SetupError> {
        Self::builder(topic, channel).config(config).build()
    }

    /// Connects to one nsqd, `host:port`, and keeps connected: when the connection is lost, it is tried again
    /// every `lookupd_poll_interval`.
    ///
    /// # Errors
    /// Why there is no connection. It is not tried again then; see [`keep_connected_to_nsqd`](Self::keep_connected_to_nsqd).
    pub async fn connect_to_nsqd(&self, address: &str) -> Result<(), ConnectError> {
        let (sender, receiver) = oneshot::channel();
        self.tell(Command::Connect(address.into(), Some(sender)));
        receiver.await.unwrap_or(Err(ConnectError::Stopped))
    }

    /// Connects to one nsqd as soon as it can be reached, and keeps connected.
    pub fn keep_connected_to_nsqd(&self, address: &str) {
        self.tell(Command::Connect(address.into(), None));
    }

    /// Asks an nsqlookupd, `host:port` or a URL, for nsqds to connect to, now and every `lookupd_poll_interval`;
    /// after 1, 2, 4 seconds and so on when the last nsqd was lost, or those found cannot be reached.
    /// Returns when the first of all questions has been answered, or has failed: failures are told by
    /// [events](ConsumerBuilder::on_event), and asking continues.
    ///
    /// # Errors
    /// [`SetupError`] for an address that is none, and after a stop.
    pub async fn connect_to_nsqlookupd(&self, address: &str) -> Result<(), SetupError> {
        let url = lookup::url(address, &self.shared.topic)?;
        let (sender, receiver) = oneshot::channel();
        let lookup = Lookup::new(url, &self.shared.dialer.config)?;
        self.tell(Command::AddLookup(lookup, sender));
        receiver.await.map_err(|_| SetupError::Stopped)
    }

    /// Ends the connection to an nsqd once what is in flight on it has been answered, and no longer keeps it.
    ///
    /// # Errors
    /// [`SetupError::NotConnected`] if there is none.
    pub async fn disconnect_from_nsqd(&self, address: &str) -> Result<(), SetupError> {
        let (sender, receiver) = oneshot::channel();
        self.tell(Command::Disconnect(address.into(), sender));
        receiver.await.unwrap_or(Err(SetupError::Stopped))
    }

    /// Asks an nsqlookupd no more. Connections stay.
    ///
    /// # Errors
    /// [`SetupError`] if it was not asked, or is the only one.
    pub async fn disconnect_from_nsqlookupd(&self, address: &str) -> Result<(), SetupError> {
        let url = lookup::url(address, &self.shared.topic)?;
        let (sender, receiver) = oneshot::channel();
        self.tell(Command::RemoveLookup(url, sender));
        receiver.await.unwrap_or(Err(SetupError::Stopped))
    }

    /// Has `handler` deal with messages, up to `concurrency` at a time.
    pub fn serve<H: Handler>(&self, concurrency: usize, handler: H) {
        let handler = Arc::new(handler);
        for _ in 0..concurrency {
            tokio::spawn(handler::work(self.messages(), Arc::clone(&handler)));
        }
    }

    /// Where to take messages from by hand.
    pub fn messages(&self) -> Messages {
        Messages::new(Arc::clone(&self.shared))
    }

    /// Changes how many messages may be in flight; 0 pauses.
    pub fn set_max_in_flight(&self, max_in_flight: u32) {
        self.shared.set_max_in_flight(max_in_flight);
    }

    /// Whether some connection can bring no more, or little, until messages in flight are answered. Who answers
    /// many at once should do so then.
    pub fn is_starved(&self) -> bool {
        self.shared.is_starved()
    }

    /// How it has done.
    pub fn stats(&self) -> ConsumerStats {
        self.shared.stats()
    }

    /// Its topic.
    pub fn topic(&self) -> &TopicName {
        &self.shared.topic
    }

    /// Its channel.
    pub fn channel(&self) -> &ChannelName {
        &self.shared.channel
    }

    /// Ends it for good: nsqds send no more, and what has come is still handled and answered. Takes as long as
    /// that takes, 30 seconds at most.
    pub async fn stop(&self) {
        self.stop_within(DEFAULT_PATIENCE).await;
    }

    /// As [`stop`](Self::stop), with a limit of one's own. What no one has taken by then is given back; what is
    /// being handled is delivered again when its time is up.
    pub async fn stop_within(&self, patience: Duration) {
        let (sender, receiver) = oneshot::channel();
        self.tell(Command::Stop(patience, sender));
        // An error says that it has ended already.
        let _ = receiver.await;
    }

    fn tell(&self, command: Command) {
        // After a stop no one listens, and the reply's end says so.
        let _ = self.commands.send(command);
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("topic", &self.shared.topic)
            .field("channel", &self.shared.channel)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ConsumerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerBuilder")
            .field("topic", &self.topic)
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

const DEFAULT_PATIENCE: Duration = Duration::from_secs(30);
