//! Leaving the cluster: nothing new is taken, nsqlookupd forgets this nsqd, clients and perhaps another nsqd take what is
//! left, and then the process ends.
//!
//! ```text
//! POST /drain, SIGUSR1 ─▶ Drain::begin ─▶ run: register there ─▶ unregister here ─▶ forward, again and again ─▶ empty
//! DELETE /drain ────────▶ Drain::cancel
//! ```
//! Nothing of it is written down: after a kill, nsqd starts as usual.

pub(crate) mod address;
pub(crate) mod batch;
mod forward;
pub(crate) mod order;
pub(crate) mod target;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nsq_core::Broker;
use nsq_core::topic::Remaining;
use nsq_daemon::supervisor;
use tokio::sync::Notify;

use self::address::Address;
use self::forward::Forwarder;
use self::order::Order;
use self::target::{Target, TargetError};
use crate::clock;
use crate::registration::Registration;
use crate::settings::Settings;

/// Why a node of a cluster does not drain.
pub(crate) const IN_CLUSTER: &str = "this nsqd is a node of a cluster: stop it, then have another node remove it with POST \
                                     /cluster/remove";

/// How often to check whether everything has drained.
const LOOK: Duration = Duration::from_millis(250);
/// The least time between the first refused publish and the end, so that every publisher learns why.
const SHORTEST: Duration = Duration::from_millis(500);
/// The shortest time between attempts to reach an nsqd that does not answer.
const SHORTEST_BACKOFF: Duration = Duration::from_millis(500);
/// The longest time between such attempts.
const LONGEST_BACKOFF: Duration = Duration::from_secs(15);

/// The drain of one nsqd, from the order to the end.
pub(crate) struct Drain {
    settings: Arc<Settings>,
    broker: Arc<Broker>,
    registration: Arc<Registration>,
    /// A name that no other nsqd process has.
    process: String,
    order: Mutex<Option<Arc<Order>>>,
    changed: Notify,
}

impl Drain {
    pub(crate) fn new(
        settings: Arc<Settings>,
        broker: Arc<Broker>,
        registration: Arc<Registration>,
    ) -> Drain {
        Drain {
            settings,
            broker,
            registration,
            process: random_name(),
            order: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// A name that no other nsqd process has.
    pub(crate) fn process(&self) -> &str {
        &self.process
    }

    /// The order in force.
    pub(crate) fn order(&self) -> Option<Arc<Order>> {
        self.slot().clone()
    }

    fn slot(&self) -> MutexGuard<'_, Option<Arc<Order>>> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn next_order(&self) -> Arc<Order> {
        loop {
            if let Some(order) = self.order() {
                return order;
            }
            self.changed.notified().await;
        }
    }

    /// Begins to drain, or continues with another nsqd to forward to. Once this returns, nothing new is accepted. An
    /// nsqd that does not answer yet is waited for.
    ///
    /// # Errors
    /// When `to` can never take messages; then nothing has changed.
    pub(crate) async fn begin(&self, to: Option<Address>) -> Result<(), TargetError> {
        if let Some(address) = &to {
            let target = Target::new(address.clone(), &self.settings);
            if let Err(error) = target.ask(&self.process).await
                && error.is_final()
            {
                return Err(error);
            }
        }
        if let Some(to) = &to {
            tracing::info!("DRAIN: started, the remaining messages go to {to}");
        } else {
            tracing::info!("DRAIN: started");
        }
        // Under the lock, so that of two orders at once the later counts in everything.
        let mut slot = self.slot();
        let known = slot.take();
        let since = known.as_ref().map(|known| known.since);
        let since = since.unwrap_or_else(|| clock::unix_nanos() / 1_000_000_000);
        if let Some(known) = known {
            known.revoke();
        }
        *slot = Some(Arc::new(Order::new(to, since)));
        self.broker.set_draining(true);
        drop(slot);
        self.changed.notify_one();
        Ok(())
    }

    /// Accepts new messages again, and registers.
    pub(crate) fn cancel(&self) {
        let mut slot = self.slot();
        let Some(known) = slot.take() else {
            return;
        };
        known.revoke();
        tracing::info!("DRAIN: cancelled");
        self.broker.set_draining(false);
        drop(slot);
        self.registration.apply(&self.settings, &self.broker);
        self.changed.notify_one();
        supervisor::status("serving");
    }

    /// Carries out what is ordered. Returns once nsqd is drained.
    pub(crate) async fn run(&self) {
        loop {
            let order = self.next_order().await;
            if self.carry_out(&order).await {
                let count = order.forwarded_count();
                tracing::info!("DRAIN: finished, {count} messages were forwarded");
                return;
            }
        }
    }

    /// Whether nsqd is drained; else the order is not in force any more.
    async fn carry_out(&self, order: &Arc<Order>) -> bool {
        let began = Instant::now();
        let mut backoff = SHORTEST_BACKOFF;
        let mut forwarder = order.to.clone().map(|to| {
            let target = Target::new(to, &self.settings);
            Forwarder::new(
                target,
                self.process.clone(),
                Arc::clone(&self.broker),
                Arc::clone(order),
            )
        });
        // The channels first, so that none that nsqlookupd knows of here is missing there.
        if let Some(forwarder) = &mut forwarder {
            let prepared = forwarder.prepare().await;
            order.set_trouble(prepared.err().map(|error| error.to_string()));
        }
        if !order.is_in_force() {
            return false;
        }
        self.registration.apply(&self.settings, &self.broker);
        loop {
            let mut pause = LOOK;
            let mut trouble = None;
            if let Some(forwarder) = &mut forwarder {
                match forwarder.forward().await {
                    Ok(()) => {
                        backoff = SHORTEST_BACKOFF;
                        trouble = forwarder.left_behind();
                    }
                    Err(error) => {
                        pause = backoff;
                        backoff = (backoff * 2).min(LONGEST_BACKOFF);
                        trouble = Some(error.to_string());
                    }
                }
            }
            let left = self.left().await;
            if trouble.is_none() && forwarder.is_none() && left.unoffered > 0 {
                trouble = Some(format!(
                    "{} messages wait in topics that are paused or have no channel: only another nsqd can take them",
                    left.unoffered
                ));
            }
            order.set_trouble(trouble);
            supervisor::status(&status(order, left));
            if !order.is_in_force() {
                return false;
            }
            if left.total() == 0 && began.elapsed() >= SHORTEST {
                return true;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// What is left of all topics.
    pub(crate) async fn left(&self) -> Remaining {
        let broker = Arc::clone(&self.broker);
        let count = move || {
            let mut remaining = Remaining::default();
            for topic in broker.topics() {
                remaining.add(topic.remaining());
            }
            remaining
        };
        match tokio::task::spawn_blocking(count).await {
            Ok(remaining) => remaining,
            // What cannot be counted is not nothing.
            Err(error) => {
                tracing::error!("DRAIN: {error}");
                Remaining {
                    unoffered: 1,
                    ..Remaining::default()
                }
            }
        }
    }
}

fn status(order: &Order, remaining: Remaining) -> String {
    let mut status = format!(
        "draining: {} messages left ({} of them held by clients), {} forwarded",
        remaining.total(),
        remaining.in_flight,
        order.forwarded_count()
    );
    if let Some(trouble) = order.trouble() {
        status.push_str("; ");
        status.push_str(&trouble);
    }
    status
}

fn random_name() -> String {
    use std::hash::{BuildHasher as _, RandomState};
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}
