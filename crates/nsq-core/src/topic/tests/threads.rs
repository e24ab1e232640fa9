//! Publishers and consumers on threads of their own: nothing is lost, nothing comes twice, no one waits forever.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crate::channel::{Budget, Locality, Subscription};
use crate::client::{ClientHandle, ClientId};
use crate::testing::{MSG_TIMEOUT, TestBroker};
use crate::time::Now;
use crate::topic::ChannelCell;

const PUBLISHERS: usize = 2;
const BATCHES: usize = 400;
const BATCH: usize = 10;
const TOTAL: usize = PUBLISHERS * BATCHES * BATCH;

struct Inbox(Sender<()>);

impl ClientHandle for Inbox {
    fn wake(&self) {
        // No one listens any more when the consumer is done.
        let _ = self.0.send(());
    }

    fn close(&self) {
        self.wake();
    }
}

/// Takes and finishes until its channel has delivered everything.
fn consume(
    cell: &Arc<ChannelCell>,
    client: ClientId,
    woken: &Receiver<()>,
    left: &AtomicUsize,
    now: Now,
) -> Vec<String> {
    let mut bodies = Vec::new();
    let budget = Budget {
        messages: 7,
        bytes: 1 << 20,
    };
    while left.load(Ordering::SeqCst) > 0 {
        let mut got = Vec::new();
        let mut held = cell.lock();
        let taken = held.take(client, budget, now, |message| {
            let body = String::from_utf8(message.body.to_vec()).unwrap();
            got.push((message.id, message.attempts, body));
        });
        for (id, attempts, body) in got {
            // Every seventh comes back once.
            if attempts == 1 && id.as_u64() % 7 == 0 {
                held.requeue(client, id, Duration::ZERO, now).unwrap();
            } else {
                held.finish(client, id, now).unwrap();
                left.fetch_sub(1, Ordering::SeqCst);
                bodies.push(body);
            }
        }
        drop(held);
        if taken.waiting && left.load(Ordering::SeqCst) > 0 {
            // Generous: only a lost wake takes that long.
            let woken = woken.recv_timeout(Duration::from_secs(20));
            assert!(
                woken.is_ok() || left.load(Ordering::SeqCst) == 0,
                "slept while messages lay"
            );
        }
    }
    bodies
}

#[test]
fn every_message_reaches_every_channel_exactly_once() {
    let house = TestBroker::new();
    let topic = house.topic("t");
    let now = house.now;
    let mut consumers = Vec::new();
    let mut inboxes: HashMap<&str, Vec<Sender<()>>> = HashMap::new();
    let lefts = [
        Arc::new(AtomicUsize::new(TOTAL)),
        Arc::new(AtomicUsize::new(TOTAL)),
    ];
    for (at, name) in ["c1", "c2"].into_iter().enumerate() {
        let cell = house.channel("t", name);
        for number in 0..2 {
            let client = ClientId(u32::try_from(at * 2 + number + 1).unwrap());
            let (sender, receiver) = channel();
            inboxes.entry(name).or_default().push(sender.clone());
            let subscription = Subscription {
                client,
                handle: Arc::new(Inbox(sender)),
                msg_timeout: MSG_TIMEOUT,
                sample_rate: 0,
                locality: if number == at {
                    Locality::Zone
                } else {
                    Locality::Elsewhere
                },
            };
            cell.lock().subscribe(subscription, 0).unwrap();
            cell.lock().set_ready_count(client, 20);
            consumers.push((Arc::clone(&cell), client, receiver, Arc::clone(&lefts[at])));
        }
    }
    let done = AtomicUsize::new(0);
    let got = std::thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            let topic = &topic;
            scope.spawn(move || {
                for batch in 0..BATCHES {
                    let bodies: Vec<String> = (0..BATCH)
                        .map(|at| format!("{publisher}-{batch}-{at}"))
                        .collect();
                    topic
                        .publish(bodies.iter().map(String::as_bytes), now)
                        .unwrap();
                }
            });
        }
        let (tidying, done) = (&topic, &done);
        scope.spawn(move || {
            while done.load(Ordering::SeqCst) < 4 {
                tidying.maintain(now);
                tidying.sync(now).unwrap();
                tidying.stats();
                std::thread::yield_now();
            }
        });
        let running: Vec<_> = consumers
            .into_iter()
            .map(|(cell, client, receiver, left)| {
                let others = inboxes[cell.name().as_str()].clone();
                scope.spawn(move || {
                    let bodies = consume(&cell, client, &receiver, &left, now);
                    for other in others {
                        let _ = other.send(());
                    }
                    done.fetch_add(1, Ordering::SeqCst);
                    (cell.name().to_string(), bodies)
                })
            })
            .collect();
        let finished = running.into_iter().map(|thread| thread.join().unwrap());
        finished.collect::<Vec<_>>()
    });
    for name in ["c1", "c2"] {
        let bodies: Vec<_> = got
            .iter()
            .filter(|(channel, _)| channel == name)
            .flat_map(|(_, bodies)| bodies)
            .collect();
        assert_eq!(bodies.len(), TOTAL);
        assert_eq!(bodies.iter().collect::<HashSet<_>>().len(), TOTAL);
    }
    let stats = topic.stats();
    assert!(
        stats
            .channels
            .iter()
            .all(|channel| channel.depth + channel.in_flight_count == 0)
    );
}
