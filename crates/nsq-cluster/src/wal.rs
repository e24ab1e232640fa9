//! The write-ahead log of one replica: its Raft log and its vote.
//!
//! ```text
//! append ──▶ memory: readable at once ──▶ lane: one write, one sync for all that waits ──▶ callbacks
//! read   ──▶ memory, else lane: files
//! ```
//! Everything that changes the files goes through one queue to one [`Lane`], votes included, and is done in that order. What
//! arrives while the disk is busy shares the next write and the next sync.
//!
//! - An entry is readable when [`Wal::append`] returns; its callback runs once it is stored as [`Durability`] says.
//! - Entries have no gap: one that does not follow the last is refused.
//! - A vote is synced before [`Wal::save_vote`] completes, whatever the durability.
//! - A full or failing disk is no error: Raft would take it for the end of the replica. The operation stays at the front of
//!   the queue and is tried again; until it works its callback does not run, so the replica acknowledges nothing.
//!   [`Wal::trouble`] says what the disk refuses.
//! - A leader asks [`Wal::reserve`] before it proposes, so that it refuses a publish rather than finding out afterwards.
//! - A replica whose files may lack what it has acknowledged is not opened, but handed out as [`Untrusted`].

mod boot;
mod end_note;
mod files;
mod look;
mod memory;
mod opening;
mod reading;
mod recover;
pub(crate) mod small_file;
#[cfg(test)]
pub(crate) mod tests;
mod writing;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nsq_queue::{LogOptions, SegmentPool};
use tokio::sync::oneshot;

pub use boot::{Distrust, Durability, current_boot_id};
pub use look::LogLook;
pub use opening::{Opening, Untrusted};
pub use recover::RecoverError;
pub(crate) use recover::recover;
pub use writing::Stored;

use self::boot::{Marker, MarkerState};
use self::files::{Files, Reading};
use self::memory::Memory;
use self::writing::Operation;
use crate::codec::{Entry, LogId, Vote};
use crate::lane::Lane;

/// How a write-ahead log is kept.
#[derive(Clone, Debug)]
pub struct WalOptions {
    /// When an entry counts as stored.
    pub durability: Durability,
    /// Bytes of a segment: disk space is taken and given back in these steps.
    pub segment_bytes: u32,
    /// Bytes of entries kept in memory after they are stored, for followers that are close.
    pub cache_bytes: usize,
    /// The id of the boot this process runs in, by [`current_boot_id`].
    pub boot_id: String,
    /// Whether a log without entries takes a first one with any index: openraft's conformance suite begins at 1.
    #[cfg(test)]
    pub(crate) takes_any_first: bool,
}

impl WalOptions {
    /// The defaults, for this boot.
    pub fn new(durability: Durability) -> Self {
        Self {
            durability,
            segment_bytes: 16 << 20,
            cache_bytes: 4 << 20,
            boot_id: current_boot_id(),
            #[cfg(test)]
            takes_any_first: false,
        }
    }

    /// All segments are of one size, so that freed ones fit again.
    fn log_options(&self) -> LogOptions {
        LogOptions {
            first_segment_bytes: self.segment_bytes,
            max_segment_bytes: self.segment_bytes,
        }
    }

    fn pool_bytes(&self) -> u64 {
        u64::from(self.segment_bytes) * POOLED_SEGMENTS
    }
}

/// The lanes of one write-ahead log.
#[derive(Clone, Debug)]
pub struct WalLanes {
    /// Where files are written.
    pub writer: Arc<dyn Lane>,
    /// Where files are read.
    pub reader: Arc<dyn Lane>,
}

/// The write-ahead log of one replica. Clones share it.
#[derive(Clone, Debug)]
pub struct Wal(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    options: WalOptions,
    lanes: WalLanes,
    pool: Arc<SegmentPool>,
    state: Mutex<State>,
    /// Locked by the writer's lane only, for as long as a job takes.
    files: Mutex<Files>,
    /// How the last read from the files ended, so that the next one in order costs no search.
    /// Good for the epoch it began in: it may hold files that a truncation has taken out of the log.
    reading: Mutex<Option<(u64, Reading)>>,
}

#[derive(Debug)]
struct State {
    memory: Memory,
    /// What the writer's lane has to do, in order.
    queue: VecDeque<Operation>,
    /// Whether the lane is at it or about to be.
    is_writing: bool,
    /// What the disk refuses to do.
    trouble: Option<Arc<str>>,
    is_closed: bool,
}

impl Wal {
    /// The last purged entry.
    pub fn purged(&self) -> Option<LogId> {
        self.0.state().memory.purged()
    }

    /// The last entry; the last purged one if there is none after it.
    pub fn last(&self) -> Option<LogId> {
        self.0.state().memory.last()
    }

    /// The vote stored last.
    pub fn vote(&self) -> Option<Vote> {
        self.0.state().memory.vote()
    }

    /// Bytes of entries that are not stored yet. A replica that has too many must take no more.
    pub fn unstored_bytes(&self) -> usize {
        self.0.state().memory.unstored_bytes()
    }

    /// Bytes that the log's files take.
    pub fn disk_bytes(&self) -> u64 {
        self.0.state().memory.view().disk_bytes()
    }

    /// When an entry counts as stored.
    pub fn durability(&self) -> Durability {
        self.0.options.durability
    }

