//! What is wrong with a topic or a channel, in words, and how bad it is.
//!
//! A mark has a sign and a word: colour only repeats what they say.

#[cfg(test)]
mod tests;
mod trend;

pub(crate) use crate::watch::{Severity, waiting};
pub(crate) use trend::Trend;

use maud::{Markup, html};

use crate::cluster::{Channel, Topic};
use crate::watch::{ChannelState, Condition, Watch};

use super::format::{Unit, counted, grouped, grouped_signed};

/// One thing worth knowing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    /// For tests and scripts.
    pub(crate) id: &'static str,
    pub(crate) severity: Severity,
    pub(crate) word: String,
    /// What it means and what to do.
    pub(crate) why: String,
}

impl Mark {
    pub(crate) fn new(
        id: &'static str,
        severity: Severity,
        word: impl Into<String>,
        why: impl Into<String>,
    ) -> Self {
        Self {
            id,
            severity,
            word: word.into(),
            why: why.into(),
        }
    }

    fn render(&self) -> Markup {
        let (class, sign) = match self.severity {
            Severity::Idle => ("idle", "○"),
            Severity::Fine => ("good", "✓"),
            Severity::Info => ("info", "ℹ"),
            Severity::Warn => ("warn", "▲"),
            Severity::Bad => ("bad", "✖"),
        };
        html! {
            span class={ "badge " (class) } title=(self.why) data-state=(self.id) {
                span aria-hidden="true" { (sign) } (self.word)
            }
        }
    }
}

/// All marks, or that there is nothing to say.
pub(crate) fn badges(marks: &[Mark]) -> Markup {
    html! {
        span.badges {
            @for mark in marks { (mark.render()) }
            @if marks.is_empty() { span.badge.good data-state="ok" { span aria-hidden="true" { "✓" } "OK" } }
        }
    }
}

/// What is worst, then how much waits: the larger the worse. What is idle comes last.
pub(crate) fn rank(marks: &[Mark], waiting: i64) -> f64 {
    let severity = match worst(marks) {
        Severity::Idle => 0.0,
        Severity::Fine => 1.0,
        Severity::Info => 2.0,
        Severity::Warn => 3.0,
        Severity::Bad => 4.0,
    };
    severity * 1e15 + super::table::wide(waiting).clamp(0.0, 9e14)
}

/// The worst of the marks; without any, all is fine.
pub(crate) fn worst(marks: &[Mark]) -> Severity {
    let severities = marks.iter().map(|mark| mark.severity);
    severities.max().unwrap_or(Severity::Fine)
}

/// Whether it goes away with its last client.
pub(crate) fn is_ephemeral(name: &str) -> bool {
    name.ends_with("#ephemeral")
}

/// A channel over all nodes. `state` is the judgement on it; without one, as for a channel that was just created, only
/// what its numbers prove is said.
pub(crate) fn of_channel(channel: &Channel, state: Option<&ChannelState>) -> Vec<Mark> {
    let mut marks = Vec::new();
    let paused = channel.nodes.iter().filter(|part| part.paused).count();
    marks.extend(paused_mark(
        channel.paused,
        paused,
        channel.nodes.len(),
        channel.depth > 0,
    ));
    let Some(state) = state else {
        if channel.client_count == 0 && channel.depth > 0 {
            marks.push(no_consumers(None));
        } else if channel.client_count == 0 && !channel.paused {
            marks.push(idle());
        }
        return marks;
    };
    marks.extend(condition_mark(channel, state));
    if !state.missing.is_empty() {
        marks.push(missing_mark(&state.missing));
    }
    if let Some(rate) = state.timeouts {
        // They come in bursts, so that the last minute may have none.
        let word = if rate < 0.005 {
            "recent timeouts".to_owned()
        } else {
            format!("timeouts {}", Unit::PerSecond.short(rate))
        };
        let why = "Consumers hold messages for longer than their timeout allows: they are delivered again.";
        marks.push(Mark::new("timeouts", Severity::Warn, word, why));
    }
    if let Some(share) = state.requeued_share {
        let why = "Consumers requeue many messages (REQ). Check their logs for errors.";
        let word = format!("requeues {:.0} %", share * 100.0);
        marks.push(Mark::new("requeues", Severity::Warn, word, why));
    }
    marks.sort_by_key(|mark| std::cmp::Reverse(mark.severity));
    marks
}

