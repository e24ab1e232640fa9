//! nsqd: receives, queues and delivers messages.
//!
//! A message's way: socket, connection, decoder, topic, log; then channel, `take`, frames, one write.

mod admission;
mod auth;
mod check;
mod client;
mod clock;
mod connection;
mod drain;
mod export;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod http;
mod nsqd;
mod registration;
pub mod run;
pub mod settings;
pub mod start;
mod statsd;
mod syncer;
mod timers;
mod workers;
