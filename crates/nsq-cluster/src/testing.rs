//! What several tests need: a lane that runs when told to, and a state machine that remembers what it was given.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::codec::{Batch, Decoder, LogId, Manifest, ManifestFile, Wire, put_bytes, put_optional};
use crate::lane::{Job, Lane};
use crate::state_machine::{Checkpoint, CheckpointFiles, Staging, StateMachine};

/// A lane that runs a job when it is submitted, or, while it is held, when it is released.
#[derive(Clone, Default)]
pub(crate) struct HandLane(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    keeps_jobs: bool,
    is_running: bool,
    jobs: VecDeque<Job>,
}

impl std::fmt::Debug for HandLane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HandLane")
    }
}

impl HandLane {
    /// Keeps jobs from now on.
    pub(crate) fn hold(&self) {
        lock(&self.0).keeps_jobs = true;
    }

    /// Runs the jobs that were kept, and from now on each at once.
    pub(crate) fn release(&self) {
        lock(&self.0).keeps_jobs = false;
        self.run();
    }

    fn run(&self) {
        loop {
            let job = {
                let mut held = lock(&self.0);
                if held.keeps_jobs || held.is_running {
                    return;
                }
                let Some(job) = held.jobs.pop_front() else {
                    return;
                };
                held.is_running = true;
                job
            };
            job();
            lock(&self.0).is_running = false;
        }
    }
}

impl Lane for HandLane {
    fn submit(&self, job: Job) {
        lock(&self.0).jobs.push_back(job);
        self.run();
    }

    fn submit_later(&self, _: Duration, job: Job) {
        self.submit(job);
    }
}

/// What a [`Recorder`] has recorded; it outlives the recorder, as files outlive a process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    pub(crate) applied: Option<LogId>,
    /// What the newest checkpoint has synced.
    pub(crate) synced: Option<LogId>,
    pub(crate) proposals: Vec<(LogId, Bytes)>,
}

/// A state machine that remembers every proposal, and answers with how many it knows.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) record: Arc<Mutex<Record>>,
    /// Counts the checkpoints of others that became its own.
    pub(crate) installs: Arc<AtomicUsize>,
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        (self.applied, &self.proposals) == (other.applied, &other.proposals)
    }
}

impl Eq for Record {}

impl Record {
    /// Forgets the last entries, as a kill may, but none that was synced.
    pub(crate) fn forget(&mut self, entries: u64) {
        let Some(applied) = self.applied else { return };
        let synced = self.synced.map_or(0, |synced| synced.index + 1);
        let end = (applied.index + 1).saturating_sub(entries).max(synced);
        self.proposals.retain(|(id, _)| id.index < end);
        // The entry before may have had no proposals, but then its term is not known.
        let last = self.proposals.last().map(|(id, _)| *id);
        self.applied = last.max(self.synced);
    }
}

impl StateMachine for Recorder {
    fn applied(&self) -> Option<LogId> {
        lock(&self.record).applied
    }

    fn apply(&mut self, id: LogId, proposals: &Batch) -> io::Result<Vec<Bytes>> {
        let mut record = lock(&self.record);
        let next = record.applied.map_or(0, |applied| applied.index + 1);
        assert!(id.index >= next, "{id} comes after {:?}", record.applied);
        record.applied = Some(id);
        let mut outcomes = Vec::new();
        for proposal in proposals.iter() {
            record.proposals.push((id, proposal));
            let count = record.proposals.len() as u64;
            outcomes.push(Bytes::copy_from_slice(&count.to_le_bytes()));
        }
        Ok(outcomes)
    }

    fn checkpoint(&mut self) -> io::Result<Checkpoint> {
        let mut record = lock(&self.record);
        record.synced = record.applied;
        let bytes = record.to_bytes();
        let file = ManifestFile {
            name: "record".to_owned(),
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

    fn stage(&mut self, _: &Manifest) -> io::Result<Box<dyn Staging>> {
        Ok(Box::new(Staged(Vec::new())))
    }

    fn install(&mut self, staged: Box<dyn Staging>, applied: LogId) -> io::Result<()> {
        let staged = staged.into_any().downcast::<Staged>();
        let staged = staged.map_err(|_| io::Error::other("staged elsewhere"))?;
        let record = Record::from_bytes(staged.0.into()).map_err(io::Error::other)?;
        assert_eq!(record.applied, Some(applied));
        *lock(&self.record) = Record {
            synced: record.applied,
            ..record
        };
        self.installs.fetch_add(1, Ordering::Relaxed);
        Ok(())
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
        assert_eq!(offset, self.0.len() as u64);
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

#[derive(Debug)]
struct OneFile(Bytes);

impl CheckpointFiles for OneFile {
    fn read(&self, _: usize, offset: u64, bytes: usize) -> io::Result<Bytes> {
        let offset = usize::try_from(offset).unwrap();
        Ok(self.0.slice(offset..offset + bytes))
    }
}

impl Wire for Record {
    fn encode(&self, to: &mut Vec<u8>) {
        put_optional(to, self.applied.as_ref());
        for (id, proposal) in &self.proposals {
            id.encode(to);
            put_bytes(to, proposal);
        }
    }

    fn decode(from: &mut Decoder) -> Result<Self, crate::codec::DecodeError> {
        let mut record = Self {
            applied: from.optional("what was applied")?,
            synced: None,
            proposals: Vec::new(),
        };
        while from.remaining() > 0 {
            let id = LogId::decode(from)?;
            record.proposals.push((id, from.bytes("a proposal")?));
        }
        Ok(record)
    }
}

/// Where syncs cost nothing, if there is such a place.
pub(crate) fn fast_folder() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        return memory.to_path_buf();
    }
    std::env::temp_dir()
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
