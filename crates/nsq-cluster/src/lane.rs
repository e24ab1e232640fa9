//! Where blocking work runs: one job after the other, away from the threads that keep elections alive.
//!
//! Each Raft group has a lane for its write-ahead log, one for reading it, and one for its state machine. A disk that stalls
//! holds up its lane and nothing else. The simulation has lanes of its own, which draw delays and run on virtual time.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// A piece of blocking work.
pub type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs in the order they were submitted, never two at a time.
pub trait Lane: fmt::Debug + Send + Sync + 'static {
    /// Runs `job` after all that were submitted before.
    fn submit(&self, job: Job);

    /// Runs `job` once `delay` has passed, between two others.
    fn submit_later(&self, delay: Duration, job: Job);
}

/// A lane that is a thread. The thread ends once the lane is dropped and the jobs it has are done; jobs that wait for their
/// delay are dropped then.
#[derive(Debug)]
pub struct ThreadLane {
    sender: mpsc::Sender<Submitted>,
}

struct Submitted {
    due: Option<Instant>,
    job: Job,
}

impl ThreadLane {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(name: &str) -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run_jobs(&receiver))?;
        Ok(Self { sender })
    }
}

impl Lane for ThreadLane {
    fn submit(&self, job: Job) {
        self.send(Submitted { due: None, job });
    }

    fn submit_later(&self, delay: Duration, job: Job) {
        let due = Some(Instant::now() + delay);
        self.send(Submitted { due, job });
    }
}

impl ThreadLane {
    fn send(&self, submitted: Submitted) {
        // The thread outlives every sender, so it is there to receive.
        let _ = self.sender.send(submitted);
    }
}

fn run_jobs(receiver: &mpsc::Receiver<Submitted>) {
    // By due time, then by arrival.
    let mut delayed: BTreeMap<(Instant, u64), Job> = BTreeMap::new();
    let mut arrivals = 0;
    loop {
        let now = Instant::now();
        while let Some(first) = delayed.first_entry()
            && first.key().0 <= now
        {
            run(first.remove());
        }
        let received = match delayed.first_key_value() {
            None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some((&(due, _), _)) => receiver.recv_timeout(due.saturating_duration_since(now)),
        };
        match received {
            Ok(Submitted { due: None, job }) => run(job),
            Ok(Submitted {
                due: Some(due),
                job,
            }) => {
                arrivals += 1;
                delayed.insert((due, arrivals), job);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// A job that panics leaves promises that nothing will ever keep: Raft would wait for them in a process that looks alive.
/// So the process ends.
fn run(job: Job) {
    if catch_unwind(AssertUnwindSafe(job)).is_err() {
        tracing::error!(
            "a thread of the cluster panicked; nsqd exits, since it can no longer keep messages safe"
        );
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn jobs_run_in_order_and_delayed_ones_when_they_are_due() {
        let lane = ThreadLane::start("test").unwrap();
        let (sender, receiver) = channel();
        let note = |number: u32| {
            let sender = sender.clone();
            Box::new(move || sender.send(number).unwrap()) as Job
        };
        lane.submit_later(Duration::from_millis(30), note(4));
        lane.submit_later(Duration::from_millis(5), note(3));
        lane.submit(note(1));
        lane.submit(note(2));
        let order: Vec<_> = (0..4).map(|_| receiver.recv().unwrap()).collect();
        assert_eq!(order, [1, 2, 3, 4]);
    }

    #[test]
    fn the_thread_finishes_what_it_has_and_ends_with_its_lane() {
        let lane = ThreadLane::start("test").unwrap();
        let (sender, receiver) = channel();
        for number in 0..100 {
            let sender = sender.clone();
            lane.submit(Box::new(move || sender.send(number).unwrap()));
        }
        drop((lane, sender));
        assert_eq!(receiver.iter().count(), 100);
    }
}
