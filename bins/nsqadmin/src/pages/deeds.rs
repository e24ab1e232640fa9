//! Doing what a form asks for, and saying what came of it.

use std::time::Duration;

use bytes::Bytes;
use nsq_daemon::http::Query;
use nsq_protocol::{ChannelName, TopicName};

use crate::Nsqadmin;
use crate::cluster::{Action, ClusterError, Overview, Target, Warnings};

use super::confirm::{Deed, Place};
use super::links::Links;
use super::notice::{Notice, Tone};

/// What came of a form.
pub(crate) enum Outcome {
    /// Done, or failed for good: on to that page, with a notice.
    Elsewhere { path: String, notice: Notice },
    /// Not taken as it stands: asked again, with the reason.
    Again { deed: Deed, error: String },
}

/// Carries out what `form` confirms.
pub(crate) async fn perform(
    nsqadmin: &Nsqadmin,
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
    let cluster = &nsqadmin.cluster;
    match &deed {
        Deed::CreateTopic => {
            let topic = named("topic").unwrap_or_default();
            let channel = named("channel");
            if let Err(error) = check_names(topic, channel) {
                return Outcome::Again { deed, error };
            }
            let done = cluster.create(Target { topic, channel }).await;
            let what = match channel {
                Some(channel) => format!("topic {topic} with channel {channel}"),
                None => format!("topic {topic}"),
            };
            Outcome::Elsewhere {
                path: if done.is_ok() {
                    links.topic(topic)
                } else {
                    links.topics()
                },
                notice: notice(
                    &format!("Created {what}."),
                    &format!("Could not create {what}."),
                    done,
                ),
            }
        }
        Deed::CreateChannel { topic } => {
            let channel = named("channel").unwrap_or_default();
            if let Err(error) = check_names(topic, Some(channel)) {
                return Outcome::Again { deed, error };
            }
            let target = Target {
                topic,
                channel: Some(channel),
            };
            let done = cluster.create(target).await;
            Outcome::Elsewhere {
                path: links.topic(topic),
                notice: notice(
                    &format!("Created channel {channel}."),
                    &format!("Could not create channel {channel}."),
                    done,
                ),
            }
        }
        Deed::Pause(place) => act(nsqadmin, links, Action::Pause, place, "Paused", "pause").await,
        Deed::Unpause(place) => {
            act(
                nsqadmin,
                links,
                Action::Unpause,
                place,
                "Unpaused",
                "unpause",
            )
            .await
        }
        Deed::Empty(place) => act(nsqadmin, links, Action::Empty, place, "Emptied", "empty").await,
        Deed::Delete(place) => {
            let done = cluster.delete(target(place)).await;
            let what = format!("{} {}", place.kind(), place.name());
            let gone = match &place.channel {
                Some(_) => links.topic(&place.topic),
                None => links.topics(),
            };
            Outcome::Elsewhere {
                path: if done.is_ok() {
                    gone
                } else {
                    here(links, place)
                },
                notice: notice(
                    &format!("Deleted {what}."),
                    &format!("Could not delete {what}."),
                    done,
                ),
            }
        }
        Deed::Tombstone { topic, node } => {
            let path = links.topic(topic);
            // The address is a visitor's word: only nodes that are known are talked to.
            if !overview.nodes.iter().any(|known| *known.address == **node) {
                let notice = notice(
                    "",
                    &format!("Could not tombstone {topic}."),
                    Err(ClusterError::NoSuchNode),
                );
                return Outcome::Elsewhere { path, notice };
            }
            let done = cluster.tombstone(topic, node).await;
            let notice = notice(
                &format!("Tombstoned {topic} on {node}, and deleted it there."),
                &format!("Could not tombstone {topic} on {node}."),
                done,
            );
            Outcome::Elsewhere { path, notice }
        }
    }
}

async fn act(
    nsqadmin: &Nsqadmin,
    links: &Links,
    action: Action,
    place: &Place,
    done_word: &str,
    word: &str,
) -> Outcome {
    let done = nsqadmin
        .cluster
        .act(action, target(place), place.node.as_deref())
        .await;
    let mut what = format!("{} {}", place.kind(), place.name());
    if let Some(node) = &place.node {
        what = format!("{what} on {node}");
    }
    Outcome::Elsewhere {
        path: here(links, place),
        notice: notice(
            &format!("{done_word} {what}."),
            &format!("Could not {word} {what}."),
            done,
        ),
    }
}

/// Publishes what a topic's form holds.
pub(crate) async fn publish(
    nsqadmin: &Nsqadmin,
    links: &Links,
    topic: &str,
    form: &Query,
) -> Outcome {
    let path = links.topic(topic);
    let node = form.first("node").unwrap_or_default();
    let body = form.first("body").unwrap_or_default();
    // Browsers send text fields with CR LF; nobody typed the CR.
    let body = body.replace("\r\n", "\n");
    let refused = |why: &str| Outcome::Elsewhere {
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
    let deferred = if millis > 0 {
        format!(", deferred by {millis} ms")
    } else {
        String::new()
    };
    let success = format!("Published a message of {size} bytes to {topic} on {node}{deferred}.");
    let notice = notice(
        &success,
        "The message was not published.",
        done.map(|()| Warnings::default()),
    );
    Outcome::Elsewhere { path, notice }
}

fn target(place: &Place) -> Target<'_> {
    Target {
        topic: &place.topic,
        channel: place.channel.as_deref(),
    }
}

fn here(links: &Links, place: &Place) -> String {
    match &place.channel {
        Some(channel) => links.channel(&place.topic, channel),
        None => links.topic(&place.topic),
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

/// What is said after: done, done in part, or not.
fn notice(success: &str, failure: &str, done: Result<Warnings, ClusterError>) -> Notice {
    match done {
        Ok(warnings) if warnings.is_empty() => Notice::new(Tone::Good, success),
        Ok(warnings) => {
            let lines = warnings
                .iter()
                .map(|one| format!("{} {}: {}", one.kind, one.address, one.cause));
            Notice::new(Tone::Warn, format!("{success} But not everywhere:")).with_lines(lines)
        }
        Err(ClusterError::Unanswered { kind, failures }) => {
            let lines: Vec<String> = if failures.is_empty() {
                vec![format!("There is no {kind} to ask.")]
            } else {
                failures
                    .iter()
                    .map(|one| format!("{} {}: {}", one.kind, one.address, one.cause))
                    .collect()
            };
            Notice::new(Tone::Bad, failure).with_lines(lines)
        }
        Err(ClusterError::NoSuchTopic) => {
            Notice::new(Tone::Bad, failure).with_lines(["Nobody knows the topic.".to_owned()])
        }
        Err(ClusterError::NoSuchChannel) => {
            Notice::new(Tone::Bad, failure).with_lines(["No node has the channel.".to_owned()])
        }
        Err(ClusterError::NoSuchNode) => Notice::new(Tone::Bad, failure)
            .with_lines(["That node does not have it, or is not known.".to_owned()]),
    }
}
