//! What a consumer's handle, tasks and messages share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use nsq_protocol::{ChannelName, TopicName};
use tokio::sync::Notify;

use super::ConsumerStats;
use super::backoff::Signal;
use super::connection::Connection;
use super::event::ConsumerEvent;
use super::flow::{Effects, Flow, Note};
use super::inbox::Inbox;
use super::message::Message;
use super::ready::ConnectionId;
use crate::connect::Dialer;
use crate::random::Random;

/// Locks, in order: the flow, then a connection's outbox. The inbox's is taken with neither.
pub(crate) struct Shared {
    pub(crate) dialer: Dialer,
    pub(crate) topic: TopicName,
    pub(crate) channel: ChannelName,
    /// What log lines begin with.
    pub(crate) label: String,
    pub(crate) inbox: Inbox,
    pub(crate) counters: Counters,
    flow: Mutex<Table>,
    /// Spares every success the flow's lock in ordinary times.
    backing_off: AtomicBool,
    /// The flow has an earlier deadline than before.
    pub(crate) sooner: Notify,
    on_event: Option<OnEvent>,
}

pub(crate) type OnEvent = Box<dyn Fn(&ConsumerEvent<'_>) + Send + Sync>;

struct Table {
    flow: Flow,
    /// All that live, also those the flow has nothing for any more.
    connections: HashMap<ConnectionId, Arc<Connection>>,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    received: AtomicU64,
    finished: AtomicU64,
    requeued: AtomicU64,
    given_up: AtomicU64,
}

impl Counters {
    pub(crate) fn count_finished(&self) {
        self.finished.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_requeued(&self) {
        self.requeued.fetch_add(1, Ordering::Relaxed);
    }
}

impl Shared {
    pub(crate) fn new(
        topic: TopicName,
        channel: ChannelName,
        dialer: Dialer,
        on_event: Option<OnEvent>,
    ) -> Self {
        static LAST_ID: AtomicU64 = AtomicU64::new(0);
        let id = LAST_ID.fetch_add(1, Ordering::Relaxed) + 1;
        let flow = Flow::new(&dialer.config, Random::new(), now());
        Self {
            label: format!("{id:>3} [{topic}/{channel}]"),
            topic,
            channel,
            dialer,
            inbox: Inbox::default(),
            counters: Counters::default(),
            flow: Mutex::new(Table {
                flow,
                connections: HashMap::new(),
            }),
            backing_off: AtomicBool::new(false),
            sooner: Notify::new(),
            on_event,
        }
    }

    pub(crate) fn tell(&self, event: &ConsumerEvent<'_>) {
        if let Some(on_event) = &self.on_event {
            on_event(event);
        }
    }

    /// A connection that is subscribed.
    pub(crate) fn connected(&self, connection: &Arc<Connection>, max_rdy_count: u32) {
        self.step(|table, now, effects| {
            let id = connection.id();
            table.connections.insert(id, Arc::clone(connection));
            table.flow.connected(id, max_rdy_count, now, effects);
        });
    }

    /// Nothing more comes from a connection.
    pub(crate) fn disconnected(&self, connection: &Connection) {
        self.step(|table, now, effects| table.flow.disconnected(connection.id(), now, effects));
    }

    /// A connection has ended: it is no longer among those that live.
    pub(crate) fn forget(&self, connection: &Connection) -> usize {
        let mut table = self.lock();
        table.connections.remove(&connection.id());
        table.connections.len()
    }

    pub(crate) fn connections(&self) -> Vec<Arc<Connection>> {
        self.lock().connections.values().cloned().collect()
    }

    pub(crate) fn messages_came(&self, connection: &Connection, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.counters.received.fetch_add(count, Ordering::Relaxed);
        self.lock().flow.message_came(connection.id(), now());
    }

    pub(crate) fn set_max_in_flight(&self, max: u32) {
        self.step(|table, now, effects| table.flow.set_max_in_flight(max, now, effects));
    }

    pub(crate) fn max_in_flight(&self) -> u32 {
        self.lock().flow.ready().max_in_flight()
    }

    pub(crate) fn signal_success(&self, connection: &Connection) {
        if self.backing_off.load(Ordering::Acquire) && !connection.is_gone() {
            self.signal(Signal::Success);
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.step(|table, now, effects| table.flow.on(signal, now, effects));
    }

    pub(crate) fn handle_timeout(&self) {
        self.step(|table, now, effects| table.flow.handle_timeout(now, effects));
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.lock().flow.deadline()
    }

    /// Whether some connection is held up by messages that are not answered.
    pub(crate) fn is_starved(&self) -> bool {
        let table = self.lock();
        let ready = table.flow.ready();
        ready.ids().any(|id| {
            let in_flight = table
                .connections
                .get(&id)
                .map_or(0, |found| found.in_flight());
            // 85 per cent, rounded down.
            let threshold = u64::from(ready.count(id)) * 85 / 100;
            in_flight > 0 && u64::try_from(in_flight).is_ok_and(|held| held >= threshold)
        })
    }

    pub(crate) fn stats(&self) -> ConsumerStats {
        let connections = self.connections();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ConsumerStats {
            messages_received: load(&self.counters.received),
            messages_finished: load(&self.counters.finished),
            messages_requeued: load(&self.counters.requeued),
            messages_given_up: load(&self.counters.given_up),
            messages_in_flight: connections.iter().map(|found| found.in_flight()).sum(),
            connections: connections.len(),
        }
    }

    /// Passes on a message that is worth handing out.
    pub(crate) fn screen(&self, message: Message) -> Option<Message> {
        if message.delivery().connection.is_gone() {
            // Its nsqd has given up on this delivery, or will: the next one counts.
            return None;
        }
        let most = self.dialer.config.max_attempts;
        if most == 0 || message.attempts() <= most {
            return Some(message);
        }
        tracing::warn!(
            "{} msg {} attempted {} times, giving up",
            self.label,
            message.id_text(),
            message.attempts()
        );
        self.counters.given_up.fetch_add(1, Ordering::Relaxed);
        let delivery = message.delivery();
        self.tell(&ConsumerEvent::GaveUp { delivery });
        message.finish();
        None
    }

    /// Has the flow take an event, and does what follows from it before the next one.
    fn step(&self, event: impl FnOnce(&mut Table, Instant, &mut Effects)) {
        let mut effects = Effects::default();
        let mut addresses = Vec::new();
        let sooner = {
            let mut table = self.lock();
            let before = table.flow.deadline();
            event(&mut table, now(), &mut effects);
            let is_backing_off = table.flow.is_backing_off();
            self.backing_off.store(is_backing_off, Ordering::Release);
            for &(id, count) in &effects.changes {
                if let Some(connection) = table.connections.get(&id) {
                    connection.send_ready_count(count);
                }
            }
            for note in &effects.notes {
                if let Note::Testing(id) = note {
                    addresses.extend(table.connections.get(id).cloned());
                }
            }
            table.flow.deadline() < before
        };
        if sooner {
            self.sooner.notify_one();
        }
        let mut addresses = addresses.iter().map(|connection| connection.address());
        for &note in &effects.notes {
            self.report(note, &mut addresses);
        }
    }

    fn report<'a>(&self, note: Note, tested: &mut impl Iterator<Item = &'a str>) {
        let label = &self.label;
        match note {
            Note::BackingOff { duration, level } => {
                tracing::warn!(
                    "{label} backing off for {} (backoff level {level}), setting all to RDY 0",
                    nsq_protocol::go_duration::GoDuration::from(duration)
                );
                self.tell(&ConsumerEvent::BackingOff { duration, level });
            }
            Note::Testing(_) => {
                let address = tested.next().unwrap_or_default();
                tracing::warn!("{label} ({address}) backoff timeout expired, sending RDY 1");
            }
            Note::NothingToTest => {
                tracing::warn!("{label} no connection available to resume");
            }
            Note::BackoffOver { share } => {
                tracing::warn!("{label} exiting backoff, returning all to RDY {share}");
                self.tell(&ConsumerEvent::BackoffOver);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The runtime's time, which tests can stop.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
