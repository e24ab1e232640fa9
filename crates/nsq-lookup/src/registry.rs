//! Who has which topic: nsqlookupd's whole memory.
//!
//! ```text
//! by_name ──▶ topic ──▶ nodes, channels ──▶ nodes      answers /lookup and /channels
//! node ──▶ topics                                      answers /nodes and a lost connection
//! ```
//!
//! Topics and nodes are known inside by small numbers, and both directions are kept, so that no question
//! about one topic or one node costs more when there are more of the others. Questions about everything
//! are answered in pages: the lock around a registry is held for one page at a time.
//!
//! Invariants: a node is on a topic exactly if the topic is in the node's set; a node on a channel is on
//! its topic; a topic that is neither registered nor has channels is not there.

mod answer;
mod name_index;
mod node_set;
mod topic;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nsq_protocol::{ChannelName, TopicName};
use slab::Slab;

use crate::Node;
pub use answer::{Added, Dump, DumpEntry, Lookup, NodeReport, Removed, Tally};
use name_index::NameIndex;
use topic::Topic;

/// The registrations of all nodes. It never reads a clock: `now` comes in as an argument.
#[derive(Debug)]
pub struct Registry {
    topics: Slab<Topic>,
    by_name: NameIndex,
    nodes: Slab<Connected>,
    visibility: Visibility,
}

/// How long things show in answers.
#[derive(Debug, Clone, Copy)]
pub struct Visibility {
    /// A node is hidden when it was silent for longer than this.
    pub inactive_producer_timeout: Duration,
    /// A tombstone hides a node for this long.
    pub tombstone_lifetime: Duration,
}

/// A connected node's number. Numbers of nodes that left are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

type TopicId = u32;

#[derive(Debug)]
struct Connected {
    node: Arc<Node>,
    last_update: Instant,
    topics: HashSet<TopicId>,
}

/// Where the next page begins; a default one is the beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor(usize);

impl Registry {
    /// A registry of nothing.
    pub fn new(visibility: Visibility) -> Self {
        Self {
            topics: Slab::new(),
            by_name: NameIndex::new(),
            nodes: Slab::new(),
            visibility,
        }
    }

    /// IDENTIFY: a node is there.
    pub fn connect(&mut self, node: Node, now: Instant) -> NodeId {
        let key = self.nodes.insert(Connected {
            node: Arc::new(node),
            last_update: now,
            topics: HashSet::new(),
        });
        NodeId(u32::try_from(key).expect("fewer connections than u32 can count"))
    }

    /// PING: the node is alive. Returns how long it was silent.
    pub fn ping(&mut self, id: NodeId, now: Instant) -> Duration {
        let connected = self.connected_mut(id);
        let silence = now.saturating_duration_since(connected.last_update);
        connected.last_update = now;
        silence
    }

    /// REGISTER: the node has the topic, and the channel if one is named. What it had stays as it was,
    /// tombstones too.
    pub fn register(
        &mut self,
        id: NodeId,
        topic: &TopicName,
        channel: Option<&ChannelName>,
    ) -> Added {
        let topic_id = self.topic_or_new(topic);
        let entry = self.topic_mut(topic_id);
        entry.is_registered = true;
        let added = Added {
            topic: entry.nodes.insert(id),
            channel: channel.is_some_and(|name| entry.channel_or_new(name).nodes.insert(id)),
        };
        if added.topic {
            self.connected_mut(id).topics.insert(topic_id);
        }
        added
    }

    /// UNREGISTER with a channel: the node stays on the topic. Returns whether it was on the channel.
    /// An ephemeral channel on which no one is left goes.
    pub fn unregister_channel(
        &mut self,
        id: NodeId,
        topic: &TopicName,
        channel: &ChannelName,
    ) -> bool {
        let Some(topic_id) = self.by_name.get(topic.as_str()) else {
            return false;
        };
        let removed = self.topic_mut(topic_id).remove_from_channel(channel, id);
        self.drop_if_vacant(topic_id);
        removed
    }

