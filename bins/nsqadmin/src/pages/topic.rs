//! One topic: over all nodes, by channel and by node.

use std::collections::HashSet;
use std::sync::Arc;

use maud::{Markup, html};
use nsq_daemon::http::StatusCode;

use crate::cluster::{Channel, Found, Overview, Peek, Topic};
use crate::history::{Key, Metric};
use crate::snapshot::Snapshot;
use crate::watch::ChannelState;

use super::chart::sparkline;
use super::context::PageContext;
use super::diagnosis;
use super::flow;
use super::form;
use super::format::{self, Unit};
use super::happened;
use super::layout::{Page, Section};
use super::lost;
use super::notice::Tone;
use super::peek::{self, Owner, Wanted};
use super::state::{self, Mark, Severity, Trend};
use super::table::{Column, Heading, Order, Table, View, rate_cell, wide};
use super::topics;
use super::widgets::{self, Stat};

/// A channel with what the list shows of it.
struct ChannelRow<'a> {
    channel: &'a Channel,
    trend: Trend,
    /// Seconds.
    drains_in: Option<f64>,
    marks: Vec<Mark>,
}

/// The topic on one node.
struct NodeRow<'a> {
    part: &'a Topic,
    rate: Option<f64>,
    share: Option<f64>,
    is_tombstoned: bool,
}

/// The page of a topic, also of one that does not exist.
pub(crate) fn page(
    context: &PageContext<'_>,
    snapshot: &Snapshot,
    name: &str,
    seen: Option<(&Wanted, &Found<Vec<Peek>>)>,
) -> Page {
    let overview = &*snapshot.overview;
    let Some(topic) = overview.topic(name) else {
        return not_on_a_node(context, snapshot, name);
    };
    let states = topics::states(context, topic);
    let channels = channel_rows(context, topic, &states);
    let marks = state::of_topic(topic, &states);
    let _ = context
        .moments
        .set(happened::moments(context, happened::of_topic(name)));
    let body = html! {
        header.page-head {
            div.titles {
                div.title-line {
                    h1 { span.kind { "Topic " } (topic.topic_name) }
                    (widgets::copy(&topic.topic_name, "Copy name"))
                }
                div { (state::badges(&marks)) " " (widgets::lifetime(name)) }
            }
            @if context.may_act() { (actions(topic)) }
        }
        (diagnosis::of_topic(context, topic, &states))
        (lost::of_topic(context, snapshot, name))
        (summary(context, topic))
        (flow::picture(context, topic, &states))
        (charts(context, topic))
        (channels_panel(context, topic, &channels))
        (nodes_panel(context, overview, topic))
        (widgets::latency(&topic.e2e_processing_latency))
        @if topic.depth > 0 || seen.is_some() {
            (peek::panel(context, Owner { topic: name, channel: None }, seen))
        }
        @if context.may_act() { (publish_panel(context, topic)) }
        (happened::panel(context, 15, happened::of_topic(name)))
    };
    let mut page = Page::new(format!("{name} (topic)"), Section::Topics, body);
    page.crumbs = crumbs(context, name);
    page.warnings = widgets::warnings(&overview.warnings);
    page.api = Some(format!("/api{}", super::links::Links::new("/").topic(name)));
    page
}

fn crumbs(context: &PageContext<'_>, name: &str) -> Vec<(String, Option<String>)> {
    vec![
        ("Topics".to_owned(), Some(context.links.topics())),
        (name.to_owned(), None),
    ]
}

/// The page of a topic that is registered with nsqlookupd but on no node, or that does not exist.
fn not_on_a_node(context: &PageContext<'_>, snapshot: &Snapshot, name: &str) -> Page {
    let overview = &*snapshot.overview;
    // Its nodes may be back: deleting it now would delete what waits there.
    let was_on_a_lost_node = snapshot.lost_with(name).next().is_some();
    let is_registered = overview.inactive_topics.iter().any(|other| other == name);
    let body = html! {
        header.page-head {
            div.titles { h1 { span.kind { "Topic " } (name) } }
            @if is_registered && context.may_act() {
                div.actions {
                    (form::asks(&widgets::action("create-channel", &[]), "", "Create channel…", "create-channel"))
                    @if !was_on_a_lost_node { (form::asks(&widgets::action("delete", &[]), "danger", "Delete topic…", "delete")) }
                }
            }
        }
        (lost::of_topic(context, snapshot, name))
        section.panel {
            div.empty data-test="no-such-topic" {
                @if was_on_a_lost_node {
                    strong { "No responding node has this topic" }
                    span { "Its numbers are not known until its nodes respond again." }
                } @else if is_registered {
                    strong { "No node has this topic" }
                    span { "It is registered with nsqlookupd, but no nsqd has it: nothing has been published to it yet, or its "
                        "nodes are gone. See " a href=(context.links.fixed("/lookup")) { "Lookup" } "." }
                } @else {
                    strong { "No topic of this name exists" }
                    span { "Neither nsqlookupd nor any node has a topic “" (name) "”. It may have been deleted, or the name is misspelled." }
                    a.button href=(context.links.topics()) { "All topics" }
                }
            }
        }
    };
    let mut page = Page::new(format!("{name} (topic)"), Section::Topics, body);
    page.crumbs = crumbs(context, name);
    page.warnings = widgets::warnings(&overview.warnings);
    if !is_registered && !was_on_a_lost_node {
        page.status = StatusCode::NOT_FOUND;
    }
    page
}

