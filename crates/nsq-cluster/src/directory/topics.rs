//! The durable topics and channels of the cluster.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use nsq_protocol::{ChannelName, TopicName};

use super::tombstones::Tombstones;

/// All durable topics, and the deletions that are still known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topics {
    by_name: BTreeMap<TopicName, Arc<TopicEntry>>,
    /// Topics and channels together.
    name_count: usize,
    tombstones: Tombstones,
}

/// A topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicEntry {
    /// The directory index of its creation.
    pub created_at: u64,
    /// Its channels, with the directory index of their creation.
    pub channels: BTreeMap<ChannelName, u64>,
}

impl Topics {
    /// The topic.
    pub fn topic(&self, topic: &TopicName) -> Option<&TopicEntry> {
        self.by_name.get(topic).map(Arc::as_ref)
    }

    /// When the channel was created, if it exists.
    pub fn channel(&self, topic: &TopicName, channel: &ChannelName) -> Option<u64> {
        self.topic(topic)?.channels.get(channel).copied()
    }

    /// All topics by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&TopicName, &TopicEntry)> {
        self.by_name.iter().map(|(name, topic)| (name, &**topic))
    }

    /// The names of the topics that came, went or changed since `old`, in order. Costs little for each of the others when
    /// `old` is an earlier state of this one.
    pub fn changed_since<'a>(&'a self, old: &'a Topics) -> impl Iterator<Item = &'a TopicName> {
        let mut old = old.by_name.iter().peekable();
        let mut new = self.by_name.iter().peekable();
        std::iter::from_fn(move || {
            loop {
                let order = match (old.peek(), new.peek()) {
                    (Some((old, _)), Some((new, _))) => old.cmp(new),
                    (Some(_), None) => Ordering::Less,
                    (None, Some(_)) => Ordering::Greater,
                    (None, None) => return None,
                };
                let before = (order != Ordering::Greater).then(|| old.next()).flatten();
                let after = (order != Ordering::Less).then(|| new.next()).flatten();
                match (before, after) {
                    (Some((_, before)), Some((_, after))) if Arc::ptr_eq(before, after) => {}
                    (before, after) => return after.or(before).map(|(name, _)| name),
                }
            }
        })
    }

    /// How many topics there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// How many topics and channels there are.
    pub fn name_count(&self) -> usize {
        self.name_count
    }

    /// The deletions that are still known.
    pub fn tombstones(&self) -> &Tombstones {
        &self.tombstones
    }

    /// Adds a topic without channels, unless it exists.
    pub(super) fn create_topic(&mut self, topic: &TopicName, index: u64) {
        if !self.by_name.contains_key(topic) {
            let entry = TopicEntry {
                created_at: index,
                channels: BTreeMap::new(),
            };
            self.by_name.insert(topic.clone(), Arc::new(entry));
            self.name_count += 1;
        }
    }

    /// Adds a channel to an existing topic, unless the channel exists.
    pub(super) fn create_channel(&mut self, topic: &TopicName, channel: &ChannelName, index: u64) {
        if let Some(topic) = self.by_name.get_mut(topic)
            && !topic.channels.contains_key(channel)
        {
            let topic = Arc::make_mut(topic);
            topic.channels.insert(channel.clone(), index);
            self.name_count += 1;
        }
    }

    /// Removes a topic and its channels; returns whether it existed.
    pub(super) fn delete_topic(&mut self, topic: &TopicName, index: u64) -> bool {
        let Some(removed) = self.by_name.remove(topic) else {
            return false;
        };
        self.name_count -= 1 + removed.channels.len();
        self.tombstones.bury(topic, None, index);
        true
    }

    /// Removes a channel; returns whether it existed.
    pub(super) fn delete_channel(
        &mut self,
        topic: &TopicName,
        channel: &ChannelName,
        index: u64,
    ) -> bool {
        if self.channel(topic, channel).is_none() {
            return false;
        }
        if let Some(entry) = self.by_name.get_mut(topic) {
            Arc::make_mut(entry).channels.remove(channel);
            self.name_count -= 1;
            self.tombstones.bury(topic, Some(channel), index);
        }
        true
    }

    /// Puts back a topic that was stored; `false` if there is one of this name.
    pub(super) fn restore(&mut self, name: TopicName, topic: TopicEntry) -> bool {
        self.name_count += 1 + topic.channels.len();
        self.by_name.insert(name, Arc::new(topic)).is_none()
    }

    pub(super) fn restore_tombstones(&mut self, tombstones: Tombstones) {
        self.tombstones = tombstones;
    }
}
