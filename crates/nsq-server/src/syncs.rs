//! Which topics are to be made safe against a machine crash, when, and who waits for it: every `--sync-timeout`, every
//! `--sync-every` messages of a topic, and, with `--sync-publish`, before a publish is answered.
//!
//! ```text
//! ask, join ─▶ topic queued ─▶ begin ─▶ SyncWorker: turn ─▶ Round::run ─▶ end
//!                                                    ▲        │           │
//!                                                    └────────┼─ wanted ──┘
//!                                                             └▶ the topic's tickets are settled
//! ```
//! The program around it runs the workers, each on a thread that may block.
//!
//! `--sync-every` asks for the messages only. What channels have finished of them waits for the timer, since a message
//! that comes back is no message lost. While messages come faster than a disk syncs, the disk rests between two such
//! syncs.
//!
//! Publishers that wait at the same time share one sync. Those that a sync has answered publish again while the next one
//! would already run, and would then wait for two. So a topic's next sync waits for them, though no longer than the last
//! one took. A worker stays with its topic as long as publishers come back.

#[cfg(test)]
mod tests;
mod worker;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nsq_core::{ClientId, Topic};
use nsq_protocol::TopicName;

use crate::server::Host;
pub use worker::{Ended, Round, SyncWorker, Turn};

/// Topics that are synced at the same time, at most.
pub const CONCURRENT_SYNCS: usize = 4;

/// How much of a topic is to be synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// The messages published to it.
    Published,
    /// What its channels noted of them too.
    All,
}

/// One that waits for syncs: the next sync of a topic gathers those that the last one answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PublisherId {
    /// A connection.
    Client(ClientId),
    /// An HTTP request; see [`Syncs::request`].
    Request(u64),
}

/// What is wanted of one topic, from the first request until there is none.
struct Pending {
    topic: Arc<Topic>,
    /// The publishers that wait for it.
    waiting: HashSet<PublisherId>,
    /// The publishers that the last sync answered and that have not published since: the next one waits for them.
    awaited: HashSet<PublisherId>,
    /// What was asked for without waiting.
    asked: Option<Extent>,
}

/// The wanted syncs, and how many are running.
#[derive(Default)]
pub struct Wanted {
    pending: HashMap<TopicName, Pending>,
    /// Topics that no worker has yet.
    queue: VecDeque<TopicName>,
    /// How many workers there are.
    running_count: usize,
}

/// Takes requests for syncs, and hands them to workers.
pub struct Syncs {
    wanted: Mutex<Wanted>,
    host: Arc<dyn Host>,
    next_request: AtomicU64,
    failure_count: AtomicU64,
}

impl Syncs {
    pub(crate) fn new(host: Arc<dyn Host>) -> Syncs {
        Syncs {
            wanted: Mutex::default(),
            host,
            next_request: AtomicU64::new(0),
            failure_count: AtomicU64::new(0),
        }
    }

    /// Asks for a sync of `topic`, soon.
    pub fn ask(&self, topic: &Arc<Topic>, extent: Extent) {
        self.want(topic, |pending| {
            pending.asked = pending.asked.max(Some(extent));
        });
    }

    /// Asks for a sync of what `topic` was given by now, which `publisher` waits for together with everyone who joins
    /// before it begins. It settles the tickets of what they published.
    pub fn join(&self, topic: &Arc<Topic>, publisher: PublisherId) {
        self.want(topic, |pending| {
            pending.waiting.insert(publisher);
            pending.awaited.remove(&publisher);
        });
    }

    /// The id of an HTTP request that is about to publish.
    pub fn request(&self) -> PublisherId {
        PublisherId::Request(self.next_request.fetch_add(1, Ordering::Relaxed))
    }

    /// How many syncs failed.
    pub fn failure_count(&self) -> u64 {
        self.failure_count.load(Ordering::Relaxed)
    }

    /// For a worker that waits until [`Host::sync_gathered`] is called, with the lock given up meanwhile.
    pub fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker for a topic that has none, if one more topic may be synced now.
    pub fn begin(&self) -> Option<SyncWorker> {
        let mut wanted = self.lock();
        if wanted.running_count == CONCURRENT_SYNCS {
            return None;
        }
        let worker = SyncWorker::of(wanted.queue.pop_front()?);
        wanted.running_count += 1;
        Some(worker)
    }

    fn want(&self, topic: &Arc<Topic>, change: impl FnOnce(&mut Pending)) {
        let mut wanted = self.lock();
        let Wanted { pending, queue, .. } = &mut *wanted;
        let mut is_new = false;
        let pending = pending.entry(topic.name().clone()).or_insert_with(|| {
            is_new = true;
            queue.push_back(topic.name().clone());
            Pending::new(Arc::clone(topic))
        });
        // The topic of that name may have been deleted and made again. A late request for the deleted one must not take the
        // sync away from the other: what was published to a deleted topic is settled.
        if !Arc::ptr_eq(&pending.topic, topic) && pending.topic.is_discarded() {
            pending.topic = Arc::clone(topic);
        }
        change(pending);
        let is_gathered = pending.is_gathered();
        drop(wanted);
        if is_new {
            self.host.sync_begins();
        } else if is_gathered {
            self.host.sync_gathered();
        }
    }
}

impl Pending {
    fn new(topic: Arc<Topic>) -> Pending {
        Pending {
            topic,
            waiting: HashSet::new(),
            awaited: HashSet::new(),
            asked: None,
        }
    }

    /// Whether everyone is there that the sync is for.
    fn is_gathered(&self) -> bool {
        self.asked == Some(Extent::All) || (!self.waiting.is_empty() && self.awaited.is_empty())
    }

    fn is_wanted(&self) -> bool {
        !self.waiting.is_empty() || self.asked.is_some()
    }
}
