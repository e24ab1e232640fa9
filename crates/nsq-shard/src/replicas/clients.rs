//! Publishers and a consumer, and what they know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nsq_cluster::NodeId;
use nsq_core::channel::Budget;
use nsq_core::{ClientId, Locality, Pending, Subscription, TicketState, TicketWaiter};
use nsq_protocol::TopicName;
use tokio::sync::Notify;

use super::replica::now;
use crate::simulation::Nothing;
use crate::{Refusal, Shard};

#[derive(Default)]
struct Bell(Notify);

impl TicketWaiter for Bell {
    fn ticket_settled(&self) {
        self.0.notify_one();
    }
}

/// What the clients know.
#[derive(Default)]
pub(super) struct Clients {
    /// All replicas that are up.
    pub(super) shards: Mutex<BTreeMap<NodeId, Arc<Shard>>>,
    pub(super) acknowledged: Mutex<BTreeSet<String>>,
    pub(super) finished: Mutex<BTreeSet<String>>,
    pub(super) is_over: AtomicBool,
}

impl Clients {
    /// The replica that leads, if there is one.
    fn leader(&self) -> Option<Arc<Shard>> {
        let shards = self.shards.lock().unwrap();
        let leading = shards.values().filter(|shard| shard.led_term().is_some());
        leading.max_by_key(|shard| shard.led_term()).cloned()
    }

    /// Has the leader accept something, and waits for the outcome.
    pub(super) async fn ask(
        &self,
        ask: impl Fn(&Shard, &Arc<Pending>) -> Result<(), Refusal>,
    ) -> Result<(), String> {
        let shard = self.leader().ok_or("no leader")?;
        let bell = Arc::new(Bell::default());
        let pending = Pending::new(Arc::clone(&bell) as Arc<dyn TicketWaiter>);
        ask(&shard, &pending).map_err(|refusal| refusal.to_string())?;
        loop {
            match pending.state() {
                TicketState::Safe => return Ok(()),
                TicketState::Failed(why) => return Err(why),
                TicketState::Pending => bell.0.notified().await,
            }
        }
    }

    /// Asks until it succeeds.
    pub(super) async fn insist(&self, ask: impl Fn(&Shard, &Arc<Pending>) -> Result<(), Refusal>) {
        let mut outcome = Ok(());
        for _ in 0..1200 {
            outcome = self.ask(&ask).await;
            if outcome.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no leader takes it: {outcome:?}");
    }

    pub(super) async fn publish(self: Arc<Self>, publisher: usize) {
        let topic = TopicName::try_from("t").unwrap();
        let mut number = 0;
        while !self.is_over.load(Ordering::Relaxed) {
            let bodies: Vec<_> = (number..number + 20)
                .map(|at| format!("{publisher}-{at}-{}", "x".repeat(100)))
                .collect();
            number += 20;
            let asked = self.ask(|shard, pending| {
                let mut bodies = bodies.iter().map(String::as_bytes);
                shard.publish(&topic, &mut bodies, None, now(), pending)
            });
            match asked.await {
                Ok(()) => self.acknowledged.lock().unwrap().extend(bodies),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Finishes half of what it gets. What is finished and committed must not come again.
    pub(super) async fn consume(self: Arc<Self>) {
        let mut known = BTreeSet::new();
        let client = ClientId(1);
        while !self.is_over.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let Some(shard) = self.leader() else { continue };
            let Some(broker) = shard.broker() else {
                continue;
            };
            let Some(cell) = broker.topic("t").and_then(|topic| topic.channel("c")) else {
                continue;
            };
            let mut now_finished = BTreeSet::new();
            {
                let mut channel = cell.lock();
                if channel.client_count() == 0 {
                    let subscription = Subscription {
                        client,
                        handle: Arc::new(Nothing),
                        msg_timeout: Duration::from_mins(1),
                        sample_rate: 0,
                        locality: Locality::default(),
                    };
                    if channel.subscribe(subscription, 0).is_err() {
                        continue;
                    }
                    channel.set_ready_count(client, 1_000_000);
                }
                let budget = Budget {
                    messages: 50,
                    bytes: 1 << 20,
                };
                let mut got = Vec::new();
                channel.take(client, budget, now(), |message| {
                    got.push((
                        message.id,
                        String::from_utf8(message.body.to_vec()).unwrap(),
                    ));
                });
                for (at, (id, body)) in got.into_iter().enumerate() {
                    assert!(!known.contains(&body), "{body} is back");
                    if at % 2 == 0 && channel.finish(client, id, now()).is_ok() {
                        now_finished.insert(body);
                    }
                }
            }
            self.finished
                .lock()
                .unwrap()
                .extend(now_finished.iter().cloned());
            let bell = Arc::new(Bell::default());
            let pending = Pending::new(Arc::clone(&bell) as Arc<dyn TicketWaiter>);
            if shard.flush_progress(&pending).is_ok() {
                while pending.state() == TicketState::Pending {
                    bell.0.notified().await;
                }
                if pending.state() == TicketState::Safe {
                    known.extend(now_finished);
                }
            }
        }
    }
}
