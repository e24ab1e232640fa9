//! Opening a channel, new or as an earlier run left it.

use std::path::Path;
use std::sync::Arc;

use hashbrown::HashMap;
use nsq_protocol::{ChannelName, MessageId};
use nsq_queue::{FinishedSet, Listing, Log, LogError, Writer};

use super::compaction::Copies;
use super::consumer::Consumers;
use super::inherited::INHERITED;
use super::journal::{JOURNAL, JournalEntry, JournalWriter};
use super::logs::ChannelLog;
use super::progress::Progress;
use super::requeued::AT_ONCE;
use super::source::{Source, Step};
use super::stats::{Counters, LatencyRecorder};
use super::tracked::Tracked;
use super::tracked_message::{Delivered, LogKind, State, TrackedMessage};
use super::{Channel, ChannelLogs, Lifecycle, Limits, Offered, Shared, Store};
use crate::change::FanOut;
use crate::client::ClientId;
use crate::effects::Effects;
use crate::ids::{FIRST_FOREIGN_ID, last_id};
use crate::latency::PercentileSettings;
use crate::time::{Now, Tick};

/// What a channel is made of.
pub(crate) struct Parts {
    pub(crate) name: ChannelName,
    pub(crate) store: Store,
    pub(crate) main: Arc<Log>,
    pub(crate) deferred: Option<Arc<Log>>,
    pub(crate) offered: Arc<Offered>,
    /// Where the channel begins, if it is made now.
    pub(crate) start: Option<FanOut>,
    pub(crate) limits: Limits,
    pub(crate) percentiles: Option<Arc<PercentileSettings>>,
}

/// The holder of messages that no client holds.
pub(super) const NOBODY: ClientId = ClientId(0);

impl Channel {
    /// Makes the channel of `parts`, or opens it with everything that was not finished.
    ///
    /// # Errors
    /// When its finished sets or logs cannot be opened.
    pub(crate) fn open(parts: Parts, now: Now) -> Result<Channel, LogError> {
        let Parts {
            name,
            store,
            main,
            deferred,
            offered,
            start,
            limits,
            percentiles,
        } = parts;
        let main_end = offered.end(LogKind::Main);
        let deferred_end = offered.end(LogKind::Deferred);
        let mut channel = Channel {
            logs: ChannelLogs::new(offered),
            copies: Copies::default(),
            journal: JournalWriter::default(),
            tracked: Tracked::default(),
            consumers: Consumers::default(),
            effects: Effects::default(),
            shared: Arc::new(Shared::default()),
            paused: false,
            life: Lifecycle::Open,
            stalled_until: None,
            highest_journaled: None,
            counters: Counters {
                main_start: main_end,
                deferred_start: deferred_end,
                ..Counters::default()
            },
            latencies: LatencyRecorder::new(percentiles),
            name,
            store,
            limits,
        };
        let of_topic = [
            Some((LogKind::Main, main, main_end)),
            deferred.map(|log| (LogKind::Deferred, log, deferred_end)),
        ];
        for (kind, log, end) in of_topic.into_iter().flatten() {
            let mut finished = open_finished_set(&channel.store, kind, &log)?;
            if let Some(start) = start {
                finished.set_floor(start.of(kind));
            }
            let source = Source::new(log, finished, end);
            channel.logs.insert(ChannelLog::of_topic(kind, source));
        }
        if start.is_none() {
            channel.resume(now)?;
        }
        channel.arm_timeout();
        Ok(channel)
    }

