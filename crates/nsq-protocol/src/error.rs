//! Every error nsqd answers a command with.
//!
//! Source: nsqd/protocol_v2.go, nsq 1.3.0. The texts are part of the protocol: clients match on
//! them, so they are upstream's to the byte, but for the few that upstream never has to say.

use std::fmt;

use crate::{ChannelName, CommandName, RawMessageId, TopicName, go_quote};

/// A command nsqd refuses. `Display` is the error frame's body, byte for byte, but where the body
/// repeats bytes of the client's that are not ASCII: there each shows as the character of its
/// number, and only [`write_body`](Self::write_body) has the bytes themselves.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are what the text shows")]
pub enum CommandError {
    /// There are as many connections as there may be, or file handles for. Not upstream's.
    #[error("E_TOO_MANY_CONNECTIONS {cause}")]
    TooManyConnections { cause: String },
    /// A connection without a command. Not upstream's.
    #[error("E_TIMEOUT {cause}")]
    Silent { cause: String },
    /// The first four bytes of a connection are not a protocol we speak.
    #[error("E_BAD_PROTOCOL")]
    BadProtocol,
    /// No such command.
    #[error("E_INVALID invalid command {}", Echo(.name))]
    InvalidCommand { name: Box<[u8]> },
    /// The connection must be upgraded to TLS before this command.
    #[error("E_INVALID cannot {} in current state (TLS required)", Echo(.name))]
    TlsRequired { name: Box<[u8]> },
    /// The command does not fit what the connection has done so far.
    #[error("E_INVALID cannot {command} in current state")]
    WrongState { command: CommandName },
    /// SUB on a connection whose IDENTIFY turned heartbeats off.
    #[error("E_INVALID cannot SUB with heartbeats disabled")]
    HeartbeatsDisabled,
    /// SUB, PUB, MPUB, DPUB, FIN, REQ or TOUCH is missing a parameter.
    #[error("E_INVALID {command} insufficient number of {}", parameters_word(*.command))]
    TooFewParameters { command: CommandName },
    /// AUTH takes no parameter.
    #[error("E_INVALID AUTH invalid number of parameters")]
    AuthParameters,
    /// A FIN, REQ or TOUCH whose id is not 16 bytes.
    #[error("E_INVALID invalid message ID")]
    InvalidMessageId,
    /// A RDY whose count is not a number.
    #[error("E_INVALID RDY could not parse count {}", Echo(.text))]
    ReadyCountSyntax { text: Box<[u8]> },
    /// A ready count nsqd does not allow.
    #[error("E_INVALID RDY count {count} out of range 0-{max}")]
    ReadyCountRange { count: i64, max: i64 },
    /// A REQ or DPUB whose delay is not a number.
    #[error("E_INVALID {command} could not parse timeout {}", Echo(.text))]
    DelaySyntax {
        command: CommandName,
        text: Box<[u8]>,
    },
    /// A DPUB whose delay is longer than nsqd allows.
    #[error("E_INVALID DPUB timeout {millis} out of range 0-{max_millis}")]
    DelayRange { millis: u64, max_millis: u128 },

