//! Performs the action of a form, and words the result.

use std::time::Duration;

use bytes::Bytes;
use nsq_daemon::http::{ApiError, Query};
use nsq_protocol::{ChannelName, TopicName};

use crate::Nsqadmin;
use crate::access::Viewer;
use crate::admin::{self, Actor, api_error};
use crate::cluster::{
    ClusterReport, DaemonKind, Failure, Member, MemberAction, Overview, QueueAction, Target,
    Warnings,
};
use crate::watch::{Event, EventKind};

use super::confirm::{Action, Place};
use super::context::PageContext;
use super::links::Links;
use super::notice::{Notice, Tone};

/// The result of a form.
pub(crate) enum Outcome {
    /// Done, or failed for good.
    Redirect(Redirect),
    /// The form is shown again, with the reason.
    Again { action: Action, error: String },
}

/// A redirect to a page that shows the notice.
pub(crate) struct Redirect {
    pub(crate) path: String,
    pub(crate) notice: Notice,
}

/// Carries out what `form` confirms.
pub(crate) async fn perform(
    nsqadmin: &Nsqadmin,
    actor: &Actor,
    links: &Links,
    overview: &Overview,
    action: Action,
    form: &Query,
) -> Outcome {
    let typed = form.first("typed").unwrap_or_default();
    if let Some(name) = action.has_to_type(overview)
        && typed != name
    {
        let error = match typed {
            "" => "Messages would be lost: type the name to confirm.".to_owned(),
            _ => "That is not the name. Nothing was changed.".to_owned(),
        };
        return Outcome::Again { action, error };
    }
    let named = |name: &str| {
        form.first(name)
            .map(str::trim)
            .filter(|value| !value.is_empty())
    };
    let order = match &action {
        Action::CreateTopic => admin::Action::Create(Target {
            topic: named("topic").unwrap_or_default(),
            channel: named("channel"),
        }),
        Action::CreateChannel { topic } => admin::Action::Create(Target {
            topic,
            channel: Some(named("channel").unwrap_or_default()),
        }),
        Action::Pause(place) => {
            admin::Action::Queue(QueueAction::Pause, target(place), place.node.as_deref())
        }
        Action::Unpause(place) => {
            admin::Action::Queue(QueueAction::Unpause, target(place), place.node.as_deref())
        }
        Action::Empty(place) => {
            admin::Action::Queue(QueueAction::Empty, target(place), place.node.as_deref())
        }
        Action::Delete(place) => admin::Action::Delete(target(place)),
        Action::Tombstone { topic, node } => admin::Action::Tombstone { topic, node },
    };
    if let admin::Action::Create(Target { topic, channel }) = order
        && let Err(error) = check_names(topic, channel)
    {
        return Outcome::Again { action, error };
    }
    let is_known = |node: &str| overview.nodes.iter().any(|known| *known.address == *node);
    let done = match order {
        // The address is the viewer's word: only nodes that are known are talked to.
        admin::Action::Tombstone { node, .. } if !is_known(node) => {
            Err(ApiError::not_found("NODE_NOT_FOUND"))
        }
        order => admin::perform(nsqadmin, actor, order).await,
    };
    let words = Wording::of(order);
    let recipients = Recipients::of(order, overview);
    let done_well = done.is_ok();
    let mut notice = notice(&words.done, &words.failed, done, recipients);
    if let (admin::Action::Create(target), true) = (order, done_well) {
        let more = begin_topic(nsqadmin, overview, target, form).await;
        if more.iter().any(Result::is_err) {
            notice.tone = Tone::Warn;
        }
        let lines = more
            .into_iter()
            .map(|line| line.unwrap_or_else(|line| line));
        notice.lines.extend(lines);
    }
    Outcome::Redirect(Redirect {
        path: path_after(links, order, done_well),
        notice,
    })
}

/// Creates a new topic on the nodes that were chosen, and publishes its first message. A line for each thing done, or that
/// failed.
async fn begin_topic(
    nsqadmin: &Nsqadmin,
    overview: &Overview,
    target: Target<'_>,
    form: &Query,
) -> Vec<Result<String, String>> {
    let known = |address: &str| overview.nodes.iter().any(|node| *node.address == *address);
    let chosen: Vec<&str> = form.all("on").filter(|address| known(address)).collect();
    let mut lines = Vec::new();
    for node in &chosen {
        lines.push(match nsqadmin.cluster.create_on(node, target).await {
            Ok(()) => Ok(format!("Created on {node}.")),
            Err(failure) => Err(format!("Not created on {node}: {}", failure.cause)),
        });
    }
    let body = form.first("body").unwrap_or_default().replace("\r\n", "\n");
    let first = overview.nodes.iter().find(|node| node.stats.is_ok());
    let node = chosen.first().copied().or(first.map(|node| &*node.address));
    if let (false, Some(node)) = (body.is_empty(), node) {
        let sent = nsqadmin
            .cluster
            .publish_first(node, target.topic, body.into());
        lines.push(match sent.await {
            Ok(()) => Ok(format!("Published the first message on {node}.")),
            Err(failure) => Err(format!(
                "The message was not published on {node}: {}",
                failure.cause
            )),
        });
    }
    lines
}

