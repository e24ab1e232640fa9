//! Several appends to one follower under way at a time: a leader that waited for each answer would send one batch per round
//! trip.
//!
//! Answers are passed on in the order of the requests, as openraft wants them, whatever order they arrive in. How much is
//! under way is limited by count and by bytes; what is beyond that stays in the log until there is room.
//!
//! A follower learns what is committed every few milliseconds, not with every entry ([`Commits`]).

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{FuturesOrdered, Stream, StreamExt};
use openraft::errors::{NetworkError, RPCError};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, StreamAppendResult};

use super::commits::Commits;
use super::network::{APPEND_TIMEOUT, HEARTBEAT_TIMEOUT, Link};
use super::types::{LogId, Types};
use crate::codec::Request;
use crate::network::Calling;

/// The appends of one session with a follower.
pub(super) struct Pipeline<'link, C: Types, S> {
    link: &'link Link<C>,
    requests: S,
    calls: FuturesOrdered<Calling>,
    /// What the calls carry, in their order.
    under_way: VecDeque<Sent>,
    bytes: usize,
    commits: Commits<C>,
    /// The last entry that the follower has acknowledged in this session.
    acknowledged: Option<LogId>,
    /// Whether there will be no more requests.
    is_drained: bool,
    /// Whether there will be no more answers: one of them said that the session cannot continue.
    is_over: bool,
}

struct Sent {
    previous: Option<LogId>,
    last: Option<LogId>,
    bytes: usize,
}

impl<'link, C, S> Pipeline<'link, C, S>
where
    C: Types,
    S: Stream<Item = AppendEntriesRequest<C>> + Unpin,
{
    pub(super) fn new(link: &'link Link<C>, requests: S) -> Self {
        Self {
            link,
            requests,
            calls: FuturesOrdered::new(),
            under_way: VecDeque::new(),
            bytes: 0,
            commits: Commits::default(),
            acknowledged: None,
            is_drained: false,
            is_over: false,
        }
    }

    /// Begins calls for as long as there are requests and room.
    fn begin(&mut self, context: &mut Context<'_>) {
        while !self.is_drained && self.has_room() {
            match self.requests.poll_next_unpin(context) {
                Poll::Ready(Some(request)) => self.take(request),
                Poll::Ready(None) => self.is_drained = true,
                Poll::Pending => break,
            }
        }
        if self.has_room()
            && let Some(request) = self.commits.due(context, self.is_drained)
        {
            self.send(request);
        }
    }

    fn has_room(&self) -> bool {
        self.calls.len() < MAX_CALLS && self.bytes < MAX_BYTES
    }

    fn take(&mut self, mut request: AppendEntriesRequest<C>) {
        if request.entries.is_empty() {
            self.commits.hold(&request);
        } else {
            self.commits.pace(&mut request);
            self.send(request);
        }
    }

    fn send(&mut self, rpc: AppendEntriesRequest<C>) {
        let previous = rpc.prev_log_id;
        let last = rpc.entries.last().map(|entry| entry.log_id).or(previous);
        let request = self.link.append_request(rpc);
        let bytes = size_of_entries(&request);
        let limit = if bytes == 0 && self.bytes == 0 {
            HEARTBEAT_TIMEOUT
        } else {
            APPEND_TIMEOUT + time_to_send(self.bytes + bytes)
        };
        self.calls.push_back(self.link.begin(request, limit));
        self.bytes += bytes;
        self.under_way.push_back(Sent {
            previous,
            last,
            bytes,
        });
    }

    /// What an answer means to the leader.
    fn pass_on(
        &mut self,
        sent: &Sent,
        answer: Result<AppendEntriesResponse<C>, RPCError<C>>,
    ) -> Result<StreamAppendResult<C>, RPCError<C>> {
        let answer = answer.inspect_err(|_| self.is_over = true)?;
        let was_reordered = sent.previous.is_some() && sent.previous <= self.acknowledged;
        if matches!(answer, AppendEntriesResponse::Conflict) && was_reordered {
            // The request overtook the one before it. openraft would take the conflict for a follower that lost entries.
            self.is_over = true;
            let error = NetworkError::from_string("the follower got appends in another order");
            return Err(RPCError::Network(error));
        }
        if let AppendEntriesResponse::PartialSuccess(held) = &answer {
            self.is_over = *held != sent.last;
        }
        let result = answer.into_stream_result(sent.previous, sent.last);
        match &result {
            Ok(last) => self.acknowledged = self.acknowledged.max(*last),
            Err(_) => self.is_over = true,
        }
        Ok(result)
    }
}

impl<C, S> Stream for Pipeline<'_, C, S>
where
    C: Types,
    S: Stream<Item = AppendEntriesRequest<C>> + Unpin,
{
    type Item = Result<StreamAppendResult<C>, RPCError<C>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.is_over {
            return Poll::Ready(None);
        }
        this.begin(context);
        match this.calls.poll_next_unpin(context) {
            Poll::Ready(Some(answer)) => {
                let sent = this.under_way.pop_front();
                let sent = sent.expect("each call is noted");
                this.bytes -= sent.bytes;
                let answer = this.link.append_answer(sent.previous.is_some(), answer);
                Poll::Ready(Some(this.pass_on(&sent, answer)))
            }
            Poll::Ready(None) if this.is_drained => Poll::Ready(None),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

fn size_of_entries(request: &Request) -> usize {
    match request {
        Request::Append { entries, .. } => entries.iter().map(crate::codec::Entry::size).sum(),
        _ => 0,
    }
}

/// How long so many bytes may take on a slow link.
fn time_to_send(bytes: usize) -> Duration {
    Duration::from_millis(bytes as u64 / LEAST_BYTES_PER_MILLISECOND)
}

/// With more, a follower that answers late would be given more than it can hold against.
pub(crate) const MAX_CALLS: usize = 32;
/// Fills a link of 100 MB/s that takes 40 ms there and back. One request more may be begun while there are fewer.
const MAX_BYTES: usize = 4 << 20;
/// A link that is slower is too slow for replication.
const LEAST_BYTES_PER_MILLISECOND: u64 = 1000;
