//! The program around [`run`]: command line, log, signals, exit code.

use std::process::ExitCode;

use nsq_daemon::signals::ShutdownSignals;
use nsq_daemon::stop::Stop;
use nsq_daemon::{limits, logging, resolve};

use crate::admission;
use crate::run::{RunError, run};
use crate::settings::{PROGRAM, Settings};

/// Threads for the connections of nsqds. One takes half a million registrations a second; more would take
/// processors from HTTP, and mostly wait for each other at the registry's lock.
const TCP_THREADS: usize = 1;

/// Runs nsqlookupd with this process's command line until a signal ends it.
pub fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => stop.report(PROGRAM),
    }
}

fn start() -> Result<(), Stop> {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let settings = Settings::load(args.clone())?;
    if let Some(stop) = resolve::only_checked(PROGRAM, &settings) {
        admission::load(&settings)
            .map_err(|error| Stop::Fatal(RunError::from(error).to_string()))?;
        return Err(stop);
    }
    logging::start(
        &settings.log_prefix,
        &settings.log_level,
        settings.log_format,
    );
    limits::raise_open_files_or_warn();
    let fatal = |error: &dyn std::fmt::Display| Stop::Fatal(error.to_string());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(TCP_THREADS)
        .thread_name("tcp")
        .enable_all()
        .build()
        .map_err(|error| fatal(&format!("failed to instantiate nsqlookupd - {error}")))?;
    runtime.block_on(async {
        let signals = ShutdownSignals::catch().map_err(|error| fatal(&error))?;
        run(settings, args, signals.received())
            .await
            .map_err(|error| fatal(&error))
    })
}