fn channel_rows<'a>(
    context: &PageContext<'_>,
    topic: &'a Topic,
    states: &[Option<ChannelState>],
) -> Vec<ChannelRow<'a>> {
    let row = |(channel, state): (&'a Arc<Channel>, &Option<ChannelState>)| {
        let key = Key::Channel(
            Arc::clone(&topic.topic_name),
            Arc::clone(&channel.channel_name),
        );
        let trend = Trend::of(&context.nsqadmin.history, &key);
        ChannelRow {
            marks: state::of_channel(channel, state.as_ref()),
            drains_in: state.as_ref().and_then(|state| state.drains_in),
            channel,
            trend,
        }
    };
    topic.channels.iter().zip(states).map(row).collect()
}

fn actions(topic: &Topic) -> Markup {
    let all = !topic.nodes.is_empty() && topic.nodes.iter().all(|part| part.paused);
    html! {
        div.actions {
            a.button href="#publish" data-test="publish-link" { "Publish…" }
            @if !all { (form::asks(&widgets::action("pause", &[]), "", "Pause…", "pause")) }
            @if topic.paused { (form::asks(&widgets::action("unpause", &[]), "", "Unpause…", "unpause")) }
            (form::asks(&widgets::action("empty", &[]), "danger", "Empty topic…", "empty"))
            (form::asks(&widgets::action("delete", &[]), "danger", "Delete topic…", "delete"))
        }
    }
}

fn summary(context: &PageContext<'_>, topic: &Topic) -> Markup {
    let trend = Trend::of(
        &context.nsqadmin.history,
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
        Stat::count("depth", "Waiting at the topic", topic.depth)
            .tone(own_tone)
            .more(html! { "not in a channel yet" }),
        Stat::count(
            "backlog",
            "Waiting in channels",
            sum(|channel| channel.depth),
        ),
        Stat::count(
            "in-flight",
            "In flight",
            sum(|channel| channel.in_flight_count),
        ),
        Stat::count(
            "deferred",
            "Deferred",
            sum(|channel| channel.deferred_count),
        ),
        Stat::rate("in", "Published", trend.messages),
        Stat::rate("done", "Finished", trend.finishes),
        Stat::count(
            "consumers",
            "Consumers",
            sum(|channel| channel.client_count),
        ),
        Stat::count(
            "messages",
            "Published since start",
            published_since_start(context, topic),
        )
        .help(SINCE_START)
        .more(html! {
            @if let Some(mean) = mean { (format::bytes(mean)) " each" }
            @else { "since the nodes started" }
        }),
    ])
}

/// What the nodes have counted, and what restarted and lost nodes had counted before.
fn published_since_start(context: &PageContext<'_>, topic: &Topic) -> i64 {
    let counted = context.nsqadmin.watch.published(&topic.topic_name);
    counted.unwrap_or(topic.message_count)
}

/// What the number is made of.
pub(super) const SINCE_START: &str = "Messages that the nodes have counted since they started. What a node had counted before it restarted or was lost stays \
     in the sum, as far as nsqadmin has seen it.";

fn charts(context: &PageContext<'_>, topic: &Topic) -> Markup {
    let key = Key::Topic(Arc::clone(&topic.topic_name));
    widgets::charts(
        context,
        &html! {
            div.grid-2 {
                (widgets::chart(context, "waiting", "Messages waiting", Unit::Count, &[
                    ("in channels", &key, Metric::Backlog),
                    ("at the topic", &key, Metric::Depth),
                    ("in flight", &key, Metric::InFlight),
                    ("deferred", &key, Metric::Deferred),
                ]))
                (widgets::rates_chart(context, &key, "published"))
                (widgets::nodes_chart(context, node_metric(topic), &node_keys(topic)))
            }
        },
    )
}

