//! The judgement on every channel and node, from poll to poll: what is wrong, since when, and what happened.
//!
//! ```text
//! Overview ─▶ observe ─┬▶ nodes: who answers, who is lost
//!                      ├▶ judge: one for each channel on each node
//!                      └▶ events: what happened
//! ```
//!
//! A node that does not answer changes nothing in the judgement on its channels: they stay as bad as they were.

mod events;
mod judge;
mod nodes;
mod published;
#[cfg(test)]
mod tests;
mod window;

pub use self::events::{Event, EventKind, Place};
pub use self::judge::{Condition, Judge, Severity};
pub use self::nodes::{Loss, LostNode, waiting};
pub use self::published::Counted;
pub use self::window::{Change, Sample};

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cluster::{Channel, Overview};

use self::events::Events;
use self::nodes::KnownNodes;
use self::published::Published;

/// Everything that is watched. Held for one overview, or for one question.
#[derive(Debug, Default)]
pub struct Watch {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By topic, then by channel.
    topics: HashMap<Arc<str>, HashMap<Arc<str>, Watched>>,
    nodes: KnownNodes,
    published: Published,
    events: Events,
    latest: Option<Arc<Overview>>,
    counts: Counts,
}

/// A channel with its judges.
#[derive(Debug, Default)]
struct Watched {
    parts: Vec<Part>,
    consumers: Option<i64>,
    is_paused: Option<bool>,
}

/// A channel on one node.
#[derive(Debug)]
struct Part {
    node: Arc<str>,
    judge: Judge,
    /// When the node last reported it, in Unix milliseconds.
    seen_at: i64,
}

/// How many channels are in trouble.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Channels with [`Severity::Bad`].
    pub critical: usize,
    /// Channels with [`Severity::Warn`].
    pub warnings: usize,
}

/// A channel over all nodes, as it is judged.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelState {
    /// The worst condition on any node.
    pub condition: Condition,
    /// How bad that is.
    pub severity: Severity,
    /// Since when, in Unix milliseconds.
    pub since: i64,
    /// Whether it may have begun before nsqadmin saw it.
    pub began_before: bool,
    /// On how many nodes it is so, and how many nodes have the channel.
    pub nodes: (usize, usize),
    /// Messages received and finished per second on the nodes that respond; `None` before two looks.
    pub rates: Option<(f64, f64)>,
    /// Milliseconds since the oldest waiting message was published; `None` where no node reports it.
    pub oldest_age: Option<i64>,
    /// Seconds until nothing waits at the present rates; `None` for never.
    pub drains_in: Option<f64>,
    /// Messages that timed out per second, while there are some.
    pub timeouts: Option<f64>,
    /// The share of deliveries that came back by REQ, while that is large.
    pub requeued_share: Option<f64>,
    /// The nodes that do not respond, each with the messages that waited there.
    pub missing: Vec<(Arc<str>, i64)>,
}

/// The judgement on a channel in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The topic.
    pub topic: Arc<str>,
    /// The channel.
    pub channel: Arc<str>,
    /// The worst condition on any node.
    pub condition: Condition,
    /// How bad that is.
    pub severity: Severity,
    /// How many messages wait on nodes that do not respond or have gone; `None` if no such node has the channel.
    pub waits_on_lost: Option<i64>,
}

impl Watch {
    /// Judges by the cluster as it was at `overview.taken_at`.
    pub fn observe(&self, overview: &Arc<Overview>) {
        self.lock().observe(overview);
    }

    /// Takes note of the nodes alone, between two looks at everything.
    pub fn observe_nodes(&self, overview: &Overview) {
        let mut state = self.lock();
        if state.latest.is_some() {
            state.observe_nodes(overview);
        }
    }

    /// The newest overview.
    pub fn latest(&self) -> Option<Arc<Overview>> {
        self.lock().latest.clone()
    }

    /// How a channel is doing; `None` for one that was not there at the last look.
    pub fn channel(&self, topic: &str, channel: &str) -> Option<ChannelState> {
        let state = self.lock();
        let watched = state.topics.get(topic)?.get(channel)?;
        Some(watched.state(&state.nodes))
    }

    /// How every channel is doing, the worst first.
    pub fn judgements(&self) -> Vec<Judgement> {
        let state = self.lock();
        let mut all: Vec<Judgement> = Vec::new();
        for (topic, channels) in &state.topics {
            for (channel, watched) in channels {
                let lost = watched.parts.iter();
                let lost = lost.filter(|part| state.nodes.is_lost(&part.node));
                let depths = lost.map(|part| part.judge.last().depth);
                let worst = watched.worst().map(|part| &part.judge);
                all.push(Judgement {
                    topic: Arc::clone(topic),
                    channel: Arc::clone(channel),
                    condition: worst.map_or(Condition::Idle, Judge::condition),
                    severity: watched.severity(),
                    waits_on_lost: depths.reduce(i64::saturating_add),
                });
            }
        }
        drop(state);
        let place = |of: &Judgement| (Arc::clone(&of.topic), Arc::clone(&of.channel));
        all.sort_by(|a, b| {
            let worst_first = b.severity.cmp(&a.severity);
            worst_first.then_with(|| place(a).cmp(&place(b)))
        });
        all
    }

