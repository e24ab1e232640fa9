//! Group commit: one entry for everything that arrived while the one before was being stored.
//!
//! An entry costs the same for one message as for hundreds, so the next one is made only when the log has stored the last
//! one here; its way to the followers and back overlaps with the next.

use std::sync::Arc;

use bytes::Bytes;
use openraft::async_runtime::Select2;
use openraft::errors::{ClientWriteError, ForwardReason, RaftError};
use openraft::raft::ClientWriteResponse;
use openraft::type_config::TypeConfigExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::GroupLimits;
use super::replica::{Shared, spawn};
use crate::NodeId;
use crate::codec::{BatchBuilder, LogId, MAX_PROPOSALS};
use crate::raft::{Proposal, Types, convert};

/// What a committed proposal came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The entry it is in.
    pub id: LogId,
    /// What the state machine answered.
    pub outcome: Bytes,
}

/// Why a proposal has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Not stored: another replica leads, or none does.
    #[error("this node does not lead the group")]
    NotLeader {
        /// The leader, if it is known.
        leader: Option<NodeId>,
    },
    /// Not stored: the leader does not reach a majority of the replicas.
    #[error("this node does not reach a majority of the group")]
    NoMajority,
    /// Not stored: there is no disk space for it.
    #[error("no space for the write-ahead log: {0}")]
    NoSpace(String),
    /// Not stored: it is larger than an entry may be.
    #[error("a proposal of {size} bytes exceeds the {max} an entry may have")]
    TooLarge {
        /// Its bytes.
        size: usize,
        /// The most there may be.
        max: usize,
    },
    /// Stored or not: leadership was lost before it was known to be committed.
    #[error("leadership was lost before the proposal was committed")]
    Unconfirmed,
    /// Stored or not: the replica has stopped.
    #[error("the replica has stopped")]
    Stopped,
}

/// Where proposals go in.
#[derive(Debug)]
pub(super) struct Proposer {
    sender: mpsc::UnboundedSender<Waiting>,
    /// One permit a byte.
    room: Arc<Semaphore>,
    max_bytes: usize,
    max_pending_bytes: usize,
}

/// A proposal that is on its way.
#[derive(Debug)]
pub(super) struct Waiting {
    proposal: Bytes,
    answer: oneshot::Sender<Result<Applied, ProposeError>>,
    _room: OwnedSemaphorePermit,
}

impl Proposer {
    pub(super) fn new(limits: &GroupLimits) -> (Self, mpsc::UnboundedReceiver<Waiting>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        // An acquisition takes a `u32` of permits.
        let max_pending_bytes = limits.max_pending_bytes.min(u32::MAX as usize);
        let proposer = Self {
            sender,
            room: Arc::new(Semaphore::new(max_pending_bytes)),
            max_bytes: limits.max_entry_bytes.min(max_pending_bytes),
            max_pending_bytes,
        };
        (proposer, receiver)
    }

    pub(super) async fn propose(&self, proposal: Bytes) -> Result<Applied, ProposeError> {
        let size = proposal.len();
        if size > self.max_bytes {
            let max = self.max_bytes;
            return Err(ProposeError::TooLarge { size, max });
        }
        let cost = (size + WAITING_BYTES).min(self.max_pending_bytes);
        let cost = u32::try_from(cost).expect("the limit is a u32");
        let room = Arc::clone(&self.room).acquire_many_owned(cost).await;
        let room = room.map_err(|_| ProposeError::Stopped)?;
        let (answer, receiver) = oneshot::channel();
        let waiting = Waiting {
            proposal,
            answer,
            _room: room,
        };
        self.sender
            .send(waiting)
            .map_err(|_| ProposeError::Stopped)?;
        receiver.await.unwrap_or(Err(ProposeError::Stopped))
    }
}