/// Without a channel, messages wait at the topic itself.
fn node_metric(topic: &Topic) -> Metric {
    if topic.channels.is_empty() {
        Metric::Depth
    } else {
        Metric::Backlog
    }
}

/// The nodes with their series, those where most waits first.
fn node_keys(topic: &Topic) -> Vec<(Arc<str>, Key)> {
    let mut parts: Vec<&Arc<Topic>> = topic.nodes.iter().collect();
    parts.sort_by_key(|part| std::cmp::Reverse(state::waiting(part)));
    let key =
        |part: &Arc<Topic>| Key::TopicOnNode(Arc::clone(&topic.topic_name), Arc::clone(&part.node));
    let keys = parts
        .into_iter()
        .map(|part| (Arc::clone(&part.node), key(part)));
    keys.collect()
}

fn channels_panel<'a>(
    context: &'a PageContext<'_>,
    topic: &'a Topic,
    rows: &[ChannelRow<'a>],
) -> Markup {
    let has_latency = rows
        .iter()
        .any(|row| !row.channel.e2e_processing_latency.percentiles.is_empty());
    let mut columns = vec![
        Column::name(
            "channel",
            "Channel",
            |row: &ChannelRow<'_>| row.channel.channel_name.to_string(),
            |row| html! {
                a href=(context.links.channel(&topic.topic_name, &row.channel.channel_name)) { (row.channel.channel_name) } " "
                (widgets::lifetime(&row.channel.channel_name))
            },
        ),
        Column::ranked(
            "state",
            "State",
            |row: &ChannelRow<'_>| state::rank(&row.marks, row.channel.depth),
            |row| state::badges(&row.marks),
        ),
        Column::summed("depth", "Waiting", |row: &ChannelRow<'_>| row.channel.depth),
        Column::plain("trend", "Trend", |row: &ChannelRow<'_>| {
            let key = Key::Channel(Arc::clone(&topic.topic_name), Arc::clone(&row.channel.channel_name));
            sparkline(&context.recent(&key, Metric::Depth), Unit::Count, "waiting")
        }),
        Column::number(
            "oldest",
            "Oldest",
            |row: &ChannelRow<'_>| row.channel.oldest_message_age.map(wide),
            |row| topics::age_cell(row.channel.oldest_message_age.map(|nanos| nanos / 1_000_000)),
        )
        .help("Age of the oldest waiting message"),
        Column::number(
            "drains",
            "Drains in",
            |row: &ChannelRow<'_>| row.drains_in.filter(|_| row.channel.depth > 0),
            |row| html! {
                @match row.drains_in {
                    _ if row.channel.depth == 0 => span.zero { "–" },
                    Some(seconds) => span.nowrap { (diagnosis::seconds_words(seconds)) },
                    None => span.loud-warn { "never" },
                }
            },
        )
        .help("Time until nothing waits, at the rates of the last minute"),
        Column::summed("in-flight", "In flight", |row: &ChannelRow<'_>| row.channel.in_flight_count),
        Column::summed("deferred", "Deferred", |row: &ChannelRow<'_>| row.channel.deferred_count),
        Column::rate("done", "Finished", |row: &ChannelRow<'_>| row.trend.finishes),
        Column::number(
            "requeues",
            "Requeued",
            |row: &ChannelRow<'_>| row.trend.requeues,
            |row| html! { span title={ (row.channel.requeue_count) " since nsqd started" } { (rate_cell(row.trend.requeues)) } },
        )
        .help("Requeued by consumers (REQ)"),
        Column::number(
            "timeouts",
            "Timed out",
            |row: &ChannelRow<'_>| row.trend.timeouts,
            |row| html! { span title={ (row.channel.timeout_count) " since nsqd started" } { (rate_cell(row.trend.timeouts)) } },
        ),
        Column::summed("messages", "Messages", |row: &ChannelRow<'_>| row.channel.message_count)
            .help("Since the nodes started"),
        Column::summed("consumers", "Consumers", |row: &ChannelRow<'_>| row.channel.client_count),
    ];
    if rows.iter().any(|row| row.channel.backend_depth > 0) {
        let disk = Column::number(
            "disk",
            "Memory + disk",
            |row: &ChannelRow<'_>| Some(wide(row.channel.backend_depth)),
            |row| widgets::memory_and_disk(row.channel.memory_depth, row.channel.backend_depth),
        )
        .help("Where the waiting messages are stored, as nsqd reports it");
        columns.insert(6, disk);
    }
    if has_latency {
        columns.push(Column::plain(
            "latency",
            widgets::latency_label(&topic.e2e_processing_latency),
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
    let view = View::main(&context.query).or_sorted_by("state", Order::Descending);
    let heading = Heading {
        buttons: html! {
            @if context.may_act() {
                (form::asks(&widgets::action("create-channel", &[]), "", "Create channel…", "create-channel"))
            }
        },
        ..Heading::new("Channels", "channels", 2)
    };
    table.panel(rows, &view, &heading)
}

fn nodes_panel<'a>(context: &'a PageContext<'_>, overview: &Overview, topic: &'a Topic) -> Markup {
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
            context.nsqadmin.history.latest(&key, Metric::Messages)
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
    let can_tombstone = context.may_act() && context.nsqadmin.cluster.has_lookupds();
    let mut columns = vec![
        Column::name(
            "node",
            "Node",
            |row: &NodeRow<'_>| row.part.node.to_string(),
            |row| widgets::node(context, &row.part.node, &row.part.hostname),
        ),
        Column::plain("state", "State", |row: &NodeRow<'_>| {
            state::badges(&node_marks(context, row))
        }),
        Column::summed("depth", "Waiting at the topic", |row: &NodeRow<'_>| {
            row.part.depth
        }),
        Column::count("backlog", "Waiting in channels", |row: &NodeRow<'_>| {
            row.part
                .channels
                .iter()
                .map(|channel| channel.depth)
                .fold(0, i64::saturating_add)
        }),
        Column::number(
            "in",
            "Published",
            |row: &NodeRow<'_>| row.rate,
            |row| html! { (rate_cell(row.rate)) @if let Some(share) = row.share { " " span.muted { (format!("{:.0} %", share * 100.0)) } } },
        ),
        Column::summed("messages", "Messages", |row: &NodeRow<'_>| {
            row.part.message_count
        }),
        Column::count("channels", "Channels", |row: &NodeRow<'_>| {
            i64::try_from(row.part.channels.len()).unwrap_or(i64::MAX)
        }),
    ];
    if rows.len() > 1 {
        let bars = widgets::waiting_bars(topic.nodes.iter().map(|part| state::waiting(part)));
        let share = move |row: &NodeRow<'_>| bars.of(state::waiting(row.part));
        let share = Column::plain("share", "Share of waiting", share)
            .help("At the topic and in its channels together");
        columns.insert(4, share);
    }
    if topic.backend_depth > 0 {
        let disk = Column::number(
            "memory",
            "Memory + disk",
            |row: &NodeRow<'_>| Some(wide(row.part.backend_depth)),
            |row| widgets::memory_and_disk(row.part.memory_depth, row.part.backend_depth),
        )
        .help("Where the messages waiting at the topic are stored, as nsqd reports it")
        .total(widgets::memory_and_disk(
            topic.memory_depth,
            topic.backend_depth,
        ));
        columns.insert(4, disk);
    }
    if context.may_act() {
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
    let view = View::of("nodes", &context.query);
    let heading = Heading::new("Nodes", "nodes", 9);
    table.panel(&rows, &view, &heading)
}

fn node_marks(context: &PageContext<'_>, row: &NodeRow<'_>) -> Vec<Mark> {
    let mut marks = state::topic_on_node(&context.nsqadmin.watch, row.part);
    if row.part.paused {
        marks.push(Mark::new(
            "paused",
            Severity::Warn,
            "paused",
            "Channels on this node receive no messages until it is unpaused.",
        ));
    }
    if row.is_tombstoned {
        let why = "nsqlookupd no longer sends consumers of this topic to this node.";
        marks.push(Mark::new("tombstoned", Severity::Warn, "tombstoned", why));
    }
    marks
}

fn publish_panel(context: &PageContext<'_>, topic: &Topic) -> Markup {
    html! {
        section.panel id="publish" aria-labelledby="publish-title" data-still {
            div.panel-head { h2 id="publish-title" { "Publish a message" } }
            form.panel-body.form method="post" action=(context.links.topic(&topic.topic_name)) {
                (form::token(context))
                input type="hidden" name="action" value="publish";
                div.field {
                    label for="publish-body" { "Body" }
                    textarea id="publish-body" name="body" required spellcheck="false" aria-describedby="publish-hint" {}
                    span.hint id="publish-hint" { "UTF-8 text, sent unchanged. Every channel of the topic receives it, so consumers will process it." }
                }
                div.form-row {
                    div.field {
                        label for="publish-node" { "Node" }
                        select id="publish-node" name="node" {
                            @for part in &topic.nodes { option value=(part.node) { (part.node) } }
                        }
                    }
                    div.field {
                        label for="publish-defer" { "Delay (ms)" }
                        input id="publish-defer" type="number" name="defer" min="0" step="1" placeholder="0";
                    }
                    button.button.primary type="submit" data-test="publish" { "Publish" }
                }
            }
        }
    }
}
