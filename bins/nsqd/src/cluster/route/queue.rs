//! Publishes that wait for the leader of this node's shard, as plain state.
//!
//! ```text
//! push ─▶ ready ── take_ready ─▶ busy ─── give_back ─▶ done, or paused until a time
//!           ▲                                      │            │
//!           └────── the next ones of the topic ◀───┴────────────┘
//! ```
//! The publishes of one topic keep their order: while some of them are under way (*busy*), or are to be tried again in a
//! moment (*paused*), the later ones of that topic wait. Those of other topics do not, so a topic that the shard does not
//! have yet holds up no other, and several calls may be under way at a time.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use nsq_core::{Pending, Tick};
use nsq_protocol::TopicName;

use super::codec::Publish;

/// A publish that waits.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) publish: Publish,
    pub(super) pending: Arc<Pending>,
    /// When it was accepted.
    pub(super) since: Tick,
}

impl Held {
    fn size(&self) -> usize {
        self.publish.size()
    }
}

/// Everything that waits, by topic.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lanes: HashMap<TopicName, Lane>,
    /// Topics that are ready, each once.
    ready: VecDeque<TopicName>,
    /// Of everything that waits or is under way.
    bytes: usize,
    count: usize,
}

/// The publishes of one topic that wait. There is none that is neither waiting nor busy.
#[derive(Debug)]
struct Lane {
    held: VecDeque<Held>,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Ready,
    Busy,
    Paused { until: Tick, why: String },
}

/// Why no publish of a topic moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stuck<'a> {
    /// It waits for its turn.
    Waiting,
    /// The last try failed for this reason.
    Paused(&'a str),
}

impl Queue {
    /// Bytes of what waits and what is under way.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many publishes wait or are under way.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Whether a publish to this topic would have to wait for an earlier one.
    #[cfg(test)]
    pub(super) fn has(&self, topic: &TopicName) -> bool {
        self.lanes.contains_key(topic)
    }

    /// Adds a publish after all others of its topic.
    pub(super) fn push(&mut self, held: Held) {
        self.bytes += held.size();
        self.count += 1;
        if let Some(lane) = self.lanes.get_mut(&held.publish.topic) {
            lane.held.push_back(held);
            return;
        }
        let topic = held.publish.topic.clone();
        self.ready.push_back(topic.clone());
        let held = VecDeque::from([held]);
        let state = State::Ready;
        self.lanes.insert(topic, Lane { held, state });
    }

    /// Takes publishes of ready topics: at least one if there is any, and no more than `max_bytes` if there are several.
    /// Their topics are busy until [`give_back`](Self::give_back).
    pub(super) fn take_ready(&mut self, max_bytes: usize) -> Vec<Held> {
        let mut taken = Vec::new();
        let mut taken_bytes = 0;
        while let Some(topic) = self.ready.front() {
            let lane = self.lanes.get_mut(topic).expect("a ready topic has a lane");
            let before = taken.len();
            while let Some(next) = lane.held.front() {
                if !taken.is_empty() && taken_bytes + next.size() > max_bytes {
                    break;
                }
                taken_bytes += next.size();
                taken.extend(lane.held.pop_front());
            }
            if taken.len() == before {
                break;
            }
            lane.state = State::Busy;
            self.ready.pop_front();
        }
        taken
    }

    /// What was taken of a topic is no longer under way: `done` is over, and `again`, in its order, goes back before all
    /// others of the topic, to be tried at the time it says, for the reason it says why that was necessary.
    pub(super) fn give_back(&mut self, topic: &TopicName, done: &[Held], again: Option<Again>) {
        for held in done {
            self.forget(held);
        }
        let lane = self.lanes.get_mut(topic);
        let lane = lane.expect("a topic keeps its lane while some of it is under way");
        if let Some(again) = again {
            for held in again.held.into_iter().rev() {
                lane.held.push_front(held);
            }
            lane.state = State::Paused {
                until: again.at,
                why: again.why,
            };
        } else if lane.held.is_empty() {
            self.lanes.remove(topic);
        } else {
            lane.state = State::Ready;
            self.ready.push_back(topic.clone());
        }
    }

    /// Stops counting a publish that was taken and is not given back.
    pub(super) fn forget(&mut self, held: &Held) {
        self.bytes -= held.size();
        self.count -= 1;
    }

    /// Ends the pauses that are over. Returns when the next one ends.
    pub(super) fn end_pauses(&mut self, now: Tick) -> Tick {
        let mut next = Tick::NEVER;
        for (topic, lane) in &mut self.lanes {
            if let State::Paused { until, .. } = lane.state {
                if until <= now {
                    lane.state = State::Ready;
                    self.ready.push_back(topic.clone());
                } else {
                    next = next.min(until);
                }
            }
        }
        next
    }

    /// Ends all pauses: something has changed.
    pub(super) fn end_all_pauses(&mut self) {
        self.end_pauses(Tick::NEVER);
    }

    /// Removes the publishes that at `now` have waited for as long as `limit` says, given why they do not move. Those under
    /// way are left alone. Returns when the next one will have waited too long.
    pub(super) fn expire(
        &mut self,
        now: Tick,
        limit: impl Fn(Stuck<'_>) -> Duration,
        mut expired: impl FnMut(Held, Stuck<'_>),
    ) -> Tick {
        let mut next = Tick::NEVER;
        let lane_count = self.lanes.len();
        self.lanes.retain(|_, lane| {
            let stuck = match &lane.state {
                State::Paused { why, .. } => Stuck::Paused(why),
                State::Ready | State::Busy => Stuck::Waiting,
            };
            let limit = limit(stuck);
            while let Some(held) = lane
                .held
                .pop_front_if(|held| held.since.after(limit) <= now)
            {
                self.bytes -= held.size();
                self.count -= 1;
                expired(held, stuck);
            }
            if let Some(first) = lane.held.front() {
                next = next.min(first.since.after(limit));
            }
            !lane.held.is_empty() || lane.state == State::Busy
        });
        if self.lanes.len() < lane_count {
            self.ready.retain(|topic| self.lanes.contains_key(topic));
        }
        next
    }

    /// Removes everything that is not under way.
    pub(super) fn drain(&mut self) -> Vec<Held> {
        let mut drained = Vec::new();
        self.expire(
            Tick::NEVER,
            |_| Duration::ZERO,
            |held, _| drained.push(held),
        );
        drained
    }
}

/// Publishes of one topic that are to be tried again.
#[derive(Debug)]
pub(super) struct Again {
    pub(super) held: Vec<Held>,
    pub(super) at: Tick,
    pub(super) why: String,
}
