//! A look at messages that takes none of them: no cursor moves, nothing is counted, no one has to wait.
//!
//! Where the messages lie is noted under the lock of their channel or topic, which takes no longer for a longer
//! queue; what they say is read from the log after it. So a look is a picture of one moment, and what was finished and
//! freed between the two is left out.

use std::sync::Arc;

use nsq_protocol::MessageId;
use nsq_queue::{Cursor, Log, Position, ReadError, Reader, Record};

use crate::client::ClientId;

/// The most that a look may show.
#[derive(Debug, Clone, Copy)]
pub struct PeekLimits {
    /// Messages of each kind.
    pub messages: usize,
    /// Bytes of each body.
    pub body_bytes: usize,
}

/// Messages of a channel, or of a topic that waits for its first channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peek {
    /// How many messages a client could have now.
    pub queued_total: u64,
    /// How many are in flight.
    pub in_flight_total: u64,
    /// How many are deferred.
    pub deferred_total: u64,
    /// The next ones a client will get, in order.
    pub queued: Vec<PeekedMessage>,
    /// Those whose timeout comes soonest.
    pub in_flight: Vec<InFlightMessage>,
    /// Those that are due soonest.
    pub deferred: Vec<DeferredMessage>,
}

/// One message that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeekedMessage {
    /// Its id.
    pub id: MessageId,
    /// When it was published, in unix nanoseconds.
    pub timestamp: i64,
    /// How often it has been delivered so far.
    pub attempts: u16,
    /// Its body, or the beginning of it.
    pub body: Vec<u8>,
    /// All of its body.
    pub body_bytes: usize,
}

/// A message that a client holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlightMessage {
    /// The message.
    pub message: PeekedMessage,
    /// Who holds it; it may have gone since.
    pub client: ClientId,
    /// When the client got it, in unix nanoseconds.
    pub delivered_at: i64,
    /// When it is taken back, in unix nanoseconds.
    pub due_at: i64,
}

/// A message that is held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeferredMessage {
    /// The message.
    pub message: PeekedMessage,
    /// When a client may have it, in unix nanoseconds.
    pub due_at: i64,
}

/// Bytes of bodies read for one list, whatever is shown of them: a record is checked as a whole. With bodies of 1 MiB
/// this is still the usual count.
const READ_BYTES: usize = 24 << 20;
/// Records that are rather walked over than jumped.
const WALK_RECORDS: u64 = 1024;
/// What a jump counts for, since it walks through a part of a segment.
const JUMP_BYTES: usize = 4 << 20;

/// Reads one log for one list.
pub(crate) struct PeekReader {
    reader: Reader,
    body_bytes: usize,
    left_bytes: usize,
}

impl PeekReader {
    pub(crate) fn new(log: &Arc<Log>, limits: PeekLimits) -> PeekReader {
        PeekReader {
            reader: Reader::new(Arc::clone(log)),
            body_bytes: limits.body_bytes,
            left_bytes: READ_BYTES,
        }
    }

    /// The message of a known record. `None` when it is gone or cannot be read, or enough was read.
    pub(crate) fn read(
        &mut self,
        sequence: u64,
        position: Position,
        attempts: u16,
    ) -> Option<PeekedMessage> {
        self.charge(0)?;
        let record = self.reader.read(sequence, position).ok()?;
        let message = peeked(&record, attempts, self.body_bytes);
        self.charge(message.body_bytes);
        Some(message)
    }

    /// The records of `sequences`, which ascend from `cursor` on, with their due times.
    pub(crate) fn read_on(
        &mut self,
        mut cursor: Cursor,
        sequences: impl IntoIterator<Item = u64>,
    ) -> Vec<(PeekedMessage, i64)> {
        let mut found = Vec::new();
        let mut wanted = sequences.into_iter().peekable();
        while let Some(&next) = wanted.peek() {
            let log = self.reader.log();
            if next.saturating_sub(cursor.sequence) > WALK_RECORDS {
                cursor = log.seek(next);
                self.charge(JUMP_BYTES);
            }
            if self.charge(0).is_none() {
                break;
            }
            let record = match self.reader.next(&mut cursor) {
                Ok(Some(record)) => record,
                Ok(None) | Err(ReadError::Io { .. }) => break,
                // The cursor is behind what was lost now.
                Err(ReadError::Damaged { .. }) => {
                    while wanted.next_if(|&lost| lost < cursor.sequence).is_some() {}
                    continue;
                }
            };
            let sequence = record.sequence;
            while wanted.next_if(|&gone| gone < sequence).is_some() {}
            let body_bytes = record.body.len();
            if wanted.next_if_eq(&sequence).is_some() {
                let due = record.due;
                found.push((peeked(&record, record.attempts, self.body_bytes), due));
            }
            self.charge(body_bytes);
        }
        found
    }

    /// Counts what was read. `None` when it is enough.
    fn charge(&mut self, bytes: usize) -> Option<()> {
        self.left_bytes = self.left_bytes.saturating_sub(bytes);
        (self.left_bytes > 0).then_some(())
    }
}

fn peeked(record: &Record<'_>, attempts: u16, body_bytes: usize) -> PeekedMessage {
    PeekedMessage {
        id: MessageId::from_u64(record.id),
        timestamp: record.timestamp,
        attempts,
        body: record.body[..record.body.len().min(body_bytes)].to_vec(),
        body_bytes: record.body.len(),
    }
}
