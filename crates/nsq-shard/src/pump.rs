//! From what a leader has accepted to entries of the shard's log, and to answers.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::pending;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use nsq_cluster::group::{Applied, Group, ProposeError};
use nsq_core::Pending;
use tokio::time::{Instant, sleep_until};

use crate::accumulator::Proposal;
use crate::changes::Counted;
use crate::gathering::{Enough, Gathering};
use crate::leading::Leading;
use crate::machine::OF_ANOTHER_TERM;
use crate::shard::Shard;

/// Proposals under way. All of them fit into what a group takes without waiting, which keeps their order.
const UNDER_WAY: usize = 4;
/// While a proposal is under way for no longer than this, what arrives is gathered for the next one, until it is much or the
/// first one has its outcome. It is longer than that takes between nodes that are close to each other; on longer ways, several
/// are under way.
const CLOSE: Duration = Duration::from_millis(2);
/// How long progress is collected.
const PROGRESS: Duration = Duration::from_millis(50);

type Proposing = Pin<Box<dyn Future<Output = (Result<Applied, ProposeError>, Arc<Sent>)> + Send>>;

/// A proposal under way.
struct Sent {
    shard: u64,
    begun: Instant,
    until: Instant,
    changes: Counted,
    /// Pieces of progress in it.
    progress: usize,
    publishes: usize,
    /// Those who still wait for it.
    waiting: Mutex<Vec<Arc<Pending>>>,
}

impl Sent {
    fn waiting(&self) -> MutexGuard<'_, Vec<Arc<Pending>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, outcome: &Result<(), String>) {
        let waiting = std::mem::take(&mut *self.waiting());
        for pending in waiting {
            pending.settle(outcome.clone());
        }
    }
}

impl Drop for Sent {
    /// If it goes without an outcome, leadership was lost.
    fn drop(&mut self) {
        let shard = self.shard;
        let text = format!("leadership of shard {shard} was lost; {MAYBE_STORED}");
        self.settle(&Err(text));
    }
}

/// Proposes what one leadership accepts.
struct Pump<'a> {
    shard: &'a Shard,
    leading: &'a Leading,
    group: &'a Group,
    under_way: FuturesUnordered<Proposing>,
    /// In their order; those whose time is up are gone from it.
    sent: VecDeque<Arc<Sent>>,
    gathering: Gathering,
    /// Until then, only much is enough for a proposal.
    gathering_until: Option<Instant>,
}

impl Shard {
    /// Proposes what this leadership accepts, until it is over. Everything that was accepted is settled then.
    pub async fn pump(self: Arc<Self>, group: Group) {
        if let Some(leading) = self.leading() {
            let pump = Pump {
                shard: &self,
                leading: &leading,
                group: &group,
                under_way: FuturesUnordered::new(),
                sent: VecDeque::new(),
                gathering: Gathering::default(),
                gathering_until: None,
            };
            pump.run().await;
        }
    }
}

