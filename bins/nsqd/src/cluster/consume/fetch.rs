//! The side of the consumers: their orders go to every other member, and events come back.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use nsq_cluster::codec::{Answer as Reply, Request};
use nsq_cluster::network::CallError;
use nsq_cluster::{Member, NodeId};
use nsq_core::Tick;
use nsq_server::feed::Order;
use nsq_server::fetch::{Fetcher, Source, Stray, Urgency};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::CONSUMERS;
use super::codec::{Answer, Orders};
use crate::clock;
use crate::cluster::this_node::ThisNode;

/// Fetches messages from every other member, until nsqd stops.
pub(super) async fn run(
    node: Arc<dyn ThisNode>,
    fetcher: Arc<Fetcher>,
    mut is_stopping: watch::Receiver<bool>,
) {
    let mut tasks = JoinSet::new();
    let mut members: BTreeMap<NodeId, (Member, watch::Sender<bool>)> = BTreeMap::new();
    let mut directory = node.directory();
    let expiring = tokio::spawn(expire(Arc::clone(&fetcher)));
    while !*is_stopping.borrow_and_update() {
        let newest = Arc::clone(&directory.borrow_and_update());
        let me = node.node();
        let others = newest.members.iter().filter(|(id, _)| Some(**id) != me);
        // Before this node has a number, it would take itself for another one.
        let others: BTreeMap<NodeId, Member> = others
            .filter(|_| me.is_some())
            .map(|(id, listed)| {
                let address = listed.info.address.clone();
                (*id, Member { address })
            })
            .collect();
        // One that was dropped ends its task.
        members.retain(|id, (member, _)| others.get(id) == Some(member));
        for (id, member) in others {
            members.entry(id).or_insert_with(|| {
                let (sender, is_over) = watch::channel(false);
                let task = Link {
                    node: Arc::clone(&node),
                    peer: id,
                    member: member.clone(),
                    source: fetcher.add_source(id.0),
                    is_over,
                    is_answered: false,
                };
                let fetcher = Arc::clone(&fetcher);
                tasks.spawn(async move {
                    let source = Arc::clone(&task.source);
                    task.run().await;
                    fetcher.remove_source(&source);
                });
                (member, sender)
            });
        }
        tokio::select! {
            changed = directory.changed() => if changed.is_err() { break },
            _ = is_stopping.changed() => {}
            Some(_) = tasks.join_next() => {}
        }
    }
    for (_, sender) in members.values() {
        sender.send_replace(true);
    }
    let _ = tokio::time::timeout(FAREWELL, async {
        while tasks.join_next().await.is_some() {}
    })
    .await;
    expiring.abort();
}

/// Gives back what waits too long for room.
async fn expire(fetcher: Arc<Fetcher>) {
    loop {
        let mut at: Tick = poll_fn(|cx| fetcher.poll_next_look(None, cx)).await;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(clock::instant_of(at).into()) => break,
                earlier = poll_fn(|cx| fetcher.poll_next_look(Some(at), cx)) => at = earlier,
            }
        }
        fetcher.expire(clock::now());
    }
}

/// The way to one other member.
struct Link {
    node: Arc<dyn ThisNode>,
    peer: NodeId,
    member: Member,
    source: Arc<Source>,
    /// Turns true when nsqd stops; its end means that the node is no member any more.
    is_over: watch::Receiver<bool>,
    /// Whether the other node has carried out orders in this opening.
    is_answered: bool,
}

/// Why a way to a node was closed.
#[derive(Debug)]
enum End {
    /// No consumer wants anything any more.
    Unwanted,
    /// nsqd stops, or the node is no member any more.
    Over,
    /// It has to be opened again.
    Broken(String),
}

/// An answer on its way to the orders of this number.
type Calling = BoxFuture<'static, (u64, Result<Reply, CallError>)>;

impl Link {
    async fn run(mut self) {
        let mut pauses = Pauses::default();
        let mut opening = 0;
        loop {
            let wanted = poll_fn(|cx| self.source.poll_wanted(cx));
            tokio::select! {
                () = wanted => {}
                _ = self.is_over.changed() => return,
            }
            let opened = Instant::now();
            opening = next_opening(opening, clock::unix_nanos());
            self.source.open(opening);
            self.is_answered = false;
            let mut unanswered = BTreeMap::new();
            let end = self.exchange(opening, &mut unanswered).await;
            self.source.take_back(unanswered.into_values().flatten());
            self.source.close();
            match end {
                End::Over => return,
                End::Unwanted => {}
                End::Broken(why) => {
                    if opened.elapsed() > LAST_PAUSE {
                        tracing::info!(
                            "cluster: messages of node {} are not in flight here any more: {why}",
                            self.peer
                        );
                    }
                    tokio::select! {
                        () = tokio::time::sleep(pauses.next(self.is_answered)) => {}
                        _ = self.is_over.changed() => return,
                    }
                }
            }
        }
    }

