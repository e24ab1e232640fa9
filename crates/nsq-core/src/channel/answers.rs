//! A message's life after its delivery: finished, given back, held longer, or taken back when its time is up.

use std::time::Duration;

use nsq_protocol::MessageId;

use super::Channel;
use super::journal::Note;
use super::out_message::{LogKind, State};
use crate::client::{ClientId, Wakes};
use crate::error::NotInFlight;
use crate::latency::Latencies;
use crate::time::{Now, Tick};

impl Channel {
    /// FIN: the message is done with.
    ///
    /// # Errors
    /// [`NotInFlight`] when this client does not hold it.
    #[inline]
    pub fn finish(&mut self, client: ClientId, id: MessageId, now: Now) -> Result<(), NotInFlight> {
        let message = self.out.finish(client, id.as_u64())?;
        self.latencies
            .get_or_insert_with(|| Box::new(Latencies::new(self.percentiles.as_deref(), now)))
            .record(message.published, now);
        self.mark(message.log, message.sequence);
        if !self.copies.is_empty()
            && let Some(copy) = self.copies.remove(&{ message.id })
        {
            self.mark(LogKind::Private, copy.sequence);
        }
        if let Some(consumer) = self.consumers.get_mut(client) {
            consumer.in_flight = consumer.in_flight.saturating_sub(1);
            consumer.finish_count += 1;
        }
        Ok(())
    }

    /// REQ: the message is given back, to be had again after `delay`.
    ///
    /// # Errors
    /// [`NotInFlight`] when this client does not hold it.
    pub fn requeue(
        &mut self,
        client: ClientId,
        id: MessageId,
        delay: Duration,
        now: Now,
        wakes: &mut Wakes,
    ) -> Result<(), NotInFlight> {
        let due = (!delay.is_zero()).then(|| now.tick.after(delay));
        let message = self.out.requeue(client, id.as_u64(), due)?;
        self.requeue_count += 1;
        if let Some(consumer) = self.consumers.get_mut(client) {
            consumer.in_flight = consumer.in_flight.saturating_sub(1);
            consumer.requeue_count += 1;
        }
        let due = if delay.is_zero() {
            0
        } else {
            now.unix_after(delay)
        };
        self.note_later(Note::of(&message, due), now);
        if delay.is_zero() {
            self.trim_to_max_depth();
            self.ring_for_depth(wakes);
        } else {
            self.drop_if_too_many_deferred(message.id);
        }
        Ok(())
    }

    /// TOUCH: the client may hold the message longer, up to the longest timeout after its delivery.
    ///
    /// # Errors
    /// [`NotInFlight`] when this client does not hold it.
    pub fn touch(
        &mut self,
        client: ClientId,
        id: MessageId,
        timeout: Duration,
        now: Now,
    ) -> Result<(), NotInFlight> {
        self.out
            .touch(client, id.as_u64(), now.tick, timeout, self.max_msg_timeout)
    }

    /// Takes back every message whose time has come by `now`. Returns when the next one falls due.
    pub fn handle_timeout(&mut self, now: Now, wakes: &mut Wakes) -> Option<Tick> {
        let mut notes = Vec::new();
        let mut emptied = Vec::new();
        self.out.expire(now.tick, |before, message| {
            if before == State::InFlight {
                self.timeout_count += 1;
                notes.push(Note::of(&message, 0));
                if let Some(consumer) = self.consumers.get_mut(message.client) {
                    consumer.in_flight = consumer.in_flight.saturating_sub(1);
                    emptied.push(message.client);
                }
            }
        });
        self.take_note(&notes, now);
        self.trim_to_max_depth();
        emptied.dedup();
        for client in emptied {
            self.consumers.ring_one(client, wakes);
        }
        if self.stalled_until.is_some_and(|until| until <= now.tick) {
            self.stalled_until = None;
            self.take_in(LogKind::Deferred, now);
            self.take_in(LogKind::Private, now);
        }
        self.ring_for_depth(wakes);
        self.next_timeout()
    }

    /// When [`Channel::handle_timeout`] is next to be called.
    pub fn next_timeout(&mut self) -> Option<Tick> {
        let due = self.out.next_deadline();
        match (due, self.stalled_until) {
            (Some(due), Some(stalled)) => Some(due.min(stalled)),
            (due, stalled) => due.or(stalled),
        }
    }
}
