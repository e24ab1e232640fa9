//! What happened lately: nodes that went and came back, consumers that joined and left, channels that are in trouble and
//! that recovered, actions of administrators. A bounded list, the newest last.

use std::collections::VecDeque;
use std::sync::Arc;

use super::judge::{Condition, Severity};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Unix milliseconds.
    pub at: i64,
    /// What.
    pub kind: EventKind,
    /// To what.
    pub place: Place,
}

/// What an event is about. Empty parts are not named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// A topic, or the topic of the channel.
    pub topic: Option<Arc<str>>,
    /// A channel.
    pub channel: Option<Arc<str>>,
    /// `host:port` of the HTTP interface of an nsqd.
    pub node: Option<Arc<str>>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// A node that was known is not responding, or no longer registered.
    NodeLost {
        /// Whether it is no longer registered.
        is_gone: bool,
        /// Messages that waited there.
        waiting: i64,
        /// Consumers it had.
        consumers: i64,
    },
    /// A node is back.
    NodeBack,
    /// A node that was not known before.
    NodeNew,
    /// So many more consumers.
    Joined(i64),
    /// So many fewer consumers.
    Left(i64),
    /// A channel's condition began.
    Began(Condition, Severity),
    /// A channel is fine again after this.
    Recovered(Condition),
    /// An administrator did something, and who it was if that is known.
    Action {
        /// In words: `paused`, `emptied of 5 messages`.
        what: String,
        /// The user's name.
        by: Option<String>,
    },
    /// Paused or unpaused, and not by this nsqadmin.
    Paused(bool),
}

/// The newest events.
#[derive(Debug, Default)]
pub(super) struct Events {
    list: VecDeque<Event>,
}

impl Events {
    /// Adds one. Joining and leaving of the same channel within a minute is one event.
    pub(super) fn add(&mut self, event: Event) {
        if let EventKind::Joined(more) | EventKind::Left(more) = event.kind {
            let same = self.list.iter_mut().rev().find(|known| {
                event.at - known.at <= ONE_EVENT
                    && known.place == event.place
                    && std::mem::discriminant(&known.kind) == std::mem::discriminant(&event.kind)
            });
            if let Some(Event {
                kind: EventKind::Joined(count) | EventKind::Left(count),
                at,
                ..
            }) = same
            {
                *count = count.saturating_add(more);
                *at = event.at;
                return;
            }
        }
        if self.list.len() >= MOST_EVENTS {
            self.list.pop_front();
        }
        self.list.push_back(event);
    }

    /// The newest first.
    pub(super) fn newest(&self) -> impl Iterator<Item = &Event> {
        self.list.iter().rev()
    }

    /// Whether an administrator did something to this place since `at`.
    pub(super) fn has_action_since(&self, at: i64, place: &Place) -> bool {
        self.newest()
            .take_while(|event| event.at >= at)
            .any(|event| {
                matches!(event.kind, EventKind::Action { .. })
                    && event.place.topic == place.topic
                    && event.place.channel == place.channel
            })
    }
}

impl Event {
    /// How it is marked: a problem, its end, or neither.
    pub fn severity(&self) -> Severity {
        match &self.kind {
            EventKind::NodeLost { .. } => Severity::Bad,
            EventKind::Began(_, severity) => *severity,
            EventKind::NodeBack | EventKind::Recovered(_) => Severity::Fine,
            EventKind::NodeNew
            | EventKind::Joined(_)
            | EventKind::Left(_)
            | EventKind::Action { .. }
            | EventKind::Paused(_) => Severity::Info,
        }
    }
}

const MOST_EVENTS: usize = 1000;
/// Milliseconds.
const ONE_EVENT: i64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(at: i64, count: i64) -> Event {
        Event {
            at,
            kind: EventKind::Joined(count),
            place: Place::default(),
        }
    }

    #[test]
    fn joining_within_a_minute_is_one_event_and_the_list_is_bounded() {
        let mut events = Events::default();
        events.add(joined(0, 1));
        events.add(joined(5000, 2));
        assert_eq!(events.newest().collect::<Vec<_>>(), [&joined(5000, 3)]);
        events.add(joined(200_000, 2));
        assert_eq!(events.newest().count(), 2);
        for at in 0..3000 {
            events.add(Event {
                kind: EventKind::NodeNew,
                ..joined(at, 0)
            });
        }
        assert_eq!(events.newest().count(), MOST_EVENTS);
    }
}
