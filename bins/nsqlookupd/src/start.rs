//! The program around [`run`]: command line, log, signals, exit code.

use std::process::ExitCode;

use nsq_daemon::resolve;
use nsq_daemon::start::{self, Threads};
use nsq_daemon::stop::Stop;

use crate::admission;
use crate::run::{RunError, run};
use crate::settings::{PROGRAM, Settings};

/// Threads for the connections of nsqds. One takes half a million registrations a second; more would take
/// processors from HTTP, and mostly wait for each other at the registry's lock.
const TCP_THREADS: Threads = Threads {
    name: "tcp",
    count: Some(1),
};

/// Runs nsqlookupd with this process's command line until a signal ends it.
pub fn main() -> ExitCode {
    match load_and_run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => stop.report(PROGRAM),
    }
}

fn load_and_run() -> Result<(), Stop> {
    start::check_limits(PROGRAM, TCP_THREADS, 0)?;
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let settings = Settings::load(args.clone())?;
    if let Some(stop) = resolve::only_checked(PROGRAM, &settings) {
        admission::load(&settings)
            .map_err(|error| Stop::Fatal(RunError::from(error).to_string()))?;
        return Err(stop);
    }
    start::begin_log(
        PROGRAM,
        &settings,
        &settings.log_prefix,
        &settings.log_level,
        settings.log_format,
    );
    start::serve(PROGRAM, TCP_THREADS, |shutdown| {
        run(settings, args, shutdown)
    })
}