    /// UNREGISTER without a channel: the node leaves the topic and all its channels. An ephemeral topic on
    /// which no one is left goes.
    ///
    /// Compat: its channels stay, even ephemeral ones (lookup_protocol_v1.go, UNREGISTER).
    pub fn unregister_topic(&mut self, id: NodeId, topic: &TopicName) -> Removed {
        let mut removed = Removed {
            topic: topic.clone(),
            was_on_topic: false,
            channels: Vec::new(),
        };
        let Some(topic_id) = self.by_name.get(topic.as_str()) else {
            return removed;
        };
        let entry = self.topic_mut(topic_id);
        let channels = &mut removed.channels;
        removed.was_on_topic = entry.remove_node(id, |name| channels.push(name.clone()));
        if entry.nodes.is_empty() && topic.is_ephemeral() {
            entry.is_registered = false;
        }
        self.connected_mut(id).topics.remove(&topic_id);
        self.drop_if_vacant(topic_id);
        removed
    }

    /// The connection is lost: the node leaves its topics, `page_size` of them at a time, and is forgotten
    /// with the last. Call until `None`. Topics and channels stay, ephemeral ones too.
    pub fn disconnect(&mut self, id: NodeId, page_size: usize) -> Option<Vec<Removed>> {
        let connected = self.connected_mut(id);
        let page: Vec<TopicId> = connected.topics.iter().copied().take(page_size).collect();
        if page.is_empty() {
            self.nodes.remove(key(id));
            return None;
        }
        for topic_id in &page {
            connected.topics.remove(topic_id);
        }
        let removed = page.iter().map(|&topic_id| {
            let entry = self.topic_mut(topic_id);
            let mut channels = Vec::new();
            Removed {
                topic: entry.name.clone(),
                was_on_topic: entry.remove_node(id, |name| channels.push(name.clone())),
                channels,
            }
        });
        Some(removed.collect())
    }

    /// Registers a topic that no node needs to have.
    pub fn create_topic(&mut self, topic: &TopicName) {
        let topic_id = self.topic_or_new(topic);
        self.topic_mut(topic_id).is_registered = true;
    }

    /// How many topics there are.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// How many channels the topic has; `None` if it is not known.
    pub fn topic_size(&self, topic: &TopicName) -> Option<usize> {
        let id = self.by_name.get(topic.as_str())?;
        Some(self.topics[topic_key(id)].channels().len())
    }

    /// Whether the topic has the channel.
    pub fn has_channel(&self, topic: &TopicName, channel: &ChannelName) -> bool {
        let id = self.by_name.get(topic.as_str());
        id.is_some_and(|id| self.topics[topic_key(id)].has_channel(channel))
    }

    /// Registers a channel, and its topic, that no node needs to have.
    pub fn create_channel(&mut self, topic: &TopicName, channel: &ChannelName) {
        let topic_id = self.topic_or_new(topic);
        let entry = self.topic_mut(topic_id);
        entry.is_registered = true;
        entry.channel_or_new(channel);
    }

    /// Forgets a topic and its channels. Nodes that have it are not told; it is back when one of them
    /// registers it again. Returns the channels, or `None` if the topic was not known.
    pub fn delete_topic(&mut self, topic: &str) -> Option<Vec<ChannelName>> {
        let topic_id = self.by_name.remove(topic)?;
        let entry = self.topics.remove(topic_key(topic_id));
        for id in entry.nodes.iter() {
            self.connected_mut(id).topics.remove(&topic_id);
        }
        Some(entry.channels().iter().map(|c| c.name.clone()).collect())
    }

    /// Forgets a channel. Returns whether it was known.
    pub fn delete_channel(&mut self, topic: &str, channel: &str) -> bool {
        let Some(topic_id) = self.by_name.get(topic) else {
            return false;
        };
        let removed = self.topic_mut(topic_id).remove_channel(channel);
        self.drop_if_vacant(topic_id);
        removed
    }

