//! The program around [`run`]: command line, log, signals, exit code.

use std::process::ExitCode;

use nsq_daemon::resolve;
use nsq_daemon::start::{self, Threads};
use nsq_daemon::stop::Stop;

use crate::run::{assemble, run};
use crate::settings::{PROGRAM, Settings};

/// Threads for everything.
const THREADS: Threads = Threads {
    name: "http",
    count: None,
};

/// Runs nsqadmin with this process's command line until a signal ends it.
pub fn main() -> ExitCode {
    match load_and_run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => stop.report(PROGRAM),
    }
}

fn load_and_run() -> Result<(), Stop> {
    start::check_limits(PROGRAM, THREADS, 0)?;
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let settings = Settings::load(args.clone())?;
    if let Some(stop) = resolve::only_checked(PROGRAM, &settings) {
        assemble(settings).map_err(|error| Stop::Fatal(error.to_string()))?;
        return Err(stop);
    }
    start::begin_log(
        PROGRAM,
        &settings,
        &settings.log_prefix,
        &settings.log_level,
        settings.log_format,
    );
    start::serve(PROGRAM, THREADS, |shutdown| run(settings, args, shutdown))
}
