//! What a write-ahead log knows without its disk: where it begins and ends, its newest entries, the vote.
//!
//! Invariant: `tail` holds the entries from `tail_first` to the last one. All before `tail_first` that are not purged are in
//! the files; of those after it, the files hold the ones below `stored_end`.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use super::files::View;
use crate::codec::{Entry, LogId, Vote};

#[derive(Debug)]
pub(super) struct Memory {
    purged: Option<LogId>,
    last: Option<LogId>,
    /// What the first entry follows, in place of nothing.
    #[cfg(test)]
    first_end: u64,
    vote: Option<Vote>,
    tail: VecDeque<Entry>,
    tail_first: u64,
    tail_bytes: usize,
    stored_end: u64,
    unstored_bytes: usize,
    /// Counts truncations and purges, here and in the files: a read that began before one must not be mixed with one after
    /// it.
    epoch: u64,
    /// Truncations and purges that the files have not done yet.
    rewinds: usize,
    view: View,
}

/// Where entries are.
#[derive(Debug)]
pub(super) enum Part {
    /// The log has none of them.
    Nothing,
    /// Here.
    Entries(Vec<Entry>),
    /// In the files.
    Files(Range<u64>),
}

impl Memory {
    pub(super) fn new(
        purged: Option<LogId>,
        last: Option<LogId>,
        vote: Option<Vote>,
        view: View,
    ) -> Self {
        let end = after(last);
        Self {
            purged,
            last,
            #[cfg(test)]
            first_end: 0,
            vote,
            tail: VecDeque::new(),
            tail_first: end,
            tail_bytes: 0,
            stored_end: end,
            unstored_bytes: 0,
            epoch: 0,
            rewinds: 0,
            view,
        }
    }

    pub(super) fn purged(&self) -> Option<LogId> {
        self.purged
    }

    pub(super) fn last(&self) -> Option<LogId> {
        self.last
    }

    pub(super) fn vote(&self) -> Option<Vote> {
        self.vote
    }

    pub(super) fn set_vote(&mut self, vote: Vote) {
        self.vote = Some(vote);
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn unstored_bytes(&self) -> usize {
        self.unstored_bytes
    }

    pub(super) fn view(&self) -> &View {
        &self.view
    }

    pub(super) fn set_view(&mut self, view: View) {
        self.view = view;
    }

    /// Takes entries in, if they follow the last one and each other.
    pub(super) fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        let end = after(self.last);
        #[cfg(test)]
        let end = end.max(self.first_end);
        for (entry, index) in entries.iter().zip(end..) {
            if entry.id.index != index {
                let text = format!(
                    "entry {} does not follow entry {}",
                    entry.id.index,
                    index.wrapping_sub(1)
                );
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
        }
        for entry in entries {
            self.tail_bytes += entry.size();
            self.unstored_bytes += entry.size();
            self.last = Some(entry.id);
            self.tail.push_back(entry.to_keep());
        }
        Ok(())
    }

    /// Lets the first entry ever have this index; returns whether that changes anything.
    #[cfg(test)]
    pub(super) fn begin_at(&mut self, index: u64) -> bool {
        let is_change = self.last.is_none() && index > 0;
        if is_change {
            (self.first_end, self.tail_first, self.stored_end) = (index, index, index);
        }
        is_change
    }

    /// Drops the entries after `last`; returns whether there were any.
    pub(super) fn truncate_after(&mut self, last: Option<LogId>) -> bool {
        let last = last.max(self.purged);
        let end = after(last);
        if end >= after(self.last) {
            return false;
        }
        self.epoch += 1;
        self.rewinds += 1;
        while self.tail_first + (self.tail.len() as u64) > end
            && let Some(entry) = self.tail.pop_back()
        {
            self.forget(&entry);
        }
        self.last = last;
        self.tail_first = self.tail_first.min(end);
        self.stored_end = self.stored_end.min(end);
        true
    }

    /// Drops the entries up to `id`, or all of them if it lies beyond; returns whether it is news.
    pub(super) fn purge(&mut self, id: LogId) -> bool {
        if self.purged >= Some(id) {
            return false;
        }
        self.epoch += 1;
        self.rewinds += 1;
        self.purged = Some(id);
        while self
            .tail
            .front()
            .is_some_and(|entry| entry.id.index <= id.index)
            && let Some(entry) = self.tail.pop_front()
        {
            self.forget(&entry);
        }
        let end = id.index + 1;
        self.tail_first = self.tail_first.max(end);
        self.stored_end = self.stored_end.max(end);
        if end >= after(self.last) {
            self.last = Some(id);
        }
        true
    }

    /// The files have done a truncation or a purge.
    pub(super) fn note_rewound(&mut self) {
        self.rewinds -= 1;
        // A reader that looked before may still hold files that no longer belong to the log.
        self.epoch += 1;
    }

    /// The files hold the entries below `end`. The oldest ones leave the memory, as far as they do not fit `cache_bytes`.
    pub(super) fn note_stored(&mut self, end: u64, cache_bytes: usize) {
        // What the files hold may have been dropped here since, and other entries have its numbers now.
        if self.rewinds > 0 {
            return;
        }
        let from = self.stored_end.max(self.tail_first);
        let newly = self.tail.iter().skip(usize_of(from - self.tail_first));
        for entry in newly.take_while(|entry| entry.id.index < end) {
            self.unstored_bytes -= entry.size();
        }
        self.stored_end = self.stored_end.max(end);
        while self.tail_bytes > cache_bytes
            && self
                .tail
                .front()
                .is_some_and(|entry| entry.id.index < self.stored_end)
            && let Some(entry) = self.tail.pop_front()
        {
            self.tail_bytes -= entry.size();
            self.tail_first = entry.id.index + 1;
        }
    }

    /// The first of the entries in `range`, and more until they take `max_bytes`.
    pub(super) fn read(&self, range: Range<u64>, max_bytes: usize) -> Part {
        let first = range.start.max(after(self.purged));
        #[cfg(test)]
        let first = first.max(self.first_end);
        let end = range.end.min(after(self.last));
        if first >= end {
            return Part::Nothing;
        }
        if first < self.tail_first {
            return Part::Files(first..end.min(self.tail_first));
        }
        let mut bytes = 0;
        let within = self
            .tail
            .iter()
            .skip(usize_of(first - self.tail_first))
            .take(usize_of(end - first))
            .take_while(|entry| {
                let is_room = bytes == 0 || bytes < max_bytes;
                bytes += entry.size();
                is_room
            });
        Part::Entries(within.cloned().collect())
    }

    /// Whether an entry is to be found in the files alone.
    pub(super) fn is_in_files(&self, index: u64) -> bool {
        (after(self.purged)..self.tail_first).contains(&index)
    }

    fn forget(&mut self, entry: &Entry) {
        self.tail_bytes -= entry.size();
        if entry.id.index >= self.stored_end {
            self.unstored_bytes -= entry.size();
        }
    }
}

fn after(id: Option<LogId>) -> u64 {
    id.map_or(0, |id| id.index + 1)
}

/// Entries in memory are far fewer than fit a `usize`.
fn usize_of(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
