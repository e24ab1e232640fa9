//! The ends of a process, and what each of them may cost: a clean stop, a kill, a power cut, a flipped bit.

use std::collections::BTreeMap;

use nsq_core::Now;

use super::{Channel, Finished, Message, Model, Number, Owed, State, Topic, is_ephemeral};

impl Model {
    /// The broker was closed in order.
    pub(crate) fn closed(&mut self, now: Now) {
        self.end_life(|model, owed, _| {
            // What is noted is how long it still has to wait, by the clock as it stands.
            if let (State::Deferred { due: tick }, Some(due)) = (owed.state, owed.due) {
                owed.due = Some(due.min(now.unix_at(tick)));
            }
            if model.had_faults {
                owed.attempts = None;
                owed.may_return |= owed.finished == Finished::Unsynced;
            }
        });
        if !self.had_faults {
            let names: Vec<_> = self.topics.keys().cloned().collect();
            for name in names {
                self.synced(&name, true, now);
            }
        }
    }

    /// The process was killed between two calls: what it had answered counts.
    pub(crate) fn killed(&mut self) {
        self.end_life(|model, owed, _| {
            owed.attempts = None;
            if model.had_faults {
                owed.may_return = true;
                owed.due = None;
            }
        });
        for topic in self.topics.values_mut() {
            // Pauses are known from `nsqd.dat` alone.
            if !topic.is_saved {
                topic.is_position_lost = true;
            }
        }
    }

    /// The process was killed within a call that began at `before`: whatever the call did may be done or not.
    pub(crate) fn killed_within(&mut self, before: &Model) {
        for (name, ghost) in &before.deleted {
            let deleted = &mut self.deleted;
            deleted.entry(name.clone()).or_insert_with(|| ghost.clone());
        }
        for (name, topic) in &before.topics {
            if !self.topics.contains_key(name) {
                let mut back = topic.clone();
                back.may_be_missing = true;
                back.loosen();
                self.topics.insert(name.clone(), back);
            }
        }
        let was_maintained = self.maintenance_count > before.maintenance_count;
        for (name, topic) in &mut self.topics {
            topic.killed_within(before.topics.get(name));
            for channel in topic.channels.values_mut() {
                channel.may_count_twice |= was_maintained;
            }
        }
        self.killed();
    }

    /// The machine lost its power: what was not synced may be gone.
    pub(crate) fn power_cut(&mut self) {
        self.last_cut = Some(self.life);
        self.end_life(|model, owed, is_synced| {
            owed.attempts = None;
            owed.may_return |= owed.finished == Finished::Unsynced || model.had_failed_sync;
            owed.must &= is_synced && !model.has_forgotten_records;
            owed.due = None;
        });
        let deleted = std::mem::take(&mut self.deleted);
        for (name, ghost) in deleted {
            // Parts of it may be back, under whatever is there now.
            let topic = self.topics.entry(name).or_insert_with(|| Topic {
                may_be_missing: true,
                ..Topic::default()
            });
            for (number, message) in ghost.messages {
                topic.messages.entry(number).or_insert(message);
            }
            topic.loosen();
        }
        for topic in self.topics.values_mut() {
            topic.may_be_missing |= !topic.is_saved;
            // What was emptied may be back, and come to channels that are made later.
            if !topic.is_saved || topic.channels.is_empty() || topic.may_refill {
                topic.is_position_lost = true;
            }
            // A paused topic's position may be lost: what waited counts as offered then.
            topic.is_position_lost |= topic.is_paused;
            topic.may_refill = false;
            for (number, must) in &mut topic.waiting {
                *must &= topic.messages[number].is_synced && !self.had_failed_sync;
            }
            for (name, mut channel) in std::mem::take(&mut topic.deleted) {
                channel.may_be_missing = true;
                channel.loosen();
                channel.begin_life();
                topic.channels.entry(name).or_insert(channel).is_loose = true;
                topic.is_position_lost = true;
            }
            for channel in topic.channels.values_mut() {
                channel.may_be_missing |= !channel.is_saved;
                channel.is_loose |= !channel.is_floor_synced || !channel.is_saved;
                channel.is_loose |= topic.is_position_lost;
            }
        }
    }

