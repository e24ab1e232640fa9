//! `/topic/*` and `/channel/*`: making, deleting, emptying, pausing.
//!
//! All of it may be repeated, and is done when the answer arrives: what was deleted is gone, and what was paused or
//! deleted stays so after a kill.

use std::sync::Arc;

use nsq_core::{ChannelCell, Topic, Wakes};
use nsq_daemon::http::{ApiError, Method, Query, Reply, Request, Router};
use nsq_protocol::{ChannelName, TopicName, is_valid_name};

use super::{blocking, internal_error, not_made, wanted_topic};
use crate::clock;
use crate::nsqd::Nsqd;

pub(super) fn add_routes(router: Router<Nsqd>) -> Router<Nsqd> {
    let post = Method::POST;
    router
        .route(post.clone(), "/topic/create", create_topic)
        .route(post.clone(), "/topic/delete", delete_topic)
        .route(post.clone(), "/topic/empty", empty_topic)
        .route(post.clone(), "/topic/pause", |nsqd, request| {
            set_topic_paused(nsqd, request, true)
        })
        .route(post.clone(), "/topic/unpause", |nsqd, request| {
            set_topic_paused(nsqd, request, false)
        })
        .route(post.clone(), "/channel/create", create_channel)
        .route(post.clone(), "/channel/delete", delete_channel)
        .route(post.clone(), "/channel/empty", empty_channel)
        .route(post.clone(), "/channel/pause", |nsqd, request| {
            set_channel_paused(nsqd, request, true)
        })
        .route(post, "/channel/unpause", |nsqd, request| {
            set_channel_paused(nsqd, request, false)
        })
}

// ---- topics ----

async fn create_topic(nsqd: Arc<Nsqd>, mut request: Request) -> Result<Reply, ApiError> {
    let query = read(&mut request).await?;
    wanted_topic(&nsqd, &query).await?;
    Ok(Reply::empty())
}

async fn delete_topic(nsqd: Arc<Nsqd>, mut request: Request) -> Result<Reply, ApiError> {
    let query = read(&mut request).await?;
    let name = topic_argument(&query)?.to_owned();
    let is_deleted = blocking(move || {
        let is_deleted = nsqd.broker.delete_topic(&name);
        if is_deleted {
            save_metadata(&nsqd);
        }
        is_deleted
    });
    if is_deleted.await? {
        Ok(Reply::empty())
    } else {
        Err(topic_not_found())
    }
}

async fn empty_topic(nsqd: Arc<Nsqd>, mut request: Request) -> Result<Reply, ApiError> {
    let query = read(&mut request).await?;
    let name = valid_topic_argument(&query)?;
    let topic = nsqd.broker.topic(name).ok_or_else(topic_not_found)?;
    let outcome = blocking(move || {
        topic.empty().inspect_err(|error| {
            tracing::error!("TOPIC({}): cannot be emptied: {error}", topic.name());
        })
    });
    outcome.await?.map_err(|_| internal_error())?;
    Ok(Reply::empty())
}

/// Compat: as with a delete, the name need not be one (doPauseTopic, nsqd/http.go).
async fn set_topic_paused(
    nsqd: Arc<Nsqd>,
    mut request: Request,
    paused: bool,
) -> Result<Reply, ApiError> {
    let query = read(&mut request).await?;
    let topic = nsqd
        .broker
        .topic(topic_argument(&query)?)
        .ok_or_else(topic_not_found)?;
    blocking(move || {
        topic.set_paused(paused, clock::now());
        save_metadata(&nsqd);
    })
    .await?;
    Ok(Reply::empty())
}

// ---- channels ----

async fn create_channel(nsqd: Arc<Nsqd>, mut request: Request) -> Result<Reply, ApiError> {
    let (topic, name) = Target::read(&mut request).await?.topic(&nsqd)?;
    let outcome = blocking(move || {
        let made = topic.get_or_create_channel(&name, clock::now());
        made.map_err(|error| not_made(&format!("TOPIC({}): channel {name}", topic.name()), &error))
    });
    outcome.await??;
    Ok(Reply::empty())
}

async fn delete_channel(nsqd: Arc<Nsqd>, mut request: Request) -> Result<Reply, ApiError> {
    let (topic, name) = Target::read(&mut request).await?.topic(&nsqd)?;
    let is_deleted = blocking(move || {
        let is_deleted = topic.delete_channel(name.as_str());
        if is_deleted {
            nsqd.broker.drop_if_unused(&topic);
            save_metadata(&nsqd);
        }
        is_deleted
    });
    if is_deleted.await? {
        Ok(Reply::empty())
    } else {
        Err(channel_not_found())
    }
}

