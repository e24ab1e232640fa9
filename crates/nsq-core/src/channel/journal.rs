//! The journal of a channel: the attempts and due times of messages that came back, which their records do not have.
//!
//! Each REQ and each timeout adds an entry to a log of the channel's own; on start the last entry of a message counts.
//! So a deferral by REQ survives a kill as one by DPUB does. A message in flight when nsqd is killed may come back with
//! one attempt too few: deliveries are not journaled.

use std::path::Path;
use std::sync::Arc;

use hashbrown::HashMap;
use nsq_queue::{Log, LogError, NewRecord, Position, ReadError, Reader, Writer};

use super::Store;
use super::tracked_message::{LogKind, TrackedMessage};
use crate::change::{Action, Journaled, Recorder};
use crate::time::Now;

/// The journal's log.
pub(super) const JOURNAL: &str = "notes";
/// Room for this many unwritten entries is kept.
const KEPT_ENTRIES: usize = 64;

/// The journal is rewritten once it has more than four times the living entries, and more than this many.
pub(crate) const REWRITE_FLOOR: u64 = 4096;
/// `[log u8][sequence u64][segment u32][offset u32]`, little-endian.
pub(crate) const BODY_BYTES: usize = 17;

/// The state of one message when it came back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JournalEntry {
    pub(crate) id: u64,
    pub(crate) log: LogKind,
    pub(crate) sequence: u64,
    pub(crate) position: Position,
    pub(crate) attempts: u16,
    /// Unix nanoseconds; 0 when the message was ready at once.
    pub(crate) due: i64,
}

impl JournalEntry {
    pub(crate) fn of(message: &TrackedMessage, due: i64) -> JournalEntry {
        JournalEntry {
            id: message.id,
            log: message.log,
            sequence: message.sequence,
            position: message.position,
            attempts: message.attempts,
            due,
        }
    }

    /// The entry as a follower gets it, which finds the place by itself.
    pub(super) fn to_record(self) -> Journaled {
        Journaled {
            id: self.id,
            log: self.log,
            sequence: self.sequence,
            attempts: self.attempts,
            due: self.due,
        }
    }

    /// An entry that does not know its message's place.
    pub(crate) fn of_record(entry: &Journaled) -> JournalEntry {
        JournalEntry {
            id: entry.id,
            log: entry.log,
            sequence: entry.sequence,
            position: Position::default(),
            attempts: entry.attempts,
            due: entry.due,
        }
    }

    pub(crate) fn body(&self) -> [u8; BODY_BYTES] {
        let mut body = [0; BODY_BYTES];
        body[0] = self.log as u8;
        body[1..9].copy_from_slice(&self.sequence.to_le_bytes());
        body[9..13].copy_from_slice(&self.position.segment.to_le_bytes());
        body[13..17].copy_from_slice(&self.position.offset.to_le_bytes());
        body
    }

    fn parse(id: u64, attempts: u16, due: i64, body: &[u8]) -> Option<JournalEntry> {
        let (&[log], rest) = body.split_first_chunk::<1>()?;
        let (&sequence, rest) = rest.split_first_chunk::<8>()?;
        let (&segment, rest) = rest.split_first_chunk::<4>()?;
        let (&offset, _) = rest.split_first_chunk::<4>()?;
        let position = Position {
            segment: u32::from_le_bytes(segment),
            offset: u32::from_le_bytes(offset),
        };
        let log = LogKind::from_index(log)?;
        Some(JournalEntry {
            id,
            log,
            sequence: u64::from_le_bytes(sequence),
            position,
            attempts,
            due,
        })
    }
}

/// The last entry of each message by its id.
pub(crate) fn read_journal(log: &Arc<Log>) -> HashMap<u64, JournalEntry> {
    let mut notes = HashMap::new();
    let mut reader = Reader::new(Arc::clone(log));
    let mut cursor = log.seek(log.first_sequence());
    loop {
        match reader.next(&mut cursor) {
            Ok(Some(record)) => {
                if let Some(note) =
                    JournalEntry::parse(record.id, record.attempts, record.due, record.body)
                {
                    notes.insert(note.id, note);
                }
            }
            // An entry that cannot be read might as well never have been made: its message comes back at once.
            Err(ReadError::Damaged { .. }) => {}
            Ok(None) | Err(ReadError::Io { .. }) => break,
        }
    }
    notes
}

/// The journal's log, once there is one.
struct Journal {
    writer: Writer,
    /// Entries since the last rewrite, and those it made.
    entry_count: u64,
    has_failed: bool,
    recorder: Option<Recorder>,
}

