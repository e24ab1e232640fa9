//! One channel: over all nodes, by node, by client, and what is in it.

use std::sync::Arc;

use maud::{Markup, html};
use nsq_daemon::http::StatusCode;

use crate::cluster::{Channel, Client, Found, Peek};
use crate::history::{Key, Metric};

use super::clients;
use super::figures::{self, Unit};
use super::form;
use super::layout::{Page, Section};
use super::notice::Tone;
use super::peek;
use super::state::{self, Course, Mark, Severity};
use super::table::{Column, Table, View, wide};
use super::visit::Visit;
use super::widgets::{self, Figure};

/// The page. `inside` is there when somebody wants to look at the messages.
pub(crate) fn page(
    visit: &Visit<'_>,
    found: &Found<Channel>,
    inside: Option<&Found<Vec<Peek>>>,
) -> Page {
    let channel = &found.value;
    let (topic, name) = (&channel.topic_name, &channel.channel_name);
    let course = Course::of(&visit.nsqadmin.history, &key(channel));
    let marks = state::of_channel(channel, &course);
    let body = html! {
        header.page-head {
            div.titles {
                div.title-line {
                    h1 { span.kind { "Channel " } (name) }
                    (widgets::copy(name, "Copy name"))
                }
                div { (state::badges(&marks)) " " (widgets::lifetime(name)) }
            }
            @if visit.may_act() { (actions(channel)) }
        }
        (summary(channel, &course))
        (charts(visit, channel))
        (clients_panel(visit, channel))
        (nodes_panel(visit, channel))
        (widgets::latency(&channel.e2e_processing_latency))
        (peek::panel(visit, channel, inside))
    };
    let mut page = Page::new(
        format!("{name} of {topic} (channel)"),
        Section::Topics,
        body,
    );
    page.crumbs = crumbs(visit, topic, name);
    page.warnings = widgets::warnings(&found.warnings);
    page.api = Some(format!(
        "/api{}",
        super::links::Links::new("/").channel(topic, name)
    ));
    page
}

/// The topic is there, but has no such channel.
pub(crate) fn missing(visit: &Visit<'_>, topic: &str, name: &str) -> Page {
    let body = html! {
        header.page-head { div.titles { h1 { span.kind { "Channel " } (name) } } }
        section.panel { div.empty data-test="no-such-channel" {
            strong { "Topic “" (topic) "” has no channel of this name on any node" }
            span { "It may have been deleted, or no consumer has created it yet." }
            a.button href=(visit.links.topic(topic)) { "The topic’s channels" }
        } }
    };
    let mut page = Page::new(
        format!("{name} of {topic} (channel)"),
        Section::Topics,
        body,
    );
    page.crumbs = crumbs(visit, topic, name);
    page.status = StatusCode::NOT_FOUND;
    page
}

fn key(channel: &Channel) -> Key {
    Key::Channel(
        Arc::clone(&channel.topic_name),
        Arc::clone(&channel.channel_name),
    )
}

fn crumbs(visit: &Visit<'_>, topic: &str, name: &str) -> Vec<(String, Option<String>)> {
    vec![
        ("Topics".to_owned(), Some(visit.links.topics())),
        (topic.to_owned(), Some(visit.links.topic(topic))),
        (name.to_owned(), None),
    ]
}

fn actions(channel: &Channel) -> Markup {
    let all = !channel.nodes.is_empty() && channel.nodes.iter().all(|part| part.paused);
    html! {
        div.actions {
            @if !all { (form::asks(&widgets::action("pause", &[]), "", "Pause…", "pause")) }
            @if channel.paused { (form::asks(&widgets::action("unpause", &[]), "", "Unpause…", "unpause")) }
            (form::asks(&widgets::action("empty", &[]), "danger", "Empty channel…", "empty"))
            (form::asks(&widgets::action("delete", &[]), "danger", "Delete channel…", "delete"))
        }
    }
}

