//! The `nsq_tail` program: prints the messages of topics on stdout, one a line.

mod output;
mod settings;

use std::process::ExitCode;

use nsq_client::Consumer;
use nsq_daemon::logging;
use nsq_daemon::signals::ShutdownSignals;
use nsq_daemon::stop::Stop;
use nsq_tools::{fatal, start};
use tokio::task::JoinSet;

use crate::output::Output;
use crate::settings::{Options, PROGRAM, Settings};

fn main() -> ExitCode {
    let code = start::run(
        PROGRAM,
        |options: Options, _| Settings::check(&options),
        run,
    );
    // A write to a stdout that nobody reads would hold up a return from main.
    std::process::exit(i32::from(code != ExitCode::SUCCESS))
}

async fn run(settings: Settings) -> Result<(), Stop> {
    let signals = ShutdownSignals::catch().map_err(fatal)?;
    let output = Output::new(settings.print_topic);
    let mut consumers = Vec::new();
    let mut printing = JoinSet::new();
    for topic in &settings.topics {
        logging::plain_line(&format!("Adding consumer for topic: {topic}"));
        let consumer =
            Consumer::new(topic, &settings.channel, settings.config.clone()).map_err(fatal)?;
        printing.spawn(print_topic(
            consumer.messages(),
            topic.clone(),
            settings.count,
            output.clone(),
        ));
        settings.sources.connect(&consumer).await?;
        consumers.push(consumer);
    }
    let outcome = tokio::select! {
        // The first topic that has shown all that was asked for ends the program, as upstream.
        Some(ended) = printing.join_next() => ended.unwrap_or_else(|error| Err(fatal(error))),
        () = signals.received() => Ok(()),
    };
    for consumer in &consumers {
        consumer.stop().await;
    }
    output.finish().await;
    outcome
}

/// Prints `count` messages of a topic, or all that come if it is `None`. Each is finished once it has been written.
async fn print_topic(
    messages: nsq_client::Messages,
    topic: String,
    count: Option<usize>,
    output: Output,
) -> Result<(), Stop> {
    /// As many messages go into one write.
    const BATCH: usize = 256;
    let mut left = count;
    while left != Some(0) {
        let batch = messages.next_many(left.unwrap_or(BATCH).min(BATCH)).await;
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
