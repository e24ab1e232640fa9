//! Doing what a form asks for, and saying what came of it.

use std::time::Duration;

use bytes::Bytes;
use nsq_daemon::http::{ApiError, Query};
use nsq_protocol::{ChannelName, TopicName};

use crate::Nsqadmin;
use crate::access::Viewer;
use crate::admin::{self, Actor, api_error};
use crate::cluster::{Action, DaemonKind, Failure, Overview, Target, Warnings};

use super::confirm::{Deed, Place};
use super::links::Links;
use super::notice::{Notice, Tone};

/// What came of a form.
pub(crate) enum Outcome {
    /// Done, or failed for good.
    Elsewhere(Elsewhere),
    /// Not taken as it stands: asked again, with the reason.
    Again { deed: Deed, error: String },
}

/// On to that page, with a notice.
pub(crate) struct Elsewhere {
    pub(crate) path: String,
    pub(crate) notice: Notice,
}

/// Carries out what `form` confirms.
pub(crate) async fn perform(
    nsqadmin: &Nsqadmin,
    actor: &Actor,
    links: &Links,
    overview: &Overview,
    deed: Deed,
    form: &Query,
) -> Outcome {
    let typed = form.first("typed").unwrap_or_default();
    if let Some(name) = deed.has_to_type(overview)
        && typed != name
    {
        let error = match typed {
            "" => "Messages would be lost: type the name to go on.".to_owned(),
            _ => "That is not the name. Nothing has been done.".to_owned(),
        };
        return Outcome::Again { deed, error };
    }
    let named = |name: &str| {
        form.first(name)
            .map(str::trim)
            .filter(|value| !value.is_empty())
    };
    let order = match &deed {
        Deed::CreateTopic => admin::Deed::Create(Target {
            topic: named("topic").unwrap_or_default(),
            channel: named("channel"),
        }),
        Deed::CreateChannel { topic } => admin::Deed::Create(Target {
            topic,
            channel: Some(named("channel").unwrap_or_default()),
        }),
        Deed::Pause(place) => admin::Deed::Act(Action::Pause, target(place), place.node.as_deref()),
        Deed::Unpause(place) => {
            admin::Deed::Act(Action::Unpause, target(place), place.node.as_deref())
        }
        Deed::Empty(place) => admin::Deed::Act(Action::Empty, target(place), place.node.as_deref()),
        Deed::Delete(place) => admin::Deed::Delete(target(place)),
        Deed::Tombstone { topic, node } => admin::Deed::Tombstone { topic, node },
    };
    if let admin::Deed::Create(Target { topic, channel }) = order
        && let Err(error) = check_names(topic, channel)
    {
        return Outcome::Again { deed, error };
    }
    let is_known = |node: &str| overview.nodes.iter().any(|known| *known.address == *node);
    let done = match order {
        // The address is a visitor's word: only nodes that are known are talked to.
        admin::Deed::Tombstone { node, .. } if !is_known(node) => {
            Err(ApiError::not_found("NODE_NOT_FOUND"))
        }
        order => admin::perform(nsqadmin, actor, order).await,
    };
    let words = Words::of(order);
    let concerned = Concerned::of(order, overview);
    Outcome::Elsewhere(Elsewhere {
        path: path_after(links, order, done.is_ok()),
        notice: notice(&words.done, &words.failed, done, concerned),
    })
}

/// What is said of a deed.
struct Words {
    done: String,
    failed: String,
}

impl Words {
    fn of(order: admin::Deed<'_>) -> Self {
        let named = |target: Target<'_>| {
            format!(
                "{} {}",
                target.kind(),
                target.channel.unwrap_or(target.topic)
            )
        };
        let (did, to_do, what) = match order {
            admin::Deed::Create(target) => ("Created", "create", named(target)),
            admin::Deed::Delete(target) => ("Deleted", "delete", named(target)),
            admin::Deed::Act(action, target, only) => {
                let what = match only {
                    Some(node) => format!("{} on {node}", named(target)),
                    None => named(target),
                };
                match action {
                    Action::Pause => ("Paused", "pause", what),
                    Action::Unpause => ("Unpaused", "unpause", what),
                    Action::Empty => ("Emptied", "empty", what),
                }
            }
            admin::Deed::Tombstone { topic, node } => (
                "Tombstoned",
                "tombstone",
                format!("topic {topic} on {node}"),
            ),
        };
        Self {
            done: format!("{did} {what}."),
            failed: format!("Could not {to_do} {what}."),
        }
    }
}