fn summary(channel: &Channel, course: &Course) -> Markup {
    let ready: i64 = channel
        .clients
        .iter()
        .map(|client| client.ready_count)
        .fold(0, i64::saturating_add);
    let consumers_tone = (channel.client_count == 0).then_some(Tone::Warn);
    let in_all = |count: i64| html! { (figures::grouped_signed(count)) " since the nodes started" };
    widgets::strip(&[
        Figure::count("depth", "Waiting", channel.depth)
            .tone((channel.depth > 0 && channel.client_count == 0).then_some(Tone::Bad))
            .more(html! { (figures::short(wide(channel.backend_depth))) " on disk" }),
        Figure::count("in-flight", "In flight", channel.in_flight_count)
            .more(html! { "consumers’ RDY in all: " (figures::grouped_signed(ready)) }),
        Figure::count("deferred", "Deferred", channel.deferred_count),
        Figure::rate("in", "Put in", course.messages).more(in_all(channel.message_count)),
        Figure::rate("done", "Finished", course.finishes),
        Figure::rate("requeues", "Requeued", course.requeues).more(in_all(channel.requeue_count)),
        Figure::rate("timeouts", "Timed out", course.timeouts).more(in_all(channel.timeout_count)),
        Figure::count("consumers", "Consumers", channel.client_count).tone(consumers_tone),
    ])
}

fn charts(visit: &Visit<'_>, channel: &Channel) -> Markup {
    let key = key(channel);
    html! {
        section.charts aria-labelledby="charts-title" {
            div.title-line { h2 id="charts-title" { "Course" } (widgets::span_choice(visit)) }
            div.grid-2 {
                (widgets::chart(visit, "waiting", "Messages", Unit::Count, &[
                    ("waiting", &key, Metric::Depth),
                    ("in flight", &key, Metric::InFlight),
                    ("deferred", &key, Metric::Deferred),
                ]))
                (widgets::chart(visit, "rates", "Messages a second", Unit::PerSecond, &[
                    ("put in", &key, Metric::Messages),
                    ("finished", &key, Metric::Finishes),
                    ("requeued", &key, Metric::Requeues),
                    ("timed out", &key, Metric::Timeouts),
                ]))
            }
        }
    }
}

fn clients_panel(visit: &Visit<'_>, channel: &Channel) -> Markup {
    let rows: Vec<&Client> = channel.clients.iter().collect();
    let table = clients::of_channel(visit, &rows);
    let view = View::main(&visit.query);
    html! {
        section.panel aria-labelledby="clients-title" {
            div.panel-head {
                h2 id="clients-title" { "Consumers" span.count { (rows.len()) } }
                @if rows.len() > 1 { (table.filter(&view, "consumers")) }
            }
            (table.render(&rows, &view))
        }
    }
}

