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

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use nsq_queue::{
    Cursor, Damage, Log, LogOptions, NewRecord, ReadError, Reader, SegmentPool, Writer,
};

use super::boot::Distrust;
use super::end_note::EndNote;
use super::small_file;
use crate::codec::{DecodeError, Decoder, Entry, LogId, Vote, Wire, put_optional};

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

/// What the file `place` holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) generation: u64,
    pub(super) offset: u64,
    pub(super) purged: Option<LogId>,
    /// All entries below this index were synced; updated when the log enters a segment.
    pub(super) synced_end: u64,
}

/// Where entries are read: one generation's log.
#[derive(Clone, Debug)]
pub(super) struct View {
    log: Arc<Log>,
    offset: u64,
}

/// Why files cannot be opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// They cannot be read or written now.
    File(io::Error),
    /// They are not what the replica has promised to hold.
    Distrust(Distrust),
}

impl From<Distrust> for OpenError {
    fn from(distrust: Distrust) -> Self {
        Self::Distrust(distrust)
    }
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => Self::Distrust(Distrust::Damaged(error.to_string())),
            _ => Self::File(error),
        }
    }
}

/// Whether the machine went down while the log was open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crash {
    /// It did not.
    None,
    /// Under a log that syncs each write before the next one: the last write may be there in part.
    OfSynced,
    /// Under a log that is synced by a timer: of all that was written since, anything may be missing.
    OfWritten,
}

/// What opening found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) purged: Option<LogId>,
    pub(super) last: Option<LogId>,
    pub(super) vote: Option<Vote>,
}

impl Files {
    /// Opens the files in `folder`, or starts them.
    pub(super) fn open(
        folder: &Path,
        options: LogOptions,
        pool_bytes: u64,
        crash: Crash,
    ) -> Result<(Self, Found), OpenError> {
        let vote: Option<Vote> = small_file::read(folder, VOTE_FILE)?;
        let place = match small_file::read(folder, PLACE_FILE)? {
            Some(place) => place,
            None if vote.is_some() || !log_files(folder)?.is_empty() => {
                let why = format!("{} is missing", folder.join(PLACE_FILE).display());
                return Err(Distrust::Damaged(why).into());
            }
            None => {
                let place = Place {
                    generation: 1,
                    ..Place::default()
                };
                small_file::replace(folder, PLACE_FILE, &place)?;
                place
            }
        };
        let (files, last) = Self::open_place(folder, options, pool_bytes, place, crash)?;
        let purged = place.purged;
        Ok((files, Found { purged, last, vote }))
    }

