//! Consuming from any node: messages that one node leads, for consumers of another one.
//!
//! ```text
//! Fetcher ─▶ fetch (a task for each other member) ── Orders ─▶ feed (a task for each node that asks) ─▶ Feed
//!    ▲                                            ◀─ answer ──    │
//!    └──────────────────── Events ◀───────────────── call ────────┘
//! ```
//! Orders are answered with the messages that are there at once; later ones are sent by a call in the other direction. Events
//! are numbered, since an answer and a call may overtake each other. A call that fails ends the *opening*: the other side
//! forgets what it was handed, and begins again. Its first orders say what the leader may not have heard; what else was handed
//! out is requeued then, or after a while.
//!
//! These are [`Request::Call`](nsq_cluster::codec::Request::Call)s to [`CONSUMERS`], which is the number of no group. A node that does not
//! know them refuses, and is asked again now and then.

pub(crate) mod codec;
mod feed;
mod fetch;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use nsq_cluster::codec::{Answer, Refusal};
use nsq_cluster::{GroupId, Member, NodeId};
use nsq_server::Server;
use nsq_server::fetch::Fetcher;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::codec::Call;
use self::feed::Feeds;
use super::this_node::ThisNode;
use crate::clock;

/// Stands for consumers where a call names a group. No shard has this number.
pub(crate) const CONSUMERS: GroupId = GroupId(u64::MAX - 1);

/// Both ends, on this node.
pub(crate) struct Consuming {
    node: Arc<dyn ThisNode>,
    fetcher: Arc<Fetcher>,
    feeds: OnceLock<Arc<Feeds>>,
    /// Turns true when nsqd stops.
    is_stopping: watch::Sender<bool>,
    fetching: Mutex<Option<JoinHandle<()>>>,
}

impl Consuming {
    pub(super) fn new(node: Arc<dyn ThisNode>) -> Consuming {
        Consuming {
            node,
            fetcher: Arc::default(),
            feeds: OnceLock::new(),
            is_stopping: watch::Sender::new(false),
            fetching: Mutex::default(),
        }
    }

    /// Fetches messages for the consumers of this node.
    pub(crate) fn fetcher(&self) -> &Arc<Fetcher> {
        &self.fetcher
    }

    /// Consumers of other nodes that this node feeds.
    pub(super) fn remote_consumer_count(&self) -> usize {
        self.feeds.get().map_or(0, |feeds| feeds.consumer_count())
    }

    /// Begins to fetch messages, and to feed other nodes. `runtime` serves clients: a feed may have to wait for a disk, which
    /// must not hold up elections. Fetching never does, so it runs in `raft`, where its calls begin and end.
    pub(crate) fn begin(&self, server: &Arc<Server>, runtime: &Handle, raft: &Handle) {
        let feeds = Feeds::new(Arc::clone(&self.node), Arc::clone(server), runtime.clone());
        let _ = self.feeds.set(Arc::new(feeds));
        let fetching = fetch::run(
            Arc::clone(&self.node),
            Arc::clone(&self.fetcher),
            self.is_stopping.subscribe(),
        );
        *self.fetching() = Some(raft.spawn(fetching));
    }

    /// What another node says about consumers.
    pub(super) async fn answer(&self, from: NodeId, body: Bytes) -> Answer {
        let failed = |why: String| Answer::Refused(Refusal::Failed(why));
        let call = match Call::from_bytes(body) {
            Ok(call) => call,
            Err(error) => return failed(error.to_string()),
        };
        match call {
            Call::Events(batch) => match self.fetcher.source(from.0) {
                Some(source) => {
                    let now = clock::now();
                    match source.receive(batch.opening, batch.number, batch.list, now) {
                        Ok(()) => Answer::Call(Bytes::new()),
                        Err(stray) => failed(stray.to_string()),
                    }
                }
                None => failed("the node is no member".to_owned()),
            },
            Call::Orders(orders) => match self.feeds.get() {
                Some(feeds) => feeds.answer(from, orders).await,
                None => Answer::Refused(Refusal::NoSuchGroup),
            },
        }
    }

    /// Tells the other nodes that this one is going down: what its consumers hold is delivered again at once.
    pub(crate) async fn stop(&self) {
        self.is_stopping.send_replace(true);
        let fetching = self.fetching().take();
        if let Some(fetching) = fetching {
            // It bounds its time by itself.
            let _ = fetching.await;
        }
    }

    fn fetching(&self) -> std::sync::MutexGuard<'_, Option<JoinHandle<()>>> {
        self.fetching.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a member is reached, if the directory lists it.
fn member(node: &dyn ThisNode, id: NodeId) -> Option<Member> {
    let directory = node.directory();
    let directory = directory.borrow();
    let listed = directory.members.get(&id)?;
    Some(Member {
        address: listed.info.address.clone(),
    })
}
