//! The HTTP API of a running nsqd: status codes, headers, bodies.

mod config;
mod latency;
mod manage;
mod metrics;
mod peek;
mod publish;
mod reference;
mod routing;
mod stats;
mod stats_text;
mod statsd;
