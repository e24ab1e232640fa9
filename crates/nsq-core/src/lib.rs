//! The core of nsqd: topics and channels as state machines over the log. No sockets, and no clock: every method that
//! needs the time takes it as an argument.
//!
//! Locks are taken in this order: the broker's table of topics, a topic's state, a channel's state. None is held
//! while a client is woken.

pub mod broker;
pub mod channel;
pub mod client;
pub mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod ids;
pub mod import;
pub mod latency;
pub mod metadata;
pub mod peek;
pub mod stats;
pub mod survey;
#[cfg(test)]
mod testing;
pub mod time;
pub mod topic;

pub use broker::{Broker, Settings};
pub use channel::{Channel, Delivery, Locality, Moving, SetAside, Subscription, Taken};
pub use client::{ClientHandle, ClientId, Wakes};
pub use error::{NotInFlight, PublishError, StoreError, SubscribeError};
pub use peek::{Peek, PeekLimits};
pub use time::{Now, Tick};
pub use topic::{ChannelCell, Topic};
