//! The part of a daemon's start that is the same for all: the limits of the process, the log, and the runtime that serves until a signal.

use std::fmt::Display;
use std::pin::Pin;

use crate::log_level::LiveLevel;
use crate::logging::{self, LogFormat};
use crate::options::Options;
use crate::preflight::{self, Needs};
use crate::signals::ShutdownSignals;
use crate::stop::Stop;
use crate::{limits, resolve};

/// The threads of a daemon's main runtime.
#[derive(Debug, Clone, Copy)]
pub struct Threads {
    /// As the system shows it.
    pub name: &'static str,
    /// `None` for one a processor.
    pub count: Option<usize>,
}

/// Checks the limits of this process for a program whose main runtime has these threads, with `more_threads` outside of it.
/// To be called first of all.
///
/// # Errors
/// [`Stop::Fatal`] that names the limit that is too low.
pub fn check_limits(program: &str, threads: Threads, more_threads: usize) -> Result<(), Stop> {
    let count = threads.count.unwrap_or_else(|| {
        // As the runtime does.
        std::thread::available_parallelism().map_or(1, usize::from)
    });
    preflight::check(Needs::daemon(count + more_threads))
        .map_err(|error| Stop::Fatal(format!("failed to instantiate {program} - {error}")))
}

/// Begins the log, with a WARNING for each key of the config file that no option has.
pub fn begin_log<T: Options>(
    program: &str,
    options: &T,
    prefix: &str,
    level: &LiveLevel,
    format: LogFormat,
) {
    logging::start(prefix, level, format);
    for unknown in resolve::unknown_keys(program, options) {
        tracing::warn!("{unknown}: ignored");
    }
}

/// Runs `body` in a runtime of these threads, until it is done; it is given what waits for SIGINT or SIGTERM.
///
/// # Errors
/// [`Stop::Fatal`] with what `body` or the system says.
pub fn serve<F, E>(
    program: &str,
    threads: Threads,
    body: impl FnOnce(Shutdown) -> F,
) -> Result<(), Stop>
where
    F: Future<Output = Result<(), E>>,
    E: Display,
{
    limits::raise_open_files_or_warn();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(count) = threads.count {
        builder.worker_threads(count);
    }
    let runtime = builder
        .thread_name(threads.name)
        .enable_all()
        .build()
        .map_err(|error| Stop::Fatal(format!("failed to instantiate {program} - {error}")))?;
    let outcome = runtime.block_on(async {
        // Before anything else, so that a signal during a long start is not lost.
        let signals = ShutdownSignals::catch().map_err(|error| Stop::Fatal(error.to_string()))?;
        body(Box::pin(signals.received()))
            .await
            .map_err(|error| Stop::Fatal(error.to_string()))
    });
    // All that matters was awaited. A question to a name server may be left, which nothing can interrupt.
    runtime.shutdown_background();
    outcome
}

/// Ready once the daemon is asked to end.
pub type Shutdown = Pin<Box<dyn Future<Output = ()> + Send>>;
