//! All consumers of the cluster, grouped by process: how much each holds, and how fast it finishes.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use crate::cluster::{Channel, Client, Node};
use crate::snapshot::Snapshot;

use super::clients;
use super::context::PageContext;
use super::format;
use super::layout::{Page, Section};
use super::table::{Column, Heading, Order, Table, View, rate_cell, wide};
use super::widgets;

/// All connections of one program on one host that consume.
#[derive(Debug, Clone, Default)]
pub(crate) struct Process {
    pub(crate) name: String,
    host: String,
    agent: String,
    connections: i64,
    /// Topic and channel.
    pub(crate) channels: BTreeSet<(String, String)>,
    nodes: BTreeSet<String>,
    in_flight: i64,
    ready: i64,
    finished: i64,
    requeued: i64,
    /// The oldest connection, in Unix seconds.
    since: i64,
}

/// The consumers on these nodes by process.
pub(crate) fn processes(nodes: &[Node]) -> Vec<Process> {
    let mut found: BTreeMap<(String, String, String), Process> = BTreeMap::new();
    let channels = nodes.iter().flat_map(|node| {
        let topics = node.stats.topics.iter();
        topics.flat_map(|topic| &topic.channels)
    });
    for channel in channels {
        for client in &channel.clients {
            let host = host_of(&client.remote_address);
            let key = (
                clients::name(client),
                client.client_id.clone(),
                format!("{host} {}", client.user_agent),
            );
            found.entry(key).or_default().add(channel, client);
        }
    }
    found.into_values().collect()
}

impl Process {
    fn add(&mut self, channel: &Channel, client: &Client) {
        if self.connections == 0 {
            self.name = clients::name(client);
            host_of(&client.remote_address).clone_into(&mut self.host);
            self.agent.clone_from(&client.user_agent);
            self.since = client.connect_ts;
        }
        self.connections += 1;
        let (topic, channel) = (&channel.topic_name, &channel.channel_name);
        self.channels
            .insert((topic.to_string(), channel.to_string()));
        self.nodes.insert(client.node.to_string());
        self.in_flight = self.in_flight.saturating_add(client.in_flight_count);
        self.ready = self.ready.saturating_add(client.ready_count);
        self.finished = self.finished.saturating_add(client.finish_count);
        self.requeued = self.requeued.saturating_add(client.requeue_count);
        self.since = self.since.min(client.connect_ts);
    }

    /// Which part of what it may hold it holds.
    fn utilisation(&self) -> Option<f64> {
        (self.ready > 0).then(|| (wide(self.in_flight) / wide(self.ready)).min(1.0))
    }

    /// Messages finished per second since it connected.
    fn rate(&self, now: i64) -> Option<f64> {
        let seconds = now.saturating_sub(self.since);
        (seconds > 0 && self.since > 0).then(|| wide(self.finished) / wide(seconds))
    }
}

/// `remote_address` without its port.
fn host_of(remote_address: &str) -> &str {
    let host = remote_address.rsplit_once(':');
    host.map_or(remote_address, |(host, _)| host)
}

pub(crate) fn page(context: &PageContext<'_>, snapshot: &Snapshot, nodes: &[Node]) -> Page {
    let rows = processes(nodes);
    let view = View::main(&context.query).or_sorted_by("in-flight", Order::Descending);
    let table = table(context);
    let heading = Heading::new("Processes", "consumers, channels and nodes", 0);
    let body = html! {
        header.page-head { div.titles { h1 { "Consumers" }
            p.muted { "All connections of a program on a host are one row." } } }
        (table.panel(&rows, &view, &heading))
    };
    let mut page = Page::new("Consumers", Section::Consumers, body);
    page.warnings = widgets::warnings(&snapshot.overview.warnings);
    page
}

