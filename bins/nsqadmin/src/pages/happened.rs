//! The list of what happened lately, and its marks in charts.

use std::sync::Arc;

use jiff::Timestamp;
use maud::{Markup, html};

use crate::watch::{Condition, Event, EventKind, Severity};

use super::chart::Moment;
use super::context::PageContext;
use super::format;
use super::state::{consumers, messages};
use super::widgets;

/// The newest events that `wanted` picks, in a panel; nothing if there are none.
pub(crate) fn panel(
    context: &PageContext<'_>,
    count: usize,
    wanted: impl Fn(&Event) -> bool,
) -> Markup {
    let events = context.nsqadmin.watch.events(count, wanted);
    html! {
        @if !events.is_empty() {
            section.panel id="happened" aria-labelledby="happened-title" {
                div.panel-head { h2 id="happened-title" { "What happened" } }
                ol.events {
                    @for event in &events {
                        li data-key={ "event-" (event.at) "-" (word(event)) } data-test="event" data-kind=(word(event)) {
                            (when(context, event.at)) " "
                            span.event-sign.(class(event)) aria-hidden="true" { (sign(event)) } " "
                            span.wrap-anywhere { (place(context, event)) (text(event)) }
                        }
                    }
                }
            }
        }
    }
}

/// The events that `wanted` picks, as marks for charts.
pub(crate) fn moments(context: &PageContext<'_>, wanted: impl Fn(&Event) -> bool) -> Vec<Moment> {
    let events = context.nsqadmin.watch.events(MOST_MARKS, wanted);
    events
        .iter()
        .map(|event| Moment {
            at: event.at.div_euclid(1000),
            class: class(event),
            text: format!("{}{}", name(event), text(event)),
        })
        .collect()
}

/// Picks the events of a topic and of its channels, and those of nodes that were lost or came back.
pub(crate) fn of_topic(topic: &str) -> impl Fn(&Event) -> bool {
    move |event| event.place.topic.as_deref() == Some(topic) || is_of_lost_node(event)
}

fn is_of_lost_node(event: &Event) -> bool {
    matches!(event.kind, EventKind::NodeLost { .. } | EventKind::NodeBack)
}

/// Picks the events of a channel.
pub(crate) fn of_channel(topic: &str, channel: &str) -> impl Fn(&Event) -> bool {
    move |event| {
        if is_of_lost_node(event) {
            return true;
        }
        event.place.topic.as_deref() == Some(topic)
            && event
                .place
                .channel
                .as_deref()
                .is_none_or(|name| name == channel)
    }
}

/// Picks the events of a node.
pub(crate) fn of_node(node: &str) -> impl Fn(&Event) -> bool {
    move |event| event.place.node.as_deref() == Some(node)
}

fn when(context: &PageContext<'_>, millis: i64) -> Markup {
    let at = Timestamp::from_millisecond(millis).unwrap_or(context.now);
    let clock = at.to_zoned(context.zone.clone()).strftime("%H:%M:%S");
    html! { time.muted.nowrap datetime=(at) title=(format::moment(at, &context.zone)) { (clock.to_string()) } }
}

fn place(context: &PageContext<'_>, event: &Event) -> Markup {
    let place = &event.place;
    html! {
        @match (&place.topic, &place.channel, &place.node) {
            (Some(topic), Some(channel), _) => {
                a href=(context.links.channel(topic, channel)) { (topic) " / " (channel) } ": "
            }
            (Some(topic), None, _) => { a href=(context.links.topic(topic)) { (topic) } ": " }
            (None, _, Some(node)) => { (widgets::node(context, node, "")) ": " }
            (None, _, None) => {}
        }
    }
}

fn name(event: &Event) -> String {
    let place = &event.place;
    let parts: [&Option<Arc<str>>; 2] = match place.channel {
        Some(_) => [&place.channel, &None],
        None => [&place.topic, &place.node],
    };
    parts
        .into_iter()
        .flatten()
        .next()
        .map(|name| format!("{name}: "))
        .unwrap_or_default()
}

fn text(event: &Event) -> String {
    match &event.kind {
        EventKind::NodeLost {
            is_gone,
            waiting,
            consumers: had,
        } => {
            let word = if *is_gone { "gone" } else { "not responding" };
            format!(
                "node {word}, with {} and {} waiting then",
                consumers(*had),
                messages(*waiting)
            )
        }
        EventKind::NodeBack => "node is back".to_owned(),
        EventKind::NodeNew => "node joined".to_owned(),
        EventKind::Joined(count) => format!("{} joined", consumers(*count)),
        EventKind::Left(count) => format!("{} left", consumers(*count)),
        EventKind::Began(condition, _) => began(*condition).to_owned(),
        EventKind::Recovered(condition) => format!("recovered (was {})", was(*condition)),
        EventKind::Action { what, by } => match by {
            Some(by) => format!("{what} by {by}"),
            None => what.clone(),
        },
        EventKind::Paused(true) => "paused".to_owned(),
        EventKind::Paused(false) => "unpaused".to_owned(),
    }
}

fn began(condition: Condition) -> &'static str {
    match condition {
        Condition::Idle => "idle",
        Condition::Fine => "fine",
        Condition::Paused => "paused",
        Condition::CatchingUp => "began to catch up",
        Condition::Backlog => "messages wait for over a minute",
        Condition::FallingBehind => "began to fall behind",
        Condition::Slow => "consumers finish nothing",
        Condition::Stuck => "stuck: consumers finish nothing",
        Condition::NotTaking => "consumers stopped taking messages",
        Condition::NoConsumers => "messages wait without a consumer",
    }
}

fn was(condition: Condition) -> &'static str {
    match condition {
        Condition::Idle => "idle",
        Condition::Fine => "fine",
        Condition::Paused => "paused",
        Condition::CatchingUp => "catching up",
        Condition::Backlog => "in backlog",
        Condition::FallingBehind => "falling behind",
        Condition::Slow => "finishing nothing",
        Condition::Stuck => "stuck",
        Condition::NotTaking => "not taking messages",
        Condition::NoConsumers => "without consumers",
    }
}

/// The kind of an event for scripts and tests.
fn word(event: &Event) -> &'static str {
    match &event.kind {
        EventKind::NodeLost { is_gone: true, .. } => "node-gone",
        EventKind::NodeLost { is_gone: false, .. } => "node-silent",
        EventKind::NodeBack => "node-back",
        EventKind::NodeNew => "node-new",
        EventKind::Joined(_) => "joined",
        EventKind::Left(_) => "left",
        EventKind::Began(condition, _) => super::diagnosis::name(*condition),
        EventKind::Recovered(_) => "recovered",
        EventKind::Action { .. } => "action",
        EventKind::Paused(_) => "paused",
    }
}

fn class(event: &Event) -> &'static str {
    match event.severity() {
        Severity::Bad => "bad",
        Severity::Warn => "warn",
        Severity::Fine => "good",
        Severity::Info | Severity::Idle => "info",
    }
}

fn sign(event: &Event) -> &'static str {
    match event.severity() {
        Severity::Bad => "✖",
        Severity::Warn => "▲",
        Severity::Fine => "✓",
        Severity::Info | Severity::Idle => "•",
    }
}

/// More marks would hide the lines.
const MOST_MARKS: usize = 100;
