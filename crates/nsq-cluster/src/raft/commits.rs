//! When a follower learns what is committed.
//!
//! A leader knows that an entry is committed only after it was sent. Were each follower told at once, each entry would cost it
//! one more request, and one more turn of its state machine. A follower needs to know it only to execute the entry, which no
//! publisher waits for. So it is told with the next entry that is sent, but not more often than every [`PACE`] or
//! [`MAX_BYTES`]; if no entry is sent in that time, in a request of its own.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use openraft::raft::AppendEntriesRequest;
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::{InstantOf, SleepOf};

use super::types::{Entry, LogId, Payload, Types, Vote};

/// What one session with a follower has still to say about commits.
pub(super) struct Commits<C: Types> {
    /// What the follower knows.
    told: Option<LogId>,
    told_at: Option<InstantOf<C>>,
    /// Bytes of the entries that were sent since.
    bytes: usize,
    /// A request without entries that says what it does not know yet.
    held: Option<Held>,
    /// When that is sent.
    timer: Option<Pin<Box<SleepOf<C>>>>,
}

/// A request without entries. (With openraft's own type in a field, the documentation of this crate cannot be built.)
struct Held {
    vote: Vote,
    last: Option<LogId>,
    commit: Option<LogId>,
}

impl<C: Types> Default for Commits<C> {
    fn default() -> Self {
        Self {
            told: None,
            told_at: None,
            bytes: 0,
            held: None,
            timer: None,
        }
    }
}

impl<C: Types> Commits<C> {
    /// Keeps a request that carries no entries, in place of the one before.
    pub(super) fn hold(&mut self, request: &AppendEntriesRequest<C>) {
        self.held = Some(Held {
            vote: request.vote,
            last: request.prev_log_id,
            commit: request.leader_commit,
        });
    }

    /// Lets a request with entries say what is committed, or only what the follower knows already.
    pub(super) fn pace(&mut self, request: &mut AppendEntriesRequest<C>) {
        self.bytes += request.entries.iter().map(size_of).sum::<usize>();
        if request.leader_commit <= self.told {
            return;
        }
        let now = C::now();
        if self.bytes >= MAX_BYTES || self.told_at.is_none_or(|at| now - at >= PACE) {
            self.note_told(request.leader_commit);
            return;
        }
        self.held = Some(Held {
            vote: request.vote,
            last: request.entries.last().map(|entry| entry.log_id),
            commit: request.leader_commit,
        });
        request.leader_commit = self.told;
    }

    /// The request that is held, once it is time for it. `is_last`: there will be no other one.
    pub(super) fn due(
        &mut self,
        context: &mut Context<'_>,
        is_last: bool,
    ) -> Option<AppendEntriesRequest<C>> {
        self.held.as_ref()?;
        if !is_last {
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(C::sleep(PACE)))
                .as_mut();
            if timer.poll(context) == Poll::Pending {
                return None;
            }
        }
        let held = self.held.take()?;
        self.note_told(held.commit);
        Some(AppendEntriesRequest {
            vote: held.vote,
            prev_log_id: held.last,
            entries: Vec::new(),
            leader_commit: held.commit,
        })
    }

    fn note_told(&mut self, commit: Option<LogId>) {
        self.told = self.told.max(commit);
        self.told_at = Some(C::now());
        self.bytes = 0;
        self.held = None;
        self.timer = None;
    }
}

fn size_of(entry: &Entry) -> usize {
    match &entry.payload {
        Payload::Normal(proposal) => proposal.batch.size(),
        Payload::Blank | Payload::Membership(_) => 0,
    }
}

/// Between two times.
const PACE: Duration = Duration::from_millis(5);
/// Bytes of entries after which a follower is told earlier. It executes so much at a time.
const MAX_BYTES: usize = 256 << 10;
