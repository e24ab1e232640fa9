//! What the core refuses, and why.

use nsq_queue::{FileError, LogError};

/// Why FIN, REQ or TOUCH did not apply. `Display` is the end of upstream's error text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotInFlight {
    /// No client holds such a message on this channel.
    #[error("ID not in flight")]
    Unknown,
    /// Another client holds it.
    #[error("client does not own message")]
    NotOwner,
}

/// Why a publish was not accepted. `Display` is the cause in upstream's error text.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The topic is being deleted, or nsqd is stopping.
    #[error("exiting")]
    Exiting,
    /// nsqd is leaving: the message is to go to another one.
    #[error("draining")]
    Draining,
    /// The topic is replicated: it takes messages as committed [commands](crate::command) only.
    #[error("the topic is replicated")]
    Replicated,
    /// The log could not take the messages; none of them is in it.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Why a client could not subscribe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// The channel is being deleted, or nsqd is stopping.
    #[error("exiting")]
    Exiting,
    /// The channel has as many clients as it may have.
    #[error("exceeds limit of {limit}")]
    TooManyClients {
        /// `--max-channel-consumers`.
        limit: usize,
    },
}

/// A topic or channel could not be made, opened or deleted.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file operation failed.
    #[error("{act} {path}: {source}")]
    Io {
        /// What was tried, such as `create`.
        act: &'static str,
        /// The file or folder.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A log or marks file could not be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// nsqd is stopping.
    #[error("exiting")]
    Exiting,
    /// nsqd is leaving: the topic or channel is to be made at another one.
    #[error("draining")]
    Draining,
    /// The program around the core wants no more of them; the text says why.
    #[error("{0}")]
    Refused(String),
}

impl From<PublishError> for StoreError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Exiting => StoreError::Exiting,
            PublishError::Draining => StoreError::Draining,
            PublishError::Replicated => StoreError::Refused(error.to_string()),
            PublishError::Log(error) => StoreError::Log(error),
        }
    }
}

impl From<FileError> for StoreError {
    fn from(error: FileError) -> Self {
        StoreError::Log(error.into())
    }
}

impl StoreError {
    pub(crate) fn io(
        act: &'static str,
        path: &std::path::Path,
        source: std::io::Error,
    ) -> StoreError {
        StoreError::Io {
            act,
            path: path.display().to_string(),
            source,
        }
    }
}