/// The mark of a channel's condition, if it is worth one.
fn condition_mark(channel: &Channel, state: &ChannelState) -> Option<Mark> {
    let all_unready =
        !channel.clients.is_empty() && channel.clients.iter().all(|client| client.ready_count == 0);
    let (id, word, why) = match state.condition {
        Condition::Fine | Condition::Paused => return None,
        Condition::Idle => return (!channel.paused).then(idle),
        Condition::NoConsumers => return Some(no_consumers(Some(state))),
        condition => words(condition),
    };
    let word = match state.condition {
        Condition::NotTaking if all_unready => "not taking messages (RDY 0)",
        _ => word,
    };
    Some(Mark::new(id, state.severity, word, on_some(why, state)))
}

/// The name of a condition for scripts, in words, and what it means.
fn words(condition: Condition) -> (&'static str, &'static str, &'static str) {
    match condition {
        Condition::Fine => ("ok", "OK", ""),
        Condition::Paused => (
            "paused",
            "paused",
            "Messages are not delivered until it is unpaused.",
        ),
        Condition::Idle => (
            "idle",
            "idle",
            "No consumer is connected and no message waits.",
        ),
        Condition::NoConsumers => (
            "no-consumers",
            "no consumers",
            "Messages wait and no consumer is connected.",
        ),
        Condition::Stuck => (
            "stuck",
            "stuck",
            "Consumers hold messages but have finished none for longer than the message timeout.",
        ),
        Condition::Slow => (
            "slow",
            "nothing finished",
            "Messages wait and consumers hold messages, but have finished none for a while.",
        ),
        Condition::NotTaking => (
            "ready-zero",
            "not taking messages",
            "Messages wait and consumers are connected, but hold none: their ready count (RDY) is 0, as when they back off \
             after errors.",
        ),
        Condition::FallingBehind => (
            "falling-behind",
            "falling behind",
            "More messages are received than finished.",
        ),
        Condition::Backlog => (
            "backlog",
            "backlog",
            "Messages wait for a long time before they are delivered.",
        ),
        Condition::CatchingUp => (
            "catching-up",
            "catching up",
            "There is a backlog, and it is getting smaller.",
        ),
    }
}

/// On how many nodes it is so, where it is not on all.
fn on_some(why: &str, state: &ChannelState) -> String {
    let (some, all) = state.nodes;
    if some < all {
        format!("{why} On {some} of {all} nodes.")
    } else {
        why.to_owned()
    }
}

fn no_consumers(state: Option<&ChannelState>) -> Mark {
    let why = "Messages wait and no consumer is connected. Start one, or delete the channel.";
    let why = state.map_or_else(|| why.to_owned(), |state| on_some(why, state));
    Mark::new("no-consumers", Severity::Bad, "no consumers", why)
}

pub(crate) fn idle() -> Mark {
    let why = "No consumer is connected and no message waits.";
    Mark::new("idle", Severity::Idle, "idle", why)
}

/// Nodes that do not respond had a part of it.
fn missing_mark(missing: &[(std::sync::Arc<str>, i64)]) -> Mark {
    let counts = missing.iter().map(|(_, waiting)| *waiting);
    let waiting = counts.fold(0, i64::saturating_add);
    let nodes: Vec<&str> = missing.iter().map(|(node, _)| &**node).collect();
    let why = format!(
        "{} not responding or gone: {}. {} waited there.",
        counted(
            u64::try_from(nodes.len()).unwrap_or(0),
            "node is",
            "nodes are"
        ),
        nodes.join(", "),
        messages(waiting)
    );
    let severity = if waiting > 0 {
        Severity::Bad
    } else {
        Severity::Info
    };
    Mark::new("node-lost", severity, "node lost", why)
}

/// A channel on one node.
pub(crate) fn on_node(watch: &Watch, part: &Channel) -> Vec<Mark> {
    let mut marks = Vec::new();
    if part.paused {
        let why = "This node delivers nothing until it is unpaused.";
        marks.push(Mark::new("paused", Severity::Warn, "paused", why));
    }
    let judged = watch.channel_on(&part.topic_name, &part.channel_name, &part.node);
    let mark = match judged {
        None if part.client_count == 0 && part.depth > 0 => Some(no_consumers(None)),
        None | Some((Condition::Fine | Condition::Paused, _)) => None,
        Some((Condition::NoConsumers, _)) => Some(no_consumers(None)),
        Some((Condition::Idle, _)) => Some(idle()),
        Some((condition, severity)) => {
            let (id, word, why) = words(condition);
            Some(Mark::new(id, severity, word, why))
        }
    };
    marks.extend(mark.filter(|mark| !(part.paused && mark.id == "idle")));
    marks
}

