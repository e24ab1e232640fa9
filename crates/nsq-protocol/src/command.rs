//! The commands a client may send, as values.

use std::fmt;
use std::time::Duration;

use crate::{CommandError, Messages, RawMessageId};

/// One command that has been read in full, is allowed in the connection's state, and whose
/// parameters and sizes are in range. What remains to be asked is what only nsqd knows.
///
/// Names and bodies are borrowed from the bytes the command came in; a name given as `&str` is
/// valid.
#[derive(Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Nothing to do: the client is alive.
    Nop,
    /// Says who the client is; see [`identify`](crate::identify).
    Identify {
        /// JSON, not looked at yet.
        body: &'a [u8],
    },
    /// Presents a secret. Whether one was presented before, or none is asked for, the caller knows.
    Auth {
        /// For the authorization server.
        secret: &'a [u8],
    },
    /// Subscribes to a channel.
    Subscribe {
        /// A valid name.
        topic: &'a str,
        /// A valid name.
        channel: &'a str,
    },
    /// Publishes one message. The client's permission is checked now, after the body.
    Publish {
        /// A valid name.
        topic: &'a str,
        /// At least one byte.
        body: &'a [u8],
    },
    /// Publishes one message to be held back. The client's permission is checked now, after the body.
    PublishDeferred {
        /// A valid name.
        topic: &'a str,
        /// Whole milliseconds, at most the longest that nsqd allows; zero is a plain publish.
        delay: Duration,
        /// At least one byte.
        body: &'a [u8],
    },
    /// Publishes a batch.
    PublishMany {
        /// A valid name.
        topic: &'a str,
        /// The batch, or what is wrong with it.
        ///
        /// Compat: upstream checks the permission, then creates the topic, then reads the batch
        /// (protocol_v2.go, MPUB). So the caller does the first two before it looks in here.
        messages: Result<Messages<'a>, CommandError>,
    },
    /// Sets the ready count.
    Ready {
        /// From 0 to the most that nsqd allows.
        count: u32,
    },
    /// A RDY after CLS: not looked at, not answered, only logged.
    ReadyIgnored,
    /// Finishes a message.
    Finish {
        /// Any 16 bytes.
        id: RawMessageId,
    },
    /// Gives a message back.
    Requeue {
        /// Any 16 bytes.
        id: RawMessageId,
        /// From zero to the longest that nsqd allows.
        delay: Duration,
        /// The milliseconds asked for, where they were out of range: upstream logs that.
        clamped_from: Option<i64>,
    },
    /// Asks for more time with a message.
    Touch {
        /// Any 16 bytes.
        id: RawMessageId,
    },
    /// Asks for no more messages.
    Close,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientState {
    /// Connected; not subscribed.
    Init,
    /// SUB has been answered.
    Subscribed,
    /// CLS has been answered; what is in flight may still be dealt with.
    Closing,
}

impl ClientState {
    /// The number the statistics show. Upstream names 1 and 2 too but never uses them.
    pub fn number(self) -> u8 {
        match self {
            Self::Init => 0,
            Self::Subscribed => 3,
            Self::Closing => 4,
        }
    }
}

/// A command, to name it in an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the command of that name")]
pub enum CommandName {
    Identify,
    Auth,
    Subscribe,
    Publish,
    PublishMany,
    PublishDeferred,
    Ready,
    Finish,
    Requeue,
    Touch,
    Close,
}

impl CommandName {
    /// The name as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identify => "IDENTIFY",
            Self::Auth => "AUTH",
            Self::Subscribe => "SUB",
            Self::Publish => "PUB",
            Self::PublishMany => "MPUB",
            Self::PublishDeferred => "DPUB",
            Self::Ready => "RDY",
            Self::Finish => "FIN",
            Self::Requeue => "REQ",
            Self::Touch => "TOUCH",
            Self::Close => "CLS",
        }
    }
}

impl fmt::Display for CommandName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
