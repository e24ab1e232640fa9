//! Work that may have to wait for a disk, away from the tasks: several jobs at a time, in no order.
//!
//! What must happen in order has a [`Lane`](crate::lane::Lane). The simulation runs these jobs on virtual time.

use std::fmt;

use tokio::sync::oneshot;

use crate::lane::Job;

/// Runs blocking work.
pub trait Blocking: fmt::Debug + Send + Sync + 'static {
    /// Runs `job` soon.
    fn run(&self, job: Job);
}

/// The threads that tokio keeps for blocking work.
#[derive(Debug, Clone, Copy)]
pub struct BlockingThreads;

impl Blocking for BlockingThreads {
    /// Must be called in a tokio runtime.
    fn run(&self, job: Job) {
        drop(tokio::task::spawn_blocking(job));
    }
}

/// Runs `work` and returns what it returns. `None` when it panicked, or the process is going down. Work that has begun continues
/// when the future is dropped.
pub async fn run_blocking<T: Send + 'static>(
    blocking: &dyn Blocking,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = oneshot::channel();
    blocking.run(Box::new(move || {
        // Dropped while the work is done: then its outcome concerns no one.
        let _ = sender.send(work());
    }));
    receiver.await.ok()
}
