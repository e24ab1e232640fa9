//! One channel: over all nodes, by node, by client, and what is in it.

use std::sync::Arc;

use maud::{Markup, html};
use nsq_daemon::http::StatusCode;

use crate::cluster::{Channel, Client, Found, Peek};
use crate::history::{Key, Metric};
use crate::snapshot::Snapshot;
use crate::watch::ChannelState;

use super::clients;
use super::consumers;
use super::context::PageContext;
use super::diagnosis;
use super::form;
use super::format::{self, Unit};
use super::happened;
use super::layout::{Page, Section};
use super::lost;
use super::notice::Tone;
use super::peek::{self, Owner, Wanted};
use super::state::{self, Trend};
use super::table::{Column, Heading, Table, View, wide};
use super::topics;
use super::widgets::{self, Stat};

/// The page. `seen` holds messages if the viewer asked for them.
pub(crate) fn page(
    context: &PageContext<'_>,
    snapshot: &Snapshot,
    found: &Found<Channel>,
    seen: Option<(&Wanted, &Found<Vec<Peek>>)>,
) -> Page {
    let channel = &found.value;
    let (topic, name) = (&channel.topic_name, &channel.channel_name);
    let trend = Trend::of(&context.nsqadmin.history, &key(channel));
    let state = context.nsqadmin.watch.channel(topic, name);
    let marks = state::of_channel(channel, state.as_ref());
    let _ = context.moments.set(happened::moments(
        context,
        happened::of_channel(topic, name),
    ));
    let body = html! {
        header.page-head {
            div.titles {
                div.title-line {
                    h1 { span.kind { "Channel " } (name) }
                    (widgets::copy(name, "Copy name"))
                }
                div { (state::badges(&marks)) " " (widgets::lifetime(name)) }
            }
            @if context.may_act() { (actions(channel)) }
        }
        (diagnosis::of_channel(context, channel, state.as_ref()))
        (lost::of_topic(context, snapshot, topic))
        (summary(channel, &trend, state.as_ref()))
        (charts(context, channel))
        (consumers::of_channel(context, channel))
        @if !channel.clients.is_empty() { (clients_panel(context, channel)) }
        (nodes_panel(context, channel))
        (widgets::latency(&channel.e2e_processing_latency))
        (peek::panel(context, Owner { topic, channel: Some(name) }, seen))
        (happened::panel(context, 15, happened::of_channel(topic, name)))
    };
    let mut page = Page::new(
        format!("{name} of {topic} (channel)"),
        Section::Topics,
        body,
    );
    page.crumbs = crumbs(context, topic, name);
    page.warnings = widgets::warnings(&found.warnings);
    page.api = Some(format!(
        "/api{}",
        super::links::Links::new("/").channel(topic, name)
    ));
    page
}

/// The topic is there, but has no such channel.
pub(crate) fn missing(
    context: &PageContext<'_>,
    snapshot: &Snapshot,
    topic: &str,
    name: &str,
) -> Page {
    let body = html! {
        header.page-head { div.titles { h1 { span.kind { "Channel " } (name) } } }
        (lost::of_topic(context, snapshot, topic))
        section.panel { div.empty data-test="no-such-channel" {
            strong { "Topic “" (topic) "” has no channel of this name on any node" }
            span { "It may have been deleted, or no consumer has created it yet." }
            a.button href=(context.links.topic(topic)) { "The topic’s channels" }
        } }
    };
    let mut page = Page::new(
        format!("{name} of {topic} (channel)"),
        Section::Topics,
        body,
    );
    page.crumbs = crumbs(context, topic, name);
    page.status = StatusCode::NOT_FOUND;
    page
}

fn key(channel: &Channel) -> Key {
    Key::Channel(
        Arc::clone(&channel.topic_name),
        Arc::clone(&channel.channel_name),
    )
}

