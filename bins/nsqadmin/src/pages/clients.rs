//! The tables of clients: a channel's consumers, a node's consumers, a node's publishers.

use maud::{Markup, html};

use crate::cluster::{Channel, Client};

use super::context::PageContext;
use super::format;
use super::links::web_url;
use super::publishers;
use super::table::{Column, Table, wide};
use super::widgets;

/// Consumers of one channel, over all nodes.
pub(crate) fn of_channel<'a>(context: &'a PageContext<'_>) -> Table<'a, &'a Client> {
    let mut columns = introduction(|client: &&'a Client| client);
    columns.push(Column::text(
        "node",
        "Node",
        |client: &&Client| client.node.to_string(),
        |client| widgets::node(context, &client.node, ""),
    ));
    columns.extend(work(context, |client: &&'a Client| client));
    columns.push(connected(context, |client: &&'a Client| client));
    Table {
        id: "clients",
        caption: "Connections of this channel's consumers",
        columns,
        key: Box::new(|client: &&Client| key(client)),
        searched: Box::new(|client: &&Client| searched(client)),
        empty: html! {
            strong { "No consumers" }
            span { "No client is subscribed to this channel: its messages wait." }
        },
    }
}

/// Consumers on one node, of all its channels.
pub(crate) fn on_node<'a>(context: &'a PageContext<'_>) -> Table<'a, (&'a Channel, &'a Client)> {
    let client = |row: &(&'a Channel, &'a Client)| row.1;
    let mut columns = introduction(client);
    columns.push(Column::text(
        "channel",
        "Channel",
        |(channel, _): &(&Channel, &Client)| format!("{} {}", channel.topic_name, channel.channel_name),
        |(channel, _)| html! {
            a href=(context.links.channel(&channel.topic_name, &channel.channel_name)) { (channel.channel_name) }
            div.muted.small { "of " (channel.topic_name) }
        },
    ));
    columns.extend(work(context, client));
    columns.push(connected(context, client));
    Table {
        id: "clients",
        caption: "Consumers on this node",
        columns,
        key: Box::new(move |row| {
            format!("{}/{}/{}", key(row.1), row.0.topic_name, row.0.channel_name)
        }),
        searched: Box::new(|(channel, client)| {
            format!(
                "{} {} {}",
                searched(client),
                channel.topic_name,
                channel.channel_name
            )
        }),
        empty: html! { strong { "No consumers on this node" } },
    }
}

/// Clients that publish to one node.
pub(crate) fn publishers<'a>(context: &'a PageContext<'_>) -> Table<'a, &'a Client> {
    let mut columns = introduction(|client: &&'a Client| client);
    columns.push(
        Column::ranked(
            "publishes",
            "Publishes to",
            |client: &&Client| wide_length(client.published().len()),
            |client| {
                let published = client.published().iter();
                publishers::topics(context, published.map(|to| (to.topic.as_str(), to.count)))
            },
        )
        .help(publishers::TOPICS_HELP),
    );
    columns.push(
        Column::summed("published", "Published", |client: &&Client| {
            let counts = client.published().iter().map(|to| to.count);
            counts.fold(0, i64::saturating_add)
        })
        .help("Messages since it connected"),
    );
    columns.push(connected(context, |client: &&'a Client| client));
    Table {
        id: "producers",
        caption: "Clients that publish to this node",
        columns,
        key: Box::new(|client: &&Client| key(client)),
        searched: Box::new(|client: &&Client| searched(client)),
        empty: html! { strong { "No publisher is connected by TCP" } span { "Publishers by HTTP are not listed." } },
    }
}

/// Who it is.
fn introduction<'a, T>(client: impl Fn(&T) -> &'a Client + Copy + 'a) -> Vec<Column<'a, T>> {
    vec![
        Column::name(
            "client",
            "Client",
            move |row| name(client(row)),
            move |row| {
                let client = client(row);
                html! {
                    div.client-cell {
                        span.wrap-anywhere { (name(client)) }
                        @if let Some(id) = distinct_id(client) { span.muted { " (" (id) ")" } }
                        div.muted.small { (client.remote_address) }
                    }
                }
            },
        ),
        Column::text(
            "agent",
            "User agent",
            move |row| client(row).user_agent.clone(),
            move |row| {
                html! {
                    @if client(row).user_agent.is_empty() { span.muted { "–" } }
                    @else { span.wrap-anywhere { (client(row).user_agent) } }
                }
            },
        ),
        Column::plain("attributes", "Attributes", move |row| {
            attributes(client(row))
        }),
    ]
}

/// What it does.
fn work<'a, T>(
    context: &'a PageContext<'_>,
    client: impl Fn(&T) -> &'a Client + Copy + 'a,
) -> Vec<Column<'a, T>> {
    let rate = move |row: &T| context.finish_rate(client(row));
    let count = |key, label, value: fn(&Client) -> i64| {
        Column::summed(key, label, move |row| value(client(row)))
    };
    vec![
        count("in-flight", "In flight", |client| client.in_flight_count),
        Column::number(
            "ready",
            "RDY",
            move |row| Some(wide(client(row).ready_count)),
            move |row| ready(client(row).ready_count),
        )
        .help("Ready count: how many messages the consumer accepts at once")
        .total_of(move |rows| {
            let ready = rows.iter().map(|row| client(row).ready_count);
            html! { (format::grouped_signed(ready.fold(0, i64::saturating_add))) }
        }),
        Column::rate("rate", "Finish rate", rate).help("Messages finished per second at present"),
        last_finish(context, move |row| client(row).last_finish_ts),
        count("finished", "Finished", |client| client.finish_count).help("Since it connected"),
        count("requeued", "Requeued", |client| client.requeue_count),
        count("messages", "Messages", |client| client.message_count)
            .help("Delivered since it connected"),
    ]
}

/// When a consumer last finished a message, in Unix seconds; 0 is not known, or never.
pub(crate) fn last_finish<'a, T>(
    context: &'a PageContext<'_>,
    at: impl Fn(&T) -> i64 + Copy + 'a,
) -> Column<'a, T> {
    Column::number(
        "last-finish",
        "Last finish",
        move |row| Some(at(row)).filter(|at| *at > 0).map(wide),
        move |row| match jiff::Timestamp::from_second(at(row)) {
            Ok(moment) if at(row) > 0 => html! { span.nowrap { (widgets::ago(context, moment)) } },
            _ => html! { span.muted title="None since it connected, or its nsqd does not report it" { "–" } },
        },
    )
    .help("When it last finished a message")
}

fn ready(count: i64) -> Markup {
    html! {
        @if count == 0 {
            span.badge.warn title="Ready count 0: not taking messages" data-state="ready-zero" {
                span aria-hidden="true" { "▲" } "0"
            }
        } @else { (format::grouped_signed(count)) }
    }
}

fn connected<'a, T>(
    context: &'a PageContext<'_>,
    client: impl Fn(&T) -> &'a Client + Copy + 'a,
) -> Column<'a, T> {
    Column::number(
        "connected",
        "Connected for",
        move |row| Some(-wide(client(row).connect_ts)),
        move |row| widgets::since(context, client(row).connect_ts),
    )
}

