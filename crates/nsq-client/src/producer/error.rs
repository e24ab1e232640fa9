//! Why a publish failed, and what that says about the message.

use std::sync::Arc;
use std::time::Duration;

use crate::error::ConnectError;

/// Why a publish failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The producer has been stopped. Nothing was sent.
    #[error("stopped")]
    Stopped,
    /// There is no connection. Nothing was sent.
    #[error(transparent)]
    Connect(Arc<ConnectError>),
    /// A message without a single byte, or no message at all, which nsqd does not take. Nothing was sent.
    #[error("an empty message cannot be published")]
    Empty,
    /// More bytes than the protocol can say. Nothing was sent.
    #[error("{0} bytes are too many for one publish")]
    TooLong(usize),
    /// nsqd refused it; this is its error.
    #[error("{0}")]
    Rejected(String),
    /// The connection was lost before all of it had been sent: nsqd cannot have it.
    #[error("not connected ({0})")]
    NotSent(Arc<ConnectError>),
    /// The connection was lost before the answer came: nsqd may have it.
    #[error("not connected (no answer: {0})")]
    Lost(Arc<ConnectError>),
    /// No node of the cluster took it in time.
    #[error("no node took it within {after:?}, the last one said: {last}")]
    GivenUp {
        /// How long it was tried.
        after: Duration,
        /// Why the last try failed.
        last: Box<PublishError>,
        /// Whether one of the tries may have succeeded without an answer.
        may_have_been_accepted: bool,
    },
}

impl PublishError {
    /// Whether nsqd may have the message although the publish failed: then publishing it again may store it twice.
    pub fn may_have_been_accepted(&self) -> bool {
        match self {
            Self::Lost(_) => true,
            Self::GivenUp {
                may_have_been_accepted,
                ..
            } => *may_have_been_accepted,
            Self::Stopped
            | Self::Connect(_)
            | Self::Empty
            | Self::TooLong(_)
            | Self::Rejected(_)
            | Self::NotSent(_) => false,
        }
    }

    /// Whether another nsqd may take what this one did not: the fault is not the message's.
    pub fn is_about_nsqd(&self) -> bool {
        match self {
            Self::Connect(_) | Self::NotSent(_) | Self::Lost(_) | Self::GivenUp { .. } => true,
            // It shuts down, or cannot write.
            Self::Rejected(text) => {
                let code = text.split(' ').next().unwrap_or_default();
                matches!(code, "E_PUB_FAILED" | "E_MPUB_FAILED" | "E_DPUB_FAILED")
            }
            Self::Stopped | Self::Empty | Self::TooLong(_) => false,
        }
    }
}
