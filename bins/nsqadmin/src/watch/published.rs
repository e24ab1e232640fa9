//! What topics and channels have counted, over restarts and losses of nodes: a sum that never falls.
//!
//! nsqd counts from zero after a restart, and a node that is lost counts nothing. For each counter of each node the last
//! value is remembered here. When the node has restarted, or has deleted the topic, that value is kept as a plain number
//! and the counter begins again. So memory holds one counter for each topic and channel on each known node, and no more.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cluster::{NodeStats, Overview};

use super::nodes::KnownNodes;

/// The counts of all topics and channels.
#[derive(Debug, Default)]
pub(super) struct Published {
    /// By topic, then by channel; `None` is the topic itself.
    topics: HashMap<Arc<str>, HashMap<Option<Arc<str>>, Tally>>,
    /// What topics and channels had counted that no longer exist.
    deleted: Counted,
    /// When the newest overview was taken, in Unix milliseconds.
    at: i64,
}

/// Messages since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Messages published to topics.
    pub published: i64,
    /// Messages received by channels.
    pub received: i64,
}

/// The count of one topic or channel.
#[derive(Debug, Default)]
struct Tally {
    /// Counted by nodes that have restarted since, or no longer have it.
    before: i64,
    nodes: Vec<Counter>,
}

/// The counter of one node.
#[derive(Debug)]
struct Counter {
    node: Arc<str>,
    /// When that nsqd started, in Unix seconds.
    start_time: i64,
    count: i64,
    seen_at: i64,
}

impl Published {
    /// Takes the counters of all nodes that answered. `nodes` knows which of the others are lost.
    pub(super) fn observe(&mut self, overview: &Overview, nodes: &KnownNodes) {
        let at = overview.taken_at.as_millisecond();
        if at <= self.at {
            return;
        }
        self.at = at;
        for report in &overview.nodes {
            if let Ok(stats) = &report.stats {
                self.observe_node(&report.address, stats, at);
            }
        }
        let deleted = &mut self.deleted;
        self.topics.retain(|_, tallies| {
            tallies.retain(|channel, tally| {
                tally.forget_deleted(at, nodes);
                let is_there = !tally.nodes.is_empty();
                if !is_there {
                    deleted.add(channel.is_some(), tally.before);
                }
                is_there
            });
            !tallies.is_empty()
        });
    }

    fn observe_node(&mut self, node: &Arc<str>, stats: &NodeStats, at: i64) {
        for topic in &stats.topics {
            let tallies = self.topics.entry(Arc::clone(&topic.topic_name));
            let tallies = tallies.or_default();
            let own = (None, topic.message_count);
            let channels = topic.channels.iter().map(|channel| {
                let name = Arc::clone(&channel.channel_name);
                (Some(name), channel.message_count)
            });
            for (channel, count) in std::iter::once(own).chain(channels) {
                let tally = tallies.entry(channel).or_default();
                tally.observe(node, stats.start_time, count, at);
            }
        }
    }

    /// Messages published to a topic; `None` for one that was not there at the last look.
    pub(super) fn of_topic(&self, topic: &str) -> Option<i64> {
        Some(self.topics.get(topic)?.get(&None)?.sum())
    }

    /// Everything together, also what was counted by topics and channels that no longer exist.
    pub(super) fn total(&self) -> Counted {
        let mut total = self.deleted;
        for (channel, tally) in self.topics.values().flatten() {
            total.add(channel.is_some(), tally.sum());
        }
        total
    }
}

impl Counted {
    fn add(&mut self, is_channel: bool, count: i64) {
        let sum = if is_channel {
            &mut self.received
        } else {
            &mut self.published
        };
        *sum = sum.saturating_add(count);
    }
}

impl Tally {
    fn observe(&mut self, node: &Arc<str>, start_time: i64, count: i64, at: i64) {
        let Some(counter) = self.nodes.iter_mut().find(|known| known.node == *node) else {
            self.nodes.push(Counter {
                node: Arc::clone(node),
                start_time,
                count,
                seen_at: at,
            });
            return;
        };
        // After a restart, more may have been counted than before it: then only the start shows it. When a topic was
        // deleted and created again, only the count shows it.
        if counter.start_time != start_time || count < counter.count {
            self.before = self.before.saturating_add(counter.count);
        }
        counter.start_time = start_time;
        counter.count = count;
        counter.seen_at = at;
    }

    /// A node that answers and no longer has it begins again at zero; so does one that was dismissed. A lost node may
    /// come back and count on.
    fn forget_deleted(&mut self, at: i64, nodes: &KnownNodes) {
        let before = &mut self.before;
        self.nodes.retain(|counter| {
            let is_kept = counter.seen_at == at || nodes.is_lost(&counter.node);
            if !is_kept {
                *before = before.saturating_add(counter.count);
            }
            is_kept
        });
    }

    fn sum(&self) -> i64 {
        let counts = self.nodes.iter().map(|counter| counter.count);
        counts.fold(self.before, i64::saturating_add)
    }
}
