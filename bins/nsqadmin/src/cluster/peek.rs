//! Messages of a channel, looked at where they lie.

use std::sync::Arc;
use std::time::Duration;

use nsq_daemon::http::client::query_escape;
use serde::Deserialize;

use super::failure::{DaemonKind, Failure};
use super::fan_out::ask_all;
use super::{Cluster, Found, Producer, Warnings};

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
    /// Looks at up to `count` messages of each kind of a channel, or of a topic that no channel has received, on each of
    /// `nodes`, the first `max_body` bytes of each. An upstream nsqd cannot do this and is among the warnings, with status
    /// 404, as is a node without the topic or channel.
    pub async fn peek(
        &self,
        nodes: Vec<Producer>,
        (topic, channel): (&str, Option<&str>),
        count: u32,
        max_body: u32,
    ) -> Found<Vec<Peek>> {
        let mut warnings = Warnings::default();
        let path = match channel {
            Some(channel) => format!("/channel/peek?channel={}&", query_escape(channel)),
            None => "/topic/peek?".to_owned(),
        };
        let topic = query_escape(topic);
        let path = format!("{path}topic={topic}&count={count}&max_body={max_body}");
        let requests = nodes.into_iter().map(|producer| {
            let (fetcher, path) = (self.fetcher.within(LONGEST_PEEK), path.clone());
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
        let round = ask_all(DaemonKind::Nsqd, requests).await;
        let value = round.any_answers(&mut warnings);
        Found { value, warnings }
    }
}

/// A node with long messages takes a moment to read them.
const LONGEST_PEEK: Duration = Duration::from_secs(4);