    /// Hides the nodes named `node_name` (`address:http_port`) from lookups of `topic` for a while.
    pub fn tombstone(&mut self, topic: &str, node_name: &str, now: Instant) {
        let Some(topic_id) = self.by_name.get(topic) else {
            return;
        };
        let entry = &mut self.topics[topic_key(topic_id)];
        let named: Vec<NodeId> = entry
            .nodes
            .iter()
            .filter(|&id| self.nodes[key(id)].node.is_named(node_name))
            .collect();
        for id in named {
            entry.set_tombstone(id, now);
        }
    }

    /// Where `topic` is, or `None` if it is not registered.
    pub fn lookup(&self, topic: &str, now: Instant) -> Option<Lookup> {
        let entry = self.topic(topic).filter(|entry| entry.is_registered)?;
        let visible = entry.nodes.iter().filter_map(|id| {
            let connected = &self.nodes[key(id)];
            let shows = self.is_active(connected, now) && !self.is_tombstoned(entry, id, now);
            shows.then(|| Arc::clone(&connected.node))
        });
        Some(Lookup {
            channels: channel_names(entry),
            producers: visible.collect(),
        })
    }

    /// The channels of `topic` by name; none for a topic no one knows.
    pub fn channels(&self, topic: &str) -> Vec<ChannelName> {
        self.topic(topic).map(channel_names).unwrap_or_default()
    }

    /// Appends the names of up to `page_size` topics to `page`, in no order. Returns where to continue.
    pub fn topics_page(
        &self,
        from: Cursor,
        page_size: usize,
        page: &mut Vec<TopicName>,
    ) -> Option<Cursor> {
        let topics = self.topics_between(from, page_size);
        page.extend(topics.filter(|t| t.is_registered).map(|t| t.name.clone()));
        next_page(from, page_size, self.topics.capacity())
    }

    /// Adds up to `page_size` topics to `tally`. Returns where to continue.
    pub fn tally_page(
        &self,
        from: Cursor,
        page_size: usize,
        now: Instant,
        tally: &mut Tally,
    ) -> Option<Cursor> {
        for topic in self.topics_between(from, page_size) {
            tally.topics += usize::from(topic.is_registered);
            tally.channels += topic.channels().len();
            tally.producers += topic.nodes.iter().len();
            if topic.has_tombstones() {
                let nodes = topic.nodes.iter();
                tally.tombstoned_producers += nodes
                    .filter(|&id| self.is_tombstoned(topic, id, now))
                    .count();
            }
        }
        next_page(from, page_size, self.topics.capacity())
    }

    /// How many nodes are connected, and how many of them are hidden since they were silent for too long.
    pub fn node_counts(&self, now: Instant) -> (usize, usize) {
        let silent = self
            .nodes
            .iter()
            .filter(|(_, node)| !self.is_active(node, now));
        (self.nodes.len(), silent.count())
    }

    /// The active node at the cursor or after it, and where to continue; `None` after the last.
    pub fn next_node(&self, from: Cursor, now: Instant) -> Option<(NodeReport, Cursor)> {
        let found = (from.0..self.nodes.capacity()).find_map(|at| {
            let connected = self.nodes.get(at)?;
            self.is_active(connected, now).then_some((at, connected))
        });
        let (at, connected) = found?;
        let id = NodeId(u32::try_from(at).expect("a key that connect gave out"));
        let topics = connected.topics.iter().map(|&topic_id| {
            let entry = &self.topics[topic_key(topic_id)];
            (entry.name.clone(), self.is_tombstoned(entry, id, now))
        });
        let report = NodeReport {
            node: Arc::clone(&connected.node),
            topics: topics.collect(),
        };
        Some((report, Cursor(at + 1)))
    }

