//! How the folder of a topic or channel is deleted.
//!
//! A deletion renames the folder, writes `nsqd.dat`, and only then removes the files. So whatever instant nsqd is killed
//! at, either all of the folder is there, or the renamed one says that what `nsqd.dat` still names is gone.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// What deleted folders' names end in: `<name>.topic.<process id>.<number>.deleted`.
pub(crate) const DELETED: &str = ".deleted";

/// A folder that was deleted by renaming it, whose files still have to be removed.
#[derive(Debug)]
#[must_use = "its files stay until they are removed, which is to be done once nsqd.dat does not name it any more"]
pub(crate) struct Discarded(PathBuf);

impl Discarded {
    /// One that an earlier process left.
    pub(crate) fn found(folder: PathBuf) -> Discarded {
        Discarded(folder)
    }

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
    pub(crate) fn remove(self) {
        match std::fs::remove_dir_all(&self.0) {
            Ok(()) => {}
            // A channel's, when its topic was deleted after it.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => tracing::warn!("cannot remove {}: {error}", self.0.display()),
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
