//! What the writer, the readers and the syncer of one log share.
//!
//! Invariant: `end` is stored after everything below it is readable and its segments are in the list,
//! so a reader that sees a sequence below `end` finds its record.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::disk::Disk;
use crate::header::{HEADER_BYTES, Seal};
use crate::listing::Listing;
use crate::recovery::{self, Recovery};
use crate::segment::{Segment, lock};
use crate::unsynced_marker::UnsyncedMarker;
use crate::{Cursor, LogError, Position};

/// One log, seen by all but its writer.
#[derive(Debug)]
pub struct Log {
    pub(crate) disk: Disk,
    /// `None` in memory.
    pub(crate) folder: Option<PathBuf>,
    identity: u64,
    end: AtomicU64,
    /// By ordinal, so also by base sequence.
    segments: RwLock<Vec<Arc<Segment>>>,
    sync: Mutex<()>,
    synced: Mutex<Synced>,
    /// Whether files were created, renamed or removed since the folder was synced.
    folder_dirty: AtomicBool,
    pub(crate) unsynced_marker: UnsyncedMarker,
}

/// What is known to be on the disk.
#[derive(Debug, Default)]
struct Synced {
    sequence: u64,
    /// Counts truncations: a sync that began before one must not report what it dropped.
    epoch: u64,
}

impl Log {
    pub(crate) fn new(
        disk: Disk,
        folder: Option<PathBuf>,
        identity: u64,
        segments: Vec<Arc<Segment>>,
        end: u64,
        unsynced_marker: UnsyncedMarker,
    ) -> Self {
        for segment in &segments {
            if unsynced_marker.doubts(segment.ordinal()) {
                segment.note_sync_failure();
            }
        }
        Self {
            disk,
            folder,
            identity,
            end: AtomicU64::new(end),
            segments: RwLock::new(segments),
            sync: Mutex::new(()),
            synced: Mutex::default(),
            // What an earlier process created may have been killed before it synced the folder.
            folder_dirty: AtomicBool::new(true),
            unsynced_marker,
        }
    }

    /// The log `name` in `folder` as it stands, to be read: not a byte of its files is changed, whatever is wrong with
    /// them. What opening it for writing would fix is told as if it had been.
    ///
    /// # Errors
    /// When a file cannot be read now.
    pub fn open_read_only(folder: &Path, name: &str) -> Result<(Arc<Self>, Recovery), LogError> {
        let disk = Disk::read_only();
        let listing = Listing::of_log(folder, name)?;
        let mut found = recovery::recover(&disk, folder, name, listing.ordinals(name))?;
        let recovery = Recovery::of(&mut found);
        let note = UnsyncedMarker::none();
        let folder = Some(folder.to_path_buf());
        let log = Self::new(
            disk,
            folder,
            found.identity,
            found.segments,
            found.end,
            note,
        );
        Ok((Arc::new(log), recovery))
    }

    /// How many segments it has.
    pub fn segment_count(&self) -> usize {
        self.with_segments(<[_]>::len)
    }

    /// The file that a place in it lies in; `None` in memory, and where there is no such segment.
    pub fn file_of(&self, position: Position) -> Option<PathBuf> {
        self.with_segments(|segments| {
            let found = segments
                .binary_search_by_key(&position.segment, |segment| segment.ordinal())
                .ok()?;
            segments[found].path().map(Path::to_path_buf)
        })
    }

    /// A number that tells this log from every other, for as long as it has files.
    pub fn identity(&self) -> u64 {
        self.identity
    }

