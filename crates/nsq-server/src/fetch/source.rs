//! Another node that may lead shards: the orders that go there, and the events that come from there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use nsq_core::Now;

use super::{Fetcher, RemotePart};
use crate::feed::{Act, Event, Order};

/// Events that came before earlier ones and wait for them, at most. Far more than a sound feed has under way.
const MAX_EARLY: usize = 64;

/// What consumers did and a lost way may have swallowed, at most: all of it fits into the first call of the next opening. Of the
/// rest, the messages come again.
const MOST_SAID_AGAIN: usize = 4096;

/// Events that do not belong to what this node has of the other: both have to begin again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("events are missing")]
pub struct Stray;

/// Another node. It is *open* while the program around it has a way there; every opening has a number of its own.
pub struct Source {
    node: u64,
    fetcher: Weak<Fetcher>,
    /// Locked first, while events are dealt with.
    incoming: Mutex<Incoming>,
    /// Locked last.
    outgoing: Mutex<Outgoing>,
    /// How often orders were taken, to be sent.
    takes: AtomicU64,
    waker: AtomicWaker,
    /// Of messages that wait for room.
    waiting_bytes: AtomicUsize,
}

#[derive(Default)]
struct Incoming {
    opening: Option<u64>,
    next: u64,
    early: BTreeMap<u64, Vec<Event>>,
}

#[derive(Default)]
struct Outgoing {
    opening: Option<u64>,
    orders: Vec<Order>,
    /// Of the most urgent one.
    urgency: Urgency,
    /// What consumers did with messages of the last opening, and the node may not know. The first orders of the next opening
    /// say it again: the node then still holds what it had handed out.
    again: Vec<Order>,
}

impl Outgoing {
    fn keep(&mut self, orders: impl IntoIterator<Item = Order>) {
        let deeds = orders.into_iter().filter(is_deed);
        self.again.extend(deeds);
        let excess = self.again.len().saturating_sub(MOST_SAID_AGAIN);
        self.again.drain(..excess);
    }
}

/// Whether a message is answered by it.
fn is_deed(order: &Order) -> bool {
    match order {
        Order::Message { act, .. } => *act != Act::Touch,
        Order::Subscribe { .. } | Order::Ready { .. } | Order::Unsubscribe { .. } => false,
    }
}

/// How long orders may wait for others, so that they are sent together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Some milliseconds: the node may hand out as many messages as the consumer has room for, whether it knows of this or not.
    #[default]
    CanWait,
    /// A millisecond: the consumer may have room for more, and has enough to do.
    Soon,
    /// The consumer waits for their outcome.
    AtOnce,
}

impl Source {
    pub(super) fn new(node: u64, fetcher: &Arc<Fetcher>) -> Source {
        Source {
            node,
            fetcher: Arc::downgrade(fetcher),
            incoming: Mutex::default(),
            outgoing: Mutex::default(),
            takes: AtomicU64::new(0),
            waker: AtomicWaker::new(),
            waiting_bytes: AtomicUsize::new(0),
        }
    }

    /// The node.
    pub fn node(&self) -> u64 {
        self.node
    }

    /// There is a way to the node from now on. The first orders say what it may not have [heard](Self::take_back) in the last
    /// opening, and subscribe all consumers. `opening` is a number of no earlier
    /// opening.
    pub fn open(self: &Arc<Self>, opening: u64) {
        {
            let mut incoming = self.incoming();
            *incoming = Incoming {
                opening: Some(opening),
                ..Incoming::default()
            };
            let mut outgoing = self.outgoing();
            *outgoing = Outgoing {
                opening: Some(opening),
                orders: std::mem::take(&mut outgoing.again),
                ..Outgoing::default()
            };
        }
        let Some(fetcher) = self.fetcher.upgrade() else {
            return;
        };
        for part in fetcher.all_parts() {
            self.attach(&part);
        }
    }

    /// There is no way to the node any more, or it does not know this node: nothing that consumers have of it is in flight.
    pub fn close(self: &Arc<Self>) {
        let mut incoming = self.incoming();
        *incoming = Incoming::default();
        {
            let mut outgoing = self.outgoing();
            let orders = std::mem::take(&mut outgoing.orders);
            outgoing.keep(orders);
            *outgoing = Outgoing {
                again: std::mem::take(&mut outgoing.again),
                ..Outgoing::default()
            };
        }
        let Some(fetcher) = self.fetcher.upgrade() else {
            return;
        };
        for part in fetcher.all_parts() {
            part.lose(self);
        }
    }

    pub(super) fn attach(self: &Arc<Self>, part: &Arc<RemotePart>) {
        let opening = self.outgoing().opening;
        if let Some(opening) = opening {
            part.attach(self, opening);
        } else {
            // The program may wait for a consumer.
            self.waker.wake();
        }
    }

