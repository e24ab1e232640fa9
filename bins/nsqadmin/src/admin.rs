//! What administrators do: allowed or not, done, logged and told to others.

use nsq_daemon::http::{ApiError, Request, StatusCode, header};
use nsq_protocol::{ChannelName, TopicName};

use crate::Nsqadmin;
use crate::access::{Viewer, basic_credentials};
use crate::cluster::{Action, ClusterError, Target, Warnings};
use crate::notify::Notice;

/// Something that changes the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed<'a> {
    /// Make a topic known, and perhaps a channel of it.
    Create(Target<'a>),
    /// Delete it everywhere.
    Delete(Target<'a>),
    /// Pause, unpause or empty it, on all nsqds or on the one at this address.
    Act(Action, Target<'a>, Option<&'a str>),
    /// Hide one nsqd from a topic's consumers, and delete the topic there.
    Tombstone {
        /// The topic.
        topic: &'a str,
        /// `host:port` of the nsqd's HTTP interface.
        node: &'a str,
    },
}

/// Who does it, from where.
#[derive(Debug, Clone)]
pub struct Actor {
    viewer: Viewer,
    basic_user: Option<String>,
    remote: String,
    user_agent: String,
    url: String,
}

impl Actor {
    /// Whoever sent this request.
    pub fn of(nsqadmin: &Nsqadmin, request: &Request) -> Self {
        let text = |name: &str| {
            let value = request.headers().get(name);
            value
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        let scheme = if text("x-scheme") == "https" {
            "https"
        } else {
            "http"
        };
        let host = text(header::HOST.as_str());
        let path = request.path();
        let query = match request.raw_query() {
            "" => String::new(),
            query => format!("?{query}"),
        };
        Self {
            viewer: nsqadmin.access.viewer(request),
            basic_user: basic_credentials(request.headers()).map(|(user, _)| user),
            remote: request.remote().to_string(),
            user_agent: text(header::USER_AGENT.as_str()).to_owned(),
            url: format!("{scheme}://{host}{path}{query}"),
        }
    }

    /// Whether they may do anything.
    ///
    /// # Errors
    /// 403 `FORBIDDEN`.
    pub fn check(&self) -> Result<(), ApiError> {
        if self.viewer.is_admin {
            Ok(())
        } else {
            Err(ApiError::new(StatusCode::FORBIDDEN, "FORBIDDEN"))
        }
    }
}

/// Has `actor` do `deed`; who could not be reached. Names of what is to be made are checked; what is to be deleted
/// may have any.
///
/// # Errors
/// 403 `FORBIDDEN`, 400 for a name that cannot be, 404 for what is not there, 502 when nobody answers.
pub async fn perform(
    nsqadmin: &Nsqadmin,
    actor: &Actor,
    deed: Deed<'_>,
) -> Result<Warnings, ApiError> {
    actor.check()?;
    deed.check()?;
    let cluster = &nsqadmin.cluster;
    let outcome = match deed {
        Deed::Create(target) => cluster.create(target).await,
        Deed::Delete(target) => cluster.delete(target).await,
        Deed::Act(action, target, only) => cluster.act(action, target, only).await,
        Deed::Tombstone { topic, node } => cluster.tombstone(topic, node).await,
    };
    let user = actor.viewer.user.as_deref().unwrap_or("-");
    let remote = &actor.remote;
    match &outcome {
        Ok(_) => tracing::info!("ADMIN: {deed} by {user} ({remote})"),
        Err(error) => tracing::error!("ADMIN: {deed} by {user} ({remote}) failed - {error}"),
    }
    // Compat: pausing, unpausing and emptying are told even when nobody could be asked to (topicChannelAction,
    // nsqadmin/http.go).
    if outcome.is_ok() || matches!(deed, Deed::Act(..)) {
        for notice in deed.notices(actor) {
            nsqadmin.notifier.send(notice);
        }
    }
    outcome.map_err(|error| api_error(&error))
}

/// What the API says of it.
pub(crate) fn api_error(error: &ClusterError) -> ApiError {
    match error {
        ClusterError::Unanswered { .. } => {
            ApiError::new(StatusCode::BAD_GATEWAY, format!("UPSTREAM_ERROR: {error}"))
        }
        ClusterError::NoSuchTopic | ClusterError::NoSuchChannel | ClusterError::NoSuchNode => {
            ApiError::not_found(error.to_string())
        }
    }
}

impl Deed<'_> {
    fn check(&self) -> Result<(), ApiError> {
        let (topic, channel) = match *self {
            Self::Create(target) => (target.topic, target.channel),
            Self::Tombstone { topic, .. } => (topic, None),
            Self::Delete(_) | Self::Act(..) => return Ok(()),
        };
        TopicName::parse(topic).map_err(|_| ApiError::bad_request("INVALID_TOPIC"))?;
        if let Some(channel) = channel {
            ChannelName::parse(channel).map_err(|_| ApiError::bad_request("INVALID_CHANNEL"))?;
        }
        Ok(())
    }

    fn notices(&self, actor: &Actor) -> Vec<Notice> {
        let notice = |action: String, topic: &str, channel: &str, node: &str| Notice {
            action,
            topic: topic.to_owned(),
            channel: channel.to_owned(),
            node: node.to_owned(),
            timestamp: jiff::Timestamp::now().as_second(),
            user: actor.told_name(),
            remote_ip: actor.remote.clone(),
            user_agent: actor.user_agent.clone(),
            url: actor.url.clone(),
            via: nsq_daemon::node_id::hostname(),
        };
        let of = |verb: &str, target: &Target<'_>, node: &str| {
            let action = format!("{verb}_{}", target.kind());
            notice(
                action,
                target.topic,
                target.channel.unwrap_or_default(),
                node,
            )
        };
        match self {
            Self::Create(target) => {
                let topic = Target {
                    channel: None,
                    ..*target
                };
                let mut notices = vec![of("create", &topic, "")];
                if target.channel.is_some() {
                    notices.push(of("create", target, ""));
                }
                notices
            }
            Self::Delete(target) => vec![of("delete", target, "")],
            Self::Act(action, target, only) => {
                vec![of(action.name(), target, only.unwrap_or_default())]
            }
            Self::Tombstone { topic, node } => {
                vec![notice(
                    "tombstone_topic_producer".to_owned(),
                    topic,
                    "",
                    node,
                )]
            }
        }
    }
}

impl Actor {
    /// Compat: the name of HTTP Basic authentication, and never the header's (basicAuthUser, nsqadmin/notify.go). A
    /// session's name, which upstream does not have, comes after it.
    fn told_name(&self) -> String {
        let session_user = || {
            self.viewer
                .can_log_out
                .then(|| self.viewer.user.clone())
                .flatten()
        };
        self.basic_user
            .clone()
            .or_else(session_user)
            .unwrap_or_default()
    }
}

impl std::fmt::Display for Deed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (verb, target, node) = match *self {
            Self::Create(target) => ("create", target, None),
            Self::Delete(target) => ("delete", target, None),
            Self::Act(action, target, only) => (action.name(), target, only),
            Self::Tombstone { topic, node } => {
                let channel = None;
                ("tombstone", Target { topic, channel }, Some(node))
            }
        };
        let Target { topic, channel } = target;
        write!(f, "{verb} {} {topic:?}", target.kind())?;
        if let Some(channel) = channel {
            write!(f, " {channel:?}")?;
        }
        if let Some(node) = node {
            write!(f, " on {node:?}")?;
        }
        Ok(())
    }
}
