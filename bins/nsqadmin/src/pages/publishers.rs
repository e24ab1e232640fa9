//! Publishers of the whole cluster, grouped by process: what each publishes to, and how much.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use crate::cluster::{Client, Node};
use crate::snapshot::Snapshot;

use super::clients;
use super::consumers::{self, Identity};
use super::context::PageContext;
use super::format;
use super::layout::{Page, Section};
use super::table::{Column, Heading, Order, Table, View, wide};
use super::widgets;

/// All connections of one program on one host that publish.
#[derive(Debug, Default)]
struct Process {
    name: String,
    id: String,
    host: String,
    agent: String,
    connections: i64,
    nodes: BTreeSet<String>,
    /// Messages by topic.
    topics: BTreeMap<String, i64>,
    /// The oldest connection, in Unix seconds.
    since: i64,
}

/// The publishers on these nodes by process.
fn processes(nodes: &[Node]) -> Vec<Process> {
    let mut found: BTreeMap<Identity, Process> = BTreeMap::new();
    for client in nodes.iter().flat_map(|node| &node.stats.producers) {
        let process = found.entry(consumers::identity(client)).or_default();
        process.add(client);
    }
    found.into_values().collect()
}

impl Process {
    fn add(&mut self, client: &Client) {
        if self.connections == 0 {
            self.name = clients::name(client);
            consumers::host_of(&client.remote_address).clone_into(&mut self.host);
            self.id.clone_from(&client.client_id);
            self.agent.clone_from(&client.user_agent);
            self.since = client.connect_ts;
        }
        self.connections += 1;
        self.nodes.insert(client.node.to_string());
        for published in client.published() {
            let count = self.topics.entry(published.topic.clone()).or_default();
            *count = count.saturating_add(published.count);
        }
        self.since = self.since.min(client.connect_ts);
    }

    fn published(&self) -> i64 {
        self.topics.values().copied().fold(0, i64::saturating_add)
    }
}

pub(crate) fn page(context: &PageContext<'_>, snapshot: &Snapshot, nodes: &[Node]) -> Page {
    let rows = processes(nodes);
    let view = View::main(&context.query).or_sorted_by("published", Order::Descending);
    let heading = Heading::new("Processes", "publishers, topics and nodes", 0);
    let body = html! {
        header.page-head { div.titles { h1 { "Publishers" }
            p.muted { "All connections of a program on a host are one row. Publishers by HTTP are not listed." } } }
        (consumers::tabs(context, "/publishers"))
        (table(context).panel(&rows, &view, &heading))
    };
    let mut page = Page::new("Publishers", Section::Clients, body);
    page.warnings = widgets::warnings(&snapshot.overview.warnings);
    page
}

fn table<'a>(context: &'a PageContext<'_>) -> Table<'a, Process> {
    Table {
        id: "publishers",
        caption: "Publishers by process",
        columns: vec![
            Column::name(
                "publisher",
                "Publisher",
                |row: &Process| row.name.clone(),
                |row| html! { div.client-cell { span.wrap-anywhere { (row.name) } div.muted.small { (row.host) } } },
            ),
            Column::text(
                "agent",
                "User agent",
                |row: &Process| row.agent.clone(),
                |row| html! { @if row.agent.is_empty() { span.muted { "–" } } @else { span.wrap-anywhere { (row.agent) } } },
            ),
            Column::ranked(
                "topics",
                "Publishes to",
                |row: &Process| wide(length(row.topics.len())),
                |row| {
                    let topics = row.topics.iter();
                    self::topics(
                        context,
                        topics.map(|(topic, count)| (topic.as_str(), *count)),
                    )
                },
            )
            .help(TOPICS_HELP),
            Column::summed("published", "Published", Process::published)
                .help("Messages since it connected"),
            Column::summed("connections", "Connections", |row: &Process| {
                row.connections
            }),
            Column::count("nodes", "Nodes", |row: &Process| length(row.nodes.len())),
            Column::number(
                "connected",
                "Connected for",
                |row: &Process| Some(-wide(row.since)),
                |row| widgets::since(context, row.since),
            ),
        ],
        key: Box::new(|row| format!("{} {} {} {}", row.name, row.id, row.host, row.agent)),
        searched: Box::new(|row| {
            let mut text = vec![row.name.clone(), row.host.clone(), row.agent.clone()];
            text.extend(row.topics.keys().chain(&row.nodes).cloned());
            text.join(" ")
        }),
        empty: html! { strong { "No publisher is connected by TCP" } span { "Publishers by HTTP are not listed." } },
    }
}

/// The topics that a client publishes to, each with its messages: a few at once, all of them when opened.
pub(crate) fn topics<'a>(
    context: &PageContext<'_>,
    published: impl Iterator<Item = (&'a str, i64)>,
) -> Markup {
    let published: Vec<(&str, i64)> = published.collect();
    let line = |(topic, count): &(&str, i64)| {
        html! {
            div.wrap-anywhere {
                a href=(context.links.topic(topic)) { (topic) } " "
                span.muted { (format::grouped_signed(*count)) }
            }
        }
    };
    let shown = &published[..published.len().min(MOST_LISTED)];
    let (first, more) = shown.split_at(shown.len().min(FIRST_TOPICS));
    html! {
        @for each in first { (line(each)) }
        @if !more.is_empty() {
            details data-test="more-topics" {
                summary { (format::grouped_signed(length(published.len()))) " topics" }
                @for each in more { (line(each)) }
                @if published.len() > shown.len() { div.muted { "and " (published.len() - shown.len()) " more" } }
            }
        }
        @if published.is_empty() { span.muted { "–" } }
    }
}

fn length(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(crate) const TOPICS_HELP: &str =
    "Topics and messages since it connected. An upstream nsqd reports one topic only";
/// Topics that are shown without opening the list.
const FIRST_TOPICS: usize = 3;
/// Topics that are listed at all.
const MOST_LISTED: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{NodeStats, Producer};

    #[test]
    fn the_topics_of_a_program_are_merged_over_its_nodes() {
        let node = |address: &str, all: &str| {
            let stats = format!(
                r#"{{"producers":[{{"client_id":"w","hostname":"w","remote_address":"10.0.0.1:1","connect_ts":100,
                   "pub_counts":[{{"topic":"a","count":1}}]{all}}}]}}"#
            );
            let mut stats: NodeStats = serde_json::from_str(&stats).unwrap();
            let producer = Producer::default();
            stats.place(&address.into(), &producer);
            Node {
                address: address.into(),
                producer,
                stats,
            }
        };
        let several = r#","all_pub_counts":[{"topic":"a","count":1},{"topic":"b","count":7}]"#;
        let rows = processes(&[node("n:1", several), node("n:2", "")]);
        assert_eq!(rows.len(), 1, "{rows:?}");
        let topics: Vec<_> = rows[0].topics.iter().collect();
        assert_eq!(topics, [(&"a".to_owned(), &2), (&"b".to_owned(), &7)]);
        assert_eq!((rows[0].published(), rows[0].connections), (9, 2));
    }
}