fn table<'a>(context: &'a PageContext<'_>) -> Table<'a, Process> {
    let now = context.now.as_second();
    Table {
        id: "consumers",
        caption: "Consumers by process",
        columns: vec![
            Column::name(
                "consumer",
                "Consumer",
                |row: &Process| row.name.clone(),
                |row| html! { div.client-cell { span.wrap-anywhere { (row.name) } div.muted.small { (row.host) } } },
            ),
            Column::text(
                "agent",
                "User agent",
                |row: &Process| row.agent.clone(),
                |row| html! { @if row.agent.is_empty() { span.muted { "–" } } @else { (row.agent) } },
            ),
            Column::number(
                "channels",
                "Channels",
                |row: &Process| Some(wide(count(row.channels.len()))),
                |row| channels(context, row),
            ),
            Column::summed("connections", "Connections", |row: &Process| row.connections),
            Column::count("nodes", "Nodes", |row: &Process| count(row.nodes.len())),
            Column::summed("in-flight", "In flight", |row: &Process| row.in_flight),
            Column::summed("ready", "RDY", |row: &Process| row.ready)
                .help("Ready count: how many messages the consumer accepts at once, over all connections"),
            Column::number(
                "utilisation",
                "Utilisation",
                Process::utilisation,
                |row| html! {
                    @match row.utilisation() {
                        Some(share) => { (format!("{:.0} %", share * 100.0)) }
                        None => span.badge.warn data-state="ready-zero" { span aria-hidden="true" { "▲" } "RDY 0" },
                    }
                },
            )
            .help("In flight as a share of RDY: at 100 % it cannot take more"),
            Column::summed("finished", "Finished", |row: &Process| row.finished)
                .help("Since it connected"),
            Column::number(
                "rate",
                "Mean rate",
                move |row: &Process| row.rate(now),
                move |row| rate_cell(row.rate(now)),
            )
            .help("Messages finished per second since it connected"),
            Column::summed("requeued", "Requeued", |row: &Process| row.requeued),
            Column::number(
                "connected",
                "Connected for",
                |row: &Process| Some(-wide(row.since)),
                |row| widgets::since(context, row.since),
            ),
        ],
        key: Box::new(|row| format!("{} {} {}", row.name, row.host, row.agent)),
        searched: Box::new(|row| {
            let channels = row.channels.iter().map(|(topic, channel)| format!("{topic} {channel}"));
            let nodes = row.nodes.iter().cloned();
            let mut text = vec![row.name.clone(), row.host.clone(), row.agent.clone()];
            text.extend(channels.chain(nodes));
            text.join(" ")
        }),
        empty: html! { strong { "No consumers" } span { "No client is subscribed to a channel." } },
    }
}

fn channels(context: &PageContext<'_>, row: &Process) -> Markup {
    html! {
        @if let (1, Some((topic, channel))) = (row.channels.len(), row.channels.first()) {
            a href=(context.links.channel(topic, channel)) { (channel) } div.muted.small { "of " (topic) }
        } @else {
            details { summary { (format::grouped(u64::try_from(row.channels.len()).unwrap_or(0))) }
                @for (topic, channel) in row.channels.iter().take(MOST_CHANNELS) {
                    div { a href=(context.links.channel(topic, channel)) { (topic) " / " (channel) } }
                }
                @if row.channels.len() > MOST_CHANNELS { div.muted { "and " (row.channels.len() - MOST_CHANNELS) " more" } }
            }
        }
    }
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

const MOST_CHANNELS: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{NodeStats, Producer};

    #[test]
    fn connections_of_one_program_are_one_row() {
        let stats = r#"{"topics":[{"topic_name":"t","channels":[
            {"channel_name":"c","clients":[
                {"client_id":"w","hostname":"w","remote_address":"10.0.0.1:1","user_agent":"x/1","in_flight_count":2,"ready_count":4,"finish_count":10,"connect_ts":100},
                {"client_id":"w","hostname":"w","remote_address":"10.0.0.2:1","user_agent":"x/1","connect_ts":100}]},
            {"channel_name":"d","clients":[
                {"client_id":"w","hostname":"w","remote_address":"10.0.0.1:2","user_agent":"x/1","in_flight_count":4,"ready_count":4,"finish_count":20,"connect_ts":90}]}]}]}"#;
        let mut stats: NodeStats = serde_json::from_str(stats).unwrap();
        let producer = Producer::default();
        stats.place(&"n:1".into(), &producer);
        let node = Node {
            address: "n:1".into(),
            producer,
            stats,
        };
        let rows = processes(&[node]);
        assert_eq!(rows.len(), 2, "{rows:?}");
        let first = rows.iter().find(|row| row.host == "10.0.0.1").unwrap();
        assert_eq!((first.connections, first.channels.len()), (2, 2));
        assert_eq!(first.utilisation(), Some(0.75));
        assert_eq!(first.rate(120), Some(1.0));
        let second = rows.iter().find(|row| row.host == "10.0.0.2").unwrap();
        assert_eq!(second.utilisation(), None);
    }
}
