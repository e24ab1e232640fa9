//! The `nsq_to_http` program: sends each message of a channel to HTTP endpoints.

mod endpoint;
mod headers;
mod publish;
mod sampling;
mod settings;

use std::process::ExitCode;
use std::sync::Arc;

use nsq_client::{Consumer, Delivery};
use nsq_daemon::signals::ShutdownSignals;
use nsq_daemon::stop::Stop;
use nsq_tools::{fatal, given_up, start};

use crate::publish::Publisher;
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
    let consumer = Consumer::new(&settings.topic, &settings.channel, settings.config.clone())
        .map_err(fatal)?;
    let publisher = Arc::new(Publisher::new(&settings)?);
    consumer.serve(settings.publisher_count, move |message: Delivery| {
        let publisher = Arc::clone(&publisher);
        async move { publisher.publish(message.body()).await }
    });
    settings.sources.connect(&consumer).await?;
    signals.received().await;
    consumer.stop().await;
    given_up::log_total(&consumer);
    Ok(())
}
