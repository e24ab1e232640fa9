//! What a channel needs from time to time: keeping disk and memory near what is alive, and at the end writing down what
//! only memory knows.

use std::path::PathBuf;
use std::sync::Arc;

use nsq_queue::Log;

use super::journal::Note;
use super::out_set::{LogKind, OutMessage};
use super::source::Step;
use super::{Channel, due_of};
use crate::time::Now;

impl Channel {
    /// Writes down what only memory knows: attempts and due times of all that is out. At shutdown.
    pub(crate) fn save(&mut self, now: Now) {
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
        let worth_noting =
            |message: &&OutMessage| message.attempts > 0 || self.copies.contains_key(&message.id);
        let notes = self
            .out
            .iter()
            .filter(worth_noting)
            .map(|message| Note::of(message, due_of(message, now)));
        notes.collect()
    }

    /// A channel without a disk keeps at most `max_depth` messages, or as many as its clients have room for: the
    /// oldest give way.
    pub(super) fn trim_to_max_depth(&mut self) {
        let Some(max_depth) = self.max_depth else {
            return;
        };
        let end = self.offered.end(LogKind::Main);
        let behind = self.main.behind(end);
        if behind <= max_depth {
            return;
        }
        let bound = max_depth.max(self.consumers.total_room());
        // One by one: what lies between the floor and the cursor is out, and stays.
        while self.main.behind(end) > bound {
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
}
