//! Deliveries, and what clients and timers do with a message in flight.

use std::time::Duration;

use nsq_core::{ClientId, NotInFlight, Now};
use nsq_protocol::MessageId;

use super::{
    Channel, Finished, MAX_MSG_TIMEOUT, MSG_TIMEOUT, Model, Owed, State, body_of, number_of,
};
use crate::disk;

impl Owed {
    /// No one holds the message, its deferral is over, and the attempts are one more than before.
    fn check_delivery(
        &self,
        client: ClientId,
        attempts: u16,
        now: Now,
        context: &dyn Fn() -> String,
    ) {
        match self.state {
            State::InFlight {
                client: holder,
                deadline,
                ..
            } => panic!(
                "{}: given to {client:?} while {holder:?} holds it until {deadline:?}, at {:?}",
                context(),
                now.tick
            ),
            State::Deferred { due } => {
                assert!(
                    due <= now.tick,
                    "{}: deferred until {due:?}, delivered at {:?}",
                    context(),
                    now.tick
                );
            }
            State::Queued | State::Requeued => {}
        }
        match self.attempts {
            Some(before) => assert_eq!(attempts, before + 1, "{}: attempts", context()),
            None => assert!(attempts > 0, "{}: attempts", context()),
        }
    }
}

impl Model {
    #[expect(clippy::too_many_arguments, reason = "all that a client is told")]
    pub(crate) fn delivered(
        &mut self,
        topic_name: &str,
        channel_name: &str,
        client: ClientId,
        id: MessageId,
        attempts: u16,
        body: &[u8],
        now: Now,
    ) {
        let number = number_of(body);
        let context = || format!("message {number} ({id:?}) on {topic_name}/{channel_name}");
        self.delivered_count += 1;
        let last_cut = self.last_cut;
        let ghost = self.undead.get(topic_name);
        let topic = self
            .topics
            .get_mut(topic_name)
            .expect("a topic that is there");
        if let Some(known) = ghost.and_then(|ghost| ghost.messages.get(&number)) {
            topic
                .messages
                .entry(number)
                .or_insert_with(|| known.clone());
        }
        let message = topic
            .messages
            .get_mut(&number)
            .unwrap_or_else(|| panic!("{}: was never published to it", context()));
        assert!(
            body == body_of(number, message.len),
            "{}: its body has changed",
            context()
        );
        if last_cut.is_some_and(|cut| message.life <= cut) {
            // It was read from the disk after the power cut.
            message.is_synced = true;
        }
        let had_faults = self.had_faults;
        let channel = topic
            .channels
            .get_mut(channel_name)
            .expect("a channel that is there");
        channel.ids.insert(id, number);
        disk::note(|| format!("DELIVER {number} of {channel_name} to {client:?}, {attempts}"));
        if !channel.owed.contains_key(&number) {
            assert!(
                channel.is_loose,
                "{}: the channel was never to have it",
                context()
            );
            let mut owed = message.offered(false, now);
            owed.attempts = None;
            owed.state = State::Queued;
            channel.owed.insert(number, owed);
        }
        let is_loose = channel.is_loose;
        let owed = channel.owed.get_mut(&number).expect("just made");
        if !owed.is_open() {
            assert!(
                owed.may_return || is_loose || had_faults,
                "{}: was finished and has come back ({owed:?})",
                context()
            );
            owed.finished = Finished::No;
            owed.attempts = None;
            owed.state = State::Queued;
            self.repeated_count += 1;
        }
        owed.check_delivery(client, attempts, now, &context);
        let is_fresh = attempts == 1 && !message.is_deferred && owed.state == State::Queued;
        if is_fresh && !is_loose {
            assert!(
                channel.last_fresh.is_none_or(|last| last < message.order),
                "{}: overtaken by a later one",
                context()
            );
            channel.last_fresh = Some(message.order);
        }
        owed.must = true;
        owed.attempts = Some(attempts);
        owed.due = None;
        owed.state = State::InFlight {
            client,
            delivered: now.tick,
            deadline: now.tick.after(MSG_TIMEOUT),
        };
    }