    /// The sequence the next record will get. All records below it are readable.
    pub fn end_sequence(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// The oldest record kept; the end when there is none.
    pub fn first_sequence(&self) -> u64 {
        self.with_segments(|segments| segments.first().map(|first| first.base()))
            .unwrap_or_else(|| self.end_sequence())
    }

    /// The cursor of a record, found by walking through its segment; clamped into what the log has.
    ///
    /// Where the walk cannot read, the position is left open and the reader finds it.
    pub fn seek(&self, sequence: u64) -> Cursor {
        let sequence = sequence.clamp(self.first_sequence(), self.end_sequence());
        let Some(segment) = self.segment_for(sequence) else {
            return Cursor {
                sequence,
                position: Position::default(),
            };
        };
        let within = (segment.base()..segment.end_sequence()).contains(&sequence);
        let offset = if within && sequence > segment.base() {
            segment.bytes().map_or(0, |bytes| {
                let offset = segment.find(&bytes, sequence);
                if bytes.has_faulted() { 0 } else { offset }
            })
        } else {
            HEADER_BYTES
        };
        let position = Position {
            segment: segment.ordinal(),
            offset,
        };
        Cursor { sequence, position }
    }

    /// The sequence of a segment's first record, while the log has that segment.
    pub fn segment_base(&self, segment: u32) -> Option<u64> {
        self.with_segments(|segments| {
            let found = segments.binary_search_by_key(&segment, |segment| segment.ordinal());
            found.ok().map(|at| segments[at].base())
        })
    }

    /// Bytes that the log's files (or its memory) take.
    pub fn disk_bytes(&self) -> u64 {
        self.with_segments(|segments| {
            segments
                .iter()
                .map(|segment| u64::from(segment.header.capacity))
                .sum()
        })
    }

    /// The sequence of the first record such that the files from its own on take `bytes`, or all there are.
    pub fn sequence_keeping(&self, bytes: u64) -> u64 {
        let mut kept = 0;
        self.with_segments(|segments| {
            let mut newest_first = segments.iter().rev();
            newest_first
                .find(|segment| {
                    kept += u64::from(segment.header.capacity);
                    kept >= bytes
                })
                .or(segments.first())
                .map(|segment| segment.base())
        })
        .unwrap_or_else(|| self.end_sequence())
    }

    /// The sequence below which every record is on the disk.
    pub fn synced_sequence(&self) -> u64 {
        lock(&self.synced).sequence
    }

    /// Brings everything appended so far to the disk and returns the sequence below which all is safe.
    /// May run next to the writer; several at once take turns.
    ///
    /// # Errors
    /// When the disk does not take it. What was not synced will be written again by the next call, of this process or
    /// a later one, since the kernel may have dropped its own note that the pages are dirty.
    pub fn sync(&self) -> Result<u64, LogError> {
        let _turn = lock(&self.sync);
        let epoch = lock(&self.synced).epoch;
        let end = self.end_sequence();
        let dirty: Vec<_> = self.with_segments(|segments| {
            let dirty = segments.iter().filter(|segment| is_dirty(segment));
            dirty.cloned().collect()
        });
        for segment in &dirty {
            if let Err(error) = self.sync_segment(segment) {
                self.unsynced_marker.set(&self.disk, segment.ordinal());
                return Err(error);
            }
        }
        if let Some(folder) = &self.folder
            && self.folder_dirty.swap(false, Ordering::AcqRel)
            && let Err(error) = self.disk.sync_folder(folder)
        {
            self.folder_dirty.store(true, Ordering::Release);
            return Err(error.into());
        }
        self.unsynced_marker.remove(&self.disk);
        let mut synced = lock(&self.synced);
        if synced.epoch == epoch {
            synced.sequence = end;
        }
        Ok(synced.sequence)
    }

    fn sync_segment(&self, segment: &Segment) -> Result<(), LogError> {
        let written = segment.written();
        let file = match segment.open_briefly(&self.disk) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(()),
            // Released in the meantime: no one needs it on the disk any more.
            Err(error) if error.is_not_found() && !self.holds(segment) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let path = segment.path().expect("a segment with a file has a path");
        if segment.take_sync_failure()
            && let Err(error) = segment.write_again(&self.disk)
        {
            segment.note_sync_failure();
            return Err(error.into());
        }
        if let Err(error) = self.disk.sync(&file, path) {
            segment.note_sync_failure();
            return Err(error.into());
        }
        segment.set_synced(written);
        Ok(())
    }

    fn holds(&self, segment: &Segment) -> bool {
        self.segment_base(segment.ordinal()).is_some()
    }

    /// The segment that holds `sequence`; where none does, the last one before it.
    pub(crate) fn segment_for(&self, sequence: u64) -> Option<Arc<Segment>> {
        self.with_segments(|segments| {
            let behind = segments.partition_point(|segment| segment.base() <= sequence);
            segments.get(behind.saturating_sub(1)).cloned()
        })
    }

    /// The segment with the lowest base above `sequence`.
    pub(crate) fn segment_behind(&self, sequence: u64) -> Option<Arc<Segment>> {
        self.with_segments(|segments| {
            let behind = segments.partition_point(|segment| segment.base() <= sequence);
            segments.get(behind).cloned()
        })
    }

    pub(crate) fn last_segment(&self) -> Option<Arc<Segment>> {
        self.with_segments(|segments| segments.last().cloned())
    }

    pub(crate) fn with_segments<T>(&self, look: impl FnOnce(&[Arc<Segment>]) -> T) -> T {
        look(&self.segments.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Appends a segment to the list. Its first record's sequence ends the one before.
    pub(crate) fn push_segment(&self, segment: Arc<Segment>) {
        let mut segments = self.write_segments();
        if let Some(last) = segments.last() {
            last.set_end_sequence(segment.base());
            last.close();
        }
        segments.push(segment);
        drop(segments);
        self.note_folder_change();
    }

    /// Takes the oldest segment off the list when it ends at or before `sequence` and is not the last.
    pub(crate) fn pop_segment(&self, sequence: u64) -> Option<Arc<Segment>> {
        let mut segments = self.write_segments();
        let finished = segments.len() > 1 && segments[0].end_sequence() <= sequence;
        finished.then(|| segments.remove(0))
    }

    /// Makes `holder`, sealed at `seal`, the last segment; returns those after it.
    pub(crate) fn cut(&self, holder: &Segment, seal: Seal) -> Vec<Arc<Segment>> {
        let mut segments = self.write_segments();
        let behind = segments.partition_point(|segment| segment.ordinal() <= holder.ordinal());
        holder.set_end_sequence(seal.end);
        let dropped = segments.split_off(behind);
        self.publish_end(seal.end);
        let mut synced = lock(&self.synced);
        synced.sequence = synced.sequence.min(seal.end);
        synced.epoch += 1;
        dropped
    }

    pub(crate) fn clear(&self) -> Vec<Arc<Segment>> {
        std::mem::take(&mut *self.write_segments())
    }

    pub(crate) fn publish_end(&self, sequence: u64) {
        self.end.store(sequence, Ordering::Release);
    }

    pub(crate) fn note_folder_change(&self) {
        self.folder_dirty.store(true, Ordering::Release);
    }

    fn write_segments(&self) -> std::sync::RwLockWriteGuard<'_, Vec<Arc<Segment>>> {
        self.segments
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_dirty(segment: &Segment) -> bool {
    segment.path().is_some() && segment.synced() < segment.written()
}