impl Journal {
    fn open(folder: &Path, store: &Store) -> Result<Journal, LogError> {
        let pool = Arc::clone(&store.pool);
        let (writer, _) = Writer::open(folder, JOURNAL, pool, store.log_options)?;
        Ok(Journal {
            entry_count: writer.end().sequence - writer.log().first_sequence(),
            writer,
            has_failed: false,
            recorder: store.recorder.clone(),
        })
    }

    /// Appends entries. A failure is logged once until it works again: the messages themselves are safe.
    fn append(&mut self, notes: &[JournalEntry], unix_nanos: i64) {
        if notes.is_empty() {
            return;
        }
        if let Some(recorder) = &self.recorder {
            let entries: Vec<_> = notes.iter().copied().map(JournalEntry::to_record).collect();
            recorder.record(Action::Journaled {
                unix_nanos,
                entries: &entries,
            });
        }
        let bodies: Vec<[u8; BODY_BYTES]> = notes.iter().map(JournalEntry::body).collect();
        let records = notes.iter().zip(&bodies).map(|(note, body)| NewRecord {
            id: note.id,
            timestamp: unix_nanos,
            due: note.due,
            attempts: note.attempts,
            body,
        });
        match self.writer.append(records) {
            Ok(_) => {
                self.has_failed = false;
                self.entry_count += notes.len() as u64;
            }
            Err(error) if !self.has_failed => {
                self.has_failed = true;
                tracing::error!("attempts and due times cannot be journaled: {error}");
            }
            Err(_) => {}
        }
    }

    /// Writes the entries that still count, and frees the older ones.
    fn rewrite(&mut self, notes: &[JournalEntry], unix_nanos: i64) {
        let start = self.writer.end().sequence;
        self.entry_count = 0;
        self.append(notes, unix_nanos);
        if !self.has_failed {
            self.writer.release_before(start);
        }
    }
}

/// The journal of one channel as the channel uses it: entries are collected during a batch of calls and written together
/// at its end. No file exists until the first is written, and none ever does for a channel in memory.
#[derive(Default)]
pub(super) struct JournalWriter {
    journal: Option<Journal>,
    unwritten: Vec<JournalEntry>,
    /// When the last of them was made, in unix nanoseconds.
    unwritten_at: i64,
}

impl JournalWriter {
    /// Opens the journal of an earlier run. Returns the last entry of each message by its id.
    pub(super) fn open(
        folder: &Path,
        store: &Store,
    ) -> Result<(JournalWriter, HashMap<u64, JournalEntry>), LogError> {
        let journal = Journal::open(folder, store)?;
        let entries = read_journal(journal.writer.log());
        let opened = JournalWriter {
            journal: Some(journal),
            ..JournalWriter::default()
        };
        Ok((opened, entries))
    }

    /// Adds an entry, to be written at the end of the batch.
    pub(super) fn add(&mut self, entry: JournalEntry, now: Now) {
        self.unwritten.push(entry);
        self.unwritten_at = now.unix_nanos;
    }

    /// Writes the entries of the batch.
    #[inline]
    pub(super) fn write(&mut self, store: &Store) {
        if !self.unwritten.is_empty() {
            self.write_some(store);
        }
    }

    fn write_some(&mut self, store: &Store) {
        if self.journal.is_none()
            && let Some(folder) = &store.folder
        {
            match Journal::open(folder, store) {
                Ok(journal) => self.journal = Some(journal),
                Err(error) => {
                    tracing::error!("attempts and due times cannot be journaled: {error}");
                }
            }
        }
        if let Some(journal) = &mut self.journal {
            journal.append(&self.unwritten, self.unwritten_at);
        }
        self.unwritten.clear();
        self.unwritten.shrink_to(KEPT_ENTRIES);
    }

    /// Whether most entries are out of date, while `living` messages are tracked.
    pub(super) fn wants_rewrite(&self, living: usize) -> bool {
        self.journal
            .as_ref()
            .is_some_and(|journal| journal.entry_count > REWRITE_FLOOR.max(4 * living as u64))
    }

    /// Replaces all entries, the unwritten ones too, by `living`.
    pub(super) fn replace(&mut self, living: Vec<JournalEntry>, store: &Store, now: Now) {
        self.unwritten.clear();
        if let Some(journal) = &mut self.journal {
            journal.rewrite(&living, now.unix_nanos);
        } else {
            self.unwritten = living;
            self.unwritten_at = now.unix_nanos;
            self.write(store);
        }
    }

    /// Releases memory that is not needed while nothing is written.
    pub(super) fn rest(&mut self) {
        if let Some(journal) = &mut self.journal {
            journal.writer.rest();
        }
    }

    /// Forgets everything, and touches no file.
    pub(super) fn discard(&mut self) {
        *self = JournalWriter::default();
    }

    pub(super) fn log(&self) -> Option<&Arc<Log>> {
        self.journal.as_ref().map(|journal| journal.writer.log())
    }
}
