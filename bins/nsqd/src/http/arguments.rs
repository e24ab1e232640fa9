//! What requests are about: the topic and the channel in their parameters, and limits on their bodies.

use std::sync::Arc;

use nsq_core::Topic;
use nsq_daemon::http::{ApiError, Query, Request};
use nsq_protocol::{ChannelName, TopicName, is_valid_name};

use super::replies::{channel_not_found, not_made, topic_not_found};
use crate::nsqd::Nsqd;
use crate::view::{ChannelParts, TopicParts};

/// The request's parameters.
pub(super) fn parameters(request: &Request) -> Result<Query, ApiError> {
    Query::parse(request.raw_query()).map_err(|error| {
        tracing::error!("failed to parse request params - {error}");
        ApiError::bad_request("INVALID_REQUEST")
    })
}

/// The query. Whatever the body says is read and does not count.
pub(super) async fn read(request: &mut Request) -> Result<Query, ApiError> {
    let query = parameters(request)?;
    request.discard_body().await?;
    Ok(query)
}

/// The topic that a publish names, made if it is new, in this nsqd's own broker.
pub(super) async fn wanted_topic(nsqd: &Nsqd, query: &Query) -> Result<Arc<Topic>, ApiError> {
    let name = topic_argument(query)?;
    if let Some(topic) = nsqd.broker.topic(name) {
        return Ok(topic);
    }
    let name = TopicName::parse(name).map_err(|_| ApiError::bad_request("INVALID_TOPIC"))?;
    nsqd.topics
        .make_here(&name)
        .await
        .map_err(|error| not_made(&format!("TOPIC({name})"), &error))
}

pub(super) fn topic_argument(query: &Query) -> Result<&str, ApiError> {
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
    pub(super) topic: TopicName,
    pub(super) channel: ChannelName,
}

impl Target {
    pub(super) async fn read(request: &mut Request) -> Result<Target, ApiError> {
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

    /// Whether the channel is this nsqd's alone.
    pub(super) fn is_ephemeral(&self) -> bool {
        self.topic.is_ephemeral() || self.channel.is_ephemeral()
    }

    /// The topic, which must be there, and the channel's name.
    pub(super) fn topic(self, nsqd: &Nsqd) -> Result<(TopicParts, ChannelName), ApiError> {
        let topic = nsqd.view().topic(self.topic.as_str());
        Ok((topic.ok_or_else(topic_not_found)?, self.channel))
    }

    /// The topic and the channel, which both must be there.
    pub(super) fn channel(self, nsqd: &Nsqd) -> Result<(TopicParts, ChannelParts), ApiError> {
        let (topic, name) = self.topic(nsqd)?;
        let channel = topic.channel(name.as_str());
        let channel = channel.ok_or_else(channel_not_found)?;
        Ok((topic, channel))
    }
}

/// An option's limit as a length in memory; a negative one lets nothing pass.
pub(super) fn limit_of(max_bytes: i64) -> usize {
    usize::try_from(max_bytes).unwrap_or(0)
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

    #[test]
    fn a_negative_limit_lets_nothing_pass() {
        assert_eq!(limit_of(-1), 0);
        assert_eq!(limit_of(5), 5);
    }
}
