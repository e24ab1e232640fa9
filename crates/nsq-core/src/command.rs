//! The committed changes of a replicated data path, as every replica executes them in the same order.
//!
//! A command says what is wanted; what follows from it (sequences, where a new channel begins, what an emptied topic
//! skips) is computed by each replica from what it holds, which is the same everywhere. [`Broker::execute`] executes
//! commands on the leader, [`Replica::execute`] on the others, and both leave the same durable state.
//!
//! [`Broker::execute`]: crate::Broker::execute
//! [`Replica::execute`]: crate::replica::Replica::execute

use nsq_protocol::{ChannelName, TopicName};
use nsq_queue::NewRecord;

use crate::change::{FanOut, Journaled, LogKind};

/// One committed change.
///
/// Executing is idempotent: a change that was executed before a kill may come again, with those after it. Where names or
/// positions would be taken for others then, the command is a [barrier](Command::is_barrier).
#[derive(Debug, Clone, Copy)]
pub enum Command<'a> {
    /// Messages for a topic. Their ids ascend, and are higher than those of all earlier messages of that log. Messages that are
    /// executed again are in the log once. Without the topic, the messages are dropped.
    Publish {
        /// The topic.
        topic: &'a TopicName,
        /// [`LogKind::Main`], or [`LogKind::Deferred`] for messages with a due time.
        log: LogKind,
        /// The messages.
        records: &'a [NewRecord<'a>],
    },
    /// The topic is made, unless it is there.
    CreateTopic(&'a TopicName),
    /// The topic is deleted, if it is there.
    DeleteTopic(&'a TopicName),
    /// The channel is made, unless it is there. Without the topic, nothing happens.
    CreateChannel(&'a TopicName, &'a ChannelName),
    /// The channel is deleted, if it is there.
    DeleteChannel(&'a TopicName, &'a ChannelName),
    /// The topic is paused or resumed.
    PauseTopic(&'a TopicName, bool),
    /// The channel is paused or resumed.
    PauseChannel(&'a TopicName, &'a ChannelName, bool),
    /// What waits in the topic, and was not offered to a channel, is dropped.
    EmptyTopic(&'a TopicName),
    /// A topic without durable channels has offered its messages up to there to ephemeral ones: a durable channel that is
    /// made later does not get them. Recorded by the leader as [`Action::FannedOut`](crate::change::Action::FannedOut),
    /// and executed by all replicas, the leader among them.
    FannedOut {
        /// The topic.
        topic: &'a TopicName,
        /// The position. One that lies before the known one changes nothing, nor does any once the topic has a durable
        /// channel: what it has not been offered waits for it.
        position: FanOut,
    },
    /// A channel has finished messages of a log. Not for the leader that recorded it.
    Finished {
        /// The topic.
        topic: &'a TopicName,
        /// The channel.
        channel: &'a ChannelName,
        /// The log.
        log: LogKind,
        /// All below are finished.
        floor: u64,
        /// These are, too.
        sequences: &'a [u64],
    },
    /// Messages came back to a channel. Not for the leader that recorded it.
    Journaled {
        /// The topic.
        topic: &'a TopicName,
        /// The channel.
        channel: &'a ChannelName,
        /// When, in unix nanoseconds.
        unix_nanos: i64,
        /// The messages.
        entries: &'a [Journaled],
    },
}

impl Command<'_> {
    /// Whether commands before this one must not be executed again after it, nor this one after later ones: messages
    /// that found no topic, say, must not find the one that was made later. The owner of the data path stores how far it
    /// has executed right before and right after such a command, so that a kill brings at most the command itself again.
    /// Barriers are rare.
    pub fn is_barrier(&self) -> bool {
        match self {
            Command::CreateTopic(_)
            | Command::DeleteTopic(_)
            | Command::DeleteChannel(..)
            | Command::PauseTopic(..)
            | Command::PauseChannel(..)
            | Command::EmptyTopic(_) => true,
            Command::Publish { .. }
            | Command::CreateChannel(..)
            | Command::FannedOut { .. }
            | Command::Finished { .. }
            | Command::Journaled { .. } => false,
        }
    }

    /// The topic that changes.
    pub fn topic(&self) -> &TopicName {
        match self {
            Command::Publish { topic, .. }
            | Command::CreateTopic(topic)
            | Command::DeleteTopic(topic)
            | Command::CreateChannel(topic, _)
            | Command::DeleteChannel(topic, _)
            | Command::PauseTopic(topic, _)
            | Command::PauseChannel(topic, _, _)
            | Command::EmptyTopic(topic)
            | Command::FannedOut { topic, .. }
            | Command::Finished { topic, .. }
            | Command::Journaled { topic, .. } => topic,
        }
    }
}
