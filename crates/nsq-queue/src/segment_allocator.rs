//! Where a log's segments come from and where they go: the pool, the disk, or memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Log;
use crate::disk::Disk;
use crate::error::{Context, FileError};
use crate::header::{self, FREE, HEADER_BYTES, Header, LogKey};
use crate::listing::file_name;
use crate::pool::{OnDisk, SegmentPool};
use crate::segment::Segment;
use crate::segment_files::is_linked_elsewhere;

/// Makes the segments of one log, and takes them back.
#[derive(Debug)]
pub(crate) struct SegmentAllocator {
    place: Place,
    leaving: Vec<Leaving>,
}

#[derive(Debug)]
enum Place {
    Folder {
        folder: PathBuf,
        name: String,
        pool: Arc<SegmentPool>,
    },
    Memory,
}

/// A freed file that some reader still looks at.
#[derive(Debug)]
struct Leaving {
    segment: Arc<Segment>,
    path: PathBuf,
}

impl SegmentAllocator {
    pub(crate) fn in_folder(folder: &Path, name: &str, pool: Arc<SegmentPool>) -> Self {
        let place = Place::Folder {
            folder: folder.to_path_buf(),
            name: name.to_owned(),
            pool,
        };
        Self {
            place,
            leaving: Vec::new(),
        }
    }

    pub(crate) fn in_memory() -> Self {
        Self {
            place: Place::Memory,
            leaving: Vec::new(),
        }
    }

    /// A segment of `capacity` bytes whose first record will be number `base`. Larger when `record`
    /// bytes do not fit; smaller, but never too small for them, when the disk is nearly full or files may not be so large.
    pub(crate) fn create(
        &self,
        log: &Log,
        mut ordinal: u32,
        base: u64,
        capacity: u32,
        record: u32,
    ) -> Result<Arc<Segment>, FileError> {
        let least = (HEADER_BYTES + record).next_multiple_of(BLOCK_BYTES);
        let mut capacity = capacity.next_multiple_of(BLOCK_BYTES).max(least);
        let identity = log.identity();
        let Place::Folder { folder, name, pool } = &self.place else {
            let key = LogKey {
                identity,
                name_check: 0,
            };
            let header = Header::new(key, ordinal, capacity, base);
            let segment = Segment::in_memory(header).context("map", Path::new("memory"))?;
            return Ok(Arc::new(segment));
        };
        let key = LogKey {
            identity,
            name_check: header::name_check_of(name),
        };
        let disk = &log.disk;
        let mut path = folder.join(file_name(name, ordinal));
        while path.exists() {
            // Not ours, since recovery begins after all it saw: leave it alone.
            ordinal += 1;
            path = folder.join(file_name(name, ordinal));
        }
        let in_segment = |capacity, file| {
            let header = Header::new(key, ordinal, capacity, base);
            Arc::new(Segment::in_file(header, path.clone(), file))
        };
        if let Some(pooled) = pool.take(capacity, identity)
            && disk.rename(&pooled, &path).is_ok()
        {
            return Ok(in_segment(capacity, None));
        }
        loop {
            match create_file(disk, &path, capacity) {
                Ok(file) => return Ok(in_segment(capacity, Some(file))),
                Err(error) if error.is_full_disk() || error.is_too_large_a_file() => {
                    if let Some((pooled, capacity)) = pool.take_at_least(least, identity)
                        && disk.rename(&pooled, &path).is_ok()
                    {
                        return Ok(in_segment(capacity, None));
                    }
                    if capacity == least {
                        return Err(error);
                    }
                    capacity = (capacity / GROWTH).next_multiple_of(BLOCK_BYTES).max(least);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives a freed segment's file to the pool, or removes it.
    pub(crate) fn retire(&mut self, log: &Log, segment: Arc<Segment>) {
        let (Place::Folder { pool, .. }, Some(path)) = (&self.place, segment.path()) else {
            return;
        };
        let disk = &log.disk;
        let path = path.to_path_buf();
        log.note_folder_change();
        let kept = pool.has_room(segment.header.capacity) && !is_linked_elsewhere(&path) && {
            let pooled = pool.new_path();
            // First void, then renamed: under either name it holds nothing from now on.
            let moved = segment
                .write(disk, &FREE, 0)
                .and_then(|()| disk.rename(&path, &pooled));
            segment.close();
            moved.is_ok() && {
                self.leaving.push(Leaving {
                    segment,
                    path: pooled,
                });
                true
            }
        };
        if !kept {
            // A file that stays is found again at the next start, wholly below every floor.
            drop(disk.remove(&path));
        }
    }

    /// Hands freed files to the pool that no reader looks at any more.
    pub(crate) fn end_batch(&mut self, log: &Log) {
        let Place::Folder { pool, .. } = &self.place else {
            return;
        };
        let disk = &log.disk;
        let mut kept = Vec::new();
        for mut leaving in self.leaving.drain(..) {
            if Arc::get_mut(&mut leaving.segment).is_none() {
                kept.push(leaving);
            } else if pool.has_room(leaving.segment.header.capacity) {
                let former = OnDisk::SegmentOf(leaving.segment.header.identity);
                pool.put(leaving.path, leaving.segment.header.capacity, former);
            } else {
                drop(disk.remove(&leaving.path));
            }
        }
        // A reader that never moves on must not pile files up; its map outlives the name.
        let excess = kept.len().saturating_sub(MAX_LEAVING);
        for leaving in kept.drain(..excess) {
            drop(disk.remove(&leaving.path));
        }
        self.leaving = kept;
    }

    /// The files that still wait for their readers; they are the caller's now.
    pub(crate) fn leaving_paths(&mut self) -> Vec<PathBuf> {
        let leaving = self.leaving.drain(..);
        leaving.map(|leaving| leaving.path).collect()
    }
}

/// A new file with its space reserved. On an error there is none.
pub(crate) fn create_file(
    disk: &Disk,
    path: &Path,
    capacity: u32,
) -> Result<std::fs::File, FileError> {
    let file = disk.create(path)?;
    match disk.allocate(&file, path, u64::from(capacity)) {
        Ok(()) => Ok(file),
        Err(error) => {
            drop(disk.remove(path));
            Err(error)
        }
    }
}

/// How much larger each segment is than the one before.
pub(crate) const GROWTH: u32 = 4;
/// Segments are multiples of this.
pub(crate) const BLOCK_BYTES: u32 = 4096;
/// How many freed files wait for readers to leave them.
const MAX_LEAVING: usize = 4;
