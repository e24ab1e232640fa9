//! Why a connection does not come about, or ends.

use std::io;
use std::time::Duration;

use nsq_protocol::DecodeError;

use crate::config::ConfigError;

/// Why there is no connection to an nsqd, or none any more.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is no `host:port`, or its host is not known.
    #[error("dial tcp {address}: {}", plain_text(.source))]
    Resolve {
        /// As given.
        address: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// No one took the connection.
    #[error("dial tcp {address}: {act}: {}", plain_text(.source))]
    Dial {
        /// As given.
        address: String,
        /// What was tried: `bind` or `connect`.
        act: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// No one took it in time.
    #[error("dial tcp {address}: i/o timeout")]
    DialTimeout {
        /// As given.
        address: String,
    },
    /// It failed once it was there.
    #[error("{}", plain_text(.0))]
    Io(#[from] io::Error),
    /// nsqd closed the connection.
    #[error("EOF")]
    Closed,
    /// Nothing came for longer than the read timeout, heartbeats included.
    #[error("nothing received for {0:?}")]
    ReadTimeout(Duration),
    /// nsqd took none of what was sent for longer than the write timeout.
    #[error("nothing could be sent for {0:?}")]
    WriteTimeout(Duration),
    /// What came is no frame.
    #[error("{0}")]
    Decode(#[from] DecodeError),
    /// What answered is an HTTP server: nsqd's HTTP address, most likely.
    #[error("unexpected HTTP response, a nsqd TCP endpoint is required")]
    Http,
    /// nsqd refused who we are or what we want to negotiate.
    #[error("failed to IDENTIFY - {text}")]
    Identify {
        /// nsqd's error.
        text: String,
    },
    /// A layer of the connection could not be put in.
    #[error("failed to IDENTIFY - {layer}: {}", plain_text(.source))]
    Upgrade {
        /// `TLS`, `snappy` or `deflate`.
        layer: &'static str,
        /// What went wrong.
        source: io::Error,
    },
    /// TLS was asked for, and nsqd has none.
    #[error("failed to IDENTIFY - TLS was asked for, but nsqd does not offer it")]
    NoTls,
    /// nsqd wants a secret, and none is set.
    #[error("Auth Required")]
    AuthRequired,
    /// nsqd does not take the secret.
    #[error("Error authenticating {text}")]
    Auth {
        /// nsqd's error.
        text: String,
    },
    /// nsqd refused the subscription.
    #[error("failed to subscribe - {text}")]
    Subscribe {
        /// nsqd's error.
        text: String,
    },
    /// nsqd answered with something else than what the protocol has there.
    #[error("unexpected answer to {command}: {answer:?}")]
    UnexpectedAnswer {
        /// What was asked.
        command: &'static str,
        /// The beginning of the answer.
        answer: String,
    },
    /// The consumer has this connection, or is making it.
    #[error("already connected")]
    AlreadyConnected,
    /// The consumer has been stopped.
    #[error("consumer stopped")]
    Stopped,
}

/// Why a consumer or producer cannot be made or told something.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The configuration does not hold together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The topic's name is not valid.
    #[error("invalid topic name")]
    Topic,
    /// The channel's name is not valid.
    #[error("invalid channel name")]
    Channel,
    /// There is no address of an nsqd.
    #[error("no address of an nsqd was given")]
    NoAddress,
    /// The address of an nsqlookupd is neither `host:port` nor a URL with a port.
    #[error("{address}: {reason}")]
    LookupAddress {
        /// As given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The consumer has been stopped.
    #[error("consumer stopped")]
    Stopped,
    /// The consumer does not know this address.
    #[error("not connected")]
    NotConnected,
}

/// An error's plain text: `connection refused`, where Rust's own would be
/// `Connection refused (os error 111)`.
fn plain_text(error: &io::Error) -> String {
    let text = error.to_string();
    if error.raw_os_error().is_none() {
        return text;
    }
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_lowercase().chain(chars).collect())
        .unwrap_or_default()
}
