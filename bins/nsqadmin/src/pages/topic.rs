//! One topic: over all nodes, by channel and by node.

use std::collections::HashSet;
use std::sync::Arc;

use maud::{Markup, html};
use nsq_daemon::http::StatusCode;

use crate::cluster::{Channel, Overview, Topic};
use crate::history::{Key, Metric};

use super::chart::sparkline;
use super::figures::{self, Unit};
use super::form;
use super::layout::{Page, Section};
use super::notice::Tone;
use super::state::{self, Course, Mark, Severity};
use super::table::{Column, Order, Table, View, rate_cell, wide};
use super::visit::Visit;
use super::widgets::{self, Figure};

/// A channel with what the list shows of it.
struct ChannelRow<'a> {
    channel: &'a Channel,
    course: Course,
    marks: Vec<Mark>,
}

/// The topic on one node.
struct NodeRow<'a> {
    part: &'a Topic,
    rate: Option<f64>,
    share: Option<f64>,
    is_tombstoned: bool,
}

/// The page, or that there is no such topic.
pub(crate) fn page(visit: &Visit<'_>, overview: &Overview, name: &str) -> Page {
    let Some(topic) = overview.topic(name) else {
        return not_on_a_node(visit, overview, name);
    };
    let channels = channel_rows(visit, topic);
    let courses: Vec<Course> = channels.iter().map(|row| row.course.clone()).collect();
    let marks = state::of_topic(topic, &courses);
    let body = html! {
        header.page-head {
            div.titles {
                div.title-line {
                    h1 { span.kind { "Topic " } (topic.topic_name) }
                    (widgets::copy(&topic.topic_name, "Copy name"))
                }
                div { (state::badges(&marks)) " " (widgets::lifetime(name)) }
            }
            @if visit.may_act() { (actions(topic)) }
        }
        (summary(visit, topic))
        (charts(visit, topic))
        (channels_panel(visit, topic, &channels))
        (nodes_panel(visit, overview, topic))
        (widgets::latency(&topic.e2e_processing_latency))
        @if visit.may_act() { (publish_panel(visit, topic)) }
    };
    let mut page = Page::new(format!("{name} (topic)"), Section::Topics, body);
    page.crumbs = crumbs(visit, name);
    page.warnings = widgets::warnings(&overview.warnings);
    page.api = Some(format!("/api{}", super::links::Links::new("/").topic(name)));
    page
}

fn crumbs(visit: &Visit<'_>, name: &str) -> Vec<(String, Option<String>)> {
    vec![
        ("Topics".to_owned(), Some(visit.links.topics())),
        (name.to_owned(), None),
    ]
}

/// A topic that nsqlookupd knows and no node has, or one that nobody knows.
fn not_on_a_node(visit: &Visit<'_>, overview: &Overview, name: &str) -> Page {
    let is_registered = overview.inactive_topics.iter().any(|other| other == name);
    let body = html! {
        header.page-head {
            div.titles { h1 { span.kind { "Topic " } (name) } }
            @if is_registered && visit.may_act() {
                div.actions {
                    (form::asks(&widgets::action("create-channel", &[]), "", "Create channel…", "create-channel"))
                    (form::asks(&widgets::action("delete", &[]), "danger", "Delete topic…", "delete"))
                }
            }
        }
        section.panel {
            div.empty data-test="no-such-topic" {
                @if is_registered {
                    strong { "No node has this topic" }
                    span { "It is registered with nsqlookupd, but no nsqd has it now: nothing has been published to it yet, or its "
                        "nodes are gone. See " a href=(visit.links.fixed("/lookup")) { "Lookup" } "." }
                } @else {
                    strong { "There is no topic of this name" }
                    span { "Nobody knows “" (name) "”. It may have been deleted, or it is spelled differently." }
                    a.button href=(visit.links.topics()) { "All topics" }
                }
            }
        }
    };
    let mut page = Page::new(format!("{name} (topic)"), Section::Topics, body);
    page.crumbs = crumbs(visit, name);
    page.warnings = widgets::warnings(&overview.warnings);
    if !is_registered {
        page.status = StatusCode::NOT_FOUND;
    }
    page
}

fn channel_rows<'a>(visit: &Visit<'_>, topic: &'a Topic) -> Vec<ChannelRow<'a>> {
    let row = |channel: &'a Arc<Channel>| {
        let key = Key::Channel(
            Arc::clone(&topic.topic_name),
            Arc::clone(&channel.channel_name),
        );
        let course = Course::of(&visit.nsqadmin.history, &key);
        ChannelRow {
            marks: state::of_channel(channel, &course),
            channel,
            course,
        }
    };
    topic.channels.iter().map(row).collect()
}

