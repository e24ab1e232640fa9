//! What a channel needs from time to time: keeping disk and memory near what is alive, and at the end writing down what
//! only memory knows.

use std::path::PathBuf;
use std::sync::Arc;

use nsq_queue::Log;

use super::journal::Note;
use super::out_message::{LogKind, OutMessage};
use super::source::Step;
use super::{Channel, due_of};
use crate::time::Now;

impl Channel {
    /// Writes down what only memory knows: attempts and due times of all that is out. At shutdown.
    pub(crate) fn save(&mut self, now: Now) {
        // They tell all that was not written yet.
        self.unwritten.clear();
        let notes = self.living_notes(now);
        if let Some(journal) = &mut self.journal {
            journal.rewrite(&notes, now.unix_nanos);
        } else {
            self.take_note(&notes, now);
        }
    }

    /// Housekeeping, every few seconds: keeps disk and memory near what is alive.
    pub(crate) fn maintain(&mut self, now: Now) {
        self.trim_to_max_depth();
        self.relocate_stragglers(now);
        self.adopt_copies(now);
        if self
            .journal
            .as_ref()
            .is_some_and(|journal| journal.wants_rewrite(self.out_count()))
        {
            self.unwritten.clear();
            let notes = self.living_notes(now);
            if let Some(journal) = &mut self.journal {
                journal.rewrite(&notes, now.unix_nanos);
            }
        }
        if let Some(private) = &mut self.private {
            private.writer.release_before(private.source.marks.floor());
            private.writer.rest();
        }
        if let Some(backlog) = &mut self.backlog {
            backlog.maintain();
        }
        if let Some(journal) = &mut self.journal {
            journal.rest();
        }
        self.out.shrink();
        if self.main.behind(self.offered.end(LogKind::Main)) == 0 {
            self.main.reader.rest();
        }
        self.settle();
    }

    /// The logs the channel writes itself, for the syncer.
    pub(crate) fn own_logs(&self) -> impl Iterator<Item = Arc<Log>> {
        let private = self
            .private
            .as_ref()
            .map(|private| Arc::clone(private.writer.log()));
        let journal = self
            .journal
            .as_ref()
            .map(|journal| Arc::clone(journal.log()));
        private.into_iter().chain(journal)
    }

    /// Where the channel keeps its marks, for the syncer.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        self.store.folder.clone()
    }

    fn living_notes(&self, now: Now) -> Vec<Note> {
        // A straggler with a copy is noted too: at the next start the note tells which of the two counts.
        let worth_noting = |message: &&OutMessage| {
            message.attempts > 0 || self.copies.contains_key(&{ message.id })
        };
        let notes = self
            .out
            .iter()
            .filter(worth_noting)
            .map(|message| Note::of(message, due_of(message, now)));
        notes.collect()
    }

    /// A channel without a disk keeps at most `max_depth` messages, requeued ones included, or as many as its clients
    /// have room for: the oldest give way, and those are the requeued.
    pub(super) fn trim_to_max_depth(&mut self) {
        let Some(bound) = self.bound_if_passed_by(self.depth()) else {
            return;
        };
        while self.depth() > bound
            && let Some(oldest) = self.out.first_requeued()
        {
            self.drop_message(oldest.id);
        }
        let end = self.offered.end(LogKind::Main);
        // One by one: what lies between the floor and the cursor is out, and stays.
        while self.depth() > bound {
            match self.main.next(end) {
                Step::Record(record) => {
                    let sequence = record.sequence;
                    self.mark(LogKind::Main, sequence);
                    self.dropped_count += 1;
                }
                Step::Skipped => {}
                Step::End | Step::Stalled(_) => return,
            }
        }
    }

    /// A channel without a disk holds back as many messages as may queue, and no more: this one, held back just now,
    /// is dropped where there are.
    pub(super) fn drop_if_too_many_deferred(&mut self, id: u64) {
        let count = self.out.deferred_count() as u64;
        if self.bound_if_passed_by(count).is_some() {
            self.drop_message(id);
        }
    }

    /// The most messages of a kind that may be here, if they are bounded and these are more.
    pub(super) fn bound_if_passed_by(&self, count: u64) -> Option<u64> {
        let max_depth = self.max_depth.filter(|max_depth| count > *max_depth)?;
        let bound = max_depth.max(self.consumers.total_room());
        (count > bound).then_some(bound)
    }

    fn drop_message(&mut self, id: u64) {
        let Some(message) = self.out.remove(id) else {
            return;
        };
        self.mark(message.log, message.sequence);
        if let Some(copy) = self.copies.remove(&id) {
            self.mark(LogKind::Private, copy.sequence);
        }
        self.dropped_count += 1;
    }
}
