//! What a simulated node runs on: lanes and blocking work on virtual time, the simulated network, a boot id of its machine.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nsq_cluster::ClusterId;
use nsq_cluster::blocking::Blocking;
use nsq_cluster::lane::{Job, Lane};
use nsq_cluster::transport::{Handler, TransportError};
use nsq_cluster::wal::{Durability, WalOptions};
use nsqd::embedded::{ClusterSettings, NodeRuntime, Platform, Port};
use tokio::runtime::Handle;

use super::network::{SimPort, World};
use super::process;
use crate::clock;

/// One process's.
pub(super) struct SimPlatform {
    pub(super) world: World,
    pub(super) host: usize,
    pub(super) boot_id: String,
}

impl Platform for SimPlatform {
    fn blocking(&self) -> Arc<dyn Blocking> {
        Arc::new(Workers(self.world.clone()))
    }

    fn lane(&self, _: &str) -> io::Result<Arc<dyn Lane>> {
        Ok(Arc::new(SimLane {
            world: self.world.clone(),
            queue: Arc::default(),
        }))
    }

    fn runtime(&self, _: &str) -> io::Result<NodeRuntime> {
        Ok(NodeRuntime::Shared(Handle::current()))
    }

    fn listen(
        &self,
        _: &ClusterSettings,
        handler: Arc<dyn Handler>,
        _: Vec<ClusterId>,
    ) -> Result<Arc<dyn Port>, TransportError> {
        Ok(Arc::new(SimPort::open(&self.world, self.host, handler)))
    }

    fn wal_options(&self, durability: Durability) -> WalOptions {
        WalOptions {
            segment_bytes: 128 << 10,
            cache_bytes: 16 << 10,
            boot_id: self.boot_id.clone(),
            ..WalOptions::new(durability)
        }
    }

    fn fill_random(&self, bytes: &mut [u8]) -> io::Result<()> {
        clock::random_bytes(bytes);
        Ok(())
    }

    fn end_process(&self) -> ! {
        process::end();
        // Only this task: the machine sees that the process has ended when its turn is over.
        std::panic::resume_unwind(Box::new("the process has ended"))
    }
}

impl fmt::Debug for SimPlatform {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SimPlatform")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

/// Blocking work: each piece takes its time.
struct Workers(World);

impl Blocking for Workers {
    fn run(&self, job: Job) {
        let world = self.0.clone();
        drop(tokio::spawn(async move {
            pause(world.disk_delay()).await;
            job();
        }));
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Workers")
    }
}

/// A lane: each job takes its time, one after the other.
#[derive(Clone)]
struct SimLane {
    world: World,
    queue: Arc<Mutex<Queue>>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    is_running: bool,
}

impl SimLane {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self) {
        loop {
            pause(self.world.disk_delay()).await;
            let job = {
                let mut queue = self.queue();
                let job = queue.jobs.pop_front();
                queue.is_running = job.is_some();
                job
            };
            match job {
                Some(job) => job(),
                None => return,
            }
        }
    }
}

impl Lane for SimLane {
    fn submit(&self, job: Job) {
        let mut queue = self.queue();
        queue.jobs.push_back(job);
        if !queue.is_running {
            queue.is_running = true;
            drop(queue);
            drop(tokio::spawn(self.clone().run()));
        }
    }

    fn submit_later(&self, delay: Duration, job: Job) {
        let lane = self.clone();
        drop(tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            lane.submit(job);
        }));
    }
}

impl fmt::Debug for SimLane {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SimLane")
    }
}

async fn pause(delay: Duration) {
    if delay.is_zero() {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(delay).await;
    }
}
