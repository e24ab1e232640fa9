//! Messages that stay out for long must not keep whole segments of the topic's log from being freed.
//!
//! When what is out of a log is little beside what it pins, the messages in the oldest pinned segment are copied to the
//! channel's private log and marked as finished in the topic's: so disk stays within a small factor of what is alive.
//! A kill between the copy and the mark leaves two copies, of which the second found is dropped at the next start.

use nsq_queue::{NewRecord, ReadError};

use super::out_set::{LogKind, OutMessage, State};
use super::{Channel, PrivateLog};
use crate::time::Now;

/// Records pinned for each one that is out, before it pays to copy.
const PINNED_FACTOR: u64 = 4;
/// Segments a channel may pin whatever their use: the one being written, and the one before.
const FREE_SEGMENTS: u32 = 2;
/// The most messages copied at once, so that a channel is never held up for long.
const BATCH: usize = 4096;

impl Channel {
    pub(super) fn relocate_stragglers(&mut self, now: Now) {
        for log in [LogKind::Main, LogKind::Deferred] {
            let stragglers = self.find_stragglers(log);
            if !stragglers.is_empty() {
                self.relocate(log, &stragglers, now);
            }
        }
    }

    /// The messages in the oldest segment that this channel pins, if they are worth moving.
    fn find_stragglers(&mut self, log: LogKind) -> Vec<OutMessage> {
        let out_count = self.out.count_in(log);
        let Some(source) = self.source_mut(log) else {
            return Vec::new();
        };
        let cursor = source.cursor;
        let floor = source.marks.floor();
        let pinned = cursor.sequence.saturating_sub(floor);
        if out_count == 0 || pinned < PINNED_FACTOR * out_count {
            return Vec::new();
        }
        let in_log = self.out.iter().filter(|message| message.log == log);
        let Some(oldest) = in_log.map(|message| message.position.segment).min() else {
            return Vec::new();
        };
        if cursor.position.segment.saturating_sub(oldest) < FREE_SEGMENTS {
            return Vec::new();
        }
        let in_oldest = self
            .out
            .iter()
            .filter(|message| message.log == log && message.position.segment == oldest);
        in_oldest.take(BATCH).copied().collect()
    }

    fn relocate(&mut self, log: LogKind, stragglers: &[OutMessage], now: Now) {
        if self.private.is_none() {
            let opened = match self.store.folder.clone() {
                Some(folder) => self.open_private(&folder),
                None => Ok(self.open_private_in_memory()),
            };
            match opened {
                Ok(private) => self.private = Some(private),
                Err(error) => {
                    tracing::error!("old messages cannot be moved out of the way: {error}");
                    return;
                }
            }
        }
        for straggler in stragglers {
            if !self.copy_to_private(log, straggler, now) {
                return;
            }
        }
    }

    /// Copies one message and takes its old place off. Whether to go on.
    fn copy_to_private(&mut self, log: LogKind, straggler: &OutMessage, now: Now) -> bool {
        let Channel {
            main,
            deferred,
            private,
            out,
            ..
        } = self;
        let source = match log {
            LogKind::Main => main,
            LogKind::Deferred => match deferred {
                Some(source) => source,
                None => return false,
            },
            LogKind::Private => return false,
        };
        let Some(PrivateLog {
            writer,
            source: copies,
        }) = private
        else {
            return false;
        };
        // What cannot be read now stays where it is; delivery will find out what is wrong with it.
        let Ok(record) = source.reader.read(straggler.sequence, straggler.position) else {
            return true;
        };
        let due = if straggler.state == State::Deferred {
            now.unix_at(straggler.until)
        } else {
            0
        };
        let copy = NewRecord {
            id: record.id,
            timestamp: record.timestamp,
            due,
            attempts: straggler.attempts,
            body: record.body,
        };
        let range = match writer.append([copy].into_iter()) {
            Ok(range) => range,
            Err(error) => {
                tracing::error!("old messages cannot be moved out of the way: {error}");
                return false;
            }
        };
        let mut cursor = copies.cursor;
        // Records before it can only be copies whose reading failed then; they are found at the next start.
        while cursor.sequence <= range.start {
            match copies.reader.next(&mut cursor) {
                Ok(Some(copy)) if copy.sequence == range.start => {
                    let position = copy.position;
                    copies.cursor = cursor;
                    out.relocate(straggler.id, LogKind::Private, range.start, position);
                    let _ = source.marks.mark(straggler.sequence);
                    return true;
                }
                Ok(Some(_)) | Err(ReadError::Damaged { .. }) => {}
                Ok(None) | Err(ReadError::Io { .. }) => return false,
            }
        }
        false
    }
}
