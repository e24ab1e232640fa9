//! One nsqd and everything it says of itself.

use std::sync::Arc;

use serde::Deserialize;

use super::{Client, List, Producer, Topic};

/// An nsqd with its statistics.
#[derive(Debug, Clone)]
pub struct Node {
    /// `host:port` of its HTTP interface.
    pub address: Arc<str>,
    /// What nsqlookupd, or `/info`, says of it.
    pub producer: Producer,
    /// What it says.
    pub stats: NodeStats,
}

/// An nsqd's `/stats`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NodeStats {
    /// Its version.
    pub version: String,
    /// `OK`, or why not.
    pub health: String,
    /// Unix seconds.
    pub start_time: i64,
    /// By name, each of this node alone.
    pub topics: List<Arc<Topic>>,
    /// Absent when it was not asked for.
    pub memory: Option<Memory>,
    /// Clients that publish.
    pub producers: List<Client>,
}

/// An nsqd's memory, in Go's words; not every daemon fills in all.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the keys are nsqd's own")]
pub struct Memory {
    pub heap_objects: u64,
    pub heap_idle_bytes: u64,
    pub heap_in_use_bytes: u64,
    pub heap_released_bytes: u64,
    pub gc_pause_usec_100: u64,
    pub gc_pause_usec_99: u64,
    pub gc_pause_usec_95: u64,
    pub next_gc_bytes: u64,
    pub gc_total_runs: u64,
}

impl Node {
    /// Messages put into its topics since it started.
    pub fn total_messages(&self) -> i64 {
        let topics = self.stats.topics.iter();
        topics.fold(0, |sum, topic| sum.saturating_add(topic.message_count))
    }

    /// Consumers of its channels.
    pub fn total_clients(&self) -> usize {
        let channels = self.stats.topics.iter().flat_map(|topic| &topic.channels);
        channels.map(|channel| channel.clients.len()).sum()
    }
}

impl NodeStats {
    /// Fills in what nsqd leaves to the reader.
    pub(crate) fn place(&mut self, node: &Arc<str>, producer: &Producer) {
        let now = jiff::Timestamp::now().as_second();
        for topic in self.topics.as_mut_slice() {
            let topic = Arc::get_mut(topic).expect("it was decoded a moment ago");
            topic.place(node, producer, now);
        }
        for client in self.producers.as_mut_slice() {
            client.place(node, producer, now);
        }
    }
}
