//! What each broker that this nsqd serves needs from it: hooks to leave notes with, and tasks that do the work.
//!
//! A single node has one broker from its start to its end. A node of a cluster has one for each shard it leads, and one
//! for ephemeral topics; they come and go.
//!
//! ```text
//! Upkeep::hooks ─▶ Broker::open, or a shard that opens the broker when it leads ─▶ Upkeep::start ─▶ BrokerTasks
//! ```

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use nsq_cluster::blocking::{Blocking, BlockingThreads, run_blocking};
use nsq_core::Broker;
use nsq_server::Server;
use nsq_server::syncs::Extent;
use tokio::task::JoinHandle;

use crate::admission::Admission;
use crate::clock;
use crate::counted::Counted;
use crate::hooks::BrokerHooks;
use crate::registration::Registration;
use crate::sync_runner::SyncRunner;
use crate::timers::Timers;

/// After one to two times so many of `--sync-timeout`, a free segment that was not used again is removed.
const RELEASE_SYNCS: u32 = 30;
/// However long `--sync-timeout` is.
const MAX_RELEASE_INTERVAL: Duration = Duration::from_mins(1);

/// Makes the hooks and the tasks of brokers.
pub(crate) struct Upkeep {
    admission: Arc<Admission>,
    registration: Arc<Registration>,
    sync_runner: Arc<SyncRunner>,
    timers: Arc<Timers>,
    counted: Arc<Counted>,
    sync_timeout: Duration,
    blocking: Arc<dyn Blocking>,
}

/// The tasks of one broker; they end when this is dropped, perhaps in the middle of work on its files.
pub(crate) struct BrokerTasks {
    tasks: Vec<JoinHandle<()>>,
    kept: Kept,
    counted: Arc<Counted>,
}

/// The work of tasks on the files of a broker, which must be over when another opens them.
#[derive(Default)]
struct Work {
    /// Held for reading while work is done.
    has_ended: RwLock<bool>,
}

impl Upkeep {
    pub(crate) fn new(
        admission: Arc<Admission>,
        registration: Arc<Registration>,
        sync_runner: Arc<SyncRunner>,
        sync_timeout: Duration,
    ) -> Upkeep {
        Upkeep {
            admission,
            registration,
            sync_runner,
            timers: Arc::default(),
            counted: Arc::default(),
            sync_timeout,
            blocking: Arc::new(BlockingThreads),
        }
    }

    /// Has `blocking` do the work on files.
    pub(crate) fn on(self, blocking: Arc<dyn Blocking>) -> Upkeep {
        Upkeep { blocking, ..self }
    }

    /// Looks at channels when they are due, those of all brokers.
    pub(crate) fn timers(&self) -> &Arc<Timers> {
        &self.timers
    }

    /// What all brokers have counted.
    pub(crate) fn counted(&self) -> &Counted {
        &self.counted
    }

    /// The hooks of a new broker.
    pub(crate) fn hooks(&self) -> Arc<BrokerHooks> {
        Arc::new(BrokerHooks::new(
            Arc::clone(&self.admission),
            Arc::clone(&self.timers),
            Arc::clone(&self.registration),
        ))
    }

    /// Begins the tasks of a broker that was opened with `hooks`. They write its `nsqd.dat`, sync and tidy up what was used,
    /// and give free segments back. Must be called in a tokio runtime.
    ///
    /// [`BrokerTasks::end`] must be called before the broker of a shard is closed.
    pub(crate) fn start(
        &self,
        server: &Arc<Server>,
        broker: &Arc<Broker>,
        hooks: &Arc<BrokerHooks>,
    ) -> BrokerTasks {
        let syncing = if broker.settings().is_replicated {
            Syncing::Own(Arc::clone(&self.sync_runner))
        } else {
            Syncing::Shared(Arc::clone(server))
        };
        self.begin(self.kept(broker), Some(hooks), syncing)
    }

    /// The same for the broker in which a node of a cluster has its ephemeral topics: no file names them.
    pub(crate) fn start_ephemeral(
        &self,
        server: &Arc<Server>,
        broker: &Arc<Broker>,
    ) -> BrokerTasks {
        let syncing = Syncing::Shared(Arc::clone(server));
        self.begin(self.kept(broker), None, syncing)
    }