    /// The index of the first entry such that the files from its own on take `bytes`, or all there are.
    pub fn index_keeping(&self, bytes: u64) -> u64 {
        self.0.state().memory.view().index_keeping(bytes)
    }

    /// What the disk refuses to do at the moment, if anything.
    pub fn trouble(&self) -> Option<Arc<str>> {
        self.0.state().trouble.clone()
    }

    /// Appends entries: they are readable from now on, and `stored` runs once they are stored.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when the first one does not follow the last entry, or one the other;
    /// [`io::ErrorKind::BrokenPipe`] when the log is closed. Nothing is appended then.
    pub fn append(&self, entries: Vec<Entry>, stored: Stored) -> io::Result<()> {
        let mut state = self.0.open_state()?;
        #[cfg(test)]
        if self.0.options.takes_any_first
            && let Some(first) = entries.first()
            && state.memory.begin_at(first.id.index)
        {
            state.queue.push_back(Operation::Begin(first.id.index));
        }
        state.memory.append(&entries)?;
        self.0.enqueue(state, Operation::Append(entries, stored));
        Ok(())
    }

    /// Drops the entries after `last`; all that are not purged if there is none.
    ///
    /// # Errors
    /// When the log is closed.
    pub fn truncate_after(&self, last: Option<LogId>) -> io::Result<()> {
        let mut state = self.0.open_state()?;
        if state.memory.truncate_after(last) {
            let end = state.memory.last().map_or(0, |last| last.index + 1);
            self.0.enqueue(state, Operation::Truncate(end));
        }
        Ok(())
    }

    /// Frees the entries up to `id`. It may lie beyond the last entry, which the next one then follows.
    ///
    /// # Errors
    /// When the log is closed.
    pub fn purge(&self, id: LogId) -> io::Result<()> {
        let mut state = self.0.open_state()?;
        if state.memory.purge(id) {
            self.0.enqueue(state, Operation::Purge(id));
        }
        Ok(())
    }

    /// Stores the vote; completes once no crash can take it back.
    ///
    /// # Errors
    /// When the log is closed.
    pub async fn save_vote(&self, vote: Vote) -> io::Result<()> {
        self.complete(|stored| Operation::Vote(vote, stored)).await
    }

    /// Completes once everything appended so far is synced.
    ///
    /// # Errors
    /// When the log is closed.
    pub async fn sync(&self) -> io::Result<()> {
        self.complete(Operation::Sync).await
    }

    /// Syncs everything and notes that the replica was closed in order. The log takes nothing from now on.
    ///
    /// # Errors
    /// When the log is closed already.
    pub async fn close(&self) -> io::Result<()> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.0.open_state()?;
            state.is_closed = true;
            self.0.enqueue(state, Operation::Close(report_to(sender)));
        }
        receiver.await.map_err(|_| closed())
    }

    /// Has the next start not trust the log: what was executed from it is damaged, and its entries may be gone. The replica is
    /// to be stopped without [closing](Self::close) it.
    ///
    /// # Errors
    /// When the disk does not take the note.
    pub fn distrust(&self, why: &str) -> io::Result<()> {
        self.0.distrust(why)
    }

    /// Ends as a killed process does: what was not done yet never is.
    #[cfg(test)]
    pub(crate) fn abandon(&self) {
        let mut state = self.0.state();
        state.is_closed = true;
        let dropped = std::mem::take(&mut state.queue);
        drop(state);
        drop(dropped);
    }

    async fn complete(&self, operation: impl FnOnce(Stored) -> Operation) -> io::Result<()> {
        let (sender, receiver) = oneshot::channel();
        self.0
            .enqueue(self.0.open_state()?, operation(report_to(sender)));
        receiver.await.map_err(|_| closed())
    }

    /// Makes sure that an append of `bytes` finds its disk space. Quick unless a segment has to be made.
    ///
    /// # Errors
    /// When there is no space: what was to be appended should be refused.
    pub async fn reserve(&self, bytes: usize) -> io::Result<()> {
        // Records have headers, and a segment one too.
        let needed = u32::try_from(bytes.saturating_add(RECORD_OVERHEAD_BYTES))
            .unwrap_or(u32::MAX)
            .max(self.0.options.segment_bytes);
        let pool = Arc::clone(&self.0.pool);
        if pool.holds(needed) {
            return Ok(());
        }
        let (sender, receiver) = oneshot::channel();
        self.0.lanes.writer.submit(Box::new(move || {
            let _ = sender.send(pool.reserve(needed));
        }));
        let reserved = receiver.await.map_err(|_| closed())?;
        reserved.map_err(io::Error::other)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state();
        if state.is_closed {
            return Err(closed());
        }
        Ok(state)
    }

    fn distrust(&self, why: &str) -> io::Result<()> {
        let marker = Marker {
            boot_id: self.options.boot_id.clone(),
            durability: self.options.durability,
            state: MarkerState::Distrusted(why.to_owned()),
        };
        marker.write(&self.folder)
    }
}

fn report_to(sender: oneshot::Sender<()>) -> Stored {
    Box::new(move || {
        let _ = sender.send(());
    })
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the write-ahead log is closed")
}

/// Freed segments kept for reuse.
const POOLED_SEGMENTS: u64 = 4;
/// What a batch takes on the disk besides its own bytes, at most.
const RECORD_OVERHEAD_BYTES: usize = 4096;
