//! Messages of the shards that this node leads, for clients of other nodes.
//!
//! ```text
//! the other node's Fetcher ── Order ─▶ Feed ─▶ Subscriber (one per client over there) ─▶ the channel in each shard led here
//!            ▲                          │
//!            └────────── Event ─────────┘
//! ```
//! A [`Feed`] serves one other node. Towards the channels each of its subscribers is a client like any other, of the least
//! [locality](nsq_core::Locality::OtherNode): the clients of this node come first. It is not counted among the channel's
//! clients, since its own node counts it.
//!
//! The leader alone keeps the message timeout. When messages are taken back from a subscriber, the other node is told.
//! When the feed [ends](Feed::end), because the other node is gone or starts again, everything that was handed out is requeued.
//! A node that starts again says first what its clients did and the last opening may not have brought here.

mod subscriber;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use nsq_core::channel::Budget;
use nsq_core::{ClientId, Delivery, NotInFlight, Now};
use nsq_protocol::{ChannelName, MessageId, TopicName};

use self::subscriber::Subscriber;
use crate::client::Client;
use crate::server::Server;

/// What a client of another node wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The topic.
    pub topic: TopicName,
    /// The channel.
    pub channel: ChannelName,
    /// How long the client may hold a message.
    pub msg_timeout: Duration,
    /// Per cent of the messages that the client wants; 0 for all.
    pub sample_rate: u8,
}

/// What a client does with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// FIN.
    Finish,
    /// REQ, with this delay.
    Requeue(Duration),
    /// TOUCH.
    Touch,
    /// The message has not reached the client: as if it had never been handed out.
    Release,
}

/// What another node has done for one of its clients. The number of the subscription is the other node's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Subscribe the client.
    Subscribe {
        /// The subscription.
        subscription: u32,
        /// To what.
        wanted: Box<Wanted>,
        /// The most messages that may be handed out to it at a time.
        ready_count: u32,
    },
    /// From now on so many messages may be handed out at a time, those that already are included; 0 for no more.
    Ready {
        /// The subscription.
        subscription: u32,
        /// How many.
        ready_count: u32,
    },
    /// Do something with a message that was handed out.
    Message {
        /// The subscription.
        subscription: u32,
        /// The message.
        id: MessageId,
        /// What.
        act: Act,
    },
    /// The client is gone. What it holds stays in flight until its timeout, as with a client of this node; what has not reached
    /// it goes back.
    Unsubscribe {
        /// The subscription.
        subscription: u32,
        /// What it holds.
        held: Vec<MessageId>,
    },
}

/// What a feed has for the other node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A message for the client.
    Message {
        /// The subscription.
        subscription: u32,
        /// When it was published, in unix nanoseconds.
        timestamp: i64,
        /// How often it has been delivered, this time included.
        attempts: u16,
        /// The message.
        id: MessageId,
        /// Its body.
        body: Bytes,
    },
    /// The client does not hold the message any more: its timeout has passed, the channel was emptied, or this node stopped
    /// leading the shard.
    Gone {
        /// The subscription.
        subscription: u32,
        /// The message.
        id: MessageId,
    },
    /// What the client did with a message came too late.
    Refused {
        /// The subscription.
        subscription: u32,
        /// The message.
        id: MessageId,
        /// What it did.
        act: Act,
        /// Why not.
        why: NotInFlight,
    },
    /// The channel was deleted: the client's connection is to be closed. There is no such subscription any more.
    Closed {
        /// The subscription.
        subscription: u32,
    },
}

/// Takes what a feed has for the other node.
pub trait Sink {
    /// As [`Event::Message`].
    fn message(&mut self, subscription: u32, message: &Delivery<'_>);
    /// Any other event.
    fn event(&mut self, event: Event);
}

/// What one other node gets of the shards that this node leads.
pub struct Feed {
    server: Arc<Server>,
    /// The other node, as log lines name it.
    peer: String,
    subscribers: HashMap<u32, Subscriber>,
    /// Subscribers that have left, and whose messages are still in flight.
    left: Vec<Subscriber>,
    ready: Arc<ReadyList>,
}

impl Feed {
    /// A feed for the other node `peer`. It has something to do whenever `ready` says so.
    pub fn new(server: Arc<Server>, peer: String, ready: Arc<ReadyList>) -> Feed {
        Feed {
            server,
            peer,
            subscribers: HashMap::new(),
            left: Vec::new(),
            ready,
        }
    }

    /// How many clients the other node has subscribed.
    pub fn len(&self) -> usize {
        self.subscribers.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.subscribers.is_empty()
    }

    /// Carries out an order. Its messages are given by the next [`turn`](Self::turn), its refusal at once.
    pub fn carry_out(&mut self, order: Order, now: Now, sink: &mut impl Sink) {
        match order {
            Order::Subscribe {
                subscription,
                wanted,
                ready_count,
            } => {
                if let Some(former) = self.subscribers.remove(&subscription) {
                    former.end(&self.server, now);
                }
                let waker = Waker::from(Arc::new(Bell {
                    list: Arc::clone(&self.ready),
                    subscription,
                }));
                let client = self.client(subscription, now);
                let subscriber =
                    Subscriber::new(&self.server, client, waker, *wanted, ready_count, now);
                self.subscribers.insert(subscription, subscriber);
                self.ready.add(subscription);
            }
            Order::Ready {
                subscription,
                ready_count,
            } => {
                if let Some(subscriber) = self.subscribers.get_mut(&subscription) {
                    subscriber.set_ready_count(ready_count);
                    self.ready.add(subscription);
                }
            }
            Order::Message {
                subscription,
                id,
                act,
            } => {
                let Some(subscriber) = self.subscribers.get_mut(&subscription) else {
                    return;
                };
                let act = match act {
                    Act::Requeue(delay) => {
                        Act::Requeue(delay.min(self.server.settings().limits.max_req_timeout))
                    }
                    act => act,
                };
                if let Err(why) = subscriber.act(id, act, now)
                    && act != Act::Release
                {
                    sink.event(Event::Refused {
                        subscription,
                        id,
                        act,
                        why,
                    });
                }
                if act != Act::Touch {
                    self.ready.add(subscription);
                }
            }
            Order::Unsubscribe { subscription, held } => {
                if let Some(mut subscriber) = self.subscribers.remove(&subscription) {
                    subscriber.release_all_but(&held);
                    subscriber.leave(&self.server);
                    self.left.push(subscriber);
                }
            }
        }
    }

