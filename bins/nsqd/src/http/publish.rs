//! `/pub` and `/mpub`.

use std::sync::Arc;
use std::time::Duration;

use nsq_core::topic::Published;
use nsq_core::{Now, PublishError, Topic};
use nsq_daemon::http::{ApiError, BodyError, Query, Reply, Request};

use super::drain::draining;
use super::{batch, exiting, internal_error, wanted_topic};
use crate::clock;
use crate::nsqd::Nsqd;

/// One message: the body as it is.
///
/// Compat: the body is looked at before the query, and the topic made before `defer` is read (doPUB, nsqd/http.go).
pub(super) async fn publish(nsqd: Arc<Nsqd>, mut request: Request) -> Result<Reply, ApiError> {
    let read = request.read_body(limit_of(nsqd.limits.max_msg_size)).await;
    let body = read.map_err(|error| unreadable(&error, "MSG_TOO_BIG"))?;
    if body.is_empty() {
        return Err(ApiError::bad_request("MSG_EMPTY"));
    }
    let query = request.query()?;
    let topic = wanted_topic(&nsqd, &query).await?;
    let delay = delay(&query, nsqd.limits.max_req_timeout)?;
    let accept = |topic: &Topic, now: Now| {
        if delay.is_zero() {
            topic.publish(std::iter::once(&*body), now)
        } else {
            topic.publish_deferred(&body, now.unix_after(delay), now)
        }
    };
    enqueue(&nsqd, topic, accept).await
}

/// Several messages, all or none.
///
/// Compat: here the topic is made before the body is read (doMPUB, nsqd/http.go).
pub(super) async fn publish_many(nsqd: Arc<Nsqd>, mut request: Request) -> Result<Reply, ApiError> {
    let limit_bytes = limit_of(nsqd.limits.max_body_size);
    if request
        .content_length()
        .is_some_and(|length| usize::try_from(length).map_or(true, |length| length > limit_bytes))
    {
        return Err(ApiError::too_large("BODY_TOO_BIG"));
    }
    let query = request.query()?;
    let topic = wanted_topic(&nsqd, &query).await?;
    let is_binary = is_binary(&query);
    let read = request.read_body(limit_bytes).await;
    let body = read.map_err(|error| unreadable(&error, "BODY_TOO_BIG"))?;
    let messages = if is_binary {
        batch::binary(&body, &nsqd.limits)?
    } else {
        batch::lines(&body, &nsqd.limits)?
    };
    if messages.is_empty() {
        return Ok(Reply::text("OK"));
    }
    let accept = |topic: &Topic, now: Now| topic.publish(messages.iter().copied(), now);
    enqueue(&nsqd, topic, accept).await
}

/// Has `accept` publish to `topic`, and answers once what was published is as safe as nsqd promises.
async fn enqueue(
    nsqd: &Nsqd,
    mut topic: Arc<Topic>,
    accept: impl Fn(&Topic, Now) -> Result<Published, PublishError>,
) -> Result<Reply, ApiError> {
    let mut outcome = accept(&topic, clock::now());
    if let Err(PublishError::Exiting) = outcome
        && !nsqd.is_exiting()
    {
        // It was deleted a moment ago: the next one of that name is as good.
        let made = nsqd.create_topic(topic.name()).await;
        topic =
            made.map_err(|error| super::not_made(&format!("TOPIC({})", topic.name()), &error))?;
        outcome = accept(&topic, clock::now());
    }
    match outcome {
        Ok(published) => {
            if nsqd.sync_publish {
                nsqd.notes.syncer.sync(&topic).await.map_err(|error| {
                    tracing::error!("TOPIC({}): publish failed: {error}", topic.name());
                    if nsqd.is_exiting() {
                        exiting()
                    } else {
                        internal_error()
                    }
                })?;
            } else if published.sync_due {
                nsqd.notes.syncer.ask_for_published(&topic);
            }
            Ok(Reply::text("OK"))
        }
        Err(PublishError::Exiting) => Err(exiting()),
        Err(PublishError::Draining) => Err(draining()),
        Err(PublishError::Log(error)) => {
            tracing::error!("TOPIC({}): publish failed: {error}", topic.name());
            Err(internal_error())
        }
    }
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

pub(super) fn unreadable(error: &BodyError, too_big: &'static str) -> ApiError {
    match error {
        BodyError::TooBig { .. } => ApiError::too_large(too_big),
        BodyError::Read(_) => internal_error(),
        BodyError::Late(answer) => answer.clone(),
    }
}

/// An option's limit as a length in memory; a negative one lets nothing pass.
pub(super) fn limit_of(max_bytes: i64) -> usize {
    usize::try_from(max_bytes).unwrap_or(0)
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

    #[test]
    fn a_negative_limit_lets_nothing_pass() {
        assert_eq!(limit_of(-1), 0);
        assert_eq!(limit_of(5), 5);
    }
}
