//! A channel: which of its topic's messages its clients have had, hold, or are still to get.
//!
//! ```text
//! log ── take ──▶ in flight ── FIN ──▶ finished
//!                  ▲   │  └─ REQ delay ─▶ deferred
//!             take │   ▼ REQ 0, timeout      │ due
//!                requeued ◀──────────────────┘
//! ```
//! It holds no bodies: what is in flight, deferred or requeued is known by where its record lies.

mod backlog;
mod consumer;
mod deadlines;
mod delivery;
mod journal;
mod line;
mod out_set;
mod resume;
mod source;
mod stragglers;
#[cfg(test)]
mod tests;
mod upkeep;
mod view;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use hashbrown::HashMap;
use nsq_protocol::{ChannelName, MessageId};
use nsq_queue::{Log, LogOptions, SegmentPool, Writer};

pub(crate) use backlog::BACKLOG;
use consumer::Consumers;
pub use consumer::Subscription;
pub use delivery::{Budget, Delivery, Taken};
use journal::{Journal, Note};
pub use line::Locality;
pub(crate) use out_set::LogKind;
use out_set::{OutMessage, OutSet, State};
pub(crate) use resume::{Parts, has_log};
use source::Source;
use stragglers::Copied;

use crate::client::{ClientId, Wakes};
use crate::error::{NotInFlight, SubscribeError};
use crate::latency::{Latencies, PercentileSettings, Sketch};
use crate::stats::{ChannelStats, ConsumerStats};
use crate::time::{Now, Tick};

/// How far a topic's logs have been offered to its channels; written by the topic, read by every channel without a lock.
#[derive(Debug, Default)]
pub(crate) struct Offered {
    main: AtomicU64,
    deferred: AtomicU64,
    /// A floor at or above this lets the topic free a segment.
    release_at: AtomicU64,
}

impl Offered {
    pub(crate) fn end(&self, log: LogKind) -> u64 {
        match log {
            LogKind::Main => self.main.load(Ordering::SeqCst),
            LogKind::Deferred => self.deferred.load(Ordering::SeqCst),
            LogKind::Private | LogKind::Backlog => u64::MAX,
        }
    }

    pub(crate) fn set_main(&self, sequence: u64) {
        // SeqCst, as the reads: a publisher that sees no idle client here, and a client that sees no message there,
        // must not both be right.
        self.main.store(sequence, Ordering::SeqCst);
    }

    pub(crate) fn set_deferred(&self, sequence: u64) {
        self.deferred.store(sequence, Ordering::SeqCst);
    }

    pub(crate) fn set_release_at(&self, sequence: u64) {
        self.release_at.store(sequence, Ordering::Relaxed);
    }
}

/// What others may know of a channel without its lock.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    idle_count: AtomicUsize,
    main_floor: AtomicU64,
    deferred_floor: AtomicU64,
}

impl Shared {
    /// Whether a client waits for messages.
    pub(crate) fn has_idle_clients(&self) -> bool {
        self.idle_count.load(Ordering::SeqCst) > 0
    }

    pub(crate) fn main_floor(&self) -> u64 {
        self.main_floor.load(Ordering::Acquire)
    }

    pub(crate) fn deferred_floor(&self) -> u64 {
        self.deferred_floor.load(Ordering::Acquire)
    }
}

/// Where a channel keeps its marks and logs; one without lives in memory only.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pub(crate) folder: Option<PathBuf>,
    pub(crate) pool: Arc<SegmentPool>,
    pub(crate) log_options: LogOptions,
}

/// A log that is the channel's own.
struct OwnLog {
    writer: Writer,
    source: Source,
}

/// How far a topic or channel is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Open,
    /// Nothing new is let in: it is being deleted, or nsqd is stopping.
    Exiting,
    /// Deleted: its files, if there are any, are those of the next one of its name.
    Discarded,
}

/// One channel of one topic.
pub struct Channel {
    name: ChannelName,
    store: Store,
    offered: Arc<Offered>,
    shared: Arc<Shared>,
    main: Source,
    deferred: Option<Source>,
    /// For messages moved out of the way of the topic's segments.
    private: Option<OwnLog>,
    /// What an upstream nsqd had queued for this channel.
    backlog: Option<OwnLog>,
    /// Copies of stragglers, by id, that a machine crash may still take: until it cannot, the originals count.
    copies: HashMap<u64, Copied>,
    journal: Option<Journal>,
    out: OutSet,
    consumers: Consumers,
    paused: bool,
    life: Life,
    /// The most messages that may queue; what is older gives way. For what has no disk.
    max_depth: Option<u64>,
    max_msg_timeout: Duration,
    /// Whether the next message given is to be a requeued one, when there are both.
    requeued_first: bool,
    stalled_until: Option<Tick>,
    /// What had been offered when the channel was made or opened.
    main_start: u64,
    deferred_start: u64,
    requeue_count: u64,
    timeout_count: u64,
    dropped_count: u64,
    /// Deliveries by the client's locality.
    delivered_counts: [u64; Locality::COUNT],
    /// From the first FIN on.
    latencies: Option<Box<Latencies>>,
    percentiles: Option<Arc<PercentileSettings>>,
}

