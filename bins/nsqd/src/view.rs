//! All brokers that this nsqd serves, seen as one: what HTTP, statsd and nsqlookupd are shown.
//!
//! A single node has one broker. A node of a cluster has one for each shard it leads and one for ephemeral topics, and a
//! topic may be in all of them. What is shown of it is the [sum](sums) over its parts, so that sums over all nodes are
//! right as well. A view is a picture of one moment; brokers that come and go later are not in it.

mod peeks;
mod sums;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use self::sums::{add_consumer, add_topic};

use std::sync::Arc;

use nsq_core::stats::{TopicStats, Totals};
use nsq_core::{Broker, ChannelCell, Now, Peek, PeekLimits, Topic};
use nsq_protocol::{ChannelName, TopicName};
use nsq_server::Server;

/// The served brokers.
pub(crate) struct View {
    brokers: Vec<Arc<Broker>>,
}

/// One topic, with its part in each broker that has it. The parts have one name; there is at least one.
pub(crate) struct TopicParts {
    first: Arc<Topic>,
    /// Empty in a single node.
    others: Vec<Arc<Topic>>,
}

/// One channel, with its part in each broker that has it. The parts have one name; there is at least one.
pub(crate) struct ChannelParts {
    first: Arc<ChannelCell>,
    /// Empty in a single node.
    others: Vec<Arc<ChannelCell>>,
}

impl View {
    /// What `server` serves now.
    pub(crate) fn of(server: &Server) -> View {
        View::over(server.brokers())
    }

    /// These brokers.
    pub(crate) fn over(brokers: Vec<Arc<Broker>>) -> View {
        View { brokers }
    }

    /// All topics, by name.
    pub(crate) fn topics(&self) -> Vec<TopicParts> {
        let mut topics: Vec<_> = self
            .brokers
            .iter()
            .flat_map(|broker| broker.topics())
            .collect();
        if self.brokers.len() > 1 {
            // Stable: the parts of a topic stay in the order of the brokers.
            topics.sort_by(|left, right| left.name().cmp(right.name()));
        }
        let mut parts: Vec<TopicParts> = Vec::with_capacity(topics.len());
        for topic in topics {
            match parts.last_mut() {
                Some(last) if last.name() == topic.name() => last.others.push(topic),
                _ => parts.push(TopicParts {
                    first: topic,
                    others: Vec::new(),
                }),
            }
        }
        parts
    }

    /// The topic of that name.
    pub(crate) fn topic(&self, name: &str) -> Option<TopicParts> {
        let mut parts = self.brokers.iter().filter_map(|broker| broker.topic(name));
        Some(TopicParts {
            first: parts.next()?,
            others: parts.collect(),
        })
    }

    /// Whether a broker has the topic, or that channel of it.
    pub(crate) fn has(&self, topic: &TopicName, channel: Option<&ChannelName>) -> bool {
        let mut topics = self
            .brokers
            .iter()
            .filter_map(|broker| broker.topic(topic.as_str()));
        topics.any(|topic| channel.is_none_or(|channel| topic.channel(channel.as_str()).is_some()))
    }

    /// `OK`, or `NOK - ` and what went wrong at the last write to a log, in the first broker with trouble.
    pub(crate) fn health(&self) -> String {
        let mut health = self.brokers.iter().map(|broker| broker.health());
        let trouble = health.find(|health| health != OK);
        trouble.unwrap_or_else(|| OK.to_owned())
    }

    /// How many appends failed because a log could not be written.
    pub(crate) fn failed_append_count(&self) -> u64 {
        let counts = self
            .brokers
            .iter()
            .map(|broker| broker.failed_append_count());
        counts.sum()
    }

    /// What deleted topics and channels had counted; to be read before the figures of those that live.
    pub(crate) fn departed(&self) -> Totals {
        let mut brokers = self.brokers.iter();
        let mut totals = brokers
            .next()
            .map(|broker| broker.departed())
            .unwrap_or_default();
        for broker in brokers {
            totals.merge(&broker.departed());
        }
        totals
    }

    /// Whether publishes, new topics and new channels are refused because nsqd is leaving.
    pub(crate) fn is_draining(&self) -> bool {
        self.brokers.iter().any(|broker| broker.is_draining())
    }
}

const OK: &str = "OK";

impl TopicParts {
    pub(crate) fn name(&self) -> &TopicName {
        self.first.name()
    }

    /// The topic in each broker.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Arc<Topic>> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// The figures, without percentiles, which cost more. Locks one topic or channel at a time.
    pub(crate) fn stats(&self) -> TopicStats {
        self.sum(Topic::stats)
    }

    /// The figures with the percentiles as of `now`.
    pub(crate) fn stats_with_percentiles(&self, now: Now) -> TopicStats {
        self.sum(|topic| topic.stats_with_percentiles(now))
    }

    fn sum(&self, figures: impl Fn(&Topic) -> TopicStats) -> TopicStats {
        let mut sum = figures(&self.first);
        for other in &self.others {
            sums::add_topic(&mut sum, figures(other));
        }
        sum
    }

    /// The names of its channels, in order.
    pub(crate) fn channel_names(&self) -> Vec<ChannelName> {
        let cells = self.parts().flat_map(|topic| topic.channels());
        let mut names: Vec<_> = cells.map(|cell| cell.name().clone()).collect();
        if !self.others.is_empty() {
            names.sort_unstable();
            names.dedup();
        }
        names
    }

    /// The channel of that name.
    pub(crate) fn channel(&self, name: &str) -> Option<ChannelParts> {
        let mut cells = self.parts().filter_map(|topic| topic.channel(name));
        Some(ChannelParts {
            first: cells.next()?,
            others: cells.collect(),
        })
    }

    /// Looks at messages that no channel was offered. May wait for the disk.
    pub(crate) fn peek(&self, limits: PeekLimits) -> Peek {
        let first = self.first.peek(limits);
        let others = self.others.iter().map(|topic| topic.peek(limits));
        peeks::merged(first, others, limits)
    }
}

impl ChannelParts {
    pub(crate) fn name(&self) -> &ChannelName {
        self.first.name()
    }

    /// The channel in each broker.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Arc<ChannelCell>> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Looks at messages of the channel. May wait for the disk. `None` when the channel was deleted meanwhile.
    pub(crate) fn peek(&self, limits: PeekLimits, now: Now) -> Option<Peek> {
        let mut peeks = self.parts().filter_map(|cell| cell.peek(limits, now));
        let first = peeks.next()?;
        Some(peeks::merged(first, peeks, limits))
    }
}
