//! A channel: which of its topic's messages its clients have finished, hold, or have still to get.
//!
//! ```text
//! log ── take ──▶ in flight ── FIN ──▶ finished
//!                  ▲   │  └─ REQ delay ─▶ deferred
//!             take │   ▼ REQ 0, timeout      │ due
//!                requeued ◀──────────────────┘
//! ```
//! It holds no bodies: it knows where the record of each message lies that is in flight, deferred or requeued.

mod again;
mod compaction;
mod consumer;
mod delivery;
mod handout;
mod in_flight;
mod inherited;
mod journal;
mod logs;
mod maintenance;
mod offered;
mod progress;
mod requeued;
mod resume;
mod slots;
mod source;
mod stats;
#[cfg(test)]
mod tests;
mod tracked;
mod tracked_message;
mod transfer;
mod view;
mod wait_queue;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nsq_protocol::{ChannelName, MessageId};
use nsq_queue::{Log, LogOptions, SegmentPool};

pub use again::Again;
use compaction::Copies;
use consumer::Consumers;
pub use consumer::Subscription;
pub use delivery::{Budget, Delivery, Taken};
pub(crate) use inherited::INHERITED;
use journal::JournalWriter;
pub(crate) use journal::{JournalEntry, REWRITE_FLOOR, read_journal};
use logs::ChannelLogs;
pub(crate) use offered::{Offered, Shared};
pub(crate) use resume::{Parts, has_log};
use stats::{Counters, LatencyRecorder};
use tracked::Tracked;
pub use tracked_message::LogKind;
use tracked_message::{State, TrackedMessage};
pub use transfer::{Reserved, TransferMessage};
pub use wait_queue::Locality;

use crate::change::{Action, Recorder};
use crate::client::ClientId;
use crate::data_path::DataPath;
use crate::effects::Effects;
use crate::error::SubscribeError;
use crate::time::{Now, Tick};

/// Where a channel keeps its finished sets and logs; without a folder, in memory only.
#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) folder: Option<PathBuf>,
    pub(crate) pool: Arc<SegmentPool>,
    pub(crate) data_path: Arc<DataPath>,
    /// For a channel whose changes are recorded.
    pub(crate) recorder: Option<Recorder>,
    pub(crate) log_options: LogOptions,
}

/// A channel with a bound may run over it by this many messages before a publisher has it trimmed, so that not each publish
/// has to. A caller that reads the channel trims it before.
const TRIM_SLACK: u64 = 1024;

/// What the settings allow a channel and its clients.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The longest a client may hold a message.
    pub(crate) msg_timeout: Duration,
    /// The longest a message may be deferred.
    pub(crate) req_timeout: Duration,
    /// The most waiting messages that go before one that comes back.
    pub(crate) ahead: u64,
    /// The most messages that may queue, for a channel without a disk: older ones are dropped.
    pub(crate) depth: Option<u64>,
    /// Whether old messages may be moved out of the way of segments.
    pub(crate) may_compact: bool,
}

/// How far a topic or channel is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifecycle {
    Open,
    /// It takes nothing new: it is being deleted, or nsqd is stopping.
    Exiting,
    /// Deleted: its files, if there are any, may belong to the next one of its name.
    Discarded,
}

/// One channel of one topic.
///
/// Calls come in batches, under one [lock](crate::topic::ChannelCell::lock): a batch ends when the lock is released, and
/// only then are its journal entries written, its floors published and its clients woken.
pub struct Channel {
    name: ChannelName,
    store: Store,
    limits: Limits,
    life: Lifecycle,
    paused: bool,
    shared: Arc<Shared>,
    logs: ChannelLogs,
    journal: JournalWriter,
    tracked: Tracked,
    copies: Copies,
    consumers: Consumers,
    /// What the calls of the batch leave to be done without the lock.
    effects: Effects,
    /// A log could not be read: nothing is delivered before.
    stalled_until: Option<Tick>,
    /// The highest id of an earlier run that the journal or a log of the channel's own has, whether its message is still
    /// there or not.
    highest_journaled: Option<u64>,
    counters: Counters,
    latencies: LatencyRecorder,
}

