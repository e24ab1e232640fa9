//! The program around [`run`]: command line, log, signals, exit code.

use std::process::ExitCode;

use nsq_daemon::signals::ShutdownSignals;
use nsq_daemon::stop::Stop;
use nsq_daemon::{limits, logging, resolve};

use crate::run::{assemble, run};
use crate::settings::{PROGRAM, Settings};

/// Runs nsqadmin with this process's command line until a signal ends it.
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
        assemble(settings).map_err(|error| Stop::Fatal(error.to_string()))?;
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
        .thread_name("http")
        .enable_all()
        .build()
        .map_err(|error| fatal(&format!("failed to instantiate nsqadmin - {error}")))?;
    let outcome = runtime.block_on(async {
        let signals = ShutdownSignals::catch().map_err(|error| fatal(&error))?;
        run(settings, args, signals.received())
            .await
            .map_err(|error| fatal(&error))
    });
    // What may be left is a question to a name server or a hash, which nothing can interrupt.
    runtime.shutdown_background();
    outcome
}
