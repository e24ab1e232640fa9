//! One client's connection: commands are read and applied in batches, messages are handed out, and deadlines are kept.
//!
//! A [`Session`] is plain state. The program around it owns the socket, and calls:
//!
//! ```text
//! handle_input, handle_end_of_input    bytes came, or no more will
//! large_input, handle_large_input      as handle_input, for a large command: it is read straight into the inbox
//! handle_wake, handle_settled          the client was woken: by its channel, or because a publish is safe
//! handle_timeout                       next_deadline() has come
//! dismiss, finish                      nsqd is going down: answer what came, and close
//! deliver                              wants_delivery(): there may be messages, and room for them
//! outbox                               what is to be sent, and how sending went
//! ```
//! Each call returns what the program must do [next](Next). What it answers, `handle_topic`, `handle_grants` and
//! `handle_upgraded`, lets the commands continue.
//!
//! While the client does not read, commands are still taken (a FIN needs no answer) until [`OUTBOX_LIMIT`] bytes wait
//! for it; messages are not, so a slow client costs bounded memory and delays no one.

mod answers;
mod authorization;
mod commands;
mod deadlines;
mod identify;
mod log;
mod messages;
mod next;
mod observer;
mod outbox;
pub(crate) mod parts;
mod publish;
mod routed;
mod shared_messages;
mod subscription;
#[cfg(test)]
mod tests;
pub(crate) mod turn;

use std::sync::Arc;

use nsq_core::{ClientId, Now, StoreError, Topic};
use nsq_protocol::identify::ClientSettings;
use nsq_protocol::{ClientState, CommandError, Decoder, TopicName};

use crate::client::Client;
use crate::server::Server;
use crate::syncs::PublisherId;
use answers::{Answers, MAX_WAITING};
use authorization::Authorization;
pub use authorization::{Action, Grants, Permissions};
use deadlines::Deadlines;
use identify::Layers;
use log::Failure;
pub(crate) use messages::reason;
pub use next::Next;
use next::{Hold, Stop};
pub use observer::{Handling, Observer};
pub use outbox::Outbox;
use subscription::Subscription;
pub(crate) use subscription::write_message;

/// Above this many bytes waiting for the client no more commands are read from it.
pub const OUTBOX_LIMIT: usize = 256 << 10;
/// What a connection keeps of its inbox, from one large command to the next.
const KEPT_INBOX_BYTES: usize = 256 << 10;

/// When so much of a command is there, the rest is read straight into the inbox.
const LARGE_COMMAND_BYTES: usize = 64 << 10;
/// The least room in the inbox for such a read.
const LARGE_READ_BYTES: usize = 128 << 10;

/// One connection.
pub struct Session<O = ()> {
    server: Arc<Server>,
    client: Arc<Client>,
    observer: O,
    /// `None` until the magic was read.
    state: Option<ClientState>,
    layers: Layers,
    decoder: Decoder,
    /// What was read and not yet applied: the beginning of a command, or commands that are [held](Hold).
    inbox: Vec<u8>,
    hold: Hold,
    outbox: Outbox,
    answers: Answers,
    /// As the last IDENTIFY left it.
    settings: ClientSettings,
    /// As the first IDENTIFY left it, if that was another than the last.
    first_settings: Option<Box<ClientSettings>>,
    subscription: Option<Subscription>,
    /// RDY: the most messages that the client may hold, of all parts of its subscription together.
    ready_count: u32,
    /// The topic of the command at the front of the inbox was just made.
    topic_is_made: bool,
    /// From AUTH on.
    authorization: Option<Box<Authorization>>,
    /// The topic published to last: most clients have just one.
    last_topic: Option<Arc<Topic>>,
    /// The topic published to last through the cluster's router.
    last_routed: Option<TopicName>,
    /// There may be messages for the client.
    wants_delivery: bool,
    deadlines: Deadlines,
    /// What ended the connection, for the log.
    failure: Option<Failure>,
}

impl Session {
    /// A new connection.
    pub fn new(server: Arc<Server>, client: Arc<Client>, now: Now) -> Session {
        Session::observed(server, client, now, ())
    }
}

impl<O: Observer> Session<O> {
    /// A new connection, whose commands `observer` learns of.
    pub fn observed(server: Arc<Server>, client: Arc<Client>, now: Now, observer: O) -> Session<O> {
        let settings = ClientSettings::defaults(&server.settings().identify_limits);
        let patience = server.settings().first_command_timeout;
        Session {
            client,
            observer,
            state: None,
            layers: Layers::default(),
            decoder: Decoder::new(),
            inbox: Vec::new(),
            hold: Hold::Nothing,
            outbox: Outbox::default(),
            answers: Answers::default(),
            deadlines: Deadlines::new(settings.heartbeat_interval, patience, now.tick),
            settings,
            first_settings: None,
            subscription: None,
            ready_count: 0,
            topic_is_made: false,
            authorization: None,
            last_topic: None,
            last_routed: None,
            wants_delivery: false,
            failure: None,
            server,
        }
    }