    /// How a channel is doing on one node; `None` for one that was not there at the last look.
    pub fn channel_on(
        &self,
        topic: &str,
        channel: &str,
        node: &str,
    ) -> Option<(Condition, Severity)> {
        let state = self.lock();
        let watched = state.topics.get(topic)?.get(channel)?;
        let part = watched.parts.iter().find(|part| *part.node == *node)?;
        Some((part.judge.condition(), part.judge.severity()))
    }

    /// The nodes that are lost, the latest first.
    pub fn lost_nodes(&self) -> Vec<LostNode> {
        self.lock().nodes.lost()
    }

    /// Messages published to a topic since its nodes started, with what restarted and lost nodes had counted before: it
    /// never falls. `None` for a topic that was not there at the last look.
    pub fn published(&self, topic: &str) -> Option<i64> {
        self.lock().published.of_topic(topic)
    }

    /// Messages published and received, of all topics and channels, also of deleted ones: neither ever falls.
    pub fn counted(&self) -> Counted {
        self.lock().published.total()
    }

    /// How many channels are in trouble.
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// The newest events that `wanted` picks, `count` at most.
    pub fn events(&self, count: usize, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
        let state = self.lock();
        let found = state.events.newest().filter(|event| wanted(event));
        found.take(count).cloned().collect()
    }

    /// Notes something that an administrator did.
    pub fn note(&self, event: Event) {
        self.lock().events.add(event);
    }

    /// Notes that a channel is being emptied: what is gone then was not finished.
    pub fn note_emptied(&self, topic: &str, channel: &str) {
        let mut state = self.lock();
        let topic = state.topics.get_mut(topic);
        if let Some(watched) = topic.and_then(|topic| topic.get_mut(channel)) {
            for part in &mut watched.parts {
                part.judge.expect_emptied();
            }
        }
    }

    /// Forgets a node that has gone, and what was known of its channels. Returns whether there was such a one.
    pub fn dismiss(&self, address: &str) -> bool {
        let mut state = self.lock();
        let is_gone = state.nodes.dismiss(address);
        if is_gone {
            for topic in state.topics.values_mut() {
                for watched in topic.values_mut() {
                    watched.parts.retain(|part| *part.node != *address);
                }
                topic.retain(|_, watched| !watched.parts.is_empty());
            }
            state.topics.retain(|_, channels| !channels.is_empty());
            state.count();
        }
        is_gone
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What a panic leaves behind are numbers, which the next overview corrects.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn observe(&mut self, overview: &Arc<Overview>) {
        let at = overview.taken_at.as_millisecond();
        let is_first = self.latest.is_none();
        if self
            .latest
            .as_ref()
            .is_some_and(|latest| latest.taken_at >= overview.taken_at)
        {
            return;
        }
        self.observe_nodes(overview);
        for topic in &overview.topics {
            let channels = self
                .topics
                .entry(Arc::clone(&topic.topic_name))
                .or_default();
            for channel in &topic.channels {
                let name = Arc::clone(&channel.channel_name);
                let watched = channels.entry(name).or_default();
                let events = watched.observe(at, channel, &self.nodes);
                if is_first {
                    continue;
                }
                for (kind, place) in events {
                    let known = matches!(kind, EventKind::Paused(_))
                        && self.events.has_action_since(at - RECENT_ACTION, &place);
                    if !known {
                        self.events.add(Event { at, kind, place });
                    }
                }
            }
        }
        self.forget_what_is_gone(at);
        self.latest = Some(Arc::clone(overview));
        self.count();
    }

    fn observe_nodes(&mut self, overview: &Overview) {
        for event in self.nodes.observe(overview) {
            self.events.add(event);
        }
        self.published.observe(overview, &self.nodes);
    }

    /// A channel that its node no longer reports was deleted; one whose node is lost was not.
    fn forget_what_is_gone(&mut self, at: i64) {
        let nodes = &self.nodes;
        for channels in self.topics.values_mut() {
            for watched in channels.values_mut() {
                watched
                    .parts
                    .retain(|part| part.seen_at == at || nodes.is_lost(&part.node));
            }
            channels.retain(|_, watched| !watched.parts.is_empty());
        }
        self.topics.retain(|_, channels| !channels.is_empty());
    }

    fn count(&mut self) {
        let mut counts = Counts::default();
        for watched in self.topics.values().flat_map(HashMap::values) {
            match watched.severity() {
                Severity::Bad => counts.critical += 1,
                Severity::Warn => counts.warnings += 1,
                Severity::Info | Severity::Fine | Severity::Idle => {}
            }
        }
        self.counts = counts;
    }
}

impl Watched {
    /// Steps the judges of the nodes that reported the channel.
    fn observe(
        &mut self,
        at: i64,
        channel: &Channel,
        nodes: &KnownNodes,
    ) -> Vec<(EventKind, Place)> {
        let before = self
            .worst()
            .map(|worst| (worst.judge.condition(), worst.judge.severity()));
        for part in &channel.nodes {
            let sample = sample(
                at,
                part,
                channel.client_count.saturating_sub(part.client_count),
            );
            match self.parts.iter_mut().find(|known| known.node == part.node) {
                Some(known) => {
                    known.judge.step(sample);
                    known.seen_at = at;
                }
                None => self.parts.push(Part {
                    node: Arc::clone(&part.node),
                    judge: Judge::new(sample),
                    seen_at: at,
                }),
            }
        }
        let place = Place {
            topic: Some(Arc::clone(&channel.topic_name)),
            channel: Some(Arc::clone(&channel.channel_name)),
            node: None,
        };
        let mut events = Vec::new();
        // Consumers of a node that is lost have not left.
        if self.parts.iter().any(|part| nodes.is_lost(&part.node)) {
            self.consumers = None;
        } else {
            match self.consumers.replace(channel.client_count) {
                Some(before) if before < channel.client_count => {
                    let kind = EventKind::Joined(channel.client_count.saturating_sub(before));
                    events.push((kind, place.clone()));
                }
                Some(before) if before > channel.client_count => {
                    let kind = EventKind::Left(before.saturating_sub(channel.client_count));
                    events.push((kind, place.clone()));
                }
                _ => {}
            }
        }
        if let Some(before) = self.is_paused.replace(channel.paused)
            && before != channel.paused
        {
            events.push((EventKind::Paused(channel.paused), place.clone()));
        }
        let now = self
            .worst()
            .map(|worst| (worst.judge.condition(), worst.judge.severity()));
        if let (Some((before, _)), Some((now, severity))) = (before, now)
            && before != now
        {
            if now.is_trouble() || now == Condition::CatchingUp {
                events.push((EventKind::Began(now, severity), place));
            } else if before.is_trouble() || before == Condition::CatchingUp {
                events.push((EventKind::Recovered(before), place));
            }
        }
        events
    }

