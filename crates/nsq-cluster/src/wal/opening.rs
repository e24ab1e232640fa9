//! Opening a write-ahead log, and what becomes of one that is not trusted.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::boot::{Distrust, Durability, Marker, MarkerState};
use super::files::{Crash, Files, OpenError};
use super::memory::Memory;
use super::{Shared, State, Wal, WalLanes, WalOptions, small_file};

/// What opening a write-ahead log comes to.
#[derive(Debug)]
pub enum Opening {
    /// It holds what the replica has promised.
    Ready(Wal),
    /// It may not.
    Untrusted(Untrusted),
}

/// A write-ahead log that may lack entries which the replica has acknowledged. Its replica must not vote: the node takes a new
/// number, and the replica begins again as a learner ([`reset`](Self::reset)). Only where no majority of a group could vote
/// otherwise does it go on with what there is ([`trust`](Self::trust)).
#[derive(Debug)]
pub struct Untrusted {
    /// What is wrong.
    pub reason: Distrust,
    folder: PathBuf,
    options: WalOptions,
    lanes: WalLanes,
}

impl Untrusted {
    /// Opens the log with the entries that are left up to the first damage, and the vote, which was always synced. What was acknowledged and is not
    /// there any more is lost, unless another replica has it and leads.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] when the log is damaged, so that only [`reset`](Self::reset) helps; otherwise when the
    /// files cannot be read or written now. The log stays untrusted then.
    pub fn trust(self) -> io::Result<Wal> {
        let distrusted = |why: Distrust| io::Error::new(io::ErrorKind::InvalidData, why);
        if self.reason != Distrust::MachineCrash {
            return Err(distrusted(self.reason));
        }
        let options = self.options;
        let opened = Files::open(
            &self.folder,
            options.log_options(),
            options.pool_bytes(),
            Crash::OfWritten,
        );
        let (mut files, found) = match opened {
            Ok(opened) => opened,
            Err(OpenError::File(error)) => return Err(error),
            Err(OpenError::Distrust(why)) => {
                // So that the next start does not try this again.
                Marker {
                    boot_id: options.boot_id,
                    durability: options.durability,
                    state: MarkerState::Distrusted(why.to_string()),
                }
                .write(&self.folder)?;
                return Err(distrusted(why));
            }
        };
        // From now on these entries count as acknowledged again.
        files.sync()?;
        let memory = Memory::new(found.purged, found.last, found.vote, files.view());
        Wal::mark_open(&self.folder, &options)?;
        Ok(Wal::new(self.folder, options, self.lanes, files, memory))
    }

    /// Forgets all entries and the vote. Only for a node that has a new number: under the old one, the forgotten vote could be
    /// given twice. The state machine has to forget how far it had come as well.
    ///
    /// # Errors
    /// When the files cannot be changed. The log stays untrusted then.
    pub fn reset(self) -> io::Result<Wal> {
        let options = self.options;
        let files = Files::reset(&self.folder, options.log_options(), options.pool_bytes());
        let files = files.map_err(|error| match error {
            OpenError::File(error) => error,
            OpenError::Distrust(distrust) => io::Error::other(distrust),
        })?;
        let memory = Memory::new(None, None, None, files.view());
        // Last: a kill before this leaves the log untrusted.
        Wal::mark_open(&self.folder, &options)?;
        Ok(Wal::new(self.folder, options, self.lanes, files, memory))
    }
}

impl Wal {
    /// Opens the log in `folder`, which is created if needed. Blocks on the disk: for the start of a replica.
    ///
    /// # Errors
    /// When the files cannot be read or written now.
    pub fn open(folder: &Path, options: WalOptions, lanes: WalLanes) -> io::Result<Opening> {
        std::fs::create_dir_all(folder)
            .map_err(|error| small_file::explain(&error, "create", folder))?;
        let untrusted = |options, lanes, reason| {
            let folder = folder.to_path_buf();
            Ok(Opening::Untrusted(Untrusted {
                reason,
                folder,
                options,
                lanes,
            }))
        };
        let marker = match Marker::read(folder) {
            Ok(marker) => marker,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return untrusted(options, lanes, Distrust::Damaged(error.to_string()));
            }
            Err(error) => return Err(error),
        };
        let distrust = marker
            .as_ref()
            .and_then(|marker| marker.distrust(&options.boot_id));
        if let Some(distrust) = distrust {
            return untrusted(options, lanes, distrust);
        }
        let has_crashed = marker
            .as_ref()
            .is_some_and(|marker| marker.has_crashed(&options.boot_id));
        let crash = if has_crashed {
            Crash::OfSynced
        } else {
            Crash::None
        };
        let opened = Files::open(folder, options.log_options(), options.pool_bytes(), crash);
        let (mut files, found) = match opened {
            Ok(opened) => opened,
            Err(OpenError::Distrust(distrust)) => return untrusted(options, lanes, distrust),
            Err(OpenError::File(error)) => return Err(error),
        };
        if marker.is_none() && (found.last.is_some() || found.vote.is_some()) {
            let why = format!("{}: the boot marker is missing", folder.display());
            return untrusted(options, lanes, Distrust::Damaged(why));
        }
        if options.durability == Durability::Synced {
            // What an earlier process wrote and did not sync must not be found torn together with a later write.
            files.sync()?;
        }
        let memory = Memory::new(found.purged, found.last, found.vote, files.view());
        Self::mark_open(folder, &options)?;
        let folder = folder.to_path_buf();
        Ok(Opening::Ready(Self::new(
            folder, options, lanes, files, memory,
        )))
    }

    fn new(
        folder: PathBuf,
        options: WalOptions,
        lanes: WalLanes,
        files: Files,
        memory: Memory,
    ) -> Self {
        let state = State {
            memory,
            queue: VecDeque::new(),
            is_writing: false,
            trouble: None,
            is_closed: false,
        };
        Self(Arc::new(Shared {
            folder,
            options,
            lanes,
            pool: Arc::clone(files.pool()),
            state: Mutex::new(state),
            files: Mutex::new(files),
            reading: Mutex::new(None),
        }))
    }

    pub(super) fn mark_open(folder: &Path, options: &WalOptions) -> io::Result<()> {
        let marker = Marker {
            boot_id: options.boot_id.clone(),
            durability: options.durability,
            state: MarkerState::Open,
        };
        marker.write(folder)
    }
}