    /// The connection as others see it.
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// Who learns of the commands.
    pub fn observer(&mut self) -> &mut O {
        &mut self.observer
    }

    /// What is to be sent; the program around the session reports there how sending went.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    // ---- input ----

    /// Whether input is to be read, and given to [`handle_input`](Self::handle_input).
    pub fn wants_input(&self) -> bool {
        self.is_listening() && self.outbox.waiting_bytes() < OUTBOX_LIMIT
    }

    /// Whether the client's silence would mean anything.
    fn is_listening(&self) -> bool {
        self.hold == Hold::Nothing
            && self.answers.len() < MAX_WAITING
            && self.answers.bytes() < OUTBOX_LIMIT
    }

    /// Applies every whole command in `bytes`, and keeps the rest.
    pub fn handle_input(&mut self, bytes: &[u8], now: Now) -> Next {
        if self.hold != Hold::Nothing || !self.inbox.is_empty() {
            self.inbox.extend_from_slice(bytes);
            if self.hold != Hold::Nothing {
                return Next::Wait;
            }
            return self.resume(now);
        }
        let (used, stop) = self.process(bytes, now);
        self.inbox.extend_from_slice(&bytes[used..]);
        self.go_on(stop, now)
    }

    /// The inbox with room for more input, if it holds part of a large command: the program may append what it reads, and
    /// then calls [`handle_large_input`](Self::handle_large_input).
    ///
    /// The room grows with what has come, not with what the client announced.
    pub fn large_input(&mut self) -> Option<&mut Vec<u8>> {
        if self.hold != Hold::Nothing || self.inbox.len() < LARGE_COMMAND_BYTES {
            return None;
        }
        let needed = self.inbox.len() + LARGE_READ_BYTES;
        if self.inbox.capacity() < needed {
            if self.inbox.capacity() <= KEPT_INBOX_BYTES
                && let Some(mut spare) = self.server.spare_inboxes().take()
            {
                spare.extend_from_slice(&self.inbox);
                self.inbox = spare;
            }
            self.inbox.reserve(LARGE_READ_BYTES);
        }
        Some(&mut self.inbox)
    }

    /// Applies every whole command, after input was appended to [`large_input`](Self::large_input).
    pub fn handle_large_input(&mut self, now: Now) -> Next {
        self.resume(now)
    }

    /// The client will send no more.
    pub fn handle_end_of_input(&mut self) -> Next {
        let context = commands::context(&self.server, self.state, self.layers, &self.settings);
        if self.state.is_none() {
            let cause = log::end_of_input(self.inbox.len()).to_owned();
            self.failure = Some(Failure::Reading(cause));
        } else if let Some(error) = self.decoder.interrupted(&self.inbox, &context) {
            let cause = log::end_within_command(&self.inbox);
            self.refuse_because(&error, Some(cause));
        }
        self.close_when_answered()
    }

    /// The input cannot be read; `cause` is for the log.
    pub fn fail_reading(&mut self, cause: String) {
        self.failure = Some(Failure::Reading(cause));
    }

    /// Nothing can be sent; `cause` is for the log.
    pub fn fail_sending(&mut self, cause: String) {
        // Messages and heartbeats are most of what a consumer gets; upstream's pump sends them.
        self.failure = Some(match self.subscription {
            Some(_) => Failure::Pump(cause),
            None => Failure::Answering(cause),
        });
    }

    /// Applies what waits in the inbox.
    fn resume(&mut self, now: Now) -> Next {
        let stop = self.process_inbox(now);
        self.go_on(stop, now)
    }

    fn process_inbox(&mut self, now: Now) -> Stop {
        let mut inbox = std::mem::take(&mut self.inbox);
        let (used, stop) = self.process(&inbox, now);
        inbox.drain(..used);
        // The buffer of a large command that comes in pieces is wanted again at once; a heartbeat frees it.
        if !inbox.is_empty() || inbox.capacity() <= KEPT_INBOX_BYTES {
            self.inbox = inbox;
        } else {
            self.server.spare_inboxes().put(inbox);
        }
        stop
    }

