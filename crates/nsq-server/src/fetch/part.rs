//! The messages that one consumer gets of shards that other nodes lead.

mod state;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use nsq_core::channel::Budget;
use nsq_core::stats::ConsumerStats;
use nsq_core::{ClientHandle as _, Delivery, Now, Tick};
use nsq_protocol::{CommandError, MessageId};

use self::state::{From, MOST_EXTRA, State, Waiting};
use super::{Fetcher, PATIENCE, Source, Urgency, Wanted};
use crate::client::Client;
use crate::feed::{Act, Event, Order};
use crate::session::write_message;

/// The part of a consumer's subscription that other nodes serve.
///
/// The session calls `take` and `settle` in each turn, and `act` for FIN, REQ and TOUCH. The
/// consumer is woken when messages have come and it had room at the end of its last turn, or when it holds fewer than it thinks.
pub struct RemotePart {
    subscription: u32,
    client: Arc<Client>,
    wanted: Wanted,
    fetcher: Weak<Fetcher>,
    this: Weak<RemotePart>,
    /// How many messages of other nodes the consumer holds. Changed with `state` locked.
    held: AtomicU32,
    state: Mutex<State>,
}

impl RemotePart {
    pub(super) fn new(
        subscription: u32,
        client: Arc<Client>,
        wanted: Wanted,
        fetcher: &Arc<Fetcher>,
    ) -> Arc<RemotePart> {
        Arc::new_cyclic(|this| RemotePart {
            subscription,
            client,
            wanted,
            fetcher: Arc::downgrade(fetcher),
            this: Weak::clone(this),
            held: AtomicU32::new(0),
            state: Mutex::default(),
        })
    }

