//! Freed segment files waiting for reuse: their pages are in the cache, which makes appending to them
//! twice as fast as to a new file.
//!
//! A file in the pool begins with the free header, so wherever a kill leaves it, it holds nothing.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::disk::Disk;
use crate::header::{self, HEADER_BYTES, Header, Sighting};
use crate::segment::lock;

/// Freed segment files, shared by all logs of a folder tree.
#[derive(Debug)]
pub struct SegmentPool {
    folder: PathBuf,
    max_bytes: u64,
    files: Mutex<Vec<Pooled>>,
}

#[derive(Debug)]
struct Pooled {
    path: PathBuf,
    capacity: u32,
}

impl SegmentPool {
    /// A pool that keeps at most `max_bytes` of files in `folder`, which must be on the file system of
    /// the logs. Files an earlier process left there are taken over.
    pub fn new(folder: impl Into<PathBuf>, max_bytes: u64) -> Self {
        let pool = Self {
            folder: folder.into(),
            max_bytes,
            files: Mutex::default(),
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
                    Some(capacity) if pool.has_room(capacity) => pool.put(path, capacity),
                    // A free segment that cannot be removed only costs its space.
                    Some(_) => drop(disk.remove(&path)),
                    // Not ours, whatever its name says.
                    None => {}
                }
            }
        }
        pool
    }

    /// Whether a file of `capacity` bytes is worth keeping and fits.
    pub(crate) fn has_room(&self, capacity: u32) -> bool {
        let held: u64 = lock(&self.files)
            .iter()
            .map(|file| u64::from(file.capacity))
            .sum();
        capacity >= SMALLEST_BYTES && held + u64::from(capacity) <= self.max_bytes
    }

    /// A name in the pool's folder that nobody has.
    pub(crate) fn new_path(&self) -> PathBuf {
        let name = format!("{:016x}.{EXTENSION}", header::random());
        self.folder.join(name)
    }

    /// Takes in a file that nobody reads any more and that begins with the free header.
    pub(crate) fn put(&self, path: PathBuf, capacity: u32) {
        lock(&self.files).push(Pooled { path, capacity });
    }

    /// Hands out a file with a capacity in `wanted`, the smallest there is.
    pub(crate) fn take(&self, wanted: std::ops::RangeInclusive<u32>) -> Option<(PathBuf, u32)> {
        let mut files = lock(&self.files);
        let (at, _) = files
            .iter()
            .enumerate()
            .filter(|(_, file)| wanted.contains(&file.capacity))
            .min_by_key(|(_, file)| file.capacity)?;
        let file = files.swap_remove(at);
        Some((file.path, file.capacity))
    }
}

/// The size of a file that begins with the free header.
fn free_capacity(path: &Path) -> Option<u32> {
    let file = File::open(path).ok()?;
    let mut bytes = [0; HEADER_BYTES as usize];
    file.read_exact_at(&mut bytes, 0).ok()?;
    let length = file.metadata().ok()?.len();
    (Header::sight(&bytes) == Sighting::Free)
        .then(|| u32::try_from(length).ok())
        .flatten()
}

const EXTENSION: &str = "free";
/// Smaller files are made anew as fast as they are found.
const SMALLEST_BYTES: u32 = 64 << 10;
