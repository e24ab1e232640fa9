//! The files of one write-ahead log, as the one thread that writes them sees them.
//!
//! ```text
//! place                 which log file generation counts, the Raft index of its record 0, the last purged entry, and an
//!                       entry below which all were synced
//! vote                  the replica's vote
//! end                   the index after the last entry that was written, not synced
//! boot                  who had the replica open last, and how that ended
//! wal-<generation>.*    an nsq-queue log: record = entry, its id = the entry's index, its timestamp = the index of the first
//!                       entry that was written together with it
//! free/                 segments waiting for reuse, one of them at least reserved for the next append
//! ```
//! Raft's indexes are dense, and so are a log's sequences: `index = place.offset + sequence` for all of a generation. A
//! checkpoint can move a replica beyond its log's end. Then the next generation begins, with another offset: the place is
//! replaced first, and the files of all other generations no longer count.
//!
//! A log that syncs writes nothing before the last write is synced. So a machine crash can damage the last write only, which
//! no one was told of, and the rest of it is cut off. Damage that lies elsewhere is the disk's, and the log is not trusted.
//! That a whole segment is missing at the end is noticed by what the place says was synced, and after a kill any missing entry
//! by the noted end.

mod opening;
mod place;
mod reading;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use nsq_queue::{LogOptions, NewRecord, SegmentPool, Writer};

pub(super) use self::opening::{Crash, OpenError};
pub(super) use self::place::{PLACE_FILE, Place, log_files, log_name};
pub(super) use self::reading::{Reading, View};
use super::end_note::EndNote;
use super::small_file;
use crate::codec::{Entry, LogId, Vote, Wire};

/// The disk side of a write-ahead log. Only the writer's lane touches it once it is open.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    pool: Arc<SegmentPool>,
    options: LogOptions,
    place: Place,
    note: EndNote,
    writer: Writer,
    /// The segment that `place.synced_end` lies in.
    marked_segment: u32,
    /// Entries being appended, encoded.
    buffer: Vec<u8>,
}

impl Files {
    /// Where readers find the entries now.
    pub(super) fn view(&self) -> View {
        View {
            log: Arc::clone(self.writer.log()),
            offset: self.place.offset,
        }
    }

    /// The index of the entry after the last one.
    pub(super) fn end(&self) -> u64 {
        self.place.offset + self.writer.log().end_sequence()
    }

    /// Appends entries, the first of which must be the next one. All or nothing.
    pub(super) fn append<'a>(
        &mut self,
        entries: impl Iterator<Item = &'a Entry> + Clone,
    ) -> io::Result<()> {
        self.buffer.clear();
        let mut bounds = Vec::new();
        for entry in entries {
            if entry.id.index != self.end() + bounds.len() as u64 {
                let text = format!("entry {} does not follow {}", entry.id.index, self.end());
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            let begin = self.buffer.len();
            entry.encode(&mut self.buffer);
            bounds.push((entry.id, begin..self.buffer.len()));
        }
        let (buffer, first) = (&self.buffer, self.end());
        let records = bounds.iter().map(|(id, bounds)| NewRecord {
            id: id.index,
            timestamp: first.cast_signed(),
            due: 0,
            attempts: 0,
            body: &buffer[bounds.clone()],
        });
        self.writer.append(records).map_err(io::Error::other)?;
        if self.buffer.capacity() > MAX_KEPT_BYTES {
            self.buffer = Vec::new();
        }
        Ok(())
    }

    /// Notes where the log ends now, so that the next start knows.
    pub(super) fn note_end(&mut self) -> io::Result<()> {
        let end = self.end();
        self.note.note(end)
    }

    /// Brings the noted end to the disk.
    pub(super) fn sync_note(&mut self) -> io::Result<()> {
        self.note_end()?;
        self.note.sync()
    }

    /// Brings all entries to the disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.writer.log().sync().map_err(io::Error::other)?;
        let segment = self.writer.end().position.segment;
        if segment != self.marked_segment && self.end() > self.place.synced_end {
            let synced_end = self.end();
            self.replace_place(Place {
                synced_end,
                ..self.place
            })?;
            self.marked_segment = segment;
        }
        Ok(())
    }

    fn replace_place(&mut self, place: Place) -> io::Result<()> {
        small_file::replace(&self.folder, PLACE_FILE, &place)?;
        self.place = place;
        Ok(())
    }

    /// Drops the entries from `end` on.
    pub(super) fn truncate(&mut self, end: u64) -> io::Result<()> {
        if end < self.place.synced_end {
            self.replace_place(Place {
                synced_end: end,
                ..self.place
            })?;
        }
        self.note.lower(end)?;
        let to = end.saturating_sub(self.place.offset);
        self.writer.truncate(to).map_err(io::Error::other)
    }

    /// Frees the entries up to `id`, which may lie beyond the log's end: the next entry follows it. `is_synced`: all that was
    /// appended is.
    pub(super) fn purge(&mut self, id: LogId, is_synced: bool) -> io::Result<()> {
        let end = id.index + 1;
        if end <= self.end() {
            // The place comes first: were the segments freed before, a crash would leave a gap.
            let synced_end = if is_synced {
                self.end()
            } else {
                self.place.synced_end
            };
            self.replace_place(Place {
                purged: Some(id),
                synced_end,
                ..self.place
            })?;
            // What is appended next must not be taken for purged.
            self.marked_segment = u32::MAX;
            self.writer.release_before(end - self.place.offset);
            return Ok(());
        }
        self.begin(end, Some(id))
    }

    /// Begins a generation whose first entry will be `offset`.
    fn begin(&mut self, offset: u64, purged: Option<LogId>) -> io::Result<()> {
        let place = Place {
            generation: self.place.generation + 1,
            offset,
            purged,
            synced_end: 0,
        };
        let (writer, _) = Writer::open(
            &self.folder,
            &log_name(place.generation),
            Arc::clone(&self.pool),
            self.options,
        )
        .map_err(io::Error::other)?;
        self.note.lower(offset)?;
        self.replace_place(place)?;
        self.marked_segment = u32::MAX;
        let old = std::mem::replace(&mut self.writer, writer);
        // Files that stay no longer count, and the next start removes them.
        let _ = old.delete();
        self.pool.sync_headers();
        self.note_end()
    }

    #[cfg(test)]
    pub(super) fn begin_at(&mut self, offset: u64) -> io::Result<()> {
        self.begin(offset, None)
    }

    /// Stores the vote, so that no crash takes it back.
    pub(super) fn save_vote(&self, vote: &Vote) -> io::Result<()> {
        small_file::replace(&self.folder, VOTE_FILE, vote)
    }

    /// The segments that wait for the next append.
    pub(super) fn pool(&self) -> &Arc<SegmentPool> {
        &self.pool
    }
}

pub(super) const VOTE_FILE: &str = "vote";
/// The largest buffer that is kept from one append to the next.
const MAX_KEPT_BYTES: usize = 1 << 20;
