//! How a node reaches the others, whatever carries it.
//!
//! nsqd's is TCP; the simulation has its own, which loses, delays and reorders.

mod pace;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use self::pace::Pace;
use crate::codec::{Answer, Refusal, Request};
use crate::lane::Lane;
use crate::state_machine::Checkpoint;
use crate::{GroupId, Member, NodeId};

/// Carries requests to other nodes.
pub trait Network: fmt::Debug + Send + Sync + 'static {
    /// Sends `request` and completes with its answer, or once `timeout` has passed if there is one.
    fn call(
        &self,
        to: NodeId,
        member: &Member,
        request: Request,
        timeout: Option<Duration>,
    ) -> Calling;
}

/// An answer on its way.
pub type Calling = Pin<Box<dyn Future<Output = Result<Answer, CallError>> + Send>>;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No connection to the node could be made, or the request waited for room and never left: the node has surely not seen
    /// it, so it may be sent again.
    #[error("{0}")]
    NotSent(String),
    /// The connection broke, or the node fell silent; the request may have arrived.
    #[error("{0}")]
    Unreachable(String),
    /// The node did not answer in time; the request may have arrived.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The node does not do it.
    #[error("the node {0}")]
    Refused(#[from] Refusal),
    /// The answer is to another kind of question.
    #[error("the answer does not fit the request")]
    Misfit,
}

/// The checkpoints that this node offers to others at the moment, for all its groups.
#[derive(Debug)]
pub struct Transfers {
    offers: Mutex<HashMap<u64, Offer>>,
    next: AtomicU64,
    /// How fast chunks leave, if that is limited.
    pace: Option<Pace>,
    /// With a limit, one shard is sent at a time: several would only all take longer.
    turn: Semaphore,
}

#[derive(Clone, Debug)]
struct Offer {
    checkpoint: Checkpoint,
    reader: Arc<dyn Lane>,
    /// Counts the chunks that were asked for.
    chunks: Arc<AtomicU64>,
}

impl Transfers {
    /// No offers yet. `first` is a number that no earlier process of this node has begun with, such as a random one:
    /// otherwise a peer could take a new offer for the one it was fetching.
    pub fn new(first: u64) -> Self {
        Self {
            offers: Mutex::default(),
            next: AtomicU64::new(first),
            pace: None,
            turn: Semaphore::new(1),
        }
    }

    /// As [`Transfers::new`], with a limit for all chunks together; 0 for none. It must be so high that the chunks which a
    /// receiver asks for at the same time, 2 MiB, leave within seconds. Needs tokio's clock.
    pub fn limited(first: u64, bytes_per_second: u64) -> Self {
        Self {
            pace: Pace::new(bytes_per_second),
            ..Self::new(first)
        }
    }

    /// Completes when a checkpoint of the group may be sent, until the permit is dropped. The directory never waits: it is small,
    /// and a node that joins needs it first of all.
    pub(crate) async fn turn(&self, group: GroupId) -> Option<SemaphorePermit<'_>> {
        if self.pace.is_none() || group == GroupId::DIRECTORY {
            return None;
        }
        self.turn.acquire().await.ok()
    }

    /// Offers a checkpoint until the returned value is dropped. Its files are read on `reader`.
    pub(crate) fn offer(
        self: &Arc<Self>,
        checkpoint: Checkpoint,
        reader: Arc<dyn Lane>,
    ) -> OfferGuard {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let chunks = Arc::new(AtomicU64::new(0));
        let offer = Offer {
            checkpoint,
            reader,
            chunks: Arc::clone(&chunks),
        };
        self.offers().insert(id, offer);
        OfferGuard {
            transfers: Arc::clone(self),
            id,
            chunks,
        }
    }

    /// Reads a piece of an offered checkpoint.
    pub(crate) async fn chunk(&self, transfer: u64, file: u32, offset: u64, bytes: u32) -> Answer {
        let offer = self.offers().get(&transfer).cloned();
        let Some(offer) = offer else {
            return Answer::Refused(Refusal::NoSuchTransfer);
        };
        offer.chunks.fetch_add(1, Ordering::Relaxed);
        if let Some(pace) = &self.pace {
            pace.wait_for(chunk_bytes(&offer.checkpoint, file, offset, bytes))
                .await;
        }
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let checkpoint = offer.checkpoint;
        offer.reader.submit(Box::new(move || {
            let _ = sender.send(read_chunk(&checkpoint, file, offset, bytes));
        }));
        receiver
            .await
            .unwrap_or_else(|_| failed("the replica is closed"))
    }

    fn offers(&self) -> MutexGuard<'_, HashMap<u64, Offer>> {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_chunk(checkpoint: &Checkpoint, file: u32, offset: u64, bytes: u32) -> Answer {
    let file = file as usize;
    let Some(about) = checkpoint.manifest.files.get(file) else {
        return failed("there is no such file in the checkpoint");
    };
    let bytes = bytes_of(about.bytes, offset, bytes);
    let bytes = usize::try_from(bytes).expect("a chunk is small");
    match checkpoint.files.read(file, offset, bytes) {
        Ok(read) => Answer::Chunk {
            checksum: crc32fast::hash(&read),
            bytes: read,
        },
        Err(error) => failed(&error.to_string()),
    }
}

/// How many bytes a chunk has; 0 where there is no such file.
fn chunk_bytes(checkpoint: &Checkpoint, file: u32, offset: u64, bytes: u32) -> u64 {
    let about = checkpoint.manifest.files.get(file as usize);
    about.map_or(0, |about| bytes_of(about.bytes, offset, bytes))
}

fn bytes_of(file_bytes: u64, offset: u64, bytes: u32) -> u64 {
    let left = file_bytes.saturating_sub(offset);
    u64::from(bytes.min(MAX_CHUNK_BYTES)).min(left)
}

fn failed(why: &str) -> Answer {
    Answer::Refused(Refusal::Failed(why.to_owned()))
}

/// Keeps an offer.
#[derive(Debug)]
pub(crate) struct OfferGuard {
    transfers: Arc<Transfers>,
    id: u64,
    chunks: Arc<AtomicU64>,
}

impl OfferGuard {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// How many chunks were asked for.
    pub(crate) fn chunks(&self) -> u64 {
        self.chunks.load(Ordering::Relaxed)
    }
}

impl Drop for OfferGuard {
    fn drop(&mut self) {
        self.transfers.offers().remove(&self.id);
    }
}

/// A chunk is never larger, whatever is asked for.
pub(crate) const MAX_CHUNK_BYTES: u32 = 1 << 20;
