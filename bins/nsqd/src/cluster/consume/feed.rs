//! The leader's side: orders of other nodes are carried out, and events are sent to them.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use nsq_cluster::NodeId;
use nsq_cluster::codec::{Answer, Refusal, Request};
use nsq_cluster::network::CallError;
use nsq_server::Server;
use nsq_server::feed::{Feed, ReadyList};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

use super::codec::{EventWriter, NOTHING_NEW, Orders, UNKNOWN_OPENING};
use super::{CONSUMERS, member};
use crate::clock;
use crate::cluster::this_node::ThisNode;

/// The feeds of all other nodes.
pub(super) struct Feeds {
    node: Arc<dyn ThisNode>,
    server: Arc<Server>,
    runtime: Handle,
    tasks: Mutex<HashMap<NodeId, mpsc::UnboundedSender<Incoming>>>,
    consumer_count: Arc<AtomicUsize>,
}

/// Orders that wait to be carried out, and where their answer goes.
struct Incoming {
    orders: Orders,
    answer: oneshot::Sender<Bytes>,
}

impl Feeds {
    pub(super) fn new(node: Arc<dyn ThisNode>, server: Arc<Server>, runtime: Handle) -> Feeds {
        Feeds {
            node,
            server,
            runtime,
            tasks: Mutex::default(),
            consumer_count: Arc::default(),
        }
    }

    /// Consumers of other nodes.
    pub(super) fn consumer_count(&self) -> usize {
        self.consumer_count.load(Ordering::Relaxed)
    }

    /// Carries out the orders of a node. They are put in line before this first waits, so that they keep their order.
    pub(super) async fn answer(&self, from: NodeId, orders: Orders) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.put_in_line(from, Incoming { orders, answer });
        match answered.await {
            Ok(answer) => Answer::Call(answer),
            Err(_) => Answer::Refused(Refusal::Failed("nsqd stops".to_owned())),
        }
    }

    fn put_in_line(&self, from: NodeId, mut incoming: Incoming) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        // What waits is bounded by the requests that the transport answers at a time.
        if let Some(task) = tasks.get(&from) {
            match task.send(incoming) {
                Ok(()) => return,
                // It has ended.
                Err(error) => incoming = error.0,
            }
        }
        let (sender, inbox) = mpsc::unbounded_channel();
        let task = Task {
            node: Arc::clone(&self.node),
            server: Arc::clone(&self.server),
            peer: from,
            opened: None,
            consumer_count: Arc::clone(&self.consumer_count),
            counted: 0,
            calls: FuturesUnordered::new(),
        };
        self.runtime.spawn(task.run(inbox));
        // The task has just begun to wait for it.
        let _ = sender.send(incoming);
        tasks.insert(from, sender);
    }
}

/// The feed of one other node.
struct Task {
    node: Arc<dyn ThisNode>,
    server: Arc<Server>,
    peer: NodeId,
    opened: Option<Opened>,
    /// Of all feeds together, and what this one has added.
    consumer_count: Arc<AtomicUsize>,
    counted: usize,
    /// Events under way, with their opening.
    calls: FuturesUnordered<BoxFuture<'static, (u64, Result<Answer, CallError>)>>,
}

struct Opened {
    opening: u64,
    /// The number of the next orders.
    next: u64,
    /// The number of the next events.
    next_events: u64,
    feed: Feed,
    ready: Arc<ReadyList>,
    /// When the other node gave its last orders, also those that came too late to be carried out.
    heard: Instant,
    /// The way to the other node was lost then, and why. What was handed out is held for [`GRACE`].
    broken: Option<(Instant, String)>,
}