impl Pump<'_> {
    async fn run(mut self) {
        let mut progress_at = None;
        while !self.leading.is_over() {
            let progress = &self.leading.progress;
            if progress_at.is_none() && !progress.is_empty() {
                progress_at = Some(Instant::now() + PROGRESS);
            }
            let is_late = progress_at.is_some_and(|at| at <= Instant::now());
            if is_late || progress.is_large() {
                progress_at = None;
                // It is refused only when leadership is over.
                let _ = self.leading.flush_progress(None);
            }
            self.propose();
            self.wait(progress_at).await;
        }
        // What has its outcome already is answered by it; the rest when it is dropped.
        while let Some(Some((outcome, sent))) = self.under_way.next().now_or_never() {
            self.settle(outcome, &sent);
        }
    }

    /// Makes proposals of what was accepted.
    fn propose(&mut self) {
        while let Some(enough) = self.enough()
            && let Some(proposal) = self.leading.take(enough)
        {
            self.gathering.end();
            let (bytes, sent) = self.send(proposal);
            self.sent.push_back(Arc::clone(&sent));
            let group = self.group.clone();
            let mut proposing: Proposing =
                Box::pin(async move { (group.propose(bytes).await, sent) });
            // The first poll puts it in line: proposals must not overtake each other.
            match (&mut proposing).now_or_never() {
                Some((outcome, sent)) => self.settle(outcome, &sent),
                None => self.under_way.push(proposing),
            }
        }
    }

    /// What is enough for a proposal now; `None` while none can be made.
    fn enough(&mut self) -> Option<Enough> {
        let now = Instant::now();
        self.gathering_until = None;
        if self.under_way.is_empty() {
            let enough = self.gathering.enough(now);
            self.gathering_until = self.gathering.until();
            return Some(enough);
        }
        if self.under_way.len() >= UNDER_WAY {
            return None;
        }
        let until = self.sent.back().map(|last| last.begun + CLOSE);
        self.gathering_until = until.filter(|until| now < *until);
        Some(match self.gathering_until {
            Some(_) => Enough::MUCH,
            None => Enough::ANYTHING,
        })
    }

    fn send(&self, proposal: Proposal) -> (bytes::Bytes, Arc<Sent>) {
        let sent = Sent {
            shard: self.shard.options.number,
            begun: Instant::now(),
            until: proposal.since + self.shard.options.publish_timeout,
            changes: proposal.changes,
            progress: proposal.progress,
            publishes: proposal.waiting.len(),
            waiting: Mutex::new(proposal.waiting),
        };
        (proposal.bytes, Arc::new(sent))
    }

    /// Waits until there is something to do.
    async fn wait(&mut self, progress_at: Option<Instant>) {
        // While there is room for proposals, nothing waits for long to be one.
        let is_busy = self.under_way.len() >= UNDER_WAY;
        let oldest = self.leading.oldest().filter(|_| is_busy);
        let in_line = oldest.map(|since| since + self.shard.options.publish_timeout);
        let under_way = self.sent.front().map(|sent| sent.until);
        let wake_at = [progress_at, in_line, under_way, self.gathering_until]
            .into_iter()
            .flatten()
            .min();
        let time = async {
            match wake_at {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            Some((outcome, sent)) = self.under_way.next(), if !self.under_way.is_empty() => {
                self.settle(outcome, &sent);
            }
            () = self.leading.changed() => {}
            () = self.leading.progress.changed() => {}
            () = time => self.expire(),
        }
    }

    /// Answers those who have waited for too long. What is under way stays there: a late success changes nothing for them.
    fn expire(&mut self) {
        let now = Instant::now();
        let timeout = self.shard.options.publish_timeout;
        while let Some(sent) = self.sent.pop_front_if(|sent| sent.until <= now) {
            let text = format!("{} within {timeout:?}; {MAYBE_STORED}", self.no_majority());
            sent.settle(&Err(text));
        }
        while self
            .leading
            .oldest()
            .is_some_and(|since| since + timeout <= now)
            && let Some(proposal) = self.leading.take(Enough::ANYTHING)
        {
            let text = format!("{} within {timeout:?}; {NOT_STORED}", self.no_majority());
            let (_, sent) = self.send(proposal);
            self.answer(&sent, &Err(text));
        }
    }

    fn settle(&mut self, outcome: Result<Applied, ProposeError>, sent: &Arc<Sent>) {
        self.sent.retain(|other| !Arc::ptr_eq(other, sent));
        let number = self.shard.options.number;
        let outcome = match outcome {
            Ok(applied) if applied.outcome == OF_ANOTHER_TERM => Err(format!(
                "leadership of shard {number} was lost; {NOT_STORED}"
            )),
            Ok(_) => Ok(()),
            Err(ProposeError::NoMajority) => Err(format!("{}; {NOT_STORED}", self.no_majority())),
            Err(error @ (ProposeError::Unconfirmed | ProposeError::Stopped)) => {
                Err(format!("shard {number}: {error}; {MAYBE_STORED}"))
            }
            Err(
                error @ (ProposeError::NotLeader { .. }
                | ProposeError::NoSpace(_)
                | ProposeError::TooLarge { .. }),
            ) => Err(format!("shard {number}: {error}; {NOT_STORED}")),
        };
        self.answer(sent, &outcome);
        if self.under_way.is_empty() {
            let waiting = self.leading.waiting_publishes();
            self.gathering
                .begin(sent.publishes, waiting, Instant::now());
        }
    }

    fn answer(&self, sent: &Sent, outcome: &Result<(), String>) {
        self.leading.note_changes(&sent.changes, outcome);
        self.leading.note_progress(sent.progress, outcome.is_ok());
        sent.settle(outcome);
    }

    fn no_majority(&self) -> String {
        let number = self.shard.options.number;
        format!("a majority of the replicas of shard {number} did not store the message")
    }
}

const MAYBE_STORED: &str = "the message may or may not have been stored";
const NOT_STORED: &str = "the message was not stored";
