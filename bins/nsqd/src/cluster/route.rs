//! Publishes to durable topics on their way to the leader of this node's own shard.
//!
//! ```text
//! publish ─▶ this node leads, and nothing waits ─▶ Shard::publish
//!            └ otherwise ─▶ Queue ─▶ pump ─┬─ this node leads ─▶ Shard::publish
//!                                          ├─ another node leads ─▶ call it: many publishes at once
//!                                          └─ none is known ─▶ hold, for 3 s at most
//! ```
//! - The publishes of one connection to one topic keep their order: the direct way is open only while nothing waits and
//!   nothing is under way to another node, and the queue keeps the order of each topic.
//! - A publish that was surely not stored is tried again for as long as it may be held. One that may have been stored is
//!   never tried again: its publisher learns that it may or may not be stored.
//! - What waits is bounded in bytes; a publish above the bound is refused.

mod call;
pub(crate) mod codec;
mod queue;
pub(crate) mod receive;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use nsq_cluster::network::Network;
use nsq_cluster::{Member, NodeId};
use nsq_core::{Now, Pending, Tick, TicketWaiter};
use nsq_protocol::TopicName;
use nsq_server::RouteError;
use tokio::sync::{Notify, watch};

use self::call::{Calling, Returned};
use self::codec::Publish;
use self::queue::{Again, Held, Queue, Stuck};
use super::local_shard::{LocalShard, Refusal, publish_once};
use crate::clock;

/// What the directory lists, as far as this node knows.
pub(crate) trait Listed: Send + Sync + std::fmt::Debug {
    /// The directory index at which the topic was created, if it exists.
    fn created_at(&self, topic: &TopicName) -> Option<u64>;

    /// Where clients reach the members, as `host:port` each. A member without a TCP port is left out.
    fn client_addresses(&self) -> Vec<String>;
}

/// Who leads this node's own shard.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// This node.
    Local(Arc<dyn LocalShard>),
    /// Another node.
    Remote {
        /// The shard.
        shard: u64,
        /// Its leader.
        node: NodeId,
        /// Where the leader is reached.
        member: Member,
    },
    /// No node is known to lead; `why` continues "the message was not stored: ", for example "the cluster is forming".
    Unknown {
        /// Why not.
        why: String,
    },
}

/// Times and sizes of the router.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// How long a publish is held while no node is known to lead.
    pub(crate) hold: Duration,
    /// How long a publish may take altogether.
    pub(crate) publish_timeout: Duration,
    /// Bytes of publishes that wait or are under way to another node.
    pub(crate) max_bytes: usize,
    /// Bytes of the publishes in one call, about.
    pub(crate) max_call_bytes: usize,
}

impl Limits {
    /// The usual limits, with this `--cluster-publish-timeout`.
    pub(crate) fn new(publish_timeout: Duration) -> Limits {
        Limits {
            hold: Duration::from_secs(3).min(publish_timeout),
            publish_timeout,
            max_bytes: 64 << 20,
            max_call_bytes: 1 << 20,
        }
    }
}

/// Calls under way at a time. Each has topics of its own, so one topic has one call.
const MAX_CALLS: usize = 8;
/// After this long a publish that was not stored is tried again at the same leader. A new leader is tried at once.
const RETRY: Duration = Duration::from_millis(20);

/// Takes publishes to the leader of this node's own shard.
#[derive(Debug, Clone)]
pub(crate) struct Router(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The own shard, while this node leads it and nothing waits. Changed with `state` locked.
    direct: RwLock<Option<Arc<dyn LocalShard>>>,
    /// The directory's newest change. A shard that has not followed it may lack a topic, or may be about to delete one.
    directory_index: AtomicU64,
    state: Mutex<State>,
    /// Something for the pump to do.
    work: Notify,
    /// Counts the changes from one leader to another, for calls under way to the former one.
    leader_changes: watch::Sender<u64>,
    /// Turns true when a leader is known for the first time.
    is_directed: watch::Sender<bool>,
    listed: Arc<dyn Listed>,
    network: Arc<dyn Network>,
    limits: Limits,
    figures: Figures,
    is_closed: AtomicBool,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    target: Target,
    /// The last node that led, if it is not this one.
    last_leader: Option<NodeId>,
    /// Before this time neither a pause nor a wait is over.
    next_check: Tick,
}

/// What the router has done, for `/metrics`.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Publishes sent to another node.
    pub(crate) forwarded: AtomicU64,
    /// Publishes that had to wait for a leader, or for their topic.
    pub(crate) held: AtomicU64,
    /// Publishes that failed, stored or not.
    pub(crate) failed: AtomicU64,
}

