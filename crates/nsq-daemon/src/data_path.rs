//! The lock on the data directory: two daemons, upstream's included, never share one.
//!
//! It is an exclusive `flock` on the directory itself, not on a file within, and the kernel drops
//! it when the process ends in whatever way.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::os_error;

/// Holds the data directory until dropped.
#[derive(Debug)]
pub struct DataPathLock {
    _directory: OwnedFd,
}

/// Why the directory cannot be had. `Display` is upstream's message after `failed to lock data-path: `.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It cannot be opened; it is never created.
    #[error("open {}: {}", .path.display(), os_error::plain_text(.source))]
    Open {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another process has it, or the file system has no locks.
    #[error(
        "cannot flock directory {} - {} (possibly in use by another instance of nsqd)",
        .path.display(), os_error::plain_text(.source)
    )]
    Taken {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl LockError {
    /// What an operator can do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Open { .. } => {
                "--data-path: must be a directory that is there and that this user may read and write"
            }
            Self::Taken { source, .. } if source.kind() == io::ErrorKind::WouldBlock => {
                "--data-path: each nsqd needs a directory of its own"
            }
            Self::Taken { .. } => "--data-path: must be on a file system with locks (flock)",
        }
    }
}

impl DataPathLock {
    /// Locks the directory at `path`, without waiting.
    ///
    /// # Errors
    /// [`LockError`] when it cannot be opened or another process holds it.
    pub fn acquire(path: &Path) -> Result<Self, LockError> {
        Self::lock(path, FlockOperation::NonBlockingLockExclusive)
    }

    /// As [`acquire`](Self::acquire), for looking only: others may look at the same time, and no daemon may run.
    ///
    /// # Errors
    /// As there.
    pub fn acquire_to_look(path: &Path) -> Result<Self, LockError> {
        Self::lock(path, FlockOperation::NonBlockingLockShared)
    }

    fn lock(path: &Path, operation: FlockOperation) -> Result<Self, LockError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory =
            rustix::fs::open(path, flags, Mode::empty()).map_err(|error| LockError::Open {
                path: path.to_owned(),
                source: error.into(),
            })?;
        let locked = loop {
            match rustix::fs::flock(&directory, operation) {
                Err(Errno::INTR) => {}
                other => break other,
            }
        };
        locked.map_err(|error| LockError::Taken {
            path: path.to_owned(),
            source: error.into(),
        })?;
        Ok(Self {
            _directory: directory,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_locked_once_until_the_lock_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let lock = DataPathLock::acquire(path).unwrap();
        let refused = DataPathLock::acquire(path).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!(
                "cannot flock directory {} - resource temporarily \
                 unavailable (possibly in use by another instance of nsqd)",
                path.display()
            )
        );
        drop(lock);
        DataPathLock::acquire(path).unwrap();
        assert_eq!(std::fs::read_dir(path).unwrap().count(), 0);
    }

    #[test]
    fn who_looks_shares_with_others_who_look_and_with_no_daemon() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let first = DataPathLock::acquire_to_look(path).unwrap();
        let second = DataPathLock::acquire_to_look(path).unwrap();
        assert!(DataPathLock::acquire(path).is_err());
        drop((first, second));
        let _daemon = DataPathLock::acquire(path).unwrap();
        assert!(DataPathLock::acquire_to_look(path).is_err());
    }

    #[test]
    fn a_missing_directory_is_not_created() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        let refused = DataPathLock::acquire(&path).unwrap_err();
        let shown = path.display();
        assert_eq!(
            refused.to_string(),
            format!("open {shown}: no such file or directory")
        );
        assert!(!path.exists());
    }
}
