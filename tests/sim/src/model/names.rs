//! Topics and channels: created, deleted, paused, emptied, and saved.

use nsq_core::Now;

use super::{Channel, Finished, Model, Topic};

impl Model {
    pub(crate) fn topic_made(&mut self, name: &str) {
        self.topics.entry(name.to_owned()).or_default();
    }

    pub(crate) fn channel_made(&mut self, topic: &str, name: &str, now: Now) {
        let had_faults = self.had_faults;
        let is_undead = self.undead.contains_key(topic);
        let topic = self.topics.get_mut(topic).expect("a topic that is there");
        let is_loose = topic.is_position_lost || had_faults || is_undead;
        topic
            .channels
            .entry(name.to_owned())
            .or_insert_with(|| Channel {
                is_loose,
                ..Channel::default()
            });
        topic.offer(now);
    }

    pub(crate) fn topic_deleted(&mut self, name: &str) {
        if let Some(topic) = self.topics.remove(name) {
            if self.had_faults {
                let undead = self.undead.entry(name.to_owned()).or_default();
                undead.messages.extend(topic.messages.clone());
            }
            let ghost = self.deleted.entry(name.to_owned()).or_default();
            ghost.messages.extend(topic.messages);
        }
    }

    pub(crate) fn channel_deleted(&mut self, topic: &str, name: &str) {
        let topic = self.topics.get_mut(topic).expect("a topic that is there");
        if let Some(channel) = topic.channels.remove(name) {
            topic.deleted.insert(name.to_owned(), channel);
        }
    }

    pub(crate) fn topic_paused(&mut self, topic: &str, is_paused: bool, now: Now) {
        let topic = self.topics.get_mut(topic).expect("a topic that is there");
        if topic.is_paused != is_paused {
            topic.is_paused = is_paused;
            topic.is_saved = false;
            topic.offer(now);
        }
    }

    /// Emptying a topic failed on the way.
    pub(crate) fn topic_partly_emptied(&mut self, topic: &str) {
        let topic = self.topics.get_mut(topic).expect("a topic that is there");
        let waiting = topic.waiting.clone();
        topic.drop_waiting();
        topic
            .waiting
            .extend(waiting.into_keys().map(|number| (number, false)));
        if topic.is_position_lost {
            for channel in topic.channels.values_mut() {
                channel.loosen();
            }
        }
        topic.is_position_lost = true;
    }

    pub(crate) fn topic_emptied(&mut self, topic: &str) {
        let topic = self.topics.get_mut(topic).expect("a topic that is there");
        topic.may_refill |= !topic.waiting.is_empty();
        topic.drop_waiting();
        if topic.is_position_lost {
            // What channels had may count as not offered, and go with the rest.
            for channel in topic.channels.values_mut() {
                channel.loosen();
            }
        }
    }

    pub(crate) fn channel_emptied(&mut self, topic: &str, channel: &str) {
        let had_faults = self.had_faults;
        let waiting = self.topics.get_mut(topic).expect("a topic that is there");
        if waiting.is_position_lost {
            // What waits may count as offered.
            for must in waiting.waiting.values_mut() {
                *must = false;
            }
        }
        for owed in self.channel_mut(topic, channel).owed.values_mut() {
            if owed.is_open() {
                owed.finished = Finished::Unsynced;
                owed.may_return |= had_faults;
            }
        }
    }

    /// `nsqd.dat` is written and synced.
    pub(crate) fn registry_saved(&mut self) {
        self.deleted.clear();
        for topic in self.topics.values_mut() {
            topic.is_saved = true;
            topic.deleted.clear();
            for channel in topic.channels.values_mut() {
                channel.is_saved = true;
            }
        }
    }

    /// A topic could not be synced, or not all of it.
    pub(crate) fn sync_failed(&mut self, topic: &str, now: Now) {
        if let Some(topic) = self.topics.get_mut(topic) {
            topic.offer_after_failure(now);
        }
    }

    /// A topic was synced; `marks_too` when no error was met on the way.
    pub(crate) fn synced(&mut self, topic: &str, marks_too: bool, now: Now) {
        let Some(topic) = self.topics.get_mut(topic) else {
            return;
        };
        for message in topic.messages.values_mut() {
            message.is_synced = true;
            message.is_safe = true;
        }
        topic.offer(now);
        if !marks_too {
            return;
        }
        topic.may_refill = false;
        for channel in topic.channels.values_mut() {
            channel.is_floor_synced = true;
            for owed in channel.owed.values_mut() {
                if owed.finished == Finished::Unsynced {
                    owed.finished = Finished::Synced;
                }
            }
        }
    }
}

impl Topic {
    fn drop_waiting(&mut self) {
        for number in std::mem::take(&mut self.waiting).keys() {
            let message = self.messages.get_mut(number);
            message.expect("it waited").may_be_acknowledged = true;
            // After a failed sync it may have been offered, or not.
            for channel in self.channels.values_mut() {
                if let Some(owed) = channel.owed.get_mut(number) {
                    owed.must = false;
                }
            }
        }
    }
}
