//! The table of the logs that a channel reads: the topic's main log and its log of deferred messages, the channel's own
//! private log, and the log it inherited.
//!
//! Every entry is read, finished, counted, maintained and emptied by the same rule. The only difference is whether its
//! messages are *queued* (read in order as clients ask for them) or *tracked* (taken into the tracked messages as soon as
//! they are offered).
//!
//! A read has one of three outcomes:
//!
//! - The record is [found](Lookup::Found).
//! - The record is [lost](Lookup::Lost), because it is damaged. It is counted as damaged and finished: no client can ever
//!   get it.
//! - The log is [stalled](Lookup::Stalled), because the disk does not answer. Nothing changes, and the channel tries again
//!   after [`STALL`].

use std::sync::Arc;
use std::time::Duration;

use nsq_protocol::MessageId;
use nsq_queue::{Log, LogError, ReadError, Record, Writer};

use super::offered::Offered;
use super::source::Source;
use super::tracked_message::{LogKind, TrackedMessage};
use crate::change::{Action, Recorder};

/// How long a channel leaves its logs alone after one of them could not be read.
pub(super) const STALL: Duration = Duration::from_secs(1);

/// One log of a channel, with how far the channel is in it.
pub(super) struct ChannelLog {
    kind: LogKind,
    pub(super) source: Source,
    /// For the channel's own logs; the topic writes the others.
    pub(super) writer: Option<Writer>,
}

/// The record of a tracked message, when it is looked up.
pub(super) enum Lookup<'a> {
    Found(Record<'a>),
    /// No client can ever have it; it is finished.
    Lost,
    /// The log cannot be read now.
    Stalled,
}

impl ChannelLog {
    /// A log that the topic writes.
    pub(super) fn of_topic(kind: LogKind, source: Source) -> ChannelLog {
        ChannelLog {
            kind,
            source,
            writer: None,
        }
    }

    /// A log of the channel's own.
    pub(super) fn own(kind: LogKind, source: Source, writer: Writer) -> ChannelLog {
        ChannelLog {
            kind,
            source,
            writer: Some(writer),
        }
    }

    pub(super) fn kind(&self) -> LogKind {
        self.kind
    }

    /// The log, if the channel writes it.
    pub(super) fn own_log(&self) -> Option<&Arc<Log>> {
        self.writer.as_ref().map(Writer::log)
    }

    /// The sequence up to which the log is the channel's to read.
    #[inline]
    pub(super) fn end(&self, offered: &Offered) -> u64 {
        match &self.writer {
            None => offered.end(self.kind),
            Some(writer) => writer.end().sequence,
        }
    }

    /// How many messages the cursor has before it.
    #[inline]
    pub(super) fn waiting_count(&self, offered: &Offered) -> u64 {
        self.source.behind(self.end(offered))
    }

    /// Finishes a record. A failure is logged: the message may come back after a restart.
    #[inline]
    pub(super) fn finish(&mut self, sequence: u64) {
        if let Err(error) = self.source.finished.finish(sequence) {
            log_unfinished(&error);
        }
    }
}

#[cold]
pub(super) fn log_unfinished(error: &LogError) {
    tracing::error!("a finished message may come back after a restart: {error}");
}

/// Logs that a channel stalls.
#[cold]
pub(super) fn log_stall(error: &ReadError) {
    tracing::error!("cannot read, trying again in {STALL:?}: {error}");
}

/// The logs of one channel, in the order in which clients get their messages.
pub(super) struct ChannelLogs {
    offered: Arc<Offered>,
    logs: Vec<ChannelLog>,
}

impl ChannelLogs {
    pub(super) fn new(offered: Arc<Offered>) -> ChannelLogs {
        ChannelLogs {
            offered,
            logs: Vec::new(),
        }
    }

    pub(super) fn offered(&self) -> &Offered {
        &self.offered
    }

    /// Adds a log, which must be the only one of its kind.
    pub(super) fn insert(&mut self, log: ChannelLog) {
        debug_assert!(self.get(log.kind).is_none(), "one log of a kind");
        let at = self
            .logs
            .partition_point(|known| known.kind.reading_order() < log.kind.reading_order());
        // Most channels read one log: no room is kept for more.
        self.logs.reserve_exact(1);
        self.logs.insert(at, log);
    }

