//! The nsqd that takes over what is left here, as this one talks to it: over HTTP.

use std::time::Duration;

use nsq_daemon::http::StatusCode;
use nsq_daemon::http::client::{Cause, Client, ClientError, ClientOptions, query_escape};
use nsq_daemon::version::VERSION;
use nsq_protocol::{ChannelName, TopicName};
use serde::{Deserialize, Serialize};

use super::address::Address;
use super::batch;
use crate::settings::Settings;

/// For a whole request: the other side writes and syncs as much as one batch holds.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest answer worth reading.
const ANSWER_BYTES: usize = 64 << 10;

/// How the answer of a node of a cluster to `/adopt` begins.
pub(crate) const IN_CLUSTER: &str = "CANNOT_ADOPT_IN_CLUSTER";

/// What an nsqd says when it is asked whether it adopts messages: the answer to `GET /adopt`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Offer {
    /// Of this process alone.
    pub(crate) process: String,
    pub(crate) draining: bool,
    pub(crate) max_msg_size: i64,
    pub(crate) max_body_size: i64,
}

/// Why the other nsqd does not take messages. `Display` is for the operator.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    #[error(
        "{0} cannot adopt messages (it has no /adopt): drain to an nsqd of this project, or without another nsqd"
    )]
    Unable(Address),
    #[error(
        "{0} is a node of a cluster, which adopts no messages: drain without another nsqd, or use nsq_to_nsq"
    )]
    InCluster(Address),
    #[error("{0} is this nsqd itself")]
    Itself(Address),
    #[error("{0} is draining itself")]
    Draining(Address),
    #[error("{address} does not take messages: {why}")]
    Failed { address: Address, why: String },
}

impl TargetError {
    /// Whether trying again cannot help.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Unable(_) | Self::InCluster(_) | Self::Itself(_) => true,
            Self::Draining(_) | Self::Failed { .. } => false,
        }
    }
}

/// An nsqd that takes messages over.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    address: Address,
    client: Client,
}

impl Target {
    /// Nothing is sent yet.
    pub(crate) fn new(address: Address, settings: &Settings) -> Target {
        let client = Client::new(ClientOptions {
            connect_timeout: settings.http_client_connect_timeout,
            request_timeout: REQUEST_TIMEOUT,
            tls: Some(settings.auth_tls().clone()),
            user_agent: format!("nsqd/{VERSION}"),
            body_limit: ANSWER_BYTES,
        });
        Target { address, client }
    }

    /// Asks whether it takes messages, and of what size. `process` is this one.
    pub(crate) async fn ask(&self, process: &str) -> Result<Offer, TargetError> {
        let url = format!("{}/adopt", self.address.url());
        let offer: Offer = self
            .client
            .get_json(&url)
            .await
            .map_err(|error| self.failed(&error))?;
        if offer.process == process {
            return Err(TargetError::Itself(self.address.clone()));
        }
        if offer.draining {
            return Err(TargetError::Draining(self.address.clone()));
        }
        Ok(offer)
    }

    /// Has the topic there, paused if so told.
    pub(crate) async fn make_topic(
        &self,
        topic: &TopicName,
        is_paused: bool,
    ) -> Result<(), TargetError> {
        self.order("/topic/create", topic, None).await?;
        if is_paused {
            self.order("/topic/pause", topic, None).await?;
        }
        Ok(())
    }

    /// Has the channel there, paused if so told.
    pub(crate) async fn make_channel(
        &self,
        topic: &TopicName,
        channel: &ChannelName,
        is_paused: bool,
    ) -> Result<(), TargetError> {
        self.order("/channel/create", topic, Some(channel)).await?;
        if is_paused {
            self.order("/channel/pause", topic, Some(channel)).await?;
        }
        Ok(())
    }

    /// Gives it messages for one channel, or for the topic. When this returns they are safe there; after an error it may
    /// have them or not.
    pub(crate) async fn give(
        &self,
        topic: &TopicName,
        channel: Option<&ChannelName>,
        batch: Vec<u8>,
    ) -> Result<(), TargetError> {
        let url = self.url("/adopt", topic, channel);
        let sent = self
            .client
            .send(&url, "application/octet-stream", batch.into());
        sent.await.map_err(|error| self.failed(&error))
    }

    async fn order(
        &self,
        path: &str,
        topic: &TopicName,
        channel: Option<&ChannelName>,
    ) -> Result<(), TargetError> {
        let url = self.url(path, topic, channel);
        let ordered = self.client.order(&url).await;
        ordered.map_err(|error| self.failed(&error))
    }

    fn url(&self, path: &str, topic: &TopicName, channel: Option<&ChannelName>) -> String {
        let topic = query_escape(topic.as_str());
        let mut url = format!("{}{path}?topic={topic}", self.address.url());
        if let Some(channel) = channel {
            url.push_str("&channel=");
            url.push_str(&query_escape(channel.as_str()));
        }
        url
    }

    fn failed(&self, error: &ClientError) -> TargetError {
        let address = self.address.clone();
        match &error.cause {
            Cause::Status { status, .. }
                if [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED].contains(status) =>
            {
                TargetError::Unable(address)
            }
            Cause::Status { body, .. } if body.contains(IN_CLUSTER) => {
                TargetError::InCluster(address)
            }
            Cause::Status { body, .. } if body.contains(r#""DRAINING""#) => {
                TargetError::Draining(address)
            }
            cause => TargetError::Failed {
                address,
                why: cause.to_string(),
            },
        }
    }
}

impl Offer {
    /// The largest message it takes, in bytes.
    pub(crate) fn max_message_bytes(&self) -> usize {
        usize::try_from(self.max_msg_size).unwrap_or(0)
    }

    /// How many bytes of bodies and heads one batch may hold.
    pub(crate) fn max_parcel_bytes(&self) -> usize {
        batch::limit_bytes(self.max_msg_size, self.max_body_size)
    }
}