    /// A publish or SUB with a bad topic name.
    // Compat: MPUB's text repeats the code (protocol_v2.go, MPUB).
    #[error(
        "E_BAD_TOPIC {}{command} topic name {} is not valid",
        if *.command == CommandName::PublishMany { "E_BAD_TOPIC " } else { "" },
        go_quote(.name)
    )]
    BadTopic {
        command: CommandName,
        name: Box<[u8]>,
    },
    /// A SUB with a bad channel name.
    #[error("E_BAD_CHANNEL SUB channel name {} is not valid", go_quote(.name))]
    BadChannel { name: Box<[u8]> },

    /// IDENTIFY, AUTH or MPUB ended before its body's size.
    #[error("E_BAD_BODY {command} failed to read body size")]
    BodySizeMissing { command: CommandName },
    /// IDENTIFY, AUTH or MPUB with an empty body or a negative size.
    #[error("E_BAD_BODY {command} invalid body size {size}")]
    BodySizeInvalid { command: CommandName, size: i32 },
    /// IDENTIFY, AUTH or MPUB with a larger body than nsqd allows.
    #[error("E_BAD_BODY {command} body too big {size} > {max}")]
    BodyTooBig {
        command: CommandName,
        size: i64,
        max: i64,
    },
    /// IDENTIFY or AUTH ended within its body.
    #[error("E_BAD_BODY {command} failed to read body")]
    BodyMissing { command: CommandName },
    /// An MPUB that ended before its count.
    #[error("E_BAD_BODY MPUB failed to read message count")]
    CountMissing,
    /// An MPUB of no message, or of more than its body could hold.
    #[error("E_BAD_BODY MPUB invalid message count {count}")]
    CountInvalid { count: i32 },

    /// PUB or DPUB ended before its body's size.
    #[error("E_BAD_MESSAGE {command} failed to read message body size")]
    MessageSizeMissing { command: CommandName },
    /// PUB or DPUB of an empty message, or of a negative size.
    #[error("E_BAD_MESSAGE {command} invalid message body size {size}")]
    MessageSizeInvalid { command: CommandName, size: i32 },
    /// PUB, DPUB or MPUB of a larger message than nsqd allows.
    #[error("E_BAD_MESSAGE {command} message too big {size} > {max}")]
    MessageTooBig {
        command: CommandName,
        size: i32,
        max: i64,
    },
    /// PUB, DPUB or MPUB ended within a message.
    #[error("E_BAD_MESSAGE {command} failed to read message body")]
    MessageMissing { command: CommandName },
    /// An MPUB that ended before the size of its message `index`.
    #[error("E_BAD_MESSAGE MPUB failed to read message({index}) body size")]
    NthSizeMissing { index: u32 },
    /// An MPUB whose message `index`, counted from 0, is empty or has a negative size.
    #[error("E_BAD_MESSAGE MPUB invalid message({index}) body size {size}")]
    NthSizeInvalid { index: u32, size: i32 },

    /// An IDENTIFY whose body is not the JSON it should be.
    #[error("E_BAD_BODY IDENTIFY failed to decode JSON body")]
    IdentifyJson,
    /// An IDENTIFY whose heartbeat interval, in milliseconds, is out of range.
    #[error("E_BAD_BODY IDENTIFY heartbeat interval ({0}) is invalid")]
    HeartbeatInterval(i64),
    /// An IDENTIFY whose output buffer timeout, in milliseconds, is out of range.
    #[error("E_BAD_BODY IDENTIFY output buffer timeout ({0}) is invalid")]
    OutputBufferTimeout(i64),
    /// An IDENTIFY whose output buffer size, in bytes, is out of range.
    #[error("E_BAD_BODY IDENTIFY output buffer size ({0}) is invalid")]
    OutputBufferSize(i64),
    /// An IDENTIFY whose sample rate, in per cent, is out of range.
    #[error("E_BAD_BODY IDENTIFY sample rate ({0}) is invalid")]
    SampleRate(i32),
    /// An IDENTIFY whose message timeout, in milliseconds, is out of range.
    #[error("E_BAD_BODY IDENTIFY msg timeout ({0}) is invalid")]
    MessageTimeout(i64),
    /// An IDENTIFY that asks for two compressions, and nsqd has both.
    #[error("E_IDENTIFY_FAILED cannot enable both deflate and snappy compression")]
    BothCompressions,
    /// The answer to IDENTIFY could not be sent, or the connection not be upgraded.
    #[error("E_IDENTIFY_FAILED IDENTIFY failed {cause}")]
    IdentifyFailed { cause: String },

    /// A second AUTH.
    #[error("E_INVALID AUTH already set")]
    AuthAlreadySet,
    /// AUTH, but nsqd has no authorization server.
    #[error("E_AUTH_DISABLED AUTH disabled")]
    AuthDisabled,
    /// The authorization server did not answer as it should. The cause is for the log only.
    #[error("E_AUTH_FAILED AUTH failed")]
    AuthFailed,
    /// The authorization server knows the client but grants it nothing.
    #[error("E_UNAUTHORIZED AUTH no authorizations found")]
    NoAuthorizations,
    /// The answer to AUTH could not be sent.
    #[error("E_AUTH_ERROR AUTH error {cause}")]
    AuthError { cause: String },
    /// SUB, PUB, MPUB or DPUB before AUTH where that is required.
    #[error("E_AUTH_FIRST AUTH required before {command}")]
    AuthRequired { command: CommandName },
    /// The client may not do this to this topic and channel; a publish has no channel.
    #[error(
        "E_UNAUTHORIZED AUTH failed for {command} on {} {}",
        go_quote(.topic.as_str().as_bytes()),
        go_quote(.channel.as_ref().map_or("", |channel| channel.as_str()).as_bytes())
    )]
    Unauthorized {
        command: CommandName,
        topic: TopicName,
        channel: Option<ChannelName>,
    },

    /// A SUB to a channel that is being deleted, or while nsqd shuts down.
    #[error("E_SUB_FAILED SUB failed exiting")]
    SubscribeExiting,
    /// A SUB to a topic or channel that is not there and is not made.
    #[error("E_SUB_FAILED SUB failed {cause}")]
    SubscribeFailed { cause: String },
    /// A SUB to a channel that has all the consumers it may have.
    #[error("E_SUB_FAILED SUB failed consumers for {topic}:{channel} exceeds limit of {max}")]
    TooManyConsumers {
        topic: TopicName,
        channel: ChannelName,
        max: i64,
    },
    /// A SUB to something ephemeral that went away meanwhile, twice.
    #[error("E_SUB_FAILED SUB failed to deleted topic/channel")]
    SubscribeDeleted,
    /// PUB, MPUB or DPUB that the topic did not take.
    #[error("E_{command}_FAILED {command} failed {cause}")]
    PublishFailed { command: CommandName, cause: String },
    /// FIN of a message this client does not hold.
    #[error("E_FIN_FAILED FIN {} failed {reason}", Echo(.id))]
    FinishFailed {
        id: RawMessageId,
        reason: FailureReason,
    },
    /// REQ of a message this client does not hold, or that could not be put back.
    #[error("E_REQ_FAILED REQ {} failed {reason}", Echo(.id))]
    RequeueFailed {
        id: RawMessageId,
        reason: FailureReason,
    },
    /// TOUCH of a message this client does not hold.
    #[error("E_TOUCH_FAILED TOUCH {} failed {reason}", Echo(.id))]
    TouchFailed {
        id: RawMessageId,
        reason: FailureReason,
    },
}

