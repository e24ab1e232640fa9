//! A [`Network`] as openraft's.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RPCTypes};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::TypeConfigExt;
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2, Snapshot as RaftSnapshot};

use super::pipeline::Pipeline;
use super::types::{Committed, Snapshot, Types, Vote, convert};
use crate::codec::{Answer, AppendAnswer, Request, TransferAnswer};
use crate::lane::Lane;
use crate::network::{CallError, Calling, Network, Transfers};
use crate::{GroupId, Member, NodeId};

/// Makes the links from this replica to the other ones of its group.
pub(crate) struct Links<C> {
    pub(crate) me: NodeId,
    pub(crate) group: GroupId,
    pub(crate) network: Arc<dyn Network>,
    pub(crate) transfers: Arc<Transfers>,
    /// Where the files of checkpoints are read.
    pub(crate) reader: Arc<dyn Lane>,
    pub(crate) types: PhantomData<C>,
}

impl<C> Clone for Links<C> {
    fn clone(&self) -> Self {
        Self {
            me: self.me,
            group: self.group,
            network: Arc::clone(&self.network),
            transfers: Arc::clone(&self.transfers),
            reader: Arc::clone(&self.reader),
            types: PhantomData,
        }
    }
}

/// Answers to appends, in the order of the appends.
type Appended<'link, C> = BoxStream<'link, Result<StreamAppendResult<C>, RPCError<C>>>;

/// The link to one other replica.
pub(crate) struct Link<C> {
    links: Links<C>,
    target: NodeId,
    member: Member,
}

impl<C: Types> RaftNetworkFactory<C> for Links<C> {
    type Network = Link<C>;

    async fn new_client(&mut self, target: NodeId, node: &Member) -> Link<C> {
        Link {
            links: self.clone(),
            target,
            member: node.clone(),
        }
    }
}

impl<C: Types> Link<C> {
    async fn call(
        &self,
        action: RPCTypes,
        request: Request,
        timeout: Duration,
    ) -> Result<Answer, RPCError<C>> {
        let answer = self.begin(request, timeout).await;
        self.accept(action, answer)
    }

    /// Calls the other replica.
    pub(super) fn begin(&self, request: Request, timeout: Duration) -> Calling {
        let network = &self.links.network;
        network.call(self.target, &self.member, request, Some(timeout))
    }

    fn accept(
        &self,
        action: RPCTypes,
        answer: Result<Answer, CallError>,
    ) -> Result<Answer, RPCError<C>> {
        match answer {
            Ok(Answer::Refused(refusal)) => Err(self.explain(action, refusal.into())),
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.explain(action, error)),
        }
    }

    /// An append in the crate's own types.
    pub(super) fn append_request(&self, rpc: AppendEntriesRequest<C>) -> Request {
        Request::Append {
            group: self.links.group,
            vote: convert::vote(&rpc.vote),
            previous: rpc.prev_log_id.as_ref().map(convert::log_id),
            committed: rpc.leader_commit.as_ref().map(convert::log_id),
            entries: rpc.entries.into_iter().map(convert::entry).collect(),
        }
    }

    /// The answer to an append in openraft's types. `has_previous` says whether the append named an entry before its first.
    pub(super) fn append_answer(
        &self,
        has_previous: bool,
        answer: Result<Answer, CallError>,
    ) -> Result<AppendEntriesResponse<C>, RPCError<C>> {
        let Answer::Append(answer) = self.accept(RPCTypes::AppendEntries, answer)? else {
            return Err(self.explain(RPCTypes::AppendEntries, CallError::Misfit));
        };
        Ok(match answer {
            AppendAnswer::Success => AppendEntriesResponse::Success,
            AppendAnswer::Partial(last) => {
                AppendEntriesResponse::PartialSuccess(last.map(convert::to_log_id))
            }
            // openraft has no answer for a conflict before the first entry.
            AppendAnswer::Conflict if !has_previous => {
                return Err(self.explain(RPCTypes::AppendEntries, CallError::Misfit));
            }
            AppendAnswer::Conflict => AppendEntriesResponse::Conflict,
            AppendAnswer::HigherVote(vote) => {
                AppendEntriesResponse::HigherVote(convert::to_vote(vote))
            }
        })
    }

    fn explain(&self, action: RPCTypes, error: CallError) -> RPCError<C> {
        match error {
            CallError::TimedOut(timeout) => RPCError::Timeout(Timeout {
                action,
                id: self.links.me,
                target: self.target,
                timeout,
            }),
            error => {
                let text = format!("node {} at {}: {error}", self.target, self.member);
                RPCError::Unreachable(Unreachable::from_string(text))
            }
        }
    }

    async fn ask_for_vote(
        &self,
        rpc: VoteRequest<C>,
        is_pre_vote: bool,
    ) -> Result<VoteResponse<C>, RPCError<C>> {
        let request = Request::Vote {
            group: self.links.group,
            vote: convert::vote(&rpc.vote),
            last: rpc.last_log_id.as_ref().map(convert::log_id),
            is_pre_vote,
            is_transfer: rpc.leadership_transfer,
        };
        match self.call(RPCTypes::Vote, request, VOTE_TIMEOUT).await? {
            Answer::Vote {
                vote,
                last,
                is_granted,
            } => {
                let last = last.map(convert::to_log_id);
                Ok(VoteResponse::new(convert::to_vote(vote), last, is_granted))
            }
            _ => Err(self.explain(RPCTypes::Vote, CallError::Misfit)),
        }
    }
}