impl Task {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Incoming>) {
        let mut idle_since = Instant::now();
        // Comes however much the other node says.
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let may_send = self.calls.len() < MAX_CALLS;
            let sound = self
                .opened
                .as_ref()
                .filter(|opened| opened.broken.is_none());
            let ready = sound.map(|opened| Arc::clone(&opened.ready));
            let is_ready = async {
                match ready {
                    Some(ready) if may_send => poll_fn(|cx| ready.poll_ready(cx)).await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                incoming = inbox.recv() => {
                    let Some(incoming) = incoming else { break };
                    idle_since = Instant::now();
                    let answer = self.carry_out(incoming.orders);
                    self.count();
                    // The caller may have given up.
                    let _ = incoming.answer.send(answer);
                }
                () = is_ready => self.send(),
                Some((opening, outcome)) = self.calls.next(), if !self.calls.is_empty() => {
                    self.note(opening, outcome);
                }
                _ = looks.tick() => {
                    self.look();
                    if self.opened.is_none() && idle_since.elapsed() > IDLE {
                        break;
                    }
                }
            }
        }
        self.end("nsqd stops");
    }

    /// Carries out orders, and returns the answer.
    fn carry_out(&mut self, mut orders: Orders) -> Bytes {
        let now = clock::now();
        let is_newer = |opened: &Opened| opened.opening < orders.opening;
        if orders.number == 0 && self.opened.as_ref().is_none_or(is_newer) {
            if let Some(former) = &mut self.opened {
                former.feed.hear_again(&mut orders.list, now);
            }
            self.end("it begins again");
            let ready = Arc::<ReadyList>::default();
            let server = Arc::clone(&self.server);
            let peer = format!("node {}", self.peer);
            self.opened = Some(Opened {
                opening: orders.opening,
                next: 0,
                next_events: 0,
                feed: Feed::new(server, peer, Arc::clone(&ready)),
                ready,
                heard: Instant::now(),
                broken: None,
            });
        }
        let Some(opened) = &mut self.opened else {
            return Bytes::from_static(UNKNOWN_OPENING);
        };
        opened.heard = Instant::now();
        if opened.opening != orders.opening || opened.broken.is_some() {
            return Bytes::from_static(UNKNOWN_OPENING);
        }
        if opened.next != orders.number {
            self.break_off("orders are missing");
            return Bytes::from_static(UNKNOWN_OPENING);
        }
        opened.next += 1;
        let mut events = EventWriter::new(opened.opening);
        for order in orders.list {
            opened.feed.carry_out(order, now, &mut events);
        }
        if orders.is_last {
            self.end("it stops");
            return Bytes::from_static(NOTHING_NEW);
        }
        opened.feed.turn(MAX_BYTES, now, &mut events);
        if events.is_empty() {
            return Bytes::from_static(NOTHING_NEW);
        }
        opened.finish(events)
    }

    /// Sends what there is for the other node.
    fn send(&mut self) {
        let Some(opened) = &mut self.opened else {
            return;
        };
        let mut events = EventWriter::new(opened.opening);
        opened.feed.turn(MAX_BYTES, clock::now(), &mut events);
        if events.is_empty() {
            return;
        }
        let opening = opened.opening;
        let body = opened.finish(events);
        let Some(member) = member(&*self.node, self.peer) else {
            return self.end("it is no member any more");
        };
        let request = Request::Call {
            group: CONSUMERS,
            body,
        };
        let network = self.node.network();
        let calling = network.call(self.peer, &member, request, Some(PATIENCE));
        self.calls
            .push(Box::pin(async move { (opening, calling.await) }));
    }

    fn note(&mut self, opening: u64, outcome: Result<Answer, CallError>) {
        let is_current = self
            .opened
            .as_ref()
            .is_some_and(|opened| opened.opening == opening);
        if is_current {
            match outcome {
                Ok(Answer::Call(_)) => {}
                Ok(Answer::Refused(why)) => self.break_off(&format!("it {why}")),
                Ok(_) => self.break_off("its answer does not fit"),
                Err(error) => self.break_off(&error.to_string()),
            }
        }
    }

    /// Looks at what no one reports.
    fn look(&mut self) {
        if let Some(opened) = &mut self.opened {
            opened.feed.tidy_up();
            let silence = opened.heard.elapsed();
            if silence > SILENCE {
                self.end("it is silent");
            } else if let Some((since, why)) = &opened.broken
                && is_given_up(since.elapsed(), silence)
            {
                let why = why.clone();
                self.end(&why);
            }
        }
    }

    fn count(&mut self) {
        let count = self.opened.as_ref().map_or(0, |opened| opened.feed.len());
        self.consumer_count.fetch_add(count, Ordering::Relaxed);
        self.consumer_count
            .fetch_sub(self.counted, Ordering::Relaxed);
        self.counted = count;
    }

    /// Hands nothing out any more, and waits for the other node to begin again.
    fn break_off(&mut self, why: &str) {
        if let Some(opened) = &mut self.opened
            && opened.broken.is_none()
        {
            opened.broken = Some((Instant::now(), why.to_owned()));
            opened.feed.hold(clock::now());
        }
    }

    /// Requeues what the other node has.
    fn end(&mut self, why: &str) {
        if let Some(opened) = self.opened.take() {
            let count = opened.feed.len();
            if count > 0 {
                tracing::info!(
                    "cluster: messages handed out to {count} consumers of node {} are requeued: {why}",
                    self.peer
                );
            }
            opened.feed.end(clock::now());
        }
        self.count();
    }
}

impl Opened {
    fn finish(&mut self, events: EventWriter) -> Bytes {
        let number = self.next_events;
        self.next_events += 1;
        events.finish(number)
    }
}

/// Whether a node has had the time to begin again: its way was lost for so long, and it was silent for so long. One that still
/// speaks is about to begin again, unless that takes far too long.
fn is_given_up(lost: Duration, silence: Duration) -> bool {
    lost.min(silence) > GRACE || lost > SILENCE
}

/// Events under way to one node at a time.
const MAX_CALLS: usize = 4;
/// Bytes of messages in one call or answer, about: so much delays a heartbeat by little.
const MAX_BYTES: usize = 256 << 10;
/// How long the other node may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// A node that has not given an order for this long is gone; it gives one each half a second.
const SILENCE: Duration = Duration::from_secs(3);
/// How long the other node has to begin again after the way to it was lost, and after its last word, before what it has is
/// requeued. It learns of that with its next order.
const GRACE: Duration = Duration::from_secs(1);
/// A task without a feed ends after so long.
const IDLE: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
