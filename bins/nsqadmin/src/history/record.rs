//! From an overview to the values of every key.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cluster::{Channel, NodeStats, Overview, Topic};

use super::counters::{Counters, Counts, Rates};
use super::{Key, Metric};

/// What is summed up for one key.
#[derive(Debug, Clone, Default)]
pub(super) struct Sums {
    depth: f64,
    backlog: f64,
    disk_depth: f64,
    /// Seconds. Unknown where no node says.
    oldest_age: Option<f64>,
    in_flight: f64,
    deferred: f64,
    clients: f64,
    /// Unknown where no node says.
    memory: Option<f64>,
    /// Of topics, and for a channel its own. Unknown the first time.
    messages: Option<f64>,
    /// Of channels.
    rates: Option<Rates>,
}

impl Sums {
    /// The values of these metrics; NaN is unknown.
    pub(super) fn values(&self, metrics: &[Metric]) -> Vec<f32> {
        let values = metrics.iter().map(|metric| self.value(*metric));
        values.map(narrow).collect()
    }

    fn value(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::Depth => Some(self.depth),
            Metric::Messages => self.messages,
            Metric::Backlog => Some(self.backlog),
            Metric::InFlight => Some(self.in_flight),
            Metric::Deferred => Some(self.deferred),
            Metric::Requeues => self.rates.map(|rates| rates.requeues),
            Metric::Timeouts => self.rates.map(|rates| rates.timeouts),
            Metric::Finishes => self.rates.map(|rates| rates.finishes),
            Metric::Clients => Some(self.clients),
            Metric::Memory => self.memory,
            Metric::DiskDepth => Some(self.disk_depth),
            Metric::OldestAge => self.oldest_age,
        }
    }

    /// Whether any message waits.
    pub(super) fn has_waiting(&self) -> bool {
        self.depth > 0.0
    }

    fn add_topic(&mut self, topic: &Topic, rates: Option<Rates>) {
        self.depth += wide(topic.depth);
        self.disk_depth += wide(topic.backend_depth);
        add_known(&mut self.messages, rates.map(|rates| rates.messages));
    }

    /// What a channel adds to whatever it is part of.
    fn add_channel(&mut self, channel: &Channel, rates: Option<Rates>) {
        self.disk_depth += wide(channel.backend_depth);
        self.in_flight += wide(channel.in_flight_count);
        self.deferred += wide(channel.deferred_count);
        self.clients += wide(channel.client_count);
        if let Some(rates) = rates {
            let sum = self.rates.get_or_insert_default();
            sum.messages += rates.messages;
            sum.requeues += rates.requeues;
            sum.timeouts += rates.timeouts;
            sum.finishes += rates.finishes;
        }
    }
}

/// All keys of an overview with their sums, the most important first.
pub(super) fn sum_up(overview: &Overview, counters: &mut Counters) -> Vec<(Key, Sums)> {
    let millis = overview.taken_at.as_millisecond();
    let mut cluster = Sums::default();
    let mut nodes: Vec<(Key, Sums)> = Vec::new();
    let mut topics: HashMap<Arc<str>, Sums> = HashMap::new();
    let mut channels: HashMap<(Arc<str>, Arc<str>), Sums> = HashMap::new();
    let mut parts: Vec<(Key, Sums)> = Vec::new();
    let mut channel_parts: Vec<(Key, Sums)> = Vec::new();
    for report in &overview.nodes {
        let Ok(stats) = &report.stats else {
            continue;
        };
        let address = &report.address;
        let mut node = Sums::default();
        add_memory(&mut node, stats);
        add_memory(&mut cluster, stats);
        for topic in &stats.topics {
            let name = &topic.topic_name;
            let place = (Arc::clone(address), Arc::clone(name), None);
            let rates = counters.advance(place, millis, topic_counts(topic));
            let sums = topics.entry(Arc::clone(name)).or_default();
            let mut part = Sums::default();
            for sums in [&mut *sums, &mut part, &mut node, &mut cluster] {
                sums.add_topic(topic, rates);
            }
            for channel in &topic.channels {
                let of_channel = &channel.channel_name;
                let place = (
                    Arc::clone(address),
                    Arc::clone(name),
                    Some(Arc::clone(of_channel)),
                );
                let rates = counters.advance(place, millis, channel_counts(channel));
                for sums in [&mut *sums, &mut node, &mut cluster] {
                    sums.add_channel(channel, rates);
                    sums.backlog += wide(channel.depth);
                }
                part.backlog += wide(channel.depth);
                for sums in [&mut node, &mut cluster] {
                    sums.depth += wide(channel.depth);
                }
                let key = (Arc::clone(name), Arc::clone(of_channel));
                let own = channels.entry(key).or_default();
                own.add_channel(channel, rates);
                own.depth += wide(channel.depth);
                add_known(&mut own.messages, rates.map(|rates| rates.messages));
                if let Some(nanos) = channel.oldest_message_age {
                    let seconds = wide(nanos) / NANOS_PER_SECOND;
                    let oldest = own.oldest_age.get_or_insert(seconds);
                    *oldest = oldest.max(seconds);
                }
                let key = Key::ChannelOnNode(
                    Arc::clone(name),
                    Arc::clone(of_channel),
                    Arc::clone(address),
                );
                let depth = wide(channel.depth);
                channel_parts.push((
                    key,
                    Sums {
                        depth,
                        ..Sums::default()
                    },
                ));
            }
            let key = Key::TopicOnNode(Arc::clone(name), Arc::clone(address));
            parts.push((key, part));
        }
        nodes.push((Key::Node(Arc::clone(address)), node));
    }
    let topics = topics
        .into_iter()
        .map(|(topic, sums)| (Key::Topic(topic), sums));
    let channels = channels
        .into_iter()
        .map(|((topic, channel), sums)| (Key::Channel(topic, channel), sums));
    let mut all = vec![(Key::Cluster, cluster)];
    all.extend(nodes);
    all.extend(topics);
    all.extend(channels);
    all.extend(parts);
    all.extend(channel_parts);
    all
}

fn add_memory(sums: &mut Sums, stats: &NodeStats) {
    if let Some(memory) = &stats.memory {
        #[expect(clippy::cast_precision_loss, reason = "bytes need not be exact")]
        let bytes = memory.heap_in_use_bytes as f64;
        add_known(&mut sums.memory, Some(bytes));
    }
}

fn topic_counts(topic: &Topic) -> Counts {
    Counts {
        messages: topic.message_count,
        held: topic.depth,
        ..Counts::default()
    }
}

fn channel_counts(channel: &Channel) -> Counts {
    Counts {
        messages: channel.message_count,
        requeues: channel.requeue_count,
        timeouts: channel.timeout_count,
        finishes: channel.finish_count,
        held: channel
            .depth
            .saturating_add(channel.in_flight_count)
            .saturating_add(channel.deferred_count),
    }
}

/// Adds what is known; a sum of nothing known stays unknown.
fn add_known(sum: &mut Option<f64>, value: Option<f64>) {
    if let Some(value) = value {
        *sum.get_or_insert_default() += value;
    }
}

#[expect(clippy::cast_precision_loss, reason = "a graph need not be exact")]
fn wide(count: i64) -> f64 {
    count as f64
}

#[expect(clippy::cast_possible_truncation, reason = "a graph need not be exact")]
fn narrow(value: Option<f64>) -> f32 {
    value.map_or(f32::NAN, |value| value as f32)
}

const NANOS_PER_SECOND: f64 = 1e9;
