//! Compaction: messages that stay unfinished for long must not keep whole segments from being freed.
//!
//! When the messages that pin old segments of a log are few in proportion to the records pinned, they are copied to the
//! end of the channel's private log; once the copies are on the disk, the originals are finished. So disk use stays
//! within a small factor of the unfinished messages. The private log's own old segments are treated the same.
//!
//! Until a copy is adopted the original counts. The message is journaled before it is copied: after a kill the entry
//! says where the message lies, and the copy, found second, is dropped.

use hashbrown::HashMap;
use nsq_queue::{LogError, NewRecord, Position, ReadError};

use super::journal::JournalEntry;
use super::logs::{ChannelLog, Lookup};
use super::tracked_message::{LogKind, TrackedMessage};
use super::{Channel, due_of};
use crate::time::Now;

/// Records pinned for each tracked message, before it pays to copy.
const PINNED_FACTOR: u64 = 4;
/// Segments a channel may pin however few messages they hold: the one being read, and the one before.
const FREE_SEGMENTS: u32 = 2;
/// The most messages copied from a log at once, so that a channel is never locked for long.
const BATCH_MESSAGES: usize = 4096;
/// The same in bytes of bodies; the message that goes beyond it is still copied.
const BATCH_BYTES: usize = 16 << 20;

/// Where in the private log a message's copy lies.
#[derive(Debug, Clone, Copy)]
struct Copied {
    sequence: u64,
    position: Position,
    /// What the copy says of the message.
    attempts: u16,
    due: i64,
}

/// The copies that a machine crash may still take, by message id: until it cannot, the originals count.
#[derive(Debug, Default)]
pub(super) struct Copies {
    by_id: HashMap<u64, Copied>,
}

impl Copies {
    pub(super) fn contains(&self, id: u64) -> bool {
        self.by_id.contains_key(&id)
    }

    /// Forgets the copy of a message that is finished. Returns its sequence in the private log.
    #[inline]
    pub(super) fn take(&mut self, id: u64) -> Option<u64> {
        if self.by_id.is_empty() {
            return None;
        }
        self.by_id.remove(&id).map(|copy| copy.sequence)
    }

    pub(super) fn clear(&mut self) {
        self.by_id.clear();
    }
}

impl Channel {
    pub(super) fn compact(&mut self, now: Now) {
        for kind in LogKind::ALL {
            let pinning = self.find_pinning(kind);
            if !pinning.is_empty()
                && let Err(error) = self.copy(&pinning, now)
            {
                tracing::error!("cannot copy old messages to free their segments: {error}");
            }
        }
    }

    /// The messages that pin old segments of a log, oldest first, if they are worth moving.
    fn find_pinning(&self, kind: LogKind) -> Vec<TrackedMessage> {
        let Some(recent) = self.logs.get(kind).and_then(oldest_free_segment) else {
            return Vec::new();
        };
        let is_old = |message: &&TrackedMessage| {
            message.log == kind
                && message.position.segment < recent.segment
                && !self.copies.contains(message.id)
        };
        let count = self.tracked.iter().filter(is_old).count();
        if count == 0 || recent.pinned_count < PINNED_FACTOR * count as u64 {
            return Vec::new();
        }
        let mut pinning: Vec<_> = self.tracked.iter().filter(is_old).copied().collect();
        pinning.sort_unstable_by_key(|message| message.sequence);
        pinning.truncate(BATCH_MESSAGES);
        pinning
    }

    fn copy(&mut self, pinning: &[TrackedMessage], now: Now) -> Result<(), LogError> {
        self.open_private()?;
        let mut found = Vec::new();
        let mut bytes = 0;
        for message in pinning {
            if bytes >= BATCH_BYTES {
                break;
            }
            match self.logs.read(message) {
                Lookup::Found(record) => {
                    bytes += record.body.len();
                    found.push((*message, record.timestamp, record.body.to_vec()));
                }
                Lookup::Lost => {
                    self.tracked.remove(message.id);
                }
                // It stays where it is. Deliveries continue: they may not need this segment.
                Lookup::Stalled => {}
            }
        }
        // The journal first: without an entry a copy could not be told from its original.
        for (message, ..) in &found {
            let entry = JournalEntry::of(message, due_of(message, now));
            self.journal.add(entry, now);
        }
        self.journal.write(&self.store);
        let records = found.iter().map(|(message, timestamp, body)| NewRecord {
            id: message.id,
            timestamp: *timestamp,
            due: due_of(message, now),
            attempts: message.attempts,
            body,
        });
        let Some(ChannelLog {
            source,
            writer: Some(writer),
            ..
        }) = self.logs.get_mut(LogKind::Private)
        else {
            return Ok(());
        };
        let recorder = self.store.recorder.as_ref();
        let data_path = &self.store.data_path;
        let mut left = data_path.append(LogKind::Private, writer, records, recorder)?;
        while !left.is_empty() {
            match source.reader.next(&mut source.cursor) {
                Ok(Some(record)) => {
                    let copy = Copied {
                        sequence: record.sequence,
                        position: record.position,
                        attempts: record.attempts,
                        due: record.due,
                    };
                    self.copies.by_id.insert(record.id, copy);
                    left.start = record.sequence + 1;
                }
                Ok(None) | Err(ReadError::Damaged { .. } | ReadError::Io { .. }) => break,
            }
        }
        // A copy that cannot be read is none.
        for sequence in left {
            let _ = source.finished.finish(sequence);
        }
        source.cursor = writer.end();
        Ok(())
    }

    /// Lets the copies that are on the disk take the place of their originals.
    pub(super) fn adopt_copies(&mut self, now: Now) {
        let Some(log) = self
            .logs
            .get(LogKind::Private)
            .and_then(ChannelLog::own_log)
        else {
            return;
        };
        let safe = if self.store.folder.is_some() {
            log.synced_sequence()
        } else {
            u64::MAX
        };
        let is_safe = |_: &u64, copy: &mut Copied| copy.sequence < safe;
        let adopted: Vec<_> = self.copies.by_id.extract_if(is_safe).collect();
        let mut finished = Vec::new();
        for (id, copy) in adopted {
            let Some(original) = self.tracked.find(id).copied() else {
                finished.push((LogKind::Private, copy.sequence));
                continue;
            };
            finished.push((original.log, original.sequence));
            self.tracked
                .relocate(id, LogKind::Private, copy.sequence, copy.position);
            let due = due_of(&original, now);
            if (original.attempts, due) != (copy.attempts, copy.due)
                && let Some(moved) = self.tracked.find(id)
            {
                self.journal.add(JournalEntry::of(moved, due), now);
            }
        }
        // Before the originals are finished, or a kill in between would bring back what the copies say.
        self.journal.write(&self.store);
        for (kind, sequence) in finished {
            self.logs.finish(kind, sequence);
        }
    }
}

/// The oldest segment that a channel may pin, and how many records it pins before that.
struct OldestFree {
    segment: u32,
    pinned_count: u64,
}

/// `None` when the channel pins no older segment.
fn oldest_free_segment(log: &ChannelLog) -> Option<OldestFree> {
    let source = &log.source;
    let last = source.cursor.position.segment;
    let segment = (last + 1).checked_sub(FREE_SEGMENTS)?;
    let base = source.log().segment_base(segment)?;
    let pinned_count = base.saturating_sub(source.finished.floor());
    (pinned_count > 0).then_some(OldestFree {
        segment,
        pinned_count,
    })
}
