//! One log as a channel reads it: a cursor, and the set of the records it has finished.
//!
//! Only the finished set is kept on disk. After a restart the cursor begins again at the floor and passes over the
//! finished records, so that exactly the unfinished ones are delivered again.

use std::ops::Range;
use std::sync::Arc;

use nsq_queue::{Cursor, Log, LogError, Position, ReadError, Reader, Record};

use super::logs::{log_stall, log_unfinished};
use super::progress::Progress;

pub(crate) struct Source {
    pub(crate) reader: Reader,
    /// The next record to be taken.
    pub(crate) cursor: Cursor,
    pub(crate) finished: Progress,
    log: Arc<Log>,
    /// Records between the cursor and the end that are finished or tracked already; there are some only after a restart.
    /// Those below the floor are among them: the floor may overtake the cursor.
    pub(crate) ahead_count: u64,
    /// How many records could not be read, since start.
    pub(crate) damaged_count: u64,
}

/// One step of the cursor.
pub(crate) enum Step<'a> {
    /// The next unfinished record.
    Record(Record<'a>),
    /// A record that is finished, or records that are lost, were passed over: take another step.
    Skipped,
    End,
    /// The log cannot be read now; nothing was skipped.
    Stalled,
}

impl Source {
    /// A source whose cursor stands at the floor, with everything up to `end` ahead of it.
    pub(crate) fn new(log: Arc<Log>, mut finished: Progress, end: u64) -> Source {
        // Not recorded: what is missing here may be whole elsewhere.
        if let Err(error) = finished.skip(0..log.first_sequence()) {
            log_unfinished(&error);
        }
        let cursor = log.seek(finished.floor());
        // Count to the log's end too: a machine crash may have lost the topic's record of how far it was offered.
        let end = end.max(log.end_sequence()).max(finished.floor());
        let ahead_count = finished.count_finished(finished.floor()..end);
        Source {
            reader: Reader::new(Arc::clone(&log)),
            cursor,
            finished,
            log,
            ahead_count,
            damaged_count: 0,
        }
    }

    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// How many records up to `end` the cursor has before it, less those that are finished or tracked.
    #[inline]
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
            finished,
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
                if *ahead_count > 0 && finished.is_finished(record.sequence) {
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
                skip_damage(sequences, position, finished, ahead_count, damaged_count);
                Step::Skipped
            }
            Err(error @ ReadError::Io { .. }) => {
                log_stall(&error);
                Step::Stalled
            }
        }
    }

    /// When the next unfinished record below `end` was published. The cursor stays where it is. After a restart, when
    /// finished records lie ahead, only the first of them are passed over.
    pub(crate) fn next_published(&mut self, end: u64) -> Option<i64> {
        if self.behind(end) == 0 {
            return None;
        }
        let mut cursor = self.cursor;
        let mut found = None;
        for _ in 0..MOST_PASSED_OVER {
            if cursor.sequence >= end {
                break;
            }
            let Ok(Some(record)) = self.reader.next(&mut cursor) else {
                break;
            };
            found = Some(record.timestamp);
            if self.ahead_count == 0 || !self.finished.is_finished(record.sequence) {
                break;
            }
        }
        found
    }

    /// Finishes records that the cursor has before it, without recording it.
    pub(crate) fn skip(&mut self, sequences: Range<u64>) -> Result<(), LogError> {
        let sequences = sequences.start.max(self.cursor.sequence)..sequences.end;
        if sequences.is_empty() {
            return Ok(());
        }
        let known = self.finished.count_finished(sequences.clone());
        self.ahead_count += sequences.end - sequences.start - known;
        self.finished.skip(sequences)
    }

    /// Moves the cursor on to `sequence`, which lies ahead; the records between count as finished.
    pub(crate) fn jump(&mut self, sequence: u64) {
        self.finished.set_floor(sequence);
        self.cursor = self.log.seek(sequence);
        self.ahead_count = 0;
        self.reader.rest();
    }
}

/// Counts damaged records as finished: no client can ever have them.
#[cold]
fn skip_damage(
    sequences: Range<u64>,
    position: Position,
    finished: &mut Progress,
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
    *ahead_count = ahead_count.saturating_sub(finished.count_finished(sequences.clone()));
    for sequence in sequences {
        *damaged_count += u64::from(!finished.is_finished(sequence));
        // A bit that cannot be written costs a second look after a restart, no more.
        let _ = finished.finish_damaged(sequence);
    }
}

/// Finished records that a look at the next message passes over.
const MOST_PASSED_OVER: u32 = 64;