fn crumbs(context: &PageContext<'_>, topic: &str, name: &str) -> Vec<(String, Option<String>)> {
    vec![
        ("Topics".to_owned(), Some(context.links.topics())),
        (topic.to_owned(), Some(context.links.topic(topic))),
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

fn summary(channel: &Channel, trend: &Trend, state: Option<&ChannelState>) -> Markup {
    let ready: i64 = channel
        .clients
        .iter()
        .map(|client| client.ready_count)
        .fold(0, i64::saturating_add);
    let consumers_tone = (channel.client_count == 0).then_some(Tone::Warn);
    let in_all = |count: i64| html! { (format::grouped_signed(count)) " since the nodes started" };
    widgets::strip(&[
        Stat::count("depth", "Waiting", channel.depth)
            .tone((channel.depth > 0 && channel.client_count == 0).then_some(Tone::Bad))
            .more(html! { @if channel.backend_depth > 0 { (format::short(wide(channel.backend_depth))) " on disk" } }),
        Stat::new(
            "oldest",
            "Oldest message",
            topics::age_cell(channel.oldest_message_age.map(|nanos| nanos / 1_000_000)),
        )
        .more(
            match state.filter(|state| state.rates.is_some() && channel.depth > 0) {
                Some(ChannelState {
                    drains_in: Some(seconds),
                    ..
                }) => {
                    html! { "drains in " (diagnosis::seconds_words(*seconds)) }
                }
                Some(_) => html! { "never drains at this rate" },
                None => html! {},
            },
        ),
        Stat::count("in-flight", "In flight", channel.in_flight_count)
            .more(html! { "total RDY: " (format::grouped_signed(ready)) }),
        Stat::count("deferred", "Deferred", channel.deferred_count),
        Stat::rate("in", "Received", trend.messages).more(in_all(channel.message_count)),
        Stat::rate("done", "Finished", trend.finishes),
        Stat::rate("requeues", "Requeued", trend.requeues).more(in_all(channel.requeue_count)),
        Stat::rate("timeouts", "Timed out", trend.timeouts).more(in_all(channel.timeout_count)),
        Stat::count("consumers", "Consumers", channel.client_count).tone(consumers_tone),
    ])
}

fn charts(context: &PageContext<'_>, channel: &Channel) -> Markup {
    let key = key(channel);
    widgets::charts(
        context,
        &html! {
            div.grid-2 {
                (widgets::messages_chart(context, &key, &[]))
                (widgets::rates_chart(context, &key, "received"))
                (widgets::chart(context, "oldest", "Age of the oldest waiting message", Unit::Seconds, &[
                    ("oldest message", &key, Metric::OldestAge),
                ]))
                (widgets::nodes_chart(context, Metric::Depth, &node_keys(channel)))
            }
        },
    )
}

/// The nodes with their series, those where most waits first.
fn node_keys(channel: &Channel) -> Vec<(Arc<str>, Key)> {
    let mut parts: Vec<&Arc<Channel>> = channel.nodes.iter().collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.depth));
    let key = |part: &Arc<Channel>| {
        let (topic, name) = (&channel.topic_name, &channel.channel_name);
        Key::ChannelOnNode(Arc::clone(topic), Arc::clone(name), Arc::clone(&part.node))
    };
    let keys = parts
        .into_iter()
        .map(|part| (Arc::clone(&part.node), key(part)));
    keys.collect()
}

fn clients_panel(context: &PageContext<'_>, channel: &Channel) -> Markup {
    let rows: Vec<&Client> = channel.clients.iter().collect();
    let table = clients::of_channel(context);
    let view = View::main(&context.query);
    let heading = Heading::new("Connections", "connections", 9);
    table.panel(&rows, &view, &heading)
}

fn nodes_panel(context: &PageContext<'_>, channel: &Channel) -> Markup {
    let rows: Vec<&Channel> = channel.nodes.iter().map(|part| &**part).collect();
    let count = |key, label, value: fn(&Channel) -> i64| {
        Column::summed(key, label, move |part: &&Channel| value(part))
    };
    let mut columns = vec![
        Column::name(
            "node",
            "Node",
            |part: &&Channel| part.node.to_string(),
            |part| widgets::node(context, &part.node, &part.hostname),
        ),
        Column::plain("state", "State", |part: &&Channel| {
            state::badges(&state::on_node(&context.nsqadmin.watch, part))
        }),
        count("depth", "Waiting", |part| part.depth),
        Column::number(
            "oldest",
            "Oldest",
            |part: &&Channel| part.oldest_message_age.map(wide),
            |part| topics::age_cell(part.oldest_message_age.map(|nanos| nanos / 1_000_000)),
        )
        .help("Age of the oldest waiting message"),
        count("in-flight", "In flight", |part| part.in_flight_count),
        count("deferred", "Deferred", |part| part.deferred_count),
        count("requeues", "Requeued", |part| part.requeue_count),
        count("timeouts", "Timed out", |part| part.timeout_count),
        count("messages", "Messages", |part| part.message_count),
        count("consumers", "Consumers", |part| part.client_count),
    ];
    if rows.len() > 1 {
        let bars = widgets::waiting_bars(channel.nodes.iter().map(|part| part.depth));
        columns.insert(
            3,
            Column::plain("share", "Share of waiting", move |part: &&Channel| {
                bars.of(part.depth)
            }),
        );
    }
    if channel.backend_depth > 0 {
        let disk = Column::number(
            "disk",
            "Memory + disk",
            |part: &&Channel| Some(wide(part.backend_depth)),
            |part| widgets::memory_and_disk(part.memory_depth, part.backend_depth),
        )
        .help("Where the waiting messages are stored, as nsqd reports it")
        .total(widgets::memory_and_disk(
            channel.memory_depth,
            channel.backend_depth,
        ));
        columns.insert(4, disk);
    }
    if channel.zone_local_msg_count > 0 || channel.region_local_msg_count > 0 {
        columns.push(
            Column::plain("delivery", "Delivered to", |part: &&Channel| delivery(part))
                .help("Where the consumers that got the messages are: in the zone of the node, in its region, or elsewhere")
                .total(delivery(channel)),
        );
    }
    if rows
        .iter()
        .any(|part| !part.e2e_processing_latency.percentiles.is_empty())
    {
        columns.push(Column::plain(
            "latency",
            widgets::latency_label(&channel.e2e_processing_latency),
            |part: &&Channel| widgets::latency_cell(&part.e2e_processing_latency),
        ));
    }
    if context.may_act() && rows.len() > 1 {
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
    let view = View::of("nodes", &context.query);
    let heading = Heading::new("Nodes", "nodes", 9);
    table.panel(&rows, &view, &heading)
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
