//! The `to_nsq` program: publishes what it reads on stdin, one message a record.
//!
//! Every record goes to every nsqd given. Records are on their way before the earlier ones are answered, at most
//! [`publish::WINDOW`] of them, so a million lines take seconds; the first error still ends the program.

mod publish;
mod records;
mod settings;
mod throttle;

use std::process::ExitCode;

use nsq_daemon::signals::ShutdownSignals;
use nsq_daemon::stop::Stop;
use nsq_tools::{fatal, start};

use crate::publish::Publisher;
use crate::records::Records;
use crate::settings::{Options, PROGRAM, Settings};
use crate::throttle::Throttle;

fn main() -> ExitCode {
    start::run(
        PROGRAM,
        |options: Options, _| Settings::check(&options),
        run,
    )
}

async fn run(settings: Settings) -> Result<(), Stop> {
    let signals = ShutdownSignals::catch().map_err(fatal)?;
    let mut records = Records::new(tokio::io::stdin(), settings.delimiter);
    let mut throttle = Throttle::new(settings.rate);
    let mut publisher = Publisher::new(&settings)?;
    let transfer = async {
        while let Some(record) = records.next().await.map_err(fatal)? {
            throttle.wait().await;
            if !record.is_empty() {
                publisher.publish(record).await?;
            }
        }
        publisher.settle().await
    };
    let outcome = tokio::select! {
        outcome = transfer => outcome,
        () = signals.received() => Ok(()),
    };
    let finished = publisher.finish().await;
    outcome.and(finished)
}
