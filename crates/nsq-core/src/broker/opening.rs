//! Opening the topics of a data path.

use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, available_parallelism};

use super::Context;
use crate::error::StoreError;
use crate::time::Now;
use crate::topic::{Opening, Topic};

/// Opens topics; with several threads where there are many, since each topic takes dozens of file operations.
pub(super) fn open_topics(
    openings: Vec<Opening>,
    context: &Arc<Context>,
    now: Now,
) -> Result<Vec<Arc<Topic>>, StoreError> {
    // The simulation has fewer: its disk and its clock know one thread.
    let threads = if openings.len() < MANY_TOPICS {
        1
    } else {
        available_parallelism().map_or(1, usize::from)
    };
    in_parallel(openings, threads.min(MOST_OPENERS), |opening| {
        let topic = Topic::open(opening, Arc::clone(context), now)?;
        tracing::info!("TOPIC({}): created", topic.name());
        Ok(topic)
    })
}

/// Fewer topics are opened by one thread.
const MANY_TOPICS: usize = 256;
/// More were not tried.
const MOST_OPENERS: usize = 8;

/// Does the work for each of the items, on this thread and on as many others as make up `threads`. Returns the results in
/// any order, or an error; after an error nothing more is begun.
pub(super) fn in_parallel<T: Send, R: Send, E: Send>(
    items: Vec<T>,
    threads: usize,
    work: impl Fn(T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let items = Mutex::new(items.into_iter());
    let items = || items.lock().unwrap_or_else(PoisonError::into_inner);
    let run = || {
        let mut results = Vec::new();
        loop {
            let Some(item) = items().next() else {
                return Ok(results);
            };
            match work(item) {
                Ok(result) => results.push(result),
                Err(error) => {
                    items().by_ref().for_each(drop);
                    return Err(error);
                }
            }
        }
    };
    thread::scope(|scope| {
        // Where the system gives no thread, there are fewer.
        let others =
            (1..threads).map_while(|_| thread::Builder::new().spawn_scoped(scope, run).ok());
        let others: Vec<_> = others.collect();
        let mut results = run();
        for other in others {
            let more = other.join().unwrap_or_else(|panic| resume_unwind(panic));
            results = results.and_then(|mut results| {
                results.append(&mut more?);
                Ok(results)
            });
        }
        results
    })
}
