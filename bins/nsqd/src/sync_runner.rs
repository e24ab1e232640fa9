//! The threads that sync topics, as the server's [`Syncs`](nsq_server::Syncs) say.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, PoisonError};

use nsq_core::{Broker, Pending, Ticket, TicketState, TicketWaiter, Topic};
use nsq_daemon::metrics::Durations;
use nsq_queue::LogError;
use nsq_server::syncs::{Ended, Round, SyncWorker, Turn};
use nsq_server::{Server, Syncs};
use tokio::sync::Notify;

use crate::clock;

/// Runs syncs, and measures them.
pub(crate) struct SyncRunner {
    begun: Notify,
    gathered: Condvar,
    durations: Arc<Durations>,
    /// Failures of [`SyncRunner::sync`].
    failure_count: AtomicU64,
    run_round: fn(&Round) -> Result<(), LogError>,
}

impl Default for SyncRunner {
    fn default() -> SyncRunner {
        SyncRunner::with(|round| round.run(clock::now()))
    }
}

impl SyncRunner {
    /// One whose syncs are made by `run_round`.
    pub(crate) fn with(run_round: fn(&Round) -> Result<(), LogError>) -> SyncRunner {
        SyncRunner {
            begun: Notify::new(),
            gathered: Condvar::new(),
            durations: Arc::default(),
            failure_count: AtomicU64::new(0),
            run_round,
        }
    }

    /// A topic has no worker yet.
    pub(crate) fn begin(&self) {
        self.begun.notify_one();
    }

    /// A worker that waits may have to wait no longer.
    pub(crate) fn look_again(&self) {
        self.gathered.notify_all();
    }

    /// How long each sync of a topic took.
    pub(crate) fn durations(&self) -> &Durations {
        &self.durations
    }

    /// Syncs a topic of `broker` now, without anyone who waits for it. Blocks on the disk.
    pub(crate) fn sync(&self, topic: &Topic, broker: &Broker) {
        let began = clock::tick();
        let outcome = topic.sync(clock::now());
        self.durations.record(clock::tick().since(began));
        if let Err(error) = outcome {
            broker.note_sync(Some(&error));
            self.failure_count.fetch_add(1, Ordering::Relaxed);
            tracing::error!("TOPIC({}): cannot be synced: {error}", topic.name());
        }
    }

    /// How many syncs failed, those for publishers and those of shards.
    pub(crate) fn failure_count(&self, server: &Server) -> u64 {
        server.syncs().failure_count() + self.failure_count.load(Ordering::Relaxed)
    }

    /// Runs forever.
    pub(crate) async fn run(self: Arc<Self>, server: Arc<Server>) {
        loop {
            self.begun.notified().await;
            while let Some(worker) = server.syncs().begin() {
                let (runner, server) = (Arc::clone(&self), Arc::clone(&server));
                tokio::task::spawn_blocking(move || runner.work(worker, &server));
            }
        }
    }

    fn work(&self, mut worker: SyncWorker, server: &Server) {
        while let Some(round) = self.next_round(&mut worker, server.syncs()) {
            let began = clock::tick();
            // A panic is our own mistake, and must not keep those waiting who come to this topic next.
            let outcome = catch_unwind(AssertUnwindSafe(|| (self.run_round)(&round)));
            let ended = clock::tick();
            self.durations.record(ended.since(began));
            let ended = Ended {
                began,
                ended,
                outcome: match outcome {
                    Ok(outcome) => outcome.map_err(Some),
                    Err(_) => Err(None),
                },
            };
            server
                .syncs()
                .end(&mut worker, &round, ended, server.broker());
        }
    }

    /// Waits for the worker's next round; `None` when there is none left.
    fn next_round(&self, worker: &mut SyncWorker, syncs: &Syncs) -> Option<Round> {
        let mut wanted = syncs.lock();
        loop {
            let now = clock::tick();
            let until = match worker.turn(&mut wanted, now) {
                Turn::Sync(round) => return Some(round),
                Turn::WaitUntil(until) => until,
                Turn::Dismissed => return None,
            };
            let waited = self.gathered.wait_timeout(wanted, until.since(now));
            wanted = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Waits until a publish to `topic` is safe, or has failed.
pub(crate) async fn settled(topic: &Topic, ticket: Ticket) -> TicketState {
    let settled = Arc::new(Settled::default());
    let waiter = Arc::clone(&settled) as Arc<dyn TicketWaiter>;
    match topic.await_ticket(ticket, &waiter) {
        TicketState::Pending => {
            settled.0.notified().await;
            topic.ticket_state(ticket)
        }
        state => state,
    }
}

/// Waits for a proposal to the cluster.
#[derive(Default)]
pub(crate) struct Settled(Notify);

impl Settled {
    /// Completes once `pending`, whose waiter this is, is settled.
    ///
    /// # Errors
    /// Why it failed, if it did.
    pub(crate) async fn outcome(&self, pending: &Pending) -> Result<(), String> {
        loop {
            match pending.state() {
                TicketState::Safe => return Ok(()),
                TicketState::Failed(cause) => return Err(cause),
                // One that is settled between the look and the wait leaves a permit.
                TicketState::Pending => self.0.notified().await,
            }
        }
    }
}

impl TicketWaiter for Settled {
    fn ticket_settled(&self) {
        self.0.notify_one();
    }
}

#[cfg(test)]
mod tests;
