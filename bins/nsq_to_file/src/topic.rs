//! One topic: takes its messages, has them written and synced, and finishes them then.
//!
//! nsqd gives a message only so much time: files are synced before half of it is over, whatever the interval, and while
//! the file system takes longer still, nsqd is asked for more.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use nsq_client::{Consumer, ConsumerEvent, Message, Messages};
use nsq_tools::sources::Sources;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep, sleep_until};

use crate::archive::{Archive, ArchiveError};
use crate::leftover;
use crate::settings::Settings;

/// What a topic is told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// Sync, and close the file.
    Hangup,
    /// Take no more messages, deal with those that have come, and end.
    Terminate,
}

/// How a topic ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// As it was told to.
    Stopped,
    /// It could not begin.
    Refused,
    /// The file system failed, which ends the program.
    Failed,
}

/// Archives a topic until it is told to end. Logs what goes wrong.
pub(crate) async fn run(
    topic: String,
    settings: Arc<Settings>,
    commands: UnboundedReceiver<Command>,
) -> End {
    let begun = begin(&topic, &settings);
    let (consumer, archive) = match begun {
        Ok(begun) => begun,
        Err(text) => {
            tracing::error!("couldn't create logger for new topic {topic}: {text}");
            return End::Refused;
        }
    };
    let label = archive.label().to_owned();
    let (archive, in_order) = blocking(move || {
        let in_order = leftover::bring_into_order(&archive);
        (archive, in_order)
    })
    .await;
    if let Err(error) = in_order {
        nsq_daemon::fatal!("{label} {error}");
        return End::Failed;
    }
    if let Err(text) = connect(&consumer, &topic, &settings.sources).await {
        tracing::error!("couldn't create logger for new topic {topic}: {text}");
        return End::Refused;
    }
    let consumer = Arc::new(consumer);
    let mut writing = Writing {
        consumer: Arc::clone(&consumer),
        archive: Some(archive),
        held: Vec::new(),
        arrived: Vec::new(),
        sync_due: None,
        most_held: usize::try_from(settings.config.max_in_flight.max(1)).unwrap_or(usize::MAX),
        ticks: ticks(settings.sync_interval),
        commands,
        is_stopping: false,
    };
    match writing.run().await {
        Ok(()) => End::Stopped,
        Err(error) => {
            nsq_daemon::fatal!("{label} {error}");
            writing.give_up().await;
            End::Failed
        }
    }
}

fn begin(topic: &str, settings: &Settings) -> Result<(Consumer, Archive), String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let names = settings.file_names(topic).map_err(|error| text(&error))?;
    let label = format!("[{topic}/{}]", settings.channel);
    let given_up = AtomicU64::new(0);
    let on_event = {
        let label = label.clone();
        move |event: &ConsumerEvent<'_>| {
            if let ConsumerEvent::GaveUp { delivery } = event {
                let count = given_up.fetch_add(1, Ordering::Relaxed) + 1;
                tracing::error!(
                    "{label} message {} is NOT in the archive: finished at delivery {} without being written (max_attempts), {count} of them so far",
                    delivery.id_text(),
                    delivery.attempts()
                );
            }
        }
    };
    let consumer = Consumer::builder(topic, &settings.channel)
        .config(settings.config.clone())
        .on_event(on_event)
        .build()
        .map_err(|error| text(&error))?;
    let archive = Archive::new(settings.layout.clone(), names, label);
    Ok((consumer, archive))
}

