//! The folders of topics and channels: which there are, and how one is deleted.
//!
//! A deletion renames the folder, writes `nsqd.dat`, and only then removes the files. So whatever instant nsqd is killed
//! at, either all of the folder is there, or the renamed one says that what `nsqd.dat` still names is gone.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::StoreError;

/// What deleted folders' names end in: `<name>.topic.<process id>.<number>.deleted`.
const DELETED: &str = ".deleted";

/// The topics or channels that have a folder, or had one.
pub(super) struct Folders {
    pub(super) living: Vec<(String, PathBuf)>,
    deleted: Vec<String>,
}

impl Folders {
    /// The folders in `folder` whose names end in `suffix`, by their names less it. Those that a deletion left behind
    /// are added to `discarded`.
    pub(super) fn list(
        folder: &Path,
        suffix: &str,
        discarded: &mut Vec<Discarded>,
    ) -> Result<Folders, StoreError> {
        let entries =
            std::fs::read_dir(folder).map_err(|error| StoreError::io("list", folder, error))?;
        let mut folders = Folders {
            living: Vec::new(),
            deleted: Vec::new(),
        };
        for entry in entries {
            let entry = entry.map_err(|error| StoreError::io("list", folder, error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(stem) = name.strip_suffix(DELETED) {
                discarded.push(Discarded(entry.path()));
                let before = stem.rsplitn(3, '.').nth(2);
                let before = before.and_then(|before| before.strip_suffix(suffix));
                folders.deleted.extend(before.map(str::to_owned));
            } else if let Some(stem) = name.strip_suffix(suffix) {
                folders.living.push((stem.to_owned(), entry.path()));
            }
        }
        Ok(folders)
    }

    /// The names that were deleted, whether or not they were made again.
    pub(super) fn deleted(&self) -> impl Iterator<Item = &str> {
        self.deleted.iter().map(String::as_str)
    }

    /// The names that were deleted and not made again.
    pub(super) fn gone(&self) -> impl Iterator<Item = &str> {
        let deleted = self.deleted.iter().map(String::as_str);
        deleted.filter(|&name| self.living.iter().all(|(living, _)| living != name))
    }
}

/// A folder that was deleted by renaming it, whose files still have to be removed.
#[derive(Debug)]
#[must_use = "its files stay until they are removed, which is to be done once nsqd.dat does not name it any more"]
pub(crate) struct Discarded(PathBuf);

impl Discarded {
    /// Deletes `folder`, as far as anyone can see. `None` when there is no such folder.
    pub(crate) fn folder(folder: &Path) -> Option<Discarded> {
        let doomed = unused_name(folder);
        match std::fs::rename(folder, &doomed) {
            Ok(()) => Some(Discarded(doomed)),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                tracing::error!("{} cannot be deleted: {error}", folder.display());
                None
            }
        }
    }

    /// Removes the files. May take a while: to be called outside of locks.
    pub(super) fn remove(self) {
        match std::fs::remove_dir_all(&self.0) {
            Ok(()) => {}
            // A channel's, when its topic was deleted after it.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => tracing::warn!("{} is left behind: {error}", self.0.display()),
        }
    }
}

/// What to rename `folder` to: an earlier process of our id may have left some behind.
fn unused_name(folder: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut name = folder.as_os_str().to_owned();
        name.push(format!(".{}.{number}{DELETED}", std::process::id()));
        let name = PathBuf::from(name);
        if !name.exists() {
            return name;
        }
    }
}
