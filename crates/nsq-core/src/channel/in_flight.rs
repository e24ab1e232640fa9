//! A message's life after its delivery: finished, requeued by its client, held longer, or requeued by its timeout.

use std::time::Duration;

use nsq_protocol::MessageId;

use super::Channel;
use super::journal::JournalEntry;
use super::tracked_message::State;
use crate::client::ClientId;
use crate::error::NotInFlight;
use crate::time::{Now, Tick};

impl Channel {
    /// FIN: the message is done with.
    ///
    /// # Errors
    /// [`NotInFlight`] when this client does not hold it.
    #[inline]
    pub fn finish(&mut self, client: ClientId, id: MessageId, now: Now) -> Result<(), NotInFlight> {
        let message = self.tracked.finish(client, id.as_u64())?;
        self.latencies.record(message.published, now);
        self.finish_records(&message);
        if let Some(consumer) = self.consumers.get_mut(client) {
            consumer.in_flight = consumer.in_flight.saturating_sub(1);
            consumer.finish_count += 1;
            consumer.last_finish = now.unix_nanos;
        }
        Ok(())
    }

    /// REQ: the client gives the message back, to be delivered again after `delay`.
    ///
    /// # Errors
    /// [`NotInFlight`] when this client does not hold it.
    pub fn requeue(
        &mut self,
        client: ClientId,
        id: MessageId,
        delay: Duration,
        now: Now,
    ) -> Result<(), NotInFlight> {
        let (message, due) = if delay.is_zero() {
            let turn = self.next_turn();
            (self.tracked.requeue(client, id.as_u64(), turn)?, 0)
        } else {
            let due = now.tick.after(delay);
            let message = self.tracked.defer(client, id.as_u64(), due)?;
            self.effects.arm(due);
            (message, now.unix_after(delay))
        };
        self.counters.requeued += 1;
        if let Some(consumer) = self.consumers.get_mut(client) {
            consumer.in_flight = consumer.in_flight.saturating_sub(1);
            consumer.requeue_count += 1;
        }
        self.journal.add(JournalEntry::of(&message, due), now);
        if delay.is_zero() {
            self.trim_to_max_depth();
            self.wake_for_depth();
        } else {
            self.drop_if_too_many_deferred(message.id);
        }
        Ok(())
    }

    /// The message has not reached its client: it goes to the front of the queue, as if it had never been taken.
    ///
    /// # Errors
    /// [`NotInFlight`] when this client does not hold it.
    pub fn release(&mut self, client: ClientId, id: MessageId) -> Result<(), NotInFlight> {
        self.tracked.take_back(client, id.as_u64())?;
        if let Some(consumer) = self.consumers.get_mut(client) {
            consumer.in_flight = consumer.in_flight.saturating_sub(1);
            consumer.message_count = consumer.message_count.saturating_sub(1);
        }
        self.trim_to_max_depth();
        self.wake_for_depth();
        Ok(())
    }

    /// The turn of a message that comes back now.
    #[inline]
    pub(super) fn next_turn(&self) -> u64 {
        self.logs.next_turn(self.limits.ahead)
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
        self.tracked.touch(
            client,
            id.as_u64(),
            now.tick,
            timeout,
            self.limits.msg_timeout,
        )
    }

    /// Takes back every message whose time has come by `now`, and has the channel's timer run when the next falls due.
    pub fn handle_timeout(&mut self, now: Now) {
        let turn = self.next_turn();
        let mut emptied = Vec::new();
        self.tracked.expire(now.tick, turn, |before, message| {
            if before == State::InFlight {
                self.counters.timed_out += 1;
                self.journal.add(JournalEntry::of(&message, 0), now);
                if let Some(consumer) = self.consumers.get_mut(message.client) {
                    consumer.in_flight = consumer.in_flight.saturating_sub(1);
                    emptied.push(message.client);
                }
            }
        });
        self.trim_to_max_depth();
        emptied.dedup();
        for client in emptied {
            self.consumers.wake_client(client, &mut self.effects);
        }
        if self.stalled_until.is_some_and(|until| until <= now.tick) {
            self.stalled_until = None;
            self.track_offered(now);
        }
        self.wake_for_depth();
        self.arm_timeout();
    }

    /// Has the channel's timer run when the next message falls due.
    pub(crate) fn arm_timeout(&mut self) {
        if let Some(at) = self.next_timeout() {
            self.effects.arm(at);
        }
    }

    /// When the next message falls due, or a stall ends.
    pub(crate) fn next_timeout(&mut self) -> Option<Tick> {
        let due = self.tracked.next_deadline();
        match (due, self.stalled_until) {
            (Some(due), Some(stalled)) => Some(due.min(stalled)),
            (due, stalled) => due.or(stalled),
        }
    }
}