fn wide_length(length: usize) -> f64 {
    wide(i64::try_from(length).unwrap_or(i64::MAX))
}

fn key(client: &Client) -> String {
    format!("{}/{}", client.node, client.remote_address)
}

fn searched(client: &Client) -> String {
    let parts = [
        client.hostname.as_str(),
        &client.client_id,
        &client.remote_address,
        &client.user_agent,
        &client.node,
        &client.auth_identity,
        &client.topology_zone,
        &client.topology_region,
    ];
    parts.join(" ")
}

/// Its host; the port it comes from stands below, with its address.
pub(crate) fn name(client: &Client) -> String {
    let host = if client.hostname.is_empty() {
        &client.client_id
    } else {
        &client.hostname
    };
    if host.is_empty() {
        client.remote_address.clone()
    } else {
        host.clone()
    }
}

/// Its id where that is not merely its host's name.
fn distinct_id(client: &Client) -> Option<&str> {
    let short = client.hostname.split('.').next().unwrap_or_default();
    let id = client.client_id.as_str();
    (!id.is_empty() && id != client.hostname && id != short).then_some(id)
}

fn attributes(client: &Client) -> Markup {
    let badge = |class: &str, word: &str, title: &str| {
        html! { span class={ "badge " (class) } title=[(!title.is_empty()).then_some(title)] { (word) } }
    };
    let tls = format!(
        "{} {}{}{}",
        client.tls_version,
        client.tls_cipher_suite,
        if client.tls_negotiated_protocol.is_empty() {
            ""
        } else {
            ", protocol "
        },
        client.tls_negotiated_protocol,
    );
    let closeness = closeness(client);
    html! {
        span.badges {
            @if client.sample_rate > 0 {
                (badge("", &format!("sampled {} %", client.sample_rate), "Receives only this share of the messages"))
            }
            @if client.tls { (badge("", "TLS", &tls)) }
            @if client.deflate { (badge("", "deflate", "Compressed")) }
            @if client.snappy { (badge("", "snappy", "Compressed")) }
            @if client.authed {
                @let identity = if client.auth_identity.is_empty() { "authorized" } else { &client.auth_identity };
                @match web_url(&client.auth_identity_url) {
                    Some(url) => a.badge.info href=(url) rel="noreferrer noopener" target="_blank" title="Authorized as" { (identity) },
                    None => (badge("info", identity, "Authorized as")),
                }
            }
            @if !client.topology_region.is_empty() || !client.topology_zone.is_empty() {
                (badge("", &[client.topology_region.as_str(), &client.topology_zone].iter().filter(|s| !s.is_empty()).copied().collect::<Vec<_>>().join(" / "), "Region and zone"))
            }
            @if let Some((class, word, title)) = closeness { (badge(class, word, title)) }
        }
    }
}

/// How near it is to its node, where both say where they are.
fn closeness(client: &Client) -> Option<(&'static str, &'static str, &'static str)> {
    let (region, zone) = (&client.topology_region, &client.topology_zone);
    if region.is_empty() || **region != *client.node_topology_region {
        return None;
    }
    if !zone.is_empty() && **zone == *client.node_topology_zone {
        return Some(("good", "same zone", "In the same zone as its node"));
    }
    Some((
        "warn",
        "same region",
        "In the same region as its node, in another zone",
    ))
}