    fn go_on(&mut self, mut stop: Stop, now: Now) -> Next {
        while let Stop::Again = stop {
            stop = self.process_inbox(now);
        }
        let (hold, next) = match stop {
            Stop::Wait | Stop::Again => (Hold::Nothing, Next::Wait),
            Stop::CreateTopic(wanted) => {
                let (topic, channel) = *wanted;
                (Hold::Topic, Next::CreateTopic { topic, channel })
            }
            Stop::Upgrade(agreed) => (Hold::Upgrade, Next::Upgrade(agreed)),
            Stop::Ask(question) => (Hold::Grants(question), Next::Ask),
            Stop::Answers(count) => (Hold::Answers(count), Next::Wait),
            Stop::Close => return self.close_when_answered(),
            Stop::Drop => (Hold::LastAnswer, Next::Drop),
        };
        self.hold = hold;
        next
    }

    // ---- answers ----

    /// Has `write` append an answer, which leaves after those of the commands before.
    fn answer(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.answers.write(&mut self.outbox, write);
    }

    /// Answers with an error that ends the connection.
    fn refuse(&mut self, error: &CommandError) -> Stop {
        self.refuse_because(error, None)
    }

    /// As [`refuse`](Self::refuse), with a cause that the log shows and the error does not.
    fn refuse_because(&mut self, error: &CommandError, cause: Option<&str>) -> Stop {
        log::refused(self.client.remote_address(), error, cause);
        self.failure = Some(Failure::Refusal(error.to_string()));
        self.answer(|out| nsq_protocol::frame::write_error(out, error));
        Stop::Close
    }

    /// Nothing more is read, and the connection closes once every command has its answer.
    fn close_when_answered(&mut self) -> Next {
        self.hold = Hold::LastAnswer;
        if self.answers.is_empty() {
            Next::Close
        } else {
            Next::Wait
        }
    }

    /// Whether a publish has become safe, or has failed: then [`handle_settled`](Self::handle_settled) is to be called.
    pub fn was_settled(&self) -> bool {
        self.client.was_settled()
    }

    /// Sends the answers that need not wait any longer.
    pub fn handle_settled(&mut self, now: Now) -> Next {
        if let Err(error) = self.answers.settle(&mut self.outbox) {
            self.refuse(&error);
            return self.close_when_answered();
        }
        match self.hold {
            Hold::LastAnswer => self.close_when_answered(),
            Hold::Answers(count) if self.answers.len() <= count => self.resume(now),
            _ => Next::Wait,
        }
    }

    // ---- the topic of a command ----

    /// The answer to [`Next::CreateTopic`]: whether the topic was made.
    pub fn handle_topic(&mut self, made: Result<(), StoreError>, now: Now) -> Next {
        if self.hold != Hold::Topic {
            return Next::Wait;
        }
        match made {
            Ok(()) => {
                self.topic_is_made = true;
                let next = self.resume(now);
                self.topic_is_made = false;
                next
            }
            Err(error) => {
                let stop = self.refuse_topic(&error);
                self.go_on(stop, now)
            }
        }
    }

    /// The topic, if it is there; else what to do about it.
    fn find_topic(&mut self, name: &str) -> Result<Arc<Topic>, Stop> {
        if let Some(topic) = self
            .last_topic
            .as_ref()
            .filter(|topic| topic.name().as_str() == name)
        {
            return Ok(Arc::clone(topic));
        }
        if let Some(topic) = self.server.broker().topic(name) {
            self.last_topic = Some(Arc::clone(&topic));
            return Ok(topic);
        }
        // The decoder has checked the name.
        Err(TopicName::parse(name).map_or(Stop::Drop, |name| Stop::create(name, None)))
    }

    // ---- the end ----

    /// The connection is to end without breaking off what has begun: no more messages are handed out. To be followed by
    /// [`finish`](Self::finish), once the client's commands so far were applied.
    pub fn dismiss(&mut self) {
        if self.subscription.is_some() {
            self.close_subscription();
            self.set_state(ClientState::Closing);
        }
    }

    /// Whether every whole command that came was applied, so that [`finish`](Self::finish) drops none.
    pub fn is_between_commands(&self) -> bool {
        self.is_listening()
    }

    /// Nothing more is read: the connection closes once every command has its answer.
    pub fn finish(&mut self) -> Next {
        self.close_when_answered()
    }

    /// The connection is gone: its channel forgets it, but not what it holds.
    pub fn leave(&mut self) {
        self.unsubscribe();
        log::end(
            self.client.remote_address(),
            self.state.is_some(),
            self.failure.as_ref(),
        );
    }

    fn publisher(&self) -> PublisherId {
        PublisherId::Client(self.client.id())
    }

    fn id(&self) -> ClientId {
        self.client.id()
    }
}
