//! The file operations of this crate, each with its error named; tests make them fail here.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, SeekFrom};
use rustix::io::Errno;

use crate::error::{Context, FileError};
use crate::map::WordMap;
use crate::private;

/// Where files live. Without tests, it is only the operating system.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    /// What would change a file is not done, and counts as done.
    is_read_only: bool,
    #[cfg(test)]
    pub(crate) faults: std::sync::Arc<faults::Faults>,
}

impl Disk {
    /// For looking at files that must stay as they are.
    pub(crate) fn read_only() -> Self {
        Self {
            is_read_only: true,
            #[cfg(test)]
            faults: std::sync::Arc::default(),
        }
    }

    /// A new file, which must not exist yet.
    pub(crate) fn create(&self, path: &Path) -> Result<File, FileError> {
        self.gate(Act::Create, path)?;
        private::file_options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
            .context("create", path)
    }

    pub(crate) fn open(&self, path: &Path) -> Result<File, FileError> {
        self.gate(Act::Open, path)?;
        OpenOptions::new()
            .read(true)
            .write(!self.is_read_only)
            .open(path)
            .context("open", path)
    }

    /// Makes the file `bytes` long, with the space for it reserved where the file system can.
    pub(crate) fn allocate(&self, file: &File, path: &Path, bytes: u64) -> Result<(), FileError> {
        self.gate(Act::Allocate, path)?;
        loop {
            match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                    return file.set_len(bytes).context("extend", path);
                }
                result => return result.context("preallocate", path),
            }
        }
    }

    pub(crate) fn write_at(
        &self,
        file: &File,
        path: &Path,
        bytes: &[u8],
        offset: u64,
    ) -> Result<(), FileError> {
        if self.is_read_only {
            return Ok(());
        }
        #[cfg(test)]
        if let Some((short, error)) = self.faults.take(Act::Write) {
            let kept = short.min(bytes.len());
            file.write_all_at(&bytes[..kept], offset)
                .expect("a test's disk");
            return Err(error).context("write", path);
        }
        #[cfg(test)]
        self.faults.count(bytes.len());
        #[cfg(not(test))]
        self.gate(Act::Write, path)?;
        file.write_all_at(bytes, offset).context("write", path)
    }

    /// Creates a small file or replaces its content.
    pub(crate) fn write_whole(&self, path: &Path, bytes: &[u8]) -> Result<(), FileError> {
        if self.is_read_only {
            return Ok(());
        }
        self.gate(Act::Create, path)?;
        private::write_file(path, bytes).context("write", path)
    }

    pub(crate) fn sync(&self, file: &File, path: &Path) -> Result<(), FileError> {
        self.gate(Act::Sync, path)?;
        file.sync_data().context("sync", path)
    }

    /// Brings the words of a mapped file to the disk.
    pub(crate) fn sync_map(&self, map: &WordMap, path: &Path) -> Result<(), FileError> {
        self.gate(Act::Sync, path)?;
        map.sync().context("sync", path)?;
        #[cfg(test)]
        self.faults.note_synced(path);
        Ok(())
    }

    /// [`sync_folder`], which tests can make fail here.
    pub(crate) fn sync_folder(&self, path: &Path) -> Result<(), FileError> {
        self.gate(Act::Sync, path)?;
        sync_folder(path)
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        if self.is_read_only {
            return Ok(());
        }
        self.gate(Act::Rename, from)?;
        std::fs::rename(from, to).context("rename", from)
    }

    /// Removes a file; one that is gone already is fine.
    pub(crate) fn remove(&self, path: &Path) -> Result<(), FileError> {
        if self.is_read_only {
            return Ok(());
        }
        self.gate(Act::Remove, path)?;
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("remove", path)
            }
            _ => Ok(()),
        }
    }

    #[cfg(test)]
    fn gate(&self, act: Act, path: &Path) -> Result<(), FileError> {
        match self.faults.take(act) {
            Some((_, error)) => Err(error).context(act.verb(), path),
            None => Ok(()),
        }
    }

    #[cfg(not(test))]
    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "tests fail operations here"
    )]
    fn gate(&self, _: Act, _: &Path) -> Result<(), FileError> {
        Ok(())
    }
}

