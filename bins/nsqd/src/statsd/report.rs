//! What is sent: names, values and their order.
//!
//! Source: `statsdLoop`, nsq 1.3.0, nsqd/statsd.go.

use std::fmt::Write as _;

use nsq_core::latency::LatencySummary;
use nsq_core::stats::{ChannelStats, TopicStats};
use nsq_protocol::{ChannelName, TopicName};

use super::packets::Packets;
use crate::settings::NsqdOptions;

/// Makes reports, and remembers the counts of the last one.
pub(super) struct Report {
    prefix: String,
    packet_bytes: i64,
    excludes_ephemeral: bool,
    /// By name.
    last: Vec<TopicCounts>,
}

/// A topic's counts at the last report.
struct TopicCounts {
    name: TopicName,
    message_count: u64,
    message_bytes: u64,
    /// By name.
    channels: Vec<ChannelCounts>,
}

/// A channel's counts at the last report.
struct ChannelCounts {
    name: ChannelName,
    message_count: u64,
    requeue_count: u64,
    timeout_count: u64,
}

impl Report {
    /// The first report's counters are those since nsqd started.
    pub(super) fn new(options: &NsqdOptions) -> Report {
        Report {
            prefix: options.statsd_prefix.clone(),
            packet_bytes: options.statsd_udp_packet_size,
            excludes_ephemeral: options.statsd_exclude_ephemeral,
            last: Vec::new(),
        }
    }

    /// The next report, of `topics` by name and of the memory in use, if that is to be told.
    pub(super) fn next(
        &mut self,
        topics: impl Iterator<Item = TopicStats>,
        heap_in_use_bytes: Option<u64>,
    ) -> Packets {
        let last = std::mem::take(&mut self.last);
        let mut lines = Lines {
            packets: Packets::new(self.packet_bytes),
            prefix: &self.prefix,
            line: String::new(),
        };
        for topic in topics {
            if self.excludes_ephemeral && topic.name.is_ephemeral() {
                continue;
            }
            let known = last.binary_search_by(|known| known.name.cmp(&topic.name));
            let known = known.ok().map(|at| &last[at]);
            lines.topic(&topic, known);
            for channel in &topic.channels {
                if self.excludes_ephemeral && channel.name.is_ephemeral() {
                    continue;
                }
                let known = known.and_then(|topic| topic.channel(&channel.name));
                lines.channel(&topic.name, channel, known);
            }
            self.last.push(TopicCounts::of(&topic));
        }
        if let Some(bytes) = heap_in_use_bytes {
            // Upstream's other figures are of a garbage collector.
            lines.gauge("mem.heap_in_use_bytes", bytes);
        }
        lines.packets
    }
}

impl TopicCounts {
    fn of(stats: &TopicStats) -> TopicCounts {
        let channels = stats.channels.iter().map(|channel| ChannelCounts {
            name: channel.name.clone(),
            message_count: channel.message_count,
            requeue_count: channel.requeue_count,
            timeout_count: channel.timeout_count,
        });
        TopicCounts {
            name: stats.name.clone(),
            message_count: stats.message_count,
            message_bytes: stats.message_bytes,
            channels: channels.collect(),
        }
    }

    fn channel(&self, name: &ChannelName) -> Option<&ChannelCounts> {
        let found = self.channels.binary_search_by(|known| known.name.cmp(name));
        found.ok().map(|at| &self.channels[at])
    }
}

struct Lines<'a> {
    packets: Packets,
    prefix: &'a str,
    line: String,
}

impl Lines<'_> {
    fn topic(&mut self, stats: &TopicStats, last: Option<&TopicCounts>) {
        let topic = format!("topic.{}", stats.name);
        let messages = since(stats.message_count, last.map(|last| last.message_count));
        self.counter(&format!("{topic}.message_count"), messages);
        let bytes = since(stats.message_bytes, last.map(|last| last.message_bytes));
        self.counter(&format!("{topic}.message_bytes"), bytes);
        self.gauge(&format!("{topic}.depth"), stats.depth);
        self.gauge(&format!("{topic}.backend_depth"), stats.backend_depth);
        self.latency(&topic, stats.latency.as_ref());
    }

    fn channel(&mut self, topic: &TopicName, stats: &ChannelStats, last: Option<&ChannelCounts>) {
        let channel = format!("topic.{topic}.channel.{}", stats.name);
        let messages = since(stats.message_count, last.map(|last| last.message_count));
        self.counter(&format!("{channel}.message_count"), messages);
        for (name, value) in [
            ("depth", stats.depth),
            ("backend_depth", stats.backend_depth),
            ("in_flight_count", stats.in_flight_count),
            ("deferred_count", stats.deferred_count),
        ] {
            self.gauge(&format!("{channel}.{name}"), value);
        }
        let requeues = since(stats.requeue_count, last.map(|last| last.requeue_count));
        self.counter(&format!("{channel}.requeue_count"), requeues);
        let timeouts = since(stats.timeout_count, last.map(|last| last.timeout_count));
        self.counter(&format!("{channel}.timeout_count"), timeouts);
        self.gauge(&format!("{channel}.clients"), stats.client_count);
        self.latency(&channel, stats.latency.as_ref());
    }

    /// Compat: the name has the quantile as whole percent, so that 0.999 and 1 go by one name.
    fn latency(&mut self, of: &str, latency: Option<&LatencySummary>) {
        for percentile in latency.iter().flat_map(|latency| &latency.percentiles) {
            let percent = percentile.quantile * 100.0;
            let name = format!("{of}.e2e_processing_latency_{percent:.0}");
            self.gauge(&name, percentile.nanos);
        }
    }

    fn counter(&mut self, name: &str, difference: u64) {
        self.send(name, difference, 'c');
    }

    fn gauge(&mut self, name: &str, value: u64) {
        self.send(name, value, 'g');
    }

    fn send(&mut self, name: &str, value: u64, kind: char) {
        self.line.clear();
        writeln!(self.line, "{}{name}:{value}|{kind}", self.prefix)
            .expect("a String takes everything");
        self.packets.push(&self.line);
    }
}

/// How much a counter has grown. One that has shrunk belongs to a new topic or channel of that name, which began at
/// nothing.
fn since(count: u64, last: Option<u64>) -> u64 {
    count.checked_sub(last.unwrap_or(0)).unwrap_or(count)
}
