//! The messages of a channel that are out: in flight, deferred, or requeued and waiting for their next taker.
//!
//! Invariant: a message is in exactly one of the three states; the counts agree with the table; a requeued message
//! has exactly one place in the queue; a timed one has a deadline entry with its very `until`.

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;
use nsq_queue::Position;

use super::deadlines::Deadlines;
use crate::client::ClientId;
use crate::error::NotInFlight;
use crate::time::Tick;

/// Which of the channel's logs a message lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum LogKind {
    /// The topic's log of plain messages.
    Main = 0,
    /// The topic's log of messages published with a deferral.
    Deferred = 1,
    /// The channel's own log: stragglers moved out of the way of the topic's segments.
    Private = 2,
    /// What upstream's nsqd had queued for this channel alone; read in order, before the topic's main log.
    Backlog = 3,
}

impl LogKind {
    pub(crate) const ALL: [LogKind; 4] = [
        LogKind::Main,
        LogKind::Deferred,
        LogKind::Private,
        LogKind::Backlog,
    ];

    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// The file of a channel's marks in that log.
    pub(crate) fn marks_file(self) -> &'static str {
        match self {
            LogKind::Main => "main.marks",
            LogKind::Deferred => "deferred.marks",
            LogKind::Private => "private.marks",
            LogKind::Backlog => "backlog.marks",
        }
    }

    pub(crate) fn from_index(index: u8) -> Option<LogKind> {
        LogKind::ALL.get(usize::from(index)).copied()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    InFlight,
    Deferred,
    Requeued,
}

/// One message that is out: where its record lies, and what it waits for. No body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OutMessage {
    pub(crate) id: u64,
    pub(crate) sequence: u64,
    pub(crate) position: Position,
    /// When it was published, in unix nanoseconds.
    pub(crate) published: i64,
    /// When it was last handed to a client.
    pub(crate) delivered: Tick,
    /// In flight: the deadline. Deferred: the due time. Requeued: meaningless.
    pub(crate) until: Tick,
    /// The client that holds it, while in flight.
    pub(crate) client: ClientId,
    pub(crate) attempts: u16,
    pub(crate) log: LogKind,
    pub(crate) state: State,
}