/// Where to go on: to what the deed was about, if that is still there.
fn path_after(links: &Links, order: admin::Deed<'_>, is_done: bool) -> String {
    match order {
        admin::Deed::Create(Target {
            channel: None,
            topic,
        }) if is_done => links.topic(topic),
        admin::Deed::Create(Target { channel: None, .. }) => links.topics(),
        admin::Deed::Delete(Target { channel: None, .. }) if is_done => links.topics(),
        admin::Deed::Create(target) => links.topic(target.topic),
        admin::Deed::Delete(target) if is_done => links.topic(target.topic),
        admin::Deed::Delete(target) | admin::Deed::Act(_, target, _) => match target.channel {
            Some(channel) => links.channel(target.topic, channel),
            None => links.topic(target.topic),
        },
        admin::Deed::Tombstone { topic, .. } => links.topic(topic),
    }
}

/// Publishes what a topic's form holds.
pub(crate) async fn publish(
    nsqadmin: &Nsqadmin,
    visitor: &Viewer,
    links: &Links,
    topic: &str,
    form: &Query,
) -> Elsewhere {
    let path = links.topic(topic);
    let node = form.first("node").unwrap_or_default();
    let body = form.first("body").unwrap_or_default();
    // Browsers send text fields with CR LF; nobody typed the CR.
    let body = body.replace("\r\n", "\n");
    let refused = |why: &str| Elsewhere {
        path: path.clone(),
        notice: Notice::new(Tone::Bad, "Nothing was published.").with_lines([why.to_owned()]),
    };
    if body.is_empty() {
        return refused("The body is empty.");
    }
    let defer = form
        .first("defer")
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .unwrap_or("0");
    let Ok(millis) = defer.parse::<u64>() else {
        return refused("The deferral is no whole number of milliseconds.");
    };
    let size = body.len();
    let done = nsqadmin
        .cluster
        .publish(
            topic,
            node,
            Duration::from_millis(millis),
            Bytes::from(body),
        )
        .await;
    let user = visitor.user.as_deref().unwrap_or("-");
    tracing::info!("ADMIN: publish {size} bytes to topic {topic:?} on {node:?} by {user}");
    let deferred = if millis > 0 {
        format!(", deferred by {millis} ms")
    } else {
        String::new()
    };
    let success = format!("Published a message of {size} bytes to {topic} on {node}{deferred}.");
    let notice = notice(
        &success,
        "The message was not published.",
        done.map(|()| Warnings::default())
            .map_err(|error| api_error(&error)),
        Concerned::default(),
    );
    Elsewhere { path, notice }
}

fn target(place: &Place) -> Target<'_> {
    Target {
        topic: &place.topic,
        channel: place.channel.as_deref(),
    }
}

/// The names' rule is checked here already, so that it is told beside the field.
fn check_names(topic: &str, channel: Option<&str>) -> Result<(), String> {
    let rule = "1 to 64 letters, digits, “.”, “-” or “_”, and it may end in “#ephemeral”";
    if TopicName::parse(topic).is_err() {
        return Err(format!("“{topic}” is no name for a topic: {rule}."));
    }
    match channel {
        Some(channel) if ChannelName::parse(channel).is_err() => {
            Err(format!("“{channel}” is no name for a channel: {rule}."))
        }
        _ => Ok(()),
    }
}

/// Whom a deed needs: when all of one kind failed, it was not done.
#[derive(Debug, Clone, Copy, Default)]
struct Concerned {
    lookupds: usize,
    nodes: usize,
}

