//! One nsqd: its state, topics, channels and clients.

use std::sync::Arc;

use maud::{Markup, html};

use crate::cluster::{Channel, Client, Node, Topic};
use crate::history::{Key, Metric};

use super::chart::sparkline;
use super::clients;
use super::context::PageContext;
use super::format::{self, Unit};
use super::happened;
use super::layout::{Page, Section};
use super::notice::Tone;
use super::state::{self, Mark, Severity};
use super::table::{Column, Heading, Order, Table, View, wide};
use super::widgets::{self, Stat};

pub(crate) fn page(context: &PageContext<'_>, node: &Node) -> Page {
    let _ = context
        .moments
        .set(happened::moments(context, happened::of_node(&node.address)));
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
        (summary(context, node))
        (widgets::charts(context, &html! {
            div.grid-2 {
                (widgets::messages_chart(context, &key, &[("on disk", &key, Metric::DiskDepth)]))
                (widgets::rates_chart(context, &key, "published"))
                (widgets::chart(context, "memory", "Memory in use", Unit::Bytes, &[("heap", &key, Metric::Memory)]))
                (widgets::consumers_chart(context, &key))
            }
        }))
        (tabs(context, node))
        @match Tab::of(context) {
            Tab::Topics => (topics_panel(context, node)),
            Tab::Channels => (channels_panel(context, node)),
            Tab::Consumers => (clients_panel(context, node)),
            Tab::Publishers => (publishers_panel(context, node)),
            Tab::About => {
                (facts(context, node))
                (happened::panel(context, 15, happened::of_node(&node.address)))
            }
        }
    };
    let mut page = Page::new(format!("{} (node)", node.address), Section::Nodes, body);
    page.crumbs = vec![
        ("Nodes".to_owned(), Some(context.links.nodes())),
        (node.address.to_string(), None),
    ];
    page.api = Some(format!(
        "/api{}",
        super::links::Links::new("/").node(&node.address)
    ));
    page
}

/// The part of the page below the charts: `?tab=channels`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tab {
    Topics,
    Channels,
    Consumers,
    Publishers,
    About,
}

impl Tab {
    const ALL: [Self; 5] = [
        Self::Topics,
        Self::Channels,
        Self::Consumers,
        Self::Publishers,
        Self::About,
    ];

    fn of(context: &PageContext<'_>) -> Self {
        let wanted = context.query.first("tab");
        Self::ALL
            .into_iter()
            .find(|tab| Some(tab.id()) == wanted)
            .unwrap_or(Self::Topics)
    }

    fn id(self) -> &'static str {
        match self {
            Self::Topics => "topics",
            Self::Channels => "channels",
            Self::Consumers => "consumers",
            Self::Publishers => "publishers",
            Self::About => "about",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Topics => "Topics",
            Self::Channels => "Channels",
            Self::Consumers => "Consumers",
            Self::Publishers => "Publishers",
            Self::About => "About",
        }
    }
}

