//! Message ids: upstream's layout, made without ever waiting.
//!
//! Invariant: a generator never returns the same id twice, and its ids only grow, whatever the clock does.

use std::sync::Arc;

use nsq_protocol::MessageId;
use nsq_queue::{Log, ReadError, Reader, Writer};

/// Ids from here on are not of upstream's form: its are positive as signed numbers. Ours never come so far.
pub(crate) const FIRST_FOREIGN_ID: u64 = 1 << 63;

/// Upstream's start of time, in units of 2^20 nanoseconds (`nsqEpoch`, guid.go).
const EPOCH: i64 = 1_288_834_974_288;
const NODE_BITS: u32 = 10;
const SEQUENCE_BITS: u32 = 12;
const SEQUENCE_MASK: u64 = (1 << SEQUENCE_BITS) - 1;

/// Makes the ids of one topic.
///
/// Shape: `(time << 22) | (node << 12) | sequence`, where time is the wall clock in units of 2^20 ns since `EPOCH`.
/// Source: `guidFactory`, nsq 1.3.0, nsqd/guid.go. Upstream sleeps when the clock goes back or 4096 ids of one unit
/// are used up; here the time part runs ahead of the clock instead, so publishing never blocks.
#[derive(Debug)]
pub struct IdGenerator {
    node: u64,
    time: u64,
    sequence: u64,
}

impl IdGenerator {
    /// A generator for node `node_id` (0..1024) whose ids are all larger than `last`, where one is known.
    pub fn after(node_id: u16, last: Option<MessageId>) -> IdGenerator {
        let time = last.map_or(0, |id| (id.as_u64() >> (NODE_BITS + SEQUENCE_BITS)) + 1);
        IdGenerator {
            node: u64::from(node_id) & ((1 << NODE_BITS) - 1),
            time,
            sequence: 0,
        }
    }

    /// From now on all ids are larger than this one too.
    pub fn stay_above(&mut self, id: MessageId) {
        if id.as_u64() >= self.least_next() {
            self.time = (id.as_u64() >> (NODE_BITS + SEQUENCE_BITS)) + 1;
            self.sequence = 0;
        }
    }

    /// The lowest id that the next one may be.
    #[inline]
    fn least_next(&self) -> u64 {
        (self.time << (NODE_BITS + SEQUENCE_BITS)) | (self.node << SEQUENCE_BITS) | self.sequence
    }

    /// The next id, with the wall clock at `unix_nanos`.
    #[inline]
    pub fn next(&mut self, unix_nanos: i64) -> MessageId {
        let time = u64::try_from((unix_nanos >> 20) - EPOCH).unwrap_or(0);
        if time > self.time {
            self.time = time;
            self.sequence = 0;
        }
        let id = self.least_next();
        self.sequence = (self.sequence + 1) & SEQUENCE_MASK;
        if self.sequence == 0 {
            self.time += 1;
        }
        MessageId::from_u64(id)
    }
}

/// The highest id among the last records that can be read. After a machine crash the very last may be gone: then those
/// before are asked, farther and farther back, since an id given twice costs the second message.
pub(crate) fn last_id(writer: &Writer) -> Option<MessageId> {
    last_id_in(writer.log())
}

/// The same of a log that is only read.
pub(crate) fn last_id_in(log: &Arc<Log>) -> Option<MessageId> {
    let (first, end) = (log.first_sequence(), log.end_sequence());
    if first == end {
        return None;
    }
    let mut reader = Reader::new(Arc::clone(log));
    let mut distance = 1;
    loop {
        let start = end.saturating_sub(distance).max(first);
        let mut cursor = log.seek(start);
        let mut last = None;
        loop {
            match reader.next(&mut cursor) {
                // Above a foreign one there would be no room for ours.
                Ok(Some(record)) if record.id >= FIRST_FOREIGN_ID => {}
                Ok(Some(record)) => last = last.max(Some(record.id)),
                Err(ReadError::Damaged { .. }) => {}
                Ok(None) | Err(ReadError::Io(_)) => break,
            }
        }
        if last.is_some() || start == first {
            return last.map(MessageId::from_u64);
        }
        distance *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_700_000_000_000_000_000;

    #[test]
    fn ids_grow_when_the_clock_stands_still_or_goes_back() {
        let mut ids = IdGenerator::after(7, None);
        let mut last = ids.next(NOON);
        for step in 0..20_000 {
            let id = ids.next(NOON - step * 1_000_000);
            assert!(id.as_u64() > last.as_u64());
            last = id;
        }
    }

    #[test]
    fn a_restarted_generator_goes_on_behind_the_last_id() {
        let last = IdGenerator::after(1, None).next(NOON);
        let next = IdGenerator::after(1, Some(last)).next(NOON - 5_000_000_000);
        assert!(next.as_u64() > last.as_u64());
    }

    #[test]
    fn ids_that_it_made_itself_do_not_move_a_generator() {
        let mut ids = IdGenerator::after(7, None);
        let last = ids.next(NOON);
        ids.stay_above(last);
        assert_eq!(ids.next(NOON).as_u64(), last.as_u64() + 1);
        let ahead = IdGenerator::after(9, None).next(NOON + 5_000_000_000);
        ids.stay_above(ahead);
        assert!(ids.next(NOON).as_u64() > ahead.as_u64());
    }

    #[test]
    fn the_layout_is_upstreams() {
        let id = IdGenerator::after(513, None).next(NOON).as_u64();
        let time = u64::try_from((NOON >> 20) - EPOCH).unwrap();
        assert_eq!(id, (time << 22) | (513 << 12));
    }
}