impl Concerned {
    fn of(order: admin::Deed<'_>, overview: &Overview) -> Self {
        let having = |topic: &str| overview.topic(topic).map_or(0, |topic| topic.nodes.len());
        match order {
            admin::Deed::Create(_) => match overview.lookupds.len() {
                0 => Self {
                    lookupds: 0,
                    nodes: overview.nodes.len(),
                },
                lookupds => Self { lookupds, nodes: 0 },
            },
            admin::Deed::Act(_, target, None) | admin::Deed::Delete(target) => Self {
                lookupds: 0,
                nodes: having(target.topic),
            },
            admin::Deed::Act(_, _, Some(_)) | admin::Deed::Tombstone { .. } => Self {
                lookupds: 0,
                nodes: 1,
            },
        }
    }
}

/// What is said after: done, done in part, or not.
fn notice(
    success: &str,
    failure: &str,
    done: Result<Warnings, ApiError>,
    concerned: Concerned,
) -> Notice {
    let warnings = match done {
        Ok(warnings) => warnings,
        Err(error) => {
            let words = match &*error.code {
                "TOPIC_NOT_FOUND" => "Nobody knows the topic.",
                "CHANNEL_NOT_FOUND" => "No node has the channel.",
                "NODE_NOT_FOUND" => "That node does not have it, or is not known.",
                other => other.trim_start_matches("UPSTREAM_ERROR: "),
            };
            return Notice::new(Tone::Bad, failure).with_lines(words.lines().map(str::to_owned));
        }
    };
    let line = |one: &Failure| format!("{} {}: {}", one.kind, one.address, one.cause);
    let failed = |kind| warnings.iter().filter(|one| one.kind == kind).count();
    let none_did = |kind, all: usize| all > 0 && failed(kind) >= all;
    if none_did(DaemonKind::Nsqd, concerned.nodes)
        || none_did(DaemonKind::Lookupd, concerned.lookupds)
    {
        return Notice::new(Tone::Bad, failure).with_lines(warnings.iter().map(line));
    }
    // Who does not have it has nothing to do: a channel need not be on every node of its topic.
    let real: Vec<String> = warnings
        .iter()
        .filter(|one| one.status != Some(404))
        .map(line)
        .collect();
    if real.is_empty() {
        Notice::new(Tone::Good, success)
    } else {
        Notice::new(Tone::Warn, format!("{success} But not everywhere:")).with_lines(real)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warnings(failures: &[(DaemonKind, Option<u16>)]) -> Warnings {
        let failures = failures.iter().map(|(kind, status)| Failure {
            kind: *kind,
            address: "a:1".to_owned(),
            status: *status,
            cause: "refused".to_owned(),
            text: "refused".to_owned(),
        });
        let mut warnings = Warnings::default();
        warnings.add(failures.collect());
        warnings
    }

    fn check(tone: Tone, nodes: usize, failures: &[(DaemonKind, Option<u16>)]) {
        let concerned = Concerned { lookupds: 0, nodes };
        let notice = notice("Done.", "Not done.", Ok(warnings(failures)), concerned);
        assert_eq!(notice.tone, tone, "{notice:?}");
    }

    #[test]
    fn done_in_part_is_neither_done_nor_failed() {
        check(Tone::Good, 2, &[]);
        check(Tone::Warn, 2, &[(DaemonKind::Nsqd, None)]);
        check(
            Tone::Bad,
            2,
            &[(DaemonKind::Nsqd, None), (DaemonKind::Nsqd, Some(404))],
        );
        check(Tone::Good, 2, &[(DaemonKind::Nsqd, Some(404))]);
        check(Tone::Good, 2, &[(DaemonKind::Lookupd, Some(404))]);
        check(Tone::Warn, 2, &[(DaemonKind::Lookupd, Some(500))]);
    }

    #[test]
    fn a_refusal_is_told_in_words() {
        let failed = Err(ApiError::not_found("TOPIC_NOT_FOUND"));
        let notice = notice("Done.", "Not done.", failed, Concerned::default());
        assert_eq!(notice.lines, ["Nobody knows the topic."]);
        let failed = Err(ApiError::bad_request("UPSTREAM_ERROR: one\ntwo"));
        let notice = self::notice("Done.", "Not done.", failed, Concerned::default());
        assert_eq!(notice.lines, ["one", "two"]);
    }
}
