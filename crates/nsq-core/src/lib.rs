//! The core of nsqd: topics and channels as state machines over the log. No sockets, and no clock: every method that
//! needs the time takes it as an argument.
//!
//! Locks are taken in this order: the broker's table of topics, a topic's state, a channel's state. None is held
//! while a client is woken.

pub mod broker;
pub mod change;
pub mod channel;
pub mod checkpoint;
pub mod client;
pub mod command;
pub mod crash;
mod data_path;
mod effects;
mod ends;
pub mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
#[path = "../../../tests/fuzz/bodies/core.rs"]
pub mod fuzz;
mod ids;
pub mod import;
pub mod inspect;
pub mod latency;
pub mod metadata;
pub mod peek;
pub mod pending;
mod registry;
pub mod replica;
mod standing;
pub mod stats;
#[cfg(test)]
mod testing;
pub mod time;
pub mod topic;

pub use broker::{Broker, Settings};
pub use channel::{Channel, Delivery, Locality, Reserved, Subscription, Taken, TransferMessage};
pub use client::{ClientHandle, ClientId};
pub use command::Command;
pub use ends::Ends;
pub use error::{NotInFlight, PublishError, StoreError, SubscribeError};
pub use ids::IdGenerator;
pub use peek::{Peek, PeekLimits};
pub use pending::Pending;
pub use time::{Now, Tick};
pub use topic::{ChannelCell, ChannelGuard, SafeOnce, Ticket, TicketState, TicketWaiter, Topic};
