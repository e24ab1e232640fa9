//! Black-box tests of the built daemons, and what they have in common.
//!
//! Nothing here links the daemons' code, except for the module that adds TLS and compression to a connection: a test starts
//! the binary on free loopback ports over a new folder, talks to it in bytes, and ends every process that it started.
//! `NSQD`, `NSQLOOKUPD` and `NSQADMIN` name other programs to test, and `NSQD_FLAGS` adds flags to every start of an nsqd.
//! `SEED` repeats a crash test with the same random numbers.

mod admin;
mod auth_server;
mod cluster;
mod daemon;
mod delay;
mod exposition;
mod fake;
mod http;
mod languages;
mod layers;
mod log;
mod lookupd;
mod mounts;
mod network;
mod nsqd;
mod raw_client;
mod start;
mod stream;
mod tool;
mod wait;

pub use admin::Admin;
pub use auth_server::{AuthServer, Question};
pub use cluster::Cluster;
pub use daemon::Daemon;
pub use exposition::Exposition;
pub use fake::{Fake, Told};
pub use http::Reply;
pub use languages::ClientLibrary;
pub use layers::tls_tunnel;
pub use log::Log;
pub use lookupd::Lookupd;
pub use mounts::{SmallDisk, mount_wrapper};
pub use network::Network;
pub use nsqd::Nsqd;
pub use raw_client::{Delivery, Frame, RawClient, ReadEnd};
pub use start::{Start, build_folder, free_port, path_of_nsqd, path_of_nsqlookupd};
pub use tool::Tool;
pub use wait::{PATIENCE, SILENCE, say_loudly, wait_until};
