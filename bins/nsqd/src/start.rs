//! The program around [`run`]: command line, log, signals, exit code.

use std::io;
use std::process::ExitCode;

use nsq_daemon::logging;
use nsq_daemon::start::{self, Threads};
use nsq_daemon::stop::Stop;

use crate::settings::{PROGRAM, Settings};
use crate::workers::worker_count;
use crate::{check, cluster, export, run};

/// Threads for what is not a connection: HTTP, timers, accepting.
const CONTROL_THREADS: Threads = Threads {
    name: "control",
    count: Some(2),
};

/// Runs nsqd with this process's command line until a signal ends it.
pub fn main() -> ExitCode {
    match load_and_run() {
        Ok(code) => code,
        Err(stop) => stop.report(PROGRAM),
    }
}

fn load_and_run() -> Result<ExitCode, Stop> {
    start::check_limits(PROGRAM, CONTROL_THREADS, worker_count())?;
    let settings = Settings::load(std::env::args_os().skip(1))?;
    start::begin_log(
        PROGRAM,
        &*settings,
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
    if !settings.cluster_recover.is_empty() {
        let recovered = cluster::recover::run(&settings, &mut io::stdout().lock());
        return Ok(look_only(recovered));
    }
    start::serve(PROGRAM, CONTROL_THREADS, |shutdown| {
        run::run(settings, shutdown)
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The exit code of `--check`, `--export-to` and `--cluster-recover`: 0 when all is well, 1 when something is damaged, 2 when it could not
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
