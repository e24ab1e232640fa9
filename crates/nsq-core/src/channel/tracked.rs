//! The tracked messages of a channel: in flight, deferred, or requeued and waiting for their next delivery.
//!
//! Invariant: a message is in exactly one of the three states; the counts agree with the table; a requeued message
//! has exactly one place in the queue; it never falls due, and the others fall due at `until`.

use std::time::Duration;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use nsq_queue::Position;

use super::requeued::RequeuedQueue;
use super::slots::{Slot, Slots};
use super::tracked_message::{Delivered, LogKind, State, TrackedMessage};
use crate::client::ClientId;
use crate::error::NotInFlight;
use crate::time::Tick;

#[derive(Debug, Default)]
pub(crate) struct Tracked {
    slots: Slots,
    /// Where each message is, by its id.
    index: HashTable<Slot>,
    requeued: RequeuedQueue,
    in_flight_count: usize,
    deferred_count: usize,
    requeued_count: usize,
    /// Where the last search for a deferred message ended.
    deferred_search: Slot,
}

fn hash_of(id: u64) -> u64 {
    // Ids grow by one within a millisecond and by 2^22 between them: spread both over all bits.
    let mixed = id.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ (mixed >> 32)
}

impl Tracked {
    /// How many messages there are in all three states.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn in_flight_count(&self) -> usize {
        self.in_flight_count
    }

    pub(crate) fn deferred_count(&self) -> usize {
        self.deferred_count
    }

    pub(crate) fn requeued_count(&self) -> usize {
        self.requeued_count
    }

    pub(crate) fn find(&self, id: u64) -> Option<&TrackedMessage> {
        self.slot_of(id).map(|slot| self.slots.get(slot))
    }

    fn slot_of(&self, id: u64) -> Option<Slot> {
        let slots = &self.slots;
        let found = self
            .index
            .find(hash_of(id), |slot| slots.get(*slot).id == id);
        found.copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &TrackedMessage> {
        self.index.iter().map(|slot| self.slots.get(*slot))
    }

    /// The requeued messages in their order, each with its turn.
    pub(crate) fn requeued(&self) -> impl Iterator<Item = (&TrackedMessage, u64)> {
        let places = self.requeued.iter();
        let known = places.filter_map(|(id, turn)| Some((self.find(id)?, turn)));
        known.filter(|(message, _)| message.state == State::Requeued)
    }

    /// Puts a message in; one that is ready at once gets `turn`. `Err` with the message already there when its id is
    /// taken.
    pub(crate) fn insert(
        &mut self,
        mut message: TrackedMessage,
        turn: u64,
    ) -> Result<(), TrackedMessage> {
        if message.state == State::Requeued {
            message.until = Tick::NEVER;
        }
        let slots = &self.slots;
        let free = match self.index.entry(
            hash_of(message.id),
            |slot| slots.get(*slot).id == message.id,
            |slot| hash_of(slots.get(*slot).id),
        ) {
            Entry::Occupied(taken) => return Err(*slots.get(*taken.get())),
            Entry::Vacant(free) => free,
        };
        free.insert(self.slots.add(message));
        *self.count_mut(message.state) += 1;
        if message.state == State::Requeued {
            self.requeued.push_back(message.id, turn);
        }
        Ok(())
    }

    #[inline]
    fn count_mut(&mut self, state: State) -> &mut usize {
        match state {
            State::InFlight => &mut self.in_flight_count,
            State::Deferred => &mut self.deferred_count,
            State::Requeued => &mut self.requeued_count,
        }
    }

    /// Changes the state of a message. The caller gives a requeued one its place in the queue, and takes that away.
    #[inline]
    fn shift(&mut self, slot: Slot, state: State, until: Tick) -> TrackedMessage {
        self.slots.set_until(slot, until);
        let message = self.slots.get_mut(slot);
        let before = std::mem::replace(&mut message.state, state);
        let after = *message;
        *self.count_mut(before) -= 1;
        *self.count_mut(state) += 1;
        after
    }

    /// Takes a message out for good. If it was requeued, its place in the queue stays and is passed over.
    pub(crate) fn remove(&mut self, id: u64) -> Option<TrackedMessage> {
        let slots = &self.slots;
        let found = self
            .index
            .find_entry(hash_of(id), |slot| slots.get(*slot).id == id)
            .ok()?;
        let (slot, _) = found.remove();
        let message = self.slots.vacate(slot);
        *self.count_mut(message.state) -= 1;
        Some(message)
    }

    /// The slot of a message that the client holds.
    fn owned(&self, client: ClientId, id: u64) -> Result<Slot, NotInFlight> {
        let slot = self.slot_of(id).ok_or(NotInFlight::Unknown)?;
        self.slots.get(slot).held_by(client).map(|()| slot)
    }

    /// FIN: the message is done and leaves the set.
    pub(crate) fn finish(
        &mut self,
        client: ClientId,
        id: u64,
    ) -> Result<TrackedMessage, NotInFlight> {
        let slots = &self.slots;
        let found = self
            .index
            .find_entry(hash_of(id), |slot| slots.get(*slot).id == id);
        let Ok(found) = found else {
            return Err(NotInFlight::Unknown);
        };
        slots.get(*found.get()).held_by(client)?;
        let (slot, _) = found.remove();
        let message = self.slots.vacate(slot);
        self.in_flight_count -= 1;
        Ok(message)
    }

    /// REQ with a delay: deferred until `due`.
    pub(crate) fn defer(
        &mut self,
        client: ClientId,
        id: u64,
        due: Tick,
    ) -> Result<TrackedMessage, NotInFlight> {
        let slot = self.owned(client, id)?;
        Ok(self.shift(slot, State::Deferred, due))
    }

    /// REQ without a delay: back to the queue, to be delivered at `turn`.
    pub(crate) fn requeue(
        &mut self,
        client: ClientId,
        id: u64,
        turn: u64,
    ) -> Result<TrackedMessage, NotInFlight> {
        let slot = self.owned(client, id)?;
        self.requeued.push_back(id, turn);
        Ok(self.shift(slot, State::Requeued, Tick::NEVER))
    }

    /// Back to the front of the queue, as if it had never been taken.
    pub(crate) fn put_back(
        &mut self,
        client: ClientId,
        id: u64,
    ) -> Result<TrackedMessage, NotInFlight> {
        let slot = self.owned(client, id)?;
        self.requeued.push_front(id);
        Ok(self.shift(slot, State::Requeued, Tick::NEVER))
    }

    /// The same, for a message whose delivery is not to count.
    pub(crate) fn take_back(&mut self, client: ClientId, id: u64) -> Result<(), NotInFlight> {
        let slot = self.owned(client, id)?;
        self.requeued.push_front(id);
        let message = self.slots.get_mut(slot);
        message.attempts = message.attempts.wrapping_sub(1);
        self.shift(slot, State::Requeued, Tick::NEVER);
        Ok(())
    }

    /// TOUCH: a new deadline, `timeout` from now but never more than `max_timeout` after the delivery.
    pub(crate) fn touch(
        &mut self,
        client: ClientId,
        id: u64,
        now: Tick,
        timeout: Duration,
        max_timeout: Duration,
    ) -> Result<(), NotInFlight> {
        let slot = self.owned(client, id)?;
        let limit = self.slots.get(slot).delivered_at().after(max_timeout);
        self.slots.set_until(slot, now.after(timeout).min(limit));
        Ok(())
    }

    /// The first requeued message, if its turn has come once `passed` messages have gone by. It stays in the queue.
    pub(crate) fn first_requeued(&mut self, passed: u64) -> Option<TrackedMessage> {
        while let Some((id, turn)) = self.requeued.first() {
            match self.find(id) {
                Some(message) if message.state == State::Requeued => {
                    return (turn <= passed).then_some(*message);
                }
                _ => self.requeued.pop_front(),
            }
        }
        None
    }

    /// Hands the first requeued message, just looked at, to a client.
    pub(crate) fn deliver_requeued(
        &mut self,
        id: u64,
        client: ClientId,
        now: Tick,
        deadline: Tick,
    ) -> Option<TrackedMessage> {
        debug_assert_eq!(self.requeued.first().map(|(first, _)| first), Some(id));
        self.requeued.pop_front();
        let slot = self.slot_of(id)?;
        let message = self.slots.get_mut(slot);
        message.client = client;
        message.delivered = Delivered::at(now);
        message.attempts = message.attempts.wrapping_add(1);
        Some(self.shift(slot, State::InFlight, deadline))
    }

    /// Has `holder` hold the first requeued message, whatever its turn, as if it were in flight; no attempt is counted.
    pub(crate) fn reserve_first_requeued(
        &mut self,
        holder: ClientId,
        until: Tick,
    ) -> Option<TrackedMessage> {
        let first = self.first_requeued(u64::MAX)?;
        self.requeued.pop_front();
        self.reserve(first.id, holder, until)
    }

    /// The same with a deferred message.
    pub(crate) fn reserve_deferred(&mut self, id: u64, holder: ClientId, until: Tick) {
        self.reserve(id, holder, until);
    }

    /// Some deferred message: the next after the one found last, in no particular order but in turn.
    pub(crate) fn next_deferred(&mut self) -> Option<TrackedMessage> {
        if self.deferred_count == 0 {
            return None;
        }
        let found = self.slots.next_deferred(self.deferred_search)?;
        self.deferred_search = found + 1;
        Some(*self.slots.get(found))
    }

    fn reserve(&mut self, id: u64, holder: ClientId, until: Tick) -> Option<TrackedMessage> {
        let slot = self.slot_of(id)?;
        self.slots.get_mut(slot).client = holder;
        Some(self.shift(slot, State::InFlight, until))
    }

    /// Moves the message's record: it now lies elsewhere.
    pub(crate) fn relocate(&mut self, id: u64, log: LogKind, sequence: u64, position: Position) {
        if let Some(slot) = self.slot_of(id) {
            let message = self.slots.get_mut(slot);
            message.log = log;
            message.sequence = sequence;
            message.position = position;
        }
    }

    /// Requeues every message that falls due by `now`, to be delivered at `turn`; calls `on_each` with the state it was
    /// in.
    pub(crate) fn expire(
        &mut self,
        now: Tick,
        turn: u64,
        mut on_each: impl FnMut(State, TrackedMessage),
    ) {
        for slot in self.slots.due_by(now) {
            let before = self.slots.get(slot).state;
            let message = self.shift(slot, State::Requeued, Tick::NEVER);
            self.requeued.push_back(message.id, turn);
            on_each(before, message);
        }
    }

    /// When the next message falls due.
    pub(crate) fn next_deadline(&mut self) -> Option<Tick> {
        Some(self.slots.earliest()).filter(|earliest| *earliest != Tick::NEVER)
    }

    #[cfg(test)]
    pub(crate) fn slot_count(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn clear(&mut self) {
        *self = Tracked::default();
    }

    /// Gives back memory that a burst used.
    pub(crate) fn shrink(&mut self) {
        if self.slots.len() > 4096 && self.index.len() < self.slots.len() / 8 {
            let old = std::mem::take(&mut self.slots);
            for slot in &mut self.index {
                *slot = self.slots.add(*old.get(*slot));
            }
            let slots = &self.slots;
            let room = self.index.len() * 2;
            self.index
                .shrink_to(room, |slot| hash_of(slots.get(*slot).id));
        }
    }
}
