//! The registry against upstream's data structure: one flat map, searched from end to end.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Connect,
    Disconnect {
        node: usize,
    },
    Ping {
        node: usize,
    },
    Register {
        node: usize,
        topic: usize,
        channel: Option<usize>,
    },
    Unregister {
        node: usize,
        topic: usize,
        channel: Option<usize>,
    },
    CreateTopic {
        topic: usize,
    },
    CreateChannel {
        topic: usize,
        channel: usize,
    },
    DeleteTopic {
        topic: usize,
    },
    DeleteChannel {
        topic: usize,
        channel: usize,
    },
    Tombstone {
        topic: usize,
        node: usize,
    },
    Wait {
        millis: u64,
    },
}

const TOPICS: [&str; 3] = ["a", "b", "e#ephemeral"];
const CHANNELS: [&str; 3] = ["x", "y", "z#ephemeral"];
const VISIBILITY: Visibility = Visibility {
    inactive_producer_timeout: Duration::from_millis(100),
    tombstone_lifetime: Duration::from_millis(50),
};

fn step() -> impl Strategy<Value = Step> {
    let node = 0..4usize;
    let topic = 0..TOPICS.len();
    let channel = 0..CHANNELS.len();
    let maybe = proptest::option::of(channel.clone());
    prop_oneof![
        2 => Just(Step::Connect),
        1 => node.clone().prop_map(|node| Step::Disconnect { node }),
        2 => node.clone().prop_map(|node| Step::Ping { node }),
        8 => (node.clone(), topic.clone(), maybe.clone())
            .prop_map(|(node, topic, channel)| Step::Register { node, topic, channel }),
        5 => (node.clone(), topic.clone(), maybe)
            .prop_map(|(node, topic, channel)| Step::Unregister { node, topic, channel }),
        1 => topic.clone().prop_map(|topic| Step::CreateTopic { topic }),
        1 => (topic.clone(), channel.clone())
            .prop_map(|(topic, channel)| Step::CreateChannel { topic, channel }),
        1 => topic.clone().prop_map(|topic| Step::DeleteTopic { topic }),
        1 => (topic.clone(), channel).prop_map(|(topic, channel)| Step::DeleteChannel { topic, channel }),
        2 => (topic, node).prop_map(|(topic, node)| Step::Tombstone { topic, node }),
        2 => (0..80u64).prop_map(|millis| Step::Wait { millis }),
    ]
}

type Key = (&'static str, &'static str);

/// Registrations by `(topic, channel)`, channel empty for the topic's own; on each, nodes by serial number
/// with the time of a tombstone.
#[derive(Default)]
struct Model {
    registrations: BTreeMap<Key, BTreeMap<usize, Option<Instant>>>,
    last_update: BTreeMap<usize, Instant>,
}

impl Model {
    fn leave(&mut self, key: Key, node: usize) {
        let Some(nodes) = self.registrations.get_mut(&key) else {
            return;
        };
        nodes.remove(&node);
        let name = if key.1.is_empty() { key.0 } else { key.1 };
        if nodes.is_empty() && name.ends_with("#ephemeral") {
            self.registrations.remove(&key);
        }
    }

    fn channels(&self, topic: &str) -> Vec<String> {
        let keys = self.registrations.keys();
        keys.filter(|key| key.0 == topic && !key.1.is_empty())
            .map(|key| key.1.to_owned())
            .collect()
    }

    fn is_active(&self, node: usize, now: Instant) -> bool {
        now - self.last_update[&node] <= VISIBILITY.inactive_producer_timeout
    }

    fn producers(&self, topic: &'static str, now: Instant) -> Option<BTreeSet<String>> {
        let nodes = self.registrations.get(&(topic, ""))?.iter();
        Some(
            nodes
                .filter(|(node, _)| self.is_active(**node, now))
                .filter(|(_, buried)| !is_hidden(**buried, now))
                .map(|(node, _)| node.to_string())
                .collect(),
        )
    }

    fn nodes(&self, now: Instant) -> BTreeMap<String, BTreeSet<(String, bool)>> {
        let active = self
            .last_update
            .keys()
            .filter(|node| self.is_active(**node, now));
        active
            .map(|node| {
                let topics = self.registrations.iter().filter_map(|(key, nodes)| {
                    let buried = nodes.get(node).filter(|_| key.1.is_empty())?;
                    Some((key.0.to_owned(), is_hidden(*buried, now)))
                });
                (node.to_string(), topics.collect())
            })
            .collect()
    }
}

fn is_hidden(buried: Option<Instant>, now: Instant) -> bool {
    buried.is_some_and(|at| now - at < VISIBILITY.tombstone_lifetime)
}

#[derive(Default)]
struct Run {
    model: Model,
    /// Connected nodes: their serial number and the registry's.
    nodes: Vec<(usize, NodeId)>,
    serial: usize,
}

impl Run {
    fn pick(&self, node: usize) -> Option<(usize, NodeId)> {
        (!self.nodes.is_empty()).then(|| self.nodes[node % self.nodes.len()])
    }

