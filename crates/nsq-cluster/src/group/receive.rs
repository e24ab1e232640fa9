//! What other nodes ask of a replica.

use std::io;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use openraft::Snapshot as RaftSnapshot;
use openraft::async_runtime::WatchReceiver;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest,
    VoteRequest, VoteResponse,
};
use tokio::sync::oneshot;

use super::divergence;
use super::replica::{Replica, Shared};
use crate::codec::{
    self, Answer, AppendAnswer, LogId, Manifest, ManifestFile, Refusal, Request, TransferAnswer,
    Vote,
};
use crate::network::{CallError, MAX_CHUNK_BYTES};
use crate::raft::{Snapshot, SnapshotMeta, StoredMembership, Types, convert};
use crate::state_machine::Staging;
use crate::{Member, NodeId};

impl<C: Types> Replica<C> {
    pub(super) async fn handle(&self, from: NodeId, request: Request) -> Answer {
        let shared = self.shared();
        let answer = match request {
            Request::Append {
                vote,
                previous,
                committed,
                entries,
                ..
            } => {
                if !entries.is_empty() && shared.wal.unstored_bytes() > MAX_UNSTORED_BYTES {
                    return Answer::Refused(Refusal::Busy);
                }
                append(shared, vote, previous, committed, entries).await
            }
            Request::Vote {
                vote,
                last,
                is_pre_vote,
                is_transfer,
                ..
            } => ask(shared, vote, last, is_pre_vote, is_transfer).await,
            Request::Transfer { from, to, last, .. } => transfer(shared, from, to, last).await,
            Request::Checkpoint {
                vote,
                last,
                membership_id,
                membership,
                transfer,
                manifest,
                ..
            } => {
                let id = membership_id.map(convert::to_log_id);
                let meta = SnapshotMeta {
                    last_log_id: last.map(convert::to_log_id),
                    last_membership: StoredMembership::new(id, convert::to_membership(membership)),
                };
                // A checkpoint that is beyond all that was executed replaces it, whatever that was.
                let is_beyond = last.map(|last| last.index) > executed(shared);
                if !is_beyond && let Err(why) = divergence::check(shared, vote, last, &[]) {
                    return Answer::Refused(Refusal::Failed(why));
                }
                let offer = Offer {
                    from,
                    transfer,
                    manifest,
                };
                return receive(shared, vote, meta, offer).await;
            }
            Request::Chunk {
                transfer,
                file,
                offset,
                bytes,
            } => {
                let transfers = &shared.options.transfers;
                return transfers.chunk(transfer, file, offset, bytes).await;
            }
            Request::Call { .. } => Err("a replica answers no calls".to_owned()),
        };
        answer.unwrap_or_else(|why| Answer::Refused(Refusal::Failed(why)))
    }
}

/// The index of the last entry that was applied.
fn executed<C: Types>(shared: &Shared<C>) -> Option<u64> {
    let metrics = shared.raft.metrics();
    let applied = metrics.borrow_watched().last_applied;
    applied.map(|id| convert::log_id(&id).index)
}

async fn append<C: Types>(
    shared: &Shared<C>,
    vote: Vote,
    previous: Option<LogId>,
    committed: Option<LogId>,
    entries: Vec<codec::Entry>,
) -> Result<Answer, String> {
    divergence::check(shared, vote, previous, &entries)?;
    let request = AppendEntriesRequest {
        vote: convert::to_vote(vote),
        prev_log_id: previous.map(convert::to_log_id),
        entries: entries.into_iter().map(convert::to_entry).collect(),
        leader_commit: committed.map(convert::to_log_id),
    };
    let appended = shared.raft.append_entries(request).await;
    Ok(Answer::Append(
        match appended.map_err(|error| error.to_string())? {
            AppendEntriesResponse::Success => AppendAnswer::Success,
            AppendEntriesResponse::PartialSuccess(last) => {
                AppendAnswer::Partial(last.as_ref().map(convert::log_id))
            }
            AppendEntriesResponse::Conflict => AppendAnswer::Conflict,
            AppendEntriesResponse::HigherVote(vote) => {
                AppendAnswer::HigherVote(convert::vote(&vote))
            }
        },
    ))
}

async fn ask<C: Types>(
    shared: &Shared<C>,
    vote: Vote,
    last: Option<LogId>,
    is_pre_vote: bool,
    is_transfer: bool,
) -> Result<Answer, String> {
    let request = VoteRequest {
        vote: convert::to_vote(vote),
        last_log_id: last.map(convert::to_log_id),
        leadership_transfer: is_transfer,
    };
    let voted = if is_pre_vote {
        shared.raft.pre_vote(request).await
    } else {
        shared.raft.vote(request).await
    };
    let VoteResponse {
        vote,
        vote_granted,
        last_log_id,
    } = voted.map_err(|error| error.to_string())?;
    Ok(Answer::Vote {
        vote: convert::vote(&vote),
        last: last_log_id.as_ref().map(convert::log_id),
        is_granted: vote_granted,
    })
}

async fn transfer<C: Types>(
    shared: &Shared<C>,
    from: Vote,
    to: NodeId,
    last: Option<LogId>,
) -> Result<Answer, String> {
    let last = last.map(convert::to_log_id);
    let request = TransferLeaderRequest::new(convert::to_vote(from), to, last);
    let handled = shared.raft.handle_transfer_leader(request).await;
    Ok(Answer::Transfer(
        match handled.map_err(|error| error.to_string())? {
            Ok(()) => TransferAnswer::Accepted,
            Err(TransferLeaderError::VoteChanged { expected, actual }) => {
                TransferAnswer::VoteChanged {
                    expected: convert::vote(&expected),
                    actual: convert::vote(&actual),
                }
            }
            Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
                TransferAnswer::NotFlushed {
                    expected: expected.as_ref().map(convert::log_id),
                    actual: actual.as_ref().map(convert::log_id),
                }
            }
        },
    ))
}

