//! The directory as a [`StateMachine`]: the table in memory, and one file of it.
//!
//! The file is written when members or shards have changed, every so many other changes, and for a checkpoint. What was
//! applied since then is in the write-ahead log, which is not purged before a checkpoint covers it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use super::{Change, Directory, Outcome, Refused};
use crate::codec::{
    Batch, DecodeError, Decoder, LogId, Manifest, ManifestFile, Wire, put_optional,
};
use crate::state_machine::{Checkpoint, CheckpointFiles, Staging, StateMachine};
use crate::wal::small_file;

/// The replicated directory of one node.
#[derive(Debug)]
pub struct DirectoryMachine {
    folder: PathBuf,
    applied: Option<LogId>,
    /// Changes since the file was written.
    unstored: u32,
    published: watch::Sender<Arc<Directory>>,
}

/// What the file holds.
struct Stored {
    applied: Option<LogId>,
    directory: Arc<Directory>,
}

impl DirectoryMachine {
    /// Opens the directory in `folder`, which is created if needed. The receiver always has the newest state.
    ///
    /// # Errors
    /// When the file is damaged, was written by a later version, or cannot be read.
    pub fn open(folder: &Path) -> io::Result<(Self, watch::Receiver<Arc<Directory>>)> {
        std::fs::create_dir_all(folder)
            .map_err(|error| small_file::explain(&error, "create", folder))?;
        let stored = small_file::read(folder, FILE)?;
        let stored = stored.unwrap_or_else(|| Stored {
            applied: None,
            directory: Arc::default(),
        });
        let (published, receiver) = watch::channel(stored.directory);
        let machine = Self {
            folder: folder.to_path_buf(),
            applied: stored.applied,
            unstored: 0,
            published,
        };
        Ok((machine, receiver))
    }

    /// Forgets the state in `folder`: for a node that joins under another number and receives everything again.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn forget(folder: &Path) -> io::Result<()> {
        let path = folder.join(FILE);
        match std::fs::remove_file(&path) {
            Ok(()) => small_file::sync_folder(folder),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(small_file::explain(&error, "remove", &path)),
        }
    }

    /// What is stored in `folder`, without a change to it: the last applied entry, and the table as of that.
    ///
    /// # Errors
    /// As [`DirectoryMachine::open`].
    pub fn look(folder: &Path) -> io::Result<(Option<LogId>, Arc<Directory>)> {
        let stored = small_file::read::<Stored>(folder, FILE)?;
        Ok(stored.map_or_else(Default::default, |stored| {
            (stored.applied, stored.directory)
        }))
    }

    /// Puts another table in the place of the one in `folder`, as of the entry `applied`. For a replica that is not open.
    ///
    /// # Errors
    /// When the disk does not take it; the one before is still there then.
    pub(super) fn replace(folder: &Path, applied: LogId, directory: Directory) -> io::Result<()> {
        let stored = Stored {
            applied: Some(applied),
            directory: Arc::new(directory),
        };
        small_file::replace(folder, FILE, &stored)
    }

    fn store(&mut self, stored: &Stored) -> io::Result<()> {
        small_file::replace(&self.folder, FILE, stored)?;
        self.unstored = 0;
        Ok(())
    }

    fn current(&self) -> Stored {
        Stored {
            applied: self.applied,
            directory: Arc::clone(&self.published.borrow()),
        }
    }
}

impl StateMachine for DirectoryMachine {
    fn applied(&self) -> Option<LogId> {
        self.applied
    }

