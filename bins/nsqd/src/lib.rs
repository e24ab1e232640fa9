//! nsqd: receives, queues and delivers messages.
//!
//! What a client's commands do is decided in `nsq-server` and `nsq-core`. Here is what they must not have: sockets, tasks,
//! the clock, TLS, HTTP, signals.

#![warn(clippy::too_many_lines)]

mod accept;
mod admission;
mod auth;
mod background;
mod check;
mod client_table;
mod clock;
mod cluster;
mod cluster_ops;
mod connection;
mod counted;
mod data_path;
mod drain;
pub mod embedded;
mod export;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
#[path = "../../../tests/fuzz/bodies/nsqd.rs"]
pub mod fuzz;
mod hooks;
mod http;
mod http_servers;
mod notified;
mod nsqd;
mod registration;
pub mod run;
mod scrapes;
pub mod settings;
mod sockets;
pub mod start;
mod statsd;
mod sync_runner;
mod timers;
mod topics;
mod upkeep;
mod view;
mod workers;
