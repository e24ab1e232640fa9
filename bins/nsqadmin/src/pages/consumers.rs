//! Consumers grouped by process: how much each holds, and how fast it finishes. All of the cluster, or those of a channel.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use crate::cluster::{Channel, Client, Node};
use crate::snapshot::Snapshot;

use super::clients;
use super::context::PageContext;
use super::format;
use super::layout::{Page, Section};
use super::table::{Column, Heading, Order, Table, View, wide};
use super::widgets;

/// All connections of one program on one host that consume.
#[derive(Debug, Clone, Default)]
pub(crate) struct Process {
    pub(crate) name: String,
    id: String,
    host: String,
    agent: String,
    connections: i64,
    /// Topic and channel.
    pub(crate) channels: BTreeSet<(String, String)>,
    nodes: BTreeSet<String>,
    in_flight: i64,
    ready: i64,
    finished: i64,
    /// Messages finished per second at present, of the connections for which it is known.
    rate: Option<f64>,
    /// Unix seconds; 0 is not known, or never.
    last_finish: i64,
    requeued: i64,
    /// The oldest connection, in Unix seconds.
    since: i64,
}

/// What one process is told apart by.
pub(crate) type Identity = (String, String, String);

/// The name, the id, the host and the program of a client.
pub(crate) fn identity(client: &Client) -> Identity {
    let host = host_of(&client.remote_address);
    (
        clients::name(client),
        client.client_id.clone(),
        format!("{host} {}", client.user_agent),
    )
}

/// The consumers of these channels by process. `rate` says how fast a connection finishes messages.
pub(crate) fn processes<'a>(
    channels: impl Iterator<Item = &'a Channel>,
    rate: impl Fn(&Client) -> Option<f64>,
) -> Vec<Process> {
    let mut found: BTreeMap<Identity, Process> = BTreeMap::new();
    for channel in channels {
        for client in &channel.clients {
            let process = found.entry(identity(client)).or_default();
            process.add(channel, client, rate(client));
        }
    }
    found.into_values().collect()
}

/// All channels of these nodes, each on its node.
pub(crate) fn channels_of(nodes: &[Node]) -> impl Iterator<Item = &Channel> {
    let topics = nodes.iter().flat_map(|node| &node.stats.topics);
    topics
        .flat_map(|topic| &topic.channels)
        .map(|channel| &**channel)
}

impl Process {
    fn add(&mut self, channel: &Channel, client: &Client, rate: Option<f64>) {
        if self.connections == 0 {
            self.name = clients::name(client);
            host_of(&client.remote_address).clone_into(&mut self.host);
            self.id.clone_from(&client.client_id);
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
        if let Some(rate) = rate {
            *self.rate.get_or_insert_default() += rate;
        }
        self.last_finish = self.last_finish.max(client.last_finish_ts);
        self.requeued = self.requeued.saturating_add(client.requeue_count);
        self.since = self.since.min(client.connect_ts);
    }

    /// Which part of what it may hold it holds.
    fn utilisation(&self) -> Option<f64> {
        (self.ready > 0).then(|| (wide(self.in_flight) / wide(self.ready)).min(1.0))
    }
}

/// `remote_address` without its port.
pub(crate) fn host_of(remote_address: &str) -> &str {
    let host = remote_address.rsplit_once(':');
    host.map_or(remote_address, |(host, _)| host)
}

pub(crate) fn page(context: &PageContext<'_>, snapshot: &Snapshot, nodes: &[Node]) -> Page {
    let rows = processes(channels_of(nodes), |client| context.finish_rate(client));
    let view = View::main(&context.query).or_sorted_by("in-flight", Order::Descending);
    let mut table = table(context);
    table.columns.insert(
        2,
        Column::ranked(
            "channels",
            "Channels",
            |row: &Process| wide(count(row.channels.len())),
            |row| channels(context, row),
        ),
    );
    let heading = Heading::new("Processes", "consumers, channels and nodes", 0);
    let body = html! {
        header.page-head { div.titles { h1 { "Consumers" }
            p.muted { "All connections of a program on a host are one row." } } }
        (tabs(context, "/consumers"))
        (table.panel(&rows, &view, &heading))
    };
    let mut page = Page::new("Consumers", Section::Clients, body);
    page.warnings = widgets::warnings(&snapshot.overview.warnings);
    page
}

/// From consumers to publishers, and back.
pub(crate) fn tabs(context: &PageContext<'_>, now: &str) -> Markup {
    html! {
        nav.tabs aria-label="Clients" {
            @for (path, label) in [("/consumers", "Consumers"), ("/publishers", "Publishers")] {
                a href=(context.links.fixed(path)) aria-current=[(path == now).then_some("page")] { (label) }
            }
        }
    }
}

/// The consumers of one channel, in a panel.
pub(crate) fn of_channel(context: &PageContext<'_>, channel: &Channel) -> Markup {
    let rows = processes(std::iter::once(channel), |client| {
        context.finish_rate(client)
    });
    let table = table(context);
    let view = View::of("consumers", &context.query).or_sorted_by("in-flight", Order::Descending);
    let heading = Heading::new("Consumers", "consumers", 9);
    table.panel(&rows, &view, &heading)
}

fn table<'a>(context: &'a PageContext<'_>) -> Table<'a, Process> {
    let mut columns = vec![
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
            |row| html! { @if row.agent.is_empty() { span.muted { "–" } } @else { span.wrap-anywhere { (row.agent) } } },
        ),
    ];
    columns.extend(work(context));
    Table {
        id: "consumers",
        caption: "Consumers by process",
        columns,
        key: Box::new(|row| format!("{} {} {} {}", row.name, row.id, row.host, row.agent)),
        searched: Box::new(|row| {
            let channels = row.channels.iter();
            let channels = channels.map(|(topic, channel)| format!("{topic} {channel}"));
            let nodes = row.nodes.iter().cloned();
            let mut text = vec![row.name.clone(), row.host.clone(), row.agent.clone()];
            text.extend(channels.chain(nodes));
            text.join(" ")
        }),
        empty: html! { strong { "No consumers" } span { "Messages wait until a client subscribes." } },
    }
}

