//! What every replica of a topic must agree on, and computes by itself: where the topic stands still, and which messages
//! its logs have already.
//!
//! Both are functions of the commands that were executed, so that the leader's broker and the replicas that follow come
//! to the same. What the leader's consumers do, and its ephemeral channels, has no part in it.

use nsq_protocol::MessageId;
use nsq_queue::{NewRecord, Writer};

use crate::change::{FanOut, LogKind};
use crate::ids::last_id;

impl FanOut {
    /// The position in that log.
    pub(crate) fn of(self, log: LogKind) -> u64 {
        match log {
            LogKind::Deferred => self.deferred.unwrap_or(0),
            LogKind::Main | LogKind::Private | LogKind::Inherited => self.main,
        }
    }

    /// Where logs end.
    pub(crate) fn ends(main: &Writer, deferred: Option<&Writer>) -> FanOut {
        FanOut {
            main: main.end().sequence,
            deferred: deferred.map(|writer| writer.end().sequence),
        }
    }

    /// The farther one in each log.
    fn max(self, other: FanOut) -> FanOut {
        FanOut {
            main: self.main.max(other.main),
            deferred: self.deferred.max(other.deferred),
        }
    }

    /// The nearer one in each log.
    pub(crate) fn min(self, other: FanOut) -> FanOut {
        let deferred = self.deferred.zip(other.deferred);
        FanOut {
            main: self.main.min(other.main),
            deferred: deferred.map(|(own, others)| own.min(others)),
        }
    }
}

/// Where the fan-out to durable channels stands still: while the topic is paused, or has none. Otherwise they have all
/// there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Standing(Option<FanOut>);

impl Standing {
    /// At a position that was saved; `None` for a topic that does not stand still.
    pub(crate) fn at(position: Option<FanOut>) -> Standing {
        Standing(position)
    }

    /// The position, while the topic stands still.
    pub(crate) fn position(self) -> Option<FanOut> {
        self.0
    }

    /// Where a channel begins that is made now.
    pub(crate) fn channel_start(self, ends: FanOut) -> FanOut {
        self.0.unwrap_or(ends)
    }

    /// The topic was paused or resumed, or a channel came or went. Returns whether the position changed.
    pub(crate) fn follow(&mut self, is_flowing: bool, ends: FanOut) -> bool {
        let before = *self;
        self.0 = match self.0 {
            _ if is_flowing => None,
            None => Some(ends),
            stays => stays,
        };
        *self != before
    }

    /// Messages up to `position` were offered to ephemeral channels. Returns whether that is news.
    pub(crate) fn advance(&mut self, position: FanOut, ends: FanOut) -> bool {
        let before = *self;
        self.0 = self.0.map(|at| at.max(position.min(ends)));
        *self != before
    }

    /// Below these sequences of the main and the deferred log, nothing may be freed although no channel needs it, in logs
    /// that end at `ends`: what waits, and the last record of each log, which knows the last id.
    pub(crate) fn kept_from(self, ends: FanOut) -> (u64, u64) {
        let at = self.channel_start(ends);
        let before_last = |log: LogKind| at.of(log).min(ends.of(log).saturating_sub(1));
        (before_last(LogKind::Main), before_last(LogKind::Deferred))
    }
}

/// The ids of the last messages in a topic's two logs; 0 in an empty one. Ids only grow, so a message that comes again is
/// known by its id.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LastIds {
    main: u64,
    deferred: u64,
}

impl LastIds {
    pub(crate) fn of(main: &Writer, deferred: Option<&Writer>) -> LastIds {
        let last = |writer| last_id(writer).map_or(0, MessageId::as_u64);
        LastIds {
            main: last(main),
            deferred: deferred.map_or(0, last),
        }
    }

    /// The highest of all; `None` without messages.
    pub(crate) fn highest(self) -> Option<MessageId> {
        let highest = self.main.max(self.deferred);
        (highest > 0).then(|| MessageId::from_u64(highest))
    }

    fn slot(&mut self, log: LogKind) -> &mut u64 {
        match log {
            LogKind::Deferred => &mut self.deferred,
            LogKind::Main | LogKind::Private | LogKind::Inherited => &mut self.main,
        }
    }

    /// Whether the log has a message with this id, or a higher one.
    pub(crate) fn has(&mut self, log: LogKind, id: u64) -> bool {
        id <= *self.slot(log)
    }

    /// The records that the log does not have yet.
    pub(crate) fn new_of<'a, 'b>(
        &mut self,
        log: LogKind,
        records: &'a [NewRecord<'b>],
    ) -> &'a [NewRecord<'b>] {
        let last = *self.slot(log);
        match records.first() {
            Some(first) if first.id <= last => {
                let known = records.partition_point(|record| record.id <= last);
                &records[known..]
            }
            _ => records,
        }
    }

    /// The record was appended.
    pub(crate) fn note(&mut self, log: LogKind, id: u64) {
        *self.slot(log) = id;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(main: u64, deferred: u64) -> FanOut {
        FanOut {
            main,
            deferred: Some(deferred),
        }
    }

    #[test]
    fn a_topic_stands_still_where_it_was_when_it_lost_its_channel() {
        let mut standing = Standing::default();
        assert!(standing.follow(false, at(5, 1)));
        assert!(!standing.follow(false, at(9, 2)));
        assert_eq!(standing.channel_start(at(9, 2)), at(5, 1));
        assert!(
            standing.advance(at(20, 2), at(9, 2)),
            "no farther than the logs"
        );
        assert_eq!(standing.position(), Some(at(9, 2)));
        assert!(standing.follow(true, at(12, 2)));
        assert_eq!(standing.channel_start(at(12, 2)), at(12, 2));
        assert!(!standing.advance(at(1, 1), at(12, 2)));
    }

    #[test]
    fn the_last_record_of_a_log_is_kept() {
        let standing = Standing::default();
        assert_eq!(standing.kept_from(at(7, 0)), (6, 0));
        assert_eq!(Standing::at(Some(at(3, 2))).kept_from(at(7, 2)), (3, 1));
    }

    #[test]
    fn records_that_come_again_are_known_by_their_ids() {
        let record = |id| NewRecord {
            id,
            timestamp: 0,
            due: 0,
            attempts: 0,
            body: b"",
        };
        let records = [record(3), record(5), record(8)];
        let mut ids = LastIds::default();
        assert_eq!(ids.new_of(LogKind::Main, &records).len(), 3);
        ids.note(LogKind::Main, 5);
        assert_eq!(ids.new_of(LogKind::Main, &records)[0].id, 8);
        assert_eq!(ids.new_of(LogKind::Deferred, &records).len(), 3);
        ids.note(LogKind::Main, 8);
        assert!(ids.new_of(LogKind::Main, &records).is_empty());
    }
}
