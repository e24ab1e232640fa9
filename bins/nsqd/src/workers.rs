//! The threads that serve connections: one runtime each, so that a connection stays on one core and its tasks are
//! never passed around.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

type BoxFuture = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

struct Worker {
    handle: Handle,
    connection_count: Arc<AtomicUsize>,
    /// Dropped, it ends the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// How many workers there are: one for each processor that this process may use.
pub(crate) fn worker_count() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// The workers; dropped, they end, and with them whatever still runs there.
pub(crate) struct Workers {
    workers: Vec<Worker>,
}

impl Workers {
    /// Starts `count` workers.
    ///
    /// # Errors
    /// When a thread or a runtime cannot be made.
    pub(crate) fn start(count: usize) -> io::Result<Workers> {
        let workers = (0..count.max(1))
            .map(start_worker)
            .collect::<io::Result<_>>()?;
        Ok(Workers { workers })
    }

    /// The answer once every worker has run a task: a sign that none is stuck.
    pub(crate) fn answering(&self) -> impl Fn() -> BoxFuture + Send + 'static {
        let handles: Vec<_> = self
            .workers
            .iter()
            .map(|worker| worker.handle.clone())
            .collect();
        move || {
            let answers: Vec<_> = handles
                .iter()
                .map(|handle| handle.spawn(async {}))
                .collect();
            Box::pin(async {
                for answer in answers {
                    // A worker that has ended is no longer needed.
                    let _ = answer.await;
                }
            })
        }
    }

    /// Runs `task` on the worker with the fewest connections.
    pub(crate) fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let load = |worker: &&Worker| worker.connection_count.load(Ordering::Relaxed);
        let Some(worker) = self.workers.iter().min_by_key(load) else {
            return;
        };
        let count = Arc::clone(&worker.connection_count);
        count.fetch_add(1, Ordering::Relaxed);
        worker.handle.spawn(async move {
            let _leaving = Leaving(count);
            task.await;
        });
    }
}

struct Leaving(Arc<AtomicUsize>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn start_worker(index: usize) -> io::Result<Worker> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let (stop, stopped) = oneshot::channel();
    let thread = thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || {
            // Either way it is time to go.
            let _ = runtime.block_on(stopped);
        })?;
    let connection_count = Arc::new(AtomicUsize::new(0));
    Ok(Worker {
        handle,
        connection_count,
        stop: Some(stop),
        thread: Some(thread),
    })
}

impl Drop for Workers {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            worker.stop.take();
        }
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take() {
                // A worker that panicked has said so.
                let _ = thread.join();
            }
        }
    }
}
