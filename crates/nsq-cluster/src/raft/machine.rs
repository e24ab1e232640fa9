//! A [`StateMachine`] as openraft's.

mod members;
#[cfg(test)]
mod tests;

use std::io;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{OptionalSend, Snapshot as RaftSnapshot};
use tokio::sync::oneshot;

use super::types::{
    Committed, LogId, Membership, Outcomes, Payload, Snapshot, SnapshotMeta, StoredMembership,
    Types, convert,
};
use crate::codec::{self, Batch};
use crate::lane::Lane;
use crate::state_machine::{Checkpoint, Staging, StateMachine};
use crate::{Member, NodeId};

use self::members::AppliedMembers;
#[cfg(any(test, fuzzing))]
pub(crate) use self::members::{FormerMembers, Members};
pub(crate) use self::members::{store_members, stored_members};

/// The state machine of one replica, with the group's members as of the last applied entry. Clones share it.
pub(crate) struct Machine<C> {
    shared: Arc<Shared>,
    types: PhantomData<C>,
}

struct Shared {
    lane: Arc<dyn Lane>,
    state: Mutex<State>,
    trouble: Mutex<Option<Arc<str>>>,
}

struct State {
    machine: Box<dyn StateMachine>,
    members: AppliedMembers,
    /// Whether a checkpoint was ever asked for: only then is there a "current" one.
    has_checkpoint: bool,
}

impl<C> Machine<C> {
    /// Wraps `machine`, whose group's members are kept in `folder`. Blocks on the disk.
    ///
    /// # Errors
    /// When the members cannot be read.
    pub(crate) fn open(
        folder: &Path,
        lane: Arc<dyn Lane>,
        machine: Box<dyn StateMachine>,
    ) -> io::Result<Self> {
        let members = AppliedMembers::open(folder, machine.applied())?;
        let state = State {
            machine,
            members,
            has_checkpoint: false,
        };
        let shared = Shared {
            lane,
            state: Mutex::new(state),
            trouble: Mutex::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            types: PhantomData,
        })
    }

    /// What the state machine's disk refuses at the moment, if anything.
    pub(crate) fn trouble(&self) -> Option<Arc<str>> {
        let trouble = self.shared.trouble.lock();
        trouble.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Prepares to receive a checkpoint.
    pub(crate) async fn stage(&self, manifest: codec::Manifest) -> io::Result<Box<dyn Staging>> {
        self.shared
            .run(Duration::ZERO, move |state| state.machine.stage(&manifest))
            .await?
    }
}

