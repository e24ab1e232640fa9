//! `/pub` and `/mpub`.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use nsq_core::topic::Published;
use nsq_core::{Now, PublishError, TicketState, TicketWaiter, Topic};
use nsq_daemon::http::{ApiError, Query, Reply, Request, StatusCode};
use nsq_protocol::TopicName;
use nsq_server::{RouteError, Router};

use super::arguments::{limit_of, parameters, topic_argument, wanted_topic};
use super::batch;
use super::replies::{draining, exiting, internal_error, not_made, not_made_anywhere, unreadable};
use crate::clock;
use crate::nsqd::Nsqd;
use crate::sync_runner::{Settled, settled};

/// How often a publish to a topic of the cluster is tried that is deleted between its creation and the publish.
const ROUTE_TRIES: usize = 3;

/// One message: the body as it is.
///
/// Compat: the body is looked at before the query, and the topic made before `defer` is read (doPUB, nsqd/http.go).
pub(super) async fn publish(nsqd: Arc<Nsqd>, mut request: Request) -> Result<Reply, ApiError> {
    let read = request
        .read_body(limit_of(nsqd.server.settings().limits.max_msg_size))
        .await;
    let body = read.map_err(|error| unreadable(&error, "MSG_TOO_BIG"))?;
    if body.is_empty() {
        return Err(ApiError::bad_request("MSG_EMPTY"));
    }
    let query = parameters(&request)?;
    let destination = Destination::wanted(&nsqd, &query).await?;
    let delay = delay(&query, nsqd.server.settings().limits.max_req_timeout)?;
    destination.publish(&nsqd, &[&body], delay).await
}

/// Several messages, all or none.
///
/// Compat: here the topic is made before the body is read (doMPUB, nsqd/http.go).
pub(super) async fn publish_many(nsqd: Arc<Nsqd>, mut request: Request) -> Result<Reply, ApiError> {
    let limit_bytes = limit_of(nsqd.server.settings().limits.max_body_size);
    if request
        .content_length()
        .is_some_and(|length| usize::try_from(length).map_or(true, |length| length > limit_bytes))
    {
        return Err(ApiError::too_large("BODY_TOO_BIG"));
    }
    let query = parameters(&request)?;
    let destination = Destination::wanted(&nsqd, &query).await?;
    let is_binary = is_binary(&query);
    let read = request.read_body(limit_bytes).await;
    let body = read.map_err(|error| unreadable(&error, "BODY_TOO_BIG"))?;
    let messages = if is_binary {
        batch::binary(&body, &nsqd.server.settings().limits)?
    } else {
        batch::lines(&body, &nsqd.server.settings().limits)?
    };
    if messages.is_empty() {
        return Ok(Reply::text("OK"));
    }
    destination.publish(&nsqd, &messages, Duration::ZERO).await
}

/// Where messages are published to.
enum Destination {
    /// A topic of this nsqd.
    Topic(Arc<Topic>),
    /// A topic of the cluster.
    Routed(Arc<dyn Router>, TopicName),
}

impl Destination {
    /// What the query names. A topic of this nsqd is made if it is new.
    async fn wanted(nsqd: &Nsqd, query: &Query) -> Result<Destination, ApiError> {
        let name = topic_argument(query)?;
        let Some(router) = nsqd.server.route(name) else {
            return wanted_topic(nsqd, query).await.map(Destination::Topic);
        };
        let name = TopicName::parse(name).map_err(|_| ApiError::bad_request("INVALID_TOPIC"))?;
        Ok(Destination::Routed(Arc::clone(router), name))
    }

    /// Publishes `messages`, one if there is a delay, and answers once they are as safe as nsqd promises.
    async fn publish(
        self,
        nsqd: &Nsqd,
        messages: &[&[u8]],
        delay: Duration,
    ) -> Result<Reply, ApiError> {
        match self {
            Destination::Routed(router, topic) => {
                route(nsqd, &*router, &topic, messages, delay).await
            }
            Destination::Topic(topic) => {
                let accept = |topic: &Topic, now: Now| match messages {
                    [body] if !delay.is_zero() => {
                        topic.publish_deferred(body, now.unix_after(delay), now)
                    }
                    _ => topic.publish(messages.iter().copied(), now),
                };
                enqueue(nsqd, topic, accept).await
            }
        }
    }
}

/// Publishes through the cluster's router, which makes the topic if it is new.
async fn route(
    nsqd: &Nsqd,
    router: &dyn Router,
    topic: &TopicName,
    messages: &[&[u8]],
    delay: Duration,
) -> Result<Reply, ApiError> {
    let settled = Arc::new(Settled::default());
    for _ in 0..ROUTE_TRIES {
        let now = clock::now();
        let due = (!delay.is_zero()).then(|| now.unix_after(delay));
        let waiter = Arc::clone(&settled) as Arc<dyn TicketWaiter>;
        let mut bodies = messages.iter().copied();
        match router.publish(topic, &mut bodies, due, now, waiter) {
            Ok(pending) => {
                let outcome = settled.outcome(&pending).await;
                return match outcome {
                    Ok(()) => Ok(Reply::text("OK")),
                    Err(cause) => Err(not_published(nsqd, &cause)),
                };
            }
            Err(RouteError::Refused(cause)) => return Err(not_published(nsqd, &cause)),
            Err(RouteError::NoTopic) => {
                let made = nsqd.topics.make(topic, None).await;
                made.map_err(|error| not_made_anywhere(&format!("TOPIC({topic})"), &error))?;
            }
        }
    }
    Err(not_published(nsqd, "the topic is deleted again and again"))
}

