//! One of a topic's two logs, and how far its messages are safe.
//!
//! Invariant: end ≥ safe ≥ fanned out. `end` is where the log ends. Below `safe` a message is as safe as the topic
//! promises, and its publisher is answered. Below the fan-out position, which [`Offered`](crate::channel::Offered) holds,
//! channels may have it. With [`SafeOnce::Appended`], `end` and `safe` are equal.

use std::ops::Range;
use std::sync::Arc;

use nsq_queue::{Cursor, Log, LogError, NewRecord, Writer};

use super::tickets::Ticket;
use crate::change::{Action, Recorder};
use crate::channel::LogKind;
use crate::data_path::DataPath;

/// What has to have happened to a message before it is safe: its publisher is answered then, and channels may have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SafeOnce {
    /// It is on the log: a kill of nsqd does not lose it.
    #[default]
    Appended,
    /// It is on the disk: a machine crash does not lose it (`--sync-publish`).
    Synced,
}

/// The main or the deferred log of a topic.
pub(super) struct TopicLog {
    kind: LogKind,
    pub(super) writer: Writer,
    recorder: Option<Recorder>,
    safe_once: SafeOnce,
    safe: u64,
    /// How many records truncations have dropped. Their sequences are given out again; tickets count on, so that each
    /// names one publish.
    dropped_count: u64,
}

impl TopicLog {
    /// What an earlier run left is safe: no one waits for it any more.
    pub(super) fn new(
        kind: LogKind,
        writer: Writer,
        safe_once: SafeOnce,
        recorder: Option<Recorder>,
    ) -> TopicLog {
        TopicLog {
            recorder,
            kind,
            safe: writer.end().sequence,
            writer,
            safe_once,
            dropped_count: 0,
        }
    }

    pub(super) fn kind(&self) -> LogKind {
        self.kind
    }

    pub(super) fn log(&self) -> &Arc<Log> {
        self.writer.log()
    }

    pub(super) fn end(&self) -> Cursor {
        self.writer.end()
    }

    /// Below this sequence, messages are safe.
    pub(super) fn safe(&self) -> u64 {
        self.safe
    }

    /// Appends a batch: the one way into a topic's log. It is safe at once if that is the rule.
    #[inline]
    pub(super) fn append<'a>(
        &mut self,
        data_path: &DataPath,
        records: impl ExactSizeIterator<Item = NewRecord<'a>>,
    ) -> Result<Range<u64>, LogError> {
        let range =
            data_path.append(self.kind, &mut self.writer, records, self.recorder.as_ref())?;
        if self.safe_once == SafeOnce::Appended {
            self.safe = range.end;
        }
        Ok(range)
    }

    /// Takes over how far the log has been synced; for a log whose messages are safe then.
    ///
    /// Reads it from the log now, rather than taking what a sync returned: a truncation since would have moved it back.
    pub(super) fn note_synced(&mut self) {
        self.safe = self.safe.max(self.writer.log().synced_sequence());
    }

    /// Drops every record from `to` on.
    pub(super) fn truncate(&mut self, to: u64) -> Result<(), LogError> {
        let before = self.end().sequence;
        self.writer.truncate(to)?;
        let after = self.end().sequence;
        self.dropped_count += before - after;
        if after < before
            && let Some(recorder) = &self.recorder
        {
            recorder.record(Action::Truncated {
                log: self.kind,
                end: after,
            });
        }
        self.safe = self.safe.min(after);
        Ok(())
    }

    /// For all that has been appended so far.
    pub(super) fn ticket(&self) -> Ticket {
        self.ticket_at(self.end().sequence)
    }

    /// For all that is safe. Tickets for what a truncation dropped are among them: no one needs it any more.
    pub(super) fn safe_ticket(&self) -> Ticket {
        self.ticket_at(self.safe)
    }

    fn ticket_at(&self, sequence: u64) -> Ticket {
        Ticket::new(self.kind, sequence + self.dropped_count)
    }
}
