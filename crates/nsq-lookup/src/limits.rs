//! What others may take of nsqlookupd.

use std::sync::Arc;
use std::time::Duration;

use nsq_daemon::http::{ApiError, HttpLimits, StatusCode};
use nsq_daemon::listen::Gate;
use nsq_daemon::options::LiveNumber;
use nsq_daemon::refusals::Refusals;
use nsq_protocol::{ChannelName, TopicName};

use crate::registry::Registry;

/// The limits of one nsqlookupd.
#[derive(Debug, Clone)]
pub struct LookupLimits {
    /// How many TCP connections there may be.
    pub gate: Arc<Gate>,
    /// What counts those that were refused.
    pub refusals: Arc<Refusals>,
    /// How long a TCP connection has for its first command, TLS included; zero is no limit.
    pub first_command_timeout: Duration,
    /// Most topics in the registry; 0 is no limit.
    pub max_topics: LiveNumber,
    /// Most channels of one topic in the registry; 0 is no limit.
    pub max_channels: LiveNumber,
    /// Those of HTTP.
    pub http: HttpLimits,
}

/// A registration for which there is no room. `Display` is the end of what is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no more than {max} {what} (--{flag})")]
pub struct Full {
    flag: &'static str,
    what: &'static str,
    max: u64,
}

/// The flag of [`LookupLimits::max_topics`].
pub const MAX_TOPICS: &str = "max-topics";
/// The flag of [`LookupLimits::max_channels`].
pub const MAX_CHANNELS: &str = "max-channels";
/// The flag of [`LookupLimits::first_command_timeout`].
pub const FIRST_COMMAND_TIMEOUT: &str = "first-command-timeout";

impl LookupLimits {
    /// Whether `registry` may take this in, which it may if it has it already; counts and logs that not.
    ///
    /// # Errors
    /// [`Full`].
    pub(crate) fn check(
        &self,
        registry: &Registry,
        topic: &TopicName,
        channel: Option<&ChannelName>,
    ) -> Result<(), Full> {
        let full = |flag, what, max| Err(Full { flag, what, max });
        let outcome = match (registry.topic_size(topic), channel) {
            (None, _) => {
                let max = self.max_topics.bound();
                match max.filter(|max| registry.topic_count() as u64 >= *max) {
                    Some(max) => full(MAX_TOPICS, "topics", max),
                    None => Ok(()),
                }
            }
            (Some(_), None) => Ok(()),
            (Some(_), Some(channel)) if registry.has_channel(topic, channel) => Ok(()),
            (Some(channel_count), Some(_)) => {
                let max = self.max_channels.bound();
                match max.filter(|max| channel_count as u64 >= *max) {
                    Some(max) => full(MAX_CHANNELS, "channels of a topic", max),
                    None => Ok(()),
                }
            }
        };
        outcome.inspect_err(|full| self.refusals.note(full.flag, full))
    }
}

impl Default for LookupLimits {
    /// Everyone comes in, and everything.
    fn default() -> Self {
        Self {
            gate: Gate::open_to_all(),
            refusals: Arc::default(),
            first_command_timeout: DEFAULT_FIRST_COMMAND_TIMEOUT,
            max_topics: LiveNumber::default(),
            max_channels: LiveNumber::default(),
            http: HttpLimits::default(),
        }
    }
}

impl From<Full> for ApiError {
    fn from(full: Full) -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            format!("LIMIT_REACHED: {full}"),
        )
    }
}

/// An nsqd identifies itself as soon as it is connected. A silent connection takes a file handle for nothing;
/// once it has, it may be silent forever.
pub const DEFAULT_FIRST_COMMAND_TIMEOUT: Duration = Duration::from_mins(1);
