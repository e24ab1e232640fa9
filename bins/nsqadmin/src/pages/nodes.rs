//! All nsqds: which respond, their state, and which nsqlookupds know them.

use std::collections::BTreeMap;
use std::sync::Arc;

use maud::{Markup, html};

use crate::cluster::{DaemonKind, Failure, NodeReport, Overview};
use crate::history::{Key, Metric};
use crate::snapshot::Snapshot;
use crate::watch::{Loss, LostNode};

use super::chart::sparkline;
use super::context::PageContext;
use super::format::{self, Unit};
use super::layout::{Page, Section};
use super::lost;
use super::notice::Tone;
use super::state::{self, Mark, Severity};
use super::table::{Column, Heading, Order, Table, View, wide};
use super::widgets::{self, Stat};

struct Row<'a> {
    node: &'a NodeReport,
    marks: Vec<Mark>,
    /// `None` while it does not respond.
    backlog: Option<i64>,
    consumers: Option<i64>,
    rate: Option<f64>,
    memory: Option<f64>,
    /// As it was when it last answered, if it does not now.
    lost: Option<&'a LostNode>,
}

pub(crate) fn page(context: &PageContext<'_>, snapshot: &Snapshot) -> Page {
    let overview = &*snapshot.overview;
    let gone: Vec<NodeReport> = gone(snapshot);
    let mut rows: Vec<Row<'_>> = overview
        .nodes
        .iter()
        .map(|node| row(context, overview, node))
        .collect();
    rows.extend(gone.iter().map(|node| row(context, overview, node)));
    for row in &mut rows {
        row.lost = snapshot.lost_node(&row.node.address);
        if let Some(lost) = row.lost {
            row.marks
                .retain(|mark| mark.id != "down" && mark.id != "registration");
            row.marks.insert(0, lost::mark(lost));
        }
    }
    let view = View::main(&context.query).or_sorted_by("state", Order::Descending);
    let table = table(context, overview, &rows);
    let body = html! {
        header.page-head { div.titles { h1 { "Nodes" } } }
        (summary(context, overview, &rows))
        (table.panel(&rows, &view, &Heading::new("nsqd", "nodes and topics", 0)))
        (lookupds(overview))
    };
    let mut page = Page::new("Nodes", Section::Nodes, body);
    page.warnings = widgets::warnings(&overview.warnings);
    page.api = Some("/api/nodes".to_owned());
    page
}

/// The nodes that have gone, in the form of those that are there.
fn gone(snapshot: &Snapshot) -> Vec<NodeReport> {
    let gone = snapshot.lost.iter().filter(|node| node.loss == Loss::Gone);
    gone.map(|node| NodeReport {
        address: Arc::clone(&node.address),
        producer: node.producer.clone(),
        stats: Err(Failure {
            kind: DaemonKind::Nsqd,
            address: node.address.to_string(),
            status: None,
            cause: "no longer registered with nsqlookupd".to_owned(),
            text: String::new(),
        }),
    })
    .collect()
}

