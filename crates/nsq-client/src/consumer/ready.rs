//! Who may send how much: the ready count (RDY) of every connection.
//!
//! Invariant: the counts never add up to more than max in flight, and none exceeds what its nsqd
//! allows. nsqd does not count a RDY down, so it is sent only when it changes.
//! Source: `maybeUpdateRDY`, `updateRDY`, `redistributeRDY`, go-nsq, consumer.go.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::random::Random;

/// A connection of a consumer, in the order they were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// RDYs to send, in this order.
pub(crate) type Changes = Vec<(ConnectionId, u32)>;

#[derive(Debug)]
pub(crate) struct ReadyCounts {
    max_in_flight: u32,
    idle_timeout: Duration,
    turn_timeout: Duration,
    connections: BTreeMap<ConnectionId, Connection>,
    /// Of all counts.
    total: u32,
}

#[derive(Debug)]
struct Connection {
    count: u32,
    /// What its nsqd allows.
    max: u32,
    last_message: Instant,
    /// When it last was given a count above 0.
    ready_since: Instant,
    /// It wanted some and there was nothing left: when to try again.
    retry_at: Option<Instant>,
}

impl ReadyCounts {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            max_in_flight: config.max_in_flight,
            idle_timeout: config.low_rdy_idle_timeout,
            turn_timeout: config.low_rdy_timeout,
            connections: BTreeMap::new(),
            total: 0,
        }
    }

    pub(crate) fn max_in_flight(&self) -> u32 {
        self.max_in_flight
    }

    /// Takes effect with the next [`share_out`](Self::share_out).
    pub(crate) fn set_max_in_flight(&mut self, max_in_flight: u32) {
        self.max_in_flight = max_in_flight;
    }

    pub(crate) fn connection_count(&self) -> usize {
        self.connections.len()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = ConnectionId> {
        self.connections.keys().copied()
    }

    pub(crate) fn count(&self, id: ConnectionId) -> u32 {
        self.connections.get(&id).map_or(0, |found| found.count)
    }

    /// A connection that begins with a count of 0.
    pub(crate) fn add(&mut self, id: ConnectionId, max: u32, now: Instant) {
        let connection = Connection {
            count: 0,
            max,
            last_message: now,
            ready_since: now,
            retry_at: None,
        };
        self.connections.insert(id, connection);
    }

    /// Whether it had a count, or was waiting for one.
    pub(crate) fn remove(&mut self, id: ConnectionId) -> bool {
        let Some(removed) = self.connections.remove(&id) else {
            return false;
        };
        self.total -= removed.count;
        removed.count > 0 || removed.retry_at.is_some()
    }

    pub(crate) fn message_came(&mut self, id: ConnectionId, now: Instant) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.last_message = now;
        }
    }

    /// What each connection should have: at least 1, as far as max in flight goes.
    pub(crate) fn share(&self) -> u32 {
        let count = u32::try_from(self.connections.len()).unwrap_or(u32::MAX);
        let share = self.max_in_flight / count.max(1);
        share.max(1).min(self.max_in_flight)
    }

    /// Gives every connection its share: first those that have more give it up, then the others
    /// get what is left.
    pub(crate) fn share_out(&mut self, now: Instant, changes: &mut Changes) {
        let share = self.share();
        let ids: Vec<_> = self.ids().collect();
        for &id in &ids {
            if self.count(id) > share {
                self.set(id, share, now, changes);
            }
        }
        self.give_up_surplus(now, changes);
        for &id in &ids {
            if self.count(id) < share {
                self.set(id, share, now, changes);
            }
        }
    }

    /// More connections than max in flight: those that brought nothing for longest go without.
    fn give_up_surplus(&mut self, now: Instant, changes: &mut Changes) {
        while self.total > self.max_in_flight {
            let ready = self.connections.iter().filter(|(_, found)| found.count > 0);
            let Some((&id, _)) = ready.min_by_key(|(_, found)| found.last_message) else {
                return;
            };
            self.set(id, 0, now, changes);
        }
    }

    /// Nothing from anyone.
    pub(crate) fn stop_all(&mut self, now: Instant, changes: &mut Changes) {
        let ids: Vec<_> = self.ids().collect();
        for id in ids {
            self.set(id, 0, now, changes);
        }
    }

    /// Sets one connection's count as near to `wanted` as it may be. Whether it has any, if wanted.
    pub(crate) fn set(
        &mut self,
        id: ConnectionId,
        wanted: u32,
        now: Instant,
        changes: &mut Changes,
    ) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else {
            return false;
        };
        connection.retry_at = None;
        let wanted = wanted.min(connection.max);
        let left = self.max_in_flight.saturating_sub(self.total);
        // To lower it is always possible.
        let count = wanted.min(connection.count.saturating_add(left));
        if count == 0 && wanted > 0 {
            connection.retry_at = Some(now + RETRY);
        }
        if count > 0 {
            connection.ready_since = now;
        }
        if count != connection.count {
            self.total = self.total - connection.count + count;
            connection.count = count;
            changes.push((id, count));
        }
        count > 0 || wanted == 0
    }

    /// The first time that [`retry`](Self::retry) has something to do.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        let retries = self.connections.values().filter_map(|found| found.retry_at);
        retries.min()
    }

    /// Tries again for those that got nothing a while ago.
    pub(crate) fn retry(&mut self, now: Instant, changes: &mut Changes) {
        let share = self.share();
        let due = self.connections.iter();
        let due: Vec<_> = due
            .filter(|(_, found)| found.retry_at.is_some_and(|at| at <= now))
            .map(|(&id, _)| id)
            .collect();
        for id in due {
            self.set(id, share, now, changes);
        }
    }

    /// Forgets who asked to be tried again.
    pub(crate) fn stop_waiting(&mut self) {
        for connection in self.connections.values_mut() {
            connection.retry_at = None;
        }
    }

    /// Takes the count from connections that do not use it or had their turn, and gives 1 each to
    /// others, `limit` in all at most.
    pub(crate) fn redistribute(
        &mut self,
        limit: u32,
        now: Instant,
        random: &mut Random,
        changes: &mut Changes,
    ) {
        let had_turn = |found: &Connection| {
            found.count > 0
                && (now.saturating_duration_since(found.last_message) > self.idle_timeout
                    || now.saturating_duration_since(found.ready_since) > self.turn_timeout)
        };
        let mut waiting = Vec::new();
        let mut done = Vec::new();
        for (&id, found) in &self.connections {
            if had_turn(found) {
                done.push(id);
            } else if found.count == 0 && found.max > 0 {
                waiting.push(id);
            }
        }
        for &id in &done {
            self.set(id, 0, now, changes);
        }
        let mut left = limit.min(self.max_in_flight).saturating_sub(self.total);
        // Who just had a turn comes after all who did not.
        for mut candidates in [waiting, done] {
            while left > 0 && !candidates.is_empty() {
                let id = candidates.swap_remove(random.index(candidates.len()));
                self.set(id, 1, now, changes);
                left -= 1;
            }
        }
    }

    /// Of all counts.
    pub(crate) fn total(&self) -> u32 {
        self.total
    }
}

/// How long a connection that got nothing waits before it asks again.
const RETRY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