/// A topic on one node: its own state, and the worst of its channels there.
pub(crate) fn topic_on_node(watch: &Watch, part: &Topic) -> Vec<Mark> {
    let channels = part.channels.iter();
    let of_channels = channels.flat_map(|channel| on_node(watch, channel));
    let worst = of_channels.max_by_key(|mark| mark.severity);
    let all_idle = || {
        let mut channels = part.channels.iter();
        channels.all(|channel| channel.client_count == 0 && channel.depth == 0)
    };
    worst
        .filter(|mark| mark.severity != Severity::Idle || all_idle())
        .into_iter()
        .collect()
}

/// A topic over all nodes, with its channels' marks.
pub(crate) fn of_topic(topic: &Topic, states: &[Option<ChannelState>]) -> Vec<Mark> {
    let mut marks: Vec<Mark> = Vec::new();
    let paused = topic.nodes.iter().filter(|part| part.paused).count();
    marks.extend(paused_mark(
        topic.paused,
        paused,
        topic.nodes.len(),
        topic.depth > 0,
    ));
    if topic.channels.is_empty() {
        let severity = if topic.depth > 0 {
            Severity::Warn
        } else {
            Severity::Idle
        };
        let why = "Messages wait at the topic until a channel is created.";
        marks.push(Mark::new("no-channels", severity, "no channels", why));
    }
    // One mark for each kind, with the channels it is about.
    let mut found: Vec<(Mark, Vec<&str>)> = Vec::new();
    for (channel, state) in topic.channels.iter().zip(states) {
        for mark in of_channel(channel, state.as_ref()) {
            let same = found.iter_mut().find(|(other, _)| other.id == mark.id);
            match same {
                Some((other, names)) => {
                    names.push(&channel.channel_name);
                    if mark.severity > other.severity {
                        *other = mark;
                    }
                }
                None => found.push((mark, vec![&channel.channel_name])),
            }
        }
    }
    // A topic is idle when all of it is.
    let all_idle = found
        .iter()
        .all(|(mark, names)| mark.id == "idle" && names.len() == topic.channels.len());
    for (mut mark, names) in found {
        if mark.severity == Severity::Idle {
            if all_idle {
                marks.push(idle());
            }
            continue;
        }
        let few = names.iter().take(5).copied().collect::<Vec<_>>().join(", ");
        let more = names.len().saturating_sub(5);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        mark.why = format!("In {few}{more}. {}", mark.why);
        if names.len() > 1 {
            let word = mark.word.split(' ').next().unwrap_or_default();
            mark.word = match mark.id {
                "timeouts" | "requeues" => format!("{word} ×{}", names.len()),
                _ => format!("{} ×{}", mark.word, names.len()),
            };
        }
        if mark.id == "paused" {
            mark.word = format!("channel {}", mark.word);
            mark.id = "channel-paused";
        }
        marks.push(mark);
    }
    marks.sort_by_key(|mark| std::cmp::Reverse(mark.severity));
    marks
}

fn paused_mark(any: bool, paused: usize, nodes: usize, waits: bool) -> Option<Mark> {
    if !any {
        return None;
    }
    if paused > 0 && paused < nodes {
        return Some(Mark::new(
            "partly-paused",
            Severity::Warn,
            format!("paused on {paused} of {nodes}"),
            format!(
                "Paused on {} only. Pause or unpause it to bring all nodes into the same state.",
                counted(u64::try_from(paused).unwrap_or(0), "node", "nodes")
            ),
        ));
    }
    let severity = if waits {
        Severity::Warn
    } else {
        Severity::Info
    };
    Some(Mark::new(
        "paused",
        severity,
        "paused",
        "Messages are not delivered until it is unpaused.",
    ))
}

/// `1,204 messages`: what an operator stands to lose.
pub(crate) fn messages(count: i64) -> String {
    match u64::try_from(count) {
        Ok(count) => counted(count, "message", "messages"),
        Err(_) => format!("{} messages", grouped_signed(count)),
    }
}

/// `3 consumers`.
pub(crate) fn consumers(count: i64) -> String {
    let count = u64::try_from(count).unwrap_or(0);
    format!(
        "{} {}",
        grouped(count),
        if count == 1 { "consumer" } else { "consumers" }
    )
}
