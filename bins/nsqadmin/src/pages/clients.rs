//! The table of clients: consumers of a channel, or everybody connected to a node.

use maud::{Markup, html};

use crate::cluster::Client;

use super::figures;
use super::links::web_url;
use super::table::{Column, Table};
use super::visit::Visit;
use super::widgets;

/// Which of their sides matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Where {
    /// Consumers, with the node they are connected to.
    Channel,
    /// Publishers, with what they publish.
    Publishers,
}

pub(crate) fn table<'a>(visit: &'a Visit<'_>, place: Where, rows: &[&'a Client]) -> Table<'a, &'a Client> {
    let mut columns = vec![
        Column::name("client", "Client", |client: &&Client| name(client), |client| html! {
            span.wrap-anywhere { (name(client)) }
            @if let Some(id) = distinct_id(client) { span.muted { " (" (id) ")" } }
            div.muted.small { (client.remote_address) }
        }),
        Column::text("agent", "User agent", |client: &&Client| client.user_agent.clone(), |client| html! {
            @if client.user_agent.is_empty() { span.muted { "–" } } @else { span.wrap-anywhere { (client.user_agent) } }
        }),
        Column::plain("attributes", "Attributes", |client: &&Client| attributes(client)),
    ];
    match place {
        Where::Channel => columns.extend([
            Column::text("node", "Node", |client: &&Client| client.node.to_string(), |client| widgets::node(visit, &client.node, "")),
            Column::count("in-flight", "In flight", |client: &&Client| client.in_flight_count)
                .total(total(rows, |client| client.in_flight_count)),
            Column::number(
                "ready",
                "RDY",
                |client: &&Client| Some(super::table::wide(client.ready_count)),
                |client| html! {
                    @if client.ready_count == 0 {
                        span.badge.warn title="Ready count 0: it takes no messages now" data-state="ready-zero" {
                            span aria-hidden="true" { "▲" } "0"
                        }
                    } @else { (figures::grouped_signed(client.ready_count)) }
                },
            )
            .help("Ready count: how many messages it takes at once")
            .total(total(rows, |client| client.ready_count)),
            Column::count("finished", "Finished", |client: &&Client| client.finish_count)
                .total(total(rows, |client| client.finish_count)),
            Column::count("requeued", "Requeued", |client: &&Client| client.requeue_count)
                .total(total(rows, |client| client.requeue_count)),
            Column::count("messages", "Messages", |client: &&Client| client.message_count)
                .help("Delivered since it connected")
                .total(total(rows, |client| client.message_count)),
        ]),
        Where::Publishers => columns.push(Column::text(
            "publishes",
            "Publishes",
            |client: &&Client| client.pub_counts.first().map(|count| count.topic.clone()).unwrap_or_default(),
            |client| html! {
                @for published in &client.pub_counts {
                    div.wrap-anywhere {
                        a href=(visit.links.topic(&published.topic)) { (published.topic) } " "
                        span.muted { (published.count) }
                    }
                }
            },
        )),
    }
    columns.push(Column::number(
        "connected",
        "Connected for",
        |client: &&Client| Some(-super::table::wide(client.connect_ts)),
        |client| widgets::since(visit, client.connect_ts),
    ));
    let (id, caption) = match place {
        Where::Channel => ("clients", "Consumers of this channel"),
        Where::Publishers => ("producers", "Clients that publish to this node"),
    };
    Table {
        id,
        caption,
        columns,
        key: Box::new(|client: &&Client| format!("{}/{}", client.node, client.remote_address)),
        searched: Box::new(|client: &&Client| {
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
        }),
        empty: match place {
            Where::Channel => html! {
                strong { "No consumers" }
                span { "No client is subscribed to this channel: its messages wait." }
            },
            Where::Publishers => html! { strong { "Nobody publishes here now" } span { "Publishers by HTTP are not listed." } },
        },
    }
}

fn total(rows: &[&Client], value: fn(&Client) -> i64) -> Markup {
    let sum = rows.iter().map(|client| value(client)).fold(0, i64::saturating_add);
    html! { (figures::grouped_signed(sum)) }
}

/// Its host, and the port it comes from.
fn name(client: &Client) -> String {
    let port = client.remote_address.rsplit_once(':').map(|(_, port)| port);
    let host = if client.hostname.is_empty() { &client.client_id } else { &client.hostname };
    match port {
        Some(port) if !host.is_empty() => format!("{host}:{port}"),
        _ if host.is_empty() => client.remote_address.clone(),
        _ => host.clone(),
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
        if client.tls_negotiated_protocol.is_empty() { "" } else { ", protocol " },
        client.tls_negotiated_protocol,
    );
    let closeness = closeness(client);
    html! {
        span.badges {
            @if client.sample_rate > 0 {
                (badge("", &format!("sampled {} %", client.sample_rate), "It gets only this share of the messages"))
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
    Some(("warn", "same region", "In the same region as its node, in another zone"))
}