impl Channel {
    /// The channel's name.
    pub fn name(&self) -> &ChannelName {
        &self.name
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    // ---- clients ----

    /// Adds a client, with a ready count of 0.
    ///
    /// # Errors
    /// [`SubscribeError`] when the channel is on its way out, or has `limit` clients already (0: no limit).
    pub fn subscribe(
        &mut self,
        subscription: Subscription,
        limit: usize,
    ) -> Result<(), SubscribeError> {
        if self.life != Life::Open {
            return Err(SubscribeError::Exiting);
        }
        if limit > 0 && self.consumers.len() >= limit {
            return Err(SubscribeError::TooManyClients { limit });
        }
        self.consumers.add(subscription);
        Ok(())
    }

    /// Takes a client out; what it holds stays in flight until its timeout, as upstream leaves it.
    /// Returns how many clients are left.
    pub fn unsubscribe(&mut self, client: ClientId, wakes: &mut Wakes) -> usize {
        if self.consumers.remove(client) == Some(true) {
            self.ring_for_depth(wakes);
        }
        self.note_idle();
        self.consumers.len()
    }

    /// RDY: the most the client may hold from now on.
    pub fn set_ready_count(&mut self, client: ClientId, ready_count: u32) {
        self.consumers.set_ready_count(client, ready_count);
    }

    /// How many clients are subscribed.
    pub fn client_count(&self) -> usize {
        self.consumers.len()
    }

    // ---- a message's life after its delivery ----

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
            && let Some(copy) = self.copies.remove(&message.id)
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
        self.take_note(&[Note::of(&message, due)], now);
        if delay.is_zero() {
            self.ring_for_depth(wakes);
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
        while let Some((before, message)) = self.out.expire_one(now.tick) {
            if before == State::InFlight {
                self.timeout_count += 1;
                notes.push(Note::of(&message, 0));
                if let Some(consumer) = self.consumers.get_mut(message.client) {
                    consumer.in_flight = consumer.in_flight.saturating_sub(1);
                    emptied.push(message.client);
                }
            }
        }
        self.take_note(&notes, now);
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

    /// Messages published with a deferral were offered: they are deferred from now on, not queued.
    pub(crate) fn take_in_deferred(&mut self, log: &Arc<Log>, now: Now, wakes: &mut Wakes) {
        if self.deferred.is_none() {
            let marks = self.open_marks(LogKind::Deferred, log, 0);
            self.deferred = Some(Source::new(Arc::clone(log), marks, 0));
        }
        self.take_in(LogKind::Deferred, now);
        self.ring_for_depth(wakes);
    }

    // ---- management ----

    /// Stops or resumes deliveries; what is in flight goes on.
    pub fn set_paused(&mut self, paused: bool, wakes: &mut Wakes) {
        self.paused = paused;
        self.ring_for_depth(wakes);
    }

    /// Whether deliveries are stopped.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Forgets every message: queued, in flight and deferred.
    pub fn empty(&mut self, wakes: &mut Wakes) {
        self.main.jump(self.offered.end(LogKind::Main));
        if let Some(source) = &mut self.deferred {
            source.jump(self.offered.end(LogKind::Deferred));
        }
        if let Some(private) = &mut self.private {
            let end = private.writer.end().sequence;
            private.source.jump(end);
            private.writer.release_before(end);
        }
        if let Some(backlog) = &mut self.backlog {
            let end = backlog.writer.end().sequence;
            backlog.source.jump(end);
            backlog.writer.release_before(end);
        }
        self.out.clear();
        self.copies.clear();
        self.consumers.reset_in_flight(wakes);
        self.note_idle();
        self.settle();
    }

    /// The channel is deleted: from here on it forgets everything and touches no file, since the next channel of its
    /// name may own them.
    pub(crate) fn discard(&mut self) {
        self.exit();
        self.life = Life::Discarded;
        self.out.clear();
        self.copies.clear();
        self.deferred = None;
        self.private = None;
        self.backlog = None;
        self.journal = None;
        self.store.folder = None;
    }

    /// Marks the channel as on its way out and closes its clients.
    pub(crate) fn exit(&mut self) {
        if self.life == Life::Open {
            self.life = Life::Exiting;
        }
        self.consumers.close_all();
    }

    /// Whether the channel was deleted.
    pub(crate) fn is_discarded(&self) -> bool {
        self.life == Life::Discarded
    }

    /// Whether the channel is being deleted, or nsqd is stopping.
    pub fn is_exiting(&self) -> bool {
        self.life != Life::Open
    }

    /// Publishes the floors, after a batch of commands. Whether the topic may now free a segment.
    pub fn settle(&mut self) -> bool {
        let floor = self.main.marks.floor();
        self.shared.main_floor.store(floor, Ordering::Release);
        if let Some(source) = &self.deferred {
            self.shared
                .deferred_floor
                .store(source.marks.floor(), Ordering::Release);
        }
        floor >= self.offered.release_at.load(Ordering::Relaxed)
    }

    // ---- figures ----

    /// Messages a client could have now.
    pub fn depth(&self) -> u64 {
        self.main.behind(self.offered.end(LogKind::Main))
            + self.backlog.as_ref().map_or(0, OwnLog::behind)
            + self.out.requeued_count() as u64
    }

    /// Messages clients hold.
    pub fn in_flight_count(&self) -> usize {
        self.out.in_flight_count()
    }

    /// Messages held back until they are due.
    pub fn deferred_count(&self) -> usize {
        self.out.deferred_count()
    }

    fn out_count(&self) -> usize {
        self.out.in_flight_count() + self.out.deferred_count() + self.out.requeued_count()
    }

    /// The channel's figures; `backend_depth` is what exceeds `mem_queue_size`.
    pub fn stats(&self, mem_queue_size: u64) -> ChannelStats {
        let depth = self.depth();
        let offered = self
            .offered
            .end(LogKind::Main)
            .saturating_sub(self.main_start)
            + self
                .offered
                .end(LogKind::Deferred)
                .saturating_sub(self.deferred_start);
        ChannelStats {
            name: self.name.clone(),
            depth,
            backend_depth: if self.max_depth.is_some() {
                0
            } else {
                depth.saturating_sub(mem_queue_size)
            },
            in_flight_count: self.out.in_flight_count() as u64,
            deferred_count: self.out.deferred_count() as u64,
            message_count: offered,
            requeue_count: self.requeue_count,
            timeout_count: self.timeout_count,
            delivered_count: self.delivered_counts.iter().sum(),
            zone_local_count: self.delivered_counts[Locality::Zone.index()],
            region_local_count: self.delivered_counts[Locality::Region.index()],
            dropped_count: self.dropped_count,
            damaged_count: self.main.damaged_count
                + self
                    .deferred
                    .as_ref()
                    .map_or(0, |source| source.damaged_count)
                + self
                    .private
                    .as_ref()
                    .map_or(0, |private| private.source.damaged_count)
                + self
                    .backlog
                    .as_ref()
                    .map_or(0, |backlog| backlog.source.damaged_count),
            client_count: self.consumers.len() as u64,
            paused: self.paused,
            buckets: self
                .latencies
                .as_ref()
                .map(|latencies| *latencies.buckets()),
            latency: None,
        }
    }

    /// The latencies of the window, as of `now`; empty where no percentiles are kept.
    pub(crate) fn latency_sketch(&mut self, now: Now) -> Sketch {
        self.latencies
            .as_mut()
            .map_or_else(Sketch::new, |latencies| latencies.sketch(now))
    }

    /// One client's figures on this channel.
    pub fn consumer_stats(&self, client: ClientId) -> Option<ConsumerStats> {
        let consumer = self.consumers.get(client)?;
        Some(ConsumerStats {
            ready_count: self.consumers.ready_count(client),
            in_flight_count: consumer.in_flight,
            message_count: consumer.message_count,
            finish_count: consumer.finish_count,
            requeue_count: consumer.requeue_count,
        })
    }

    // ---- helpers ----

    fn source_mut(&mut self, log: LogKind) -> Option<&mut Source> {
        match log {
            LogKind::Main => Some(&mut self.main),
            LogKind::Deferred => self.deferred.as_mut(),
            LogKind::Private => self.private.as_mut().map(|private| &mut private.source),
            LogKind::Backlog => self.backlog.as_mut().map(|backlog| &mut backlog.source),
        }
    }

    #[inline]
    fn mark(&mut self, log: LogKind, sequence: u64) {
        if let Some(source) = self.source_mut(log)
            && let Err(error) = source.marks.mark(sequence)
        {
            tracing::error!("a finished message may come back after a restart: {error}");
        }
    }

    fn take_note(&mut self, notes: &[Note], now: Now) {
        if notes.is_empty() {
            return;
        }
        if self.journal.is_none() {
            self.journal = self.open_journal();
        }
        if let Some(journal) = &mut self.journal {
            journal.add(notes, now.unix_nanos);
        }
    }

    /// Rings as many waiting clients as there are messages to give them.
    fn ring_for_depth(&mut self, wakes: &mut Wakes) {
        if !self.paused && self.stalled_until.is_none() && self.consumers.idle_count() > 0 {
            let depth = usize::try_from(self.depth()).unwrap_or(usize::MAX);
            self.consumers.ring_for(depth, wakes);
            self.note_idle();
        }
    }

    /// Messages were offered: wakes those who wait for them.
    pub(crate) fn wake_for_offer(&mut self, wakes: &mut Wakes) {
        self.ring_for_depth(wakes);
    }

    fn note_idle(&self) {
        self.shared
            .idle_count
            .store(self.consumers.idle_count(), Ordering::SeqCst);
    }
}

/// The unix time at which a deferred message is due; 0 for the others.
fn due_of(message: &OutMessage, now: Now) -> i64 {
    if message.state == State::Deferred {
        now.unix_at(message.until)
    } else {
        0
    }
}
