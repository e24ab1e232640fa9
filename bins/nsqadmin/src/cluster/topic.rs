//! A topic on one node, or its sum over several.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use super::channel::is_zero;
use super::{Channel, Latency, List, Producer};

/// A topic. With `node` `*` it is the sum of those in `nodes`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the keys are nsqd's own")]
pub struct Topic {
    /// `host:port` of its nsqd, or `*`.
    #[serde(skip_deserializing)]
    pub node: Arc<str>,
    /// That nsqd's host name; empty for a sum.
    #[serde(skip_deserializing)]
    pub hostname: Arc<str>,
    pub topic_name: Arc<str>,
    pub depth: i64,
    /// The part of `depth` that is not on disk.
    #[serde(skip_deserializing)]
    pub memory_depth: i64,
    pub backend_depth: i64,
    pub message_count: i64,
    /// The sum of the next three, which nsqd does not report for topics.
    #[serde(skip_deserializing)]
    pub delivery_msg_count: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub zone_local_msg_count: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub region_local_msg_count: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub global_msg_count: i64,
    /// The parts of a sum, by host name; absent on one node.
    #[serde(skip_deserializing)]
    pub nodes: List<Arc<Topic>>,
    /// Over several nodes: sums, each with its own parts.
    pub channels: List<Arc<Channel>>,
    /// Over several nodes: whether any is paused.
    pub paused: bool,
    #[serde(deserialize_with = "latency_or_none")]
    pub e2e_processing_latency: Latency,
    /// Not in the API, as upstream's has none.
    #[serde(skip_serializing)]
    pub message_bytes: i64,
}

/// Upstream dies of an nsqd that sends `null` here.
pub(super) fn latency_or_none<'de, D: Deserializer<'de>>(source: D) -> Result<Latency, D::Error> {
    Ok(Option::<Latency>::deserialize(source)?.unwrap_or_default())
}

impl Topic {
    /// The sum of the topic's parts on several nodes, of none if there are none. Channels are summed by name.
    pub fn of_many(topic: &str, parts: impl IntoIterator<Item = Arc<Topic>>) -> Self {
        let mut sum = Self {
            node: "*".into(),
            topic_name: topic.into(),
            nodes: List::empty(),
            e2e_processing_latency: Latency::of_many(topic, ""),
            ..Self::default()
        };
        let mut channels: Vec<Channel> = Vec::new();
        let mut positions: HashMap<Arc<str>, usize> = HashMap::new();
        for part in parts {
            for channel in &part.channels {
                let name = &channel.channel_name;
                let position = *positions.entry(Arc::clone(name)).or_insert_with(|| {
                    channels.push(Channel::of_many(topic, name));
                    channels.len() - 1
                });
                channels[position].add(Arc::clone(channel));
            }
            sum.add(part);
        }
        sum.nodes
            .as_mut_slice()
            .sort_by(|a, b| (&a.hostname, &a.node).cmp(&(&b.hostname, &b.node)));
        for mut channel in channels {
            channel.sort();
            sum.channels.push(Arc::new(channel));
        }
        sum
    }

    /// Fills in what nsqd leaves to the reader, for the topic and its channels.
    pub(super) fn place(&mut self, node: &Arc<str>, producer: &Producer, now: i64) {
        self.node = Arc::clone(node);
        self.hostname = Arc::clone(&producer.hostname);
        self.memory_depth = self.depth.saturating_sub(self.backend_depth);
        self.delivery_msg_count = self
            .zone_local_msg_count
            .saturating_add(self.region_local_msg_count)
            .saturating_add(self.global_msg_count);
        self.e2e_processing_latency.complete();
        let topic = Arc::clone(&self.topic_name);
        for channel in self.channels.as_mut_slice() {
            let channel = Arc::get_mut(channel).expect("it was decoded a moment ago");
            channel.place(node, producer, &topic, now);
        }
    }

    fn add(&mut self, part: Arc<Topic>) {
        for (sum, count) in [
            (&mut self.depth, part.depth),
            (&mut self.memory_depth, part.memory_depth),
            (&mut self.backend_depth, part.backend_depth),
            (&mut self.message_count, part.message_count),
            (&mut self.message_bytes, part.message_bytes),
            (&mut self.delivery_msg_count, part.delivery_msg_count),
            (&mut self.zone_local_msg_count, part.zone_local_msg_count),
            (
                &mut self.region_local_msg_count,
                part.region_local_msg_count,
            ),
            (&mut self.global_msg_count, part.global_msg_count),
        ] {
            *sum = sum.saturating_add(count);
        }
        self.paused |= part.paused;
        self.e2e_processing_latency
            .add(&part.e2e_processing_latency);
        self.nodes.push(part);
    }
}
