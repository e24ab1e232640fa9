//! The program around [`run`]: command line, log, signals, exit code.

use std::io;
use std::process::ExitCode;

use nsq_daemon::signals::ShutdownSignals;
use nsq_daemon::stop::Stop;
use nsq_daemon::{limits, logging};

use crate::settings::{PROGRAM, Settings};
use crate::{check, export, run};

/// Threads for what is not a connection: HTTP, timers, accepting.
const CONTROL_THREADS: usize = 2;

/// Runs nsqd with this process's command line until a signal ends it.
pub fn main() -> ExitCode {
    match start() {
        Ok(code) => code,
        Err(stop) => stop.report(PROGRAM),
    }
}

fn start() -> Result<ExitCode, Stop> {
    let settings = Settings::load(std::env::args_os().skip(1))?;
    logging::start(
        &settings.log_prefix,
        &settings.log_level,
        settings.log_format,
    );
    if settings.check {
        return Ok(look_only(check::run(&settings, &mut io::stdout().lock())));
    }
    if !settings.export_to.is_empty() {
        return Ok(look_only(export::run(&settings, &mut io::stdout().lock())));
    }
    let fatal = |error: &dyn std::fmt::Display| Stop::Fatal(error.to_string());
    limits::raise_open_files_or_warn();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(|error| fatal(&format!("failed to instantiate nsqd - {error}")))?;
    let outcome = runtime.block_on(async {
        // First of all, so that a signal during a long start is not lost.
        let signals = ShutdownSignals::catch().map_err(|error| fatal(&error))?;
        run::run(settings, signals.received())
            .await
            .map_err(|error| fatal(&error))
    });
    // Whatever matters was awaited. What may be left is a question to a name server, which nothing can interrupt.
    runtime.shutdown_background();
    outcome.map(|()| ExitCode::SUCCESS)
}

/// The exit code of `--check` and `--export-to`: 0 when all is well, 1 when something is damaged, 2 when it could not
/// be done.
fn look_only(outcome: Result<bool, impl std::fmt::Display>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            logging::fatal_at_start(PROGRAM, &error.to_string());
            ExitCode::from(2)
        }
    }
}