    fn worst(&self) -> Option<&Part> {
        self.parts
            .iter()
            .max_by_key(|part| (part.judge.severity(), part.judge.condition()))
    }

    fn severity(&self) -> Severity {
        self.worst()
            .map_or(Severity::Idle, |part| part.judge.severity())
    }

    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    fn state(&self, nodes: &KnownNodes) -> ChannelState {
        let worst = self.worst().map(|part| &part.judge);
        let condition = worst.map_or(Condition::Idle, Judge::condition);
        let alike = || {
            let alike = self
                .parts
                .iter()
                .filter(|part| part.judge.condition() == condition);
            alike.map(|part| &part.judge)
        };
        let (missing, there): (Vec<_>, Vec<_>) = self
            .parts
            .iter()
            .partition(|part| nodes.is_lost(&part.node));
        let changes: Vec<Change> = there.iter().map(|part| part.judge.recent()).collect();
        let known = || changes.iter().filter(|change| change.millis > 0);
        let sum = |count: fn(&Change) -> i64| -> f64 {
            known().map(|change| change.per_second(count(change))).sum()
        };
        let rates = known()
            .next()
            .is_some()
            .then(|| (sum(|change| change.received), sum(|change| change.finished)));
        let depths = there.iter().map(|part| part.judge.last().depth);
        let depth = depths.fold(0, i64::saturating_add);
        let drains_in = rates
            .filter(|(received, finished)| finished - received > 0.01)
            .map(|(received, finished)| depth as f64 / (finished - received));
        let (requeued, finished) = (sum(|change| change.requeued), sum(|change| change.finished));
        ChannelState {
            condition,
            severity: self.severity(),
            since: alike().map(Judge::since).min().unwrap_or_default(),
            began_before: alike().any(Judge::began_before),
            nodes: (alike().count(), self.parts.len()),
            rates,
            oldest_age: there
                .iter()
                .filter_map(|part| part.judge.last().oldest_age)
                .max(),
            drains_in,
            timeouts: there
                .iter()
                .any(|part| part.judge.has_timeouts())
                .then(|| sum(|change| change.timed_out)),
            requeued_share: (there.iter().any(|part| part.judge.has_requeues())
                && requeued + finished > 0.0)
                .then(|| requeued / (requeued + finished)),
            missing: missing
                .iter()
                .map(|part| (Arc::clone(&part.node), part.judge.last().depth))
                .collect(),
        }
    }
}

fn sample(at: i64, part: &Channel, consumers_elsewhere: i64) -> Sample {
    Sample {
        at,
        depth: part.depth,
        in_flight: part.in_flight_count,
        deferred: part.deferred_count,
        received: part.message_count,
        finished: part.finish_count,
        requeued: part.requeue_count,
        timed_out: part.timeout_count,
        consumers: part.client_count,
        consumers_elsewhere,
        paused: part.paused,
        oldest_age: part.oldest_message_age.map(|nanos| nanos / 1_000_000),
    }
}

/// Milliseconds within which a pause that is seen is the one that an administrator ordered here.
const RECENT_ACTION: i64 = 15_000;