    /// Begins again without entries and without a vote.
    pub(super) fn reset(
        folder: &Path,
        options: LogOptions,
        pool_bytes: u64,
    ) -> Result<Self, OpenError> {
        // First: the log ends at 0 soon.
        EndNote::remove(folder)?;
        let old = small_file::read::<Place>(folder, PLACE_FILE).ok().flatten();
        // Beyond every generation that has files, whatever the damaged place says.
        let newest = log_files(folder)?
            .into_iter()
            .map(|(_, generation)| generation);
        let newest = newest.chain(old.map(|place| place.generation)).max();
        let place = Place {
            generation: newest.unwrap_or(0) + 1,
            ..Place::default()
        };
        small_file::replace(folder, PLACE_FILE, &place)?;
        let vote = folder.join(VOTE_FILE);
        match fs::remove_file(&vote) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(small_file::explain(&error, "remove", &vote).into());
            }
            _ => small_file::sync_folder(folder)?,
        }
        let (files, _) = Self::open_place(folder, options, pool_bytes, place, Crash::None)?;
        Ok(files)
    }

    fn open_place(
        folder: &Path,
        options: LogOptions,
        pool_bytes: u64,
        place: Place,
        crash: Crash,
    ) -> Result<(Self, Option<LogId>), OpenError> {
        // After a crash of the machine, what is noted may never have been on the disk.
        if crash != Crash::None {
            EndNote::remove(folder)?;
        }
        let (note, noted_end) = EndNote::open(folder)?;
        for (path, generation) in log_files(folder)? {
            if generation != place.generation {
                fs::remove_file(&path)
                    .map_err(|error| small_file::explain(&error, "remove", &path))?;
            }
        }
        let free = folder.join(FREE_FOLDER);
        fs::create_dir_all(&free).map_err(|error| small_file::explain(&error, "create", &free))?;
        let pool = Arc::new(SegmentPool::new(free, pool_bytes));
        pool.sync_headers();
        let (writer, recovery) = Writer::open(
            folder,
            &log_name(place.generation),
            Arc::clone(&pool),
            options,
        )
        .map_err(io::Error::other)?;
        let mut files = Self {
            folder: folder.to_path_buf(),
            marked_segment: u32::MAX,
            pool,
            options,
            place,
            note,
            writer,
            buffer: Vec::new(),
        };
        // A torn end is what a kill leaves of an append that was not acknowledged.
        let is_damage = |damage: &&Damage| !matches!(damage, Damage::TornTail { .. });
        let damage = recovery.damaged.iter().find(is_damage);
        let damage = damage.map(|damage| Distrust::Damaged(damage.to_string()));
        match damage {
            Some(damage) if crash == Crash::None => return Err(damage.into()),
            Some(damage) => files.cut_torn_write(0, crash, damage)?,
            None if crash != Crash::None => {
                // Of a segment that is not the last one, damage shows only when it is read.
                let why = "an entry that was synced is damaged".to_owned();
                files.cut_torn_write(place.synced_end, crash, Distrust::Damaged(why))?;
            }
            None => {}
        }
        if crash != Crash::None {
            files.go_on_after_purge()?;
        }
        let last = files.last_entry()?;
        if files.end() < noted_end {
            let (folder, end) = (folder.display(), files.end());
            let why = format!("{folder}: entries {end}..{noted_end} are missing");
            return Err(Distrust::Damaged(why).into());
        }
        files.note_end()?;
        Ok((files, last))
    }

    /// The log's last entry, or the last purged one, after a check that nothing is missing in between.
    fn last_entry(&self) -> Result<Option<LogId>, Distrust> {
        let lost = |why: String| Distrust::Damaged(format!("{}: {why}", self.folder.display()));
        let purged_end = self.place.purged.map_or(0, |purged| purged.index + 1);
        let log = self.writer.log();
        let (first, end) = (log.first_sequence(), log.end_sequence());
        if self.place.offset + first > purged_end {
            let missing = purged_end..self.place.offset + first;
            return Err(lost(format!("entries {missing:?} are missing")));
        }
        let must_end = purged_end.max(self.place.synced_end);
        if self.place.offset + end < must_end {
            return Err(lost(format!("entries before {must_end} are missing")));
        }
        if self.place.offset + end == purged_end {
            return Ok(self.place.purged);
        }
        let last = self.place.offset + end - 1;
        let mut reading = Reading::new(self.view());
        match reading.read(last..last + 1, usize::MAX) {
            Ok(entries) => Ok(entries.last().map(|entry| entry.id)),
            Err(error) => Err(lost(error.to_string())),
        }
    }

    /// A crash can take the segment that a purge of all entries has begun. Nothing is missing then: the log goes on after the
    /// last purged entry.
    fn go_on_after_purge(&mut self) -> io::Result<()> {
        let purged_end = self.place.purged.map_or(0, |purged| purged.index + 1);
        if self.end() < purged_end && self.place.synced_end <= purged_end {
            self.begin(purged_end, self.place.purged)?;
        }
        Ok(())
    }

    /// Cuts the log off where it is damaged. Of a log that syncs, anything from `first` on that was written before the last
    /// write must be whole.
    fn cut_torn_write(
        &mut self,
        first: u64,
        crash: Crash,
        damage: Distrust,
    ) -> Result<(), OpenError> {
        let log = self.writer.log();
        let mut reader = Reader::new(Arc::clone(log));
        let mut cursor = log.seek(first.saturating_sub(self.place.offset));
        // The write may have begun with a segment that is gone.
        let purged_end = self.place.purged.map_or(0, |purged| purged.index + 1);
        let must_begin = purged_end.saturating_sub(self.place.offset);
        let is_beginning_gone = log.first_sequence() > must_begin;
        let mut torn_at = is_beginning_gone.then_some(must_begin);
        loop {
            match reader.next(&mut cursor) {
                Ok(None) => break,
                Ok(Some(record)) => {
                    let write_begin = record.timestamp.cast_unsigned();
                    let is_later = |torn_at| write_begin > self.place.offset + torn_at;
                    if crash == Crash::OfSynced && torn_at.is_some_and(is_later) {
                        return Err(damage.into());
                    }
                }
                Err(ReadError::Damaged { sequences, .. }) => {
                    torn_at = torn_at.or(Some(sequences.start));
                }
                Err(ReadError::Io(error)) => return Err(io::Error::other(error).into()),
            }
        }
        if let Some(torn_at) = torn_at {
            let index = self.place.offset + torn_at;
            tracing::info!("cluster: the log is cut off at entry {index}, whose write was torn");
            if is_beginning_gone {
                if self.place.synced_end > purged_end {
                    return Err(damage.into());
                }
                return Ok(self.begin(purged_end, self.place.purged)?);
            }
            self.writer.truncate(torn_at).map_err(io::Error::other)?;
        }
        Ok(())
    }

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

