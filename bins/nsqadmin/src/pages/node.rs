//! One nsqd: how it does, its topics, its channels, its clients.

use std::sync::Arc;

use maud::{Markup, html};

use crate::cluster::{Channel, Client, Found, Node, Topic};
use crate::history::{Key, Metric};

use super::chart::sparkline;
use super::clients;
use super::figures::{self, Unit};
use super::layout::{Page, Section};
use super::notice::Tone;
use super::state::{self, Mark, Severity};
use super::table::{Column, Order, Table, View, wide};
use super::visit::Visit;
use super::widgets::{self, Figure};

pub(crate) fn page(visit: &Visit<'_>, found: &Found<Node>) -> Page {
    let node = &found.value;
    let key = Key::Node(Arc::clone(&node.address));
    let body = html! {
        header.page-head {
            div.titles {
                div.title-line {
                    h1 { span.kind { "Node " } (node.address) }
                    (widgets::copy(&node.address, "Copy address"))
                }
                div { (state::badges(&marks(node))) }
            }
        }
        (summary(visit, node))
        section.charts aria-labelledby="charts-title" {
            div.title-line { h2 id="charts-title" { "Course" } (widgets::span_choice(visit)) }
            div.grid-2 {
                (widgets::chart(visit, "waiting", "Messages", Unit::Count, &[
                    ("waiting", &key, Metric::Depth),
                    ("in flight", &key, Metric::InFlight),
                    ("deferred", &key, Metric::Deferred),
                    ("on disk", &key, Metric::DiskDepth),
                ]))
                (widgets::chart(visit, "rates", "Messages a second", Unit::PerSecond, &[
                    ("published", &key, Metric::Messages),
                    ("finished", &key, Metric::Finishes),
                    ("requeued", &key, Metric::Requeues),
                    ("timed out", &key, Metric::Timeouts),
                ]))
                (widgets::chart(visit, "memory", "Memory in use", Unit::Bytes, &[("heap", &key, Metric::Memory)]))
                (widgets::chart(visit, "clients", "Consumers", Unit::Count, &[("consumers", &key, Metric::Clients)]))
            }
        }
        (topics_panel(visit, node))
        (channels_panel(visit, node))
        (clients_panel(visit, node))
        (publishers_panel(visit, node))
        (facts(visit, node))
    };
    let mut page = Page::new(format!("{} (node)", node.address), Section::Nodes, body);
    page.crumbs = vec![
        ("Nodes".to_owned(), Some(visit.links.nodes())),
        (node.address.to_string(), None),
    ];
    page.warnings = widgets::warnings(&found.warnings);
    page.api = Some(format!(
        "/api{}",
        super::links::Links::new("/").node(&node.address)
    ));
    page
}

fn marks(node: &Node) -> Vec<Mark> {
    let mut marks = Vec::new();
    let health = &node.stats.health;
    if !health.is_empty() && health != "OK" {
        marks.push(Mark::new(
            "unhealthy",
            Severity::Bad,
            format!("not healthy: {health}"),
            health.clone(),
        ));
    }
    if node.producer.out_of_date {
        marks.push(Mark::new(
            "out-of-date",
            Severity::Warn,
            "older version",
            "Another node runs a newer version.",
        ));
    }
    marks
}

fn channels(node: &Node) -> impl Iterator<Item = &Channel> {
    node.stats
        .topics
        .iter()
        .flat_map(|topic| &topic.channels)
        .map(|channel| &**channel)
}

fn summary(visit: &Visit<'_>, node: &Node) -> Markup {
    let sum = |value: fn(&Channel) -> i64| channels(node).map(value).fold(0, i64::saturating_add);
    let at_topics = node
        .stats
        .topics
        .iter()
        .map(|topic| topic.depth)
        .fold(0, i64::saturating_add);
    let rate = visit
        .nsqadmin
        .history
        .latest(&Key::Node(Arc::clone(&node.address)), Metric::Messages);
    let healthy = node.stats.health.is_empty() || node.stats.health == "OK";
    widgets::strip(&[
        Figure::new(
            "health",
            "Health",
            html! { @if healthy { "OK" } @else { "Not OK" } },
        )
        .tone((!healthy).then_some(Tone::Bad)),
        Figure::new(
            "uptime",
            "Running for",
            widgets::since(visit, node.stats.start_time),
        ),
        Figure::count(
            "waiting",
            "Messages waiting",
            sum(|channel| channel.depth).saturating_add(at_topics),
        )
        .more(html! { (figures::short(wide(at_topics))) " of them at topics" }),
        Figure::count(
            "in-flight",
            "In flight",
            sum(|channel| channel.in_flight_count),
        ),
        Figure::rate("in", "Published", rate)
            .more(html! { (figures::grouped_signed(node.total_messages())) " since it started" }),
        Figure::count(
            "consumers",
            "Consumers",
            i64::try_from(node.total_clients()).unwrap_or(i64::MAX),
        ),
        Figure::count(
            "publishers",
            "Publishers",
            i64::try_from(node.stats.producers.len()).unwrap_or(i64::MAX),
        )
        .more(html! { "connected by TCP" }),
        Figure::count(
            "topics",
            "Topics",
            i64::try_from(node.stats.topics.len()).unwrap_or(i64::MAX),
        ),
    ])
}

