//! The `nsq_tail` program: prints the messages of topics on stdout, one a line.

mod output;
mod settings;

use std::process::ExitCode;
use std::time::Duration;

use nsq_client::Consumer;
use nsq_daemon::logging;
use nsq_daemon::signals::ShutdownSignals;
use nsq_daemon::stop::Stop;
use nsq_tools::{fatal, start};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::output::Output;
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
    let output = Output::new(settings.print_topic);
    let mut consumers = Vec::new();
    let mut printing = JoinSet::new();
    let (enough, is_enough) = watch::channel(false);
    for topic in &settings.topics {
        logging::plain_line(&format!("Adding consumer for topic: {topic}"));
        let consumer =
            Consumer::new(topic, &settings.channel, settings.config.clone()).map_err(fatal)?;
        printing.spawn(print_topic(
            consumer.messages(),
            topic.clone(),
            settings.count,
            output.clone(),
            is_enough.clone(),
        ));
        settings.sources.connect(&consumer).await?;
        consumers.push(consumer);
    }
    let outcome = tokio::select! {
        // The first topic that has shown all that was asked for ends the program, as upstream.
        Some(ended) = printing.join_next() => {
            enough.send_replace(true);
            // Those that are being printed are to be finished, unless no one reads them.
            let rest = async { while printing.join_next().await.is_some() {} };
            let _ = timeout(LAST_LINES, rest).await;
            // No one takes the others any more: they go back at once.
            for consumer in &consumers {
                consumer.stop_within(Duration::ZERO).await;
            }
            ended.unwrap_or_else(|error| Err(fatal(error)))
        }
        () = signals.received() => {
            for consumer in &consumers {
                consumer.stop().await;
            }
            Ok(())
        }
    };
    // One that writes where no one reads holds the output.
    printing.shutdown().await;
    output.finish().await;
    outcome
}

/// Prints `count` messages of a topic, or all that come if it is `None`, until that is enough. Each is finished once it
/// has been written.
async fn print_topic(
    messages: nsq_client::Messages,
    topic: String,
    count: Option<usize>,
    output: Output,
    mut is_enough: watch::Receiver<bool>,
) -> Result<(), Stop> {
    /// As many messages go into one write.
    const BATCH: usize = 256;
    let mut left = count;
    while left != Some(0) {
        let batch = tokio::select! {
            batch = messages.next_many(left.unwrap_or(BATCH).min(BATCH)) => batch,
            _ = is_enough.changed() => break,
        };
        if batch.is_empty() {
            break;
        }
        let bodies = batch.iter().map(|message| &message.body()[..]);
        output.write(&topic, bodies).await.map_err(|error| {
            fatal(format_args!(
                "ERROR: failed to write to os.Stdout - {error}"
            ))
        })?;
        left = left.map(|left| left - batch.len());
        for message in batch {
            message.finish();
        }
    }
    Ok(())
}

/// How long a stdout that is slow may take the last lines of other topics.
const LAST_LINES: Duration = Duration::from_secs(1);
