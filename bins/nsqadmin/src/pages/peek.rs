//! What is in a channel: messages as they lie there, taken by nobody.

pub(crate) mod body;

use jiff::Timestamp;
use maud::{Markup, html};

use crate::cluster::{Channel, Found, Peek, PeekedMessage};

use super::figures;
use super::visit::Visit;
use super::widgets;

/// The section on the channel's page: an offer to look, or what was seen.
pub(crate) fn panel(
    visit: &Visit<'_>,
    channel: &Channel,
    inside: Option<&Found<Vec<Peek>>>,
) -> Markup {
    html! {
        section.panel id="inside" aria-labelledby="inside-title" {
            div.panel-head {
                h2 id="inside-title" { "Look inside" }
                @if inside.is_some() {
                    a.button.tiny href="?#inside" data-soft { "Close" }
                } @else {
                    a.button href="?look=1#inside" data-soft data-test="look" { "Show messages" }
                }
            }
            @match inside {
                None => div.panel-body { p.muted {
                    "Shows some of the messages that wait, are in flight or are deferred, without taking them from anybody."
                } },
                Some(found) => (seen(visit, channel, found)),
            }
        }
    }
}

fn seen(visit: &Visit<'_>, channel: &Channel, found: &Found<Vec<Peek>>) -> Markup {
    let unable: Vec<(&str, String)> = found
        .warnings
        .iter()
        .map(|failure| {
            let why = match failure.status {
                Some(403) => {
                    "looking inside is switched off on this nsqd (--enable-peek=false)".to_owned()
                }
                Some(404) => {
                    "this nsqd cannot show its messages (it is of another version)".to_owned()
                }
                _ => failure.cause.clone(),
            };
            (failure.address.as_str(), why)
        })
        .collect();
    html! {
        @if !unable.is_empty() {
            ul.panel-body.muted data-test="peek-unable" {
                @for (address, why) in &unable { li { (address) ": " (why) } }
            }
        }
        @for peek in &found.value { (node(visit, channel, peek)) }
    }
}

fn node(visit: &Visit<'_>, channel: &Channel, peek: &Peek) -> Markup {
    let kinds = [
        (
            "queued",
            "waiting",
            "next first",
            &peek.queued,
            peek.queued_total,
        ),
        (
            "in-flight",
            "in flight",
            "",
            &peek.in_flight,
            peek.in_flight_total,
        ),
        (
            "deferred",
            "deferred",
            "",
            &peek.deferred,
            peek.deferred_total,
        ),
    ];
    html! {
        div data-test="peek" data-key={ "peek-" (peek.node) } {
            @if channel.nodes.len() > 1 { div.panel-body { h3 { "On " (peek.node) } } }
            @for (id, word, order, messages, total) in kinds {
                details id={ "peek-" (id) "-" (peek.node) } open[!messages.is_empty()] {
                    summary.message {
                        span { strong { (figures::grouped_signed(total)) " " (word) }
                            @if !messages.is_empty() { span.muted { ", " (messages.len()) " shown"
                                @if !order.is_empty() { ", " (order) } } } }
                    }
                    @for message in messages { (self::message(visit, message)) }
                }
            }
        }
    }
}

fn message(visit: &Visit<'_>, message: &PeekedMessage) -> Markup {
    let bytes = body::decode(&message.body);
    html! {
        article.message data-key={ "m-" (message.id) } {
            div.message-head {
                span.mono { (message.id) }
                @if let Some(at) = widgets::at_nanos(message.timestamp) { span { "published " (widgets::ago(visit, at)) } }
                span { (figures::counted(u64::from(message.attempts), "attempt", "attempts")) }
                span { (figures::counted(message.body_size, "byte", "bytes")) }
                @if let Some(client) = &message.client {
                    span { "at " (client.hostname) " (" (client.client_id) ", " (client.remote_address) ")" }
                }
                @if let Some(at) = widgets::at_nanos(message.delivered_at) { span { "for " (held(visit, at)) } }
                @if let Some(at) = widgets::at_nanos(message.due_at) {
                    span { @if message.client.is_some() { "times out " } @else { "due " } (widgets::ago(visit, at)) }
                }
            }
            (body::show(bytes.as_deref(), message.body_size, message.truncated))
        }
    }
}

fn held(visit: &Visit<'_>, since: Timestamp) -> String {
    let seconds = visit.now.as_second().saturating_sub(since.as_second());
    figures::span(u64::try_from(seconds).unwrap_or(0))
}