impl<C> Clone for Machine<C> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            types: PhantomData,
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` on the lane.
    async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        delay: Duration,
        work: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> io::Result<T> {
        let (sender, receiver) = oneshot::channel();
        let shared = Arc::clone(self);
        let job = Box::new(move || {
            if !sender.is_closed() {
                let done = work(&mut shared.state());
                let _ = sender.send(done);
            }
        });
        if delay.is_zero() {
            self.lane.submit(job);
        } else {
            self.lane.submit_later(delay, job);
        }
        receiver
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the replica is closed"))
    }

    /// Applies entries, trying again for as long as the disk refuses.
    async fn apply(self: &Arc<Self>, mut entries: Vec<(LogId, Work)>) -> io::Result<Vec<Outcomes>> {
        let mut outcomes = Vec::with_capacity(entries.len());
        let mut delay = Duration::ZERO;
        loop {
            let applied = self.run(delay, move |state| state.apply(entries)).await?;
            outcomes.extend(applied.outcomes);
            let trouble = applied.error.map(|error| {
                tracing::warn!("cluster: cannot apply an entry: {error}; trying again");
                Arc::from(error.to_string())
            });
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
            if applied.left.is_empty() {
                return Ok(outcomes);
            }
            entries = applied.left;
            delay = RETRY_DELAY;
        }
    }

    async fn snapshot(
        self: &Arc<Self>,
    ) -> io::Result<RaftSnapshot<Committed, NodeId, Member, Snapshot>> {
        let (meta, checkpoint) = self.run(Duration::ZERO, State::checkpoint).await??;
        Ok(RaftSnapshot {
            meta,
            snapshot: Snapshot::Outgoing(checkpoint),
        })
    }
}

/// What an entry asks of the state machine.
enum Work {
    Proposals(Batch),
    Members(Membership),
}

struct Applied {
    outcomes: Vec<Outcomes>,
    /// Why the first of `left` could not be applied.
    error: Option<io::Error>,
    left: Vec<(LogId, Work)>,
}

impl State {
    /// Applies entries until one fails.
    fn apply(&mut self, entries: Vec<(LogId, Work)>) -> Applied {
        let mut applied = Applied {
            outcomes: Vec::with_capacity(entries.len()),
            error: None,
            left: Vec::new(),
        };
        let mut entries = entries.into_iter();
        while let Some((id, work)) = entries.next() {
            match self.apply_one(id, &work) {
                Ok(outcomes) => applied.outcomes.push(Outcomes(outcomes)),
                Err(error) => {
                    applied.error = Some(error);
                    applied.left.push((id, work));
                    applied.left.extend(entries);
                    break;
                }
            }
        }
        applied
    }

    fn apply_one(&mut self, id: LogId, work: &Work) -> io::Result<Vec<Bytes>> {
        let is_known = self.machine.applied() >= Some(convert::log_id(&id));
        let id_of = convert::log_id(&id);
        match work {
            Work::Proposals(_) if is_known => Ok(Vec::new()),
            Work::Proposals(batch) => self.machine.apply(id_of, batch),
            Work::Members(members) => {
                // The members first: those of an applied entry must be known.
                let members = StoredMembership::new(Some(id), members.clone());
                self.members.advance(&members)?;
                if !is_known {
                    self.machine.apply(id_of, &Batch::default())?;
                }
                if self.members.are_many() {
                    self.sync()?;
                }
                Ok(Vec::new())
            }
        }
    }

    /// Syncs the state, so that no crash takes it back to before what was applied.
    fn sync(&mut self) -> io::Result<Checkpoint> {
        let checkpoint = self.machine.checkpoint()?;
        self.members.note_checkpoint(self.machine.applied());
        Ok(checkpoint)
    }

    fn checkpoint(&mut self) -> io::Result<(SnapshotMeta, Checkpoint)> {
        let checkpoint = self.sync()?;
        self.has_checkpoint = true;
        let applied = self.machine.applied();
        let meta = SnapshotMeta {
            last_log_id: applied.map(convert::to_log_id),
            last_membership: self.members.as_of(applied),
        };
        Ok((meta, checkpoint))
    }

    fn install(&mut self, meta: &SnapshotMeta, snapshot: Snapshot) -> io::Result<()> {
        let staging = match snapshot {
            Snapshot::Incoming(staging) => staging,
            Snapshot::Outgoing(checkpoint) => copy(&mut *self.machine, &checkpoint)?,
        };
        self.members.advance(&meta.last_membership)?;
        if let Some(id) = &meta.last_log_id {
            self.machine.install(staging, convert::log_id(id))?;
        }
        self.has_checkpoint = true;
        Ok(())
    }
}

/// Receives a checkpoint that is on this node already.
fn copy(machine: &mut dyn StateMachine, checkpoint: &Checkpoint) -> io::Result<Box<dyn Staging>> {
    let mut staging = machine.stage(&checkpoint.manifest)?;
    for (at, file) in checkpoint.manifest.files.iter().enumerate() {
        let mut offset = staging.needed_from(at, file)?;
        while offset < file.bytes {
            let bytes = usize::try_from(file.bytes - offset).unwrap_or(COPY_BYTES);
            let chunk = checkpoint.files.read(at, offset, bytes.min(COPY_BYTES))?;
            staging.write(at, offset, &chunk)?;
            offset += chunk.len() as u64;
        }
    }
    Ok(staging)
}

impl<C: Types> RaftStateMachine<C> for Machine<C> {
    type SnapshotData = Snapshot;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let state = self.shared.run(Duration::ZERO, |state| {
            let applied = state.machine.applied();
            let members = state.members.as_of(applied);
            (applied.map(convert::to_log_id), members)
        });
        state.await
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<C>, io::Error>> + Unpin + OptionalSend,
    {
        let mut entries = entries.ready_chunks(MAX_APPLIED_AT_ONCE);
        while let Some(chunk) = entries.next().await {
            let mut work = Vec::with_capacity(chunk.len());
            let mut responders = Vec::with_capacity(chunk.len());
            for item in chunk {
                let (entry, responder) = item?;
                let what = match entry.payload {
                    Payload::Blank => Work::Proposals(Batch::default()),
                    Payload::Normal(proposal) => Work::Proposals(proposal.batch),
                    Payload::Membership(members) => Work::Members(members),
                };
                work.push((entry.log_id, what));
                responders.push(responder);
            }
            let outcomes = self.shared.apply(work).await?;
            for (outcome, responder) in outcomes.into_iter().zip(responders) {
                if let Some(responder) = responder {
                    responder.send(outcome);
                }
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Snapshot,
    ) -> Result<(), io::Error> {
        let meta = meta.clone();
        let install = move |state: &mut State| state.install(&meta, snapshot);
        self.shared.run(Duration::ZERO, install).await?
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<RaftSnapshot<Committed, NodeId, Member, Snapshot>>, io::Error> {
        let has_checkpoint = self
            .shared
            .run(Duration::ZERO, |state| state.has_checkpoint)
            .await?;
        // Made when it is asked for, so that it never keeps files that no one needs any more.
        if has_checkpoint {
            self.shared.snapshot().await.map(Some)
        } else {
            Ok(None)
        }
    }
}

impl<C: Types> RaftSnapshotBuilder<C> for Machine<C> {
    type SnapshotData = Snapshot;

    async fn build_snapshot(
        &mut self,
    ) -> Result<RaftSnapshot<Committed, NodeId, Member, Snapshot>, io::Error> {
        self.shared.snapshot().await
    }
}

/// Entries that are applied before the first of them is answered.
const MAX_APPLIED_AT_ONCE: usize = 64;
/// How long a disk that refuses something is left alone.
const RETRY_DELAY: Duration = Duration::from_millis(200);
const COPY_BYTES: usize = 256 << 10;