    fn apply(&mut self, registry: &mut Registry, step: &Step, now: &mut Instant) {
        let topic_name = |topic: usize| TopicName::parse(TOPICS[topic]).unwrap();
        let channel_name = |channel: usize| ChannelName::parse(CHANNELS[channel]).unwrap();
        let model = &mut self.model;
        match *step {
            Step::Connect => {
                self.serial += 1;
                let node = Node {
                    hostname: self.serial.to_string(),
                    broadcast_address: format!("h{}", self.serial),
                    http_port: 1,
                    ..Node::default()
                };
                self.nodes.push((self.serial, registry.connect(node, *now)));
                model.last_update.insert(self.serial, *now);
            }
            Step::Disconnect { node } => {
                let Some((serial, id)) = self.pick(node) else {
                    return;
                };
                self.nodes.retain(|(other, _)| *other != serial);
                while registry.disconnect(id, 2).is_some() {}
                self.model.last_update.remove(&serial);
                for nodes in self.model.registrations.values_mut() {
                    nodes.remove(&serial);
                }
            }
            Step::Ping { node } => {
                let Some((serial, id)) = self.pick(node) else {
                    return;
                };
                registry.ping(id, *now);
                self.model.last_update.insert(serial, *now);
            }
            Step::Register {
                node,
                topic,
                channel,
            } => {
                let Some((serial, id)) = self.pick(node) else {
                    return;
                };
                let name = channel.map(channel_name);
                registry.register(id, &topic_name(topic), name.as_ref());
                let channel = channel.map(|channel| CHANNELS[channel]);
                for key in [Some(""), channel].into_iter().flatten() {
                    let nodes = self
                        .model
                        .registrations
                        .entry((TOPICS[topic], key))
                        .or_default();
                    nodes.entry(serial).or_insert(None);
                }
            }
            Step::Unregister {
                node,
                topic,
                channel: Some(channel),
            } => {
                let Some((serial, id)) = self.pick(node) else {
                    return;
                };
                registry.unregister_channel(id, &topic_name(topic), &channel_name(channel));
                self.model.leave((TOPICS[topic], CHANNELS[channel]), serial);
            }
            Step::Unregister {
                node,
                topic,
                channel: None,
            } => {
                let Some((serial, id)) = self.pick(node) else {
                    return;
                };
                registry.unregister_topic(id, &topic_name(topic));
                for (key, nodes) in &mut self.model.registrations {
                    if key.0 == TOPICS[topic] && !key.1.is_empty() {
                        nodes.remove(&serial);
                    }
                }
                self.model.leave((TOPICS[topic], ""), serial);
            }
            Step::CreateTopic { topic } => {
                registry.create_topic(&topic_name(topic));
                model.registrations.entry((TOPICS[topic], "")).or_default();
            }
            Step::CreateChannel { topic, channel } => {
                registry.create_channel(&topic_name(topic), &channel_name(channel));
                model.registrations.entry((TOPICS[topic], "")).or_default();
                model
                    .registrations
                    .entry((TOPICS[topic], CHANNELS[channel]))
                    .or_default();
            }
            Step::DeleteTopic { topic } => {
                registry.delete_topic(TOPICS[topic]);
                model.registrations.retain(|key, _| key.0 != TOPICS[topic]);
            }
            Step::DeleteChannel { topic, channel } => {
                registry.delete_channel(TOPICS[topic], CHANNELS[channel]);
                model
                    .registrations
                    .remove(&(TOPICS[topic], CHANNELS[channel]));
            }
            Step::Tombstone { topic, node } => {
                let Some((serial, _)) = self.pick(node) else {
                    return;
                };
                registry.tombstone(TOPICS[topic], &format!("h{serial}:1"), *now);
                if let Some(nodes) = self.model.registrations.get_mut(&(TOPICS[topic], "")) {
                    nodes
                        .entry(serial)
                        .and_modify(|buried| *buried = Some(*now));
                }
            }
            Step::Wait { millis } => *now += Duration::from_millis(millis),
        }
    }
}

proptest! {
    #[test]
    fn every_answer_is_that_of_a_flat_map(steps in proptest::collection::vec(step(), 1..60)) {
        let mut now = Instant::now();
        let mut registry = Registry::new(VISIBILITY);
        let mut run = Run::default();
        for step in &steps {
            run.apply(&mut registry, step, &mut now);
            let model = &run.model;
            for topic in TOPICS {
                let lookup = registry.lookup(topic, now);
                let producers = lookup.as_ref().map(|lookup| {
                    lookup.producers.iter().map(|node| node.hostname.clone()).collect::<BTreeSet<_>>()
                });
                prop_assert_eq!(producers, model.producers(topic, now), "{} after {:?}", topic, step);
                let channels: Vec<String> = registry.channels(topic).iter().map(ToString::to_string).collect();
                prop_assert_eq!(channels, model.channels(topic), "{} after {:?}", topic, step);
            }
            let mut nodes = BTreeMap::new();
            let mut cursor = Cursor::default();
            while let Some((report, next)) = registry.next_node(cursor, now) {
                let topics = report.topics.iter().map(|(name, hidden)| (name.to_string(), *hidden));
                nodes.insert(report.node.hostname.clone(), topics.collect::<BTreeSet<_>>());
                cursor = next;
            }
            prop_assert_eq!(nodes, model.nodes(now), "after {:?}", step);
        }
    }
}
