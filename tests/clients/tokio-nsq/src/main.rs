//! Scenarios that use nsqd through tokio-nsq: `scenarios <name> <address>...`. The address is nsqd's for TCP; those of
//! `discover` are nsqlookupds' for HTTP.
//!
//! Every delivery is reported as a line `<body> <attempts>`; then comes a line `done`, and the program waits for a line
//! in return: by then the test has seen in nsqd's statistics that every answer arrived.
//! Exit status 0, or 1 and the reason.

use std::collections::{HashMap, HashSet};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_nsq::{
    NSQChannel, NSQConfigShared, NSQConsumer, NSQConsumerConfig, NSQConsumerConfigSources,
    NSQConsumerLookupConfig, NSQEvent, NSQMessage, NSQProducer, NSQProducerConfig, NSQRequeueDelay,
    NSQTopic,
};

const TOPIC: &str = "tokio-nsq";
const CHANNEL: &str = "scenarios";
/// More than any scenario should take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the library collects commands before it sends them.
const FLUSH_INTERVAL: Duration = Duration::from_millis(10);

type Failure = String;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let Some((scenario, addresses)) = arguments.split_first() else {
        eprintln!("usage: scenarios <scenario> <address>...");
        return ExitCode::FAILURE;
    };
    let outcome = tokio::time::timeout(PATIENCE, run(scenario, addresses)).await;
    let outcome = outcome.unwrap_or_else(|_| Err(format!("took longer than {PATIENCE:?}")));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

async fn run(scenario: &str, addresses: &[String]) -> Result<(), Failure> {
    match scenario {
        "consume" => consume(addresses).await,
        "requeue" => requeue(addresses).await,
        "defer" => defer(addresses).await,
        "touch" => touch(addresses).await,
        "time-out" => time_out(addresses).await,
        "discover" => discover(addresses).await,
        _ => Err(format!("no scenario {scenario}")),
    }
}

async fn consume(addresses: &[String]) -> Result<(), Failure> {
    let mut producer = producer(addresses).await?;
    let all = bodies(100);
    for body in &all[..10] {
        publish(&mut producer, body).await?;
    }
    let published = producer
        .publish_multiple(&topic(), all[10..].to_vec())
        .await;
    published.map_err(|error| error.to_string())?;
    acknowledged(&mut producer).await?;
    wait_for_all(direct(addresses, 20), 100).await
}

/// Requeues each of 10 messages once.
async fn requeue(addresses: &[String]) -> Result<(), Failure> {
    const DELAY: Duration = Duration::from_millis(200);
    let mut producer = producer(addresses).await?;
    for body in bodies(10) {
        publish(&mut producer, &body).await?;
    }
    let mut consumer = direct(addresses, 5);
    let mut requeued = HashMap::new();
    let mut seen = HashSet::new();
    while seen.len() < 10 {
        let message = next(&mut consumer).await?;
        if message.attempt == 1 {
            requeued.insert(message.body.clone(), Instant::now());
            message.requeue(NSQRequeueDelay::CustomDelay(DELAY)).await;
        } else {
            check_delay(requeued[&message.body], DELAY)?;
            seen.insert(message.body.clone());
            message.finish().await;
        }
    }
    wait_for_the_test()
}

async fn defer(addresses: &[String]) -> Result<(), Failure> {
    const DELAY: Duration = Duration::from_millis(500);
    let mut producer = producer(addresses).await?;
    let published = Instant::now();
    let delay_millis = u32::try_from(DELAY.as_millis()).expect("half a second");
    let topic = topic();
    let sent = producer.publish_deferred(&topic, b"later".to_vec(), delay_millis);
    sent.await.map_err(|error| error.to_string())?;
    acknowledged(&mut producer).await?;
    let mut consumer = direct(addresses, 1);
    let message = next(&mut consumer).await?;
    check_delay(published, DELAY)?;
    message.finish().await;
    wait_for_the_test()
}

/// Holds a message for more than twice nsqd's timeout of a second.
async fn touch(addresses: &[String]) -> Result<(), Failure> {
    publish(&mut producer(addresses).await?, b"held").await?;
    let mut consumer = direct(addresses, 1);
    let message = next(&mut consumer).await?;
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        message.touch().await;
    }
    message.finish().await;
    wait_for_the_test()
}