    fn client(&self, subscription: u32, now: Now) -> Client {
        // Above the numbers of this node's connections, which count up from 1.
        let id = ClientId(NEXT_ID.fetch_add(1, Ordering::Relaxed) | FIRST_ID);
        let name = format!("client {subscription} of {}", self.peer);
        Client::new(id, name, String::new(), now)
    }

    /// Gives `sink` what there is for the subscribers that are ready, about `max_bytes` of it. Returns whether there may be
    /// more; then `ready` says so too.
    pub fn turn(&mut self, max_bytes: usize, now: Now, sink: &mut impl Sink) -> bool {
        let mut budget = Budget {
            messages: usize::MAX,
            bytes: max_bytes,
        };
        // Those that are found again are for the next turn.
        for _ in 0..self.ready.len() {
            if budget.bytes == 0 {
                return true;
            }
            let Some(subscription) = self.ready.next() else {
                break;
            };
            let Some(subscriber) = self.subscribers.get_mut(&subscription) else {
                continue;
            };
            if subscriber.listen() {
                if let Some(subscriber) = self.subscribers.remove(&subscription) {
                    subscriber.end(&self.server, now);
                }
                sink.event(Event::Closed { subscription });
                continue;
            }
            if subscriber.turn(&self.server, subscription, &mut budget, now, sink) {
                self.ready.add(subscription);
            }
        }
        self.ready.len() > 0
    }

    /// Forgets what clients that have left held, once it is not in flight any more. To be called now and then.
    pub fn tidy_up(&mut self) {
        self.left.retain_mut(Subscriber::holds_something);
    }

    /// The way to the other node is lost, maybe for a moment only: nothing more is handed out, and what was stays in flight
    /// until the feed ends. Meanwhile the other node can still [say](Self::hear_again) what its clients did.
    pub fn hold(&mut self, now: Now) {
        let mut budget = Budget {
            messages: usize::MAX,
            bytes: usize::MAX,
        };
        for (subscription, subscriber) in &mut self.subscribers {
            subscriber.set_ready_count(0);
            // It passes on for what it was woken.
            subscriber.turn(&self.server, *subscription, &mut budget, now, &mut Unheard);
        }
    }

    /// Takes what the other node's clients did before the way was lost out of the first orders of its next opening, and
    /// carries it out: those are the orders before the first one that is not about a message. Those that were carried out
    /// already change nothing.
    pub fn hear_again(&mut self, orders: &mut Vec<Order>, now: Now) {
        for order in orders.drain(..first_of_opening(orders)) {
            self.carry_out(order, now, &mut Unheard);
        }
    }

    /// The other node is gone: everything that it has is requeued.
    pub fn end(self, now: Now) {
        let all = self.subscribers.into_values().chain(self.left);
        all.for_each(|subscriber| subscriber.end(&self.server, now));
    }
}

/// Where the orders begin that are about the opening itself: it has no messages yet.
fn first_of_opening(orders: &[Order]) -> usize {
    let is_other = |order: &Order| !matches!(order, Order::Message { .. });
    orders.iter().position(is_other).unwrap_or(orders.len())
}

/// The other node has forgotten the subscriptions.
struct Unheard;

impl Sink for Unheard {
    fn message(&mut self, _: u32, _: &Delivery<'_>) {}

    fn event(&mut self, _: Event) {}
}

/// The subscribers that may have something to do.
#[derive(Default)]
pub struct ReadyList {
    subscriptions: Mutex<Ready>,
    waker: AtomicWaker,
}

#[derive(Default)]
struct Ready {
    queue: VecDeque<u32>,
    /// The same.
    set: std::collections::HashSet<u32>,
}

impl ReadyList {
    /// Completes once there is a subscriber with something to do.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        if self.len() > 0 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn len(&self) -> usize {
        self.lock().queue.len()
    }

    fn add(&self, subscription: u32) {
        let mut ready = self.lock();
        if ready.set.insert(subscription) {
            ready.queue.push_back(subscription);
            let is_first = ready.queue.len() == 1;
            drop(ready);
            if is_first {
                self.waker.wake();
            }
        }
    }

    fn next(&self) -> Option<u32> {
        let mut ready = self.lock();
        let next = ready.queue.pop_front()?;
        ready.set.remove(&next);
        Some(next)
    }

    fn lock(&self) -> MutexGuard<'_, Ready> {
        self.subscriptions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts a subscriber on the list when something happens to it.
struct Bell {
    list: Arc<ReadyList>,
    subscription: u32,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.list.add(self.subscription);
    }
}

/// The numbers of clients of other nodes have this bit.
const FIRST_ID: u32 = 1 << 31;
static NEXT_ID: AtomicU32 = AtomicU32::new(0);
