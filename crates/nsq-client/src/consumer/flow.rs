//! How much a consumer lets come: ready counts and backing off, put together.
//!
//! A state machine without a clock: events come in with the time, RDYs to send go out. The caller
//! sends them in the order they came out, before it lets the next event in.

use std::time::{Duration, Instant};

use super::backoff::{Backoff, Change, Signal};
use super::ready::{Changes, ConnectionId, ReadyCounts};
use crate::config::Config;
use crate::random::Random;

#[derive(Debug)]
pub(crate) struct Flow {
    ready: ReadyCounts,
    backoff: Backoff,
    random: Random,
    interval: Duration,
    next_look: Instant,
    /// A connection went away with a count that another one should have.
    displaced: bool,
}

/// What an event leads to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects {
    /// RDYs to send.
    pub(crate) changes: Changes,
    /// To tell the user.
    pub(crate) notes: Vec<Note>,
}

/// A turn in how the consumer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Note {
    BackingOff { duration: Duration, level: u32 },
    Testing(ConnectionId),
    NothingToTest,
    BackoffOver { share: u32 },
}

impl Flow {
    pub(crate) fn new(config: &Config, random: Random, now: Instant) -> Self {
        Self {
            ready: ReadyCounts::new(config),
            backoff: Backoff::new(config),
            random,
            interval: config.rdy_redistribute_interval,
            next_look: now + config.rdy_redistribute_interval,
            displaced: false,
        }
    }

    pub(crate) fn ready(&self) -> &ReadyCounts {
        &self.ready
    }

    pub(crate) fn is_backing_off(&self) -> bool {
        self.backoff.level() > 0 || self.backoff.waiting_until().is_some()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next.
    pub(crate) fn deadline(&self) -> Instant {
        let times = [self.backoff.waiting_until(), self.ready.next_retry()];
        let times = times.into_iter().flatten();
        times.fold(self.next_look, Instant::min)
    }

    /// A connection that may be given a count of up to `max`.
    pub(crate) fn connected(
        &mut self,
        id: ConnectionId,
        max: u32,
        now: Instant,
        effects: &mut Effects,
    ) {
        self.ready.add(id, max, now);
        self.share_out(now, effects);
    }

    /// A connection that brings nothing any more.
    pub(crate) fn disconnected(&mut self, id: ConnectionId, now: Instant, effects: &mut Effects) {
        let had_some = self.ready.remove(id);
        let left = u32::try_from(self.ready.connection_count()).unwrap_or(u32::MAX);
        if had_some && (left == self.ready.max_in_flight() || self.backoff.level() > 0) {
            self.displaced = true;
        }
        self.share_out(now, effects);
    }

    pub(crate) fn message_came(&mut self, id: ConnectionId, now: Instant) {
        self.ready.message_came(id, now);
    }

    pub(crate) fn set_max_in_flight(&mut self, max: u32, now: Instant, effects: &mut Effects) {
        self.ready.set_max_in_flight(max);
        self.share_out(now, effects);
    }

    /// A message was answered.
    pub(crate) fn on(&mut self, signal: Signal, now: Instant, effects: &mut Effects) {
        match self.backoff.on(signal, now, &mut self.random) {
            Change::None => {}
            Change::Wait(duration) => {
                let level = self.backoff.level();
                effects.notes.push(Note::BackingOff { duration, level });
                self.ready.stop_all(now, &mut effects.changes);
            }
            Change::Over => {
                let share = self.ready.share();
                effects.notes.push(Note::BackoffOver { share });
                self.ready.share_out(now, &mut effects.changes);
            }
        }
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant, effects: &mut Effects) {
        if self.backoff.waiting_until().is_some_and(|at| at <= now) {
            self.test(now, effects);
        }
        if self.ready.next_retry().is_some_and(|at| at <= now) {
            if self.is_backing_off() {
                // The state after backing off distributes the ready counts again.
                self.ready.stop_waiting();
            } else {
                self.ready.retry(now, &mut effects.changes);
            }
        }
        if self.next_look <= now {
            self.next_look = now + self.interval;
            self.redistribute(now, effects);
        }
    }

    /// Lets one message through on some connection.
    fn test(&mut self, now: Instant, effects: &mut Effects) {
        let count = self.ready.connection_count();
        let chosen = (count > 0).then(|| self.random.index(count));
        let chosen = chosen.and_then(|index| self.ready.ids().nth(index));
        let changes = &mut effects.changes;
        match chosen {
            Some(id) if self.ready.set(id, 1, now, changes) => {
                self.backoff.test();
                effects.notes.push(Note::Testing(id));
            }
            _ => {
                self.backoff.wait_on(now, NOTHING_TO_TEST);
                effects.notes.push(Note::NothingToTest);
            }
        }
    }

    fn share_out(&mut self, now: Instant, effects: &mut Effects) {
        if self.is_backing_off() {
            // At most what max in flight has become.
            if self.ready.max_in_flight() == 0 {
                self.ready.stop_all(now, &mut effects.changes);
            }
        } else {
            self.ready.share_out(now, &mut effects.changes);
        }
    }

    fn redistribute(&mut self, now: Instant, effects: &mut Effects) {
        if self.backoff.waiting_until().is_some() {
            return;
        }
        let count = u32::try_from(self.ready.connection_count()).unwrap_or(u32::MAX);
        let testing = self.backoff.level() > 0;
        let too_few = count > self.ready.max_in_flight();
        let test_elsewhere = testing && (count > 1 || self.ready.total() == 0);
        if count == 0 || !(too_few || test_elsewhere || self.displaced) {
            return;
        }
        self.displaced = false;
        let limit = if testing { 1 } else { u32::MAX };
        self.ready
            .redistribute(limit, now, &mut self.random, &mut effects.changes);
    }
}

/// How long to wait where there is no connection to test with.
const NOTHING_TO_TEST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