/// Leaves the first delivery without an answer.
async fn time_out(addresses: &[String]) -> Result<(), Failure> {
    let mut producer = producer(addresses).await?;
    publish(&mut producer, b"first").await?;
    publish(&mut producer, b"second").await?;
    let mut consumer = direct(addresses, 1);
    // Held to the end: the library requeues a message that is dropped.
    let _unanswered = next(&mut consumer).await?;
    for _ in 0..2 {
        next(&mut consumer).await?.finish().await;
    }
    wait_for_the_test()
}

/// Knows only nsqlookupds.
async fn discover(addresses: &[String]) -> Result<(), Failure> {
    let urls = addresses.iter().map(|address| format!("http://{address}"));
    let lookup = NSQConsumerLookupConfig::new()
        .set_addresses(urls.collect())
        .set_poll_interval(Duration::from_secs(1));
    let consumer = consumer(NSQConsumerConfigSources::Lookup(lookup), 20);
    wait_for_all(consumer, 20).await
}

async fn wait_for_all(mut consumer: NSQConsumer, count: usize) -> Result<(), Failure> {
    let mut seen = HashSet::new();
    while seen.len() < count {
        let message = next(&mut consumer).await?;
        seen.insert(message.body.clone());
        message.finish().await;
    }
    wait_for_the_test()
}

/// While this waits, the library's tasks on other threads send what they have collected.
fn wait_for_the_test() -> Result<(), Failure> {
    println!("done");
    let read = std::io::stdin().read_line(&mut String::new());
    read.map(|_| ()).map_err(|error| error.to_string())
}

async fn next(consumer: &mut NSQConsumer) -> Result<NSQMessage, Failure> {
    let message = consumer
        .consume_filtered()
        .await
        .ok_or("the consumer ended")?;
    println!(
        "{} {}",
        String::from_utf8_lossy(&message.body),
        message.attempt
    );
    Ok(message)
}

fn check_delay(since: Instant, delay: Duration) -> Result<(), Failure> {
    let after = since.elapsed();
    if after < delay {
        return Err(format!("came after {after:?}, not {delay:?}"));
    }
    Ok(())
}

fn direct(addresses: &[String], max_in_flight: u32) -> NSQConsumer {
    consumer(
        NSQConsumerConfigSources::Daemons(addresses.to_vec()),
        max_in_flight,
    )
}

fn consumer(sources: NSQConsumerConfigSources, max_in_flight: u32) -> NSQConsumer {
    let channel = NSQChannel::new(CHANNEL).expect("a channel's name");
    NSQConsumerConfig::new(topic(), channel)
        .set_max_in_flight(max_in_flight)
        .set_sources(sources)
        .set_shared(shared())
        .build()
}

async fn producer(addresses: &[String]) -> Result<NSQProducer, Failure> {
    let config = NSQProducerConfig::new(&addresses[0]).set_shared(shared());
    let mut producer = config.build();
    match producer.consume().await {
        Some(NSQEvent::Healthy()) => Ok(producer),
        event => Err(format!("no connection: {event:?}")),
    }
}

async fn publish(producer: &mut NSQProducer, body: &[u8]) -> Result<(), Failure> {
    let sent = producer.publish(&topic(), body.to_vec()).await;
    sent.map_err(|error| error.to_string())?;
    acknowledged(producer).await
}

async fn acknowledged(producer: &mut NSQProducer) -> Result<(), Failure> {
    match producer.consume().await {
        Some(NSQEvent::Ok()) => Ok(()),
        event => Err(format!("a publish was answered by {event:?}")),
    }
}

fn shared() -> NSQConfigShared {
    NSQConfigShared::new().set_flush_interval(FLUSH_INTERVAL)
}

fn topic() -> Arc<NSQTopic> {
    NSQTopic::new(TOPIC).expect("a topic's name")
}

fn bodies(count: usize) -> Vec<Vec<u8>> {
    let bodies = (0..count).map(|index| format!("message-{index}").into_bytes());
    bodies.collect()
}