fn actions(topic: &Topic) -> Markup {
    let all = !topic.nodes.is_empty() && topic.nodes.iter().all(|part| part.paused);
    html! {
        div.actions {
            a.button href="#publish" data-test="publish-link" { "Publish…" }
            @if !all { (form::asks(&widgets::action("pause", &[]), "", "Pause…", "pause")) }
            @if topic.paused { (form::asks(&widgets::action("unpause", &[]), "", "Unpause…", "unpause")) }
            (form::asks(&widgets::action("empty", &[]), "danger", "Empty queue…", "empty"))
            (form::asks(&widgets::action("delete", &[]), "danger", "Delete topic…", "delete"))
        }
    }
}

fn summary(visit: &Visit<'_>, topic: &Topic) -> Markup {
    let course = Course::of(
        &visit.nsqadmin.history,
        &Key::Topic(Arc::clone(&topic.topic_name)),
    );
    let sum = |value: fn(&Channel) -> i64| {
        topic
            .channels
            .iter()
            .map(|channel| value(channel))
            .fold(0, i64::saturating_add)
    };
    let own_tone = (topic.depth > 0 && topic.channels.is_empty()).then_some(Tone::Warn);
    let mean =
        (topic.message_count > 0).then(|| wide(topic.message_bytes) / wide(topic.message_count));
    widgets::strip(&[
        Figure::count("depth", "Waiting at the topic", topic.depth)
            .tone(own_tone)
            .more(html! { "not in a channel yet" }),
        Figure::count(
            "backlog",
            "Waiting in channels",
            sum(|channel| channel.depth),
        ),
        Figure::count(
            "in-flight",
            "In flight",
            sum(|channel| channel.in_flight_count),
        ),
        Figure::count(
            "deferred",
            "Deferred",
            sum(|channel| channel.deferred_count),
        ),
        Figure::rate("in", "Published", course.messages),
        Figure::rate("done", "Finished", course.finishes),
        Figure::count(
            "consumers",
            "Consumers",
            sum(|channel| channel.client_count),
        ),
        Figure::count("messages", "Messages in all", topic.message_count).more(html! {
            @if topic.message_bytes > 0 {
                (figures::bytes(wide(topic.message_bytes)))
                @if let Some(mean) = mean { ", " (figures::bytes(mean)) " each" }
            } @else { "since the nodes started" }
        }),
    ])
}

fn charts(visit: &Visit<'_>, topic: &Topic) -> Markup {
    let key = Key::Topic(Arc::clone(&topic.topic_name));
    html! {
        section.charts aria-labelledby="charts-title" {
            div.title-line { h2 id="charts-title" { "Course" } (widgets::span_choice(visit)) }
            div.grid-2 {
                (widgets::chart(visit, "waiting", "Messages waiting", Unit::Count, &[
                    ("in channels", &key, Metric::Backlog),
                    ("at the topic", &key, Metric::Depth),
                    ("in flight", &key, Metric::InFlight),
                    ("deferred", &key, Metric::Deferred),
                ]))
                (widgets::chart(visit, "rates", "Messages a second", Unit::PerSecond, &[
                    ("published", &key, Metric::Messages),
                    ("finished", &key, Metric::Finishes),
                    ("requeued", &key, Metric::Requeues),
                    ("timed out", &key, Metric::Timeouts),
                ]))
            }
        }
    }
}

