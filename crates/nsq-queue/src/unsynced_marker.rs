//! The marker of a failed sync, for the next process.
//!
//! When a sync fails, the kernel forgets that the pages are dirty: only writing them again brings them to the disk. The
//! process whose sync failed writes them again before its next sync. If it is killed first, the next process would sync
//! nothing and report it as safe. So a file `<log>.unsynced` in the log's folder names the first segment in doubt, until
//! a sync has worked. A kill leaves it there. A machine crash may remove it, and then it is no longer needed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::disk::Disk;

/// The marker file, and what it says.
#[derive(Debug)]
pub(crate) struct UnsyncedMarker {
    /// `None` in memory.
    path: Option<PathBuf>,
    /// The first segment in doubt; `u32::MAX` for none.
    first: AtomicU32,
}

impl UnsyncedMarker {
    /// The marker of a log in memory, which is never set.
    pub(crate) fn none() -> Self {
        Self {
            path: None,
            first: AtomicU32::new(NO_SEGMENT),
        }
    }

    /// Reads the marker that an earlier process left.
    pub(crate) fn read(folder: &Path, log: &str) -> Self {
        let path = folder.join(format!("{log}{EXTENSION}"));
        let first = match std::fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => NO_SEGMENT,
            // The file exists but cannot be read: the whole log is in doubt.
            Err(_) => 0,
        };
        Self {
            path: Some(path),
            first: AtomicU32::new(first),
        }
    }

    /// Returns whether the records of this segment have to be written again.
    pub(crate) fn doubts(&self, segment: u32) -> bool {
        segment >= self.first.load(Ordering::Relaxed)
    }

    /// A segment could not be synced. The caller holds the log's turn to sync.
    pub(crate) fn set(&self, disk: &Disk, segment: u32) {
        let Some(path) = &self.path else { return };
        if self.doubts(segment) {
            return;
        }
        // If this fails too, the failed sync is the error to report.
        if disk
            .write_whole(path, segment.to_string().as_bytes())
            .is_ok()
        {
            self.first.store(segment, Ordering::Relaxed);
        }
    }

    /// Everything is synced. The caller holds the log's turn to sync.
    pub(crate) fn remove(&self, disk: &Disk) {
        let Some(path) = &self.path else { return };
        if self.first.load(Ordering::Relaxed) != NO_SEGMENT && disk.remove(path).is_ok() {
            self.first.store(NO_SEGMENT, Ordering::Relaxed);
        }
    }
}

const EXTENSION: &str = ".unsynced";
/// Higher than every segment.
const NO_SEGMENT: u32 = u32::MAX;