#[derive(Debug, Default)]
pub(crate) struct OutSet {
    table: HashTable<OutMessage>,
    deadlines: Deadlines,
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
        self.table.find(hash_of(id), |entry| entry.id == id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &OutMessage> {
        self.table.iter()
    }

    /// The requeued messages, in the order in which they will be given.
    pub(crate) fn requeued(&self) -> impl Iterator<Item = &OutMessage> {
        let known = self.requeued.iter().filter_map(|&id| self.find(id));
        known.filter(|message| message.state == State::Requeued)
    }

    /// Puts a message in. `Err` with the one already there when its id is taken.
    pub(crate) fn insert(&mut self, message: OutMessage) -> Result<(), OutMessage> {
        let slot = self.table.entry(
            hash_of(message.id),
            |entry| entry.id == message.id,
            |entry| hash_of(entry.id),
        );
        match slot {
            Slot::Occupied(taken) => return Err(*taken.get()),
            Slot::Vacant(free) => free.insert(message),
        };
        self.by_log[message.log.index()] += 1;
        self.enter(message.state, message.until, message.id);
        Ok(())
    }

    fn enter(&mut self, state: State, until: Tick, id: u64) {
        match state {
            State::InFlight => {
                self.in_flight_count += 1;
                self.deadlines.push(until, id);
            }
            State::Deferred => {
                self.deferred_count += 1;
                self.deadlines.push(until, id);
            }
            State::Requeued => {
                self.requeued_count += 1;
                self.requeued.push_back(id);
            }
        }
        if self
            .deadlines
            .wants_sweep(self.in_flight_count + self.deferred_count)
        {
            let table = &self.table;
            self.deadlines
                .sweep(|due, id| is_waiting_for(table, due, id));
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

    /// Changes a message's state, with `change` for the rest of it. The message must be there.
    fn shift(
        &mut self,
        id: u64,
        state: State,
        until: Tick,
        change: impl FnOnce(&mut OutMessage),
    ) -> Option<OutMessage> {
        let entry = self.table.find_mut(hash_of(id), |entry| entry.id == id)?;
        let before = entry.state;
        entry.state = state;
        entry.until = until;
        change(entry);
        let after = *entry;
        self.leave(before);
        self.enter(state, until, id);
        Some(after)
    }

    /// Takes a message out for good.
    pub(crate) fn remove(&mut self, id: u64) -> Option<OutMessage> {
        let found = self
            .table
            .find_entry(hash_of(id), |entry| entry.id == id)
            .ok()?;
        let (message, _) = found.remove();
        self.leave(message.state);
        self.by_log[message.log.index()] -= 1;
        Some(message)
    }

    fn owned(&self, client: ClientId, id: u64) -> Result<&OutMessage, NotInFlight> {
        match self.find(id) {
            Some(message) if message.state == State::InFlight => {
                if message.client == client {
                    Ok(message)
                } else {
                    Err(NotInFlight::NotOwner)
                }
            }
            _ => Err(NotInFlight::Unknown),
        }
    }

    /// FIN: the message is done and leaves the set.
    pub(crate) fn finish(&mut self, client: ClientId, id: u64) -> Result<OutMessage, NotInFlight> {
        let Ok(found) = self.table.find_entry(hash_of(id), |entry| entry.id == id) else {
            return Err(NotInFlight::Unknown);
        };
        let message = found.get();
        if message.state != State::InFlight {
            return Err(NotInFlight::Unknown);
        }
        if message.client != client {
            return Err(NotInFlight::NotOwner);
        }
        let (message, _) = found.remove();
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
        self.owned(client, id)?;
        let (state, until) =
            due.map_or((State::Requeued, Tick::NEVER), |due| (State::Deferred, due));
        self.shift(id, state, until, |_| ())
            .ok_or(NotInFlight::Unknown)
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
        let message = self.owned(client, id)?;
        let limit = message.delivered.after(max_timeout);
        let deadline = now.after(timeout).min(limit);
        if deadline == message.until {
            return Ok(());
        }
        self.shift(id, State::InFlight, deadline, |_| ());
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
        self.shift(id, State::InFlight, deadline, |message| {
            message.client = client;
            message.delivered = now;
            message.attempts = message.attempts.wrapping_add(1);
        })
    }

    /// Takes the first requeued message out of everybody's reach; no attempt is counted.
    pub(crate) fn set_first_requeued_aside(
        &mut self,
        holder: ClientId,
        until: Tick,
    ) -> Option<OutMessage> {
        let first = self.first_requeued()?;
        self.requeued.pop_front();
        self.shift(first.id, State::InFlight, until, |message| {
            message.client = holder;
        })
    }

    /// The same with a deferred message.
    pub(crate) fn set_deferred_aside(&mut self, id: u64, holder: ClientId, until: Tick) {
        self.shift(id, State::InFlight, until, |message| {
            message.client = holder;
        });
    }

    /// Moves the message's record: it now lies elsewhere.
    pub(crate) fn relocate(&mut self, id: u64, log: LogKind, sequence: u64, position: Position) {
        if let Some(entry) = self.table.find_mut(hash_of(id), |entry| entry.id == id) {
            self.by_log[entry.log.index()] -= 1;
            self.by_log[log.index()] += 1;
            entry.log = log;
            entry.sequence = sequence;
            entry.position = position;
        }
    }

    /// The next message whose time has come by `now`, made ready again; with the state it was in.
    pub(crate) fn expire_one(&mut self, now: Tick) -> Option<(State, OutMessage)> {
        while let Some((due, id)) = self.deadlines.pop_due(now) {
            let Some(message) = self.find(id) else {
                continue;
            };
            let before = message.state;
            if message.until == due && before != State::Requeued {
                let after = self.shift(id, State::Requeued, Tick::NEVER, |_| ())?;
                return Some((before, after));
            }
        }
        None
    }

    /// When the next message falls due.
    pub(crate) fn next_deadline(&mut self) -> Option<Tick> {
        let table = &self.table;
        self.deadlines
            .earliest(|due, id| is_waiting_for(table, due, id))
    }

    #[cfg(test)]
    pub(crate) fn deadline_entries(&self) -> usize {
        self.deadlines.len()
    }

    pub(crate) fn clear(&mut self) {
        *self = OutSet::default();
        self.deadlines.clear();
    }

    /// Gives back memory that a burst left behind.
    pub(crate) fn shrink(&mut self) {
        if self.table.capacity() > 4096 && self.table.len() < self.table.capacity() / 8 {
            self.table
                .shrink_to(self.table.len() * 2, |entry| hash_of(entry.id));
        }
    }
}

fn is_waiting_for(table: &HashTable<OutMessage>, due: Tick, id: u64) -> bool {
    table
        .find(hash_of(id), |entry| entry.id == id)
        .is_some_and(|message| message.state != State::Requeued && message.until == due)
}