    fn end_life(&mut self, change: impl Fn(&Model, &mut Owed, bool)) {
        let mut topics = std::mem::take(&mut self.topics);
        topics.retain(|name, _| !is_ephemeral(name));
        for topic in topics.values_mut() {
            topic.published_in_life = 0;
            for message in topic.messages.values_mut() {
                message.is_old = true;
            }
            let kept = topic.channels.len();
            topic.channels.retain(|name, _| !is_ephemeral(name));
            if topic.channels.len() < kept && topic.channels.is_empty() {
                // Where only ephemeral channels followed, the position is noted now and then.
                topic.is_position_lost = true;
            }
            for channel in topic.channels.values_mut() {
                channel.begin_life();
                for (number, owed) in &mut channel.owed {
                    change(self, owed, topic.messages[number].is_synced);
                }
            }
        }
        self.topics = topics;
        self.life += 1;
    }
}

impl Topic {
    /// The process was killed within a call, before which the topic was `old`, if it existed.
    fn killed_within(&mut self, old: Option<&Topic>) {
        let Some(old) = old else {
            self.may_be_missing = true;
            self.is_saved = false;
            self.loosen();
            for channel in self.channels.values_mut() {
                channel.may_be_missing = true;
                channel.is_saved = false;
                channel.is_floor_synced = false;
            }
            return;
        };
        self.is_saved &= old.is_saved;
        for (number, message) in &mut self.messages {
            let was_synced = old.messages.get(number).is_some_and(|old| old.is_synced);
            message.is_synced &= was_synced;
        }
        for (name, channel) in &old.deleted {
            let deleted = &mut self.deleted;
            deleted
                .entry(name.clone())
                .or_insert_with(|| channel.clone());
        }
        if self.is_paused != old.is_paused || self.channels.len() != old.channels.len() {
            self.is_position_lost = true;
        }
        for (name, channel) in &old.channels {
            if !self.channels.contains_key(name) {
                let mut back = channel.clone();
                back.may_be_missing = true;
                back.loosen();
                self.channels.insert(name.clone(), back);
            }
        }
        if self.waiting.len() < old.waiting.len() {
            // Offered or emptied, or not: what is not offered comes to the channels later.
            let offered = self.is_flowing();
            for (&number, &must) in &old.waiting {
                let is_first = old.channels.is_empty();
                let must = must && offered && is_first;
                self.waiting.entry(number).or_insert(must);
            }
        }
        for (channel_name, channel) in &mut self.channels {
            let was = old.channels.get(channel_name);
            channel.killed_within(was, &old.messages);
        }
        let new = self.messages.keys().copied();
        let new: Vec<_> = new
            .filter(|number| !old.messages.contains_key(number))
            .collect();
        for number in new {
            if let Some(must) = self.waiting.get_mut(&number) {
                *must = false;
            }
        }
    }
}

impl Channel {
    /// The process was killed within a call, before which the channel was `was`, if it existed.
    fn killed_within(&mut self, was: Option<&Channel>, old_messages: &BTreeMap<Number, Message>) {
        let Some(was) = was else {
            self.may_be_missing = true;
            self.is_saved = false;
            self.is_floor_synced = false;
            self.is_loose = true;
            for (number, owed) in &mut self.owed {
                owed.must &= old_messages.contains_key(number);
            }
            return;
        };
        self.is_saved &= was.is_saved;
        self.is_floor_synced &= was.is_floor_synced;
        for (number, owed) in &mut self.owed {
            match was.owed.get(number) {
                Some(before) if before == owed => {}
                Some(before) => {
                    owed.due = None;
                    if before.finished == Finished::Unsynced {
                        owed.finished = Finished::Unsynced;
                    }
                    if before.is_open() && !owed.is_open() {
                        // The FIN may not have been noted, and may have been.
                        owed.finished = Finished::No;
                        owed.must = false;
                    }
                }
                None => {
                    // In flight to its publisher: no one was told that it is safe.
                    let is_old = old_messages.contains_key(number);
                    owed.must &= is_old;
                }
            }
        }
    }
}

impl Topic {
    pub(super) fn loosen(&mut self) {
        self.is_position_lost = true;
        for must in self.waiting.values_mut() {
            *must = false;
        }
        for channel in self.channels.values_mut() {
            channel.loosen();
        }
    }

    /// Marks may have been lost, and due times: all may come again.
    pub(super) fn loosen_repeats(&mut self) {
        self.is_position_lost = true;
        for channel in self.channels.values_mut() {
            channel.is_loose = true;
            for owed in channel.owed.values_mut() {
                owed.attempts = None;
                owed.due = None;
                owed.may_return = true;
            }
        }
    }
}

impl Channel {
    fn begin_life(&mut self) {
        self.last_fresh = None;
        self.requeue_count = 0;
        self.timeout_count = 0;
    }

    pub(super) fn loosen(&mut self) {
        self.is_loose = true;
        for owed in self.owed.values_mut() {
            owed.must = false;
            owed.may_return = true;
            owed.attempts = None;
            owed.due = None;
        }
    }
}