impl<C: Types> RaftNetworkV2<C> for Link<C> {
    type SnapshotData = Snapshot;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<C>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<C>, RPCError<C>> {
        let timeout = if rpc.entries.is_empty() {
            HEARTBEAT_TIMEOUT
        } else {
            APPEND_TIMEOUT
        };
        let has_previous = rpc.prev_log_id.is_some();
        let request = self.append_request(rpc);
        let answer = self.begin(request, timeout).await;
        self.append_answer(has_previous, answer)
    }

    fn stream_append<'link, S>(
        &'link mut self,
        requests: S,
        _: RPCOption,
    ) -> BoxFuture<'link, Result<Appended<'link, C>, RPCError<C>>>
    where
        S: Stream<Item = AppendEntriesRequest<C>> + OptionalSend + Unpin + 'static,
    {
        let pipeline: Appended<'link, C> = Box::pin(Pipeline::new(self, requests));
        Box::pin(std::future::ready(Ok(pipeline)))
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<C>,
        _: RPCOption,
    ) -> Result<VoteResponse<C>, RPCError<C>> {
        self.ask_for_vote(rpc, false).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<C>,
        _: RPCOption,
    ) -> Result<VoteResponse<C>, RPCError<C>> {
        self.ask_for_vote(rpc, true).await
    }

    /// The follower fetches the files; there is no time limit as long as it does.
    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: RaftSnapshot<Committed, NodeId, Member, Snapshot>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<C>, StreamingError<C>> {
        let Snapshot::Outgoing(checkpoint) = snapshot.snapshot else {
            return Err(ReplicationClosed::new("a received checkpoint cannot be sent on").into());
        };
        let mut cancel = std::pin::pin!(cancel);
        let transfers = Arc::clone(&self.links.transfers);
        let turn = transfers.turn(self.links.group);
        let _turn = match C::select2(turn, &mut cancel).await {
            openraft::async_runtime::Select2::First(turn) => turn,
            openraft::async_runtime::Select2::Second(closed) => return Err(closed.into()),
        };
        let manifest = checkpoint.manifest.clone();
        let reader = Arc::clone(&self.links.reader);
        let offer = self.links.transfers.offer(checkpoint, reader);
        let membership = &snapshot.meta.last_membership;
        let request = Request::Checkpoint {
            group: self.links.group,
            vote: convert::vote(&vote),
            last: snapshot.meta.last_log_id.as_ref().map(convert::log_id),
            membership_id: membership.log_id().as_ref().map(convert::log_id),
            membership: convert::membership(membership.membership()),
            transfer: offer.id(),
            manifest,
        };
        let calling = self
            .links
            .network
            .call(self.target, &self.member, request, None);
        let idle = async {
            let mut chunks = u64::MAX;
            while chunks != offer.chunks() {
                chunks = offer.chunks();
                C::sleep(TRANSFER_IDLE_TIMEOUT).await;
            }
        };
        let answer = match C::select3(calling, cancel, idle).await {
            openraft::async_runtime::Select3::First(answer) => answer,
            openraft::async_runtime::Select3::Second(closed) => return Err(closed.into()),
            openraft::async_runtime::Select3::Third(()) => {
                Err(CallError::TimedOut(TRANSFER_IDLE_TIMEOUT))
            }
        };
        match answer {
            Ok(Answer::Checkpoint { vote }) => Ok(SnapshotResponse::new(convert::to_vote(vote))),
            Ok(Answer::Refused(refusal)) => Err(self
                .explain(RPCTypes::InstallSnapshot, refusal.into())
                .into()),
            Ok(_) => Err(self
                .explain(RPCTypes::InstallSnapshot, CallError::Misfit)
                .into()),
            Err(error) => Err(self.explain(RPCTypes::InstallSnapshot, error).into()),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<C>,
        _: RPCOption,
    ) -> Result<TransferLeaderResponse<C>, RPCError<C>> {
        let request = Request::Transfer {
            group: self.links.group,
            from: convert::vote(req.from_leader()),
            to: *req.to_node_id(),
            last: req.last_log_id().map(convert::log_id),
        };
        let answer = self.call(RPCTypes::TransferLeader, request, VOTE_TIMEOUT);
        let Answer::Transfer(answer) = answer.await? else {
            return Err(self.explain(RPCTypes::TransferLeader, CallError::Misfit));
        };
        Ok(match answer {
            TransferAnswer::Accepted => Ok(()),
            TransferAnswer::VoteChanged { expected, actual } => {
                Err(TransferLeaderError::VoteChanged {
                    expected: convert::to_vote(expected),
                    actual: convert::to_vote(actual),
                })
            }
            TransferAnswer::NotFlushed { expected, actual } => {
                Err(TransferLeaderError::LogNotFlushed {
                    expected: expected.map(convert::to_log_id),
                    actual: actual.map(convert::to_log_id),
                })
            }
        })
    }
}

/// A candidate that waits longer than an election takes learns nothing.
const VOTE_TIMEOUT: Duration = Duration::from_millis(500);
/// Heartbeats are sent every 200 ms, and a late one is worth nothing.
pub(super) const HEARTBEAT_TIMEOUT: Duration = Duration::from_millis(500);
/// Long enough for a disk that is slow, since what the follower has need not be sent again; short enough for a link that has
/// lost the request and works again.
pub(super) const APPEND_TIMEOUT: Duration = Duration::from_secs(2);
/// A follower that fetches nothing for this long, and has not installed the checkpoint either, has forgotten it.
const TRANSFER_IDLE_TIMEOUT: Duration = Duration::from_mins(1);