    /// Completes once a consumer wants something, before the node is opened.
    pub fn poll_wanted(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        let fetcher = self.fetcher.upgrade();
        if fetcher.is_some_and(|fetcher| fetcher.is_wanted()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    // ---- orders ----

    /// Has an order sent, if the node is still open as it was.
    pub(super) fn order(&self, opening: u64, order: Order, urgency: Urgency) {
        let mut outgoing = self.outgoing();
        if outgoing.opening != Some(opening) {
            return;
        }
        outgoing.orders.push(order);
        let is_more_urgent = urgency > outgoing.urgency;
        outgoing.urgency = urgency.max(outgoing.urgency);
        let is_first = outgoing.orders.len() == 1;
        drop(outgoing);
        if is_first || is_more_urgent {
            self.waker.wake();
        }
    }

    /// Completes once there are orders, with the urgency of the most urgent one.
    pub fn poll_orders(&self, cx: &mut Context<'_>) -> Poll<Urgency> {
        self.waker.register(cx.waker());
        let outgoing = self.outgoing();
        if outgoing.orders.is_empty() {
            Poll::Pending
        } else {
            Poll::Ready(outgoing.urgency)
        }
    }

    /// Completes once there are orders that are more urgent than `known`.
    pub fn poll_more_urgent(&self, known: Urgency, cx: &mut Context<'_>) -> Poll<Urgency> {
        match self.poll_orders(cx) {
            Poll::Ready(urgency) if urgency > known => Poll::Ready(urgency),
            Poll::Ready(_) | Poll::Pending => Poll::Pending,
        }
    }

    /// Takes the orders that are to be sent next, `max` of them at most.
    pub fn take_orders(&self, max: usize) -> Vec<Order> {
        let mut outgoing = self.outgoing();
        self.takes.fetch_add(1, Ordering::Relaxed);
        if outgoing.orders.len() > max {
            let rest = outgoing.orders.split_off(max);
            return std::mem::replace(&mut outgoing.orders, rest);
        }
        outgoing.urgency = Urgency::default();
        std::mem::take(&mut outgoing.orders)
    }

    /// How often orders were taken: those that were given before the last time are on their way.
    pub(super) fn takes(&self) -> u64 {
        self.takes.load(Ordering::Relaxed)
    }

    /// The way to the node is lost, and it may not have had these orders, which were sent. To be called before the source is
    /// [closed](Self::close).
    pub fn take_back(&self, unanswered: impl IntoIterator<Item = Order>) {
        self.outgoing().keep(unanswered);
    }

    // ---- events ----

    /// Deals with the events of the feed that have this number. They may come in any order, and are dealt with in the order of
    /// their numbers. Those of an earlier opening are passed over.
    ///
    /// # Errors
    /// [`Stray`] when too many wait for earlier ones.
    pub fn receive(
        self: &Arc<Self>,
        opening: u64,
        number: u64,
        events: Vec<Event>,
        now: Now,
    ) -> Result<(), Stray> {
        let mut incoming = self.incoming();
        if incoming.opening != Some(opening) || number < incoming.next {
            return Ok(());
        }
        if number > incoming.next {
            incoming.early.insert(number, events);
            return if incoming.early.len() > MAX_EARLY {
                Err(Stray)
            } else {
                Ok(())
            };
        }
        let Some(fetcher) = self.fetcher.upgrade() else {
            return Ok(());
        };
        let mut events = Some(events);
        while let Some(next) = events {
            incoming.next += 1;
            self.deal_with(&fetcher, opening, next, now);
            let number = incoming.next;
            events = incoming.early.remove(&number);
        }
        Ok(())
    }

    fn deal_with(self: &Arc<Self>, fetcher: &Fetcher, opening: u64, events: Vec<Event>, now: Now) {
        // Most events that come together are for one consumer.
        let mut last: Option<Arc<RemotePart>> = None;
        for event in events {
            let (Event::Message { subscription, .. }
            | Event::Gone { subscription, .. }
            | Event::Refused { subscription, .. }
            | Event::Closed { subscription }) = event;
            if last
                .as_ref()
                .is_none_or(|part| part.subscription() != subscription)
            {
                last = fetcher.part(subscription);
            }
            // The feed learns by itself that the consumer is gone.
            if let Some(part) = &last {
                part.deal_with(self, opening, event, now.tick);
            }
        }
    }

    // ---- bytes that wait ----

    /// Bytes of messages that wait here for room, those of all consumers together.
    pub(super) fn waiting_bytes(&self) -> &AtomicUsize {
        &self.waiting_bytes
    }

    pub(super) fn note_left(&self, bytes: usize) {
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn incoming(&self) -> MutexGuard<'_, Incoming> {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outgoing(&self) -> MutexGuard<'_, Outgoing> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