    /// Sends orders and receives events. `unanswered` has the orders under way, by number.
    async fn exchange(&mut self, opening: u64, unanswered: &mut BTreeMap<u64, Vec<Order>>) -> End {
        let source = Arc::clone(&self.source);
        let mut calls: FuturesUnordered<Calling> = FuturesUnordered::new();
        let mut number = 0;
        let mut sent = Instant::now() - HEARTBEAT;
        loop {
            let may_send = calls.len() < MAX_CALLS;
            let orders = async {
                if !may_send {
                    return std::future::pending().await;
                }
                let mut urgency = poll_fn(|cx| source.poll_orders(cx)).await;
                while let Some(patience) = gathering(urgency) {
                    let rising = poll_fn(|cx| source.poll_more_urgent(urgency, cx));
                    match tokio::time::timeout(patience, rising).await {
                        Ok(higher) => urgency = higher,
                        Err(_) => break,
                    }
                }
                source.take_orders(MAX_ORDERS)
            };
            tokio::select! {
                biased;
                changed = self.is_over.changed() => {
                    if changed.is_ok() {
                        self.say_farewell(opening, number).await;
                    }
                    return End::Over;
                }
                Some((answered, answer)) = calls.next(), if !calls.is_empty() => {
                    match self.receive(answer) {
                        // Also where events are missing, the orders were carried out.
                        Ok(outcome) => {
                            self.is_answered = true;
                            unanswered.remove(&answered);
                            if let Err(stray) = outcome {
                                return End::Broken(stray.to_string());
                            }
                        }
                        Err(why) => return End::Broken(why),
                    }
                }
                orders = orders => {
                    let (calling, orders) = self.call(opening, number, orders, false);
                    calls.push(calling);
                    unanswered.insert(number, orders);
                    (number, sent) = (number + 1, Instant::now());
                }
                // Also while all calls wait: if one of them is lost, the answer to this one says so long before they fail.
                () = tokio::time::sleep_until(sent + HEARTBEAT) => {
                    if poll_fn(|cx| Poll::Ready(source.poll_wanted(cx).is_pending())).await {
                        return End::Unwanted;
                    }
                    let orders = source.take_orders(MAX_ORDERS);
                    let (calling, orders) = self.call(opening, number, orders, false);
                    calls.push(calling);
                    unanswered.insert(number, orders);
                    (number, sent) = (number + 1, Instant::now());
                }
            }
        }
    }

    /// Sends orders; returns them too.
    fn call(
        &self,
        opening: u64,
        number: u64,
        orders: Vec<Order>,
        is_last: bool,
    ) -> (Calling, Vec<Order>) {
        let orders = Orders {
            opening,
            number,
            is_last,
            list: orders,
        };
        let request = Request::Call {
            group: CONSUMERS,
            body: orders.to_bytes(),
        };
        let network = self.node.network();
        let calling = network.call(self.peer, &self.member, request, Some(PATIENCE));
        let calling: Calling = Box::pin(async move { (number, calling.await) });
        (calling, orders.list)
    }

    /// Fails where the orders may not have been carried out.
    fn receive(&self, answered: Result<Reply, CallError>) -> Result<Result<(), Stray>, String> {
        let body = match answered {
            Ok(Reply::Call(body)) => body,
            Ok(Reply::Refused(why)) => return Err(format!("it {why}")),
            Ok(_) => return Err("its answer does not fit".to_owned()),
            Err(error) => return Err(error.to_string()),
        };
        match Answer::from_bytes(body).map_err(|error| error.to_string())? {
            Answer::Nothing => Ok(Ok(())),
            Answer::Unknown => Err("it has begun again".to_owned()),
            Answer::Events(events) => {
                let now = clock::now();
                let source = &self.source;
                Ok(source.receive(events.opening, events.number, events.list, now))
            }
        }
    }

    /// Sends the last orders: what the consumers held is delivered again at once.
    async fn say_farewell(&self, opening: u64, number: u64) {
        let source = &self.source;
        let orders = source.take_orders(usize::MAX);
        let (call, _) = self.call(opening, number, orders, true);
        let _ = tokio::time::timeout(FAREWELL, call).await;
    }
}

/// How long orders wait for others.
fn gathering(urgency: Urgency) -> Option<Duration> {
    match urgency {
        Urgency::CanWait => Some(Duration::from_millis(5)),
        Urgency::Soon => Some(Duration::from_millis(1)),
        Urgency::AtOnce => None,
    }
}

/// The number of the opening after `last`. The other node takes only later ones than it knows: of this process, also when
/// the clock was set back, and of an earlier process, by the clock.
fn next_opening(last: u64, unix_nanos: i64) -> u64 {
    u64::try_from(unix_nanos).unwrap_or_default().max(last + 1)
}

/// The pauses before a way is opened again.
struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Pauses(FIRST_PAUSE)
    }
}

impl Pauses {
    /// The next pause, twice as long as the one before. Once the other node has answered it is short again, however short that
    /// opening was: the node requeues what is finished here unless it hears of that within a second.
    fn next(&mut self, is_answered: bool) -> Duration {
        if is_answered {
            self.0 = FIRST_PAUSE;
        }
        let pause = self.0;
        self.0 = (pause * 2).min(LAST_PAUSE);
        pause
    }
}

/// Orders under way to one node at a time, so that they come together in batches. While they are not answered, there is another
/// call each [`HEARTBEAT`].
const MAX_CALLS: usize = 2;
/// Orders in one call.
const MAX_ORDERS: usize = 4096;
/// Between two calls, at most.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// How long the other node may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Before the way to a node is opened again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(1);
/// How long the last orders may take when nsqd stops.
const FAREWELL: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
