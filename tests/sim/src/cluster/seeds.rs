//! Runs of many seeds, each in a process of its own.

use std::io::Read as _;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::machine::lock;
use super::run::run;
use super::trace::Trace;
use crate::tests::fast_folder;

/// The seeds in a plain `cargo test`.
const FEW: [u64; 9] = [0, 7, 8, 11, 13, 14, 15, 26, 186];

/// A task of the run has panicked.
static PANICKED: AtomicBool = AtomicBool::new(false);
/// Of all log lines.
static DIGEST: Mutex<u64> = Mutex::new(0);

/// Names the seed that a process is to run.
const CHILD: &str = "CLUSTER_CHILD";

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A seed's own process. Without a seed it does nothing: the other tests start it.
#[test]
fn child() {
    let Some(seed) = number(CHILD) else { return };
    raise_limit();
    let is_traced = std::env::var_os("CLUSTER_TRACE").is_some();
    let folder = tempfile::tempdir_in(fast_folder()).expect("a folder");
    let path = folder.path().to_owned();
    let trace = Trace {
        is_shown: is_traced,
        folder: path.display().to_string(),
        digest: &DIGEST,
    };
    tracing::subscriber::set_global_default(trace).expect("it is the first one");
    // A task that panics does not end its runtime.
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |about| {
        PANICKED.store(true, Ordering::Relaxed);
        usual(about);
    }));
    let running = std::thread::Builder::new()
        .stack_size(16 << 20)
        .spawn(move || std::panic::catch_unwind(AssertUnwindSafe(|| run(seed, &path))))
        .expect("a thread");
    let outcome = running.join().expect("panics are caught");
    drop(folder);
    let mut figures = outcome.unwrap_or_else(|_| std::process::exit(1));
    figures.digest ^= *lock(&DIGEST);
    eprintln!("FIGURES {seed} {figures:?}");
    // No destructor of what was forgotten runs.
    std::process::exit(i32::from(PANICKED.load(Ordering::Relaxed)));
}

/// Killed processes leave their files open.
fn raise_limit() {
    crate::system::raise_file_limit();
}

/// Runs a seed in its own process. `Err` has what it said.
fn run_child(seed: u64, is_traced: bool) -> Result<String, String> {
    let program: PathBuf = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command
        .args(["--exact", "cluster::seeds::child", "--nocapture"])
        .env(CHILD, seed.to_string())
        .stdout(Stdio::null())
        .stderr(if is_traced {
            Stdio::inherit()
        } else {
            Stdio::piped()
        });
    if is_traced {
        command.env("CLUSTER_TRACE", "1");
    }
    let mut child = command.spawn().expect("this program starts again");
    let mut said = String::new();
    if let Some(mut errors) = child.stderr.take() {
        errors.read_to_string(&mut said).expect("text");
    }
    let status = child.wait().expect("it ends");
    if status.success() {
        let figures = said.lines().find(|line| line.starts_with("FIGURES"));
        Ok(figures.unwrap_or_default().to_owned())
    } else {
        Err(format!("seed {seed}: {status}\n{said}"))
    }
}

#[test]
fn a_cluster_keeps_its_promises_whatever_fails() {
    if number(CHILD).is_some() {
        return;
    }
    if let Some(seed) = number("CLUSTER_SEED") {
        run_child(seed, true).unwrap_or_else(|failure| panic!("{failure}"));
        return;
    }
    let first = number("CLUSTER_FIRST").unwrap_or(0);
    let seeds = match number("CLUSTER_SEEDS") {
        Some(count) => (first..first + count).collect(),
        None => FEW.to_vec(),
    };
    let count = seeds.len();
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) else {
                        return;
                    };
                    match run_child(*seed, false) {
                        Ok(figures) if number("CLUSTER_SEEDS").is_some() => eprintln!("{figures}"),
                        Ok(_) => {}
                        Err(failure) => {
                            eprintln!("{failure}");
                            lock(&failures).push(*seed);
                        }
                    }
                }
            });
        }
    });
    let failures = lock(&failures);
    assert!(
        failures.is_empty(),
        "{} of {count} seeds fail, CLUSTER_SEED=<number> replays one: {failures:?}",
        failures.len()
    );
}

#[test]
fn a_seed_of_a_cluster_replays() {
    if number(CHILD).is_some() {
        return;
    }
    let runs = [run_child(0, false), run_child(0, false)];
    assert_eq!(runs[0], runs[1]);
    assert!(runs[0].is_ok(), "{runs:?}");
}
