//! `/channel/peek` and `/topic/peek`: looking at messages without taking them.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use nsq_core::peek::PeekedMessage;
use nsq_core::{ClientId, Peek, PeekLimits};
use nsq_daemon::http::{ApiError, Method, Query, Reply, Request, Router, StatusCode};
use serde::{Serialize, Serializer};

use super::arguments::{Target, read, valid_topic_argument};
use super::replies::{blocking, channel_not_found, topic_not_found};
use crate::client_table::{ClientTable, Connected};
use crate::clock;
use crate::nsqd::Nsqd;

pub(super) fn add_routes(router: Router<Nsqd>) -> Router<Nsqd> {
    router
        .route(Method::GET, "/channel/peek", peek_channel)
        .route(Method::GET, "/topic/peek", peek_topic)
}

async fn peek_channel(nsqd: Arc<Nsqd>, mut request: Request) -> Result<Reply, ApiError> {
    allowed(&nsqd)?;
    let query = read(&mut request).await?;
    let target = Target::parse(&query)?;
    let limits = limits(&query)?;
    let (topic, channel) = target.channel(&nsqd)?;
    blocking(move || {
        let peek = channel.peek(limits, clock::now());
        let peek = peek.ok_or_else(channel_not_found)?;
        let holders = Holders::of(&nsqd.clients);
        Ok(Reply::json(&ChannelReport {
            topic: topic.name().as_str(),
            channel: channel.name().as_str(),
            queued_total: peek.queued_total,
            in_flight_total: peek.in_flight_total,
            deferred_total: peek.deferred_total,
            in_flight: in_flight(&peek, &holders),
            deferred: deferred(&peek),
            queued: queued(&peek),
        }))
    })
    .await?
}

async fn peek_topic(nsqd: Arc<Nsqd>, mut request: Request) -> Result<Reply, ApiError> {
    allowed(&nsqd)?;
    let query = read(&mut request).await?;
    let name = valid_topic_argument(&query)?;
    let limits = limits(&query)?;
    let topic = nsqd.view().topic(name);
    let topic = topic.ok_or_else(topic_not_found)?;
    blocking(move || {
        let peek = topic.peek(limits);
        Ok(Reply::json(&TopicReport {
            topic: topic.name().as_str(),
            queued_total: peek.queued_total,
            deferred_total: peek.deferred_total,
            queued: queued(&peek),
            deferred: deferred(&peek),
        }))
    })
    .await?
}

fn allowed(nsqd: &Nsqd) -> Result<(), ApiError> {
    if nsqd.settings.enable_peek {
        return Ok(());
    }
    let why = "looking at messages is switched off: this nsqd runs with --enable-peek=false";
    Err(ApiError::new(StatusCode::FORBIDDEN, why))
}

// ---- arguments ----

const DEFAULT_COUNT: usize = 20;
const MAX_COUNT: usize = 200;
const DEFAULT_BODY_BYTES: usize = 4096;
const MAX_BODY_BYTES: usize = 64 << 10;

fn limits(query: &Query) -> Result<PeekLimits, ApiError> {
    let number = |key, default, max, code| match query.first(key) {
        None | Some("") => Ok(default),
        Some(text) => {
            let number = text.parse().ok().filter(|&number: &usize| number <= max);
            number.ok_or(ApiError::bad_request(code))
        }
    };
    Ok(PeekLimits {
        messages: number("count", DEFAULT_COUNT, MAX_COUNT, "INVALID_ARG_COUNT")?,
        body_bytes: number(
            "max_body",
            DEFAULT_BODY_BYTES,
            MAX_BODY_BYTES,
            "INVALID_ARG_MAX_BODY",
        )?,
    })
}

// ---- the answer ----

#[derive(Serialize)]
struct ChannelReport<'a> {
    topic: &'a str,
    channel: &'a str,
    queued_total: u64,
    in_flight_total: u64,
    deferred_total: u64,
    queued: Vec<MessageReport<'a>>,
    in_flight: Vec<InFlightReport<'a>>,
    deferred: Vec<DeferredReport<'a>>,
}