impl Router {
    /// A router without a target yet. [`run`](Self::run) moves what waits.
    pub(crate) fn new(
        listed: Arc<dyn Listed>,
        network: Arc<dyn Network>,
        limits: Limits,
    ) -> Router {
        let why = "the cluster is forming".to_owned();
        Router(Arc::new(Shared {
            direct: RwLock::default(),
            directory_index: AtomicU64::new(0),
            state: Mutex::new(State {
                queue: Queue::default(),
                target: Target::Unknown { why },
                last_leader: None,
                next_check: Tick::NEVER,
            }),
            work: Notify::new(),
            leader_changes: watch::Sender::new(0),
            is_directed: watch::Sender::new(false),
            listed,
            network,
            limits,
            figures: Figures::default(),
            is_closed: AtomicBool::new(false),
        }))
    }

    /// Who leads this node's own shard from now on.
    pub(crate) fn set_target(&self, target: Target) {
        let mut state = self.0.state();
        self.0.close_direct_way();
        state.queue.end_all_pauses();
        let leader = match &target {
            Target::Local(_) => Some(None),
            Target::Remote { node, .. } => Some(Some(*node)),
            Target::Unknown { .. } => None,
        };
        if let Some(leader) = leader
            && leader != state.last_leader
        {
            state.last_leader = leader;
            self.0.leader_changes.send_modify(|count| *count += 1);
        }
        state.target = target;
        state.next_check = Tick::default();
        drop(state);
        if leader.is_some() {
            self.0.is_directed.send_replace(true);
        }
        self.0.work.notify_one();
    }

    /// Completes once a node is known that leads, or has been since the start.
    pub(crate) async fn directed(&self) {
        let mut is_directed = self.0.is_directed.subscribe();
        // The sender lives as long as this.
        let _ = is_directed.wait_for(|is_directed| *is_directed).await;
    }

    /// The directory has changed; `index` is that of its newest change.
    pub(crate) fn set_directory_index(&self, index: u64) {
        self.0.directory_index.store(index, Ordering::Release);
    }

    /// A shard led here has followed the directory: what waits for its topic need not wait for the next try.
    pub(crate) fn note_followed(&self) {
        let mut state = self.0.state();
        state.queue.end_all_pauses();
        drop(state);
        self.0.work.notify_one();
    }

    /// Refuses publishes from now on, and all that wait: nsqd is going down.
    pub(crate) fn close(&self) {
        self.0.is_closed.store(true, Ordering::Release);
        let mut state = self.0.state();
        self.0.close_direct_way();
        let drained = state.queue.drain();
        drop(state);
        for held in drained {
            self.0.fail(&held, EXITING.to_owned());
        }
        self.0.work.notify_one();
    }

    /// What the router has done.
    pub(crate) fn figures(&self) -> &Figures {
        &self.0.figures
    }

    /// Publishes that wait or are under way to another node: how many, and their bytes.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let state = self.0.state();
        (state.queue.len(), state.queue.bytes())
    }

    /// Moves what waits, until [`close`](Self::close).
    pub(crate) async fn run(&self) {
        let shared = &self.0;
        let mut calls = FuturesUnordered::new();
        while !shared.is_closed.load(Ordering::Acquire) || !calls.is_empty() {
            let next_check = shared.turn(&mut calls);
            tokio::select! {
                () = shared.work.notified() => {}
                Some(returned) = calls.next(), if !calls.is_empty() => shared.settle(returned),
                () = tokio::time::sleep_until(clock::instant_of(next_check).into()) => {}
            }
        }
    }
}

impl nsq_server::Router for Router {
    fn publish(
        &self,
        topic: &TopicName,
        bodies: &mut dyn ExactSizeIterator<Item = &[u8]>,
        due: Option<i64>,
        now: Now,
        waiter: Arc<dyn TicketWaiter>,
    ) -> Result<Arc<Pending>, RouteError> {
        let pending = Pending::new(waiter);
        let direct = self.0.direct.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(shard) = &*direct
            && self.0.has_followed(&**shard, topic)
        {
            match publish_once(&**shard, topic, bodies, due, now, &pending) {
                Ok(()) => return Ok(pending),
                Err(Refusal::TooLarge(why)) => return Err(RouteError::Refused(why)),
                Err(Refusal::Exiting) => return Err(exiting()),
                Err(Refusal::NotLeading | Refusal::NoTopic | Refusal::Full(_)) => {}
            }
        }
        drop(direct);
        self.0.hold(topic, bodies, due, now, &pending)?;
        Ok(pending)
    }

