//! The diagnosis at the head of a topic's and a channel's page: what is wrong, since when, why, and how it continues.

use jiff::Timestamp;
use maud::{Markup, html};

use crate::cluster::{Channel, Topic};
use crate::watch::{ChannelState, Condition, Severity};

use super::context::PageContext;
use super::format::{self, Unit};
use super::state::{consumers, messages};

/// The diagnosis of a channel; nothing for one that is fine.
pub(crate) fn of_channel(
    context: &PageContext<'_>,
    channel: &Channel,
    state: Option<&ChannelState>,
) -> Markup {
    let Some(state) = state.filter(|state| is_worth_saying(state)) else {
        return html! {};
    };
    html! {
        p.diagnosis.(class(state)) data-test="diagnosis" data-condition=(name(state.condition)) {
            (sentences(context, channel, state).join(" "))
        }
    }
}

/// The diagnoses of a topic's channels, the worst first.
pub(crate) fn of_topic(
    context: &PageContext<'_>,
    topic: &Topic,
    states: &[Option<ChannelState>],
) -> Markup {
    let mut lines: Vec<(&Channel, &ChannelState)> = topic
        .channels
        .iter()
        .zip(states)
        .filter_map(|(channel, state)| Some((&**channel, state.as_ref()?)))
        .filter(|(_, state)| is_worth_saying(state))
        .collect();
    lines.sort_by_key(|(channel, state)| {
        std::cmp::Reverse((state.severity, state.condition, channel.depth))
    });
    html! {
        @for (channel, state) in lines.iter().take(MOST_LINES) {
            p.diagnosis.(class(state)) data-test="diagnosis" data-condition=(name(state.condition)) {
                a href=(context.links.channel(&topic.topic_name, &channel.channel_name)) { (channel.channel_name) } ": "
                (sentences(context, channel, state).join(" "))
            }
        }
        @if lines.len() > MOST_LINES { p.muted { "And " (lines.len() - MOST_LINES) " more channels, listed below." } }
    }
}

fn is_worth_saying(state: &ChannelState) -> bool {
    state.severity >= Severity::Info
}

fn class(state: &ChannelState) -> &'static str {
    match state.severity {
        Severity::Bad => "bad",
        Severity::Warn => "warn",
        Severity::Info | Severity::Fine | Severity::Idle => "info",
    }
}

/// The condition's name for scripts and tests.
pub(crate) fn name(condition: Condition) -> &'static str {
    match condition {
        Condition::Idle => "idle",
        Condition::Fine => "ok",
        Condition::Paused => "paused",
        Condition::CatchingUp => "catching-up",
        Condition::Backlog => "backlog",
        Condition::FallingBehind => "falling-behind",
        Condition::Slow => "slow",
        Condition::Stuck => "stuck",
        Condition::NotTaking => "ready-zero",
        Condition::NoConsumers => "no-consumers",
    }
}

fn sentences(context: &PageContext<'_>, channel: &Channel, state: &ChannelState) -> Vec<String> {
    let since = since(context, state);
    let waiting = messages(channel.depth);
    let mut said = Vec::new();
    match state.condition {
        Condition::Fine | Condition::Idle => {}
        Condition::FallingBehind | Condition::Backlog | Condition::CatchingUp => {
            let word = match state.condition {
                Condition::FallingBehind => "Falling behind",
                Condition::Backlog => "Backlog",
                _ => "Catching up",
            };
            said.push(match rates(state) {
                Some(rates) => format!("{word} {since}: {rates}."),
                None => format!("{word} {since}."),
            });
            said.extend(fullness(channel));
            said.push(format!("{waiting} waiting."));
        }
        Condition::Slow | Condition::Stuck => {
            let word = match state.condition {
                Condition::Stuck => "Stuck",
                _ => "Nothing finished",
            };
            let verb = if channel.client_count == 1 {
                "holds"
            } else {
                "hold"
            };
            said.push(format!(
                "{word} {since}: {} {verb} {} and finished none.",
                consumers(channel.client_count),
                messages(channel.in_flight_count)
            ));
            said.push(format!("{waiting} waiting."));
        }
        Condition::NotTaking => {
            let verb = if channel.client_count == 1 {
                "is"
            } else {
                "are"
            };
            said.push(format!(
                "Not taking messages {since}: {} {verb} connected but not ready (RDY 0). {waiting} waiting.",
                consumers(channel.client_count)
            ));
        }
        Condition::NoConsumers => {
            said.push(format!("No consumers {since}: {waiting} waiting."));
            if let Some((received, _)) = state.rates.filter(|(received, _)| *received >= 0.01) {
                said.push(format!("{} in.", Unit::PerSecond.short(received)));
            }
        }
        Condition::Paused => said.push(format!("Paused {since}: {waiting} waiting.")),
    }
    let (some, all) = state.nodes;
    if some < all && state.severity >= Severity::Info {
        said.push(format!("On {some} of {all} nodes."));
    }
    if state.severity >= Severity::Info {
        said.extend(oldest(state));
        said.extend(drains(channel, state));
    }
    said
}