    fn apply(&mut self, id: LogId, proposals: &Batch) -> io::Result<Vec<Bytes>> {
        if self
            .applied
            .is_some_and(|applied| id.index <= applied.index)
        {
            return Ok(Vec::new());
        }
        if proposals.is_empty() {
            self.applied = Some(id);
            return Ok(Vec::new());
        }
        let old = Arc::clone(&self.published.borrow());
        let mut directory = Directory::clone(&old);
        let mut outcomes = Vec::with_capacity(proposals.len());
        let mut only_topics = true;
        for proposal in proposals.iter() {
            let outcome = match Change::from_bytes(proposal) {
                Ok(change) => {
                    only_topics &= change.is_about_topics();
                    directory.apply(&change)
                }
                Err(error) => Outcome::Refused(Refused::Unreadable(error.to_string())),
            };
            outcomes.push(outcome.to_bytes());
        }
        let changes = directory.index - old.index;
        self.unstored = self
            .unstored
            .saturating_add(u32::try_from(changes).unwrap_or(u32::MAX));
        let next = Stored {
            applied: Some(id),
            directory: Arc::new(directory),
        };
        if changes > 0 && (!only_topics || self.unstored >= STORE_EVERY) {
            // On an error nothing has changed here, so that the entry can come again.
            self.store(&next)?;
        }
        self.applied = next.applied;
        if changes > 0 {
            self.published.send_replace(next.directory);
        }
        Ok(outcomes)
    }

    fn checkpoint(&mut self) -> io::Result<Checkpoint> {
        let stored = self.current();
        self.store(&stored)?;
        let bytes = stored.to_bytes();
        let file = ManifestFile {
            name: FILE.to_owned(),
            bytes: bytes.len() as u64,
            fingerprint: 0,
        };
        let manifest = Manifest {
            files: vec![file],
            note: Bytes::new(),
        };
        let files = Arc::new(OneFile(bytes));
        Ok(Checkpoint { manifest, files })
    }

    fn stage(&mut self, manifest: &Manifest) -> io::Result<Box<dyn Staging>> {
        match manifest.files.as_slice() {
            [file] if file.name == FILE && file.bytes <= MAX_STATE_BYTES => {
                Ok(Box::new(Staged(Vec::new())))
            }
            _ => Err(invalid("the checkpoint is none of a directory")),
        }
    }

    fn install(&mut self, staged: Box<dyn Staging>, applied: LogId) -> io::Result<()> {
        let staged = staged.into_any().downcast::<Staged>();
        let staged = staged.map_err(|_| invalid("the checkpoint was staged elsewhere"))?;
        let stored =
            Stored::from_bytes(staged.0.into()).map_err(|error| invalid(&error.to_string()))?;
        if stored.applied != Some(applied) {
            return Err(invalid("the checkpoint is of another entry"));
        }
        self.store(&stored)?;
        self.applied = stored.applied;
        self.published.send_replace(stored.directory);
        Ok(())
    }
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// The bytes of a checkpoint; a directory is small enough to be held.
#[derive(Debug)]
struct OneFile(Bytes);

impl CheckpointFiles for OneFile {
    fn read(&self, _: usize, offset: u64, bytes: usize) -> io::Result<Bytes> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = offset.saturating_add(bytes);
        if end > self.0.len() {
            return Err(invalid("the checkpoint ends before"));
        }
        Ok(self.0.slice(offset..end))
    }
}

struct Staged(Vec<u8>);

impl Staging for Staged {
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send> {
        self
    }

    fn needed_from(&mut self, _: usize, _: &ManifestFile) -> io::Result<u64> {
        Ok(0)
    }

    fn write(&mut self, _: usize, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if offset != self.0.len() as u64 {
            return Err(invalid("the checkpoint has a gap"));
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

impl Wire for Stored {
    fn encode(&self, to: &mut Vec<u8>) {
        put_optional(to, self.applied.as_ref());
        self.directory.encode(to);
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            applied: from.optional("the last applied entry")?,
            directory: Arc::new(Directory::decode(from)?),
        })
    }
}

const FILE: &str = "state";
/// Topics and channels that are created one by one do not cost a write of the whole table each.
const STORE_EVERY: u32 = 1000;
/// What a directory at all its limits takes, and more.
const MAX_STATE_BYTES: u64 = 512 << 20;
