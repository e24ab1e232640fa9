//! The load generator as a library: what `nsq_bench` does, for the programs that measure with it.
//!
//! ```text
//! options ─▶ run ─┬─ coordinator ─▶ one thread each: publisher, subscriber ─▶ report
//!                 └─ process: the server's CPU time and memory
//! idle, crowd: connections without messages, and many connections on one thread
//! ```
//!
//! The generator has to be cheap, since it shares the machine with the server that it measures: commands are encoded
//! once and sent again and again, and no message allocates anything.
#![expect(
    missing_docs,
    reason = "for nsq_bench and the suite in tests/bench only: fields, options and reports are named after what they hold"
)]

pub mod clock;
mod command_block;
pub mod connection;
mod coordinator;
pub mod crowd;
pub mod error;
pub mod idle;
pub mod inbox;
pub mod latency;
pub mod layers;
pub mod options;
pub mod process;
mod progress;
mod publisher;
pub mod report;
pub mod run;
mod schedule;
mod subscriber;
