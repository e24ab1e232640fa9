//! Runs of many seeds. `SEEDS` chooses how many, `SEED` a single one.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::disk;
use crate::world::{Outcome, World};

/// The number of seeds in a plain `cargo test`.
const FEW: u64 = 300;

/// Runs one seed in its own thread and folder. `Err` has the failure and the trace before it.
fn run(seed: u64, is_traced: bool) -> Result<Outcome, String> {
    let run = move || {
        let folder = tempfile::tempdir_in(fast_folder()).expect("a folder");
        let mut world = World::new(seed, folder.path(), is_traced);
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| world.run()));
        world.collect_trace();
        disk::with(disk::Disk::end_process);
        let trace = std::mem::take(&mut world.trace);
        let result = match outcome {
            Ok(()) => Ok(world.outcome.clone()),
            Err(cause) => {
                let cause = cause
                    .downcast_ref::<String>()
                    .cloned()
                    .or_else(|| cause.downcast_ref::<&str>().map(|&text| text.to_owned()));
                let cause = cause.unwrap_or_default();
                Err(format!("{}\nseed {seed}: {cause}", trace.join("\n")))
            }
        };
        drop(world);
        disk::remove();
        result
    };
    std::thread::spawn(run).join().expect("panics are caught")
}

/// A folder in memory, if there is one: the simulated disk syncs nothing to the real one.
pub(crate) fn fast_folder() -> std::path::PathBuf {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() {
        memory.to_path_buf()
    } else {
        std::env::temp_dir()
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn every_seed_keeps_the_promises() {
    if let Some(seed) = number("SEED") {
        let outcome = run(seed, true);
        let outcome = outcome.unwrap_or_else(|failure| panic!("{failure}"));
        eprintln!("seed {seed}: {outcome:?}");
        return;
    }
    let first = number("FIRST").unwrap_or(0);
    let count = number("SEEDS").unwrap_or(FEW);
    let next = AtomicU64::new(first);
    let failures = Mutex::new(Vec::new());
    let total = Mutex::new(Outcome::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    match run(seed, false) {
                        Ok(outcome) => add(&total, &outcome),
                        Err(failure) => lock(&failures).push((seed, failure)),
                    }
                }
            });
        }
    });
    let mut failures = failures
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    failures.sort();
    eprintln!("{count} seeds from {first} on: {:?}", lock(&total));
    let told: Vec<_> = failures.iter().map(|(_, failure)| failure.trim()).collect();
    assert!(
        told.is_empty(),
        "{} of {count} seeds fail; SEED=<number> replays one:\n{}",
        told.len(),
        told.join("\n")
    );
}

fn add(total: &Mutex<Outcome>, one: &Outcome) {
    let mut total = lock(total);
    total.steps += one.steps;
    total.lives += one.lives;
    total.power_cuts += one.power_cuts;
    total.published += one.published;
    total.delivered += one.delivered;
    total.repeated += one.repeated;
    total.failed_operations += one.failed_operations;
    total.flips += one.flips;
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_seed_replays() {
    for seed in 0..5 {
        assert_eq!(run(seed, false), run(seed, true), "seed {seed}");
    }
}