    fn resume(&mut self, now: Now) -> Result<(), LogError> {
        let Some(folder) = self.store.folder.clone() else {
            return Ok(());
        };
        let logs = Listing::of(&folder)?;
        if logs.has(PRIVATE) {
            self.open_private()?;
        }
        if logs.has(INHERITED) {
            self.open_inherited(&folder)?;
        }
        let mut entries = HashMap::new();
        if logs.has(JOURNAL) {
            (self.journal, entries) = JournalWriter::open(&folder, &self.store)?;
        }
        let ids = entries.keys().copied();
        self.highest_journaled = ids.filter(|&id| id < FIRST_FOREIGN_ID).max();
        // In the order of their logs, so that they come back as they were published.
        let mut entries: Vec<_> = entries.into_values().collect();
        entries.sort_unstable_by_key(|entry| (entry.log.index(), entry.sequence));
        let resumed = entries.iter();
        let resumed: Vec<_> = resumed
            .filter_map(|entry| self.resume_journaled(entry, now))
            .collect();
        // Only now is it known how many messages wait.
        let turn = self.next_turn();
        for message in resumed {
            // The table has the journal's keys, so that nothing has this id yet.
            let _ = self.tracked.insert(message, turn);
        }
        self.track_offered(now);
        self.stay_above_adopted();
        Ok(())
    }

    /// Adopted messages have ids of this nsqd's, and need not stand in any log of the topic's.
    fn stay_above_adopted(&mut self) {
        let inherited = self.logs.get(LogKind::Inherited);
        let inherited = inherited.and_then(|log| last_id(log.writer.as_ref()?));
        let private = self
            .tracked
            .iter()
            .filter(|message| message.log == LogKind::Private);
        let ids = private.map(|message| message.id);
        let ids = ids.chain(inherited.map(MessageId::as_u64));
        let highest = ids.filter(|id| *id < FIRST_FOREIGN_ID).max();
        self.highest_journaled = self.highest_journaled.max(highest);
    }

    /// The message of a journal entry, if the entry still holds: the record is there and unfinished.
    fn resume_journaled(&mut self, entry: &JournalEntry, now: Now) -> Option<TrackedMessage> {
        let until = self.due_tick(entry.due, now);
        let source = &mut self.logs.get_mut(entry.log)?.source;
        let is_open = entry.sequence >= source.finished.floor()
            && !source.finished.is_finished(entry.sequence);
        if !is_open || entry.sequence >= source.log().end_sequence() {
            return None;
        }
        // Not by the rule of reading: after a machine crash another message may lie in this place, and the record with
        // this sequence in another one. The cursor will find it.
        let record = source.reader.read(entry.sequence, entry.position).ok()?;
        if record.id != entry.id {
            return None;
        }
        let (published, position) = (record.timestamp, record.position);
        source.ahead_count += 1;
        Some(TrackedMessage {
            id: entry.id,
            sequence: entry.sequence,
            // An entry need not know the place: then the record was found by its sequence.
            position,
            published,
            delivered: Delivered::default(),
            until,
            client: NOBODY,
            attempts: entry.attempts,
            log: entry.log,
            state: State::until_due(entry.due, now),
        })
    }

    /// When a message is due. No wait is longer than a client can ask for: if it is, the clock was ahead when it was
    /// asked for.
    fn due_tick(&self, due: i64, now: Now) -> Tick {
        let latest = now.tick.after(self.limits.req_timeout);
        now.tick_at(due).min(latest)
    }

    /// Tracks the messages of the logs that are not queued, as far as they were offered.
    pub(super) fn track_offered(&mut self, now: Now) {
        let is_tracked = |kind: &LogKind| !kind.is_queued();
        for kind in LogKind::ALL.into_iter().filter(is_tracked) {
            self.track(kind, usize::MAX, now);
        }
    }

