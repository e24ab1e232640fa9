//! The command line.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use nsq_protocol::{ChannelName, TopicName};

use crate::{
    clock::Clock,
    document::DocumentOptions,
    floor::Floor,
    layers::Layers,
    suite::{SuiteOptions, work::PATIENCE},
    tied::Tied,
};

/// Puts load on an nsqd and measures what it costs.
///
/// The measured phase begins when every connection is set up. CPU time is taken until the server
/// has gone quiet again, so work that it puts off counts too.
#[derive(Debug, Parser)]
#[command(name = "nsq_bench", version)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Publishes, and measures how long answers take.
    Publish(Publish),
    /// Subscribes and finishes every message.
    Subscribe(Subscribe),
    /// Publishes and subscribes at once, until all that was published has been received.
    ///
    /// With --rate the load is open-loop: latency counts from the time a message was due, not from
    /// when it could be sent, so that a stall shows in every message it held up.
    Both(Both),
    /// Opens connections and holds them, answering heartbeats.
    Idle(Idle),
    /// Measures all that docs/PERFORMANCE.md shows, starting the servers itself.
    Suite(SuiteOptions),
    /// Writes tables and charts of a suite's result file.
    Document(DocumentOptions),
    /// Serves as the floor: answers and delivers as nsqd does, keeping nothing.
    Floor(Floor),
    /// Runs a program that ends when this one's parent does.
    #[command(hide = true)]
    Tied(Tied),
}

#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The server's TCP address.
    #[arg(long, default_value = "127.0.0.1:4150")]
    pub(crate) address: String,
    /// The server's process id, to measure its CPU time and memory.
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
    /// Give up when nothing has moved for this long.
    #[arg(long, value_parser = duration, default_value = "30s")]
    pub(crate) patience: Duration,
    #[command(flatten)]
    pub(crate) layers: Layers,
}

#[derive(Debug, Args)]
pub(crate) struct Bounds {
    /// How many messages, over all connections.
    #[arg(long)]
    pub(crate) messages: Option<u64>,
    /// How long, such as 500ms, 10s or 2m.
    #[arg(long, value_parser = duration)]
    pub(crate) duration: Option<Duration>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Publishing {
    /// Body size in bytes. From 8 bytes on the first eight are the send time, for latencies.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) size: u32,
    /// Messages in a command: 1 sends PUB, more send MPUB.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch: u32,
    /// Commands in flight on a connection; 1 waits for each answer.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(crate) window: u32,
    /// Messages a second over all connections; 0 is as fast as answers come.
    #[arg(long, default_value_t = 0)]
    pub(crate) rate: u64,
    /// Defer every message by this long (DPUB).
    #[arg(long, value_parser = duration)]
    pub(crate) defer: Option<Duration>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Subscribing {
    /// RDY: the most messages a connection holds at once.
    #[arg(long, default_value_t = 2500)]
    pub(crate) ready: u32,
    /// The most FINs in a write; 0 answers all messages of one socket read together.
    #[arg(long, default_value_t = 0)]
    pub(crate) fin_batch: u32,
    /// How long the server may hold messages back to send them together, instead of its own
    /// default (250 ms in nsqd). It matters while fewer than RDY messages are in flight.
    #[arg(long, value_parser = duration)]
    pub(crate) output_buffer_timeout: Option<Duration>,
    /// The message timeout to ask for, instead of the server's own.
    #[arg(long, value_parser = duration)]
    pub(crate) msg_timeout: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct Publish {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) bounds: Bounds,
    #[command(flatten)]
    pub(crate) publishing: Publishing,
    /// How many connections publish.
    #[arg(long, default_value_t = 1)]
    pub(crate) connections: usize,
    /// The topic; by default one of its own for each run.
    #[arg(long)]
    pub(crate) topic: Option<TopicName>,
}

#[derive(Debug, Args)]
pub(crate) struct Subscribe {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) bounds: Bounds,
    #[command(flatten)]
    pub(crate) subscribing: Subscribing,
    /// How many connections subscribe.
    #[arg(long, default_value_t = 1)]
    pub(crate) connections: usize,
    #[arg(long)]
    pub(crate) topic: TopicName,
    #[arg(long, default_value = DEFAULT_CHANNEL)]
    pub(crate) channel: ChannelName,
}

#[derive(Debug, Args)]
pub(crate) struct Both {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) bounds: Bounds,
    #[command(flatten)]
    pub(crate) publishing: Publishing,
    #[command(flatten)]
    pub(crate) subscribing: Subscribing,
    /// How many connections publish.
    #[arg(long, default_value_t = 1)]
    pub(crate) connections: usize,
    /// How many connections subscribe.
    #[arg(long, default_value_t = 1)]
    pub(crate) subscribers: usize,
    /// The topic; by default one of its own for each run. It has to be empty.
    #[arg(long)]
    pub(crate) topic: Option<TopicName>,
    #[arg(long, default_value = DEFAULT_CHANNEL)]
    pub(crate) channel: ChannelName,
}

#[derive(Debug, Args)]
pub(crate) struct Idle {
    #[command(flatten)]
    pub(crate) common: Common,
    /// How many connections are held.
    #[arg(long, default_value_t = 1000)]
    pub(crate) connections: usize,
    /// How long they are held.
    #[arg(long, value_parser = duration, default_value = "10s")]
    pub(crate) duration: Duration,
    /// The heartbeat interval to ask for.
    #[arg(long, value_parser = duration, default_value = "30s")]
    pub(crate) heartbeat: Duration,
    /// Subscribe every connection to this topic, with RDY 1.
    #[arg(long)]
    pub(crate) topic: Option<TopicName>,
    #[arg(long, default_value = DEFAULT_CHANNEL)]
    pub(crate) channel: ChannelName,
}

impl Common {
    /// A server in a run of the suite.
    pub(crate) fn of(address: String, pid: u32) -> Self {
        Self {
            address,
            pid: Some(pid),
            json: false,
            patience: PATIENCE,
            layers: Layers::NONE,
        }
    }
}

/// A topic name that no other run has.
pub(crate) fn unique_topic() -> TopicName {
    let name = format!("bench_{:x}_{:x}", std::process::id(), Clock::start().now());
    TopicName::parse(&name).expect("letters, digits and underscores, fewer than 64")
}

/// The channel that is used where no other is asked for.
pub(crate) fn default_channel() -> ChannelName {
    ChannelName::parse(DEFAULT_CHANNEL).expect("a valid name")
}

/// A whole number with a unit: `500ms`, `10s`, `2m`.
fn duration(text: &str) -> Result<Duration, String> {
    let unit_at = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number
        .parse()
        .map_err(|_| format!("{text:?} is not a duration such as 500ms, 10s or 2m"))?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        _ => Err(format!("{text:?} needs one of the units ms, s, m")),
    }
}

const DEFAULT_CHANNEL: &str = "bench";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        for wrong in ["10", "s", "", "1h", "-1s", "1.5s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn two_runs_have_two_topics() {
        assert_ne!(unique_topic(), unique_topic());
    }
}