    /// Does work that is about all brokers.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        run_blocking(&*self.blocking, work).await
    }

    fn kept(&self, broker: &Arc<Broker>) -> Kept {
        Kept::new(broker, Arc::clone(&self.blocking))
    }

    fn begin(&self, kept: Kept, hooks: Option<&Arc<BrokerHooks>>, syncing: Syncing) -> BrokerTasks {
        let saving = hooks.map(|hooks| save_registry(Arc::clone(hooks), kept.clone()));
        let mut tasks: Vec<_> = saving.map(tokio::spawn).into_iter().collect();
        let releasing = release_free_segments(kept.clone(), self.sync_timeout);
        tasks.push(tokio::spawn(releasing));
        tasks.push(tokio::spawn(maintain(
            kept.clone(),
            syncing,
            self.sync_timeout,
        )));
        self.counted.add(&kept.broker);
        BrokerTasks {
            tasks,
            kept,
            counted: Arc::clone(&self.counted),
        }
    }
}

impl BrokerTasks {
    /// Ends the tasks, and waits for work on the broker's files that has begun. Blocks.
    pub(crate) fn end(self) {
        let has_ended = self.kept.work.has_ended.write();
        *has_ended.unwrap_or_else(PoisonError::into_inner) = true;
    }
}

impl Drop for BrokerTasks {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        if self.kept.broker.settings().is_replicated {
            self.counted.remove(&self.kept.broker);
        }
    }
}

/// A broker that tasks look after.
#[derive(Clone)]
struct Kept {
    broker: Arc<Broker>,
    work: Arc<Work>,
    blocking: Arc<dyn Blocking>,
}

impl Kept {
    fn new(broker: &Arc<Broker>, blocking: Arc<dyn Blocking>) -> Kept {
        Kept {
            broker: Arc::clone(broker),
            work: Arc::default(),
            blocking,
        }
    }

    /// Does blocking work on a thread of its own. `None` when the tasks have ended or nsqd is going down.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Broker) -> T + Send + 'static,
    ) -> Option<T> {
        let kept = self.clone();
        let done = run_blocking(&*self.blocking, move || {
            let has_ended = kept.work.has_ended.read();
            let has_ended = has_ended.unwrap_or_else(PoisonError::into_inner);
            (!*has_ended).then(|| work(&kept.broker))
        });
        done.await.flatten()
    }
}

/// Writes `nsqd.dat` after each change, and changes that come meanwhile together.
async fn save_registry(hooks: Arc<BrokerHooks>, kept: Kept) {
    loop {
        hooks.registry_changed.notified().await;
        let started = Instant::now();
        if let Some(Err(error)) = kept.work(Broker::save_metadata).await {
            tracing::error!("failed to persist metadata - {error}");
        }
        // With many topics a write takes long: it must not take all of the disk's time.
        tokio::time::sleep(started.elapsed()).await;
    }
}

/// Gives disk back that freed segments take and no log needs.
async fn release_free_segments(kept: Kept, sync_timeout: Duration) {
    let interval = (sync_timeout.saturating_mul(RELEASE_SYNCS)).min(MAX_RELEASE_INTERVAL);
    let mut tick = tokio::time::interval(interval);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tick.tick().await;
    loop {
        tick.tick().await;
        if let Some(bytes @ 1..) = kept.work(Broker::release_free_segments).await {
            tracing::debug!("DISK: removed {bytes} bytes of free segments");
        }
    }
}

/// How used topics are synced.
enum Syncing {
    /// Together with what publishers of the topic wait for.
    Shared(Arc<Server>),
    /// By themselves: in a shard no publisher waits for a topic's sync, and the server's requests for syncs know topics by
    /// their names, of which several shards have one each.
    Own(Arc<SyncRunner>),
}

/// Syncs and tidies up every `--sync-timeout` what was used since.
async fn maintain(kept: Kept, syncing: Syncing, sync_timeout: Duration) {
    let mut tick = tokio::time::interval(sync_timeout);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tick.tick().await;
    loop {
        tick.tick().await;
        let used = kept.work(|broker| {
            let now = clock::now();
            let mut topics = broker.used_topics();
            topics.retain(|topic| topic.maintain(now));
            topics
        });
        for topic in used.await.unwrap_or_default() {
            match &syncing {
                Syncing::Shared(server) => server.syncs().ask(&topic, Extent::All),
                Syncing::Own(runner) => {
                    let runner = Arc::clone(runner);
                    kept.work(move |broker| runner.sync(&topic, broker)).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
