//! The `nsq_stat` program: how a channel does on all nsqds together, a line at a time.

mod addresses;
mod count;
mod nodes;
mod sample;
mod settings;

use std::io::Write as _;
use std::process::ExitCode;

use nsq_daemon::signals::{Hangup, ShutdownSignals};
use nsq_daemon::stop::Stop;
use nsq_tools::{fatal, start};

use crate::nodes::Nodes;
use crate::settings::{Options, PROGRAM, Settings};

fn main() -> ExitCode {
    start::run(
        PROGRAM,
        |options: Options, _| Settings::check(&options),
        run,
    )
}

async fn run(settings: Settings) -> Result<(), Stop> {
    let signals = ShutdownSignals::catch().map_err(fatal)?;
    let mut hangup = Hangup::catch().map_err(fatal)?;
    tokio::select! {
        outcome = report(settings) => outcome,
        () = signals.received() => Ok(()),
        () = hangup.received() => Ok(()),
    }
}

/// Prints reports, each what has changed since the one before; the first sample is only there to compare with.
async fn report(settings: Settings) -> Result<(), Stop> {
    let nodes = Nodes::new(&settings);
    let mut last = None;
    let mut round = 0_u64;
    while settings.count.is_none_or(|count| round <= count) {
        let sample = nodes.sample().await?;
        if round.is_multiple_of(ROUNDS_PER_HEADER) {
            print(&sample::header())?;
        }
        if let Some(last) = &last {
            print(&sample.line_since(last, settings.interval))?;
        }
        last = Some(sample);
        round += 1;
        if settings.count.is_none_or(|count| round <= count) {
            tokio::time::sleep(settings.interval).await;
        }
    }
    Ok(())
}

fn print(text: &str) -> Result<(), Stop> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}").map_err(|error| {
        fatal(format_args!(
            "ERROR: failed to write to os.Stdout - {error}"
        ))
    })
}

/// The header comes again after so many lines.
const ROUNDS_PER_HEADER: u64 = 25;
