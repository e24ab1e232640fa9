//! The durable changes of a data path, as values: everything that an nsqd writes down and that a start reads again.
//!
//! ```text
//! broker ── executes a change on its own files ──▶ Recorder ──▶ ChangeSink ── later ──▶ Replica::apply, on other files
//! ```
//! A data path to which all recorded changes of another one were applied, in their order, opens with the same unfinished
//! messages, attempts and due times. The values name messages by log and sequence, never by their place in a file: each
//! data path has its own segments. When segments are freed, and what is done about damage of one disk, is each data path's
//! own business, and so no change. What is ephemeral is never recorded.
//!
//! Order: the changes of one log are recorded in the order of its sequences, under the topic's lock or, for the logs of a
//! channel, under the channel's; an append is recorded before anyone can see its messages, so before what is finished of
//! them.

use std::fmt;
use std::sync::Arc;

use nsq_protocol::{ChannelName, TopicName};
use nsq_queue::NewRecord;

pub use crate::channel::LogKind;

/// One change, and the topic or channel it is made to.
#[derive(Debug, Clone, Copy)]
pub struct DurableChange<'a> {
    /// The topic.
    pub topic: &'a TopicName,
    /// The channel; `None` for a change of the topic itself.
    pub channel: Option<&'a ChannelName>,
    /// What changes.
    pub action: Action<'a>,
}

/// What is changed of a topic or channel.
#[derive(Debug, Clone, Copy)]
pub enum Action<'a> {
    /// The topic was created.
    TopicCreated,
    /// The channel was created: below these sequences of its topic's logs, nothing is for it.
    ChannelCreated {
        /// In the main log.
        main: u64,
        /// In the deferred log.
        deferred: u64,
    },
    /// The topic with its channels, or the channel, was deleted.
    Deleted,
    /// It was paused or resumed.
    Paused(bool),
    /// How far the topic's logs are fanned out, where that cannot be told from its channels: while the topic stands
    /// still. `None` when it no longer does.
    FannedOut(Option<FanOut>),
    /// Records were appended to a log.
    Appended {
        /// The log.
        log: LogKind,
        /// The sequence of the first.
        first: u64,
        /// The records.
        records: &'a [NewRecord<'a>],
    },
    /// A log was cut off: its records from `end` on are gone, and their sequences will be given again.
    Truncated {
        /// The log.
        log: LogKind,
        /// Where it ends now.
        end: u64,
    },
    /// A log of the channel's own was removed, since all of it is finished. The next one begins at sequence 0.
    LogRemoved(LogKind),
    /// The channel has finished messages of a log.
    Finished {
        /// The log.
        log: LogKind,
        /// All below are finished.
        floor: u64,
        /// These are, too.
        sequences: &'a [u64],
    },
    /// Messages came back to the channel, with these attempts and due times.
    Journaled {
        /// When, in unix nanoseconds.
        unix_nanos: i64,
        /// The messages.
        entries: &'a [Journaled],
    },
    /// Messages with ids up to this one were imported: those of new messages are higher.
    Imported {
        /// The highest id.
        highest_id: u64,
    },
}

/// How far the logs of a topic are fanned out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FanOut {
    /// The main log.
    pub main: u64,
    /// The deferred log, if there is one.
    pub deferred: Option<u64>,
}

/// A message that came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Journaled {
    /// Its id.
    pub id: u64,
    /// The log it lies in.
    pub log: LogKind,
    /// Its sequence there.
    pub sequence: u64,
    /// How often it has been delivered.
    pub attempts: u16,
    /// When it may be delivered, in unix nanoseconds; 0 for at once.
    pub due: i64,
}

/// Takes the changes of a data path. Called with locks of the core held: it may not call back, nor wait.
pub trait ChangeSink: Send + Sync {
    /// The change was made.
    fn record(&self, change: DurableChange<'_>);
}

/// Records the changes of one topic or channel.
#[derive(Clone)]
pub(crate) struct Recorder {
    sink: Arc<dyn ChangeSink>,
    topic: TopicName,
    channel: Option<ChannelName>,
}

impl Recorder {
    pub(crate) fn of_topic(sink: &Arc<dyn ChangeSink>, topic: &TopicName) -> Recorder {
        Recorder {
            sink: Arc::clone(sink),
            topic: topic.clone(),
            channel: None,
        }
    }

    pub(crate) fn of_channel(&self, channel: &ChannelName) -> Recorder {
        Recorder {
            channel: Some(channel.clone()),
            ..self.clone()
        }
    }

    pub(crate) fn record(&self, action: Action<'_>) {
        self.sink.record(DurableChange {
            topic: &self.topic,
            channel: self.channel.as_ref(),
            action,
        });
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Recorder")
            .field("topic", &self.topic)
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}
