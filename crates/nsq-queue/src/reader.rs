//! Reading records, in order or at a known place.

use std::ops::Range;
use std::sync::Arc;

use crate::error::FileError;
use crate::header::HEADER_BYTES;
use crate::record::{self, ALIGNMENT, Parsed};
use crate::segment::{Bytes, Segment};
use crate::{Cursor, Log, Position, ReadError, Record};

/// Reads one log. Keeps the segments it read last, so that records in a row cost no look-up.
#[derive(Clone, Debug)]
pub struct Reader {
    log: Arc<Log>,
    /// Where [`next`](Self::next) reads.
    current: Option<Held>,
    /// Where [`read`](Self::read) reads, often far behind.
    other: Option<Held>,
}

#[derive(Clone, Debug)]
struct Held {
    segment: Arc<Segment>,
    bytes: Bytes,
}

impl Reader {
    /// A reader that holds nothing yet.
    pub fn new(log: Arc<Log>) -> Self {
        Self {
            log,
            current: None,
            other: None,
        }
    }

    /// The log it reads.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// The record at `cursor`, which moves after it; `None` at the end of the log.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] when records were lost: the cursor is behind them then. With
    /// [`ReadError::Io`] it stays where it was.
    pub fn next(&mut self, cursor: &mut Cursor) -> Result<Option<Record<'_>>, ReadError> {
        let end = self.log.end_sequence();
        if cursor.sequence >= end {
            return Ok(None);
        }
        let current = enter(&self.log, &mut self.current, cursor)?;
        let readable = current.bytes.up_to(current.segment.written());
        let seed = current.segment.header.seed;
        let one = |sequence| sequence..sequence + 1;
        let here =
            |at: &Cursor| record::parse(readable, at.position.offset, seed, &one(at.sequence));
        let parsed = match here(cursor) {
            Some(parsed) => parsed,
            None => skip(current, cursor, end)?,
        };
        let position = cursor.position;
        cursor.sequence += 1;
        cursor.position.offset = parsed.end;
        Ok(Some(parsed.record(readable, position)))
    }

    /// The record that begins at `position`, as `next` or `seek` told it.
    ///
    /// # Errors
    /// As [`next`](Self::next); `Damaged` names this record alone.
    pub fn read(&mut self, sequence: u64, position: Position) -> Result<Record<'_>, ReadError> {
        let lost = |position| ReadError::Damaged {
            sequences: sequence..sequence + 1,
            position,
        };
        if !(self.log.first_sequence()..self.log.end_sequence()).contains(&sequence) {
            return Err(lost(position));
        }
        let mut cursor = Cursor { sequence, position };
        let is_current = self
            .current
            .as_ref()
            .is_some_and(|held| held.segment.ordinal() == position.segment);
        let slot = if is_current {
            &mut self.current
        } else {
            &mut self.other
        };
        let held = match enter(&self.log, slot, &mut cursor) {
            Err(ReadError::Damaged { position, .. }) => return Err(lost(position)),
            entered => entered?,
        };
        let readable = held.bytes.up_to(held.segment.written());
        let seed = held.segment.header.seed;
        let one = sequence..sequence + 1;
        let at = cursor.position;
        match record::parse(readable, at.offset, seed, &one) {
            Some(parsed) => Ok(parsed.record(readable, at)),
            None if held.bytes.has_faulted() => Err(held.segment.fault().into()),
            None => Err(lost(at)),
        }
    }

    /// Releases files and memory until the next read.
    pub fn rest(&mut self) {
        self.current = None;
        self.other = None;
    }
}

/// Makes `slot` hold the segment of the cursor's record, and the cursor point into it. The sequence is
/// below the log's end.
fn enter<'a>(
    log: &Log,
    slot: &'a mut Option<Held>,
    cursor: &mut Cursor,
) -> Result<&'a mut Held, ReadError> {
    let fits = |held: &Held| {
        let sequences = held.segment.base()..held.segment.end_sequence();
        held.segment.ordinal() == cursor.position.segment && sequences.contains(&cursor.sequence)
    };
    // A map that has faulted is read once more from the file.
    if !slot
        .as_ref()
        .is_some_and(|held| fits(held) && !held.bytes.has_faulted())
    {
        // Let go of the old one first: a faulted map would be handed out again, a freed file kept.
        *slot = None;
        *slot = Some(look_up(log, cursor)?);
    }
    let held = slot.as_mut().expect("just filled");
    let offset = cursor.position.offset;
    if cursor.position.segment != held.segment.ordinal()
        || offset < HEADER_BYTES
        || !offset.is_multiple_of(ALIGNMENT)
    {
        let offset = held.segment.find(&held.bytes, cursor.sequence);
        if held.bytes.has_faulted() {
            return Err(held.segment.fault().into());
        }
        cursor.position = Position {
            segment: held.segment.ordinal(),
            offset,
        };
    }
    Ok(held)
}

/// The segment of the cursor's record. What lies before the log's first segment was released, and the
/// cursor moves over it; a gap between segments is damage.
fn look_up(log: &Log, cursor: &mut Cursor) -> Result<Held, ReadError> {
    let nothing = || FileError {
        act: "find a segment of",
        path: log.folder.clone().unwrap_or_default(),
        source: std::io::ErrorKind::NotFound.into(),
    };
    let segment = log.segment_for(cursor.sequence).ok_or_else(nothing)?;
    cursor.sequence = cursor.sequence.max(segment.base());
    if cursor.sequence >= segment.end_sequence() {
        let next = log.segment_behind(cursor.sequence).ok_or_else(nothing)?;
        return Err(lose(cursor, next.base(), begin_of(&next)));
    }
    let bytes = segment.bytes()?;
    Ok(Held { segment, bytes })
}

/// Moves the cursor over what cannot be read in its segment. Should nothing but its position have been
/// wrong, that is the record it meant.
fn skip(held: &Held, cursor: &mut Cursor, end: u64) -> Result<Parsed, ReadError> {
    let segment = &held.segment;
    let expected = cursor.sequence..segment.end_sequence();
    let written = segment.written();
    let readable = held.bytes.up_to(written);
    let found = segment.next_whole(readable, cursor.position.offset, &expected);
    if held.bytes.has_faulted() {
        return Err(segment.fault().into());
    }
    let at = |offset| Position {
        segment: segment.ordinal(),
        offset,
    };
    match found {
        Some((offset, parsed)) if parsed.sequence == cursor.sequence => {
            cursor.position = at(offset);
            Ok(parsed)
        }
        Some((offset, parsed)) => Err(lose(cursor, parsed.sequence, at(offset))),
        // Nothing more in this segment: continue with the next, if there is one.
        None => Err(lose(cursor, segment.end_sequence().min(end), at(written))),
    }
}

fn lose(cursor: &mut Cursor, resumed: u64, at: Position) -> ReadError {
    let position = cursor.position;
    let sequences: Range<u64> = cursor.sequence..resumed;
    *cursor = Cursor {
        sequence: resumed,
        position: at,
    };
    ReadError::Damaged {
        sequences,
        position,
    }
}

fn begin_of(segment: &Segment) -> Position {
    Position {
        segment: segment.ordinal(),
        offset: HEADER_BYTES,
    }
}