fn rates(state: &ChannelState) -> Option<String> {
    let (received, finished) = state.rates?;
    Some(format!(
        "{} in, {} out",
        Unit::PerSecond.short(received),
        Unit::PerSecond.short(finished)
    ))
}

/// Whether consumers could take more than they hold.
fn fullness(channel: &Channel) -> Option<String> {
    let clients = &channel.clients;
    if clients.is_empty() {
        return None;
    }
    let full = clients
        .iter()
        .filter(|client| client.ready_count > 0 && client.in_flight_count >= client.ready_count)
        .count();
    let ready: Vec<i64> = clients.iter().map(|client| client.ready_count).collect();
    let (least, most) = (ready.iter().min()?, ready.iter().max()?);
    let ready = if least == most {
        format!("RDY {least}")
    } else {
        format!("RDY {least} to {most}")
    };
    Some(match (full, clients.len()) {
        (1, 1) => format!("The consumer is full ({ready})."),
        (0, 1) => format!("The consumer is not full ({ready})."),
        (full, all) if full == all => format!("All {all} consumers are full ({ready})."),
        (full, all) => format!("{full} of {all} consumers are full ({ready})."),
    })
}

fn oldest(state: &ChannelState) -> Option<String> {
    let age = state.oldest_age.filter(|age| *age >= 1000)?;
    Some(format!("Oldest message {}.", age_words(age)))
}

/// How old, in words.
pub(crate) fn age_words(millis: i64) -> String {
    format::span(u64::try_from(millis / 1000).unwrap_or(0))
}

fn drains(channel: &Channel, state: &ChannelState) -> Option<String> {
    if channel.depth == 0 || state.rates.is_none() || state.condition == Condition::Paused {
        return None;
    }
    Some(match state.drains_in {
        Some(seconds) => format!("At this rate it drains in {}.", seconds_words(seconds)),
        None => "At this rate it never drains.".to_owned(),
    })
}

/// A time to drain in words; more than a few days are never.
pub(crate) fn seconds_words(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded"
    )]
    let whole = seconds.clamp(0.0, 1e9).ceil() as u64;
    format::span(whole)
}

/// `since 15:38`, with the date where that is not today's.
fn since(context: &PageContext<'_>, state: &ChannelState) -> String {
    let when = clock(context, state.since);
    if state.began_before {
        format!("since {when} or earlier")
    } else {
        format!("since {when}")
    }
}

/// A moment's time, and its date where that is not today's.
pub(crate) fn clock(context: &PageContext<'_>, unix_millis: i64) -> String {
    let Ok(at) = Timestamp::from_millisecond(unix_millis) else {
        return "–".to_owned();
    };
    let at = at.to_zoned(context.zone.clone());
    let now = context.now.to_zoned(context.zone.clone());
    let form = if at.date() == now.date() {
        "%H:%M"
    } else {
        "%b %-d, %H:%M"
    };
    at.strftime(form).to_string()
}

const MOST_LINES: usize = 5;
