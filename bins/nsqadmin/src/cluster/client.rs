//! A connection to nsqd, as its statistics show it.

use std::cmp::Ordering;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Producer;

/// A consumer of a channel, or a publisher.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the shape of upstream's object"
)]
#[allow(missing_docs, reason = "the keys are nsqd's own")]
pub struct Client {
    /// `host:port` of the nsqd it is connected to.
    #[serde(skip_deserializing)]
    pub node: Arc<str>,
    pub remote_address: String,
    pub version: String,
    pub client_id: String,
    pub hostname: String,
    pub user_agent: String,
    /// Unix seconds.
    pub connect_ts: i64,
    /// Nanoseconds since then, in whole seconds.
    #[serde(skip_deserializing)]
    pub connected: i64,
    pub in_flight_count: i64,
    pub ready_count: i64,
    pub finish_count: i64,
    pub requeue_count: i64,
    pub message_count: i64,
    pub sample_rate: i32,
    pub deflate: bool,
    pub snappy: bool,
    pub authed: bool,
    pub auth_identity: String,
    pub auth_identity_url: String,
    #[serde(skip_deserializing, skip_serializing_if = "str::is_empty")]
    pub node_topology_region: Arc<str>,
    #[serde(skip_deserializing, skip_serializing_if = "str::is_empty")]
    pub node_topology_zone: Arc<str>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub topology_region: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub topology_zone: String,
    pub tls: bool,
    pub tls_cipher_suite: String,
    pub tls_version: String,
    pub tls_negotiated_protocol: String,
    pub tls_negotiated_protocol_is_mutual: bool,
    /// What a publisher has published: of one topic at most. Not in the API, as upstream's has none.
    #[serde(skip_serializing)]
    pub pub_counts: Vec<PubCount>,
    /// The same of every topic, where there are several. An upstream nsqd does not report it. Not in the API.
    #[serde(skip_serializing)]
    pub all_pub_counts: Vec<PubCount>,
    /// When it last finished a message, in Unix seconds; 0 before the first. An upstream nsqd does not report it. Not in
    /// the API.
    #[serde(skip_serializing)]
    pub last_finish_ts: i64,
}

/// How much a client has published to a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PubCount {
    /// The topic.
    pub topic: String,
    /// Messages.
    pub count: i64,
}

impl Client {
    /// What it has published to each topic, as far as its nsqd reports it.
    pub fn published(&self) -> &[PubCount] {
        if self.all_pub_counts.is_empty() {
            &self.pub_counts
        } else {
            &self.all_pub_counts
        }
    }

    /// Notes on which node it was found, at `now` in Unix seconds.
    pub(super) fn place(&mut self, node: &Arc<str>, producer: &Producer, now: i64) {
        self.node = Arc::clone(node);
        self.node_topology_region = Arc::clone(&producer.topology_region);
        self.node_topology_zone = Arc::clone(&producer.topology_zone);
        self.connected = now
            .saturating_sub(self.connect_ts)
            .saturating_mul(NANOS_PER_SECOND);
    }

    /// The order of a channel's list: by node, and within one node its own zone first, then its region.
    pub(super) fn by_node_and_distance(&self, other: &Self) -> Ordering {
        let distance = |client: &Self| {
            let same_region = *client.node_topology_region == *client.topology_region;
            let same_zone = *client.node_topology_zone == *client.topology_zone;
            match (same_region, same_zone) {
                (true, true) => 0,
                (true, false) => 1,
                (false, _) => 2,
            }
        };
        let place = |client: &Self| (client.topology_region.clone(), client.topology_zone.clone());
        self.node
            .cmp(&other.node)
            .then_with(|| distance(self).cmp(&distance(other)))
            .then_with(|| place(self).cmp(&place(other)))
    }
}

const NANOS_PER_SECOND: i64 = 1_000_000_000;