/// Connects. An nsqd that cannot be reached yet is tried again.
async fn connect(consumer: &Consumer, topic: &str, sources: &Sources) -> Result<(), String> {
    match sources {
        Sources::Nsqds(addresses) => {
            for address in addresses {
                if let Err(error) = consumer.connect_to_nsqd(address).await {
                    tracing::error!("couldn't connect for topic {topic}, trying again: {error}");
                    consumer.keep_connected_to_nsqd(address);
                }
            }
        }
        Sources::Lookupds(addresses) => {
            for address in addresses {
                let asked = consumer.connect_to_nsqlookupd(address).await;
                asked.map_err(|error| error.to_string())?;
            }
        }
    }
    Ok(())
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// A topic's archive while it is written.
struct Writing {
    consumer: Arc<Consumer>,
    /// `None` while a thread works on it.
    archive: Option<Archive>,
    /// Written, but not synced.
    held: Vec<Message>,
    /// Taken while the files were worked on, to be written next.
    arrived: Vec<Message>,
    /// When half of the time is over that nsqd gives the one of them which has least.
    sync_due: Option<Instant>,
    most_held: usize,
    ticks: Interval,
    commands: UnboundedReceiver<Command>,
    is_stopping: bool,
}

/// What is to be done with the files in one go.
#[derive(Debug, Default)]
struct Step {
    bodies: Vec<Bytes>,
    is_tick: bool,
    syncs: bool,
    closes: bool,
    held_count: usize,
}

impl Writing {
    async fn run(&mut self) -> Result<(), ArchiveError> {
        while self.turn().await?.is_continue() {}
        Ok(())
    }

    /// Waits for the next thing that happens, and deals with it.
    async fn turn(&mut self) -> Result<ControlFlow<()>, ArchiveError> {
        let mut step = Step::default();
        let mut flow = ControlFlow::Continue(());
        let room = self.most_held.saturating_sub(self.held.len()).max(1);
        let messages = self.consumer.messages();
        tokio::select! {
            batch = next_batch(&mut self.arrived, &messages, room) => {
                if batch.is_empty() {
                    (step.syncs, step.closes) = (true, true);
                    flow = ControlFlow::Break(());
                }
                step.bodies = batch.iter().map(|message| message.body().clone()).collect();
                self.hold(batch);
            }
            _ = self.ticks.tick(), if !self.is_stopping => {
                (step.is_tick, step.syncs) = (true, true);
            }
            () = until(self.sync_due) => step.syncs = true,
            command = self.commands.recv(), if !self.is_stopping => match command {
                Some(Command::Hangup) => (step.syncs, step.closes) = (true, true),
                Some(Command::Terminate) | None => {
                    self.is_stopping = true;
                    let consumer = Arc::clone(&self.consumer);
                    tokio::spawn(async move { consumer.stop().await });
                }
            },
        }
        step.syncs |= self.is_stopping || self.held.len() >= self.most_held;
        step.syncs |= self.consumer.is_starved();
        step.held_count = self.held.len();
        if self.carry_out(step).await? {
            for message in self.held.drain(..) {
                message.finish();
            }
            self.sync_due = None;
        }
        Ok(flow)
    }

    fn hold(&mut self, batch: Vec<Message>) {
        let now = Instant::now();
        let due = batch.iter().map(|message| now + message.timeout() / 2);
        self.sync_due = self.sync_due.into_iter().chain(due).min();
        self.held.extend(batch);
    }

    /// Has a thread of its own work on the files, so that heartbeats are answered meanwhile. Returns whether all that
    /// is held is on disk.
    async fn carry_out(&mut self, step: Step) -> Result<bool, ArchiveError> {
        let Some(archive) = self.archive.take() else {
            return Ok(false);
        };
        let working = blocking(move || {
            let mut archive = archive;
            let outcome = work(&mut archive, &step);
            (archive, outcome)
        });
        let shortest = self
            .held
            .iter()
            .map(|message| message.delivery().timeout())
            .min();
        let quarter = shortest.unwrap_or(Duration::MAX) / 4;
        let messages = self.consumer.messages();
        let (held, arrived) = (&self.held, &mut self.arrived);
        let (archive, outcome) = meanwhile(working, quarter, || {
            // Messages that arrive meanwhile have to wait as well.
            arrived.extend(messages.take_many(usize::MAX));
            for message in held.iter().chain(arrived.iter()) {
                message.touch();
            }
        })
        .await;
        self.archive = Some(archive);
        outcome
    }

    /// After a failure: what is not on disk is cut off and given back, to come again at once.
    async fn give_up(&mut self) {
        if let Some(mut archive) = self.archive.take() {
            blocking(move || archive.abandon()).await;
        }
        for message in self.held.drain(..).chain(self.arrived.drain(..)) {
            message.requeue_without_backoff(Some(Duration::ZERO));
        }
        self.consumer.stop_within(GIVING_BACK).await;
    }
}

fn work(archive: &mut Archive, step: &Step) -> Result<bool, ArchiveError> {
    if step.is_tick {
        archive.tick()?;
    }
    let rotated = archive.append_all(step.bodies.iter())?;
    let syncs = (step.syncs || rotated) && step.held_count > 0;
    if syncs {
        tracing::info!(
            "{} syncing {} records to disk",
            archive.label(),
            step.held_count
        );
        archive.sync()?;
    }
    if step.closes {
        archive.close()?;
    }
    Ok(syncs)
}

/// What has arrived already, else the next messages; nothing is lost when it is given up.
async fn next_batch(arrived: &mut Vec<Message>, messages: &Messages, most: usize) -> Vec<Message> {
    if arrived.is_empty() {
        messages.next_many(most).await
    } else {
        std::mem::take(arrived)
    }
}

/// Waits for the end of `work`, and calls `call` every `period` until then.
async fn meanwhile<T>(
    work: impl Future<Output = T>,
    period: Duration,
    mut call: impl FnMut(),
) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = sleep(period) => call(),
        }
    }
}

/// Never, without a time.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// How long nsqd may take what is given back after a failure.
const GIVING_BACK: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_takes_long_is_accompanied_and_what_is_done_is_not() {
        let mut calls = 0;
        let work = sleep(Duration::from_millis(350));
        meanwhile(work, Duration::from_millis(100), || calls += 1).await;
        assert_eq!(calls, 3);
        meanwhile(async {}, Duration::from_millis(100), || calls += 1).await;
        assert_eq!(calls, 3);
    }
}