/// What a process does.
fn work<'a>(context: &'a PageContext<'_>) -> Vec<Column<'a, Process>> {
    vec![
        Column::summed("connections", "Connections", |row: &Process| {
            row.connections
        }),
        Column::count("nodes", "Nodes", |row: &Process| count(row.nodes.len())),
        Column::summed("in-flight", "In flight", |row: &Process| row.in_flight),
        Column::summed("ready", "RDY", |row: &Process| row.ready).help(
            "Ready count: how many messages the consumer accepts at once, over all connections",
        ),
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
        Column::rate("rate", "Finish rate", |row: &Process| row.rate)
            .help("Messages finished per second at present")
            .total_of(|rows| {
                let known: Vec<f64> = rows.iter().filter_map(|row| row.rate).collect();
                html! { @if !known.is_empty() { (format::short(known.iter().sum())) "/s" } }
            }),
        clients::last_finish(context, |row: &Process| row.last_finish),
        Column::summed("finished", "Finished", |row: &Process| row.finished)
            .help("Since it connected"),
        Column::summed("requeued", "Requeued", |row: &Process| row.requeued)
            .help("Since it connected"),
        Column::number(
            "connected",
            "Connected for",
            |row: &Process| Some(-wide(row.since)),
            |row| widgets::since(context, row.since),
        ),
    ]
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
                {"client_id":"w","hostname":"w","remote_address":"10.0.0.1:2","user_agent":"x/1","in_flight_count":4,"ready_count":4,"finish_count":20,"connect_ts":90,"last_finish_ts":115}]}]}]}"#;
        let mut stats: NodeStats = serde_json::from_str(stats).unwrap();
        let producer = Producer::default();
        stats.place(&"n:1".into(), &producer);
        let node = Node {
            address: "n:1".into(),
            producer,
            stats,
        };
        let rate = |client: &Client| (client.finish_count > 0).then_some(1.5);
        let rows = processes(channels_of(std::slice::from_ref(&node)), rate);
        assert_eq!(rows.len(), 2, "{rows:?}");
        let first = rows.iter().find(|row| row.host == "10.0.0.1").unwrap();
        assert_eq!((first.connections, first.channels.len()), (2, 2));
        assert_eq!(first.utilisation(), Some(0.75));
        assert_eq!((first.rate, first.last_finish), (Some(3.0), 115));
        let second = rows.iter().find(|row| row.host == "10.0.0.2").unwrap();
        assert_eq!((second.utilisation(), second.rate), (None, None));
    }
}