async fn empty_channel(nsqd: Arc<Nsqd>, mut request: Request) -> Result<Reply, ApiError> {
    let (topic, cell) = Target::read(&mut request).await?.channel(&nsqd)?;
    blocking(move || {
        let mut wakes = Wakes::default();
        cell.lock().empty(&mut wakes);
        wakes.ring();
        topic.release();
    })
    .await?;
    Ok(Reply::empty())
}

async fn set_channel_paused(
    nsqd: Arc<Nsqd>,
    mut request: Request,
    paused: bool,
) -> Result<Reply, ApiError> {
    let (_, cell) = Target::read(&mut request).await?.channel(&nsqd)?;
    blocking(move || {
        let mut wakes = Wakes::default();
        cell.lock().set_paused(paused, &mut wakes);
        wakes.ring();
        save_metadata(&nsqd);
    })
    .await?;
    Ok(Reply::empty())
}

// ---- arguments ----

/// The query. Whatever the body says is read and does not count.
pub(super) async fn read(request: &mut Request) -> Result<Query, ApiError> {
    let query = request.query()?;
    request.discard_body().await?;
    Ok(query)
}

fn topic_argument(query: &Query) -> Result<&str, ApiError> {
    query
        .first("topic")
        .ok_or(ApiError::bad_request("MISSING_ARG_TOPIC"))
}

/// As [`topic_argument`], for endpoints that look at the name itself.
pub(super) fn valid_topic_argument(query: &Query) -> Result<&str, ApiError> {
    let name = topic_argument(query)?;
    if is_valid_name(name.as_bytes()) {
        Ok(name)
    } else {
        Err(ApiError::bad_request("INVALID_TOPIC"))
    }
}

/// What a channel endpoint is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    topic: TopicName,
    channel: ChannelName,
}

impl Target {
    async fn read(request: &mut Request) -> Result<Target, ApiError> {
        Target::parse(&read(request).await?)
    }

    /// Compat: a bad topic is `INVALID_ARG_TOPIC` here and `INVALID_TOPIC` elsewhere (GetTopicChannelArgs,
    /// internal/http_api/topic_channel_args.go).
    pub(super) fn parse(query: &Query) -> Result<Target, ApiError> {
        let topic = TopicName::parse(topic_argument(query)?);
        let topic = topic.map_err(|_| ApiError::bad_request("INVALID_ARG_TOPIC"))?;
        let channel = query
            .first("channel")
            .ok_or(ApiError::bad_request("MISSING_ARG_CHANNEL"))?;
        let channel = ChannelName::parse(channel)
            .map_err(|_| ApiError::bad_request("INVALID_ARG_CHANNEL"))?;
        Ok(Target { topic, channel })
    }

    /// The topic, which must be there, and the channel's name.
    fn topic(self, nsqd: &Nsqd) -> Result<(Arc<Topic>, ChannelName), ApiError> {
        let topic = nsqd
            .broker
            .topic(self.topic.as_str())
            .ok_or_else(topic_not_found)?;
        Ok((topic, self.channel))
    }

    /// The topic and the channel, which both must be there.
    pub(super) fn channel(self, nsqd: &Nsqd) -> Result<(Arc<Topic>, Arc<ChannelCell>), ApiError> {
        let (topic, name) = self.topic(nsqd)?;
        let cell = topic.channel(name.as_str()).ok_or_else(channel_not_found)?;
        Ok((topic, cell))
    }
}

pub(super) fn topic_not_found() -> ApiError {
    ApiError::not_found("TOPIC_NOT_FOUND")
}

pub(super) fn channel_not_found() -> ApiError {
    ApiError::not_found("CHANNEL_NOT_FOUND")
}

/// Writes `nsqd.dat` now, so that a kill does not undo what is about to be answered. A failure is not the client's
/// affair: what it asked for was done.
fn save_metadata(nsqd: &Nsqd) {
    if let Err(error) = nsqd.broker.save_metadata() {
        tracing::error!("failed to persist metadata - {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_named_with_its_topic() {
        let check = |text: &str, want: Result<(&str, &str), &'static str>| {
            let got = Target::parse(&Query::parse(text).unwrap());
            let got = got
                .as_ref()
                .map(|target| (target.topic.as_str(), target.channel.as_str()));
            assert_eq!(
                got.map_err(ApiError::clone),
                want.map_err(ApiError::bad_request),
                "{text}"
            );
        };
        check("topic=t&channel=c", Ok(("t", "c")));
        check(
            "channel=c%23ephemeral&topic=t&topic=u",
            Ok(("t", "c#ephemeral")),
        );
        check("", Err("MISSING_ARG_TOPIC"));
        check("channel=c!", Err("MISSING_ARG_TOPIC"));
        check("topic=&channel=c!", Err("INVALID_ARG_TOPIC"));
        check("topic=t", Err("MISSING_ARG_CHANNEL"));
        check("topic=t&channel", Err("INVALID_ARG_CHANNEL"));
    }
}