#[derive(Serialize)]
struct TopicReport<'a> {
    topic: &'a str,
    queued_total: u64,
    deferred_total: u64,
    queued: Vec<MessageReport<'a>>,
    deferred: Vec<DeferredReport<'a>>,
}

#[derive(Serialize)]
struct MessageReport<'a> {
    id: String,
    /// Unix nanoseconds, as are all times here.
    timestamp: i64,
    attempts: u16,
    #[serde(serialize_with = "base64")]
    body: &'a [u8],
    body_size: usize,
    truncated: bool,
}

#[derive(Serialize)]
struct InFlightReport<'a> {
    #[serde(flatten)]
    message: MessageReport<'a>,
    due_at: i64,
    delivered_at: i64,
    /// `null` when the client has gone: the message stays in flight until its timeout.
    client: Option<Holder>,
}

#[derive(Serialize)]
struct DeferredReport<'a> {
    #[serde(flatten)]
    message: MessageReport<'a>,
    due_at: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Holder {
    client_id: String,
    hostname: String,
    remote_address: String,
}

impl Holder {
    fn of(connected: &Connected) -> Holder {
        let client = &connected.client;
        let details = client.details();
        Holder {
            client_id: details.client_id.clone(),
            hostname: details.hostname.clone(),
            remote_address: client.remote_address().to_owned(),
        }
    }
}

/// The connected clients.
struct Holders(HashMap<ClientId, Arc<Connected>>);

impl Holders {
    fn of(clients: &ClientTable) -> Holders {
        let clients = clients.all().into_iter();
        Holders(
            clients
                .map(|connected| (connected.client.id(), connected))
                .collect(),
        )
    }

    fn find(&self, id: ClientId) -> Option<Holder> {
        self.0.get(&id).map(|client| Holder::of(client))
    }
}

fn base64<S: Serializer>(body: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64.encode(body))
}

fn report(message: &PeekedMessage) -> MessageReport<'_> {
    MessageReport {
        id: message.id.to_string(),
        timestamp: message.timestamp,
        attempts: message.attempts,
        body: &message.body,
        body_size: message.body_bytes,
        truncated: message.body.len() < message.body_bytes,
    }
}

fn queued(peek: &Peek) -> Vec<MessageReport<'_>> {
    peek.queued.iter().map(report).collect()
}

fn in_flight<'a>(peek: &'a Peek, holders: &Holders) -> Vec<InFlightReport<'a>> {
    let held = peek.in_flight.iter().map(|held| InFlightReport {
        message: report(&held.message),
        due_at: held.due_at,
        delivered_at: held.delivered_at,
        client: holders.find(held.client),
    });
    held.collect()
}

fn deferred(peek: &Peek) -> Vec<DeferredReport<'_>> {
    let deferred = peek.deferred.iter().map(|deferred| DeferredReport {
        message: report(&deferred.message),
        due_at: deferred.due_at,
    });
    deferred.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_sizes_have_defaults_and_bounds() {
        let check = |query: &str, want: Result<(usize, usize), &'static str>| {
            let got = limits(&Query::parse(query).unwrap());
            let got = got.map(|limits| (limits.messages, limits.body_bytes));
            assert_eq!(got, want.map_err(ApiError::bad_request), "{query}");
        };
        check("", Ok((20, 4096)));
        check("count=&max_body=", Ok((20, 4096)));
        check("count=200&max_body=65536", Ok((200, 65536)));
        check("count=0&max_body=0", Ok((0, 0)));
        for bad in ["201", "-1", "x", "1.5", "99999999999999999999999"] {
            check(&format!("count={bad}"), Err("INVALID_ARG_COUNT"));
        }
        check("max_body=65537", Err("INVALID_ARG_MAX_BODY"));
        check("count=x&max_body=x", Err("INVALID_ARG_COUNT"));
    }
}
