//! Tombstones: when topics and channels were deleted, for the shards that have not followed yet.
//!
//! There is a limit. If it is exceeded the oldest ones are forgotten, and `forgotten` says up to which directory index: a
//! shard that has followed further misses nothing.

use std::collections::BTreeMap;

use nsq_protocol::{ChannelName, TopicName};

/// The deletions that are still known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tombstones {
    deleted: BTreeMap<Key, u64>,
    /// The same, in the order of deletion. Each deletion has an index of its own.
    order: BTreeMap<u64, Key>,
    /// Every deletion after this directory index is known.
    forgotten: u64,
}

/// A topic, or a channel of it. A topic sorts before its channels.
pub(super) type Key = (TopicName, Option<ChannelName>);

impl Tombstones {
    /// When the topic was deleted last.
    pub fn topic(&self, topic: &TopicName) -> Option<u64> {
        self.deleted.get(&(topic.clone(), None)).copied()
    }

    /// When the channel was deleted last, unless its topic was deleted later.
    pub fn channel(&self, topic: &TopicName, channel: &ChannelName) -> Option<u64> {
        let key = (topic.clone(), Some(channel.clone()));
        self.deleted.get(&key).copied()
    }

    /// Every deletion after this directory index is known.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.deleted.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.deleted.is_empty()
    }

    /// Notes a deletion. One of a topic replaces those of its channels.
    pub(super) fn bury(&mut self, topic: &TopicName, channel: Option<&ChannelName>, index: u64) {
        if channel.is_none() {
            let first = (topic.clone(), None);
            let range = self.deleted.range(first..);
            let of_topic = range.take_while(|((name, _), _)| name == topic);
            let old: Vec<_> = of_topic.map(|(key, at)| (key.clone(), *at)).collect();
            for (key, at) in old {
                self.deleted.remove(&key);
                self.order.remove(&at);
            }
        }
        self.insert((topic.clone(), channel.cloned()), index);
        while self.deleted.len() > MAX_TOMBSTONES {
            let Some((at, key)) = self.order.pop_first() else {
                return;
            };
            self.deleted.remove(&key);
            self.forgotten = at;
        }
    }

    pub(super) fn insert(&mut self, key: Key, index: u64) {
        if let Some(old) = self.deleted.insert(key.clone(), index) {
            self.order.remove(&old);
        }
        self.order.insert(index, key);
    }

    pub(super) fn restore(forgotten: u64) -> Self {
        Self {
            forgotten,
            ..Self::default()
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, u64)> {
        self.order.iter().map(|(index, key)| (key, *index))
    }
}

/// Each takes about 200 bytes of memory on each node. A shard that was away for more deletions than this follows by a coarser
/// rule ([`registry_steps`](super::registry_steps)).
pub(super) const MAX_TOMBSTONES: usize = 20_000;
