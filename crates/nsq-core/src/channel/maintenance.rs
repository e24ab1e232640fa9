//! Housekeeping of a channel: keeping its disk and memory in proportion to its unfinished messages, and at shutdown
//! writing down what only memory has.

use std::path::PathBuf;
use std::sync::Arc;

use nsq_queue::Log;

use super::journal::JournalEntry;
use super::logs::ChannelLog;
use super::source::Step;
use super::tracked_message::TrackedMessage;
use super::{Channel, due_of};
use crate::checkpoint::Collector;
use crate::error::StoreError;
use crate::time::Now;

impl Channel {
    /// Writes down what only memory has: attempts and due times of the tracked messages. At shutdown.
    pub(crate) fn save(&mut self, now: Now) {
        self.rewrite_journal(now);
    }

    /// Housekeeping, every few seconds: keeps disk and memory in proportion to the unfinished messages.
    pub(crate) fn maintain(&mut self, now: Now) {
        self.trim_to_max_depth();
        if self.limits.may_compact {
            self.compact(now);
        }
        self.adopt_copies(now);
        if self.journal.wants_rewrite(self.tracked.len()) {
            self.rewrite_journal(now);
        }
        self.logs.maintain();
        self.journal.rest();
        self.tracked.shrink();
    }

    /// The logs the channel writes itself, for the syncer.
    pub(crate) fn own_logs(&self) -> impl Iterator<Item = Arc<Log>> {
        let own = self.logs.iter().filter_map(ChannelLog::own_log);
        own.chain(self.journal.log()).map(Arc::clone)
    }

    /// Where the channel keeps its finished sets, for the syncer.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        self.store.folder.clone()
    }

    /// Adds the channel's files; those in memory only have none.
    pub(crate) fn collect(&self, to: &mut Collector) -> Result<(), StoreError> {
        let Some(folder) = &self.store.folder else {
            return Ok(());
        };
        for log in self.logs.iter() {
            let set = folder.join(log.kind().finished_file());
            to.add_set(&set, &log.source.finished);
        }
        for log in self.own_logs() {
            to.add_log(&log)?;
        }
        Ok(())
    }

    /// Replaces the journal by what it would have to say of the tracked messages now.
    fn rewrite_journal(&mut self, now: Now) {
        // A message with a copy is journaled too: at the next start the entry decides which of the two counts.
        let is_needed =
            |message: &&TrackedMessage| message.attempts > 0 || self.copies.contains(message.id);
        let entries = self
            .tracked
            .iter()
            .filter(is_needed)
            .map(|message| JournalEntry::of(message, due_of(message, now)));
        let entries = entries.collect();
        self.journal.replace(entries, &self.store, now);
    }

    /// A channel in memory keeps no more messages than its bound, requeued ones included, or as many as its clients have room
    /// for. The oldest are dropped: first the requeued, then the waiting ones.
    #[inline]
    pub(crate) fn trim_to_max_depth(&mut self) {
        if self.limits.depth.is_some() {
            self.trim();
        }
    }

    fn trim(&mut self) {
        let Some(bound) = self.bound_if_passed_by(self.depth()) else {
            return;
        };
        while self.depth() > bound
            && let Some(oldest) = self.tracked.first_requeued(u64::MAX)
        {
            self.drop_message(oldest.id);
        }
        // One by one: the records between the floor and the cursor are tracked, and stay.
        while self.depth() > bound
            && let Some((place, end)) = self.logs.first_waiting()
        {
            let log = self.logs.at(place);
            match log.source.next(end) {
                Step::Record(record) => {
                    let sequence = record.sequence;
                    log.finish(sequence);
                    self.counters.dropped += 1;
                }
                Step::Skipped => {}
                Step::End | Step::Stalled => return,
            }
        }
    }

    /// A channel in memory defers as many messages as may queue, and no more: this one, deferred just now, is dropped if
    /// there are more.
    pub(super) fn drop_if_too_many_deferred(&mut self, id: u64) {
        let count = self.tracked.deferred_count() as u64;
        if self.bound_if_passed_by(count).is_some() {
            self.drop_message(id);
        }
    }

    /// The most messages that may be queued or deferred, if there is a bound and `count` is above it.
    fn bound_if_passed_by(&self, count: u64) -> Option<u64> {
        let max_depth = self.limits.depth.filter(|max_depth| count > *max_depth)?;
        let bound = max_depth.max(self.consumers.total_room());
        (count > bound).then_some(bound)
    }

    fn drop_message(&mut self, id: u64) {
        let Some(message) = self.tracked.remove(id) else {
            return;
        };
        self.finish_records(&message);
        self.counters.dropped += 1;
    }
}
