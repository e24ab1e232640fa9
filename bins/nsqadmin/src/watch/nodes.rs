//! Every nsqd that was ever seen, until an administrator dismisses it: one that is lost is not forgotten.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::cluster::{NodeStats, Overview, Producer, Topic};

use super::events::{Event, EventKind, Place};

/// An nsqd that does not respond, or is no longer registered, as it was when it last answered.
#[derive(Debug, Clone)]
pub struct LostNode {
    /// `host:port` of its HTTP interface.
    pub address: Arc<str>,
    /// What was known of it.
    pub producer: Producer,
    /// Its last statistics.
    pub stats: Arc<NodeStats>,
    /// When those were taken, in Unix milliseconds.
    pub last_seen: i64,
    /// Why it counts as lost.
    pub loss: Loss,
}

/// In which way a node is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// It is registered or configured, and does not answer: why.
    NotResponding(String),
    /// It is no longer registered with nsqlookupd.
    Gone,
}

impl LostNode {
    /// Messages that waited there: in its topics and in their channels.
    pub fn waiting(&self) -> i64 {
        let topics = self.stats.topics.iter();
        topics
            .map(|topic| waiting(topic))
            .fold(0, i64::saturating_add)
    }

    /// Consumers that it had.
    pub fn consumers(&self) -> i64 {
        let channels = self.stats.topics.iter().flat_map(|topic| &topic.channels);
        channels
            .map(|channel| channel.client_count)
            .fold(0, i64::saturating_add)
    }

    /// The topic as it was there.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        let mut topics = self.stats.topics.iter();
        topics.find(|topic| *topic.topic_name == *name)
    }
}

/// Messages of a topic that wait: at the topic itself, and in all its channels.
pub fn waiting(topic: &Topic) -> i64 {
    let channels = topic.channels.iter().map(|channel| channel.depth);
    channels.fold(topic.depth, i64::saturating_add)
}

/// All nodes that were seen.
#[derive(Debug, Default)]
pub(super) struct KnownNodes {
    nodes: HashMap<Arc<str>, Known>,
}

#[derive(Debug)]
struct Known {
    producer: Producer,
    stats: Arc<NodeStats>,
    last_seen: i64,
    loss: Option<Loss>,
}

impl KnownNodes {
    /// Takes note of who answers. Returns what happened; at the first look nothing did.
    pub(super) fn observe(&mut self, overview: &Overview) -> Vec<Event> {
        let at = overview.taken_at.as_millisecond();
        let is_first = self.nodes.is_empty();
        let mut events = Vec::new();
        let mut event = |node: &Arc<str>, kind| {
            let place = Place {
                node: Some(Arc::clone(node)),
                ..Place::default()
            };
            events.push(Event { at, kind, place });
        };
        let mut listed = HashSet::new();
        for report in &overview.nodes {
            listed.insert(Arc::clone(&report.address));
            let known = self.nodes.get_mut(&report.address);
            match (known, &report.stats) {
                (Some(known), Ok(stats)) => {
                    if known.loss.take().is_some() {
                        event(&report.address, EventKind::NodeBack);
                    }
                    known.stats = Arc::clone(stats);
                    known.producer = report.producer.clone();
                    known.last_seen = at;
                }
                (Some(known), Err(failure)) => {
                    if known.loss.is_none() {
                        event(&report.address, known.lost(false));
                    }
                    known.loss = Some(Loss::NotResponding(failure.cause.clone()));
                }
                (None, Ok(stats)) => {
                    if !is_first {
                        event(&report.address, EventKind::NodeNew);
                    }
                    let known = Known {
                        producer: report.producer.clone(),
                        stats: Arc::clone(stats),
                        last_seen: at,
                        loss: None,
                    };
                    self.nodes.insert(Arc::clone(&report.address), known);
                }
                (None, Err(_)) => {}
            }
        }
        let vanished = self.nodes.iter_mut();
        for (address, known) in vanished.filter(|(address, _)| !listed.contains(*address)) {
            if known.loss.is_none() {
                event(address, known.lost(true));
            }
            known.loss = Some(Loss::Gone);
        }
        self.forget_the_oldest();
        events
    }

    /// Those that are lost, the latest first.
    pub(super) fn lost(&self) -> Vec<LostNode> {
        let lost = self.nodes.iter().filter_map(|(address, known)| {
            Some(LostNode {
                address: Arc::clone(address),
                producer: known.producer.clone(),
                stats: Arc::clone(&known.stats),
                last_seen: known.last_seen,
                loss: known.loss.clone()?,
            })
        });
        let mut lost: Vec<_> = lost.collect();
        lost.sort_by(|a, b| {
            b.last_seen
                .cmp(&a.last_seen)
                .then_with(|| a.address.cmp(&b.address))
        });
        lost
    }

    pub(super) fn is_lost(&self, address: &str) -> bool {
        self.nodes
            .get(address)
            .is_some_and(|known| known.loss.is_some())
    }

    /// Forgets a node that has gone. Returns whether there was such a one.
    pub(super) fn dismiss(&mut self, address: &str) -> bool {
        let is_gone = self
            .nodes
            .get(address)
            .is_some_and(|known| known.loss == Some(Loss::Gone));
        if is_gone {
            self.nodes.remove(address);
        }
        is_gone
    }

    /// Nodes that start at ever new addresses must not fill the memory.
    fn forget_the_oldest(&mut self) {
        let mut lost: Vec<(i64, Arc<str>)> = self
            .nodes
            .iter()
            .filter(|(_, known)| known.loss == Some(Loss::Gone))
            .map(|(address, known)| (known.last_seen, Arc::clone(address)))
            .collect();
        if lost.len() > MOST_LOST {
            lost.sort();
            for (_, address) in &lost[..lost.len() - MOST_LOST] {
                self.nodes.remove(address);
            }
        }
    }
}

impl Known {
    fn lost(&self, is_gone: bool) -> EventKind {
        let topics = || self.stats.topics.iter();
        let channels = || topics().flat_map(|topic| &topic.channels);
        EventKind::NodeLost {
            is_gone,
            waiting: topics()
                .map(|topic| waiting(topic))
                .fold(0, i64::saturating_add),
            consumers: channels()
                .map(|channel| channel.client_count)
                .fold(0, i64::saturating_add),
        }
    }
}

/// Nodes that have gone and were not dismissed.
const MOST_LOST: usize = 200;