fn channels_panel<'a>(visit: &'a Visit<'_>, topic: &'a Topic, rows: &[ChannelRow<'a>]) -> Markup {
    let total = |value: fn(&Channel) -> i64| {
        let sum = rows
            .iter()
            .map(|row| value(row.channel))
            .fold(0, i64::saturating_add);
        html! { (figures::grouped_signed(sum)) }
    };
    let has_latency = rows
        .iter()
        .any(|row| !row.channel.e2e_processing_latency.percentiles.is_empty());
    let mut columns = vec![
        Column::name(
            "channel",
            "Channel",
            |row: &ChannelRow<'_>| row.channel.channel_name.to_string(),
            |row| html! {
                a href=(visit.links.channel(&topic.topic_name, &row.channel.channel_name)) { (row.channel.channel_name) } " "
                (widgets::lifetime(&row.channel.channel_name))
            },
        ),
        Column::ranked(
            "state",
            "State",
            |row: &ChannelRow<'_>| state::rank(&row.marks, row.channel.depth),
            |row| state::badges(&row.marks),
        ),
        Column::count("depth", "Waiting", |row: &ChannelRow<'_>| row.channel.depth).total(total(|c| c.depth)),
        Column::plain("course", "Course", |row: &ChannelRow<'_>| {
            let key = Key::Channel(Arc::clone(&topic.topic_name), Arc::clone(&row.channel.channel_name));
            sparkline(&visit.recent(&key, Metric::Depth), Unit::Count, "waiting")
        }),
        Column::number(
            "disk",
            "Memory + disk",
            |row: &ChannelRow<'_>| Some(wide(row.channel.backend_depth)),
            |row| widgets::memory_and_disk(row.channel.memory_depth, row.channel.backend_depth),
        )
        .help("Where those that wait are, as nsqd reports it"),
        Column::count("in-flight", "In flight", |row: &ChannelRow<'_>| row.channel.in_flight_count)
            .total(total(|c| c.in_flight_count)),
        Column::count("deferred", "Deferred", |row: &ChannelRow<'_>| row.channel.deferred_count)
            .total(total(|c| c.deferred_count)),
        Column::rate("done", "Finished", |row: &ChannelRow<'_>| row.course.finishes),
        Column::number(
            "requeues",
            "Requeued",
            |row: &ChannelRow<'_>| row.course.requeues,
            |row| html! { span title={ (row.channel.requeue_count) " since nsqd started" } { (rate_cell(row.course.requeues)) } },
        )
        .help("Given back by consumers (REQ)"),
        Column::number(
            "timeouts",
            "Timed out",
            |row: &ChannelRow<'_>| row.course.timeouts,
            |row| html! { span title={ (row.channel.timeout_count) " since nsqd started" } { (rate_cell(row.course.timeouts)) } },
        ),
        Column::count("messages", "Messages", |row: &ChannelRow<'_>| row.channel.message_count)
            .help("Since the nodes started")
            .total(total(|c| c.message_count)),
        Column::count("consumers", "Consumers", |row: &ChannelRow<'_>| row.channel.client_count)
            .total(total(|c| c.client_count)),
    ];
    if has_latency {
        columns.push(Column::plain(
            "latency",
            "Publish to finish",
            |row: &ChannelRow<'_>| widgets::latency_cell(&row.channel.e2e_processing_latency),
        ));
    }
    let table = Table {
        id: "channels",
        caption: "Channels of this topic",
        columns,
        key: Box::new(|row: &ChannelRow<'_>| row.channel.channel_name.to_string()),
        searched: Box::new(|row| row.channel.channel_name.to_string()),
        empty: html! {
            strong { "No channels yet" }
            span { "Messages wait at the topic until a channel is created: by the first consumer, or here." }
        },
    };
    let view = View::main(&visit.query).or_sorted_by("state", Order::Descending);
    html! {
        section.panel aria-labelledby="channels-title" {
            div.panel-head {
                h2 id="channels-title" { "Channels" span.count { (rows.len()) } }
                @if rows.len() > 1 { (table.filter(&view, "channels")) }
                @if visit.may_act() {
                    (form::asks(&widgets::action("create-channel", &[]), "", "Create channel…", "create-channel"))
                }
            }
            (table.render(rows, &view))
        }
    }
}

fn nodes_panel<'a>(visit: &'a Visit<'_>, overview: &Overview, topic: &'a Topic) -> Markup {
    let tombstones: HashSet<&str> = overview
        .nodes
        .iter()
        .filter(|node| {
            let mut topics = node.producer.topics.iter();
            topics.any(|known| known.tombstoned && *known.topic == *topic.topic_name)
        })
        .map(|node| &*node.address)
        .collect();
    let rates: Vec<Option<f64>> = topic
        .nodes
        .iter()
        .map(|part| {
            let key = Key::TopicOnNode(Arc::clone(&topic.topic_name), Arc::clone(&part.node));
            visit.nsqadmin.history.latest(&key, Metric::Messages)
        })
        .collect();
    let all: f64 = rates.iter().flatten().sum();
    let rows: Vec<NodeRow<'_>> = topic
        .nodes
        .iter()
        .zip(rates)
        .map(|(part, rate)| NodeRow {
            part,
            share: rate.filter(|_| all > 0.0).map(|rate| rate / all),
            rate,
            is_tombstoned: tombstones.contains(&*part.node),
        })
        .collect();
    let total = |value: fn(&Topic) -> i64| {
        let sum = rows
            .iter()
            .map(|row| value(row.part))
            .fold(0, i64::saturating_add);
        html! { (figures::grouped_signed(sum)) }
    };
    let can_tombstone = visit.may_act() && visit.nsqadmin.cluster.has_lookupds();
    let mut columns = vec![
        Column::name(
            "node",
            "Node",
            |row: &NodeRow<'_>| row.part.node.to_string(),
            |row| widgets::node(visit, &row.part.node, &row.part.hostname),
        ),
        Column::plain("state", "State", |row: &NodeRow<'_>| {
            state::badges(&node_marks(row))
        }),
        Column::count("depth", "Waiting at the topic", |row: &NodeRow<'_>| {
            row.part.depth
        })
        .total(total(|p| p.depth)),
        Column::count("backlog", "Waiting in channels", |row: &NodeRow<'_>| {
            row.part
                .channels
                .iter()
                .map(|channel| channel.depth)
                .fold(0, i64::saturating_add)
        }),
        Column::number(
            "memory",
            "Memory + disk",
            |row: &NodeRow<'_>| Some(wide(row.part.backend_depth)),
            |row| widgets::memory_and_disk(row.part.memory_depth, row.part.backend_depth),
        )
        .help("Where those that wait at the topic are, as nsqd reports it")
        .total(widgets::memory_and_disk(
            topic.memory_depth,
            topic.backend_depth,
        )),
        Column::number(
            "in",
            "Published",
            |row: &NodeRow<'_>| row.rate,
            |row| html! { (rate_cell(row.rate)) @if let Some(share) = row.share { " " span.muted { (format!("{:.0} %", share * 100.0)) } } },
        ),
        Column::count("messages", "Messages", |row: &NodeRow<'_>| {
            row.part.message_count
        })
        .total(total(|p| p.message_count)),
        Column::count("channels", "Channels", |row: &NodeRow<'_>| {
            i64::try_from(row.part.channels.len()).unwrap_or(i64::MAX)
        }),
    ];
    if visit.may_act() {
        columns.push(Column::plain("act", "On this node", move |row: &NodeRow<'_>| html! {
            span.actions {
                @if row.part.paused && topic.nodes.len() > 1 {
                    (form::asks(&widgets::action("unpause", &[("node", &row.part.node)]), "tiny", "Unpause…", "unpause-node"))
                }
                @if can_tombstone && !row.is_tombstoned {
                    (form::asks(&widgets::action("tombstone", &[("node", &row.part.node)]), "tiny", "Tombstone…", "tombstone"))
                }
            }
        }));
    }
    let table = Table {
        id: "nodes",
        caption: "Nodes that have this topic",
        columns,
        key: Box::new(|row: &NodeRow<'_>| row.part.node.to_string()),
        searched: Box::new(|row| format!("{} {}", row.part.node, row.part.hostname)),
        empty: html! { strong { "No node has this topic" } },
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

fn node_marks(row: &NodeRow<'_>) -> Vec<Mark> {
    let mut marks = Vec::new();
    if row.part.paused {
        marks.push(Mark::new(
            "paused",
            Severity::Warn,
            "paused",
            "No messages go to the channels here until it is unpaused.",
        ));
    }
    if row.is_tombstoned {
        let why = "nsqlookupd does not tell consumers of this node any more, for this topic.";
        marks.push(Mark::new("tombstoned", Severity::Warn, "tombstoned", why));
    }
    marks
}

fn publish_panel(visit: &Visit<'_>, topic: &Topic) -> Markup {
    html! {
        section.panel id="publish" aria-labelledby="publish-title" data-still {
            div.panel-head { h2 id="publish-title" { "Publish a message" } }
            form.panel-body.form method="post" action=(visit.links.topic(&topic.topic_name)) {
                (form::token(visit))
                input type="hidden" name="action" value="publish";
                div.field {
                    label for="publish-body" { "Body" }
                    textarea id="publish-body" name="body" required spellcheck="false" aria-describedby="publish-hint" {}
                    span.hint id="publish-hint" { "UTF-8 text, sent as it stands. Every channel of the topic gets it: consumers will work on it." }
                }
                div.form-row {
                    div.field {
                        label for="publish-node" { "Node" }
                        select id="publish-node" name="node" {
                            @for part in &topic.nodes { option value=(part.node) { (part.node) } }
                        }
                    }
                    div.field {
                        label for="publish-defer" { "Defer by (ms)" }
                        input id="publish-defer" type="number" name="defer" min="0" step="1" placeholder="0";
                    }
                    button.button.primary type="submit" data-test="publish" { "Publish" }
                }
            }
        }
    }
}
