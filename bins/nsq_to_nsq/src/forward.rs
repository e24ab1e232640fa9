//! Publishing what was consumed, and answering it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use nsq_client::{Message, Messages, Producer, PublishError, Receipt, TopicName};
use nsq_daemon::logging;
use nsq_daemon::stop::Stop;
use nsq_tools::destinations::Destinations;
use nsq_tools::fatal;
use nsq_tools::progress::Progress;
use tokio::sync::mpsc;

use crate::filter::{Filter, Verdict};
use crate::settings::Settings;

/// Sends messages on, and has the answers minded.
#[derive(Debug)]
pub(crate) struct Forwarder {
    destinations: Arc<Destinations>,
    links: Vec<Link>,
    filter: Option<Filter>,
    published: Arc<Published>,
}

/// A destination's connection.
#[derive(Debug)]
struct Link {
    producer: Producer,
    /// To the task that waits for the answers, in the order in which they arrive.
    sent: mpsc::Sender<Sent>,
}

/// A message on its way.
#[derive(Debug)]
struct Sent {
    receipt: Receipt,
    message: Message,
    since: Instant,
}

/// What destinations have taken.
#[derive(Debug)]
struct Published(Mutex<(u64, Progress)>);

impl Forwarder {
    /// To all destinations, none of which is connected to yet. Must be called in a tokio runtime.
    pub(crate) fn new(settings: &Settings) -> Result<Self, Stop> {
        let addresses = &settings.destinations;
        let destinations = Destinations::new(addresses, settings.mode, settings.status_every);
        let destinations = Arc::new(destinations);
        let published = Arc::new(Published::new());
        let mut links = Vec::new();
        for (index, address) in addresses.iter().enumerate() {
            let producer = Producer::new(address, settings.producer_config.clone())
                .map_err(|error| fatal(format_args!("failed creating producer {error}")))?;
            let (sent, inbox) = mpsc::channel(WINDOW);
            let (destinations, published) = (Arc::clone(&destinations), Arc::clone(&published));
            tokio::spawn(mind_answers(inbox, index, destinations, published));
            links.push(Link { producer, sent });
        }
        Ok(Self {
            destinations,
            links,
            filter: settings.filter.clone(),
            published,
        })
    }

    /// Sends every message on, to `topic`.
    pub(crate) async fn forward_all(self: Arc<Self>, messages: Messages, topic: TopicName) {
        while let Some(message) = messages.next().await {
            self.forward(message, &topic).await;
            // Messages that are all dropped must not keep the connections from the thread they share.
            tokio::task::coop::consume_budget().await;
        }
    }

    async fn forward(&self, message: Message, topic: &TopicName) {
        let verdict = match &self.filter {
            None => Verdict::Unchanged,
            Some(filter) => filter.judge(message.body()),
        };
        let filtered = match verdict {
            Verdict::Unchanged => None,
            Verdict::Changed(body) => Some(body),
            Verdict::Drop => return message.finish(),
            Verdict::Undecodable => {
                let body = String::from_utf8_lossy(message.body());
                logging::plain_line(&format!("ERROR: Unable to decode json: {body}"));
                return message.finish();
            }
            Verdict::NothingToCompare => {
                logging::plain_line("ERROR: missing field to check required value");
                return message.requeue(None);
            }
        };
        let body = filtered.as_deref().unwrap_or(message.body());
        let since = Instant::now();
        let index = self.destinations.choose();
        let Link { producer, sent } = &self.links[index];
        match producer.start_publish(topic, body).await {
            Ok(receipt) => {
                let sent = sent.send(Sent {
                    receipt,
                    message,
                    since,
                });
                // It ends with us; a message that is dropped is requeued.
                let _ = sent.await;
            }
            Err(error) => refuse(&self.destinations, index, message, &error),
        }
    }

    /// Ends the progress line.
    pub(crate) fn finish(&self) {
        let mut published = self.published.lock();
        let (count, progress) = &mut *published;
        progress.finish(*count);
    }
}

impl Published {
    fn new() -> Self {
        Self(Mutex::new((0, Progress::new("messages published"))))
    }

    fn add_one(&self) {
        let mut published = self.lock();
        let (count, progress) = &mut *published;
        *count += 1;
        progress.show(*count);
    }

    fn lock(&self) -> MutexGuard<'_, (u64, Progress)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers a destination's messages, as it answers us.
async fn mind_answers(
    mut inbox: mpsc::Receiver<Sent>,
    index: usize,
    destinations: Arc<Destinations>,
    published: Arc<Published>,
) {
    while let Some(sent) = inbox.recv().await {
        let outcome = sent.receipt.await;
        let took = sent.since.elapsed();
        match outcome {
            Ok(()) => {
                destinations.succeeded(index, sent.since);
                sent.message.finish();
                published.add_one();
            }
            Err(error) => refuse(&destinations, index, sent.message, &error),
        }
        // Compat: a failure that was answered counts too, unlike in nsq_to_http (nsq_to_nsq.go, responder).
        destinations.note(index, took);
        destinations.note_aggregate(took);
    }
}

/// Has a message come again later, perhaps by way of another destination.
fn refuse(destinations: &Destinations, index: usize, message: Message, error: &PublishError) {
    if !is_about_message(error) {
        destinations.failed(index);
    }
    let address = &destinations.addresses()[index];
    logging::plain_line(&format!(
        "ERROR: publishing msg {} to {address} failed - {error}",
        message.id_text()
    ));
    message.requeue(None);
}

/// Whether no destination could take it: then none is to blame.
fn is_about_message(error: &PublishError) -> bool {
    match error {
        PublishError::Empty | PublishError::TooLong(_) => true,
        PublishError::Rejected(text) => text.starts_with("E_BAD_MESSAGE"),
        _ => false,
    }
}

/// Most answers of one destination that wait to be minded. More than that may be on their way only in as many tasks
/// as forward.
const WINDOW: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_nobody_could_take_is_nobodys_fault() {
        let rejected = |text: &str| PublishError::Rejected(text.to_owned());
        assert!(is_about_message(&rejected(
            "E_BAD_MESSAGE PUB message too big 9 > 5"
        )));
        assert!(is_about_message(&PublishError::Empty));
        assert!(!is_about_message(&rejected("E_PUB_FAILED PUB failed")));
        assert!(!is_about_message(&PublishError::Stopped));
    }
}
