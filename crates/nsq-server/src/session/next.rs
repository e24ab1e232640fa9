//! How a session continues: for the program around it, and for itself.

use nsq_protocol::identify::Negotiation;
use nsq_protocol::{ChannelName, TopicName};

use super::authorization::Question;

/// What the program around a [`Session`](super::Session) must do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Wait for the next event.
    Wait,
    /// Make this topic, in a cluster everywhere and with this channel, and call
    /// [`Session::handle_topic`](super::Session::handle_topic).
    CreateTopic {
        /// The topic.
        topic: TopicName,
        /// In a cluster: the channel that the client subscribes to. `None` for a channel in memory, which the session makes.
        channel: Option<ChannelName>,
    },
    /// Send what is in the outbox, put these layers on the stream, and call [`Session::handle_upgraded`](super::Session::handle_upgraded).
    Upgrade(Negotiation),
    /// Ask an authorization server about [`Session::secret`](super::Session::secret), and call [`Session::handle_grants`](super::Session::handle_grants).
    Ask,
    /// Send what is in the outbox, and close.
    Close,
    /// Close without a word.
    Drop,
}

/// What the client's commands wait for. Nothing is read from the client meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// Nothing: what is in the inbox is not a whole command.
    Nothing,
    /// The topic of the command at the front of the inbox is being made.
    Topic,
    /// Layers are put on the stream.
    Upgrade,
    /// An authorization server is being asked.
    Grants(Question),
    /// No more publishes may be waiting for their answers than so many.
    Answers(usize),
    /// The last answer, before the connection closes.
    LastAnswer,
}

/// Why a batch of commands ended.
#[derive(Debug)]
pub(super) enum Stop {
    /// There is no whole command left.
    Wait,
    /// The same bytes again: the client has subscribed.
    Again,
    /// Boxed, since it is rare and every command returns one of these.
    CreateTopic(Box<(TopicName, Option<ChannelName>)>),
    Upgrade(Negotiation),
    Ask(Question),
    /// The command at the front has to wait until no more publishes wait than so many.
    Answers(usize),
    /// The answer to a fatal error was given.
    Close,
    /// Close without a word.
    Drop,
}

impl Stop {
    /// The topic, and perhaps the channel, has to be made.
    #[cold]
    pub(super) fn create(topic: TopicName, channel: Option<ChannelName>) -> Stop {
        Stop::CreateTopic(Box::new((topic, channel)))
    }
}
