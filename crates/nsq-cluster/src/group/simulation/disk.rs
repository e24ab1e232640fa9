//! Lanes of a simulated machine: each job takes its time, and a dead process does none.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft::type_config::TypeConfigExt;

use super::Sim;
use super::world::World;
use crate::lane::{Job, Lane};
use crate::testing::lock;

/// A process's life: what it had under way when it was killed never happens.
#[derive(Clone, Debug)]
pub(super) struct Life(Arc<AtomicBool>);

impl Life {
    pub(super) fn begin() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    pub(super) fn end(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    pub(super) fn is_over(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }
}

#[derive(Clone)]
pub(super) struct SimLane {
    world: World,
    life: Life,
    queue: Arc<Mutex<Queue>>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    is_running: bool,
}

impl fmt::Debug for SimLane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimLane")
    }
}

impl SimLane {
    pub(super) fn new(world: World, life: Life) -> Self {
        Self {
            world,
            life,
            queue: Arc::default(),
        }
    }

    async fn run(self) {
        loop {
            let delay = self.world.disk_delay();
            Sim::sleep(delay).await;
            let job = {
                let mut queue = lock(&self.queue);
                let job = queue.jobs.pop_front();
                queue.is_running = job.is_some();
                job
            };
            match job {
                None => return,
                Some(job) if !self.life.is_over() => job(),
                Some(job) => drop(job),
            }
        }
    }
}

impl Lane for SimLane {
    fn submit(&self, job: Job) {
        if self.life.is_over() {
            return;
        }
        let mut queue = lock(&self.queue);
        queue.jobs.push_back(job);
        if !queue.is_running {
            queue.is_running = true;
            drop(queue);
            drop(Sim::spawn(self.clone().run()));
        }
    }

    fn submit_later(&self, delay: Duration, job: Job) {
        let lane = self.clone();
        drop(Sim::spawn(async move {
            Sim::sleep(delay).await;
            lane.submit(job);
        }));
    }
}
