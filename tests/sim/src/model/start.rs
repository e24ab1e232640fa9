//! A start: what the broker found must be what the last end left.

use nsq_core::Now;

use super::{Channel, Model, State, due_tick};

/// A topic that the broker has after a start.
pub(crate) struct FoundTopic {
    pub(crate) name: String,
    pub(crate) is_paused: bool,
    pub(crate) channels: Vec<String>,
}

impl Model {
    /// The broker is open again at `now`, with these topics and channels.
    pub(crate) fn reopened(&mut self, found: &[FoundTopic], now: Now) {
        let had_faults = std::mem::take(&mut self.had_faults);
        for topic in found {
            if let Some(ghost) = self.undead.get(&topic.name) {
                let back = self.topics.entry(topic.name.clone()).or_default();
                back.is_position_lost = true;
                for (number, message) in &ghost.messages {
                    let messages = &mut back.messages;
                    messages.entry(*number).or_insert_with(|| message.clone());
                }
            }
            assert!(
                self.topics.contains_key(&topic.name),
                "topic {} was deleted and is back",
                topic.name
            );
        }
        self.topics.retain(|name, topic| {
            let is_there = found.iter().any(|found| found.name == *name);
            assert!(
                is_there || topic.may_be_missing || had_faults,
                "topic {name} is gone"
            );
            is_there
        });
        for found in found {
            let topic = self.topics.get_mut(&found.name).expect("just checked");
            topic.may_be_missing = false;
            topic.is_position_lost |= topic.is_paused != found.is_paused || had_faults;
            topic.is_paused = found.is_paused;
            for name in &found.channels {
                let position_lost = topic.is_position_lost || had_faults;
                assert!(
                    topic.channels.contains_key(name) || position_lost,
                    "channel {}/{name} was deleted and is back",
                    found.name
                );
                topic.channels.entry(name.clone()).or_insert(Channel {
                    is_loose: true,
                    ..Channel::default()
                });
            }
            let missing = std::mem::take(&mut topic.channels);
            let before = missing.len();
            for (name, mut channel) in missing {
                if found.channels.contains(&name) {
                    channel.may_be_missing = false;
                    topic.channels.insert(name, channel);
                } else {
                    assert!(
                        channel.may_be_missing || had_faults,
                        "channel {}/{name} is gone",
                        found.name
                    );
                }
            }
            if topic.channels.len() < before {
                topic.is_position_lost = true;
            }
            for channel in topic.channels.values_mut() {
                channel.is_loose |= topic.is_position_lost;
                for owed in channel.owed.values_mut().filter(|owed| owed.is_open()) {
                    owed.state = match owed.due {
                        Some(due) if due > now.unix_nanos => State::Deferred {
                            due: due_tick(due, now),
                        },
                        _ => State::Queued,
                    };
                    if owed.state == State::Queued {
                        owed.due = None;
                    }
                }
            }
            // What an earlier life left waits for no sync.
            for message in topic.messages.values_mut() {
                message.is_safe = true;
            }
            if topic.is_position_lost {
                topic.offer_perhaps(now);
            }
            topic.offer(now);
        }
    }
}