fn nodes_panel(visit: &Visit<'_>, channel: &Channel) -> Markup {
    let rows: Vec<&Channel> = channel.nodes.iter().map(|part| &**part).collect();
    let total = |value: fn(&Channel) -> i64| {
        let sum = rows
            .iter()
            .map(|part| value(part))
            .fold(0, i64::saturating_add);
        html! { (figures::grouped_signed(sum)) }
    };
    let count = |key, label, value: fn(&Channel) -> i64| {
        Column::count(key, label, move |part: &&Channel| value(part)).total(total(value))
    };
    let mut columns = vec![
        Column::name(
            "node",
            "Node",
            |part: &&Channel| part.node.to_string(),
            |part| widgets::node(visit, &part.node, &part.hostname),
        ),
        Column::plain("state", "State", |part: &&Channel| {
            state::badges(&node_marks(part))
        }),
        count("depth", "Waiting", |part| part.depth),
        Column::number(
            "disk",
            "Memory + disk",
            |part: &&Channel| Some(wide(part.backend_depth)),
            |part| widgets::memory_and_disk(part.memory_depth, part.backend_depth),
        )
        .help("Where those that wait are, as nsqd reports it")
        .total(widgets::memory_and_disk(
            channel.memory_depth,
            channel.backend_depth,
        )),
        count("in-flight", "In flight", |part| part.in_flight_count),
        count("deferred", "Deferred", |part| part.deferred_count),
        count("requeues", "Requeued", |part| part.requeue_count),
        count("timeouts", "Timed out", |part| part.timeout_count),
        count("messages", "Messages", |part| part.message_count),
        count("consumers", "Consumers", |part| part.client_count),
    ];
    if channel.zone_local_msg_count > 0 || channel.region_local_msg_count > 0 {
        columns.push(
            Column::plain("delivery", "Delivered to", |part: &&Channel| delivery(part))
                .help("Which consumers the messages went to: in the node's own zone, its region, or elsewhere")
                .total(delivery(channel)),
        );
    }
    if rows
        .iter()
        .any(|part| !part.e2e_processing_latency.percentiles.is_empty())
    {
        columns.push(Column::plain(
            "latency",
            "Publish to finish",
            |part: &&Channel| widgets::latency_cell(&part.e2e_processing_latency),
        ));
    }
    if visit.may_act() && rows.len() > 1 {
        columns.push(Column::plain("act", "On this node", |part: &&Channel| html! {
            span.actions {
                @if part.paused {
                    (form::asks(&widgets::action("unpause", &[("node", &part.node)]), "tiny", "Unpause…", "unpause-node"))
                } @else {
                    (form::asks(&widgets::action("pause", &[("node", &part.node)]), "tiny", "Pause…", "pause-node"))
                }
                (form::asks(&widgets::action("empty", &[("node", &part.node)]), "tiny", "Empty…", "empty-node"))
            }
        }));
    }
    let table = Table {
        id: "nodes",
        caption: "Nodes that have this channel",
        columns,
        key: Box::new(|part: &&Channel| part.node.to_string()),
        searched: Box::new(|part| format!("{} {}", part.node, part.hostname)),
        empty: html! { strong { "No node has this channel" } },
    };
    let view = View::of("nodes", &visit.query);
    html! {
        section.panel aria-labelledby="nodes-title" {
            div.panel-head {
                h2 id="nodes-title" { "Nodes" span.count { (rows.len()) } }
                @if rows.len() > 8 { (table.filter(&view, "nodes")) }
            }
            (table.render(&rows, &view))
        }
    }
}

fn node_marks(part: &Channel) -> Vec<Mark> {
    let mut marks = Vec::new();
    if part.client_count == 0 && part.depth > 0 {
        let why = "Messages wait on this node, and no consumer is connected to it.";
        marks.push(Mark::new(
            "no-consumers",
            Severity::Bad,
            "no consumers",
            why,
        ));
    }
    if part.paused {
        marks.push(Mark::new(
            "paused",
            Severity::Warn,
            "paused",
            "Nothing is delivered from here until it is unpaused.",
        ));
    }
    marks
}

/// Where the messages went, as a bar and in words.
fn delivery(channel: &Channel) -> Markup {
    let all = wide(channel.delivery_msg_count);
    if channel.delivery_msg_count <= 0 {
        return html! { span.muted { "–" } };
    }
    let zone = wide(channel.zone_local_msg_count) / all * 100.0;
    let region = wide(channel.region_local_msg_count) / all * 100.0;
    let rest = (100.0 - zone - region).max(0.0);
    let words = format!("{zone:.0} % zone, {region:.0} % region, {rest:.0} % elsewhere");
    html! {
        svg.split-bar width="96" height="10" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label=(words) {
            title { (words) }
            rect class="bar-rest" x="0" y="0" width="100" height="10" {}
            rect class="bar-warn" x="0" y="0" width=(format!("{:.1}", zone + region)) height="10" {}
            rect class="bar-good" x="0" y="0" width=(format!("{zone:.1}")) height="10" {}
        }
        div.small.muted.nowrap { (words) }
    }
}
