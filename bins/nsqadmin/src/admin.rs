//! Actions of administrators: checked, performed, logged, and sent to the notification endpoint.

use nsq_daemon::http::{ApiError, Request, StatusCode, header};
use nsq_protocol::{ChannelName, TopicName};

use crate::Nsqadmin;
use crate::access::{Viewer, basic_credentials};
use crate::cluster::{ClusterError, QueueAction, Target, Warnings};
use crate::notify::Notice;
use crate::watch::{Event, EventKind, Place};

/// Something that changes the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// Make a topic known, and perhaps a channel of it.
    Create(Target<'a>),
    /// Delete it everywhere.
    Delete(Target<'a>),
    /// Pause, unpause or empty it, on all nsqds or on the one at this address.
    Queue(QueueAction, Target<'a>, Option<&'a str>),
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
    /// The sender of this request.
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

/// Performs `action` for `actor`; returns the daemons that failed. Names are checked for creation only, so that anything
/// can be deleted.
///
/// # Errors
/// 403 `FORBIDDEN`, 400 for a name that cannot be, 404 for a topic, channel or node that does not exist, 502 when no daemon answers.
pub async fn perform(
    nsqadmin: &Nsqadmin,
    actor: &Actor,
    action: Action<'_>,
) -> Result<Warnings, ApiError> {
    actor.check()?;
    action.check()?;
    let cluster = &nsqadmin.cluster;
    let emptied = action.emptied(nsqadmin);
    let outcome = match action {
        Action::Create(target) => cluster.create(target).await,
        Action::Delete(target) => cluster.delete(target).await,
        Action::Queue(action, target, only) => cluster.act(action, target, only).await,
        Action::Tombstone { topic, node } => cluster.tombstone(topic, node).await,
    };
    let user = actor.viewer.user.as_deref().unwrap_or("-");
    let remote = &actor.remote;
    match &outcome {
        Ok(_) => {
            tracing::info!("ADMIN: {action} by {user} ({remote})");
            nsqadmin.watch.note(action.event(actor, emptied));
        }
        Err(error) => tracing::error!("ADMIN: {action} by {user} ({remote}) failed - {error}"),
    }
    // Compat: pausing, unpausing and emptying are notified even if no daemon was reached (topicChannelAction,
    // nsqadmin/http.go).
    if outcome.is_ok() || matches!(action, Action::Queue(..)) {
        for notice in action.notices(actor) {
            nsqadmin.notifier.send(notice);
        }
    }
    outcome.map_err(|error| api_error(&error))
}

/// The error as the API reports it.
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

impl Action<'_> {
    fn check(&self) -> Result<(), ApiError> {
        let (topic, channel) = match *self {
            Self::Create(target) => (target.topic, target.channel),
            Self::Tombstone { topic, .. } => (topic, None),
            Self::Delete(_) | Self::Queue(..) => return Ok(()),
        };
        TopicName::parse(topic).map_err(|_| ApiError::bad_request("INVALID_TOPIC"))?;
        if let Some(channel) = channel {
            ChannelName::parse(channel).map_err(|_| ApiError::bad_request("INVALID_CHANNEL"))?;
        }
        Ok(())
    }

    /// How many messages an emptying drops, as far as is known; the watch is told that they are not finished.
    fn emptied(&self, nsqadmin: &Nsqadmin) -> Option<i64> {
        let Self::Queue(QueueAction::Empty, target, only) = *self else {
            return None;
        };
        let overview = nsqadmin.watch.latest()?;
        let topic = overview.topic(target.topic)?;
        let parts = topic.nodes.iter();
        let parts = parts.filter(|part| only.is_none_or(|node| *part.node == *node));
        let Some(name) = target.channel else {
            let depths = parts.map(|part| part.depth);
            return Some(depths.fold(0, i64::saturating_add));
        };
        nsqadmin.watch.note_emptied(target.topic, name);
        let channels = parts.flat_map(|part| &part.channels);
        let channels = channels.filter(|channel| *channel.channel_name == *name);
        let counts = channels.flat_map(|channel| {
            [
                channel.depth,
                channel.in_flight_count,
                channel.deferred_count,
            ]
        });
        Some(counts.fold(0, i64::saturating_add))
    }

    /// What was done, for the list of what happened.
    fn event(&self, actor: &Actor, emptied: Option<i64>) -> Event {
        let (what, target, node) = match *self {
            Self::Create(target) => ("created".to_owned(), target, None),
            Self::Delete(target) => ("deleted".to_owned(), target, None),
            Self::Queue(action, target, only) => {
                let what = match (action, emptied) {
                    (QueueAction::Pause, _) => "paused".to_owned(),
                    (QueueAction::Unpause, _) => "unpaused".to_owned(),
                    (QueueAction::Empty, Some(1)) => "emptied of 1 message".to_owned(),
                    (QueueAction::Empty, Some(count)) => format!("emptied of {count} messages"),
                    (QueueAction::Empty, None) => "emptied".to_owned(),
                };
                (what, target, only)
            }
            Self::Tombstone { topic, node } => {
                let channel = None;
                (
                    "tombstoned".to_owned(),
                    Target { topic, channel },
                    Some(node),
                )
            }
        };
        let what = match node {
            Some(node) => format!("{what} on {node}"),
            None => what,
        };
        Event {
            at: jiff::Timestamp::now().as_millisecond(),
            kind: EventKind::Action {
                what,
                by: actor.viewer.user.clone().or(actor.basic_user.clone()),
            },
            place: Place {
                topic: Some(target.topic.into()),
                channel: target.channel.map(Into::into),
                node: node.map(Into::into),
            },
        }
    }

    fn notices(&self, actor: &Actor) -> Vec<Notice> {
        let notice = |action: String, topic: &str, channel: &str, node: &str| Notice {
            action,
            topic: topic.to_owned(),
            channel: channel.to_owned(),
            node: node.to_owned(),
            timestamp: jiff::Timestamp::now().as_second(),
            user: actor.notified_user(),
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
            Self::Queue(action, target, only) => {
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
    fn notified_user(&self) -> String {
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

impl std::fmt::Display for Action<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (verb, target, node) = match *self {
            Self::Create(target) => ("create", target, None),
            Self::Delete(target) => ("delete", target, None),
            Self::Queue(action, target, only) => (action.name(), target, only),
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
