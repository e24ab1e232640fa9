//! What the brokers of this nsqd have counted, those among them that it serves no longer.
//!
//! A node of a cluster gets and loses brokers with the shards that it leads. Its counters at `/metrics` must not go down with
//! that: a monitoring system takes a counter that goes down for one that began again, and counts the rest of it once more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nsq_core::Broker;
use nsq_core::stats::{ChannelStats, TopicStats, Totals};
use nsq_protocol::TopicName;

use crate::view::{View, add_topic};

/// The brokers that are served, and the counts of the others.
#[derive(Default)]
pub(crate) struct Counted(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    served: Vec<Arc<Broker>>,
    gone: Arc<Gone>,
}

/// What brokers that are gone had counted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gone {
    /// Of all topics, and of what they had deleted.
    pub(crate) totals: Totals,
    pub(crate) failed_append_count: u64,
    /// Counts alone: depths and the like are zero.
    topics: BTreeMap<TopicName, TopicStats>,
}

impl Counted {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The broker is served from now on.
    pub(crate) fn add(&self, broker: &Arc<Broker>) {
        self.lock().served.push(Arc::clone(broker));
    }

    /// The broker is served no longer; it need not be closed yet. May be repeated.
    pub(crate) fn remove(&self, broker: &Arc<Broker>) {
        let mut counts = self.lock();
        let Counts { served, gone } = &mut *counts;
        let Some(at) = served.iter().position(|known| Arc::ptr_eq(known, broker)) else {
            return;
        };
        let broker = served.swap_remove(at);
        let gone = Arc::make_mut(gone);
        gone.add(&broker);
        // Topics that were deleted must not add up forever.
        let served = served.iter().chain([&broker]);
        let names = served.flat_map(|broker| broker.topics());
        let names: BTreeSet<_> = names.map(|topic| topic.name().clone()).collect();
        gone.topics.retain(|name, _| names.contains(name));
    }

    /// All served brokers, and what the others had counted: no count is in both, and none in neither.
    pub(crate) fn all(&self) -> (View, Arc<Gone>) {
        let counts = self.lock();
        (View::over(counts.served.clone()), Arc::clone(&counts.gone))
    }
}

impl Gone {
    fn add(&mut self, broker: &Broker) {
        self.totals.merge(&broker.departed());
        self.failed_append_count += broker.failed_append_count();
        for topic in broker.topics() {
            let stats = topic.stats();
            self.totals.add(&stats);
            let counts = counts_of(stats);
            match self.topics.get_mut(topic.name()) {
                Some(known) => add_topic(known, counts),
                None => drop(self.topics.insert(topic.name().clone(), counts)),
            }
        }
    }

    /// Adds what was counted of these topics and their channels. Channels that are gone are not added.
    pub(crate) fn add_to(&self, topics: &mut [TopicStats]) {
        for topic in topics {
            let Some(known) = self.topics.get(&topic.name) else {
                continue;
            };
            let mut known = known.clone();
            let is_there = |channel: &ChannelStats| {
                let mut channels = topic.channels.iter();
                channels.any(|there| there.name == channel.name)
            };
            known.channels.retain(is_there);
            add_topic(topic, known);
        }
    }
}

/// The figures that only ever grow.
fn counts_of(mut stats: TopicStats) -> TopicStats {
    for channel in &mut stats.channels {
        *channel = ChannelStats {
            depth: 0,
            backend_depth: 0,
            in_flight_count: 0,
            deferred_count: 0,
            client_count: 0,
            oldest_published: None,
            paused: false,
            latency: None,
            ..channel.clone()
        };
    }
    TopicStats {
        depth: 0,
        backend_depth: 0,
        paused: false,
        latency: None,
        ..stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::{ALICE, Served, at, subscribe, take};

    /// Messages published, delivered and in flight, as the topic's figures and as the totals of all.
    fn figures(counted: &Counted) -> ([u64; 3], [u64; 2]) {
        let (view, gone) = counted.all();
        let mut totals = view.departed();
        let topic = view.topic("t").unwrap().stats();
        totals.add(&topic);
        totals.merge(&gone.totals);
        let mut topics = [topic];
        gone.add_to(&mut topics);
        let channel = &topics[0].channels[0];
        (
            [
                topics[0].message_count,
                channel.delivered_count,
                channel.in_flight_count,
            ],
            [totals.published_messages, totals.delivered_messages],
        )
    }

    #[test]
    fn counts_stay_when_a_broker_goes_and_depths_go_with_it() {
        let served = Served::new(2);
        let counted = Counted::default();
        for broker in 0..2 {
            let cell = served.channel(broker, "t", "c");
            subscribe(&cell, ALICE, 10);
            served.publish(broker, "t", &["one", "two"], at(1));
            assert_eq!(take(&cell, ALICE, at(1)).len(), 2);
            counted.add(&served.brokers[broker]);
        }
        assert_eq!(figures(&counted), ([4, 4, 4], [4, 4]));
        counted.remove(&served.brokers[0]);
        counted.remove(&served.brokers[0]);
        assert_eq!(figures(&counted), ([4, 4, 2], [4, 4]));
        served.publish(1, "t", &["three"], at(2));
        assert_eq!(figures(&counted), ([5, 4, 2], [5, 4]));
    }

    #[test]
    fn a_channel_or_topic_that_is_gone_does_not_come_back_with_its_counts() {
        let served = Served::new(2);
        let counted = Counted::default();
        served.channel(0, "t", "gone");
        served.channel(1, "t", "c");
        served.publish(0, "t", &["one"], at(1));
        served.brokers.iter().for_each(|broker| counted.add(broker));
        counted.remove(&served.brokers[0]);
        let (view, gone) = counted.all();
        let mut topics = [view.topic("t").unwrap().stats()];
        gone.add_to(&mut topics);
        assert_eq!((topics[0].message_count, topics[0].channels.len()), (1, 1));

        served.brokers[1].delete_topic("t");
        counted.remove(&served.brokers[1]);
        assert_eq!(counted.all().1.topics.len(), 0);
        assert_eq!(counted.all().1.totals.published_messages, 1);
    }
}