/// Makes entries of what waits until the replica stops.
pub(super) async fn run<C: Types>(
    shared: Arc<Shared<C>>,
    mut waiting: mpsc::UnboundedReceiver<Waiting>,
) {
    let mut stop = shared.stopping();
    let mut ticket = 0;
    loop {
        let stopped = stop.wait_for(|is_stopping| *is_stopping);
        let first = match C::select2(stopped, waiting.recv()).await {
            Select2::Second(Some(first)) => first,
            // What waits is dropped with the receiver, which answers it.
            Select2::First(_) | Select2::Second(None) => return,
        };
        let max_bytes = shared.options.limits.max_entry_bytes;
        let mut batch = BatchBuilder::default();
        batch.push(&first.proposal);
        let mut taken = vec![first];
        while batch.size() < max_bytes && batch.len() < MAX_PROPOSALS {
            let Ok(next) = waiting.try_recv() else { break };
            batch.push(&next.proposal);
            taken.push(next);
        }
        // What the state machine cannot take would be committed, and its proposer would wait for nothing.
        if let Some(trouble) = shared.machine.trouble() {
            refuse(taken, &ProposeError::NoSpace(trouble.to_string()));
            continue;
        }
        if let Err(error) = shared.wal.reserve(batch.size()).await {
            refuse(taken, &ProposeError::NoSpace(error.to_string()));
            continue;
        }
        ticket += 1;
        let proposal = Proposal {
            batch: batch.build(),
            ticket,
        };
        let mut writing = Box::pin(write(Arc::clone(&shared), proposal));
        let stored = shared.log.stored().wait_for(ticket);
        let stopped = stop.wait_for(|is_stopping| *is_stopping);
        let next = C::select2(stored, stopped);
        match C::select2(&mut writing, next).await {
            Select2::First(written) => answer(taken, written),
            Select2::Second(Select2::First(())) => {
                spawn::<C>(async move { answer(taken, writing.await) });
            }
            Select2::Second(Select2::Second(_)) => return,
        }
    }
}

/// Writes one entry. While the leader has lost touch with the majority it is held back for a time: nothing of it is stored yet.
async fn write<C: Types>(
    shared: Arc<Shared<C>>,
    proposal: Proposal,
) -> Result<ClientWriteResponse<C>, ProposeError> {
    let begun = C::now();
    loop {
        let error = match shared.raft.client_write(proposal.clone()).await {
            Ok(written) => return Ok(written),
            Err(RaftError::APIError(error)) => error,
            Err(RaftError::Fatal(_)) => return Err(ProposeError::Stopped),
        };
        match error {
            ClientWriteError::ForwardToLeader(forward) => match forward.reason {
                ForwardReason::LeaseExpired => {
                    let held = C::now() - begun;
                    if held >= shared.options.limits.hold || !shared.pause(HOLD_PAUSE).await {
                        return Err(ProposeError::NoMajority);
                    }
                }
                ForwardReason::NotLeader | ForwardReason::LeadershipTransfer => {
                    let leader = forward.leader_id;
                    return Err(ProposeError::NotLeader { leader });
                }
            },
            ClientWriteError::LogEntryDiscarded(_)
            | ClientWriteError::ChangeMembershipError(_)
            | ClientWriteError::PreconditionFailed(_) => return Err(ProposeError::Unconfirmed),
        }
    }
}

fn answer<C: Types>(taken: Vec<Waiting>, written: Result<ClientWriteResponse<C>, ProposeError>) {
    let written = match written {
        Ok(written) => written,
        Err(error) => return refuse(taken, &error),
    };
    let id = convert::log_id(&written.log_id);
    let mut outcomes = written.data.0.into_iter();
    for waiting in taken {
        let outcome = outcomes.next().unwrap_or_default();
        // The caller may have given up.
        let _ = waiting.answer.send(Ok(Applied { id, outcome }));
    }
}

fn refuse(taken: Vec<Waiting>, error: &ProposeError) {
    for waiting in taken {
        let _ = waiting.answer.send(Err(error.clone()));
    }
}

/// What a waiting proposal takes besides its bytes.
const WAITING_BYTES: usize = 128;
/// Between two looks at whether the majority is back.
const HOLD_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);