/// The words for an action that was done, or failed.
struct Wording {
    done: String,
    failed: String,
}

impl Wording {
    fn of(order: admin::Action<'_>) -> Self {
        let named = |target: Target<'_>| {
            format!(
                "{} {}",
                target.kind(),
                target.channel.unwrap_or(target.topic)
            )
        };
        let (did, to_do, what) = match order {
            admin::Action::Create(target) => ("Created", "create", named(target)),
            admin::Action::Delete(target) => ("Deleted", "delete", named(target)),
            admin::Action::Queue(action, target, only) => {
                let what = match only {
                    Some(node) => format!("{} on {node}", named(target)),
                    None => named(target),
                };
                match action {
                    QueueAction::Pause => ("Paused", "pause", what),
                    QueueAction::Unpause => ("Unpaused", "unpause", what),
                    QueueAction::Empty => ("Emptied", "empty", what),
                }
            }
            admin::Action::Tombstone { topic, node } => (
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

/// The page to redirect to: that of the topic or channel, if it still exists.
fn path_after(links: &Links, order: admin::Action<'_>, is_done: bool) -> String {
    match order {
        admin::Action::Create(Target {
            channel: None,
            topic,
        }) if is_done => links.topic(topic),
        admin::Action::Create(Target { channel: None, .. }) => links.topics(),
        admin::Action::Delete(Target { channel: None, .. }) if is_done => links.topics(),
        admin::Action::Create(target) => links.topic(target.topic),
        admin::Action::Delete(target) if is_done => links.topic(target.topic),
        admin::Action::Delete(target) | admin::Action::Queue(_, target, _) => {
            match target.channel {
                Some(channel) => links.channel(target.topic, channel),
                None => links.topic(target.topic),
            }
        }
        admin::Action::Tombstone { topic, .. } => links.topic(topic),
    }
}

/// Publishes what a topic's form holds.
pub(crate) async fn publish(
    nsqadmin: &Nsqadmin,
    viewer: &Viewer,
    links: &Links,
    topic: &str,
    form: &Query,
) -> Redirect {
    let path = links.topic(topic);
    let node = form.first("node").unwrap_or_default();
    let body = form.first("body").unwrap_or_default();
    // Browsers send text fields with CR LF, and the user typed no CR.
    let body = body.replace("\r\n", "\n");
    let refused = |why: &str| Redirect {
        path: path.clone(),
        notice: Notice::new(Tone::Bad, "The message was not published.")
            .with_lines([why.to_owned()]),
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
        return refused("The delay must be a whole number of milliseconds.");
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
    let user = viewer.user.as_deref().unwrap_or("-");
    tracing::info!("ADMIN: publish {size} bytes to topic {topic:?} on {node:?} by {user}");
    let deferred = if millis > 0 {
        format!(", delayed by {millis} ms")
    } else {
        String::new()
    };
    let success = format!("Published a message of {size} bytes to {topic} on {node}{deferred}.");
    let notice = notice(
        &success,
        "The message was not published.",
        done.map(|()| Warnings::default())
            .map_err(|error| api_error(&error)),
        Recipients::default(),
    );
    Redirect { path, notice }
}

/// Forgets a node that has gone.
pub(crate) fn dismiss(nsqadmin: &Nsqadmin, context: &PageContext<'_>, node: &str) -> Redirect {
    let path = context.links.nodes();
    let user = context.viewer.user.as_deref().unwrap_or("-");
    let notice = if nsqadmin.watch.dismiss(node) {
        tracing::info!("ADMIN: dismiss node {node:?} by {user}");
        Notice::new(Tone::Good, format!("Dismissed node {node}."))
    } else {
        Notice::new(Tone::Warn, format!("Node {node} was not dismissed."))
            .with_lines(["Only a node that has gone can be dismissed.".to_owned()])
    };
    Redirect { path, notice }
}

/// Has a node of the cluster step down, resume, or be removed.
pub(crate) async fn act_on_member(
    nsqadmin: &Nsqadmin,
    context: &PageContext<'_>,
    report: &ClusterReport,
    action: MemberAction,
    member: &Member,
) -> Redirect {
    let others = report.members.iter().filter(|other| other.id != member.id);
    let through = others
        .chain([member])
        .find(|other| other.is_alive)
        .unwrap_or(member);
    let done = nsqadmin
        .cluster
        .act_on_member(action, member, through)
        .await;
    let user = context.viewer.user.as_deref().unwrap_or("-");
    let (verb, id) = (action.name(), member.id);
    let notice = match done {
        Ok(()) => {
            tracing::info!("ADMIN: {verb} node {id} of the cluster by {user}");
            nsqadmin.watch.note(Event {
                at: jiff::Timestamp::now().as_millisecond(),
                kind: EventKind::Action {
                    what: match action {
                        MemberAction::StepDown => "stepped down".to_owned(),
                        MemberAction::Resume => "resumed".to_owned(),
                        MemberAction::Remove => "removed from the cluster".to_owned(),
                    },
                    by: context.viewer.user.clone(),
                },
                place: crate::watch::Place {
                    node: Some(member.http_address().into()),
                    ..crate::watch::Place::default()
                },
            });
            let did = match action {
                MemberAction::StepDown => "steps down",
                MemberAction::Resume => "may lead again",
                MemberAction::Remove => "is removed from the cluster",
            };
            Notice::new(Tone::Good, format!("Node {id} {did}."))
        }
        Err(error) => {
            tracing::error!("ADMIN: {verb} node {id} of the cluster by {user} failed - {error}");
            let error = api_error(&error);
            let words = error.code.trim_start_matches("UPSTREAM_ERROR: ").to_owned();
            let failure = format!("Node {id}: the action failed.");
            Notice::new(Tone::Bad, failure).with_lines(words.lines().map(str::to_owned))
        }
    };
    Redirect {
        path: context.links.fixed("/cluster"),
        notice,
    }
}

fn target(place: &Place) -> Target<'_> {
    Target {
        topic: &place.topic,
        channel: place.channel.as_deref(),
    }
}

/// Checks the names here already, so that the form shows the rule next to the field.
fn check_names(topic: &str, channel: Option<&str>) -> Result<(), String> {
    let rule = "1 to 64 letters, digits, “.”, “-” or “_”, and it may end in “#ephemeral”";
    if TopicName::parse(topic).is_err() {
        return Err(format!("“{topic}” is not a valid topic name: {rule}."));
    }
    match channel {
        Some(channel) if ChannelName::parse(channel).is_err() => {
            Err(format!("“{channel}” is not a valid channel name: {rule}."))
        }
        _ => Ok(()),
    }
}

/// The daemons that an action needs: if all of one kind failed, it was not done.
#[derive(Debug, Clone, Copy, Default)]
struct Recipients {
    lookupds: usize,
    nodes: usize,
}

impl Recipients {
    fn of(order: admin::Action<'_>, overview: &Overview) -> Self {
        let having = |topic: &str| overview.topic(topic).map_or(0, |topic| topic.nodes.len());
        match order {
            admin::Action::Create(_) => match overview.lookupds.len() {
                0 => Self {
                    lookupds: 0,
                    nodes: overview.nodes.len(),
                },
                lookupds => Self { lookupds, nodes: 0 },
            },
            admin::Action::Queue(_, target, None) | admin::Action::Delete(target) => Self {
                lookupds: 0,
                nodes: having(target.topic),
            },
            admin::Action::Queue(_, _, Some(_)) | admin::Action::Tombstone { .. } => Self {
                lookupds: 0,
                nodes: 1,
            },
        }
    }
}

/// The notice after an action: done, done in part, or failed.
fn notice(
    success: &str,
    failure: &str,
    done: Result<Warnings, ApiError>,
    recipients: Recipients,
) -> Notice {
    let warnings = match done {
        Ok(warnings) => warnings,
        Err(error) => {
            let words = match &*error.code {
                "TOPIC_NOT_FOUND" => "No node has the topic.",
                "CHANNEL_NOT_FOUND" => "No node has the channel.",
                "NODE_NOT_FOUND" => "That node is unknown, or does not have it.",
                other => other.trim_start_matches("UPSTREAM_ERROR: "),
            };
            return Notice::new(Tone::Bad, failure).with_lines(words.lines().map(str::to_owned));
        }
    };
    let line = |one: &Failure| format!("{} {}: {}", one.kind, one.address, one.cause);
    let failed = |kind| warnings.iter().filter(|one| one.kind == kind).count();
    let none_did = |kind, all: usize| all > 0 && failed(kind) >= all;
    if none_did(DaemonKind::Nsqd, recipients.nodes)
        || none_did(DaemonKind::Lookupd, recipients.lookupds)
    {
        let lines = if warnings.iter().all(|one| one.status == Some(404)) {
            vec!["No node has it.".to_owned()]
        } else {
            warnings.iter().map(line).collect()
        };
        return Notice::new(Tone::Bad, failure).with_lines(lines);
    }
    // A daemon that does not have it has nothing to do: a channel need not be on every node of its topic.
    let real: Vec<String> = warnings
        .iter()
        .filter(|one| one.status != Some(404))
        .map(line)
        .collect();
    if real.is_empty() {
        Notice::new(Tone::Good, success)
    } else {
        Notice::new(Tone::Warn, format!("{success} But these failed:")).with_lines(real)
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
        let recipients = Recipients { lookupds: 0, nodes };
        let notice = notice("Done.", "Not done.", Ok(warnings(failures)), recipients);
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
    fn a_refusal_is_worded() {
        let failed = Err(ApiError::not_found("TOPIC_NOT_FOUND"));
        let notice = notice("Done.", "Not done.", failed, Recipients::default());
        assert_eq!(notice.lines, ["No node has the topic."]);
        let failed = Err(ApiError::bad_request("UPSTREAM_ERROR: one\ntwo"));
        let notice = self::notice("Done.", "Not done.", failed, Recipients::default());
        assert_eq!(notice.lines, ["one", "two"]);
    }
}
