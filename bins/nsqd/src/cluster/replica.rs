//! A replica of a shard on this node: its data, its Raft group, and whether it takes publishes at the moment.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use nsq_cluster::directory::ShardTopics;
use nsq_cluster::group::Group;
use nsq_cluster::lane::Lane;
use nsq_core::command::Command;
use nsq_core::{Broker, Now, Pending};
use nsq_protocol::TopicName;
use nsq_shard::Shard;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::local_shard::{LocalShard, Refusal};
use crate::hooks::BrokerHooks;

/// A replica of a shard.
pub(crate) struct ShardReplica {
    pub(super) number: u64,
    /// Whether this is the shard that this node owns: its data are in the data path itself.
    pub(super) is_own: bool,
    pub(super) shard: Arc<Shard>,
    pub(super) group: Group,
    /// Of the brokers that the shard opens.
    pub(super) hooks: Arc<BrokerHooks>,
    /// Where its state machine runs.
    pub(super) applier: Arc<dyn Lane>,
    /// Turns true when this node gives the replica up.
    pub(super) dismissed: watch::Sender<bool>,
    /// Syncs what was applied. Ended when this node gives the replica up.
    upkeep: OnceLock<JoinHandle<()>>,
    /// Turns true when nothing serves the replica any more.
    idle: watch::Sender<bool>,
    /// Leadership is being handed over: what is accepted now could arrive too late for the next leader.
    is_handing_over: AtomicBool,
    /// Why the shard could not be served, and when that was.
    unable: Mutex<Option<(String, Instant)>>,
    /// Enough replicas vote for a publish to be as safe as `--replicas` promises.
    has_enough_voters: AtomicBool,
}

impl ShardReplica {
    pub(super) fn new(
        number: u64,
        is_own: bool,
        shard: Arc<Shard>,
        group: Group,
        hooks: Arc<BrokerHooks>,
        applier: Arc<dyn Lane>,
    ) -> ShardReplica {
        ShardReplica {
            number,
            is_own,
            shard,
            group,
            hooks,
            applier,
            dismissed: watch::Sender::new(false),
            upkeep: OnceLock::new(),
            idle: watch::Sender::new(false),
            is_handing_over: AtomicBool::new(false),
            unable: Mutex::default(),
            has_enough_voters: AtomicBool::new(false),
        }
    }

    pub(super) fn keep_up(&self, upkeep: JoinHandle<()>) {
        if let Err(upkeep) = self.upkeep.set(upkeep) {
            upkeep.abort();
        }
    }

    pub(super) fn end_upkeep(&self) {
        if let Some(upkeep) = self.upkeep.get() {
            upkeep.abort();
        }
    }

    /// What this returns is dropped when the task that serves the replica ends.
    pub(super) fn note_end(&self) -> impl Drop + use<> {
        Ended(self.idle.clone())
    }

    /// Completes once nothing serves the replica any more.
    pub(super) async fn wait_until_idle(&self) {
        let mut idle = self.idle.subscribe();
        // The sender lives as long as this.
        let _ = idle.wait_for(|is_idle| *is_idle).await;
    }

    pub(super) fn set_handing_over(&self, is_handing_over: bool) {
        self.is_handing_over
            .store(is_handing_over, Ordering::Release);
    }

    /// This node leads the shard and cannot serve it.
    pub(super) fn note_unable(&self, why: String) {
        let mut unable = self.unable.lock().unwrap_or_else(PoisonError::into_inner);
        *unable = Some((why, Instant::now()));
    }

    pub(super) fn note_able(&self) {
        *self.unable.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// From now on publishes are taken.
    pub(super) fn note_enough_voters(&self) {
        self.has_enough_voters.store(true, Ordering::Release);
    }

    pub(super) fn has_enough_voters(&self) -> bool {
        self.has_enough_voters.load(Ordering::Acquire)
    }

    /// Runs blocking work between two calls of the state machine. `None` when the lane has ended.
    pub(super) async fn on_lane<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shard) -> T + Send + 'static,
    ) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        let shard = Arc::clone(&self.shard);
        self.applier.submit(Box::new(move || {
            let _ = sender.send(work(&shard));
        }));
        receiver.await.ok()
    }

    fn check(&self) -> Result<(), Refusal> {
        if self.is_handing_over.load(Ordering::Acquire) {
            return Err(Refusal::NotLeading);
        }
        if !self.has_enough_voters() {
            return Err(Refusal::Full(FORMING.to_owned()));
        }
        Ok(())
    }
}

impl LocalShard for ShardReplica {
    fn publish(
        &self,
        topic: &TopicName,
        bodies: &mut dyn ExactSizeIterator<Item = &[u8]>,
        due: Option<i64>,
        now: Now,
        pending: &Arc<Pending>,
    ) -> Result<(), Refusal> {
        self.check()?;
        Ok(self.shard.publish(topic, bodies, due, now, pending)?)
    }

    fn submit(&self, command: Command<'_>, pending: &Arc<Pending>) -> Result<(), Refusal> {
        Ok(self.shard.submit(&command, pending)?)
    }

    fn submit_followed(&self, index: u64, pending: &Arc<Pending>) -> Result<(), Refusal> {
        Ok(self.shard.submit_followed(index, pending)?)
    }

    fn flush_progress(&self, pending: &Arc<Pending>) -> Result<(), Refusal> {
        Ok(self.shard.flush_progress(pending)?)
    }

    fn registry_index(&self) -> u64 {
        self.shard.registry_index()
    }

    fn topics(&self, names: Option<&BTreeSet<TopicName>>) -> ShardTopics {
        let topics = self.shard.topics(names).into_iter();
        topics
            .map(|(topic, channels)| (topic, channels.into_iter().collect()))
            .collect()
    }

    fn broker(&self) -> Option<Arc<Broker>> {
        self.shard.broker()
    }

    fn unable(&self) -> Option<String> {
        let unable = self.unable.lock().unwrap_or_else(PoisonError::into_inner);
        let (why, since) = unable.as_ref()?;
        (since.elapsed() < UNABLE).then(|| why.clone())
    }

    fn damage(&self) -> Option<String> {
        self.shard.damage().or_else(|| self.group.divergence())
    }
}

impl From<nsq_shard::Refusal> for Refusal {
    fn from(refusal: nsq_shard::Refusal) -> Refusal {
        match refusal {
            nsq_shard::Refusal::NotLeading => Refusal::NotLeading,
            nsq_shard::Refusal::NoTopic => Refusal::NoTopic,
            nsq_shard::Refusal::Full(why) => Refusal::Full(why),
            nsq_shard::Refusal::Exiting => Refusal::Exiting,
        }
    }
}

impl fmt::Debug for ShardReplica {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ShardReplica")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

struct Ended(watch::Sender<bool>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

/// After so long the leadership may be given to this node again: what its disk refused may work now.
const UNABLE: Duration = Duration::from_secs(10);
const FORMING: &str = "this node's shard does not have enough replicas yet";
