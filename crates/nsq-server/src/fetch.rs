//! Messages of shards that other nodes lead, for the clients of this node.
//!
//! ```text
//! Session ─▶ RemotePart (one per consumer) ── Order ─▶ Source (one per other node) ─▶ the other node's Feed
//!    ▲            ▲                                                                       │
//!    └── wake ────┴────────────────────────── Event ──────────────────────────────────────┘
//! ```
//! A consumer subscribes at every other node, whether that leads anything at the moment or not: its [`Feed`](crate::feed::Feed)
//! follows what it leads. A node may hand out to a consumer as many messages as the consumer may hold (RDY), those it has from that
//! node included. The nodes do not know of each other, so more may come than the consumer has room for.
//!
//! - **What finds no room** waits here. Usually the consumer finishes something soon, and gets it without another round trip. If
//!   it does not within [`PATIENCE`], the message goes back and no attempt is counted; until the consumer has room again, no node
//!   hands anything out to it. So a few messages more than it may hold can be fetched for a consumer that is quick: at a ready
//!   count of 1, it need not wait for a round trip after each message.
//! - **The consumer's own node comes first.** Messages of other nodes are asked for when a turn of the session ends with room left,
//!   and now and then while the own node's messages leave none.
//! - **A node that is gone**: what the consumer has of it is not in flight any more, and the next leader delivers it again.
//!
//! The fetcher is plain state. The program around it carries orders and events, and calls [`Fetcher::expire`] in time.

mod part;
mod source;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use nsq_core::{Now, Tick};

use crate::client::Client;
pub use crate::feed::Wanted;
pub use part::RemotePart;
pub use source::{Source, Stray, Urgency};

/// How long a message may wait for a consumer that has no room.
pub const PATIENCE: Duration = Duration::from_millis(25);

/// Fetches messages of other nodes for the consumers of this node.
#[derive(Default)]
pub struct Fetcher {
    sources: RwLock<Arc<[Arc<Source>]>>,
    parts: Mutex<Parts>,
    /// Parts that have to be looked at, the earliest first.
    looks: Mutex<VecDeque<(Tick, Weak<RemotePart>)>>,
    /// Wakes the program that calls [`expire`](Self::expire).
    looks_waker: AtomicWaker,
    fetched: AtomicU64,
    returned: AtomicU64,
}

#[derive(Default)]
struct Parts {
    by_subscription: HashMap<u32, Arc<RemotePart>>,
    last: u32,
}

impl Fetcher {
    /// Subscribes `client` at the other nodes, with a ready count of 0.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        client: &Arc<Client>,
        wanted: Wanted,
    ) -> Arc<RemotePart> {
        let part = {
            let mut parts = self.parts();
            parts.last = parts.last.wrapping_add(1);
            let subscription = parts.last;
            let part = RemotePart::new(subscription, Arc::clone(client), wanted, self);
            parts
                .by_subscription
                .insert(subscription, Arc::clone(&part));
            part
        };
        // After it is in the table: a source that opens meanwhile finds it there.
        for source in &*self.sources() {
            source.attach(&part);
        }
        part
    }

    fn forget(&self, subscription: u32) {
        self.parts().by_subscription.remove(&subscription);
    }

    /// Messages of other nodes that consumers of this node have got.
    pub fn fetched_count(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }

    /// Messages of other nodes that went back, since no consumer had room for them in time.
    pub fn returned_count(&self) -> u64 {
        self.returned.load(Ordering::Relaxed)
    }

    /// Whether there is a consumer.
    pub fn is_wanted(&self) -> bool {
        !self.parts().by_subscription.is_empty()
    }

    /// Another node, which has to be [opened](Source::open).
    pub fn add_source(self: &Arc<Self>, node: u64) -> Arc<Source> {
        let source = Arc::new(Source::new(node, self));
        let mut sources = self.sources.write().unwrap_or_else(PoisonError::into_inner);
        *sources = sources
            .iter()
            .cloned()
            .chain([Arc::clone(&source)])
            .collect();
        source
    }

    /// The other node is a member of the cluster no longer.
    pub fn remove_source(&self, source: &Arc<Source>) {
        source.close();
        let mut sources = self.sources.write().unwrap_or_else(PoisonError::into_inner);
        let left = sources.iter().filter(|other| !Arc::ptr_eq(other, source));
        *sources = left.cloned().collect();
    }

    /// The other node `node`.
    pub fn source(&self, node: u64) -> Option<Arc<Source>> {
        let sources = self.sources();
        sources.iter().find(|source| source.node() == node).cloned()
    }

    fn sources(&self) -> Arc<[Arc<Source>]> {
        Arc::clone(&self.sources.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn part(&self, subscription: u32) -> Option<Arc<RemotePart>> {
        self.parts().by_subscription.get(&subscription).cloned()
    }

    fn all_parts(&self) -> Vec<Arc<RemotePart>> {
        self.parts().by_subscription.values().cloned().collect()
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- messages that wait too long ----

    fn look_at(&self, part: Weak<RemotePart>, at: Tick) {
        let mut looks = self.looks();
        // Nearly always the last one: all wait equally long.
        let place = looks.iter().rposition(|(earlier, _)| *earlier <= at);
        looks.insert(place.map_or(0, |place| place + 1), (at, part));
        let is_first = place.is_none();
        drop(looks);
        if is_first {
            self.looks_waker.wake();
        }
    }

    /// When [`expire`](Self::expire) is to be called; pending while there is no such time. Completes again when that becomes
    /// earlier than `known`.
    pub fn poll_next_look(&self, known: Option<Tick>, cx: &mut Context<'_>) -> Poll<Tick> {
        self.looks_waker.register(cx.waker());
        match self.looks().front() {
            Some((at, _)) if known.is_none_or(|known| *at < known) => Poll::Ready(*at),
            _ => Poll::Pending,
        }
    }

    /// Gives back what has waited too long for room.
    pub fn expire(&self, now: Now) {
        loop {
            let part = {
                let mut looks = self.looks();
                match looks.front() {
                    Some((at, _)) if *at <= now.tick => looks.pop_front(),
                    _ => return,
                }
            };
            if let Some(part) = part.and_then(|(_, part)| part.upgrade()) {
                part.expire(now.tick);
            }
        }
    }

    fn looks(&self) -> MutexGuard<'_, VecDeque<(Tick, Weak<RemotePart>)>> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
