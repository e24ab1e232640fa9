//! What is wrong with a topic or a channel, in words, and how bad it is.
//!
//! A mark has a sign and a word: colour only repeats what they say.

mod course;
#[cfg(test)]
mod tests;

pub(crate) use course::Course;

use maud::{Markup, html};

use crate::cluster::{Channel, Topic};

use super::figures::{Unit, counted, grouped, grouped_signed};

/// How bad it is, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// Worth knowing.
    Info,
    /// Worth a look.
    Warn,
    /// Messages wait, and nobody will take them.
    Bad,
}

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

/// What is worst, then how much waits: the larger the worse.
pub(crate) fn rank(marks: &[Mark], waiting: i64) -> f64 {
    let severity = marks.iter().map(|mark| mark.severity).max();
    let severity = match severity {
        None => 0.0,
        Some(Severity::Info) => 1.0,
        Some(Severity::Warn) => 2.0,
        Some(Severity::Bad) => 3.0,
    };
    severity * 1e15 + super::table::wide(waiting).clamp(0.0, 9e14)
}

/// Messages of a topic that nobody has yet: its own, and those of all its channels.
pub(crate) fn waiting(topic: &Topic) -> i64 {
    let channels = topic.channels.iter().map(|channel| channel.depth);
    channels.fold(topic.depth, i64::saturating_add)
}

/// Whether it goes away with its last client.
pub(crate) fn is_ephemeral(name: &str) -> bool {
    name.ends_with("#ephemeral")
}

/// A channel over all nodes.
pub(crate) fn of_channel(channel: &Channel, course: &Course) -> Vec<Mark> {
    let mut marks = Vec::new();
    let waits = channel.depth > 0;
    if channel.client_count == 0 {
        let severity = if waits { Severity::Bad } else { Severity::Warn };
        let why = if waits {
            "Messages wait and no consumer is connected. Start one, or delete the channel."
        } else {
            "No consumer is connected: messages will pile up."
        };
        marks.push(Mark::new("no-consumers", severity, "no consumers", why));
    }
    let paused = channel.nodes.iter().filter(|part| part.paused).count();
    marks.extend(paused_mark(
        channel.paused,
        paused,
        channel.nodes.len(),
        waits,
    ));
    let takes_nothing =
        channel.in_flight_count == 0 && course.finishes.is_none_or(|rate| rate < 0.01);
    let is_stuck = waits && channel.client_count > 0 && !channel.paused && takes_nothing;
    if is_stuck && !course.is_young {
        let all_unready = !channel.clients.is_empty()
            && channel.clients.iter().all(|client| client.ready_count == 0);
        let word = if all_unready { "RDY 0" } else { "RDY 0?" };
        let why = "Messages wait and consumers are connected, but take none: their ready count (RDY) is 0, as when \
                   they back off after errors.";
        marks.push(Mark::new("ready-zero", Severity::Bad, word, why));
    }
    if let Some(growth) = course.growth() {
        let why = format!(
            "The number of waiting messages went up by {} in the last minutes.",
            Unit::Count.short(growth)
        );
        marks.push(Mark::new("growing", Severity::Warn, "growing", why));
    }
    if let Some(rate) = course.timeouts.filter(|rate| *rate >= 0.01) {
        let word = format!("timeouts {}", Unit::PerSecond.short(rate));
        let why = "Consumers hold messages for longer than their timeout allows: these are delivered once more.";
        marks.push(Mark::new("timeouts", Severity::Warn, word, why));
    }
    if let Some(share) = course.requeued_share().filter(|share| *share >= 0.1) {
        let why = "Consumers give many messages back (REQ): look at their errors.";
        let word = format!("requeues {:.0} %", share * 100.0);
        marks.push(Mark::new("requeues", Severity::Warn, word, why));
    }
    marks.sort_by_key(|mark| std::cmp::Reverse(mark.severity));
    marks
}

/// A topic over all nodes, with its channels' marks.
pub(crate) fn of_topic(topic: &Topic, courses: &[Course]) -> Vec<Mark> {
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
            Severity::Info
        };
        let why = "Messages wait at the topic until a channel is created.";
        marks.push(Mark::new("no-channels", severity, "no channels", why));
    }
    // One mark for each kind, with the channels it is about.
    let mut found: Vec<(Mark, Vec<&str>)> = Vec::new();
    for (channel, course) in topic.channels.iter().zip(courses) {
        for mark in of_channel(channel, course) {
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
    for (mut mark, names) in found {
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
        "No messages are handed on until it is unpaused.",
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
