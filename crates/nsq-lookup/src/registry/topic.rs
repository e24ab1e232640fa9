//! One topic's registrations.

use std::time::Instant;

use nsq_protocol::{ChannelName, TopicName};

use super::NodeId;
use super::node_set::NodeSet;

/// A topic and its channels, and who has them.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: TopicName,
    /// Whether the topic itself is registered. Channels can outlive it: UNREGISTER of an ephemeral topic
    /// takes the topic and leaves the channels.
    pub(super) is_registered: bool,
    pub(super) nodes: NodeSet,
    /// By name, ascending. Every node of a channel is one of the topic's.
    channels: Vec<Channel>,
    /// Nodes that `/lookup` does not show for a while. Rare.
    tombstones: Vec<(NodeId, Instant)>,
}

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) name: ChannelName,
    pub(super) nodes: NodeSet,
}

impl Topic {
    pub(super) fn new(name: TopicName) -> Self {
        Self {
            name,
            is_registered: false,
            nodes: NodeSet::default(),
            channels: Vec::new(),
            tombstones: Vec::new(),
        }
    }

    /// Whether nothing is left to know about the topic.
    pub(super) fn is_vacant(&self) -> bool {
        !self.is_registered && self.channels.is_empty()
    }

    pub(super) fn channels(&self) -> &[Channel] {
        &self.channels
    }

    pub(super) fn has_channel(&self, name: &ChannelName) -> bool {
        self.find(name.as_str()).is_ok()
    }

    /// The channel's registration, made if there is none.
    pub(super) fn channel_or_new(&mut self, name: &ChannelName) -> &mut Channel {
        let at = match self.find(name.as_str()) {
            Ok(at) => at,
            Err(at) => {
                if self.channels.capacity() == 0 {
                    self.channels.reserve_exact(1);
                }
                let channel = Channel {
                    name: name.clone(),
                    nodes: NodeSet::default(),
                };
                self.channels.insert(at, channel);
                at
            }
        };
        &mut self.channels[at]
    }

    /// Deletes the channel's registration; whether there was one.
    pub(super) fn remove_channel(&mut self, name: &str) -> bool {
        let found = self.find(name);
        if let Ok(at) = found {
            self.channels.remove(at);
        }
        found.is_ok()
    }

    /// Takes a node off a channel; whether it was on it. An ephemeral channel goes with its last node,
    /// and also if it had none.
    pub(super) fn remove_from_channel(&mut self, name: &ChannelName, id: NodeId) -> bool {
        let Ok(at) = self.find(name.as_str()) else {
            return false;
        };
        let nodes = &mut self.channels[at].nodes;
        let removed = nodes.remove(id);
        if nodes.is_empty() && name.is_ephemeral() {
            self.channels.remove(at);
        }
        removed
    }

    /// Takes a node off the topic and all its channels. Every registration stays, with no one on it if
    /// need be. Calls `gone` for each channel it was on; returns whether it was on the topic.
    pub(super) fn remove_node(&mut self, id: NodeId, mut gone: impl FnMut(&ChannelName)) -> bool {
        for channel in &mut self.channels {
            if channel.nodes.remove(id) {
                gone(&channel.name);
            }
        }
        self.clear_tombstone(id);
        self.nodes.remove(id)
    }

    /// Buries a node of this topic. The flag lives as long as the registration, its effect shorter.
    pub(super) fn set_tombstone(&mut self, id: NodeId, now: Instant) {
        self.clear_tombstone(id);
        self.tombstones.push((id, now));
    }

    /// When the node was buried here, if it was.
    pub(super) fn tombstoned_at(&self, id: NodeId) -> Option<Instant> {
        let found = self.tombstones.iter().find(|(buried, _)| *buried == id);
        found.map(|(_, at)| *at)
    }

    /// Whether any node was buried here.
    pub(super) fn has_tombstones(&self) -> bool {
        !self.tombstones.is_empty()
    }

    fn clear_tombstone(&mut self, id: NodeId) {
        self.tombstones.retain(|(buried, _)| *buried != id);
    }

    fn find(&self, channel: &str) -> Result<usize, usize> {
        self.channels
            .binary_search_by(|probe| probe.name.as_str().cmp(channel))
    }
}
