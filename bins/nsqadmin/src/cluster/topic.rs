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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The topic in an nsqd's statistics, as read from this node.
    fn part(node: &str, json: &str) -> Arc<Topic> {
        let mut topic: Topic = serde_json::from_str(json).unwrap();
        let producer = Producer {
            hostname: format!("host-of-{node}").into(),
            topology_region: "r".into(),
            topology_zone: "z".into(),
            ..Producer::default()
        };
        topic.place(&node.into(), &producer, 1_737_979_210);
        Arc::new(topic)
    }

    const BUSY: &str = r#"{"topic_name":"t","channels":[
        {"channel_name":"c","depth":7,"backend_depth":5,"in_flight_count":3,"deferred_count":1,"message_count":20,
         "zone_local_msg_count":4,"region_local_msg_count":2,"global_msg_count":1,"requeue_count":6,"timeout_count":8,
         "client_count":2,"clients":[
            {"client_id":"far","hostname":"far","topology_region":"q","topology_zone":"z","connect_ts":1737979200},
            {"client_id":"near","hostname":"near","topology_region":"r","topology_zone":"z","connect_ts":1737979205}],
         "paused":true,"e2e_processing_latency":{"count":1,"percentiles":[{"quantile":0.99,"value":10}]}}],
        "depth":9,"backend_depth":4,"message_count":21,"message_bytes":84,"paused":false,
        "e2e_processing_latency":{"count":0,"percentiles":null}}"#;

    const IDLE: &str = r#"{"topic_name":"t","channels":[
        {"channel_name":"d","clients":[]},
        {"channel_name":"c","depth":1,"message_count":1,"clients":null,"e2e_processing_latency":null}],
        "depth":1,"message_count":1,"paused":true}"#;

    #[test]
    fn parts_are_summed_and_stay_as_they_are() {
        let (busy, idle) = (part("b:1", BUSY), part("a:1", IDLE));
        let sum = Topic::of_many("t", [Arc::clone(&busy), Arc::clone(&idle)]);
        let json = serde_json::to_value(&sum).unwrap();
        for (key, value) in [
            ("node", json!("*")),
            ("hostname", json!("")),
            ("depth", json!(10)),
            ("memory_depth", json!(6)),
            ("backend_depth", json!(4)),
            ("message_count", json!(22)),
            ("paused", json!(true)),
        ] {
            assert_eq!(json[key], value, "{key}");
        }
        assert_eq!(json["nodes"][0]["node"], "a:1");
        assert_eq!(json["nodes"][1]["hostname"], "host-of-b:1");
        assert_eq!(json["nodes"][1]["channels"][0]["depth"], 7);
        let channel = &json["channels"][0];
        for (key, value) in [
            ("channel_name", json!("c")),
            ("node", json!("*")),
            ("topic_name", json!("t")),
            ("depth", json!(8)),
            ("memory_depth", json!(3)),
            ("in_flight_count", json!(3)),
            ("requeue_count", json!(6)),
            ("timeout_count", json!(8)),
            ("message_count", json!(21)),
            ("delivery_msg_count", json!(7)),
            ("zone_local_msg_count", json!(4)),
            ("client_count", json!(2)),
            ("paused", json!(true)),
        ] {
            assert_eq!(channel[key], value, "{key}");
        }
        assert_eq!(channel["nodes"].as_array().map(Vec::len), Some(2));
        assert_eq!(channel["nodes"][0]["e2e_processing_latency"]["count"], 0);
        // The node's own zone comes first.
        assert_eq!(channel["clients"][0]["client_id"], "near");
        assert_eq!(channel["clients"][0]["connected"], 5_000_000_000_i64);
        assert_eq!(channel["clients"][1]["node_topology_zone"], "z");
        assert_eq!(json["channels"][1]["clients"], Value::Null);
        assert!(channel.get("message_bytes").is_none() && json.get("message_bytes").is_none());
        assert_eq!(Arc::strong_count(&busy), 2);
    }

    #[test]
    fn counts_that_are_not_there_are_left_out_and_lists_stay_null_or_empty() {
        let idle = serde_json::to_string(&*part("a:1", IDLE)).unwrap();
        assert!(!idle.contains("zone_local"), "{idle}");
        assert!(
            idle.contains(r#""delivery_msg_count":0,"nodes":null,"channels":["#),
            "{idle}"
        );
        assert!(
            idle.contains(r#""nodes":null,"clients":[],"paused""#),
            "{idle}"
        );
        let none = serde_json::to_string(&Topic::of_many("t", [])).unwrap();
        assert_eq!(
            none,
            r#"{"node":"*","hostname":"","topic_name":"t","depth":0,"memory_depth":0,"backend_depth":0,"message_count":0,"delivery_msg_count":0,"nodes":[],"channels":null,"paused":false,"e2e_processing_latency":{"count":0,"percentiles":null,"topic":"t","channel":"","host":"*"}}"#
        );
    }
}
