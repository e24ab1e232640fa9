//! Makes logs safe against a machine crash: every `--sync-timeout`, every `--sync-every` messages of a topic, and, with
//! `--sync-publish`, before a publish is answered.
//!
//! What `--sync-every` asks for is the messages; what channels have finished of them waits for the timer, since a message
//! that comes back is no message lost. While messages come faster than a disk syncs, it rests between two such syncs.
//!
//! Publishers that wait at the same time share one sync. Those that a sync has answered come back while the next one
//! would already run, and would then wait for two: so a topic's next sync waits for them, though no longer than the last
//! one took. Whoever syncs a topic stays with it as long as publishers come back.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nsq_core::{Broker, Topic};
use nsq_daemon::metrics::Durations;
use nsq_protocol::TopicName;
use nsq_queue::LogError;
use tokio::sync::{Notify, watch};

/// Topics that are synced at the same time.
const CONCURRENT_SYNCS: usize = 4;
/// The longest that a sync waits for publishers to come back, however long the last one took.
const MAX_GATHERING: Duration = Duration::from_millis(5);
/// How long a topic rests after a sync for `--sync-every`: were its syncs back to back, each would cost nearly as much
/// and save less.
const REST: Duration = Duration::from_millis(10);

/// How much of a topic is to be synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Extent {
    /// The messages published to it.
    Published,
    /// What its channels noted of them too.
    All,
}

/// How a sync went: nothing while it has not been made.
type Outcome = Option<Result<(), String>>;

/// What is wanted of one topic, from the first who asks until nobody does.
struct Pending {
    topic: Arc<Topic>,
    done: watch::Sender<Outcome>,
    /// How many publishers wait for it.
    waiting: usize,
    /// With so many it begins at once.
    expected: usize,
    /// What somebody asked for who does not wait for it.
    asked: Option<Extent>,
}

/// A topic's last sync.
#[derive(Clone, Copy)]
struct Last {
    ended: Instant,
    took: Duration,
    /// Whether it was made for `--sync-every`, and for no publisher that waits.
    is_counted: bool,
}

#[derive(Default)]
struct Wanted {
    pending: HashMap<TopicName, Pending>,
    /// Topics that nobody syncs yet.
    queue: VecDeque<TopicName>,
    /// How many topics are being synced.
    running: usize,
}

struct Shared {
    wanted: Mutex<Wanted>,
    gathered: Condvar,
    durations: Arc<Durations>,
    failures: AtomicU64,
    /// What syncs a topic.
    sync: fn(&Topic, Extent) -> Result<(), LogError>,
}

/// Asks for syncs, and waits for them.
pub(crate) struct Syncer {
    shared: Arc<Shared>,
    asked: Notify,
}

impl Default for Syncer {
    fn default() -> Syncer {
        Syncer::with(|topic, extent| match extent {
            Extent::Published => topic.sync_published(),
            Extent::All => topic.sync(),
        })
    }
}

impl Syncer {
    fn with(sync: fn(&Topic, Extent) -> Result<(), LogError>) -> Syncer {
        let shared = Shared {
            wanted: Mutex::default(),
            gathered: Condvar::new(),
            durations: Arc::default(),
            failures: AtomicU64::new(0),
            sync,
        };
        Syncer {
            shared: Arc::new(shared),
            asked: Notify::new(),
        }
    }

    /// Asks for a sync of `topic` and its channels, soon.
    pub(crate) fn ask(&self, topic: &Arc<Topic>) {
        self.want(topic, |pending| pending.asked = Some(Extent::All));
    }

    /// Asks for a sync of what was published to `topic`, soon.
    pub(crate) fn ask_for_published(&self, topic: &Arc<Topic>) {
        self.want(topic, |pending| {
            pending.asked = pending.asked.max(Some(Extent::Published));
        });
    }

    /// Syncs what `topic` was given by now, together with everyone who asks before it begins.
    ///
    /// # Errors
    /// What the disk said.
    pub(crate) async fn sync(&self, topic: &Arc<Topic>) -> Result<(), String> {
        let mut done = self.want(topic, |pending| pending.waiting += 1);
        let outcome = done.wait_for(Option::is_some).await;
        match outcome.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            Ok(None) | Err(_) => Err("exiting".to_owned()),
        }
    }

    /// How many syncs failed.
    pub(crate) fn failure_count(&self) -> u64 {
        self.shared.failures.load(Ordering::Relaxed)
    }

    /// How long each sync of a topic took.
    pub(crate) fn durations(&self) -> &Durations {
        &self.shared.durations
    }

    fn want(
        &self,
        topic: &Arc<Topic>,
        count: impl FnOnce(&mut Pending),
    ) -> watch::Receiver<Outcome> {
        let mut wanted = self.shared.lock();
        let Wanted { pending, queue, .. } = &mut *wanted;
        let mut is_new = false;
        let pending = pending.entry(topic.name().clone()).or_insert_with(|| {
            is_new = true;
            queue.push_back(topic.name().clone());
            Pending::new(Arc::clone(topic))
        });
        // The topic of that name may have been deleted, and made anew.
        pending.topic = Arc::clone(topic);
        count(pending);
        let done = pending.done.subscribe();
        let is_gathered = pending.is_gathered();
        drop(wanted);
        if is_new {
            self.asked.notify_one();
        } else if is_gathered {
            self.shared.gathered.notify_all();
        }
        done
    }

    /// Runs for ever.
    pub(crate) async fn run(&self, broker: &Arc<Broker>) {
        loop {
            self.asked.notified().await;
            while let Some(name) = self.shared.begin() {
                let (shared, broker) = (Arc::clone(&self.shared), Arc::clone(broker));
                tokio::task::spawn_blocking(move || shared.work(name, &broker));
            }
        }
    }
}