    /// Tracks the next messages of a log, up to `most` of them. Those of a queued log are ready at once, before the
    /// messages that wait.
    pub(super) fn track(&mut self, kind: LogKind, most: usize, now: Now) {
        let latest = now.tick.after(self.limits.req_timeout);
        let Channel {
            logs,
            tracked,
            consumers,
            limits,
            counters,
            ..
        } = self;
        let Some((place, end)) = logs.find(kind) else {
            return;
        };
        // Only a message that is due needs one, and most that come here are not.
        let mut turn = kind.is_queued().then_some(AT_ONCE);
        let mut left = most;
        while left > 0 {
            let log = logs.at(place);
            let record = match log.source.next(end) {
                Step::Record(record) => record,
                Step::Skipped => continue,
                Step::End => return,
                Step::Stalled => return self.stall(now),
            };
            let sequence = record.sequence;
            let message = TrackedMessage {
                id: record.id,
                sequence,
                position: record.position,
                published: record.timestamp,
                delivered: Delivered::default(),
                until: now.tick_at(record.due).min(latest),
                client: NOBODY,
                attempts: record.attempts,
                log: kind,
                state: State::until_due(record.due, now),
            };
            // A message without room for it is dropped, as one whose REQ finds none.
            let deferred = tracked.deferred_count() as u64;
            let is_full = |max: u64| deferred >= max && deferred >= consumers.total_room();
            if limits.depth.is_some_and(is_full) {
                log.finish(sequence);
                counters.dropped += 1;
                continue;
            }
            let turn = match message.state {
                State::Requeued => *turn.get_or_insert_with(|| logs.next_turn(limits.ahead)),
                State::InFlight | State::Deferred => AT_ONCE,
            };
            match tracked.insert(message, turn) {
                Ok(()) => left -= 1,
                Err(known) => {
                    let log = logs.at(place);
                    if known.log == kind && known.sequence == sequence {
                        log.source.ahead_count = log.source.ahead_count.saturating_sub(1);
                    } else {
                        // A copy of a message that is tracked: a kill came before the original was finished.
                        log.finish(sequence);
                    }
                }
            }
        }
    }

    /// Opens the private log, if it is not open.
    pub(super) fn open_private(&mut self) -> Result<(), LogError> {
        if self.logs.get(LogKind::Private).is_some() {
            return Ok(());
        }
        let private = if let Some(folder) = &self.store.folder {
            self.open_own(folder, PRIVATE, LogKind::Private)?
        } else {
            let writer = Writer::in_memory(self.store.log_options);
            let source = Source::new(Arc::clone(writer.log()), Progress::in_memory(), 0);
            ChannelLog::own(LogKind::Private, source, writer)
        };
        self.logs.insert(private);
        Ok(())
    }

    pub(super) fn open_own(
        &self,
        folder: &Path,
        name: &str,
        kind: LogKind,
    ) -> Result<ChannelLog, LogError> {
        let pool = Arc::clone(&self.store.pool);
        let (writer, _) = Writer::open(folder, name, pool, self.store.log_options)?;
        let finished = open_finished_set(&self.store, kind, writer.log())?;
        let end = writer.end().sequence;
        let source = Source::new(Arc::clone(writer.log()), finished, end);
        Ok(ChannelLog::own(kind, source, writer))
    }

    /// The topic has begun a log after the channel was made: reads it from its beginning. The finished set is in memory
    /// when the disk refuses.
    pub(super) fn add_topic_log(&mut self, kind: LogKind, log: &Arc<Log>) {
        let finished = open_finished_set(&self.store, kind, log);
        let finished = finished.unwrap_or_else(|error| {
            tracing::error!("finished messages may come back after a restart: {error}");
            Progress::new(FinishedSet::in_memory(), self.store.recorder.is_some())
        });
        let source = Source::new(Arc::clone(log), finished, 0);
        self.logs.insert(ChannelLog::of_topic(kind, source));
    }
}

/// The private log.
const PRIVATE: &str = "private";

fn open_finished_set(store: &Store, kind: LogKind, log: &Arc<Log>) -> Result<Progress, LogError> {
    let Some(folder) = &store.folder else {
        return Ok(Progress::in_memory());
    };
    let mut finished = FinishedSet::open(&folder.join(kind.finished_file()), log.identity())?;
    // After a machine crash the log may end before records that were finished: their sequences will be used again.
    finished.retain_below(log.end_sequence())?;
    Ok(Progress::new(finished, store.recorder.is_some()))
}

/// Whether a log of that name was begun in the folder.
pub(crate) fn has_log(folder: &Path, name: &str) -> bool {
    Listing::of(folder).is_ok_and(|listing| listing.has(name))
}