    /// The registration of all nodes, inactive ones too.
    pub fn dump_nodes(&self) -> Dump {
        Dump {
            topic: None,
            channel: None,
            entries: self
                .nodes
                .iter()
                .map(|(_, c)| dump_entry(c, None))
                .collect(),
        }
    }

    /// Appends the registrations of up to `page_size` topics to `page`, but for those with no one on
    /// them. Returns where to continue.
    pub fn dump_page(
        &self,
        from: Cursor,
        page_size: usize,
        page: &mut Vec<Dump>,
    ) -> Option<Cursor> {
        for topic in self.topics_between(from, page_size) {
            if !topic.nodes.is_empty() {
                let entries = topic
                    .nodes
                    .iter()
                    .map(|id| dump_entry(&self.nodes[key(id)], topic.tombstoned_at(id)));
                page.push(Dump {
                    topic: Some(topic.name.clone()),
                    channel: None,
                    entries: entries.collect(),
                });
            }
            for channel in topic.channels().iter().filter(|c| !c.nodes.is_empty()) {
                let nodes = channel.nodes.iter();
                page.push(Dump {
                    topic: Some(topic.name.clone()),
                    channel: Some(channel.name.clone()),
                    entries: nodes
                        .map(|id| dump_entry(&self.nodes[key(id)], None))
                        .collect(),
                });
            }
        }
        next_page(from, page_size, self.topics.capacity())
    }

    fn is_active(&self, connected: &Connected, now: Instant) -> bool {
        now.saturating_duration_since(connected.last_update)
            <= self.visibility.inactive_producer_timeout
    }

    fn is_tombstoned(&self, topic: &Topic, id: NodeId, now: Instant) -> bool {
        topic.tombstoned_at(id).is_some_and(|at| {
            now.saturating_duration_since(at) < self.visibility.tombstone_lifetime
        })
    }

    fn topic(&self, name: &str) -> Option<&Topic> {
        let topic_id = self.by_name.get(name)?;
        Some(&self.topics[topic_key(topic_id)])
    }

    fn topics_between(&self, from: Cursor, page_size: usize) -> impl Iterator<Item = &Topic> {
        let keys = from.0..from.0.saturating_add(page_size).min(self.topics.capacity());
        keys.filter_map(|key| self.topics.get(key))
    }

    fn topic_mut(&mut self, id: TopicId) -> &mut Topic {
        &mut self.topics[topic_key(id)]
    }

    fn topic_or_new(&mut self, name: &TopicName) -> TopicId {
        if let Some(id) = self.by_name.get(name.as_str()) {
            return id;
        }
        let key = self.topics.insert(Topic::new(name.clone()));
        let id = TopicId::try_from(key).expect("fewer topics than u32 can count");
        self.by_name.insert(name.clone(), id);
        id
    }

    fn drop_if_vacant(&mut self, id: TopicId) {
        if self.topics[topic_key(id)].is_vacant() {
            let topic = self.topics.remove(topic_key(id));
            self.by_name.remove(topic.name.as_str());
        }
    }

    fn connected_mut(&mut self, id: NodeId) -> &mut Connected {
        self.nodes
            .get_mut(key(id))
            .expect("a node is asked about only until its disconnect is done")
    }
}

fn channel_names(topic: &Topic) -> Vec<ChannelName> {
    topic.channels().iter().map(|c| c.name.clone()).collect()
}

fn dump_entry(connected: &Connected, tombstoned_at: Option<Instant>) -> DumpEntry {
    DumpEntry {
        node: Arc::clone(&connected.node),
        last_update: connected.last_update,
        tombstoned_at,
    }
}

fn next_page(from: Cursor, page_size: usize, end: usize) -> Option<Cursor> {
    let next = from.0.saturating_add(page_size);
    (next < end).then_some(Cursor(next))
}

fn key(id: NodeId) -> usize {
    usize::try_from(id.0).expect("usize is at least 32 bits wide here")
}

fn topic_key(id: TopicId) -> usize {
    usize::try_from(id).expect("usize is at least 32 bits wide here")
}
