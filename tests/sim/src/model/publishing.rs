//! Publishing: what the broker accepted, and which channels it is offered to.

use nsq_core::Now;

use super::{
    Finished, Message, Model, Number, Owed, State, Topic, due_tick, is_ephemeral, number_of,
};

impl Model {
    /// A publish was accepted: `due` when it was a deferred one.
    pub(crate) fn published(
        &mut self,
        topic: &str,
        bodies: &[Vec<u8>],
        due: Option<i64>,
        now: Now,
    ) {
        let life = self.life;
        let is_safe = !self.answers_when_synced || is_ephemeral(topic);
        let topic = self.topics.get_mut(topic).expect("a topic that is there");
        for body in bodies {
            let number = number_of(body);
            self.next_order += 1;
            self.published_count += 1;
            topic.published_in_life += 1;
            let message = Message {
                len: body.len(),
                order: self.next_order,
                is_deferred: due.is_some(),
                due: due.unwrap_or(0),
                is_synced: false,
                is_safe,
                may_be_acknowledged: false,
                life,
                is_old: false,
            };
            topic.messages.insert(number, message);
            topic.waiting.insert(number, true);
        }
        topic.offer(now);
    }

    /// A client has the answer to its publish: the messages are safe.
    pub(crate) fn acknowledged(&self, topic: &str, numbers: &[Number]) {
        let Some(topic) = self.topics.get(topic) else {
            return;
        };
        for number in numbers {
            // It may be of a topic that was deleted since.
            let message = topic.messages.get(number);
            assert!(
                message.is_none_or(|message| message.is_safe || message.may_be_acknowledged),
                "message {number} is acknowledged and not synced"
            );
        }
    }

    /// A publish was refused because of the disk: after a kill, part of it may come back.
    pub(crate) fn refused(&mut self, topic: &str, bodies: &[Vec<u8>], due: Option<i64>) {
        let life = self.life;
        let Some(topic) = self.topics.get_mut(topic) else {
            return;
        };
        for body in bodies {
            self.next_order += 1;
            let message = Message {
                len: body.len(),
                order: self.next_order,
                is_deferred: due.is_some(),
                due: due.unwrap_or(0),
                is_synced: false,
                is_safe: false,
                may_be_acknowledged: false,
                life,
                is_old: false,
            };
            topic.messages.insert(number_of(body), message);
        }
    }
}

impl Topic {
    pub(super) fn is_flowing(&self) -> bool {
        !self.is_paused && !self.channels.is_empty()
    }

    pub(super) fn offer(&mut self, now: Now) {
        if !self.is_flowing() {
            return;
        }
        for (number, must) in std::mem::take(&mut self.waiting) {
            let message = &self.messages[&number];
            if !message.is_safe {
                self.waiting.insert(number, must);
                continue;
            }
            for channel in self.channels.values_mut() {
                let owed = message.offered(must, now);
                // After a power cut it may be there already.
                channel.owed.entry(number).or_insert(owed);
            }
        }
    }
}

impl Topic {
    /// A sync failed: what waits to be safe may have become so, or not. The channels there are must have it sooner or
    /// later; one that is made meanwhile may get it.
    pub(super) fn offer_after_failure(&mut self, now: Now) {
        let is_flowing = self.is_flowing();
        for (number, must) in &mut self.waiting {
            let message = self.messages.get_mut(number).expect("it waits");
            message.may_be_acknowledged = true;
            if !is_flowing {
                continue;
            }
            for channel in self.channels.values_mut() {
                let mut owed = message.offered(*must, now);
                // When it is taken in, the clock may say something else.
                owed.state = State::Queued;
                owed.due = None;
                channel.owed.entry(*number).or_insert(owed);
            }
            *must = false;
        }
    }

    /// What waits may count as offered: the channels there are must have it, sooner or later, and no others.
    pub(super) fn offer_perhaps(&mut self, now: Now) {
        if self.channels.is_empty() {
            return;
        }
        for (number, must) in &mut self.waiting {
            let message = &self.messages[number];
            for channel in self.channels.values_mut() {
                let mut owed = message.offered(*must, now);
                // When it is taken in, the clock may say something else.
                owed.state = State::Queued;
                owed.due = None;
                channel.owed.entry(*number).or_insert(owed);
            }
            *must = false;
        }
    }
}

impl Message {
    pub(super) fn offered(&self, must: bool, now: Now) -> Owed {
        let is_held = self.is_deferred && self.due > now.unix_nanos;
        Owed {
            must,
            state: if is_held {
                State::Deferred {
                    due: due_tick(self.due, now),
                }
            } else {
                State::Queued
            },
            finished: Finished::No,
            may_return: false,
            attempts: (!self.is_old).then_some(0),
            due: self.is_deferred.then_some(self.due),
        }
    }
}