impl Pending {
    fn new(topic: Arc<Topic>) -> Pending {
        Pending {
            topic,
            done: watch::Sender::new(None),
            waiting: 0,
            expected: 1,
            asked: None,
        }
    }

    /// Whether all are there that the sync is for.
    fn is_gathered(&self) -> bool {
        self.asked == Some(Extent::All) || (self.waiting > 0 && self.waiting >= self.expected)
    }

    fn is_wanted(&self) -> bool {
        self.waiting > 0 || self.asked.is_some()
    }

    /// How long the next sync, or the end of the work on the topic, has to wait after the last sync.
    fn pause(&self, last: Last) -> Duration {
        if self.is_gathered() {
            Duration::ZERO
        } else if self.expected > 0 || self.waiting > 0 {
            last.took.min(MAX_GATHERING)
        } else if last.is_counted {
            REST
        } else {
            Duration::ZERO
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A topic that waits, if one more may be synced now.
    fn begin(&self) -> Option<TopicName> {
        let mut wanted = self.lock();
        if wanted.running == CONCURRENT_SYNCS {
            return None;
        }
        let name = wanted.queue.pop_front()?;
        wanted.running += 1;
        Some(name)
    }

    /// Syncs the topic for as long as it is wanted, and then others that wait.
    fn work(&self, mut name: TopicName, broker: &Broker) {
        let mut last = None;
        loop {
            let Some(round) = self.gather(&name, last) else {
                let mut wanted = self.lock();
                let Some(next) = wanted.queue.pop_front() else {
                    wanted.running -= 1;
                    return;
                };
                drop(wanted);
                name = next;
                last = None;
                continue;
            };
            let extent = round.asked.unwrap_or(Extent::Published);
            let began = Instant::now();
            // A panic is our own mistake, and must not leave those waiting who come to this topic next.
            let outcome = catch_unwind(AssertUnwindSafe(|| (self.sync)(&round.topic, extent)));
            let took = began.elapsed();
            self.durations.record(took);
            let outcome = match outcome {
                Ok(outcome) => {
                    broker.note_sync(outcome.as_ref().err());
                    outcome.map_err(|error| error.to_string())
                }
                Err(_) => Err("the sync broke off".to_owned()),
            };
            if let Err(error) = &outcome {
                self.failures.fetch_add(1, Ordering::Relaxed);
                tracing::error!("TOPIC({name}): cannot be synced: {error}");
            }
            if let Some(pending) = self.lock().pending.get_mut(&name) {
                // Those who wait already, and those who are answered now and will want the next.
                pending.expected = pending.waiting + round.waiting;
            }
            let is_counted = round.waiting == 0 && extent == Extent::Published;
            round.done.send_replace(Some(outcome));
            last = Some(Last {
                ended: Instant::now(),
                took,
                is_counted,
            });
        }
    }

    /// Waits until a sync of the topic is worth its while, and takes what is wanted of it. `None` when nobody wants it
    /// any more; and where others wait for their turn, a topic that has had one goes to the end.
    fn gather(&self, name: &TopicName, last: Option<Last>) -> Option<Pending> {
        let mut wanted = self.lock();
        loop {
            let must_yield = last.is_some() && !wanted.queue.is_empty();
            let pending = wanted.pending.get_mut(name)?;
            let left = last.map_or(Duration::ZERO, |last| {
                let until = last.ended + pending.pause(last);
                until.saturating_duration_since(Instant::now())
            });
            if left.is_zero() || must_yield {
                if !pending.is_wanted() {
                    wanted.pending.remove(name);
                    return None;
                }
                if must_yield {
                    wanted.queue.push_back(name.clone());
                    return None;
                }
                let next = Pending::new(Arc::clone(&pending.topic));
                return Some(std::mem::replace(pending, next));
            }
            let waited = self.gathered.wait_timeout(wanted, left);
            wanted = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests;
