//! Messages that stay out for long must not keep whole segments from being freed.
//!
//! When the messages that pin old segments are few beside what is pinned, they are copied to the end of the channel's
//! private log, and, once the copies are on the disk, marked as finished where they lay: so disk stays within a small
//! factor of what is alive. The private log's own old segments are treated the same.
//!
//! Until a copy is adopted the original counts. It is noted before it is copied: after a kill the note tells that the
//! message lies where it lay, and the copy, found second, is dropped.

use nsq_queue::{NewRecord, Position, ReadError};

use super::journal::Note;
use super::out_message::{LogKind, OutMessage};
use super::{Channel, due_of};
use crate::time::Now;

/// Records pinned for each one that is out, before it pays to copy.
const PINNED_FACTOR: u64 = 4;
/// Segments a channel may pin whatever their use: the one being read, and the one before.
const FREE_SEGMENTS: u32 = 2;
/// The most messages copied from a log at once, so that a channel is never held up for long.
const BATCH_MESSAGES: usize = 4096;
/// The same in bytes of bodies; the message that passes it is still copied.
const BATCH_BYTES: usize = 16 << 20;

/// Where in the private log a straggler's copy lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copied {
    pub(super) sequence: u64,
    position: Position,
    /// What the copy says of the message.
    attempts: u16,
    due: i64,
}

impl Channel {
    pub(super) fn relocate_stragglers(&mut self, now: Now) {
        for log in LogKind::ALL {
            let stragglers = self.find_stragglers(log);
            if !stragglers.is_empty() {
                self.copy(log, &stragglers, now);
            }
        }
    }

    /// The messages that pin old segments of a log, oldest first, if they are worth moving.
    fn find_stragglers(&mut self, log: LogKind) -> Vec<OutMessage> {
        if self.out.count_in(log) == 0 {
            return Vec::new();
        }
        let Some(source) = self.source_mut(log) else {
            return Vec::new();
        };
        let floor = source.marks.floor();
        let last = source.cursor.position.segment;
        let Some(recent) = (last + 1).checked_sub(FREE_SEGMENTS) else {
            return Vec::new();
        };
        let pinned = source.log().segment_base(recent).unwrap_or(0);
        let pinned = pinned.saturating_sub(floor);
        if pinned == 0 {
            return Vec::new();
        }
        let is_old = |message: &&OutMessage| {
            message.log == log
                && message.position.segment < recent
                && !self.copies.contains_key(&{ message.id })
        };
        let count = self.out.iter().filter(is_old).count();
        if count == 0 || pinned < PINNED_FACTOR * count as u64 {
            return Vec::new();
        }
        let mut stragglers: Vec<_> = self.out.iter().filter(is_old).copied().collect();
        stragglers.sort_unstable_by_key(|message| message.sequence);
        stragglers.truncate(BATCH_MESSAGES);
        stragglers
    }

    fn copy(&mut self, log: LogKind, stragglers: &[OutMessage], now: Now) {
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
        let Some(source) = self.source_mut(log) else {
            return;
        };
        let mut found = Vec::new();
        let mut bytes = 0;
        for straggler in stragglers {
            if bytes >= BATCH_BYTES {
                break;
            }
            // What cannot be read now stays where it is; delivery will find out what is wrong with it.
            if let Ok(record) = source.reader.read(straggler.sequence, straggler.position) {
                bytes += record.body.len();
                found.push((*straggler, record.timestamp, record.body.to_vec()));
            }
        }
        let notes = found
            .iter()
            .map(|(message, ..)| Note::of(message, due_of(message, now)));
        let notes: Vec<_> = notes.collect();
        // First the notes: a copy without one could not be told from its original.
        self.take_note(&notes, now);
        let records = found.iter().map(|(message, timestamp, body)| NewRecord {
            id: message.id,
            timestamp: *timestamp,
            due: due_of(message, now),
            attempts: message.attempts,
            body,
        });
        let Some(private) = &mut self.private else {
            return;
        };
        let mut left = match private.writer.append(records) {
            Ok(range) => range,
            Err(error) => {
                tracing::error!("old messages cannot be moved out of the way: {error}");
                return;
            }
        };
        while !left.is_empty() {
            match private.source.reader.next(&mut private.source.cursor) {
                Ok(Some(record)) => {
                    let copy = Copied {
                        sequence: record.sequence,
                        position: record.position,
                        attempts: record.attempts,
                        due: record.due,
                    };
                    self.copies.insert(record.id, copy);
                    left.start = record.sequence + 1;
                }
                Ok(None) | Err(ReadError::Damaged { .. } | ReadError::Io { .. }) => break,
            }
        }
        // A copy that cannot be found is none.
        for sequence in left {
            let _ = private.source.marks.mark(sequence);
        }
        private.source.cursor = private.writer.end();
    }

    /// Lets the copies that are on the disk take the place of their originals.
    pub(super) fn adopt_copies(&mut self, now: Now) {
        let Some(private) = &self.private else {
            return;
        };
        let safe = match self.store.folder {
            Some(_) => private.writer.log().synced_sequence(),
            None => u64::MAX,
        };
        let adopted: Vec<_> = self
            .copies
            .extract_if(|_, copy| copy.sequence < safe)
            .collect();
        let mut done_with = Vec::new();
        let mut notes = Vec::new();
        for (id, copy) in adopted {
            let Some(original) = self.out.find(id).copied() else {
                done_with.push((LogKind::Private, copy.sequence));
                continue;
            };
            done_with.push((original.log, original.sequence));
            self.out
                .relocate(id, LogKind::Private, copy.sequence, copy.position);
            let due = due_of(&original, now);
            if (original.attempts, due) != (copy.attempts, copy.due)
                && let Some(moved) = self.out.find(id)
            {
                notes.push(Note::of(moved, due));
            }
        }
        // Before the marks, or a kill in between would bring back what the copies say.
        self.take_note(&notes, now);
        for (log, sequence) in done_with {
            self.mark(log, sequence);
        }
    }
}
