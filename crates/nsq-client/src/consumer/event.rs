//! What a consumer tells its user besides messages.

use std::time::Duration;

use super::message::Delivery;
use crate::error::ConnectError;
use crate::lookup::LookupError;

/// Something that happened to a consumer. The same is logged by `tracing`.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConsumerEvent<'a> {
    /// There is a new connection, and it is subscribed.
    Connected {
        /// `host:port`.
        address: &'a str,
    },
    /// A connection could not be made.
    ConnectFailed {
        /// `host:port`.
        address: &'a str,
        /// Why.
        error: &'a ConnectError,
    },
    /// A connection ended.
    Disconnected {
        /// `host:port`.
        address: &'a str,
        /// Why; `None` if this side wanted it.
        error: Option<&'a ConnectError>,
    },
    /// nsqd refused a command, most often an answer that came too late.
    Refused {
        /// `host:port`.
        address: &'a str,
        /// nsqd's error.
        text: &'a str,
    },
    /// An nsqlookupd could not be asked.
    LookupFailed {
        /// What was asked.
        url: &'a str,
        /// Why it failed.
        error: &'a LookupError,
    },
    /// Failures had the consumer stop taking messages for a while.
    BackingOff {
        /// How long.
        duration: Duration,
        /// How many failures more than successes.
        level: u32,
    },
    /// The consumer takes messages as before.
    BackoffOver,
    /// A message had more attempts than allowed, and is finished unseen.
    GaveUp {
        /// The message.
        delivery: &'a Delivery,
    },
}
