//! The nsqd that takes over what is left here, as this one talks to it: over HTTP.

use std::fmt;
use std::time::Duration;

use nsq_daemon::http::StatusCode;
use nsq_daemon::http::client::{Cause, Client, ClientError, ClientOptions, query_escape};
use nsq_daemon::version::VERSION;
use nsq_protocol::{ChannelName, TopicName};
use serde::{Deserialize, Serialize};

use super::parcel;
use crate::settings::Settings;

/// For a whole request: the other side writes and syncs as much as one parcel holds.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest answer worth reading.
const ANSWER_BYTES: usize = 64 << 10;

/// Where an nsqd answers HTTP: `host:port`, perhaps with `http://` or `https://` before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address(String);

impl Address {
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Address, &'static str> {
        const RULE: &str =
            "must be the host:port of an nsqd's HTTP address, or its http:// or https:// URL";
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let host_port = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = host_port.rsplit_once(':').ok_or(RULE)?;
        let is_host = !host.is_empty()
            && (!host.contains(':') || (host.starts_with('[') && host.ends_with(']')))
            && !host
                .contains(|c: char| c.is_whitespace() || c.is_control() || "/?#@\\".contains(c));
        let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
        if !matches!(scheme, "http" | "https") || !is_host || !is_port {
            return Err(RULE);
        }
        Ok(Address(format!("{scheme}://{host_port}")))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.strip_prefix("http://").unwrap_or(&self.0))
    }
}

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
        "{0} cannot adopt messages (it has no /adopt): drain into an nsqd of this kind, or without one"
    )]
    Unable(Address),
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
            Self::Unable(_) | Self::Itself(_) => true,
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
        let url = format!("{}/adopt", self.address.0);
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
        parcel: Vec<u8>,
    ) -> Result<(), TargetError> {
        let url = self.url("/adopt", topic, channel);
        let sent = self
            .client
            .send(&url, "application/octet-stream", parcel.into());
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
        let mut url = format!("{}{path}?topic={topic}", self.address.0);
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

    /// How many bytes of bodies and heads one parcel may hold.
    pub(crate) fn max_parcel_bytes(&self) -> usize {
        parcel::limit_bytes(self.max_msg_size, self.max_body_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (text, want) in [
            ("other:4151", "other:4151"),
            ("127.0.0.1:4151", "127.0.0.1:4151"),
            ("[::1]:4151", "[::1]:4151"),
            ("http://other:4151/", "other:4151"),
            ("https://other:4152", "https://other:4152"),
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), want);
        }
        for bad in [
            "",
            "other",
            "other:",
            ":4151",
            "other:0",
            "other:70000",
            "::1:4151",
            "ftp://other:21",
            "other:4151/adopt",
            "user@other:4151",
            "a b:4151",
            "other:4151?x",
            "http://",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }
}
