//! The note of a failed sync, for the process that comes after.
//!
//! When a sync fails, the kernel forgets that the pages are dirty: only writing them again brings them to the disk. The
//! process whose sync failed does so before its next one. Should it be killed before that, the next process would sync
//! nothing and call it safe. So the log's folder gets a file `<log>.unsynced`, which names the first segment in doubt, until
//! a sync has worked. A kill leaves it there; a machine crash may take it, and needs it no more.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::disk::Disk;

/// Whether there is a note, and what it says.
#[derive(Debug)]
pub(crate) struct SyncNote {
    /// `None` in memory.
    path: Option<PathBuf>,
    /// The first segment in doubt; `u32::MAX` for none.
    first: AtomicU32,
}

impl SyncNote {
    /// Of a log in memory.
    pub(crate) fn none() -> Self {
        Self {
            path: None,
            first: AtomicU32::new(NOBODY),
        }
    }

    /// What an earlier process left.
    pub(crate) fn read(folder: &Path, log: &str) -> Self {
        let path = folder.join(format!("{log}{EXTENSION}"));
        let first = match std::fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => NOBODY,
            // Something is there: all of the log is in doubt.
            Err(_) => 0,
        };
        Self {
            path: Some(path),
            first: AtomicU32::new(first),
        }
    }

    /// Whether what is in this segment has to be written again.
    pub(crate) fn doubts(&self, segment: u32) -> bool {
        segment >= self.first.load(Ordering::Relaxed)
    }

    /// A segment could not be synced. The caller holds the log's turn to sync.
    pub(crate) fn leave(&self, disk: &Disk, segment: u32) {
        let Some(path) = &self.path else { return };
        if self.doubts(segment) {
            return;
        }
        // Where this fails too, the failed sync is the error to tell.
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
        if self.first.load(Ordering::Relaxed) != NOBODY && disk.remove(path).is_ok() {
            self.first.store(NOBODY, Ordering::Relaxed);
        }
    }
}

const EXTENSION: &str = ".unsynced";
/// Beyond all segments.
const NOBODY: u32 = u32::MAX;