    pub(super) fn subscription(&self) -> u32 {
        self.subscription
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The consumer's figures at the other nodes together. Its ready count is not among them.
    pub fn stats(&self) -> ConsumerStats {
        ConsumerStats {
            ready_count: 0,
            in_flight_count: self.held(),
            ..self.state().counts
        }
    }

    // ---- nodes ----

    /// Subscribes at a node.
    pub(super) fn attach(&self, source: &Arc<Source>, opening: u64) {
        let mut state = self.state();
        let is_known = |from: &From| Arc::ptr_eq(&from.source, source) && from.opening == opening;
        if state.has_left || state.sources.iter().any(is_known) {
            return;
        }
        state
            .sources
            .retain(|from| !Arc::ptr_eq(&from.source, source));
        let mut from = From {
            source: Arc::clone(source),
            opening,
            announced: 0,
            announced_for: 0,
            held: 0,
            untold: 0,
            untold_since: 0,
        };
        if state.has_room {
            from.announce(state.ready_count, state.extra);
        }
        source.order(
            opening,
            Order::Subscribe {
                subscription: self.subscription,
                wanted: Box::new(self.wanted.clone()),
                ready_count: from.announced,
            },
            Urgency::AtOnce,
        );
        state.sources.push(from);
    }

    /// A node is gone.
    pub(super) fn lose(&self, source: &Arc<Source>) {
        let node = source.node();
        let mut state = self.state();
        state
            .sources
            .retain(|from| !Arc::ptr_eq(&from.source, source));
        state.held.retain(|_, of| *of != node);
        state.waiting.retain(|message| {
            let stays = message.node != node;
            if !stays {
                source.note_left(message.body.len());
            }
            stays
        });
        self.note_held(&state);
        drop(state);
        self.client.wake();
    }

    // ---- the session ----

    /// How many messages of other nodes the consumer holds.
    pub(crate) fn held(&self) -> u32 {
        self.held.load(Ordering::Acquire)
    }

    fn note_held(&self, state: &State) {
        let held = u32::try_from(state.held.len()).unwrap_or(u32::MAX);
        self.held.store(held, Ordering::Release);
    }

    /// What came too late of what the consumer did: the errors that it gets for that.
    pub(crate) fn take_refusals(&self) -> Vec<CommandError> {
        std::mem::take(&mut self.state().refusals)
    }

    /// Writes up to `room` messages that have come to `out`, within `budget`.
    pub(crate) fn take(&self, room: u32, budget: &mut Budget, out: &mut Vec<u8>) {
        let mut state = self.state();
        for _ in 0..room {
            if budget.messages == 0 || budget.bytes == 0 {
                break;
            }
            let Some(message) = state.waiting.pop_front() else {
                break;
            };
            if let Some(from) = state.from(message.node) {
                from.held += 1;
                from.source.note_left(message.body.len());
            }
            if let Some(former) = state.held.insert(message.id.as_u64(), message.node)
                && let Some(from) = state.from(former)
            {
                from.held = from.held.saturating_sub(1);
            }
            budget.messages -= 1;
            budget.bytes = budget.bytes.saturating_sub(message.body.len());
            state.counts.message_count += 1;
            state.given_count += 1;
            write_message(
                out,
                &Delivery {
                    timestamp: message.timestamp,
                    attempts: message.attempts,
                    id: message.id,
                    body: &message.body,
                },
            );
        }
        if state.given_count > 0 {
            self.count_fetched(state.given_count);
            state.waiting_since = None;
            self.note_held(&state);
        }
    }

    fn count_fetched(&self, count: usize) {
        if let Some(fetcher) = self.fetcher.upgrade() {
            fetcher.fetched.fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    /// A turn ends: the consumer may have `room` more messages of `ready_count`. Returns whether there has to be another turn at
    /// once.
    pub(crate) fn settle(&self, room: u32, ready_count: u32, now: Now) -> bool {
        let now = now.tick;
        let mut state = self.state();
        state.ready_count = ready_count;
        let last_turn = state.turned_at.replace(now);
        if std::mem::take(&mut state.given_count) > 0 {
            state.gave_at = Some(now);
            state.full_since = None;
        }
        state.has_room = room > 0;
        state.is_trial &= room == 0;
        if ready_count == 0 {
            self.stop(&mut state, now);
            return false;
        }
        if room > 0 {
            state.full_since = None;
            if state.gave_at.is_some_and(|gave| now.since(gave) < QUICK) && state.waiting.is_empty()
            {
                // It finishes faster than messages come.
                state.extra = (state.extra * 2).clamp(1, MOST_EXTRA);
            }
            self.ask(&mut state);
            return !state.waiting.is_empty();
        }
        if state.is_asking() || !state.waiting.is_empty() {
            state.full_since.get_or_insert(now);
        } else {
            // The own node's messages leave no room. If they are finished quickly, those of others have their turn now and then.
            let is_soon = last_turn.is_some_and(|last| now.since(last) < PATIENCE);
            let is_time = state
                .stopped_at
                .is_none_or(|stopped| now.since(stopped) >= FAIRNESS);
            if is_soon && is_time {
                state.is_trial = true;
                state.extra = MOST_EXTRA / 2;
                state.stopped_at = Some(now);
                self.ask(&mut state);
                state.full_since = Some(now);
            }
        }
        self.plan_look(&mut state);
        false
    }

    /// The consumer has answered a message. Returns whether it held it, as one of another node.
    pub(crate) fn act(&self, id: MessageId, act: Act, now: Now) -> bool {
        let mut state = self.state();
        let node = match act {
            Act::Touch => state.held.get(&id.as_u64()).copied(),
            Act::Finish | Act::Requeue(_) | Act::Release => state.held.remove(&id.as_u64()),
        };
        let Some(node) = node else {
            return false;
        };
        match act {
            Act::Finish => {
                state.counts.finish_count += 1;
                state.counts.last_finish = now.unix_nanos;
            }
            Act::Requeue(_) => state.counts.requeue_count += 1,
            Act::Touch | Act::Release => {}
        }
        self.note_held(&state);
        let subscription = self.subscription;
        let ready_count = state.ready_count;
        if let Some(from) = state.from(node) {
            let urgency = match act {
                Act::Finish => from.finish(ready_count),
                Act::Requeue(_) | Act::Touch | Act::Release => Urgency::AtOnce,
            };
            if act != Act::Touch {
                from.held = from.held.saturating_sub(1);
            }
            let order = Order::Message {
                subscription,
                id,
                act,
            };
            from.source.order(from.opening, order, urgency);
        }
        true
    }

    /// The consumer is gone, or unsubscribes.
    pub(crate) fn leave(&self) {
        let mut state = self.state();
        state.has_left = true;
        let State {
            sources,
            held,
            waiting,
            ..
        } = &mut *state;
        for from in sources.drain(..) {
            let node = from.source.node();
            let of_node = held.iter().filter(|(_, of)| **of == node);
            from.order(Order::Unsubscribe {
                subscription: self.subscription,
                held: of_node.map(|(id, _)| MessageId::from_u64(*id)).collect(),
            });
            let bytes = waiting.iter().filter(|message| message.node == node);
            from.source
                .note_left(bytes.map(|message| message.body.len()).sum());
        }
        waiting.clear();
        held.clear();
        self.note_held(&state);
        drop(state);
        if let Some(fetcher) = self.fetcher.upgrade() {
            fetcher.forget(self.subscription);
        }
    }

    // ---- asking for messages ----

    /// Lets every node hand out messages.
    fn ask(&self, state: &mut State) {
        let (ready_count, extra) = (state.ready_count, state.extra);
        for from in &mut state.sources {
            if from.announce(ready_count, extra) {
                from.order(Order::Ready {
                    subscription: self.subscription,
                    ready_count: from.announced,
                });
            }
        }
    }

    /// Has no node hand out more, and gives back what waits.
    fn stop(&self, state: &mut State, now: Tick) {
        let subscription = self.subscription;
        for from in &mut state.sources {
            // Before anything goes back, which would come again at once.
            from.stop(subscription);
        }
        if let Some(fetcher) = self.fetcher.upgrade() {
            let count = state.waiting.len() as u64;
            fetcher.returned.fetch_add(count, Ordering::Relaxed);
        }
        // The last one first: each goes to the front of its queue.
        while let Some(message) = state.waiting.pop_back() {
            if let Some(from) = state.from(message.node) {
                from.source.note_left(message.body.len());
                from.order(Order::Message {
                    subscription,
                    id: message.id,
                    act: Act::Release,
                });
            }
        }
        state.stopped_at = Some(now);
        state.is_trial = false;
        state.extra = 0;
        state.full_since = None;
        state.waiting_since = None;
    }

    /// The time for which the fetcher had planned a look has come.
    pub(super) fn expire(&self, now: Tick) {
        let mut state = self.state();
        state.looked_at = None;
        if state.give_up_at().is_some_and(|at| at <= now) {
            self.stop(&mut state, now);
        } else {
            self.plan_look(&mut state);
        }
    }

    fn plan_look(&self, state: &mut State) {
        if state.looked_at.is_none()
            && let Some(at) = state.give_up_at()
            && let Some(fetcher) = self.fetcher.upgrade()
        {
            state.looked_at = Some(at);
            fetcher.look_at(Weak::clone(&self.this), at);
        }
    }

    // ---- events ----

    pub(super) fn deal_with(&self, source: &Arc<Source>, opening: u64, event: Event, now: Tick) {
        let mut state = self.state();
        let node = source.node();
        // What came of an earlier opening is forgotten.
        if state.from(node).is_none_or(|from| from.opening != opening) {
            return;
        }
        match event {
            Event::Message {
                subscription: _,
                timestamp,
                attempts,
                id,
                body,
            } => {
                let before = source
                    .waiting_bytes()
                    .fetch_add(body.len(), Ordering::Relaxed);
                let is_too_much = before > 0 && before + body.len() > MAX_WAITING_BYTES;
                state.waiting.push_back(Waiting {
                    node,
                    id,
                    timestamp,
                    attempts,
                    body,
                });
                state.waiting_since.get_or_insert(now);
                if state.is_trial
                    && let Some(from) = state.from(node)
                {
                    from.stop(self.subscription);
                }
                if is_too_much {
                    return self.stop(&mut state, now);
                }
                self.plan_look(&mut state);
                if !state.has_room {
                    return;
                }
            }
            Event::Gone { id, .. } => {
                // After a change of leader, another node may have handed out the same message.
                if state.held.get(&id.as_u64()) == Some(&node) {
                    state.held.remove(&id.as_u64());
                    if let Some(from) = state.from(node) {
                        from.held = from.held.saturating_sub(1);
                    }
                    self.note_held(&state);
                } else {
                    let mut waiting = state.waiting.iter();
                    let is_it = |message: &Waiting| message.node == node && message.id == id;
                    if let Some(at) = waiting.position(is_it)
                        && let Some(message) = state.waiting.remove(at)
                    {
                        source.note_left(message.body.len());
                    }
                    return;
                }
            }
            Event::Refused { id, act, why, .. } => {
                let reason = crate::session::reason(why);
                let id = id.to_hex();
                state.refusals.extend(match act {
                    Act::Finish => Some(CommandError::FinishFailed { id, reason }),
                    Act::Requeue(_) => Some(CommandError::RequeueFailed { id, reason }),
                    Act::Touch => Some(CommandError::TouchFailed { id, reason }),
                    Act::Release => None,
                });
            }
            Event::Closed { .. } => {
                drop(state);
                return self.client.close();
            }
        }
        drop(state);
        self.client.wake();
    }
}

/// A consumer that has finished what it got within this time is quick.
const QUICK: Duration = Duration::from_millis(5);
/// How often a consumer that its own node keeps busy has a batch of messages fetched from each other node.
const FAIRNESS: Duration = Duration::from_millis(100);
/// Bytes of messages of one node that wait for room, in all consumers together.
const MAX_WAITING_BYTES: usize = 64 << 20;