fn topics_panel<'a>(visit: &'a Visit<'_>, node: &'a Node) -> Markup {
    let rows: Vec<&Topic> = node.stats.topics.iter().map(|topic| &**topic).collect();
    let is_tombstoned = |name: &str| {
        node.producer
            .topics
            .iter()
            .any(|known| known.tombstoned && known.topic == name)
    };
    let can_tombstone = visit.may_act() && visit.nsqadmin.cluster.has_lookupds();
    let mut columns = vec![
        Column::name(
            "topic",
            "Topic",
            |topic: &&Topic| topic.topic_name.to_string(),
            |topic| {
                html! {
                    a href=(visit.links.topic(&topic.topic_name)) { (topic.topic_name) } " " (widgets::lifetime(&topic.topic_name))
                }
            },
        ),
        Column::plain("state", "State", move |topic: &&Topic| {
            let mut marks = Vec::new();
            if topic.paused {
                marks.push(Mark::new(
                    "paused",
                    Severity::Warn,
                    "paused",
                    "Paused on this node.",
                ));
            }
            if is_tombstoned(&topic.topic_name) {
                marks.push(Mark::new(
                    "tombstoned",
                    Severity::Warn,
                    "tombstoned",
                    "nsqlookupd hides this node for this topic.",
                ));
            }
            state::badges(&marks)
        }),
        Column::count("depth", "Waiting at the topic", |topic: &&Topic| {
            topic.depth
        }),
        Column::count("backlog", "Waiting in channels", |topic: &&Topic| {
            state::waiting(topic).saturating_sub(topic.depth)
        }),
        Column::plain("course", "Course of the topic", |topic: &&Topic| {
            let key = Key::TopicOnNode(Arc::clone(&topic.topic_name), Arc::clone(&node.address));
            sparkline(
                &visit.recent(&key, Metric::Messages),
                Unit::PerSecond,
                "published",
            )
        })
        .help("Published, on this node, in the last minutes"),
        Column::count("messages", "Messages", |topic: &&Topic| topic.message_count),
        Column::number(
            "bytes",
            "Bytes",
            |topic: &&Topic| Some(wide(topic.message_bytes)),
            |topic| html! { (figures::bytes(wide(topic.message_bytes))) },
        ),
        Column::count("channels", "Channels", |topic: &&Topic| {
            i64::try_from(topic.channels.len()).unwrap_or(i64::MAX)
        }),
    ];
    if can_tombstone {
        columns.push(Column::plain("act", "On this node", move |topic: &&Topic| html! {
            span.actions {
                @if !is_tombstoned(&topic.topic_name) {
                    a.button.tiny href={ (visit.links.topic(&topic.topic_name)) (widgets::action("tombstone", &[("node", &node.address)])) }
                        data-dialog role="button" data-test="tombstone" { "Tombstone…" }
                }
            }
        }));
    }
    let table = Table {
        id: "topics",
        caption: "Topics on this node",
        columns,
        key: Box::new(|topic: &&Topic| topic.topic_name.to_string()),
        searched: Box::new(|topic| topic.topic_name.to_string()),
        empty: html! { strong { "No topics on this node" } },
    };
    let view = View::main(&visit.query).or_sorted_by("backlog", Order::Descending);
    html! {
        section.panel aria-labelledby="topics-title" {
            div.panel-head {
                h2 id="topics-title" { "Topics" span.count { (rows.len()) } }
                @if rows.len() > 1 { (table.filter(&view, "topics")) }
            }
            (table.render(&rows, &view))
        }
    }
}

/// One of a channel's numbers.
type Count = fn(&Channel) -> i64;