/// Makes created, renamed and removed names in the folder survive a machine crash. An empty path is the working directory.
///
/// # Errors
/// When the folder cannot be opened or synced.
pub fn sync_folder(path: &Path) -> Result<(), FileError> {
    let folder = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .context("sync", folder)
}

/// Brings everything that was written to the file system of `path` to the disk, by whomever. With many files this is far
/// faster than one sync for each.
///
/// # Errors
/// When the folder cannot be opened, or the disk refuses.
pub fn sync_file_system(path: &Path) -> Result<(), FileError> {
    let folder = File::open(path).context("open", path)?;
    rustix::fs::syncfs(&folder).context("sync the file system of", path)
}

/// Where the last byte ever written to the file ends, if the file system can tell.
pub(crate) fn data_bytes(file: &File) -> Option<u64> {
    let mut end = 0;
    loop {
        match rustix::fs::seek(file, SeekFrom::Data(end)) {
            Ok(data) => end = rustix::fs::seek(file, SeekFrom::Hole(data)).ok()?,
            Err(Errno::NXIO) => return Some(end),
            Err(_) => return None,
        }
    }
}

/// A kind of operation, for tests to name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Create,
    Open,
    Allocate,
    Write,
    Sync,
    Rename,
    Remove,
}

#[cfg(test)]
pub(crate) mod faults {
    use std::collections::HashMap;
    use std::io;
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::Act;

    /// Operations that are to fail.
    #[derive(Debug, Default)]
    pub(crate) struct Faults {
        planned: Mutex<Vec<Fault>>,
        written_bytes: AtomicUsize,
        /// Mapped files as the last sync found them: what a power cut leaves of them at least.
        synced: Mutex<HashMap<PathBuf, Vec<u8>>>,
    }

    #[derive(Debug)]
    struct Fault {
        act: Act,
        /// How many of its kind succeed before.
        after: usize,
        /// How many fail then.
        times: usize,
        /// How much of a write still reaches the file.
        short: usize,
        errno: i32,
    }

    impl Faults {
        /// After `after` more operations of its kind, `times` of them fail with `errno`; of a write,
        /// `short` bytes still arrive.
        pub(crate) fn plan(&self, act: Act, after: usize, times: usize, short: usize, errno: i32) {
            self.planned.lock().unwrap().push(Fault {
                act,
                after,
                times,
                short,
                errno,
            });
        }

        pub(crate) fn clear(&self) {
            self.planned.lock().unwrap().clear();
        }

        /// Bytes written so far.
        pub(crate) fn written_bytes(&self) -> usize {
            self.written_bytes.load(Ordering::Relaxed)
        }

        pub(super) fn note_synced(&self, path: &Path) {
            let bytes = std::fs::read(path).expect("a test's disk");
            self.synced.lock().unwrap().insert(path.to_owned(), bytes);
        }

        /// Takes back everything that was stored in a mapped file since its last sync.
        pub(crate) fn cut_power(&self, path: &Path) {
            let synced = self.synced.lock().unwrap();
            std::fs::write(path, &synced[path]).expect("a test's disk");
        }

        pub(super) fn count(&self, bytes: usize) {
            self.written_bytes.fetch_add(bytes, Ordering::Relaxed);
        }

        pub(super) fn take(&self, act: Act) -> Option<(usize, io::Error)> {
            let mut planned = self.planned.lock().unwrap();
            let fault = planned.iter_mut().find(|fault| fault.act == act)?;
            if fault.after > 0 {
                fault.after -= 1;
                return None;
            }
            let failed = (fault.short, io::Error::from_raw_os_error(fault.errno));
            fault.times -= 1;
            planned.retain(|fault| fault.times > 0);
            Some(failed)
        }
    }

    impl Act {
        pub(super) fn verb(self) -> &'static str {
            match self {
                Self::Create => "create",
                Self::Open => "open",
                Self::Allocate => "preallocate",
                Self::Write => "write",
                Self::Sync => "sync",
                Self::Rename => "rename",
                Self::Remove => "remove",
            }
        }
    }
}
