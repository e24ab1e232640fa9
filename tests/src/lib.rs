//! Black-box tests of the built daemons, and what they have in common.
//!
//! Nothing here links the daemons' code: a test starts the binary on free loopback ports over a folder of
//! its own, talks to it in bytes, and leaves no process behind. `NSQD` names another nsqd to test, and
//! `NSQD_FLAGS` adds flags to every start of it. `SEED` repeats what a crash test threw its dice for.

mod http;
mod languages;
mod log;
mod nsqd;
mod raw_client;
mod start;
mod wait;

pub use http::Reply;
pub use languages::ClientLibrary;
pub use log::Log;
pub use nsqd::Nsqd;
pub use raw_client::{Delivery, Frame, RawClient, ReadEnd};
pub use start::{Start, path_of_nsqd};
pub use wait::{PATIENCE, SILENCE, say_loudly, wait_until};