impl Channel {
    /// The channel's name.
    pub fn name(&self) -> &ChannelName {
        &self.name
    }

    /// No new message may have this id or a lower one: the journal entries of lost messages would be taken for its own.
    pub(crate) fn highest_journaled(&self) -> Option<MessageId> {
        self.highest_journaled.map(MessageId::from_u64)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    // ---- clients ----

    /// Adds a client, with a ready count of 0.
    ///
    /// # Errors
    /// [`SubscribeError`] when the channel is exiting, or has `limit` clients of this node already (0: no limit).
    pub fn subscribe(
        &mut self,
        subscription: Subscription,
        limit: usize,
    ) -> Result<(), SubscribeError> {
        if self.life != Lifecycle::Open {
            return Err(SubscribeError::Exiting);
        }
        if limit > 0 && self.consumers.own_count() >= limit {
            return Err(SubscribeError::TooManyClients { limit });
        }
        self.consumers.add(subscription);
        Ok(())
    }

    /// Removes a client; the messages it holds stay in flight until their timeouts, as upstream leaves them.
    /// Returns how many clients are left.
    pub fn unsubscribe(&mut self, client: ClientId) -> usize {
        if self.consumers.remove(client) == Some(true) {
            self.wake_for_depth();
        }
        self.note_idle();
        self.consumers.len()
    }

    /// RDY: the most the client may hold from now on.
    pub fn set_ready_count(&mut self, client: ClientId, ready_count: u32) {
        self.consumers.set_ready_count(client, ready_count);
    }

    /// The client holds `count` messages of other channels, for a client that is subscribed to several: they count against its
    /// ready count. Noted before each [`take`](Self::take), with the channel locked for both.
    pub fn set_held_elsewhere(&mut self, client: ClientId, count: u32) {
        self.consumers.set_held_elsewhere(client, count);
    }

    /// How many messages of this channel the client holds.
    pub fn held_by(&self, client: ClientId) -> u32 {
        self.consumers
            .get(client)
            .map_or(0, |consumer| consumer.in_flight)
    }

    /// Whether some client holds this message of the channel.
    pub fn has_in_flight(&self, id: MessageId) -> bool {
        let message = self.tracked.find(id.as_u64());
        message.is_some_and(|message| message.state == State::InFlight)
    }

    /// Whether this client holds this message of the channel.
    pub fn holds(&self, client: ClientId, id: MessageId) -> bool {
        let message = self.tracked.find(id.as_u64());
        message.is_some_and(|message| message.held_by(client).is_ok())
    }

    /// How many clients are subscribed, those of other nodes included.
    pub fn client_count(&self) -> usize {
        self.consumers.len()
    }

    // ---- fan-out ----

    /// Messages published with a deferral were offered: they are tracked from now on.
    pub(crate) fn take_in_deferred(&mut self, log: &Arc<Log>, now: Now) {
        if self.logs.get(LogKind::Deferred).is_none() {
            self.add_topic_log(LogKind::Deferred, log);
        }
        self.track(LogKind::Deferred, usize::MAX, now);
        self.arm_timeout();
    }

    // ---- management ----

    /// Stops or resumes deliveries; messages in flight are not affected.
    pub fn set_paused(&mut self, paused: bool) {
        if paused != self.paused
            && let Some(recorder) = &self.store.recorder
        {
            recorder.record(Action::Paused(paused));
        }
        self.paused = paused;
        self.wake_for_depth();
    }

    /// Whether deliveries are stopped.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Finishes messages of a topic's log that were not offered yet and never will be. Not recorded: they are skipped
    /// everywhere.
    pub(crate) fn skip(&mut self, kind: LogKind, log: &Arc<Log>, sequences: Range<u64>) {
        if self.logs.get(kind).is_none() && !sequences.is_empty() {
            self.add_topic_log(kind, log);
        }
        if let Some(log) = self.logs.get_mut(kind)
            && let Err(error) = log.source.skip(sequences)
        {
            tracing::error!("emptied messages may still be delivered: {error}");
        }
    }

    /// Forgets every message: queued, in flight and deferred.
    pub fn empty(&mut self) {
        self.logs.skip_all();
        self.tracked.clear();
        self.copies.clear();
        self.consumers.reset_in_flight(&mut self.effects);
        self.note_idle();
        self.effects.release();
    }

    /// The channel continues elsewhere: from here on it touches no file. Clients are woken, and find nothing here.
    pub(crate) fn let_go(&mut self) -> Effects {
        let mut effects = self.end_batch();
        self.consumers.wake_all(&mut effects);
        self.life = Lifecycle::Discarded;
        self.forget();
        effects
    }

    /// The channel is deleted: it forgets everything, and from here on touches no file, since the next channel of its
    /// name may own them.
    pub(crate) fn discard(&mut self) {
        self.exit();
        self.life = Lifecycle::Discarded;
        self.forget();
    }

    fn forget(&mut self) {
        self.tracked.clear();
        self.copies.clear();
        self.logs.clear();
        self.journal.discard();
        self.store.folder = None;
        self.store.recorder = None;
    }

    /// Lets nothing new in and closes the clients.
    pub(crate) fn exit(&mut self) {
        if self.life == Lifecycle::Open {
            self.life = Lifecycle::Exiting;
        }
        self.consumers.close_all();
    }

    /// Whether the channel was deleted.
    pub(crate) fn is_discarded(&self) -> bool {
        self.life == Lifecycle::Discarded
    }

    /// Whether the channel is being deleted, or nsqd is stopping.
    pub fn is_exiting(&self) -> bool {
        self.life != Lifecycle::Open
    }

    /// Ends a batch that only offered messages: it has nothing to journal, and a floor that it moved is published with
    /// the next batch.
    #[inline]
    pub(crate) fn end_offer(&mut self) -> Effects {
        if self.limits.depth.is_some() || self.store.recorder.is_some() {
            return self.end_batch();
        }
        std::mem::take(&mut self.effects)
    }

    /// Ends a batch of calls: writes the journal entries and publishes the floors. Returns what is to be done once the
    /// lock is released.
    pub(crate) fn end_batch(&mut self) -> Effects {
        self.journal.write(&self.store);
        for log in self.logs.iter() {
            let floor = log.source.finished.floor();
            match log.kind() {
                LogKind::Main if floor != self.shared.main_floor() => {
                    self.shared.set_main_floor(floor);
                    if self.logs.offered().is_release_due(floor) {
                        self.effects.release();
                    }
                }
                LogKind::Deferred => self.shared.set_deferred_floor(floor),
                LogKind::Main | LogKind::Private | LogKind::Inherited => {}
            }
        }
        if let Some(max_depth) = self.limits.depth {
            let room = max_depth.saturating_sub(self.depth());
            let offered = self.logs.offered().end(LogKind::Main);
            let full_at = offered.saturating_add(room).saturating_add(TRIM_SLACK);
            self.shared.set_full_at(full_at);
        }
        if let Some(recorder) = &self.store.recorder {
            self.logs.record_progress(recorder);
        }
        std::mem::take(&mut self.effects)
    }

    // ---- helpers ----

    /// A message is done with: finishes its record, and its copy if it has one.
    #[inline]
    fn finish_records(&mut self, message: &TrackedMessage) {
        self.logs.finish(message.log, message.sequence);
        if let Some(copy) = self.copies.take(message.id) {
            self.logs.finish(LogKind::Private, copy);
        }
    }

    /// Wakes as many waiting clients as there are messages for them.
    fn wake_for_depth(&mut self) {
        if !self.paused && self.stalled_until.is_none() && self.consumers.idle_count() > 0 {
            let depth = usize::try_from(self.depth()).unwrap_or(usize::MAX);
            self.consumers.wake_up_to(depth, &mut self.effects);
            self.note_idle();
        }
    }

    /// Messages were offered: makes room for them where that is bounded, and wakes clients that wait for them.
    pub(crate) fn note_offer(&mut self) {
        self.trim_to_max_depth();
        self.wake_for_depth();
    }

    fn note_idle(&self) {
        self.shared.set_idle_count(self.consumers.idle_count());
    }
}

/// The unix time at which a deferred message is due; 0 for the others.
fn due_of(message: &TrackedMessage, now: Now) -> i64 {
    if message.state == State::Deferred {
        now.unix_at(message.until)
    } else {
        0
    }
}
