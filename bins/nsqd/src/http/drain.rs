//! `/drain`, by which this nsqd leaves the cluster, and `/adopt`, by which it takes over what another one had that does.

use std::sync::Arc;

use nsq_core::topic::Remaining;
use nsq_daemon::http::{ApiError, Method, Reply, Request, Router};
use nsq_protocol::ChannelName;
use serde::Serialize;

use super::arguments::{parameters, read, wanted_topic};
use super::replies::{blocking, draining, not_made, unreadable};
use crate::clock;
use crate::drain::IN_CLUSTER;
use crate::drain::address::Address;
use crate::drain::batch::{self, BatchError};
use crate::drain::order::Order;
use crate::drain::target::{self, Offer};
use crate::nsqd::Nsqd;

pub(super) fn add_routes(router: Router<Nsqd>) -> Router<Nsqd> {
    router
        .quiet_route(Method::GET, "/drain", show)
        .route(Method::POST, "/drain", begin)
        .route(Method::DELETE, "/drain", cancel)
        .quiet_route(Method::GET, "/adopt", offer)
        .quiet_route(Method::POST, "/adopt", adopt)
}

// ---- leaving ----

/// The answer of `/drain`, whatever the method.
#[derive(Serialize)]
struct Progress {
    draining: bool,
    /// `null` when nothing is forwarded.
    to: Option<String>,
    /// Unix seconds; `null` when nsqd does not drain.
    since: Option<i64>,
    forwarded: u64,
    left: u64,
    left_queued: u64,
    left_in_flight: u64,
    left_deferred: u64,
    /// In topics that are paused or have no channel.
    left_unoffered: u64,
    /// Why it does not continue, if so.
    trouble: Option<String>,
}

impl Progress {
    fn of(order: Option<&Order>, left: Remaining) -> Progress {
        Progress {
            draining: order.is_some(),
            to: order.and_then(|order| Some(order.to.as_ref()?.to_string())),
            since: order.map(|order| order.since),
            forwarded: order.map_or(0, Order::forwarded_count),
            left: left.total(),
            left_queued: left.queued,
            left_in_flight: left.in_flight,
            left_deferred: left.deferred,
            left_unoffered: left.unoffered,
            trouble: order.and_then(Order::trouble),
        }
    }
}

async fn progress(nsqd: &Arc<Nsqd>) -> Reply {
    let order = nsqd.drain.order();
    let left = nsqd.drain.left().await;
    Reply::json(&Progress::of(order.as_deref(), left))
}

async fn show(nsqd: Arc<Nsqd>, _: Request) -> Result<Reply, ApiError> {
    Ok(progress(&nsqd).await)
}

async fn begin(nsqd: Arc<Nsqd>, mut request: Request) -> Result<Reply, ApiError> {
    let query = read(&mut request).await?;
    if nsqd.cluster.is_some() {
        return Err(ApiError::bad_request(format!("CANNOT_DRAIN: {IN_CLUSTER}")));
    }
    let to = query.first("to").unwrap_or(&nsqd.settings.drain_to);
    let to = match to {
        "" => None,
        to => Some(
            Address::parse(to)
                .map_err(|rule| ApiError::bad_request(format!("INVALID_ARG_TO: {to:?} {rule}")))?,
        ),
    };
    let begun = nsqd.drain.begin(to).await;
    begun.map_err(|error| ApiError::bad_request(format!("CANNOT_DRAIN: {error}")))?;
    Ok(progress(&nsqd).await)
}

async fn cancel(nsqd: Arc<Nsqd>, mut request: Request) -> Result<Reply, ApiError> {
    read(&mut request).await?;
    nsqd.drain.cancel();
    Ok(progress(&nsqd).await)
}

// ---- taking over ----

/// Attempts and due times of messages that a draining nsqd gives away could not be kept on every replica.
fn cannot_adopt() -> ApiError {
    let code = target::IN_CLUSTER;
    let why = "a node of a cluster takes no messages of a draining nsqd";
    ApiError::bad_request(format!("{code}: {why}"))
}

async fn offer(nsqd: Arc<Nsqd>, _: Request) -> Result<Reply, ApiError> {
    if nsqd.cluster.is_some() {
        return Err(cannot_adopt());
    }
    let limits = &nsqd.server.settings().limits;
    Ok(Reply::json(&Offer {
        process: nsqd.drain.process().to_owned(),
        draining: nsqd.broker.is_draining(),
        max_msg_size: limits.max_msg_size,
        max_body_size: limits.max_body_size,
    }))
}

/// Messages for one channel, or, without `channel`, for the topic. They are on the disk when the answer arrives.
async fn adopt(nsqd: Arc<Nsqd>, mut request: Request) -> Result<Reply, ApiError> {
    if nsqd.cluster.is_some() {
        return Err(cannot_adopt());
    }
    if nsqd.broker.is_draining() {
        return Err(draining());
    }
    let query = parameters(&request)?;
    let channel = query.first("channel").map(ChannelName::parse).transpose();
    let channel = channel.map_err(|_| ApiError::bad_request("INVALID_CHANNEL"))?;
    let topic = query.first("topic").unwrap_or_default();
    let is_ephemeral = |name: &str| name.ends_with("#ephemeral");
    if is_ephemeral(topic) || channel.as_ref().is_some_and(ChannelName::is_ephemeral) {
        return Err(ApiError::bad_request("CANNOT_ADOPT_EPHEMERAL"));
    }
    let limits = &nsqd.server.settings().limits;
    let limit_bytes = batch::limit_bytes(limits.max_msg_size, limits.max_body_size);
    let read = request.read_body(limit_bytes).await;
    let body = read.map_err(|error| unreadable(&error, "BODY_TOO_BIG"))?;
    let topic = wanted_topic(&nsqd, &query).await?;
    let max_msg_size = limits.max_msg_size;
    blocking(move || {
        let messages = batch::read(&body, max_msg_size).map_err(|error| match error {
            BatchError::Malformed => ApiError::bad_request("BAD_BODY"),
            BatchError::MessageTooBig => ApiError::too_large("MSG_TOO_BIG"),
        })?;
        let adopted = topic.adopt(channel.as_ref(), &messages, clock::now());
        adopted.map_err(|error| not_made(&format!("TOPIC({}): messages", topic.name()), &error))?;
        Ok(Reply::text("OK"))
    })
    .await?
}