/// What is wrong with a node.
pub(crate) fn marks(overview: &Overview, node: &NodeReport) -> Vec<Mark> {
    let mut marks = Vec::new();
    match &node.stats {
        Err(failure) => {
            marks.push(Mark::new(
                "down",
                Severity::Bad,
                "not responding",
                failure.cause.clone(),
            ));
        }
        Ok(stats) if !stats.health.is_empty() && stats.health != "OK" => {
            marks.push(Mark::new(
                "unhealthy",
                Severity::Bad,
                "not healthy",
                stats.health.clone(),
            ));
        }
        Ok(_) => {}
    }
    if !overview.lookupds.is_empty() && node.producer.is_inconsistent(overview.lookupds.len()) {
        let why = format!(
            "{} registrations with {} nsqlookupds: it is missing from one, or two nsqds announce the same address.",
            node.producer.remote_addresses.len(),
            overview.lookupds.len()
        );
        marks.push(Mark::new(
            "registration",
            Severity::Warn,
            "registration",
            why,
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
    let tombstones: Vec<&str> = node
        .producer
        .topics
        .iter()
        .filter(|topic| topic.tombstoned)
        .map(|topic| topic.topic.as_str())
        .collect();
    if !tombstones.is_empty() {
        let why = format!("nsqlookupd hides this node for: {}", tombstones.join(", "));
        marks.push(Mark::new(
            "tombstoned",
            Severity::Info,
            format!("{} tombstoned", tombstones.len()),
            why,
        ));
    }
    marks
}

fn row<'a>(context: &PageContext<'_>, overview: &Overview, node: &'a NodeReport) -> Row<'a> {
    let history = &context.nsqadmin.history;
    let topics = || node.stats.iter().flat_map(|stats| &stats.topics);
    let channels = || topics().flat_map(|topic| &topic.channels);
    let key = Key::Node(Arc::clone(&node.address));
    Row {
        marks: marks(overview, node),
        backlog: node.stats.is_ok().then(|| {
            let depths = topics().map(|topic| topic.depth);
            depths
                .chain(channels().map(|channel| channel.depth))
                .fold(0, i64::saturating_add)
        }),
        consumers: node.stats.is_ok().then(|| {
            let counts = channels().map(|channel| channel.client_count);
            counts.fold(0, i64::saturating_add)
        }),
        lost: None,
        rate: history.latest(&key, Metric::Messages),
        memory: memory(node),
        node,
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown rounded")]
fn memory(node: &NodeReport) -> Option<f64> {
    let memory = node.stats.as_ref().ok()?.memory.as_ref()?;
    Some(memory.heap_in_use_bytes as f64)
}

fn summary(context: &PageContext<'_>, overview: &Overview, rows: &[Row<'_>]) -> Markup {
    let down = rows.iter().filter(|row| row.node.stats.is_err()).count();
    let mut versions: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows.iter().filter(|row| is_introduced(row.node)) {
        *versions.entry(&row.node.producer.version).or_default() += 1;
    }
    let lookupds_down = overview
        .lookupds
        .iter()
        .filter(|lookupd| lookupd.version.is_err())
        .count();
    let sum = |value: fn(&Row<'_>) -> Option<i64>| {
        rows.iter().filter_map(value).fold(0, i64::saturating_add)
    };
    let memory: f64 = rows.iter().filter_map(|row| row.memory).sum();
    let rate = context
        .nsqadmin
        .history
        .latest(&Key::Cluster, Metric::Messages);
    let mut stats = vec![
        Stat::new(
            "nodes",
            "nsqd responding",
            html! { (rows.len() - down) span.unit { "of " (rows.len()) } },
        )
        .tone((down > 0).then_some(Tone::Bad)),
    ];
    if !overview.lookupds.is_empty() {
        let all = overview.lookupds.len();
        stats.push(
            Stat::new(
                "lookupds",
                "nsqlookupd responding",
                html! { (all - lookupds_down) span.unit { "of " (all) } },
            )
            .tone((lookupds_down > 0).then_some(Tone::Bad)),
        );
    }
    stats.extend([
        Stat::new("versions", "Versions", html! { (versions.len()) })
            .tone((versions.len() > 1).then_some(Tone::Warn))
            .more(html! { (versions.iter().take(3).map(|(v, n)| format!("{v} ×{n}")).collect::<Vec<_>>().join(", ")) }),
        Stat::count("waiting", "Messages waiting", sum(|row| row.backlog)),
        Stat::rate("in", "Published", rate),
        Stat::count("consumers", "Consumers", sum(|row| row.consumers)),
        Stat::new("memory", "Memory in use", html! { (format::bytes(memory)) }),
    ]);
    widgets::strip(&stats)
}

fn table<'a>(
    context: &'a PageContext<'_>,
    overview: &'a Overview,
    rows: &[Row<'a>],
) -> Table<'a, Row<'a>> {
    let mut columns = vec![
        Column::name(
            "node",
            "Node",
            |row: &Row<'_>| row.node.address.to_string(),
            |row| {
                html! {
                    @if is_introduced(row.node) {
                        a href=(context.links.node(&row.node.address)) { (row.node.address) }
                        div.muted.small { (row.node.producer.hostname) ", TCP " (row.node.producer.tcp_port) }
                    } @else { (row.node.address) }
                }
            },
        ),
        Column::ranked(
            "state",
            "State",
            |row: &Row<'_>| state::rank(&row.marks, row.backlog.unwrap_or(0)),
            |row| {
                html! {
                    (state::badges(&row.marks))
                    @if let Some(lost) = row.lost {
                        div.small.muted data-test="lost-node" { (lost::since(context, lost)) ": " (lost::what_was_there(lost)) }
                        (lost::dismissal(context, lost))
                    }
                    @if let Err(failure) = &row.node.stats { div.small.muted { (failure.cause) } }
                }
            },
        ),
        Column::known("waiting", "Waiting", |row: &Row<'_>| row.backlog),
        Column::plain("trend", "Trend", |row: &Row<'_>| {
            let key = Key::Node(Arc::clone(&row.node.address));
            sparkline(&context.recent(&key, Metric::Depth), Unit::Count, "waiting")
        }),
        Column::rate("in", "Published", |row: &Row<'_>| row.rate),
        Column::known("consumers", "Consumers", |row: &Row<'_>| row.consumers),
        Column::number(
            "memory",
            "Memory",
            |row: &Row<'_>| row.memory,
            |row| {
                html! {
                    @if let Some(memory) = row.memory { (format::bytes(memory)) } @else { span.muted { "–" } }
                }
            },
        ),
        Column::number(
            "uptime",
            "Running for",
            |row: &Row<'_>| {
                row.node
                    .stats
                    .as_ref()
                    .ok()
                    .map(|stats| -wide(stats.start_time))
            },
            |row| {
                let started = row.node.stats.as_ref().map_or(0, |stats| stats.start_time);
                widgets::since(context, started)
            },
        ),
        Column::text(
            "version",
            "Version",
            |row: &Row<'_>| row.node.producer.version.clone(),
            |row| {
                html! {
                    (row.node.producer.version)
                }
            },
        ),
    ];
    if rows.iter().any(|row| {
        !row.node.producer.topology_zone.is_empty() || !row.node.producer.topology_region.is_empty()
    }) {
        columns.push(Column::text(
            "zone",
            "Region / zone",
            |row: &Row<'_>| format!("{} {}", row.node.producer.topology_region, row.node.producer.topology_zone),
            |row| html! { (row.node.producer.topology_region) " / " (row.node.producer.topology_zone) },
        ));
    }
    if !overview.lookupds.is_empty() {
        columns.push(
            Column::number(
                "lookupds",
                "nsqlookupd",
                |row: &Row<'_>| Some(wide(count(row.node.producer.remote_addresses.len()))),
                |row| {
                    let known = &row.node.producer.remote_addresses;
                    html! {
                        details { summary { (known.len()) " of " (overview.lookupds.len()) }
                            @for address in known { div.small.muted { (address.replace('/', " sees it as ")) } } }
                    }
                },
            )
            .help("How many nsqlookupds know this node"),
        );
    }
    columns.push(Column::number(
        "topics",
        "Topics",
        |row: &Row<'_>| Some(wide(count(row.node.producer.topics.len()))),
        |row| topics(context, row.node),
    ));
    Table {
        id: "nodes",
        caption: "nsqd nodes",
        columns,
        key: Box::new(|row| row.node.address.to_string()),
        searched: Box::new(|row| {
            let producer = &row.node.producer;
            let mut text = format!(
                "{} {} {} {} {}",
                row.node.address,
                producer.hostname,
                producer.version,
                producer.topology_region,
                producer.topology_zone
            );
            for topic in &producer.topics {
                text.push(' ');
                text.push_str(&topic.topic);
            }
            for mark in &row.marks {
                text.push(' ');
                text.push_str(&mark.word);
            }
            text
        }),
        empty: html! { strong { "No nodes" } span { "No nsqd is registered with nsqlookupd, or none of the given nsqds responds." } },
    }
}

fn topics(context: &PageContext<'_>, node: &NodeReport) -> Markup {
    let topics = &node.producer.topics;
    html! {
        @if topics.is_empty() { span.zero { "0" } } @else {
            details {
                summary { (topics.len()) }
                div.badges {
                    @for topic in topics.iter().take(MOST_TOPICS) {
                        @if topic.tombstoned {
                            a.badge.warn href=(context.links.topic(&topic.topic)) title="Tombstoned on this node" {
                                span aria-hidden="true" { "▲" } (topic.topic) " (tombstoned)"
                            }
                        } @else {
                            a.badge href=(context.links.topic(&topic.topic)) { (topic.topic) }
                        }
                    }
                    @if topics.len() > MOST_TOPICS {
                        a.badge href=(context.links.node(&node.address)) { "and " (topics.len() - MOST_TOPICS) " more" }
                    }
                }
            }
        }
    }
}

/// The nsqlookupds and how they do.
pub(crate) fn lookupds(overview: &Overview) -> Markup {
    html! {
        @if !overview.lookupds.is_empty() {
            section.panel id="lookupds" aria-labelledby="lookupds-title" {
                div.panel-head { h2 id="lookupds-title" { "nsqlookupd" span.count { (overview.lookupds.len()) } } }
                div.scroll tabindex="0" role="region" aria-label="nsqlookupd" {
                    table {
                        caption.visually-hidden { "nsqlookupds" }
                        thead { tr { th scope="col" { "Address" } th scope="col" { "State" } th scope="col" { "Version" }
                            th.number scope="col" { "Nodes registered" } } }
                        tbody { @for lookupd in &overview.lookupds {
                            tr data-key={ "lookupd-" (lookupd.address) } {
                                th scope="row" { (lookupd.address) }
                                @match &lookupd.version {
                                    Ok(version) => { td { (state::badges(&[])) } td { (version) } }
                                    Err(failure) => {
                                        td { (state::badges(&[Mark::new("down", Severity::Bad, "not responding", failure.cause.clone())]))
                                            div.small.muted { (failure.cause) } }
                                        td { span.muted { "–" } }
                                    }
                                }
                                td.number { @match lookupd.node_count { Some(count) => (count), None => span.muted { "–" } } }
                            }
                        } }
                    }
                }
            }
        }
    }
}

/// Whether more is known of it than the address that was given for it.
fn is_introduced(node: &NodeReport) -> bool {
    !node.producer.broadcast_address.is_empty()
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

/// Names in one cell; the node's own page has all.
const MOST_TOPICS: usize = 50;
