//! Freed segment files that wait to be used again: their pages are in the cache, which makes appending to them twice as
//! fast as to a new file.
//!
//! A file in the pool begins with the free header, so wherever a kill leaves it, it holds no record. The pool is bounded by
//! `max_bytes`, and by time: [`SegmentPool::release_unused`] removes the files that no log needed for a while.
//!
//! A power cut may keep the new name of a file and lose what was written to it last. So the free header protects a file
//! only after it is synced. Before that, the file may come back with the header and the records of its former log. They
//! would count in the folder of a log with the same name, such as the `main` of two topics. The former log may take the
//! file again at any time, since each of its segments has another ordinal. Every other log gets the file only after
//! [`SegmentPool::sync_headers`].

use std::cmp::Reverse;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::disk::Disk;
use crate::error::FileError;
use crate::header::{self, FREE, HEADER_BYTES, Header, HeaderKind};
use crate::segment::lock;
use crate::segment_allocator::{self, BLOCK_BYTES};

/// Freed segment files, shared by all logs of a folder tree.
#[derive(Debug)]
pub struct SegmentPool {
    folder: PathBuf,
    max_bytes: u64,
    content: Mutex<Content>,
}

#[derive(Debug, Default)]
struct Content {
    files: Vec<Pooled>,
    /// Counts the calls of [`SegmentPool::release_unused`].
    round: u64,
}

#[derive(Debug)]
struct Pooled {
    path: PathBuf,
    capacity: u32,
    /// The round it was put in, or [`RESERVED`].
    since: u64,
    on_disk: OnDisk,
}

/// What a power cut may leave of a file in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnDisk {
    /// Nothing that counts: the free header is synced, or the file never had another one.
    Free,
    /// Perhaps a segment of the log with this identity.
    SegmentOf(u64),
    /// Perhaps a segment of any log: an earlier process left the file.
    Unknown,
}

impl Pooled {
    /// Whether the log `identity` may take it: nothing that a power cut leaves in it would count there.
    fn is_safe_for(&self, identity: u64) -> bool {
        match self.on_disk {
            OnDisk::Free => true,
            OnDisk::SegmentOf(former) => former == identity,
            OnDisk::Unknown => false,
        }
    }

    /// Brings the free header to the disk. It is written again, since after a failed sync the kernel no longer knows that
    /// it has to.
    fn sync_header(&self) -> Result<(), FileError> {
        let disk = Disk::default();
        let file = disk.open(&self.path)?;
        disk.write_at(&file, &self.path, &FREE, 0)?;
        disk.sync(&file, &self.path)
    }
}