    #[inline]
    pub(super) fn get(&self, kind: LogKind) -> Option<&ChannelLog> {
        self.logs.iter().find(|log| log.kind == kind)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, kind: LogKind) -> Option<&mut ChannelLog> {
        self.logs.iter_mut().find(|log| log.kind == kind)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &ChannelLog> {
        self.logs.iter()
    }

    /// The logs that are read in order as clients ask.
    pub(super) fn queued(&self) -> impl Iterator<Item = &ChannelLog> {
        self.logs.iter().take_while(|log| log.kind.is_queued())
    }

    // ---- the queue ----

    /// How many messages wait in the queued logs.
    #[inline]
    pub(super) fn waiting_count(&self) -> u64 {
        self.queued()
            .map(|log| log.waiting_count(&self.offered))
            .sum()
    }

    /// How many messages of the queued logs have gone by, delivered or not: grows by one with each that leaves
    /// [`waiting_count`](Self::waiting_count), and never falls. The clock by which a requeued message knows its
    /// [turn](super::requeued).
    #[inline]
    pub(super) fn passed_count(&self) -> u64 {
        self.queued()
            .map(|log| log.source.cursor.sequence + log.source.ahead_count)
            .sum()
    }

    /// The [turn](super::requeued) of a message that comes back now: after those that wait, but after no more than
    /// `max_ahead` of them.
    #[inline]
    pub(super) fn next_turn(&self, max_ahead: u64) -> u64 {
        let (mut passed, mut all) = (0_u64, 0);
        for log in self.queued() {
            let of_log = log.source.cursor.sequence + log.source.ahead_count;
            passed += of_log;
            all += log.end(&self.offered).max(of_log);
        }
        all.min(passed.saturating_add(max_ahead))
    }

    /// The place of the queued log from which the next message comes, and the sequence up to which it is to be read;
    /// `None` when no message waits.
    #[inline]
    pub(super) fn first_waiting(&self) -> Option<(usize, u64)> {
        let ends = self.queued().map(|log| (log, log.end(&self.offered)));
        let mut waiting = ends
            .enumerate()
            .filter(|(_, (log, end))| log.source.behind(*end) > 0);
        waiting.next().map(|(place, (_, end))| (place, end))
    }

    /// The place of the log of that kind, and the sequence up to which it is to be read.
    pub(super) fn find(&self, kind: LogKind) -> Option<(usize, u64)> {
        let place = self.logs.iter().position(|log| log.kind == kind)?;
        Some((place, self.logs[place].end(&self.offered)))
    }

    /// The log at a place.
    #[inline]
    pub(super) fn at(&mut self, place: usize) -> &mut ChannelLog {
        &mut self.logs[place]
    }

    /// When the next message of each queued log was published; the earliest of these.
    pub(super) fn oldest_waiting(&mut self) -> Option<i64> {
        let ChannelLogs { logs, offered, .. } = self;
        let queued = logs.iter_mut().take_while(|log| log.kind.is_queued());
        let next = queued.filter_map(|log| {
            let end = log.end(offered);
            log.source.next_published(end)
        });
        next.min()
    }

    /// When a tracked message was published; `None` when its record cannot be read.
    pub(super) fn published_at(&mut self, message: &TrackedMessage) -> Option<i64> {
        let reader = &mut self.get_mut(message.log)?.source.reader;
        let record = reader.read(message.sequence, message.position).ok()?;
        Some(record.timestamp)
    }

    // ---- tracked messages ----

    /// Looks up the record of a tracked message.
    #[inline]
    pub(super) fn read(&mut self, message: &TrackedMessage) -> Lookup<'_> {
        let Some(log) = self.get_mut(message.log) else {
            return Lookup::Lost;
        };
        let Source {
            reader,
            finished,
            damaged_count,
            ..
        } = &mut log.source;
        match reader.read(message.sequence, message.position) {
            Ok(record) => Lookup::Found(record),
            Err(ReadError::Damaged { .. }) => {
                let id = MessageId::from_u64(message.id);
                tracing::error!("message {id} is damaged and is skipped");
                *damaged_count += 1;
                // A bit that cannot be written costs a second look after a restart, no more.
                let _ = finished.finish_damaged(message.sequence);
                Lookup::Lost
            }
            Err(error @ ReadError::Io { .. }) => {
                log_stall(&error);
                Lookup::Stalled
            }
        }
    }

    /// Finishes a record of that log.
    #[inline]
    pub(super) fn finish(&mut self, kind: LogKind, sequence: u64) {
        if let Some(log) = self.get_mut(kind) {
            log.finish(sequence);
        }
    }

    // ---- management ----

    /// Records what was finished since the last batch.
    pub(super) fn record_progress(&mut self, recorder: &Recorder) {
        for ChannelLog { kind, source, .. } in &mut self.logs {
            source.finished.take_changes(|changes| {
                recorder.record(Action::Finished {
                    log: *kind,
                    floor: changes.floor,
                    sequences: &changes.sequences,
                });
            });
        }
    }

    /// How many records could not be read, since start.
    pub(super) fn damaged_count(&self) -> u64 {
        self.logs.iter().map(|log| log.source.damaged_count).sum()
    }

    /// Forgets every message, up to the end of each log.
    pub(super) fn skip_all(&mut self) {
        for log in &mut self.logs {
            let end = log.end(&self.offered);
            log.source.jump(end);
            if let Some(writer) = &mut log.writer {
                writer.release_before(end);
            }
        }
    }

    /// Forgets the logs, and touches none of their files.
    pub(super) fn clear(&mut self) {
        self.logs.clear();
    }

    /// Frees what is finished in the channel's own logs, and releases files and memory that nothing needs now.
    pub(super) fn maintain(&mut self) {
        for log in &mut self.logs {
            if let Some(writer) = &mut log.writer {
                writer.release_before(log.source.finished.floor());
                writer.rest();
            }
            if log.waiting_count(&self.offered) == 0 {
                log.source.reader.rest();
            }
        }
    }
}
