//! A channel: which of its topic's messages its clients have had, hold, or are still to get.
//!
//! ```text
//! log ── take ──▶ in flight ── FIN ──▶ finished
//!                  ▲   │  └─ REQ delay ─▶ deferred
//!             take │   ▼ REQ 0, timeout      │ due
//!                requeued ◀──────────────────┘
//! ```
//! It holds no bodies: what is in flight, deferred or requeued is known by where its record lies.

mod answers;
mod backlog;
mod consumer;
mod delivery;
mod figures;
mod handover;
mod journal;
mod line;
mod offered;
mod out_message;
mod out_set;
mod resume;
mod slots;
mod source;
mod stragglers;
#[cfg(test)]
mod tests;
mod upkeep;
mod view;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use nsq_protocol::{ChannelName, MessageId};
use nsq_queue::{Log, LogOptions, SegmentPool, Writer};

pub(crate) use backlog::BACKLOG;
use consumer::Consumers;
pub use consumer::Subscription;
pub use delivery::{Budget, Delivery, Taken};
pub use handover::{Moving, SetAside};
use journal::Journal;
pub(crate) use journal::{Note, read_notes};
pub use line::Locality;
pub(crate) use offered::{Offered, Shared};
pub(crate) use out_message::LogKind;
use out_message::{OutMessage, State};
use out_set::OutSet;
pub(crate) use resume::{Parts, has_log};
use source::Source;
use stragglers::Copied;

use crate::client::{ClientId, Wakes};
use crate::error::SubscribeError;
use crate::latency::{Latencies, PercentileSettings};
use crate::time::{Now, Tick};

/// Room for so many unwritten notes is kept.
const KEPT_NOTES: usize = 64;

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
    /// Notes of the batch of commands that is being carried out, written together when it is [settled](Self::settle).
    unwritten: Vec<Note>,
    /// When the last of them was made, in unix nanoseconds.
    unwritten_at: i64,
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
    /// The highest id that a note or a log of the channel's own tells of from an earlier run, whether its message is
    /// still there or not.
    highest_noted: Option<u64>,
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

    /// No new message may have this id or a lower one: notes of lost messages would be taken for its own.
    pub(crate) fn highest_noted(&self) -> Option<MessageId> {
        self.highest_noted.map(MessageId::from_u64)
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

    // ---- fan-out ----

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
        self.unwritten.clear();
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

    /// Publishes the floors and writes what is to be noted, after a batch of commands. Whether the topic may now free a
    /// segment.
    pub fn settle(&mut self) -> bool {
        if !self.unwritten.is_empty() {
            self.write_notes();
        }
        let floor = self.main.marks.floor();
        self.shared.set_main_floor(floor);
        if let Some(source) = &self.deferred {
            self.shared.set_deferred_floor(source.marks.floor());
        }
        self.offered.is_release_due(floor)
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
        for &note in notes {
            self.note_later(note, now);
        }
        if !notes.is_empty() {
            self.write_notes();
        }
    }

    fn note_later(&mut self, note: Note, now: Now) {
        self.unwritten.push(note);
        self.unwritten_at = now.unix_nanos;
    }

    fn write_notes(&mut self) {
        if self.journal.is_none() {
            self.journal = self.open_journal();
        }
        if let Some(journal) = &mut self.journal {
            journal.add(&self.unwritten, self.unwritten_at);
        }
        self.unwritten.clear();
        self.unwritten.shrink_to(KEPT_NOTES);
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
        self.shared.set_idle_count(self.consumers.idle_count());
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
