//! Messages of a channel, looked at where they lie.

use std::sync::Arc;

use nsq_daemon::http::client::query_escape;
use serde::Deserialize;

use super::failure::{DaemonKind, Failure};
use super::fan_out::ask_all;
use super::{Cluster, ClusterError, Found};

/// The beginning of a channel on one node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Peek {
    /// `host:port` of the nsqd.
    #[serde(skip)]
    pub node: Arc<str>,
    /// How many wait in all.
    pub queued_total: i64,
    /// How many clients have in all.
    pub in_flight_total: i64,
    /// How many are held back in all.
    pub deferred_total: i64,
    /// The next ones.
    pub queued: Vec<PeekedMessage>,
    /// Some of those that clients have.
    pub in_flight: Vec<PeekedMessage>,
    /// Some of those held back.
    pub deferred: Vec<PeekedMessage>,
}

/// A message. What does not apply where it is, is empty or 0.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PeekedMessage {
    /// Sixteen hexadecimal digits.
    pub id: String,
    /// When it was published, in Unix nanoseconds.
    pub timestamp: i64,
    /// Deliveries so far.
    pub attempts: u32,
    /// Its beginning, in base64.
    pub body: String,
    /// The length of all of it, in bytes.
    pub body_size: u64,
    /// Whether `body` is not all of it.
    pub truncated: bool,
    /// When it times out or is due, in Unix nanoseconds.
    pub due_at: i64,
    /// When the client got it, in Unix nanoseconds.
    pub delivered_at: i64,
    /// Who has it.
    pub client: Option<PeekedClient>,
}

/// The client that has a message.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the keys are nsqd's own")]
pub struct PeekedClient {
    pub client_id: String,
    pub hostname: String,
    pub remote_address: String,
}

impl Cluster {
    /// Looks at up to `count` messages of each kind on every node that has the channel, the first `max_body` bytes
    /// of each. An upstream nsqd cannot do this and is among the warnings, with status 404.
    ///
    /// # Errors
    /// [`ClusterError::NoSuchTopic`], [`ClusterError::Unanswered`].
    pub async fn peek(
        &self,
        topic: &str,
        channel: &str,
        count: u32,
        max_body: u32,
    ) -> Result<Found<Vec<Peek>>, ClusterError> {
        let Found {
            value: producers,
            mut warnings,
        } = self.producers_of(topic).await?;
        let path = format!(
            "/channel/peek?topic={}&channel={}&count={count}&max_body={max_body}",
            query_escape(topic),
            query_escape(channel)
        );
        let questions = producers.into_iter().map(|producer| {
            let (fetcher, path) = (self.fetcher.clone(), path.clone());
            async move {
                let address = producer.http_address();
                let peek: Result<Peek, Failure> =
                    fetcher.get(DaemonKind::Nsqd, &address, &path).await;
                peek.map(|peek| Peek {
                    node: address.into(),
                    ..peek
                })
            }
        });
        let round = ask_all(DaemonKind::Nsqd, questions).await;
        let value = round.any_answers(&mut warnings);
        Ok(Found { value, warnings })
    }
}