impl View {
    pub(super) fn new(log: Arc<Log>, offset: u64) -> Self {
        Self { log, offset }
    }

    /// Bytes that the log's files take.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.log.disk_bytes()
    }

    pub(super) fn index_keeping(&self, bytes: u64) -> u64 {
        self.offset + self.log.sequence_keeping(bytes)
    }
}

/// Entries being read in order.
#[derive(Debug)]
pub(super) struct Reading {
    view: View,
    reader: Reader,
    /// Where the entry after the last one read stands.
    next: Option<Cursor>,
}

impl Reading {
    pub(super) fn new(view: View) -> Self {
        Self {
            reader: Reader::new(Arc::clone(&view.log)),
            view,
            next: None,
        }
    }

    /// The entries of `range`: the first one at least, and more until they take `max_bytes`.
    pub(super) fn read(
        &mut self,
        range: std::ops::Range<u64>,
        max_bytes: usize,
    ) -> io::Result<Vec<Entry>> {
        let missing = |index: u64| {
            let text = format!("entry {index} is not in the log");
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let first = range
            .start
            .checked_sub(self.view.offset)
            .ok_or_else(|| missing(range.start))?;
        let known = self.next.filter(|next| next.sequence == first);
        let mut cursor = known.unwrap_or_else(|| self.view.log.seek(first));
        let mut entries = Vec::new();
        let mut bytes = 0;
        for index in range {
            if cursor.sequence + self.view.offset != index {
                return Err(missing(index));
            }
            let record = match self.reader.next(&mut cursor) {
                Ok(Some(record)) => record,
                Ok(None) => return Err(missing(index)),
                Err(error @ ReadError::Damaged { .. }) => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
                Err(ReadError::Io(error)) => return Err(io::Error::other(error)),
            };
            let entry = Entry::from_bytes(Bytes::copy_from_slice(record.body))
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if entry.id.index != index || record.id != index {
                return Err(missing(index));
            }
            bytes += record.body.len();
            entries.push(entry);
            if bytes >= max_bytes {
                break;
            }
        }
        self.next = Some(cursor);
        Ok(entries)
    }
}

impl Wire for Place {
    fn encode(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.generation.to_le_bytes());
        to.extend_from_slice(&self.offset.to_le_bytes());
        put_optional(to, self.purged.as_ref());
        to.extend_from_slice(&self.synced_end.to_le_bytes());
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            generation: from.u64("a log's generation")?,
            offset: from.u64("a log's offset")?,
            purged: from.optional("the last purged entry")?,
            synced_end: from.u64("the end of what was synced")?,
        })
    }
}

pub(super) fn log_name(generation: u64) -> String {
    format!("{LOG_PREFIX}{generation}")
}

/// The files of all generations' logs.
pub(super) fn log_files(folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut files = Vec::new();
    let listing =
        fs::read_dir(folder).map_err(|error| small_file::explain(&error, "list", folder))?;
    for entry in listing {
        let entry = entry.map_err(|error| small_file::explain(&error, "list", folder))?;
        let name = entry.file_name();
        let generation = name
            .to_str()
            .and_then(|name| name.strip_prefix(LOG_PREFIX))
            .and_then(|rest| rest.split('.').next())
            .and_then(|generation| generation.parse().ok());
        if let Some(generation) = generation {
            files.push((entry.path(), generation));
        }
    }
    Ok(files)
}

pub(super) const PLACE_FILE: &str = "place";
pub(super) const VOTE_FILE: &str = "vote";
const LOG_PREFIX: &str = "wal-";
const FREE_FOLDER: &str = "free";
/// The largest buffer that is kept from one append to the next.
const MAX_KEPT_BYTES: usize = 1 << 20;
