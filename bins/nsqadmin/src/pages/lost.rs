//! Nodes that do not respond or have gone: as notices, and the page of one.

use jiff::Timestamp;
use maud::{Markup, html};

use crate::cluster::Topic;
use crate::snapshot::Snapshot;
use crate::watch::{Loss, LostNode};

use super::context::PageContext;
use super::diagnosis::clock;
use super::form;
use super::format;
use super::happened;
use super::layout::{Page, Section};
use super::state::{self, Mark, Severity, consumers, messages};
use super::table::{Column, Heading, Order, Table, View, wide};
use super::widgets;

/// `gone since 15:53`, `not responding since 15:53`.
pub(crate) fn since(context: &PageContext<'_>, node: &LostNode) -> String {
    let word = match node.loss {
        Loss::Gone => "gone",
        Loss::NotResponding(_) => "not responding",
    };
    format!("{word} since {}", clock(context, node.last_seen))
}

/// What was there when it last answered: `75 consumers, 27 topics, 11,000 messages waiting then`.
pub(crate) fn what_was_there(node: &LostNode) -> String {
    format!(
        "{}, {}, {} waiting then",
        consumers(node.consumers()),
        format::counted(
            u64::try_from(node.stats.topics.len()).unwrap_or(0),
            "topic",
            "topics"
        ),
        messages(node.waiting())
    )
}

/// The mark of a lost node.
pub(crate) fn mark(node: &LostNode) -> Mark {
    match &node.loss {
        Loss::Gone => Mark::new(
            "gone",
            Severity::Bad,
            "gone",
            "It is no longer registered with nsqlookupd.",
        ),
        Loss::NotResponding(why) => Mark::new("down", Severity::Bad, "not responding", why.clone()),
    }
}

/// All lost nodes in a panel above the topics; nothing if there are none.
pub(crate) fn panel(context: &PageContext<'_>, snapshot: &Snapshot) -> Markup {
    html! {
        @if !snapshot.lost.is_empty() {
            section.lost-nodes aria-label="Lost nodes" id="lost" {
                @for node in &snapshot.lost {
                    div.diagnosis.bad data-test="lost-node" data-key={ "lost-" (node.address) } {
                        span {
                            "Node " a href=(context.links.node(&node.address)) { (node.address) } " "
                            (since(context, node)) ": " (what_was_there(node)) "."
                        }
                        (dismissal(context, node))
                    }
                }
            }
        }
    }
}

/// The button that forgets a node that has gone.
pub(crate) fn dismissal(context: &PageContext<'_>, node: &LostNode) -> Markup {
    html! {
        @if node.loss == Loss::Gone && context.may_act() {
            form method="post" action=(context.links.node(&node.address)) {
                (form::token(context))
                input type="hidden" name="action" value="dismiss";
                button.button.tiny type="submit" data-test="dismiss" title="Forget this node" { "Dismiss" }
            }
        }
    }
}

/// The page of a node that is lost: what it was like.
pub(crate) fn page(context: &PageContext<'_>, node: &LostNode) -> Page {
    let seen = Timestamp::from_millisecond(node.last_seen).unwrap_or(context.now);
    let why = match &node.loss {
        Loss::Gone => {
            "It is no longer registered with nsqlookupd: stopped, killed, or cut off.".to_owned()
        }
        Loss::NotResponding(why) => format!("It does not respond: {why}."),
    };
    let body = html! {
        header.page-head {
            div.titles {
                h1 { span.kind { "Node " } (node.address) }
                div { (state::badges(&[mark(node)])) }
            }
            div.actions { (dismissal(context, node)) }
        }
        p.diagnosis.bad data-test="diagnosis" {
            "This node has been " (since(context, node)) ": " (what_was_there(node)) ". " (why)
            " Everything below is as of " (format::moment(seen, &context.zone)) "."
        }
        (topics(context, node))
        (happened::panel(context, 20, happened::of_node(&node.address)))
    };
    let mut page = Page::new(format!("{} (node)", node.address), Section::Nodes, body);
    page.crumbs = vec![
        ("Nodes".to_owned(), Some(context.links.nodes())),
        (node.address.to_string(), None),
    ];
    page
}

fn topics(context: &PageContext<'_>, node: &LostNode) -> Markup {
    let rows: Vec<&Topic> = node.stats.topics.iter().map(|topic| &**topic).collect();
    let sum = |topic: &Topic, value: fn(&crate::cluster::Channel) -> i64| -> i64 {
        topic
            .channels
            .iter()
            .map(|channel| value(channel))
            .fold(0, i64::saturating_add)
    };
    let columns = vec![
        Column::name(
            "topic",
            "Topic",
            |topic: &&Topic| topic.topic_name.to_string(),
            |topic| html! { a href=(context.links.topic(&topic.topic_name)) { (topic.topic_name) } },
        ),
        Column::summed("waiting", "Waiting then", |topic: &&Topic| {
            state::waiting(topic)
        }),
        Column::summed("in-flight", "In flight then", move |topic: &&Topic| {
            sum(topic, |channel| channel.in_flight_count)
        }),
        Column::summed("consumers", "Consumers then", move |topic: &&Topic| {
            sum(topic, |channel| channel.client_count)
        }),
        Column::number(
            "channels",
            "Channels",
            |topic: &&Topic| Some(wide(i64::try_from(topic.channels.len()).unwrap_or(0))),
            |topic| {
                let names: Vec<&str> = topic.channels.iter().map(|c| &*c.channel_name).collect();
                html! { span title=(names.join(", ")) { (names.len()) } }
            },
        ),
    ];
    let table = Table {
        id: "topics",
        caption: "Topics that were on this node",
        columns,
        key: Box::new(|topic: &&Topic| topic.topic_name.to_string()),
        searched: Box::new(|topic| topic.topic_name.to_string()),
        empty: html! { strong { "No topics were on this node" } },
    };
    let view = View::main(&context.query).or_sorted_by("waiting", Order::Descending);
    table.panel(&rows, &view, &Heading::new("Topics", "topics", 2))
}

/// A notice for pages of a topic or channel: nodes that had it and are lost.
pub(crate) fn of_topic(context: &PageContext<'_>, snapshot: &Snapshot, topic: &str) -> Markup {
    html! {
        @for node in snapshot.lost_with(topic) {
            @if let Some(part) = node.topic(topic) {
                p.diagnosis.bad data-test="lost-node" {
                    "Node " (widgets::node(context, &node.address, "")) " has been " (since(context, node)) ": "
                    (messages(state::waiting(part))) " of this topic waiting there then."
                }
            }
        }
    }
}