fn channels_panel<'a>(visit: &'a Visit<'_>, node: &'a Node) -> Markup {
    let rows: Vec<&Channel> = channels(node).collect();
    let mut columns = vec![
        Column::name(
            "channel",
            "Channel",
            |channel: &&Channel| format!("{} {}", channel.topic_name, channel.channel_name),
            |channel| {
                html! {
                    a href=(visit.links.channel(&channel.topic_name, &channel.channel_name)) { (channel.channel_name) } " "
                    (widgets::lifetime(&channel.channel_name))
                    div.muted.small { "of " (channel.topic_name) }
                }
            },
        ),
        Column::plain("state", "State", |channel: &&Channel| {
            let mut marks = Vec::new();
            if channel.client_count == 0 && channel.depth > 0 {
                marks.push(Mark::new(
                    "no-consumers",
                    Severity::Bad,
                    "no consumers",
                    "Messages wait here and nobody takes them.",
                ));
            }
            if channel.paused {
                marks.push(Mark::new(
                    "paused",
                    Severity::Warn,
                    "paused",
                    "Paused on this node.",
                ));
            }
            state::badges(&marks)
        }),
    ];
    let counts: [(_, _, Count); 7] = [
        ("depth", "Waiting", |channel| channel.depth),
        ("in-flight", "In flight", |channel| channel.in_flight_count),
        ("deferred", "Deferred", |channel| channel.deferred_count),
        ("requeues", "Requeued", |channel| channel.requeue_count),
        ("timeouts", "Timed out", |channel| channel.timeout_count),
        ("messages", "Messages", |channel| channel.message_count),
        ("consumers", "Consumers", |channel| channel.client_count),
    ];
    for (key, label, value) in counts {
        let sum = rows
            .iter()
            .map(|channel| value(channel))
            .fold(0, i64::saturating_add);
        columns.push(
            Column::count(key, label, move |channel: &&Channel| value(channel))
                .total(html! { (figures::grouped_signed(sum)) }),
        );
    }
    let table = Table {
        id: "channels",
        caption: "Channels on this node",
        columns,
        key: Box::new(|channel: &&Channel| {
            format!("{}/{}", channel.topic_name, channel.channel_name)
        }),
        searched: Box::new(|channel| format!("{} {}", channel.topic_name, channel.channel_name)),
        empty: html! { strong { "No channels on this node" } },
    };
    let view = View::of("channels", &visit.query).or_sorted_by("depth", Order::Descending);
    html! {
        section.panel aria-labelledby="channels-title" {
            div.panel-head {
                h2 id="channels-title" { "Channels" span.count { (rows.len()) } }
                @if rows.len() > 1 { (table.filter(&view, "channels")) }
            }
            (table.render(&rows, &view))
        }
    }
}

fn clients_panel(visit: &Visit<'_>, node: &Node) -> Markup {
    let rows: Vec<(&Channel, &Client)> = channels(node)
        .flat_map(|channel| channel.clients.iter().map(move |client| (channel, client)))
        .collect();
    let table = clients::on_node(visit, &rows);
    let view = View::of("clients", &visit.query);
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

fn publishers_panel(visit: &Visit<'_>, node: &Node) -> Markup {
    let rows: Vec<&Client> = node.stats.producers.iter().collect();
    let table = clients::publishers(visit);
    let view = View::of("producers", &visit.query);
    html! {
        section.panel aria-labelledby="producers-title" {
            div.panel-head {
                h2 id="producers-title" { "Publishers" span.count { (rows.len()) } }
                @if rows.len() > 8 { (table.filter(&view, "publishers")) }
            }
            (table.render(&rows, &view))
        }
    }
}

fn facts(visit: &Visit<'_>, node: &Node) -> Markup {
    let producer = &node.producer;
    let version = if node.stats.version.is_empty() {
        &producer.version
    } else {
        &node.stats.version
    };
    html! {
        section.panel aria-labelledby="facts-title" {
            div.panel-head { h2 id="facts-title" { "About this node" } }
            dl.facts.panel-body-grid {
                dt { "Version" } dd { (version) }
                dt { "Host name" } dd { (producer.hostname) }
                dt { "HTTP" } dd { (node.address) }
                dt { "TCP" } dd { (producer.tcp_address()) }
                @if !producer.topology_region.is_empty() || !producer.topology_zone.is_empty() {
                    dt { "Region / zone" } dd { (producer.topology_region) " / " (producer.topology_zone) }
                }
                @if let Ok(at) = jiff::Timestamp::from_second(node.stats.start_time) {
                    dt { "Started" } dd { (figures::moment(at, &visit.zone)) " (" (widgets::ago(visit, at)) ")" }
                }
                dt { "Health" } dd { (node.stats.health) }
                @if let Some(memory) = &node.stats.memory {
                    dt { "Memory" } dd { (figures::bytes(lossy(memory.heap_in_use_bytes))) " in use, "
                        (figures::bytes(lossy(memory.heap_idle_bytes))) " idle, "
                        (figures::bytes(lossy(memory.heap_released_bytes))) " given back" }
                    @if memory.gc_total_runs > 0 {
                        dt { "Garbage collection" } dd { (figures::grouped(memory.gc_total_runs)) " runs, 99 % within "
                            (figures::nanos(lossy(memory.gc_pause_usec_99) * 1e3)) }
                    }
                }
                @if !producer.remote_addresses.is_empty() {
                    dt { "Known to" } dd {
                        @for address in &producer.remote_addresses { div { (address.replace('/', ", which sees it as ")) } }
                    }
                }
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "numbers for the eyes")]
fn lossy(value: u64) -> f64 {
    value as f64
}
