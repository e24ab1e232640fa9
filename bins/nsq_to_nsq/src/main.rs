//! The `nsq_to_nsq` program: publishes the messages of topics again, to other nsqds.
//!
//! A message is finished when a destination has it. Many are on their way at once, at most max in flight of a topic;
//! answers are minded by a task for each destination.

mod filter;
mod forward;
mod go_json;
mod settings;

use std::process::ExitCode;
use std::sync::Arc;

use nsq_client::Consumer;
use nsq_daemon::signals::ShutdownSignals;
use nsq_daemon::stop::Stop;
use nsq_tools::{fatal, given_up, start};

use crate::forward::Forwarder;
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
    let forwarder = Arc::new(Forwarder::new(&settings)?);
    let mut consumers = Vec::new();
    for topic in &settings.topics {
        let consumer = Consumer::new(topic.as_str(), &settings.channel, settings.config.clone())
            .map_err(fatal)?;
        let to = settings.destination_topic.as_ref().unwrap_or(topic);
        // As many as can be made to wait by destinations that are being connected to.
        for _ in &settings.destinations {
            let forwarder = Arc::clone(&forwarder);
            tokio::spawn(forwarder.forward_all(consumer.messages(), to.clone()));
        }
        consumers.push(consumer);
    }
    for consumer in &consumers {
        settings.sources.connect(consumer).await?;
    }
    signals.received().await;
    // All are told before any is waited for.
    let mut stopping = tokio::task::JoinSet::new();
    for consumer in consumers {
        stopping.spawn(async move {
            consumer.stop().await;
            given_up::log_total(&consumer);
        });
    }
    while stopping.join_next().await.is_some() {}
    forwarder.finish();
    Ok(())
}
