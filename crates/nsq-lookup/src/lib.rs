//! Who has which topic, and the protocol that says so.
//!
//! nsqlookupd is a [`Registry`] with two doors: [`server`] listens to what nsqds announce over TCP, and
//! [`api`] answers questions over HTTP. [`peer`] is nsqd's side of the same conversation.

mod admission;
pub mod api;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
#[path = "../../../tests/fuzz/bodies/lookup.rs"]
pub mod fuzz;
mod limits;
mod lookupd;
mod metrics;
mod node;
pub mod peer;
pub mod registry;
pub mod server;
mod session;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;
mod wire;

pub use admission::Admission;
pub use limits::{
    DEFAULT_FIRST_COMMAND_TIMEOUT, FIRST_COMMAND_TIMEOUT, Full, LookupLimits, MAX_CHANNELS,
    MAX_TOPICS,
};
pub use lookupd::{Introduction, Lookupd};
pub use node::Node;
pub use registry::Registry;