    fn nodes(&self) -> Vec<String> {
        self.0.listed.client_addresses()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close_direct_way(&self) {
        *self.direct.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether the topic that the shard has under this name, if it has one, is the one that the directory lists.
    fn has_followed(&self, shard: &dyn LocalShard, topic: &TopicName) -> bool {
        let followed = shard.registry_index();
        followed >= self.directory_index.load(Ordering::Acquire)
            || self
                .listed
                .created_at(topic)
                .is_some_and(|created_at| created_at <= followed)
    }

    /// Has a publish wait for the pump.
    fn hold(
        &self,
        topic: &TopicName,
        bodies: &mut dyn ExactSizeIterator<Item = &[u8]>,
        due: Option<i64>,
        now: Now,
        pending: &Arc<Pending>,
    ) -> Result<(), RouteError> {
        let created_at = self.listed.created_at(topic).ok_or(RouteError::NoTopic)?;
        let publish = Publish::new(topic.clone(), created_at, due, bodies);
        let size = publish.size();
        let mut state = self.state();
        if self.is_closed.load(Ordering::Acquire) {
            return Err(exiting());
        }
        // One publish may always wait, however large.
        if !state.queue.is_empty() && state.queue.bytes() + size > self.limits.max_bytes {
            self.figures.failed.fetch_add(1, Ordering::Relaxed);
            return Err(RouteError::Refused(format!(
                "the message was not stored: {} bytes wait for the leader of this node's shard already",
                state.queue.bytes()
            )));
        }
        self.close_direct_way();
        state.queue.push(Held {
            publish,
            pending: Arc::clone(pending),
            since: now.tick,
        });
        let end = now.tick.after(self.limits.hold);
        state.next_check = state.next_check.min(end);
        drop(state);
        self.figures.held.fetch_add(1, Ordering::Relaxed);
        self.work.notify_one();
        Ok(())
    }

    /// Moves what can move. Returns when to look again if nothing happens.
    fn turn(self: &Arc<Self>, calls: &mut FuturesUnordered<Calling>) -> Tick {
        let now = clock::now();
        let mut failed = Vec::new();
        let mut state = self.state();
        let State {
            queue,
            target,
            next_check,
            last_leader: _,
        } = &mut *state;
        if *next_check <= now.tick {
            let next_expiry = self.expire(queue, target, now.tick, &mut failed);
            *next_check = queue.end_pauses(now.tick).min(next_expiry);
        }
        match target {
            Target::Local(shard) => {
                let shard = Arc::clone(shard);
                let retry_at = self.publish_here(&*shard, queue, now, &mut failed);
                *next_check = retry_at.min(*next_check);
                if queue.is_empty() && !self.is_closed.load(Ordering::Acquire) {
                    let mut direct = self.direct.write().unwrap_or_else(PoisonError::into_inner);
                    *direct = Some(shard);
                }
            }
            Target::Remote {
                shard,
                node,
                member,
            } => {
                while calls.len() < MAX_CALLS {
                    let taken = queue.take_ready(self.limits.max_call_bytes);
                    if taken.is_empty() {
                        break;
                    }
                    self.figures
                        .forwarded
                        .fetch_add(taken.len() as u64, Ordering::Relaxed);
                    calls.push(self.call(*shard, *node, member, taken, now.tick));
                }
            }
            Target::Unknown { .. } => {}
        }
        let next_check = *next_check;
        drop(state);
        for (held, why) in failed {
            self.fail(&held, why);
        }
        next_check
    }

    /// Takes out what has waited too long.
    fn expire(
        &self,
        queue: &mut Queue,
        target: &Target,
        now: Tick,
        failed: &mut Vec<(Held, String)>,
    ) -> Tick {
        let limits = &self.limits;
        let limit = |stuck: Stuck<'_>| match (target, stuck) {
            (Target::Unknown { .. }, _) | (_, Stuck::Paused(_)) => limits.hold,
            (Target::Local(_) | Target::Remote { .. }, Stuck::Waiting) => limits.publish_timeout,
        };
        queue.expire(now, limit, |held, stuck| {
            let waited = now.since(held.since).as_secs_f32();
            let why = match (target, stuck) {
                (Target::Unknown { why }, _) => why,
                (_, Stuck::Paused(why)) => why,
                (Target::Local(_) | Target::Remote { .. }, Stuck::Waiting) => {
                    "earlier messages wait"
                }
            };
            let why = format!("the message was not stored within {waited:.1}s: {why}");
            failed.push((held, why));
        })
    }

    /// Publishes what waits to the own shard. Returns when to try again what it did not take.
    fn publish_here(
        &self,
        shard: &dyn LocalShard,
        queue: &mut Queue,
        now: Now,
        failed: &mut Vec<(Held, String)>,
    ) -> Tick {
        let retry_at = now.tick.after(RETRY);
        let mut next = Tick::NEVER;
        loop {
            let taken = queue.take_ready(self.limits.max_call_bytes);
            if taken.is_empty() {
                return next;
            }
            let mut refused_topic = None;
            let published = taken.into_iter().map(|held| {
                // The later ones of its topic must not overtake one that was refused.
                if refused_topic.as_ref() == Some(&held.publish.topic) {
                    return (held, Verdict::Again(String::new()));
                }
                let topic = &held.publish.topic;
                let verdict = match publish_followed(shard, &held.publish, now, &held.pending) {
                    Ok(()) => Verdict::Done,
                    Err(Refusal::NoTopic) if self.listed.created_at(topic).is_none() => {
                        Verdict::Failed(DELETED.to_owned())
                    }
                    Err(Refusal::NoTopic) => Verdict::Again(NOT_FOLLOWED.to_owned()),
                    Err(Refusal::NotLeading) => Verdict::Again(NO_LONGER.to_owned()),
                    Err(Refusal::Full(why)) => Verdict::Again(why),
                    Err(Refusal::TooLarge(why)) => Verdict::Failed(why),
                    Err(Refusal::Exiting) => Verdict::Failed(EXITING.to_owned()),
                };
                if let Verdict::Again(_) = verdict {
                    refused_topic = Some(topic.clone());
                }
                (held, verdict)
            });
            let published = published.collect();
            if give_back(queue, published, retry_at, failed) {
                next = retry_at;
            }
        }
    }

    /// A call to the leader is over.
    fn settle(&self, returned: Returned) {
        let retry_at = clock::tick().after(RETRY);
        let mut failed = Vec::new();
        let mut stored = Vec::new();
        let verdicts = returned.verdicts(&*self.listed);
        for (held, verdict) in &verdicts {
            if let Verdict::Done = verdict {
                stored.push(Arc::clone(&held.pending));
            }
        }
        let mut state = self.state();
        if give_back(&mut state.queue, verdicts, retry_at, &mut failed) {
            state.next_check = state.next_check.min(retry_at);
        }
        drop(state);
        for pending in stored {
            pending.settle(Ok(()));
        }
        for (held, why) in failed {
            self.fail(&held, why);
        }
    }

    fn fail(&self, held: &Held, why: String) {
        self.figures.failed.fetch_add(1, Ordering::Relaxed);
        held.pending.settle(Err(why));
    }
}

/// Publishes to a shard, if it has followed the directory to the topic's creation.
fn publish_followed(
    shard: &dyn LocalShard,
    publish: &Publish,
    now: Now,
    pending: &Arc<Pending>,
) -> Result<(), Refusal> {
    if shard.registry_index() < publish.created_at {
        return Err(Refusal::NoTopic);
    }
    let bodies = &mut publish.bodies();
    publish_once(shard, &publish.topic, bodies, publish.due, now, pending)
}

/// What becomes of a publish that was tried.
enum Verdict {
    /// It is stored, or on its way.
    Done,
    /// Not stored: again, for this reason.
    Again(String),
    /// It failed; the text is for the publisher.
    Failed(String),
}

/// Gives publishes back that were taken together: those of one topic follow one another. Returns whether some are tried again.
fn give_back(
    queue: &mut Queue,
    tried: Vec<(Held, Verdict)>,
    retry_at: Tick,
    failed: &mut Vec<(Held, String)>,
) -> bool {
    let mut is_any_tried_again = false;
    let mut tried = tried.into_iter().peekable();
    while let Some((first, _)) = tried.peek() {
        let topic = first.publish.topic.clone();
        let mut done = Vec::new();
        let mut again = None;
        while let Some((held, verdict)) = tried.next_if(|(held, _)| held.publish.topic == topic) {
            match verdict {
                Verdict::Done => done.push(held),
                Verdict::Failed(why) => {
                    queue.forget(&held);
                    failed.push((held, why));
                }
                Verdict::Again(why) => {
                    let again = again.get_or_insert_with(|| Again {
                        held: Vec::new(),
                        at: retry_at,
                        why,
                    });
                    again.held.push(held);
                }
            }
        }
        is_any_tried_again |= again.is_some();
        queue.give_back(&topic, &done, again);
    }
    is_any_tried_again
}

fn exiting() -> RouteError {
    RouteError::Refused(EXITING.to_owned())
}

/// Upstream's text.
const EXITING: &str = "exiting";
const DELETED: &str = "the message was not stored: its topic was deleted meanwhile";
const NOT_FOLLOWED: &str = "the shard does not have the topic yet";
const NO_LONGER: &str = "the leader of this node's shard has just lost its leadership";
