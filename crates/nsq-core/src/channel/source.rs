//! One log as a channel reads it: a cursor, and marks for what it has finished.
//!
//! Only the marks are kept on disk. After a restart the cursor begins again at the floor and passes over what is
//! marked, so that exactly what was not finished is delivered again.

use std::ops::Range;
use std::sync::Arc;

use nsq_queue::{Cursor, Log, Marks, Position, ReadError, Reader, Record};

pub(crate) struct Source {
    pub(crate) reader: Reader,
    /// The next record to be taken.
    pub(crate) cursor: Cursor,
    pub(crate) marks: Marks,
    log: Arc<Log>,
    /// Records between the cursor and the end that are finished or out already; only after a restart.
    /// All that are finished below the floor are among them: the floor may overtake the cursor.
    pub(crate) ahead_count: u64,
    /// How many records could not be read, since start.
    pub(crate) damaged_count: u64,
}

/// What the cursor met.
pub(crate) enum Step<'a> {
    /// The next unfinished record.
    Record(Record<'a>),
    /// A record that is finished, or cannot be read: nothing to give, go on.
    Skipped,
    End,
    /// The log cannot be read now; nothing was skipped.
    Stalled(ReadError),
}

impl Source {
    /// A source whose cursor stands at the marks' floor, with everything up to `end` ahead of it.
    pub(crate) fn new(log: Arc<Log>, mut marks: Marks, end: u64) -> Source {
        if marks.floor() < log.first_sequence() {
            marks.set_floor(log.first_sequence());
        }
        let cursor = log.seek(marks.floor());
        // Behind the end too: a machine crash may have taken the topic's note of how far it was offered.
        let end = end.max(log.end_sequence()).max(marks.floor());
        let ahead_count = marks.count_marked(marks.floor()..end);
        Source {
            reader: Reader::new(Arc::clone(&log)),
            cursor,
            marks,
            log,
            ahead_count,
            damaged_count: 0,
        }
    }

    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// How many records up to `end` the cursor has before it, less those known to be done with.
    pub(crate) fn behind(&self, end: u64) -> u64 {
        end.saturating_sub(self.cursor.sequence)
            .saturating_sub(self.ahead_count)
    }

    /// Takes one step over the records below `end`.
    #[inline]
    pub(crate) fn next(&mut self, end: u64) -> Step<'_> {
        let Source {
            reader,
            cursor,
            marks,
            ahead_count,
            damaged_count,
            ..
        } = self;
        if cursor.sequence >= end {
            return Step::End;
        }
        let before = cursor.sequence;
        match reader.next(cursor) {
            Ok(Some(record)) => {
                // What lay before the log's first segment was finished, and is gone.
                *ahead_count = ahead_count.saturating_sub(record.sequence - before);
                if *ahead_count > 0 && marks.is_marked(record.sequence) {
                    *ahead_count -= 1;
                    return Step::Skipped;
                }
                Step::Record(record)
            }
            Ok(None) => Step::End,
            Err(ReadError::Damaged {
                sequences,
                position,
            }) => {
                *ahead_count = ahead_count.saturating_sub(sequences.start.saturating_sub(before));
                skip_damage(sequences, position, marks, ahead_count, damaged_count);
                Step::Skipped
            }
            Err(error @ ReadError::Io { .. }) => Step::Stalled(error),
        }
    }

    /// Moves the cursor on to `sequence`, which lies ahead; what is between counts as finished.
    pub(crate) fn jump(&mut self, sequence: u64) {
        self.marks.set_floor(sequence);
        self.cursor = self.log.seek(sequence);
        self.ahead_count = 0;
        self.reader.rest();
    }
}

/// Counts damaged records as finished: nobody can ever have them.
fn skip_damage(
    sequences: Range<u64>,
    position: Position,
    marks: &mut Marks,
    ahead_count: &mut u64,
    damaged_count: &mut u64,
) {
    tracing::error!(
        "records {} to {} at segment {} offset {} are damaged and are skipped",
        sequences.start,
        sequences.end.saturating_sub(1),
        position.segment,
        position.offset
    );
    *ahead_count = ahead_count.saturating_sub(marks.count_marked(sequences.clone()));
    for sequence in sequences {
        *damaged_count += u64::from(!marks.is_marked(sequence));
        // A mark that cannot be written costs a second look after a restart, no more.
        let _ = marks.mark(sequence);
    }
}