    /// The message that a client names, if the client holds it.
    fn held(
        channel: &mut Channel,
        client: ClientId,
        id: MessageId,
    ) -> Result<&mut Owed, NotInFlight> {
        let number = channel.ids.get(&id).ok_or(NotInFlight::Unknown)?;
        let owed = channel.owed.get_mut(number).ok_or(NotInFlight::Unknown)?;
        match owed.state {
            State::InFlight { client: holder, .. } if owed.is_open() => {
                if holder == client {
                    Ok(owed)
                } else {
                    Err(NotInFlight::NotOwner)
                }
            }
            _ => Err(NotInFlight::Unknown),
        }
    }

    pub(super) fn channel_mut(&mut self, topic: &str, channel: &str) -> &mut Channel {
        let topic = self.topics.get_mut(topic).expect("a topic that is there");
        topic
            .channels
            .get_mut(channel)
            .expect("a channel that is there")
    }

    pub(crate) fn finished(
        &mut self,
        topic: &str,
        channel: &str,
        client: ClientId,
        id: MessageId,
        answer: Result<(), NotInFlight>,
    ) {
        let had_faults = self.had_faults;
        let channel = self.channel_mut(topic, channel);
        disk::note(|| {
            format!(
                "FIN of {:?} by {client:?}: {answer:?}",
                channel.ids.get(&id)
            )
        });
        let expected = Self::held(channel, client, id).map(|owed| {
            owed.finished = Finished::Unsynced;
            owed.may_return |= had_faults;
        });
        assert_eq!(answer, expected, "FIN of {id:?} by {client:?}");
    }

    #[expect(clippy::too_many_arguments, reason = "all that a client is told")]
    pub(crate) fn requeued(
        &mut self,
        topic: &str,
        channel: &str,
        client: ClientId,
        id: MessageId,
        delay: Duration,
        answer: Result<(), NotInFlight>,
        now: Now,
    ) {
        let had_faults = self.had_faults;
        let channel = self.channel_mut(topic, channel);
        disk::note(|| {
            let number = channel.ids.get(&id);
            format!("REQ of {number:?} by {client:?} for {delay:?}: {answer:?}")
        });
        let expected = Self::held(channel, client, id).map(|owed| {
            if delay.is_zero() {
                owed.state = State::Requeued;
            } else {
                owed.state = State::Deferred {
                    due: now.tick.after(delay),
                };
                owed.due = (!had_faults).then(|| now.unix_after(delay));
            }
        });
        channel.requeue_count += u64::from(expected.is_ok());
        assert_eq!(answer, expected, "REQ of {id:?} by {client:?}");
    }

    pub(crate) fn touched(
        &mut self,
        topic: &str,
        channel: &str,
        client: ClientId,
        id: MessageId,
        answer: Result<(), NotInFlight>,
        now: Now,
    ) {
        let channel = self.channel_mut(topic, channel);
        let expected = Self::held(channel, client, id).map(|owed| {
            if let State::InFlight {
                delivered,
                deadline,
                ..
            } = &mut owed.state
            {
                let limit = delivered.after(MAX_MSG_TIMEOUT);
                *deadline = now.tick.after(MSG_TIMEOUT).min(limit);
            }
        });
        assert_eq!(answer, expected, "TOUCH of {id:?} by {client:?}");
    }

    /// The broker handled the timeouts of a channel.
    pub(crate) fn expired(&mut self, topic: &str, channel: &str, now: Now) {
        let Some(topic) = self.topics.get_mut(topic) else {
            return;
        };
        let Some(channel) = topic.channels.get_mut(channel) else {
            return;
        };
        for owed in channel.owed.values_mut().filter(|owed| owed.is_open()) {
            match owed.state {
                State::InFlight { deadline, .. } if deadline <= now.tick => {
                    owed.state = State::Requeued;
                    channel.timeout_count += 1;
                }
                State::Deferred { due } if due <= now.tick => {
                    owed.state = State::Requeued;
                    owed.due = None;
                }
                _ => {}
            }
        }
    }

    /// The clock was set: journal entries written from now on have the remaining time by the new clock.
    pub(crate) fn clock_set(&mut self, now: Now) {
        for topic in self.topics.values_mut() {
            for owed in topic
                .channels
                .values_mut()
                .flat_map(|channel| channel.owed.values_mut())
            {
                if let (State::Deferred { due: tick }, Some(due)) = (owed.state, owed.due) {
                    owed.due = Some(due.min(now.unix_at(tick)));
                }
            }
        }
    }
}