/// The answer when the cluster did not take messages, or not in time.
fn not_published(nsqd: &Nsqd, cause: &str) -> ApiError {
    if nsqd.server.is_exiting() {
        return exiting();
    }
    let code = format!("CLUSTER_UNAVAILABLE: {cause}");
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code)
}

/// Has `accept` publish to `topic`, and answers once what was published is as safe as nsqd promises.
async fn enqueue(
    nsqd: &Nsqd,
    mut topic: Arc<Topic>,
    accept: impl Fn(&Topic, Now) -> Result<Published, PublishError>,
) -> Result<Reply, ApiError> {
    let mut outcome = accept(&topic, clock::now());
    if let Err(PublishError::Exiting) = outcome
        && !nsqd.server.is_exiting()
    {
        // It was deleted a moment ago: the next one of that name is as good.
        let made = nsqd.topics.make_here(topic.name()).await;
        topic = made.map_err(|error| not_made(&format!("TOPIC({})", topic.name()), &error))?;
        outcome = accept(&topic, clock::now());
    }
    match outcome {
        Ok(published) => {
            let publisher = nsqd.server.syncs().request();
            nsqd.server.sync_for(&topic, &published, publisher);
            if !published.is_safe
                && let TicketState::Failed(error) = settled(&topic, published.ticket).await
            {
                log_failure(&topic, &error);
                return Err(if nsqd.server.is_exiting() {
                    exiting()
                } else {
                    internal_error()
                });
            }
            Ok(Reply::text("OK"))
        }
        Err(PublishError::Exiting) => Err(exiting()),
        Err(PublishError::Draining) => Err(draining()),
        Err(error @ (PublishError::Log(_) | PublishError::Replicated)) => {
            log_failure(&topic, &error);
            Err(internal_error())
        }
    }
}

/// Upstream's line for a full disk, or one that fails.
fn log_failure(topic: &Topic, error: &dyn Display) {
    tracing::error!(
        "TOPIC({}) ERROR: failed to write message to backend - {error}",
        topic.name()
    );
}

/// How long the message is to be held back: `defer`, in milliseconds.
fn delay(query: &Query, max: Duration) -> Result<Duration, ApiError> {
    let Some(millis) = query.first("defer") else {
        return Ok(Duration::ZERO);
    };
    // Signed, so that `-0` and `+5` are numbers, as in Go.
    let millis = millis.parse::<i64>().ok();
    millis
        .and_then(|millis| u64::try_from(millis).ok())
        .map(Duration::from_millis)
        .filter(|delay| *delay <= max)
        .ok_or(ApiError::bad_request("INVALID_DEFER"))
}

/// Whether an `/mpub` is binary.
///
/// Compat: a value that is no known word, the empty one too, means yes (doMPUB, nsqd/http.go).
fn is_binary(query: &Query) -> bool {
    match query.first("binary") {
        None | Some("false" | "0") => false,
        Some("true" | "1") => true,
        Some(other) => {
            tracing::warn!("deprecated value '{other}' used for /mpub binary param");
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(text).unwrap()
    }

    #[test]
    fn a_deferral_is_a_number_of_milliseconds_within_the_limit() {
        let check = |text: &str, want: Option<u64>| {
            let got = delay(&query(text), Duration::from_secs(10));
            let want = want
                .map(Duration::from_millis)
                .ok_or(ApiError::bad_request("INVALID_DEFER"));
            assert_eq!(got, want, "{text}");
        };
        check("topic=t", Some(0));
        check("defer=0", Some(0));
        check("defer=-0", Some(0));
        check("defer=%2B5", Some(5));
        check("defer=10000", Some(10_000));
        for bad in [
            "10001",
            "-1",
            "",
            "x",
            "1.5",
            "0x5",
            "1_0",
            " 5",
            "9223372036854775808",
        ] {
            check(&format!("defer={bad}"), None);
        }
    }

    #[test]
    fn a_batch_is_binary_unless_the_query_says_otherwise() {
        for (text, want) in [
            ("topic=t", false),
            ("binary=false", false),
            ("binary=0", false),
            ("binary=true", true),
            ("binary=1", true),
            ("binary", true),
            ("binary=FALSE", true),
            ("binary=no", true),
            ("binary=0&binary=1", false),
        ] {
            assert_eq!(is_binary(&query(text)), want, "{text}");
        }
    }
}
