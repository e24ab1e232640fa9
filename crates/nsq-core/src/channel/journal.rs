//! What a channel must remember of messages that came back, beyond "not finished": attempts and due times.
//!
//! Each REQ and each timeout appends a note to a log of the channel's own; on start the last note of a message counts.
//! So a deferral by REQ survives a kill like one by DPUB does. A message in flight when nsqd is killed may come back
//! with one attempt too few: its delivery was not noted.

use std::path::Path;
use std::sync::Arc;

use hashbrown::HashMap;
use nsq_queue::{
    Log, LogError, LogOptions, NewRecord, Position, ReadError, Reader, SegmentPool, Writer,
};

use super::out_message::{LogKind, OutMessage};

/// Notes beyond four times the living ones, and this many, are worth rewriting.
const REWRITE_FLOOR: u64 = 4096;
/// `[log u8][sequence u64][segment u32][offset u32]`, little-endian.
const BODY_BYTES: usize = 17;

/// The last note of one message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Note {
    pub(crate) id: u64,
    pub(crate) log: LogKind,
    pub(crate) sequence: u64,
    pub(crate) position: Position,
    pub(crate) attempts: u16,
    /// Unix nanoseconds; 0 when the message was ready at once.
    pub(crate) due: i64,
}

impl Note {
    pub(crate) fn of(message: &OutMessage, due: i64) -> Note {
        Note {
            id: message.id,
            log: message.log,
            sequence: message.sequence,
            position: message.position,
            attempts: message.attempts,
            due,
        }
    }

    fn body(&self) -> [u8; BODY_BYTES] {
        let mut body = [0; BODY_BYTES];
        body[0] = self.log as u8;
        body[1..9].copy_from_slice(&self.sequence.to_le_bytes());
        body[9..13].copy_from_slice(&self.position.segment.to_le_bytes());
        body[13..17].copy_from_slice(&self.position.offset.to_le_bytes());
        body
    }

    fn parse(id: u64, attempts: u16, due: i64, body: &[u8]) -> Option<Note> {
        let (&[log], rest) = body.split_first_chunk::<1>()?;
        let (&sequence, rest) = rest.split_first_chunk::<8>()?;
        let (&segment, rest) = rest.split_first_chunk::<4>()?;
        let (&offset, _) = rest.split_first_chunk::<4>()?;
        let position = Position {
            segment: u32::from_le_bytes(segment),
            offset: u32::from_le_bytes(offset),
        };
        let log = LogKind::from_index(log)?;
        Some(Note {
            id,
            log,
            sequence: u64::from_le_bytes(sequence),
            position,
            attempts,
            due,
        })
    }
}

/// The last note of each message by its id.
pub(crate) fn read_notes(log: &Arc<Log>) -> HashMap<u64, Note> {
    let mut notes = HashMap::new();
    let mut reader = Reader::new(Arc::clone(log));
    let mut cursor = log.seek(log.first_sequence());
    loop {
        match reader.next(&mut cursor) {
            Ok(Some(record)) => {
                if let Some(note) = Note::parse(record.id, record.attempts, record.due, record.body)
                {
                    notes.insert(note.id, note);
                }
            }
            // A note that cannot be read is one that was never made: its message comes back at once.
            Err(ReadError::Damaged { .. }) => {}
            Ok(None) | Err(ReadError::Io { .. }) => break,
        }
    }
    notes
}

/// The notes of one channel; no file exists until the first.
pub(crate) struct Journal {
    writer: Writer,
    /// Notes since the last rewrite, and those it made.
    note_count: u64,
    has_failed: bool,
}

impl Journal {
    /// Opens the journal in the channel's folder, with the last note of each message by its id.
    pub(crate) fn open(
        folder: &Path,
        pool: &Arc<SegmentPool>,
        options: LogOptions,
    ) -> Result<(Journal, HashMap<u64, Note>), LogError> {
        let (writer, _) = Writer::open(folder, "notes", Arc::clone(pool), options)?;
        let notes = read_notes(writer.log());
        let note_count = writer.end().sequence - writer.log().first_sequence();
        Ok((
            Journal {
                writer,
                note_count,
                has_failed: false,
            },
            notes,
        ))
    }

    /// Adds notes. A failure is logged once until it works again: the messages themselves are safe.
    pub(crate) fn add(&mut self, notes: &[Note], unix_nanos: i64) {
        if notes.is_empty() {
            return;
        }
        let bodies: Vec<[u8; BODY_BYTES]> = notes.iter().map(Note::body).collect();
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
                self.note_count += notes.len() as u64;
            }
            Err(error) if !self.has_failed => {
                self.has_failed = true;
                tracing::error!("attempts and due times cannot be noted: {error}");
            }
            Err(_) => {}
        }
    }

    /// Whether most notes are out of date, with `live` messages out.
    pub(crate) fn wants_rewrite(&self, live: usize) -> bool {
        self.note_count > REWRITE_FLOOR.max(4 * live as u64)
    }

    /// Writes the notes that still count, and frees the older ones.
    pub(crate) fn rewrite(&mut self, notes: &[Note], unix_nanos: i64) {
        let start = self.writer.end().sequence;
        self.note_count = 0;
        self.add(notes, unix_nanos);
        if !self.has_failed {
            self.writer.release_before(start);
        }
    }

    pub(crate) fn rest(&mut self) {
        self.writer.rest();
    }

    pub(crate) fn log(&self) -> &Arc<Log> {
        self.writer.log()
    }
}
