//! Leaving the cluster: nothing new is taken, nsqlookupd forgets this nsqd, clients and perhaps another nsqd take what is
//! left, and then the process ends.
//!
//! ```text
//! POST /drain, SIGUSR1 ─▶ Drain::begin ─▶ run: register there ─▶ unregister here ─▶ forward, again and again ─▶ empty
//! DELETE /drain ────────▶ Drain::cancel
//! ```
//! Nothing of it is written down: a process that was killed over it begins again as any nsqd does.

mod forward;
pub(crate) mod parcel;
pub(crate) mod target;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nsq_core::topic::Left;
use nsq_daemon::supervisor;
use tokio::sync::Notify;

use self::forward::Forwarder;
use self::target::{Address, Target, TargetError};
use crate::clock;
use crate::nsqd::Nsqd;

/// How often is looked whether all is gone.
const LOOK: Duration = Duration::from_millis(250);
/// The least time between the first refused publish and the end, so that whoever publishes learns why.
const SHORTEST: Duration = Duration::from_millis(500);
/// Between attempts to reach an nsqd that does not answer: from so much,
const SHORTEST_BACKOFF: Duration = Duration::from_millis(500);
/// to so much.
const LONGEST_BACKOFF: Duration = Duration::from_secs(15);

/// The drain of one nsqd, from the order to the end.
#[derive(Default)]
pub(crate) struct Drain {
    order: Mutex<Option<Arc<Order>>>,
    changed: Notify,
}

/// One order to drain, and how it goes.
pub(crate) struct Order {
    pub(crate) to: Option<Address>,
    /// Unix seconds.
    pub(crate) since: i64,
    forwarded_count: AtomicU64,
    trouble: Mutex<Option<String>>,
}

impl Order {
    /// How many messages the other nsqd has taken.
    pub(crate) fn forwarded_count(&self) -> u64 {
        self.forwarded_count.load(Ordering::Relaxed)
    }

    /// Why it does not go on as it should, if so.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble_slot().clone()
    }

    fn set_trouble(&self, trouble: Option<String>) {
        let mut known = self.trouble_slot();
        if *known != trouble {
            if let Some(trouble) = &trouble {
                tracing::warn!("DRAIN: {trouble}");
            } else {
                tracing::info!("DRAIN: goes on");
            }
            *known = trouble;
        }
    }

    fn trouble_slot(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drain {
    /// The order in force.
    pub(crate) fn order(&self) -> Option<Arc<Order>> {
        self.slot().clone()
    }

    fn slot(&self) -> MutexGuard<'_, Option<Arc<Order>>> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_in_force(&self, order: &Arc<Order>) -> bool {
        self.slot()
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, order))
    }

    async fn next_order(&self) -> Arc<Order> {
        loop {
            if let Some(order) = self.order() {
                return order;
            }
            self.changed.notified().await;
        }
    }
}

/// Begins to drain, or goes on with another nsqd to forward to. From the return on nothing new is taken. An nsqd that
/// does not answer yet is waited for.
///
/// # Errors
/// When `to` can never take messages; then nothing has changed.
pub(crate) async fn begin(nsqd: &Nsqd, to: Option<Address>) -> Result<(), TargetError> {
    if let Some(address) = &to {
        let target = Target::new(address.clone(), &nsqd.settings);
        if let Err(error) = target.ask(&nsqd.process).await
            && error.is_final()
        {
            return Err(error);
        }
    }
    if let Some(to) = &to {
        tracing::info!("DRAIN: begins, what is left goes to {to}");
    } else {
        tracing::info!("DRAIN: begins");
    }
    // Under the lock, so that of two orders at once the later counts in everything.
    let mut slot = nsqd.drain.slot();
    let began = slot.as_ref().map(|known| known.since);
    *slot = Some(Arc::new(Order {
        to,
        since: began.unwrap_or_else(|| clock::unix_nanos() / 1_000_000_000),
        forwarded_count: AtomicU64::default(),
        trouble: Mutex::default(),
    }));
    nsqd.broker.set_draining(true);
    drop(slot);
    nsqd.drain.changed.notify_one();
    Ok(())
}

/// Takes all that is new again, and registers.
pub(crate) fn cancel(nsqd: &Nsqd) {
    let mut slot = nsqd.drain.slot();
    if slot.take().is_none() {
        return;
    }
    tracing::info!("DRAIN: cancelled");
    nsqd.broker.set_draining(false);
    drop(slot);
    nsqd.settings_changed();
    nsqd.drain.changed.notify_one();
    supervisor::status("serving");
}

/// Carries out what is ordered. Returns once nsqd is drained.
pub(crate) async fn run(nsqd: &Arc<Nsqd>) {
    loop {
        let order = nsqd.drain.next_order().await;
        if carry_out(nsqd, &order).await {
            let count = order.forwarded_count();
            tracing::info!("DRAIN: nothing is left here, {count} messages were forwarded");
            return;
        }
    }
}

/// Whether nsqd is drained; else the order is not in force any more.
async fn carry_out(nsqd: &Arc<Nsqd>, order: &Arc<Order>) -> bool {
    let began = Instant::now();
    let mut backoff = SHORTEST_BACKOFF;
    let mut forwarder = order
        .to
        .clone()
        .map(|to| Forwarder::new(Target::new(to, &nsqd.settings), nsqd, order));
    // The channels first, so that none that nsqlookupd knows of here is missing there.
    if let Some(forwarder) = &mut forwarder {
        let prepared = forwarder.prepare().await;
        order.set_trouble(prepared.err().map(|error| error.to_string()));
    }
    if !nsqd.drain.is_in_force(order) {
        return false;
    }
    nsqd.settings_changed();
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
        let left = left(nsqd).await;
        if trouble.is_none() && forwarder.is_none() && left.unoffered > 0 {
            trouble = Some(format!(
                "{} messages wait in topics that are paused or have no channel: only another nsqd can take them",
                left.unoffered
            ));
        }
        order.set_trouble(trouble);
        supervisor::status(&status(order, left));
        if !nsqd.drain.is_in_force(order) {
            return false;
        }
        if left.total() == 0 && began.elapsed() >= SHORTEST {
            return true;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = nsqd.drain.changed.notified() => {}
        }
    }
}

/// What is left of all topics.
pub(crate) async fn left(nsqd: &Arc<Nsqd>) -> Left {
    let broker = Arc::clone(&nsqd.broker);
    let count = move || {
        let mut left = Left::default();
        for topic in broker.topics() {
            left.add(topic.left());
        }
        left
    };
    match tokio::task::spawn_blocking(count).await {
        Ok(left) => left,
        // What cannot be counted is not nothing.
        Err(error) => {
            tracing::error!("DRAIN: {error}");
            Left {
                unoffered: 1,
                ..Left::default()
            }
        }
    }
}

fn status(order: &Order, left: Left) -> String {
    let mut status = format!(
        "draining: {} messages left ({} of them held by clients), {} forwarded",
        left.total(),
        left.in_flight,
        order.forwarded_count()
    );
    if let Some(trouble) = order.trouble() {
        status.push_str("; ");
        status.push_str(&trouble);
    }
    status
}