/// A checkpoint that another node offers.
struct Offer {
    from: NodeId,
    transfer: u64,
    manifest: Manifest,
}

/// Fetches an offered checkpoint and installs it.
async fn receive<C: Types>(
    shared: &Arc<Shared<C>>,
    vote: Vote,
    meta: SnapshotMeta,
    offer: Offer,
) -> Answer {
    let vote = convert::to_vote(vote);
    let known = shared.raft.metrics().borrow_watched().vote;
    // A leader of the past need not be listened to for gigabytes.
    if known > vote {
        let vote = convert::vote(&known);
        return Answer::Checkpoint { vote };
    }
    let Ok(_one) = shared.receiving.try_lock() else {
        return Answer::Refused(Refusal::Busy);
    };
    let group = shared.options.group;
    let (files, bytes) = (offer.manifest.files.len(), offer.manifest.total_bytes());
    let from = match meta.last_membership.membership().get_node(&offer.from) {
        Some(member) => format!("node {} ({member})", offer.from),
        None => format!("node {}", offer.from),
    };
    tracing::info!("cluster: {group}: fetching {files} files, {bytes} bytes at most, from {from}");
    let failed = |why: String| {
        tracing::warn!("cluster: {group}: the checkpoint of {from} was not installed: {why}");
        Answer::Refused(Refusal::Failed(why))
    };
    let staging = match fetch(shared, &meta, &offer).await {
        Ok(staging) => staging,
        Err(error) => return failed(error.to_string()),
    };
    let snapshot = RaftSnapshot {
        meta,
        snapshot: Snapshot::Incoming(staging),
    };
    match shared.raft.install_full_snapshot(vote, snapshot).await {
        Ok(installed) => {
            tracing::info!("cluster: {group}: installed the checkpoint of {from}");
            let vote = convert::vote(&installed.vote);
            Answer::Checkpoint { vote }
        }
        Err(fatal) => failed(fatal.to_string()),
    }
}

async fn fetch<C: Types>(
    shared: &Shared<C>,
    meta: &SnapshotMeta,
    offer: &Offer,
) -> io::Result<Box<dyn Staging>> {
    let members = meta.last_membership.membership();
    let member = members.get_node(&offer.from).ok_or_else(|| {
        io::Error::other(format!("node {} is not a member of the group", offer.from))
    })?;
    let mut staging = shared.machine.stage(offer.manifest.clone()).await?;
    for (at, file) in offer.manifest.files.iter().enumerate() {
        let about = file.clone();
        let (kept, needed) = on_lane(shared, staging, move |staging| {
            staging.needed_from(at, &about)
        })
        .await?;
        staging = fetch_file(shared, offer, member, kept, (at, file, needed)).await?;
    }
    Ok(staging)
}

/// Fetches the rest of one file, several chunks at a time.
async fn fetch_file<C: Types>(
    shared: &Shared<C>,
    offer: &Offer,
    member: &Member,
    mut staging: Box<dyn Staging>,
    (at, file, needed): (usize, &ManifestFile, u64),
) -> io::Result<Box<dyn Staging>> {
    let number = u32::try_from(at).map_err(io::Error::other)?;
    let offsets = (needed..file.bytes).step_by(CHUNK_BYTES as usize);
    let calls = offsets.map(|offset| {
        let left = u32::try_from(file.bytes - offset).unwrap_or(u32::MAX);
        let request = Request::Chunk {
            transfer: offer.transfer,
            file: number,
            offset,
            bytes: left.min(CHUNK_BYTES),
        };
        let network = &shared.options.network;
        let calling = network.call(offer.from, member, request, Some(CHUNK_TIMEOUT));
        async move { (offset, left.min(CHUNK_BYTES), calling.await) }
    });
    let mut chunks = stream::iter(calls).buffered(CHUNKS_UNDER_WAY);
    while let Some((offset, wanted, answer)) = chunks.next().await {
        let (checksum, bytes) = match answer.map_err(io::Error::other)? {
            Answer::Chunk { checksum, bytes } => (checksum, bytes),
            Answer::Refused(refusal) => return Err(io::Error::other(refusal)),
            _ => return Err(io::Error::other(CallError::Misfit)),
        };
        if bytes.len() != wanted as usize || crc32fast::hash(&bytes) != checksum {
            let text = format!("{} at {offset} arrived damaged", file.name);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let write = move |staging: &mut dyn Staging| staging.write(at, offset, &bytes);
        (staging, ()) = on_lane(shared, staging, write).await?;
    }
    Ok(staging)
}

/// Works on a staging where the state machine runs.
async fn on_lane<C: Types, T: Send + 'static>(
    shared: &Shared<C>,
    mut staging: Box<dyn Staging>,
    work: impl FnOnce(&mut dyn Staging) -> io::Result<T> + Send + 'static,
) -> io::Result<(Box<dyn Staging>, T)> {
    let (sender, receiver) = oneshot::channel();
    shared.options.applier.submit(Box::new(move || {
        let done = work(&mut *staging);
        let _ = sender.send(done.map(|done| (staging, done)));
    }));
    receiver
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the replica is closed"))?
}

/// A follower that has so much unwritten takes no more: its disk is slow, and its memory is not to make up for it.
const MAX_UNSTORED_BYTES: usize = 64 << 20;
const CHUNK_BYTES: u32 = 256 << 10;
const _: () = assert!(CHUNK_BYTES <= MAX_CHUNK_BYTES);
/// Enough to keep a disk busy while a chunk travels.
const CHUNKS_UNDER_WAY: usize = 8;
const CHUNK_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(20);
