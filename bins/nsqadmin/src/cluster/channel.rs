//! A channel on one node, or its sum over several.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Client, Latency, List, Producer};

/// A channel. With `node` `*` it is the sum of those in `nodes`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the keys are nsqd's own")]
pub struct Channel {
    /// `host:port` of its nsqd, or `*`.
    #[serde(skip_deserializing)]
    pub node: Arc<str>,
    /// That nsqd's host name; empty for a sum.
    #[serde(skip_deserializing)]
    pub hostname: Arc<str>,
    #[serde(skip_deserializing)]
    pub topic_name: Arc<str>,
    pub channel_name: Arc<str>,
    pub depth: i64,
    /// The part of `depth` that is not on disk.
    #[serde(skip_deserializing)]
    pub memory_depth: i64,
    pub backend_depth: i64,
    pub in_flight_count: i64,
    pub deferred_count: i64,
    pub requeue_count: i64,
    pub timeout_count: i64,
    pub message_count: i64,
    /// The sum of the next three.
    #[serde(skip_deserializing, skip_serializing_if = "is_zero")]
    pub delivery_msg_count: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub zone_local_msg_count: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub region_local_msg_count: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub global_msg_count: i64,
    pub client_count: i64,
    /// The parts of a sum, by host name; absent on one node.
    #[serde(skip_deserializing)]
    pub nodes: List<Arc<Channel>>,
    pub clients: List<Client>,
    /// Over several nodes: whether any is paused.
    pub paused: bool,
    #[serde(deserialize_with = "super::topic::latency_or_none")]
    pub e2e_processing_latency: Latency,
    /// Messages finished since nsqd started. An upstream nsqd does not report it. Not in the API.
    #[serde(skip_serializing)]
    pub finish_count: Option<i64>,
    /// Nanoseconds since the oldest waiting message was published; over several nodes the longest. An upstream nsqd does
    /// not report it. Not in the API.
    #[serde(skip_serializing)]
    pub oldest_message_age: Option<i64>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the form that serde asks for"
)]
pub(super) fn is_zero(count: &i64) -> bool {
    *count == 0
}

impl Channel {
    /// A sum of nothing yet.
    pub fn of_many(topic: &str, channel: &str) -> Self {
        Self {
            node: "*".into(),
            topic_name: topic.into(),
            channel_name: channel.into(),
            nodes: List::empty(),
            e2e_processing_latency: Latency::of_many(topic, channel),
            ..Self::default()
        }
    }

    /// Fills in what nsqd leaves to the reader.
    pub(super) fn place(
        &mut self,
        node: &Arc<str>,
        producer: &Producer,
        topic: &Arc<str>,
        now: i64,
    ) {
        self.node = Arc::clone(node);
        self.hostname = Arc::clone(&producer.hostname);
        self.topic_name = Arc::clone(topic);
        self.memory_depth = self.depth.saturating_sub(self.backend_depth);
        self.delivery_msg_count = self
            .zone_local_msg_count
            .saturating_add(self.region_local_msg_count)
            .saturating_add(self.global_msg_count);
        self.e2e_processing_latency.complete();
        for client in self.clients.as_mut_slice() {
            client.place(node, producer, now);
        }
    }

    /// Adds the channel on one node to the sum. [`Channel::sort`] has to follow.
    pub fn add(&mut self, part: Arc<Channel>) {
        for (sum, count) in [
            (&mut self.depth, part.depth),
            (&mut self.memory_depth, part.memory_depth),
            (&mut self.backend_depth, part.backend_depth),
            (&mut self.in_flight_count, part.in_flight_count),
            (&mut self.deferred_count, part.deferred_count),
            (&mut self.requeue_count, part.requeue_count),
            (&mut self.timeout_count, part.timeout_count),
            (&mut self.message_count, part.message_count),
            (&mut self.delivery_msg_count, part.delivery_msg_count),
            (&mut self.zone_local_msg_count, part.zone_local_msg_count),
            (
                &mut self.region_local_msg_count,
                part.region_local_msg_count,
            ),
            (&mut self.global_msg_count, part.global_msg_count),
            (&mut self.client_count, part.client_count),
        ] {
            *sum = sum.saturating_add(count);
        }
        self.finish_count = match (self.nodes.is_empty(), self.finish_count, part.finish_count) {
            (true, _, count) => count,
            (false, Some(sum), Some(count)) => Some(sum.saturating_add(count)),
            _ => None,
        };
        self.oldest_message_age = self.oldest_message_age.max(part.oldest_message_age);
        self.paused |= part.paused;
        self.e2e_processing_latency
            .add(&part.e2e_processing_latency);
        for client in &part.clients {
            self.clients.push(client.clone());
        }
        self.nodes.push(part);
    }

    /// Brings parts and clients into their order.
    pub fn sort(&mut self) {
        self.nodes
            .as_mut_slice()
            .sort_by(|a, b| (&a.hostname, &a.node).cmp(&(&b.hostname, &b.node)));
        self.clients
            .as_mut_slice()
            .sort_by(Client::by_node_and_distance);
    }
}
