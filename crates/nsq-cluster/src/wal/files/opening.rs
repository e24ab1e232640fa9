//! Opening the files of a write-ahead log: what a kill or a crash of the machine may have left, and what is damage.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use nsq_queue::{Damage, LogOptions, ReadError, Reader, SegmentPool, Writer};

use super::place::{PLACE_FILE, Place, log_files, log_name};
use super::reading::Reading;
use super::{Files, VOTE_FILE};
use crate::codec::{LogId, Vote};
use crate::wal::boot::Distrust;
use crate::wal::end_note::EndNote;
use crate::wal::small_file;

/// Why files cannot be opened.
#[derive(Debug)]
pub(in crate::wal) enum OpenError {
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
pub(in crate::wal) enum Crash {
    /// It did not.
    None,
    /// Under a log that syncs each write before the next one: the last write may be there in part.
    OfSynced,
    /// Under a log that is synced by a timer: of all that was written since, anything may be missing.
    OfWritten,
}

/// What opening found.
#[derive(Debug)]
pub(in crate::wal) struct Found {
    pub(in crate::wal) purged: Option<LogId>,
    pub(in crate::wal) last: Option<LogId>,
    pub(in crate::wal) vote: Option<Vote>,
}

impl Files {
    /// Opens the files in `folder`, or starts them.
    pub(in crate::wal) fn open(
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
    pub(in crate::wal) fn reset(
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
}

const FREE_FOLDER: &str = "free";
