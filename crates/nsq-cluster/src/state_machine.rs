//! What a Raft group replicates, as the group sees it.
//!
//! A shard keeps topic logs, finished sets and journals in a folder; the directory keeps a table. Both are a
//! [`StateMachine`]: they take committed entries in order, and now and then a whole [`Checkpoint`] instead.
//!
//! All calls come from one lane, one after the other, so a state machine may block on its disk.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::codec::{Batch, LogId, Manifest, ManifestFile};

/// Replicated state, changed by committed entries and by nothing else.
///
/// Applying is deterministic: the same entries give the same state and the same outcomes on every replica, so it reads no
/// clock and no random numbers. It is idempotent: after a kill the last entries may come again.
pub trait StateMachine: Send + 'static {
    /// The last entry whose effects the state surely has. After a kill it may lie before what [`apply`](Self::apply) has
    /// returned for; it may never lie after.
    fn applied(&self) -> Option<LogId>;

    /// Applies the entry `id` and returns one outcome for each proposal. An entry without proposals changes nothing but
    /// [`applied`](Self::applied). Entries up to `applied()` that come again are skipped.
    ///
    /// # Errors
    /// When the disk does not take it. The same entry comes again until it works, so half of it may be done.
    fn apply(&mut self, id: LogId, proposals: &Batch) -> io::Result<Vec<Bytes>>;

    /// Syncs the state and lists its files as of [`applied`](Self::applied). Copies nothing: the files stay readable, and
    /// what the list says of them stays true, for as long as the checkpoint lives.
    ///
    /// # Errors
    /// When the disk does not take it.
    fn checkpoint(&mut self) -> io::Result<Checkpoint>;

    /// Prepares to receive the files of another replica's checkpoint, next to the state as it is.
    ///
    /// # Errors
    /// When the disk does not take it, or the manifest is none of this kind.
    fn stage(&mut self, manifest: &Manifest) -> io::Result<Box<dyn Staging>>;

    /// Replaces the state by what was staged; from then on it is the one after the entry `applied`. Either all of it is
    /// replaced or nothing is, whenever the process is killed.
    ///
    /// # Errors
    /// When the disk does not take it. The replica cannot continue then: its log may already lack what it would need.
    fn install(&mut self, staged: Box<dyn Staging>, applied: LogId) -> io::Result<()>;
}

/// A state as files that can be read for as long as this lives.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The files.
    pub manifest: Manifest,
    /// Where they are read.
    pub files: Arc<dyn CheckpointFiles>,
}

/// Reads the files of a checkpoint.
pub trait CheckpointFiles: fmt::Debug + Send + Sync {
    /// Reads exactly `bytes` bytes at `offset` of the manifest's file number `file`. The caller stays within the file.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn read(&self, file: usize, offset: u64, bytes: usize) -> io::Result<Bytes>;
}

/// Receives the files of a checkpoint. Dropped without being installed, it leaves nothing behind.
pub trait Staging: Send {
    /// The staged files as what they are, for [`StateMachine::install`] to take apart again.
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send>;

    /// From which byte on the manifest's file number `file` is needed: its size if the replica has all of it, by name and
    /// fingerprint.
    ///
    /// # Errors
    /// When that cannot be found out.
    fn needed_from(&mut self, file: usize, about: &ManifestFile) -> io::Result<u64>;

    /// Takes the next bytes of a file. They come in order, and their checksum has been verified.
    ///
    /// # Errors
    /// When the disk does not take them.
    fn write(&mut self, file: usize, offset: u64, bytes: &[u8]) -> io::Result<()>;
}