impl SegmentPool {
    /// A pool that keeps at most `max_bytes` of files in `folder`, which must be on the file system of
    /// the logs. Takes over the files that an earlier process left there.
    pub fn new(folder: impl Into<PathBuf>, max_bytes: u64) -> Self {
        let pool = Self {
            folder: folder.into(),
            max_bytes,
            content: Mutex::default(),
        };
        let disk = Disk::default();
        for entry in std::fs::read_dir(&pool.folder)
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = entry.path();
            if path.extension().is_some_and(|end| end == EXTENSION) {
                match free_capacity(&path) {
                    Some(capacity) if pool.has_room(capacity) => {
                        pool.put(path, capacity, OnDisk::Unknown);
                    }
                    // A free segment that cannot be removed only costs its space.
                    Some(_) => drop(disk.remove(&path)),
                    // Not ours, whatever its name is.
                    None => {}
                }
            }
        }
        pool
    }

    /// Whether a file of at least `capacity` bytes is waiting.
    pub fn holds(&self, capacity: u32) -> bool {
        let content = lock(&self.content);
        content.files.iter().any(|file| file.capacity >= capacity)
    }

    /// Makes sure that a file of at least `capacity` bytes is waiting: a log that has no space left on the disk for its next
    /// segment takes it. May exceed the pool's limit by that one file.
    ///
    /// # Errors
    /// When there is no space for it.
    pub fn reserve(&self, capacity: u32) -> Result<(), FileError> {
        if self.holds(capacity) {
            return Ok(());
        }
        let disk = Disk::default();
        let path = self.new_path();
        let capacity = capacity.max(SMALLEST_BYTES).next_multiple_of(BLOCK_BYTES);
        let file = segment_allocator::create_file(&disk, &path, capacity)?;
        if let Err(error) = disk.write_at(&file, &path, &FREE, 0) {
            drop(disk.remove(&path));
            return Err(error);
        }
        lock(&self.content).files.push(Pooled {
            path,
            capacity,
            since: RESERVED,
            on_disk: OnDisk::Free,
        });
        Ok(())
    }

    /// Whether a file of `capacity` bytes is worth keeping and fits.
    pub(crate) fn has_room(&self, capacity: u32) -> bool {
        capacity >= SMALLEST_BYTES && self.bytes() + u64::from(capacity) <= self.max_bytes
    }

    /// How many bytes its files have.
    pub fn bytes(&self) -> u64 {
        let content = lock(&self.content);
        let capacities = content.files.iter().map(|file| u64::from(file.capacity));
        capacities.sum()
    }

    /// A file name in the pool's folder that is not in use.
    pub(crate) fn new_path(&self) -> PathBuf {
        let name = format!("{:016x}.{EXTENSION}", header::random());
        self.folder.join(name)
    }

    /// Adds a file that has no readers any more and begins with the free header.
    pub(crate) fn put(&self, path: PathBuf, capacity: u32, on_disk: OnDisk) {
        let mut content = lock(&self.content);
        let since = content.round;
        content.files.push(Pooled {
            path,
            capacity,
            since,
            on_disk,
        });
    }

    /// Removes a file of `capacity` bytes from the pool that the log `identity` may take, and returns it.
    pub(crate) fn take(&self, capacity: u32, identity: u64) -> Option<PathBuf> {
        let fits = |file: &Pooled| file.capacity == capacity && file.is_safe_for(identity);
        self.remove_where(fits).map(|file| file.path)
    }

    /// As [`take`](Self::take), for a log that finds no other space on the disk: a file of at least `capacity` bytes, whose
    /// header is synced first if it has to be.
    pub(crate) fn take_at_least(&self, capacity: u32, identity: u64) -> Option<(PathBuf, u32)> {
        loop {
            let file = self.remove_where(|file| file.capacity >= capacity)?;
            if file.is_safe_for(identity) || file.sync_header().is_ok() {
                return Some((file.path, file.capacity));
            }
            drop(Disk::default().remove(&file.path));
        }
    }

    /// Removes one of the files for which `fits` holds from the pool: of the smallest ones, the one put in last, so that
    /// files beyond what the logs need stay unused and can be released.
    fn remove_where(&self, fits: impl Fn(&Pooled) -> bool) -> Option<Pooled> {
        let mut content = lock(&self.content);
        let (at, _) = content
            .files
            .iter()
            .enumerate()
            .filter(|(_, file)| fits(file))
            .min_by_key(|&(at, file)| (file.capacity, Reverse(file.since), Reverse(at)))?;
        Some(content.files.remove(at))
    }

    /// Syncs the free headers that are not synced yet: from then on, every log may take these files. To be called outside
    /// of locks.
    pub fn sync_headers(&self) {
        let is_unsynced = |file: &&Pooled| file.on_disk != OnDisk::Free;
        let content = lock(&self.content);
        let unsynced = content.files.iter().filter(is_unsynced);
        let paths: Vec<_> = unsynced.map(|file| file.path.clone()).collect();
        drop(content);
        for path in paths {
            // Outside of the pool meanwhile: no log may take a file whose header is being written.
            let Some(mut file) = self.remove_where(|file| file.path == path) else {
                continue;
            };
            if file.sync_header().is_ok() && self.has_room(file.capacity) {
                file.on_disk = OnDisk::Free;
                lock(&self.content).files.push(file);
            } else {
                // A file that cannot be removed is found by the next start.
                drop(Disk::default().remove(&path));
            }
        }
    }

    /// Removes the files that have been in the pool since before the previous call, and lets every log take the others.
    /// Returns how many bytes that frees.
    ///
    /// Called at regular intervals, it leaves a file unused for one to two of them. Not to be called under a lock: it syncs.
    pub fn release_unused(&self) -> u64 {
        let mut content = lock(&self.content);
        let round = content.round;
        let unused: Vec<_> = content
            .files
            .extract_if(.., |file| file.since < round)
            .collect();
        content.round += 1;
        drop(content);
        let disk = Disk::default();
        let mut released = 0;
        for file in unused {
            // A file that cannot be removed is found by the next start.
            if disk.remove(&file.path).is_ok() {
                released += u64::from(file.capacity);
            }
        }
        self.sync_headers();
        released
    }
}

/// The size of a file that begins with the free header.
fn free_capacity(path: &Path) -> Option<u32> {
    let file = File::open(path).ok()?;
    let mut bytes = [0; HEADER_BYTES as usize];
    file.read_exact_at(&mut bytes, 0).ok()?;
    let length = file.metadata().ok()?.len();
    (Header::kind_of(&bytes) == HeaderKind::Free)
        .then(|| u32::try_from(length).ok())
        .flatten()
}

/// Later than every round: such a file is kept until a log takes it.
const RESERVED: u64 = u64::MAX;
const EXTENSION: &str = "free";
/// Smaller files are created as fast as they are taken from the pool.
const SMALLEST_BYTES: u32 = 64 << 10;
