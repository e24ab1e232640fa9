//! The write-ahead log as openraft's log storage.

use std::fmt::Debug;
use std::io;
use std::marker::PhantomData;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{Stream, stream};
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::storage::{LeaderBoundedStreamError, LeaderBoundedStreamResult};
use openraft::{OptionalSend, RaftLogReader};
use tokio::sync::Notify;

use super::types::{Entry, LeaderId, LogId, Payload, Types, Vote, convert};
use crate::wal::Wal;

/// The log of one replica. Clones share it.
#[derive(Debug)]
pub(crate) struct LogStore<C> {
    wal: Wal,
    stored: Arc<StoredTickets>,
    types: PhantomData<C>,
}

/// How far the entries proposed here are stored on this node, by their tickets.
#[derive(Debug, Default)]
pub(crate) struct StoredTickets {
    last: AtomicU64,
    changed: Notify,
}

impl StoredTickets {
    fn note(&self, ticket: u64) {
        self.last.fetch_max(ticket, Ordering::AcqRel);
        self.changed.notify_waiters();
    }

    /// Completes once the entry with this ticket is stored here.
    pub(crate) async fn wait_for(&self, ticket: u64) {
        loop {
            let changed = self.changed.notified();
            if self.last.load(Ordering::Acquire) >= ticket {
                return;
            }
            changed.await;
        }
    }
}

impl<C> LogStore<C> {
    pub(crate) fn new(wal: Wal) -> Self {
        Self {
            wal,
            stored: Arc::default(),
            types: PhantomData,
        }
    }

    pub(crate) fn stored(&self) -> &Arc<StoredTickets> {
        &self.stored
    }
}

impl<C> Clone for LogStore<C> {
    fn clone(&self) -> Self {
        Self {
            wal: self.wal.clone(),
            stored: Arc::clone(&self.stored),
            types: PhantomData,
        }
    }
}

impl<C: Types> RaftLogStorage<C> for LogStore<C> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<C>, io::Error> {
        Ok(LogState {
            last_purged_log_id: self.wal.purged().map(convert::to_log_id),
            last_log_id: self.wal.last().map(convert::to_log_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.wal.save_vote(convert::vote(vote)).await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<C>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut ticket = 0;
        let entries: Vec<_> = entries
            .into_iter()
            .map(|entry| {
                if let Payload::Normal(proposal) = &entry.payload {
                    ticket = ticket.max(proposal.ticket);
                }
                convert::entry(entry)
            })
            .collect();
        let stored = Arc::clone(&self.stored);
        let done = move || {
            callback.io_completed(Ok(()));
            if ticket > 0 {
                stored.note(ticket);
            }
        };
        self.wal.append(entries, Box::new(done))
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        self.wal.truncate_after(last.as_ref().map(convert::log_id))
    }

    async fn purge(&mut self, id: LogId) -> Result<(), io::Error> {
        self.wal.purge(convert::log_id(&id))
    }
}

impl<C: Types> RaftLogReader<C> for LogStore<C> {
    async fn leader_bounded_stream<RB>(
        &mut self,
        leader: LeaderId,
        range: RB,
    ) -> impl Stream<Item = LeaderBoundedStreamResult<C>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let log = self.clone();
        let parts = Parts {
            next: Some(bounds(&range)),
            ready: Vec::new().into_iter(),
        };
        let stream = stream::unfold(parts, move |mut parts| {
            let log = log.clone();
            async move {
                // Before and after reading: what was read between two equal votes is the leader's.
                let changed = || {
                    let vote = log.wal.vote().map(convert::to_vote);
                    let is_leader =
                        vote.is_some_and(|vote| vote.leader_id == leader && vote.committed);
                    (!is_leader).then(|| openraft::errors::LeaderChanged::new(leader, vote))
                };
                parts.next.as_ref()?;
                let read = match changed() {
                    None => parts.next_entry(&log.wal).await,
                    Some(_) => Ok(None),
                };
                let item = match (changed(), read) {
                    (Some(changed), _) => {
                        parts.next = None;
                        Err(LeaderBoundedStreamError::LeaderChanged(changed))
                    }
                    (None, Ok(entry)) => Ok(entry?),
                    (None, Err(error)) => {
                        parts.next = None;
                        Err(LeaderBoundedStreamError::IoError(error))
                    }
                };
                Some((item, parts))
            }
        });
        Box::pin(stream)
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let wal = self.wal.clone();
        let parts = Parts {
            next: Some(bounds(&range)),
            ready: Vec::new().into_iter(),
        };
        let stream = stream::unfold(parts, move |mut parts| {
            let wal = wal.clone();
            async move {
                parts.next.as_ref()?;
                match parts.next_entry(&wal).await {
                    Ok(entry) => Some((Ok(entry?), parts)),
                    Err(error) => {
                        parts.next = None;
                        Some((Err(error), parts))
                    }
                }
            }
        });
        Box::pin(stream)
    }

    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let entries = self.wal.read(bounds(&range), usize::MAX).await?;
        Ok(entries.into_iter().map(convert::to_entry).collect())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.wal.vote().map(convert::to_vote))
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        let entries = self.wal.read(start..end, MAX_READ_BYTES).await?;
        Ok(entries.into_iter().map(convert::to_entry).collect())
    }
}

/// A range of entries being read piece by piece.
#[derive(Debug)]
struct Parts {
    /// What is still to be read; `None` at the end.
    next: Option<Range<u64>>,
    ready: std::vec::IntoIter<crate::codec::Entry>,
}

impl Parts {
    async fn next_entry(&mut self, wal: &Wal) -> io::Result<Option<Entry>> {
        if let Some(entry) = self.ready.next() {
            return Ok(Some(convert::to_entry(entry)));
        }
        let Some(range) = self.next.clone() else {
            return Ok(None);
        };
        let read = wal.read(range.clone(), MAX_READ_BYTES).await?;
        let Some(last) = read.last().map(|last| last.id.index) else {
            self.next = None;
            return Ok(None);
        };
        self.next = Some(last + 1..range.end);
        self.ready = read.into_iter();
        Ok(self.ready.next().map(convert::to_entry))
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(&start) => start,
        Bound::Excluded(&start) => start + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&end) => end + 1,
        Bound::Excluded(&end) => end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

/// What one request to a follower carries, and what applying holds in memory, about.
const MAX_READ_BYTES: usize = 1 << 20;