fn tabs(context: &PageContext<'_>, node: &Node) -> Markup {
    let shown = Tab::of(context);
    let count = |tab: Tab| match tab {
        Tab::Topics => Some(node.stats.topics.len()),
        Tab::Channels => Some(channels(node).count()),
        Tab::Consumers => Some(node.total_clients()),
        Tab::Publishers => Some(node.stats.producers.len()),
        Tab::About => None,
    };
    html! {
        nav.tabs aria-label="Parts of this page" {
            @for tab in Tab::ALL {
                a href={ "?tab=" (tab.id()) } data-soft data-tab=(tab.id()) aria-current=[(tab == shown).then_some("true")] {
                    (tab.label()) @if let Some(count) = count(tab) { " " span.count { (count) } }
                }
            }
        }
    }
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

fn summary(context: &PageContext<'_>, node: &Node) -> Markup {
    let sum = |value: fn(&Channel) -> i64| channels(node).map(value).fold(0, i64::saturating_add);
    let at_topics = node
        .stats
        .topics
        .iter()
        .map(|topic| topic.depth)
        .fold(0, i64::saturating_add);
    let rate = context
        .nsqadmin
        .history
        .latest(&Key::Node(Arc::clone(&node.address)), Metric::Messages);
    let healthy = node.stats.health.is_empty() || node.stats.health == "OK";
    widgets::strip(&[
        Stat::new(
            "health",
            "Health",
            html! { @if healthy { "OK" } @else { "Not OK" } },
        )
        .tone((!healthy).then_some(Tone::Bad)),
        Stat::new(
            "uptime",
            "Running for",
            widgets::since(context, node.stats.start_time),
        ),
        Stat::count(
            "waiting",
            "Messages waiting",
            sum(|channel| channel.depth).saturating_add(at_topics),
        )
        .more(html! { (format::short(wide(at_topics))) " of them at topics" }),
        Stat::count(
            "in-flight",
            "In flight",
            sum(|channel| channel.in_flight_count),
        ),
        Stat::rate("in", "Published", rate)
            .more(html! { (format::grouped_signed(node.total_messages())) " since it started" }),
        Stat::count(
            "consumers",
            "Consumers",
            i64::try_from(node.total_clients()).unwrap_or(i64::MAX),
        ),
        Stat::count(
            "publishers",
            "Publishers",
            i64::try_from(node.stats.producers.len()).unwrap_or(i64::MAX),
        )
        .more(html! { "connected by TCP" }),
        Stat::count(
            "topics",
            "Topics",
            i64::try_from(node.stats.topics.len()).unwrap_or(i64::MAX),
        ),
    ])
}

fn topics_panel<'a>(context: &'a PageContext<'_>, node: &'a Node) -> Markup {
    let rows: Vec<&Topic> = node.stats.topics.iter().map(|topic| &**topic).collect();
    let is_tombstoned = |name: &str| {
        node.producer
            .topics
            .iter()
            .any(|known| known.tombstoned && known.topic == name)
    };
    let can_tombstone = context.may_act() && context.nsqadmin.cluster.has_lookupds();
    let mut columns = vec![
        Column::name(
            "topic",
            "Topic",
            |topic: &&Topic| topic.topic_name.to_string(),
            |topic| {
                html! {
                    a href=(context.links.topic(&topic.topic_name)) { (topic.topic_name) } " " (widgets::lifetime(&topic.topic_name))
                }
            },
        ),
        Column::plain("state", "State", move |topic: &&Topic| {
            let mut marks = state::topic_on_node(&context.nsqadmin.watch, topic);
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
        Column::plain("trend", "Publish rate", |topic: &&Topic| {
            let key = Key::TopicOnNode(Arc::clone(&topic.topic_name), Arc::clone(&node.address));
            sparkline(
                &context.recent(&key, Metric::Messages),
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
            |topic| html! { (format::bytes(wide(topic.message_bytes))) },
        ),
        Column::count("channels", "Channels", |topic: &&Topic| {
            i64::try_from(topic.channels.len()).unwrap_or(i64::MAX)
        }),
    ];
    if can_tombstone {
        columns.push(Column::plain("act", "On this node", move |topic: &&Topic| html! {
            span.actions {
                @if !is_tombstoned(&topic.topic_name) {
                    a.button.tiny href={ (context.links.topic(&topic.topic_name)) (widgets::action("tombstone", &[("node", &node.address)])) }
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
    let view = View::main(&context.query).or_sorted_by("backlog", Order::Descending);
    let heading = Heading::new("Topics", "topics", 2);
    table.panel(&rows, &view, &heading)
}

/// One of a channel's numbers.
type Count = fn(&Channel) -> i64;

fn channels_panel<'a>(context: &'a PageContext<'_>, node: &'a Node) -> Markup {
    let rows: Vec<&Channel> = channels(node).collect();
    let mut columns = vec![
        Column::name(
            "channel",
            "Channel",
            |channel: &&Channel| format!("{} {}", channel.topic_name, channel.channel_name),
            |channel| {
                html! {
                    a href=(context.links.channel(&channel.topic_name, &channel.channel_name)) { (channel.channel_name) } " "
                    (widgets::lifetime(&channel.channel_name))
                    div.muted.small { "of " (channel.topic_name) }
                }
            },
        ),
        Column::ranked(
            "state",
            "State",
            |channel: &&Channel| {
                let marks = state::on_node(&context.nsqadmin.watch, channel);
                state::rank(&marks, channel.depth)
            },
            |channel| state::badges(&state::on_node(&context.nsqadmin.watch, channel)),
        ),
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
        let value = move |channel: &&Channel| value(channel);
        columns.push(Column::summed(key, label, value));
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
    let view = View::of("channels", &context.query).or_sorted_by("depth", Order::Descending);
    let heading = Heading::new("Channels", "channels", 2);
    table.panel(&rows, &view, &heading)
}

fn clients_panel(context: &PageContext<'_>, node: &Node) -> Markup {
    let rows: Vec<(&Channel, &Client)> = channels(node)
        .flat_map(|channel| channel.clients.iter().map(move |client| (channel, client)))
        .collect();
    let table = clients::on_node(context);
    let view = View::of("clients", &context.query);
    let heading = Heading::new("Consumers", "consumers", 2);
    table.panel(&rows, &view, &heading)
}

fn publishers_panel(context: &PageContext<'_>, node: &Node) -> Markup {
    let rows: Vec<&Client> = node.stats.producers.iter().collect();
    let table = clients::publishers(context);
    let view = View::of("producers", &context.query);
    let heading = Heading::new("Publishers", "publishers", 9);
    table.panel(&rows, &view, &heading)
}

fn facts(context: &PageContext<'_>, node: &Node) -> Markup {
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
                    dt { "Started" } dd { (format::moment(at, &context.zone)) " (" (widgets::ago(context, at)) ")" }
                }
                dt { "Health" } dd { (node.stats.health) }
                @if let Some(memory) = &node.stats.memory {
                    dt { "Memory" } dd { (format::bytes(lossy(memory.heap_in_use_bytes))) " in use, "
                        (format::bytes(lossy(memory.heap_idle_bytes))) " idle, "
                        (format::bytes(lossy(memory.heap_released_bytes))) " given back" }
                    @if memory.gc_total_runs > 0 {
                        dt { "Garbage collection" } dd { (format::grouped(memory.gc_total_runs)) " runs, 99 % within "
                            (format::nanos(lossy(memory.gc_pause_usec_99) * 1e3)) }
                    }
                }
                @if !producer.remote_addresses.is_empty() {
                    dt { "Known to" } dd {
                        @for address in &producer.remote_addresses { div { (address.replace('/', ", seen as ")) } }
                    }
                }
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown rounded")]
fn lossy(value: u64) -> f64 {
    value as f64
}