impl CommandError {
    /// Whether the connection closes after the reply. A FIN, REQ or TOUCH can honestly lose a race
    /// with the timeout; after the rest, the two sides may disagree on where the next command begins.
    pub fn is_fatal(&self) -> bool {
        !matches!(
            self,
            Self::FinishFailed { .. } | Self::RequeueFailed { .. } | Self::TouchFailed { .. }
        )
    }

    /// Appends the error frame's body.
    pub fn write_body(&self, out: &mut Vec<u8>) {
        let text = self.to_string();
        if self.echoes_bytes() {
            // All else in these texts is ASCII, so every character has its byte.
            out.extend(text.chars().map(|c| u8::try_from(c).unwrap_or(b'?')));
        } else {
            out.extend_from_slice(text.as_bytes());
        }
    }

    /// Whether the text has an [`Echo`] in it.
    fn echoes_bytes(&self) -> bool {
        matches!(
            self,
            Self::InvalidCommand { .. }
                | Self::TlsRequired { .. }
                | Self::ReadyCountSyntax { .. }
                | Self::DelaySyntax { .. }
                | Self::FinishFailed { .. }
                | Self::RequeueFailed { .. }
                | Self::TouchFailed { .. }
        )
    }
}

/// Why a channel refused FIN, REQ or TOUCH.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FailureReason {
    /// No client holds the message: it was finished, requeued, or timed out.
    #[error("ID not in flight")]
    NotInFlight,
    /// Another connection holds the message.
    #[error("client does not own message")]
    NotOwner,
    /// REQ while the channel is being deleted, or nsqd shuts down.
    #[error("exiting")]
    Exiting,
    /// REQ of a message that is deferred already.
    #[error("ID already deferred")]
    AlreadyDeferred,
    /// TOUCH lost a race with another delivery.
    #[error("ID already in flight")]
    AlreadyInFlight,
    /// REQ could not write the message back.
    #[error("{}", Echo(.0.as_bytes()))]
    Backend(String),
}

/// Bytes that a description repeats as they came.
///
/// A `Formatter` takes text only, so each byte becomes the character of the same number, which
/// [`CommandError::write_body`] turns back.
struct Echo<'a>(&'a [u8]);

impl fmt::Display for Echo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|&byte| fmt::Write::write_char(f, char::from(byte)))
    }
}

/// Compat: the commands about one message say "params", the others "parameters" (protocol_v2.go).
fn parameters_word(command: CommandName) -> &'static str {
    match command {
        CommandName::Finish | CommandName::Requeue | CommandName::Touch => "params",
        _ => "parameters",
    }
}

#[cfg(test)]
mod tests;
