//! The messages of a channel that are out: in flight, deferred, or requeued and waiting for their next taker.
//!
//! Invariant: a message is in exactly one of the three states; the counts agree with the table; a requeued message
//! has exactly one place in the queue; it falls due never, and the others `until`.

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use nsq_queue::Position;

use super::out_message::{Delivered, LogKind, OutMessage, State};
use super::slots::{Slot, Slots};
use crate::client::ClientId;
use crate::error::NotInFlight;
use crate::time::Tick;

#[derive(Debug, Default)]
pub(crate) struct OutSet {
    slots: Slots,
    /// Where each message is, by its id.
    index: HashTable<Slot>,
    requeued: VecDeque<u64>,
    in_flight_count: usize,
    deferred_count: usize,
    requeued_count: usize,
    by_log: [u64; LogKind::ALL.len()],
}

fn hash_of(id: u64) -> u64 {
    // Ids grow by one within a millisecond and by 2^22 between them: spread both over all bits.
    let mixed = id.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ (mixed >> 32)
}

impl OutSet {
    pub(crate) fn in_flight_count(&self) -> usize {
        self.in_flight_count
    }

    pub(crate) fn deferred_count(&self) -> usize {
        self.deferred_count
    }

    pub(crate) fn requeued_count(&self) -> usize {
        self.requeued_count
    }

    /// How many messages of that log are out.
    pub(crate) fn count_in(&self, log: LogKind) -> u64 {
        self.by_log[log.index()]
    }

    pub(crate) fn find(&self, id: u64) -> Option<&OutMessage> {
        self.slot_of(id).map(|slot| self.slots.get(slot))
    }

    fn slot_of(&self, id: u64) -> Option<Slot> {
        let slots = &self.slots;
        let found = self
            .index
            .find(hash_of(id), |slot| slots.get(*slot).id == id);
        found.copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &OutMessage> {
        self.index.iter().map(|slot| self.slots.get(*slot))
    }

    /// The requeued messages, in the order in which they will be given.
    pub(crate) fn requeued(&self) -> impl Iterator<Item = &OutMessage> {
        let known = self.requeued.iter().filter_map(|&id| self.find(id));
        known.filter(|message| message.state == State::Requeued)
    }

    /// Puts a message in. `Err` with the one already there when its id is taken.
    pub(crate) fn insert(&mut self, mut message: OutMessage) -> Result<(), OutMessage> {
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
        self.by_log[message.log.index()] += 1;
        self.enter(message.state, message.id);
        Ok(())
    }

    fn enter(&mut self, state: State, id: u64) {
        match state {
            State::InFlight => self.in_flight_count += 1,
            State::Deferred => self.deferred_count += 1,
            State::Requeued => {
                self.requeued_count += 1;
                self.requeued.push_back(id);
            }
        }
    }

    fn leave(&mut self, state: State) {
        match state {
            State::InFlight => self.in_flight_count -= 1,
            State::Deferred => self.deferred_count -= 1,
            // Its place in the queue stays behind and is passed over.
            State::Requeued => self.requeued_count -= 1,
        }
    }

    /// Changes the state of a message.
    fn shift(&mut self, slot: Slot, state: State, until: Tick) -> OutMessage {
        self.slots.set_until(slot, until);
        let message = self.slots.get_mut(slot);
        let before = std::mem::replace(&mut message.state, state);
        let after = *message;
        self.leave(before);
        self.enter(state, after.id);
        after
    }

    /// Takes a message out for good.
    pub(crate) fn remove(&mut self, id: u64) -> Option<OutMessage> {
        let slots = &self.slots;
        let found = self
            .index
            .find_entry(hash_of(id), |slot| slots.get(*slot).id == id)
            .ok()?;
        let (slot, _) = found.remove();
        let message = self.slots.vacate(slot);
        self.leave(message.state);
        self.by_log[message.log.index()] -= 1;
        Some(message)
    }

    /// The place of a message that the client holds.
    fn owned(&self, client: ClientId, id: u64) -> Result<Slot, NotInFlight> {
        let slot = self.slot_of(id).ok_or(NotInFlight::Unknown)?;
        self.slots.get(slot).held_by(client).map(|()| slot)
    }

    /// FIN: the message is done and leaves the set.
    pub(crate) fn finish(&mut self, client: ClientId, id: u64) -> Result<OutMessage, NotInFlight> {
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
        self.by_log[message.log.index()] -= 1;
        Ok(message)
    }

    /// REQ: back to the queue, at once when `due` is `None`.
    pub(crate) fn requeue(
        &mut self,
        client: ClientId,
        id: u64,
        due: Option<Tick>,
    ) -> Result<OutMessage, NotInFlight> {
        let slot = self.owned(client, id)?;
        let (state, until) =
            due.map_or((State::Requeued, Tick::NEVER), |due| (State::Deferred, due));
        Ok(self.shift(slot, state, until))
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

    /// The requeued message that has waited longest, looked at and left there.
    pub(crate) fn first_requeued(&mut self) -> Option<OutMessage> {
        while let Some(&id) = self.requeued.front() {
            match self.find(id) {
                Some(message) if message.state == State::Requeued => return Some(*message),
                _ => {
                    self.requeued.pop_front();
                }
            }
        }
        if self.requeued.capacity() > 4096 {
            self.requeued = VecDeque::new();
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
    ) -> Option<OutMessage> {
        debug_assert_eq!(self.requeued.front(), Some(&id));
        self.requeued.pop_front();
        let slot = self.slot_of(id)?;
        let message = self.slots.get_mut(slot);
        message.client = client;
        message.delivered = Delivered::at(now);
        message.attempts = message.attempts.wrapping_add(1);
        Some(self.shift(slot, State::InFlight, deadline))
    }

    /// Takes the first requeued message out of everybody's reach; no attempt is counted.
    pub(crate) fn set_first_requeued_aside(
        &mut self,
        holder: ClientId,
        until: Tick,
    ) -> Option<OutMessage> {
        let first = self.first_requeued()?;
        self.requeued.pop_front();
        self.set_aside(first.id, holder, until)
    }

    /// The same with a deferred message.
    pub(crate) fn set_deferred_aside(&mut self, id: u64, holder: ClientId, until: Tick) {
        self.set_aside(id, holder, until);
    }

    fn set_aside(&mut self, id: u64, holder: ClientId, until: Tick) -> Option<OutMessage> {
        let slot = self.slot_of(id)?;
        self.slots.get_mut(slot).client = holder;
        Some(self.shift(slot, State::InFlight, until))
    }

    /// Moves the message's record: it now lies elsewhere.
    pub(crate) fn relocate(&mut self, id: u64, log: LogKind, sequence: u64, position: Position) {
        if let Some(slot) = self.slot_of(id) {
            let message = self.slots.get_mut(slot);
            self.by_log[message.log.index()] -= 1;
            self.by_log[log.index()] += 1;
            message.log = log;
            message.sequence = sequence;
            message.position = position;
        }
    }

    /// Makes every message ready again whose time has come by `now`; tells of each, with the state it was in.
    pub(crate) fn expire(&mut self, now: Tick, mut tell: impl FnMut(State, OutMessage)) {
        for slot in self.slots.due_by(now) {
            let before = self.slots.get(slot).state;
            tell(before, self.shift(slot, State::Requeued, Tick::NEVER));
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
        *self = OutSet::default();
    }

    /// Gives back memory that a burst left behind.
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
