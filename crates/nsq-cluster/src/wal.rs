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
mod recover;
pub(crate) mod small_file;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nsq_queue::{LogOptions, SegmentPool};
use tokio::sync::oneshot;

pub use boot::{Distrust, Durability, current_boot_id};
pub use look::LogLook;
pub use recover::RecoverError;
pub(crate) use recover::recover;

use self::boot::{Marker, MarkerState};
use self::files::{Crash, Files, OpenError, Reading};
use self::memory::{Memory, Part};
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

/// Runs once the operation is done and stored.
pub type Stored = Box<dyn FnOnce() + Send>;

enum Operation {
    Append(Vec<Entry>, Stored),
    Truncate(u64),
    Purge(LogId),
    Vote(Vote, Stored),
    Sync(Stored),
    Close(Stored),
    #[cfg(test)]
    Begin(u64),
}

impl std::fmt::Debug for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Append(entries, _) => write!(f, "append {}", entries.len()),
            Self::Truncate(end) => write!(f, "truncate {end}"),
            Self::Purge(id) => write!(f, "purge {id}"),
            Self::Vote(vote, _) => write!(f, "{vote:?}"),
            Self::Sync(_) => f.write_str("sync"),
            Self::Close(_) => f.write_str("close"),
            #[cfg(test)]
            Self::Begin(first) => write!(f, "begin at {first}"),
        }
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

    fn mark_open(folder: &Path, options: &WalOptions) -> io::Result<()> {
        let marker = Marker {
            boot_id: options.boot_id.clone(),
            durability: options.durability,
            state: MarkerState::Open,
        };
        marker.write(folder)
    }

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

    /// The entries of `range` that the log holds, in order: all of them, or as many as take `max_bytes`, but at least one.
    ///
    /// # Errors
    /// When the files cannot be read. If an entry is damaged, that is noted for the next start: the replica is not to be
    /// trusted then.
    pub async fn read(&self, range: Range<u64>, max_bytes: usize) -> io::Result<Vec<Entry>> {
        'again: loop {
            let mut entries = Vec::new();
            let mut bytes = 0;
            let mut next = range.start;
            let epoch = self.0.state().memory.epoch();
            loop {
                let part = {
                    let state = self.0.state();
                    if state.memory.epoch() != epoch {
                        continue 'again;
                    }
                    state.memory.read(next..range.end, max_bytes - bytes)
                };
                let part = match part {
                    Part::Nothing => return Ok(entries),
                    Part::Entries(part) => part,
                    Part::Files(range) => self.read_files(range, max_bytes - bytes).await?,
                };
                bytes += part.iter().map(Entry::size).sum::<usize>();
                next = part.last().map_or(range.end, |last| last.id.index + 1);
                entries.extend(part);
                if bytes >= max_bytes || next >= range.end {
                    // Whatever was dropped or replaced meanwhile must not be mixed with what was not.
                    if self.0.state().memory.epoch() == epoch {
                        return Ok(entries);
                    }
                    continue 'again;
                }
            }
        }
    }

    async fn read_files(&self, range: Range<u64>, max_bytes: usize) -> io::Result<Vec<Entry>> {
        let (sender, receiver) = oneshot::channel();
        let shared = Arc::clone(&self.0);
        self.0.lanes.reader.submit(Box::new(move || {
            let _ = sender.send(shared.read_files(range, max_bytes));
        }));
        receiver.await.map_err(|_| closed())?
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

    fn enqueue(self: &Arc<Self>, mut state: MutexGuard<'_, State>, operation: Operation) {
        state.queue.push_back(operation);
        if !state.is_writing {
            state.is_writing = true;
            drop(state);
            let shared = Arc::clone(self);
            self.lanes.writer.submit(Box::new(move || shared.write()));
        }
    }

    /// Works off the queue. Runs on the writer's lane.
    fn write(self: Arc<Self>) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let mut operations = {
                let mut state = self.state();
                if state.queue.is_empty() {
                    state.is_writing = false;
                    return;
                }
                std::mem::take(&mut state.queue)
            };
            while !operations.is_empty() {
                let Err(error) = self.write_first(&mut files, &mut operations) else {
                    continue;
                };
                tracing::warn!("cluster: {error}; trying again");
                let mut state = self.state();
                state.trouble = Some(error.to_string().into());
                // What arrived meanwhile comes after what is left.
                operations.append(&mut state.queue);
                state.queue = operations;
                drop(state);
                drop(files);
                let shared = Arc::clone(&self);
                let again = Box::new(move || shared.write());
                self.lanes.writer.submit_later(RETRY_DELAY, again);
                return;
            }
            self.state().trouble = None;
        }
    }

    /// Does the first operation, and the appends after it if it is one. It leaves the queue only when it is done.
    fn write_first(
        &self,
        files: &mut Files,
        operations: &mut VecDeque<Operation>,
    ) -> io::Result<()> {
        match operations.front() {
            Some(Operation::Append(..)) => return self.write_appends(files, operations),
            Some(Operation::Truncate(end)) => {
                files.truncate(*end)?;
                self.note_rewound(files);
            }
            Some(Operation::Purge(id)) => {
                files.purge(*id, self.options.durability == Durability::Synced)?;
                self.note_rewound(files);
            }
            Some(Operation::Vote(vote, _)) => {
                files.save_vote(vote)?;
                self.state().memory.set_vote(*vote);
            }
            Some(Operation::Sync(_)) => files.sync()?,
            #[cfg(test)]
            Some(Operation::Begin(first)) => {
                files.begin_at(*first)?;
                self.state().memory.set_view(files.view());
            }
            Some(Operation::Close(_)) => {
                files.sync()?;
                files.sync_note()?;
                let marker = Marker {
                    boot_id: self.options.boot_id.clone(),
                    durability: self.options.durability,
                    state: MarkerState::Closed,
                };
                marker.write(&self.folder)?;
            }
            None => return Ok(()),
        }
        match operations.pop_front() {
            Some(
                Operation::Append(_, stored)
                | Operation::Vote(_, stored)
                | Operation::Sync(stored)
                | Operation::Close(stored),
            ) => stored(),
            Some(Operation::Truncate(_) | Operation::Purge(_)) | None => {}
            #[cfg(test)]
            Some(Operation::Begin(_)) => {}
        }
        Ok(())
    }

    /// One write and one sync for the appends at the front of the queue.
    fn write_appends(
        &self,
        files: &mut Files,
        operations: &mut VecDeque<Operation>,
    ) -> io::Result<()> {
        let mut count = 0;
        let mut bytes = 0;
        for operation in operations.iter() {
            let Operation::Append(entries, _) = operation else {
                break;
            };
            if bytes >= MAX_WRITE_BYTES {
                break;
            }
            bytes += entries.iter().map(Entry::size).sum::<usize>();
            count += 1;
        }
        // After a failed sync the entries are written already.
        let end = files.end();
        let entries = operations
            .iter()
            .take(count)
            .flat_map(|append| match append {
                Operation::Append(entries, _) => entries.as_slice(),
                _ => &[],
            });
        let unwritten = entries.filter(|entry| entry.id.index >= end);
        if unwritten.clone().next().is_some() {
            files.append(unwritten)?;
        }
        if self.options.durability == Durability::Synced {
            files.sync()?;
        }
        files.note_end()?;
        let done: Vec<_> = operations.drain(..count).collect();
        let (end, cache_bytes) = (files.end(), self.options.cache_bytes);
        self.state().memory.note_stored(end, cache_bytes);
        for append in done {
            if let Operation::Append(_, stored) = append {
                stored();
            }
        }
        Ok(())
    }

    fn note_rewound(&self, files: &Files) {
        let mut state = self.state();
        state.memory.set_view(files.view());
        state.memory.note_rewound();
        let (end, cache_bytes) = (files.end(), self.options.cache_bytes);
        state.memory.note_stored(end, cache_bytes);
    }

    /// Runs on the reader's lane.
    fn read_files(&self, range: Range<u64>, max_bytes: usize) -> io::Result<Vec<Entry>> {
        let (epoch, view) = {
            let state = self.state();
            (state.memory.epoch(), state.memory.view().clone())
        };
        let mut slot = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reading = slot
            .take()
            .filter(|(of, _)| *of == epoch)
            .map_or_else(|| Reading::new(view), |(_, reading)| reading);
        let first = range.start;
        let read = reading.read(range, max_bytes);
        *slot = Some((epoch, reading));
        if let Err(error) = &read
            && error.kind() == io::ErrorKind::InvalidData
            // What was purged or replaced while it was being read is not damaged.
            && self.state().memory.is_in_files(first)
        {
            self.note_damage(&error.to_string());
        }
        read
    }

    fn note_damage(&self, why: &str) {
        if let Err(error) = self.distrust(why) {
            tracing::error!("cluster: {error}, after {why}");
        }
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

/// How long a disk that refuses something is left alone.
const RETRY_DELAY: Duration = Duration::from_millis(200);
/// Appends that share a write: more would keep the first one waiting.
const MAX_WRITE_BYTES: usize = 8 << 20;
/// Freed segments kept for reuse.
const POOLED_SEGMENTS: u64 = 4;
/// What a batch takes on the disk besides its own bytes, at most.
const RECORD_OVERHEAD_BYTES: usize = 4096;
