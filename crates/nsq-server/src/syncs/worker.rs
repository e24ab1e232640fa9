//! A worker syncs one topic after the other; [`SyncWorker::turn`] says what to do next.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nsq_core::{Broker, Now, Tick, Topic};
use nsq_protocol::TopicName;
use nsq_queue::LogError;

use super::{Extent, Pending, PublisherId, Syncs, Wanted};

/// The longest that a sync waits for publishers to come back, however long the last one took.
const MAX_GATHERING: Duration = Duration::from_millis(5);
/// How long a topic rests after a sync for `--sync-every`: were its syncs back to back, each would cost nearly as much
/// and save less.
const REST: Duration = Duration::from_millis(10);

/// What publishers are told whose sync panicked.
const BROKEN_OFF: &str = "the sync broke off";

/// Syncs a topic for as long as that is wanted, and then others that have no worker.
pub struct SyncWorker {
    topic: TopicName,
    last: Option<Last>,
}

/// A topic's last sync.
#[derive(Clone, Copy)]
struct Last {
    ended: Tick,
    took: Duration,
    /// Whether it was made for `--sync-every`, and for no publisher that waits.
    is_counted: bool,
}

/// What a worker is to do next.
pub enum Turn {
    /// Run this, and give it to [`Syncs::end`].
    Sync(Round),
    /// Ask again at that time, or when [`Host::sync_gathered`](crate::Host::sync_gathered) is called.
    WaitUntil(Tick),
    /// Nothing is left to be synced: the worker is dismissed.
    Dismissed,
}

/// One sync of a topic, for everyone who asked by now.
pub struct Round {
    topic: Arc<Topic>,
    /// The publishers that wait for it.
    waiting: HashSet<PublisherId>,
    extent: Extent,
}

/// How a [`Round`] went.
pub struct Ended {
    /// When it began.
    pub began: Tick,
    /// When it was over.
    pub ended: Tick,
    /// What the disk said; `Err(None)` when the sync broke off.
    pub outcome: Result<(), Option<LogError>>,
}

impl Round {
    /// The topic to sync.
    pub fn topic(&self) -> &Arc<Topic> {
        &self.topic
    }

    /// How much of it.
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// Makes the sync, which settles the tickets of what was published by now. Blocks on the disk, with no lock held.
    ///
    /// # Errors
    /// [`LogError`] when the disk refuses.
    pub fn run(&self, now: Now) -> Result<(), LogError> {
        match self.extent {
            Extent::Published => self.topic.sync_published(now),
            Extent::All => self.topic.sync(now),
        }
    }
}

impl SyncWorker {
    pub(super) fn of(topic: TopicName) -> SyncWorker {
        SyncWorker { topic, last: None }
    }

    /// What to do next. Where other topics have no worker, a topic that has had a sync goes to the end of the queue.
    pub fn turn(&mut self, wanted: &mut Wanted, now: Tick) -> Turn {
        loop {
            if let Some(turn) = self.gather(wanted, now) {
                return turn;
            }
            let Some(next) = wanted.queue.pop_front() else {
                wanted.running_count -= 1;
                return Turn::Dismissed;
            };
            *self = SyncWorker::of(next);
        }
    }

    /// `None` when the topic is not this worker's any more.
    fn gather(&self, wanted: &mut Wanted, now: Tick) -> Option<Turn> {
        let must_yield = self.last.is_some() && !wanted.queue.is_empty();
        let pending = wanted.pending.get_mut(&self.topic)?;
        if let Some(last) = self.last
            && !must_yield
        {
            let until = last.ended.after(pending.pause(last));
            if until > now {
                return Some(Turn::WaitUntil(until));
            }
        }
        if !pending.is_wanted() {
            wanted.pending.remove(&self.topic);
            return None;
        }
        if must_yield {
            wanted.queue.push_back(self.topic.clone());
            return None;
        }
        let next = Pending::new(Arc::clone(&pending.topic));
        let begun = std::mem::replace(pending, next);
        Some(Turn::Sync(Round {
            extent: begun.asked.unwrap_or(Extent::Published),
            topic: begun.topic,
            waiting: begun.waiting,
        }))
    }
}

impl Pending {
    /// How long the next sync, or the end of the work on the topic, has to wait after the last sync.
    fn pause(&self, last: Last) -> Duration {
        if self.is_gathered() {
            Duration::ZERO
        } else if !self.awaited.is_empty() || !self.waiting.is_empty() {
            last.took.min(MAX_GATHERING)
        } else if last.is_counted {
            REST
        } else {
            Duration::ZERO
        }
    }
}

impl Syncs {
    /// A worker's round is over: notes for `/ping` whether the disk works.
    pub fn end(&self, worker: &mut SyncWorker, round: &Round, ended: Ended, broker: &Broker) {
        let failure = match ended.outcome {
            Ok(()) => None,
            Err(Some(error)) => {
                broker.note_sync(Some(&error));
                Some(error.to_string())
            }
            Err(None) => {
                round.topic.fail_pending_tickets(BROKEN_OFF);
                Some(BROKEN_OFF.to_owned())
            }
        };
        if let Some(failure) = failure {
            self.failure_count.fetch_add(1, Ordering::Relaxed);
            tracing::error!("TOPIC({}): cannot be synced: {failure}", worker.topic);
        }
        if let Some(pending) = self.lock().pending.get_mut(&worker.topic) {
            // A publisher with several publishes on the way may wait for the next sync already. It is awaited too: what it
            // publishes now, that it is answered, can go with what waits.
            pending.awaited.clone_from(&round.waiting);
        }
        worker.last = Some(Last {
            ended: ended.ended,
            took: ended.ended.since(ended.began),
            is_counted: round.waiting.is_empty() && round.extent == Extent::Published,
        });
    }
}
