//! The command line.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use nsq_protocol::{ChannelName, TopicName};

use crate::{clock::Clock, layers::Layers};

/// Puts load on an nsqd and measures what it costs.
///
/// The measured phase begins when every connection is set up. CPU time is taken until the server
/// has gone quiet again, so work that it puts off counts too.
#[derive(Debug, Parser)]
#[command(name = "nsq_bench", version)]
pub struct Options {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
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
}

#[derive(Debug, Args)]
pub struct Common {
    /// The server's TCP address.
    #[arg(long, default_value = "127.0.0.1:4150")]
    pub address: String,
    /// The server's HTTP address, to delete the run's own topic [default: the TCP address with the next port].
    #[arg(long)]
    pub http_address: Option<String>,
    /// Leave the run's own topic and its messages on the server. One named by --topic is always left.
    #[arg(long)]
    pub keep_topic: bool,
    /// The server's process id, to measure its CPU time and memory.
    #[arg(long)]
    pub pid: Option<u32>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
    /// Give up when nothing has moved for this long.
    #[arg(long, value_parser = duration, default_value = "30s")]
    pub patience: Duration,
    #[command(flatten)]
    pub layers: Layers,
}

#[derive(Debug, Args)]
pub struct Bounds {
    /// How many messages, over all connections.
    #[arg(long)]
    pub messages: Option<u64>,
    /// How long, such as 500ms, 10s or 2m.
    #[arg(long, value_parser = duration)]
    pub duration: Option<Duration>,
}

#[derive(Debug, Clone, Args)]
pub struct Publishing {
    /// Body size in bytes. From 8 bytes on the first eight are the send time, for latencies.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub size: u32,
    /// Messages in a command: 1 sends PUB, more send MPUB.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: u32,
    /// Commands in flight on a connection; 1 waits for each answer.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub window: u32,
    /// Messages a second over all connections; 0 is as fast as answers come.
    #[arg(long, default_value_t = 0)]
    pub rate: u64,
    /// Defer every message by this long (DPUB).
    #[arg(long, value_parser = duration)]
    pub defer: Option<Duration>,
}

#[derive(Debug, Clone, Args)]
pub struct Subscribing {
    /// RDY: the most messages a connection holds at once.
    #[arg(long, default_value_t = 2500)]
    pub ready: u32,
    /// The most FINs in a write; 0 answers all messages of one socket read together.
    #[arg(long, default_value_t = 0)]
    pub fin_batch: u32,
    /// How long the server may hold messages back to send them together, instead of its own
    /// default (250 ms in nsqd). It matters while fewer than RDY messages are in flight.
    #[arg(long, value_parser = duration)]
    pub output_buffer_timeout: Option<Duration>,
    /// The message timeout to ask for, instead of the server's own.
    #[arg(long, value_parser = duration)]
    pub msg_timeout: Option<Duration>,
}

#[derive(Debug, Args)]
pub struct Publish {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub bounds: Bounds,
    #[command(flatten)]
    pub publishing: Publishing,
    /// How many connections publish.
    #[arg(long, default_value_t = 1)]
    pub connections: usize,
    /// The topic; by default a new one for each run.
    #[arg(long)]
    pub topic: Option<TopicName>,
}

#[derive(Debug, Args)]
pub struct Subscribe {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub bounds: Bounds,
    #[command(flatten)]
    pub subscribing: Subscribing,
    /// How many connections subscribe.
    #[arg(long, default_value_t = 1)]
    pub connections: usize,
    #[arg(long)]
    pub topic: TopicName,
    #[arg(long, default_value = DEFAULT_CHANNEL)]
    pub channel: ChannelName,
}

#[derive(Debug, Args)]
pub struct Both {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub bounds: Bounds,
    #[command(flatten)]
    pub publishing: Publishing,
    #[command(flatten)]
    pub subscribing: Subscribing,
    /// How many connections publish.
    #[arg(long, default_value_t = 1)]
    pub connections: usize,
    /// How many connections subscribe.
    #[arg(long, default_value_t = 1)]
    pub subscribers: usize,
    /// The topic, which has to be empty; by default a new one for each run.
    #[arg(long)]
    pub topic: Option<TopicName>,
    #[arg(long, default_value = DEFAULT_CHANNEL)]
    pub channel: ChannelName,
}

#[derive(Debug, Args)]
pub struct Idle {
    #[command(flatten)]
    pub common: Common,
    /// How many connections are held.
    #[arg(long, default_value_t = 1000)]
    pub connections: usize,
    /// How long they are held.
    #[arg(long, value_parser = duration, default_value = "10s")]
    pub duration: Duration,
    /// The heartbeat interval to ask for.
    #[arg(long, value_parser = duration, default_value = "30s")]
    pub heartbeat: Duration,
    /// Subscribe every connection to this topic, with RDY 1.
    #[arg(long)]
    pub topic: Option<TopicName>,
    #[arg(long, default_value = DEFAULT_CHANNEL)]
    pub channel: ChannelName,
}

impl Common {
    /// A server that another program has started, with defaults for everything else.
    pub fn of(address: String, pid: u32) -> Self {
        Self {
            address,
            http_address: None,
            keep_topic: false,
            pid: Some(pid),
            json: false,
            patience: PATIENCE,
            layers: Layers::NONE,
        }
    }
}

/// A topic name that no other run uses.
pub fn unique_topic() -> TopicName {
    let name = format!("bench_{:x}_{:x}", std::process::id(), Clock::start().now());
    TopicName::parse(&name).expect("letters, digits and underscores, fewer than 64")
}

/// The channel when no other is given.
pub fn default_channel() -> ChannelName {
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

/// A server that moves nothing for this long has stalled.
pub const PATIENCE: Duration = Duration::from_secs(30);
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
