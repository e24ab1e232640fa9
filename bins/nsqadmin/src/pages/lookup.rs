//! Topics without a node, and creating topics before there are nodes for them.

use std::collections::BTreeMap;

use maud::{Markup, html};

use crate::cluster::{Found, List};
use crate::snapshot::Snapshot;

use super::context::PageContext;
use super::form;
use super::layout::{Page, Section};
use super::nodes;
use super::table::{Column, Heading, Table, View};
use super::widgets;

type Orphans = BTreeMap<String, List<String>>;

pub(crate) fn page(
    context: &PageContext<'_>,
    snapshot: &Snapshot,
    orphans: Option<&Found<Orphans>>,
) -> Page {
    let overview = &*snapshot.overview;
    let body = html! {
        header.page-head {
            div.titles { h1 { "Lookup" } p.muted { "Topics and nodes that are registered with nsqlookupd." } }
            @if context.may_act() {
                div.actions {
                    (form::asks(&format!("{}{}", context.links.topics(), widgets::action("create", &[])), "primary", "Create topic or channel…", "create-topic"))
                }
            }
        }
        @if overview.lookupds.is_empty() {
            section.panel { div.empty data-test="no-lookupd" {
                strong { "No nsqlookupd is configured" }
                span { "nsqadmin queries the nsqds directly (--nsqd-http-address), so there is nothing to look up." }
            } }
        } @else {
            (nodes::lookupds(overview))
            @match orphans {
                Some(orphans) => (orphan_panel(context, snapshot, &orphans.value)),
                None => section.panel { div.empty data-test="no-registrations" {
                    strong { "nsqlookupd is not responding" }
                    span { "The topics without a node are not known until it responds." }
                } },
            }
        }
    };
    let mut page = Page::new("Lookup", Section::Lookup, body);
    page.warnings =
        widgets::warnings(orphans.map_or(&overview.warnings, |orphans| &orphans.warnings));
    page.api = Some("/api/topics?inactive=true".to_owned());
    page
}

fn orphan_panel(context: &PageContext<'_>, snapshot: &Snapshot, orphans: &Orphans) -> Markup {
    // A topic that was last seen on a lost node is not left over: its messages may be back with the node.
    let rows: Vec<(&String, &List<String>)> = orphans
        .iter()
        .filter(|(topic, _)| snapshot.lost_with(topic).next().is_none())
        .collect();
    let mut columns = vec![
        Column::name(
            "topic",
            "Topic",
            |(topic, _): &(&String, &List<String>)| (*topic).clone(),
            |(topic, _)| html! { a href=(context.links.topic(topic)) { (topic) } " " (widgets::lifetime(topic)) },
        ),
        Column::plain(
            "channels",
            "Channels",
            |(topic, channels): &(&String, &List<String>)| {
                html! {
                    @if channels.is_empty() { span.muted { "none" } }
                    @for channel in *channels {
                        div.title-line data-channel=(channel) {
                            span.wrap-anywhere { (channel) } (widgets::lifetime(channel))
                            @if context.may_act() {
                                a.button.tiny.bare href={ (context.links.channel(topic, channel)) (widgets::action("delete", &[])) } data-dialog
                                    role="button" data-test="delete-channel" aria-label={ "Delete channel " (channel) " of " (topic) } { "Delete…" }
                            }
                        }
                    }
                }
            },
        ),
    ];
    if context.may_act() {
        columns.push(Column::plain("act", "Actions", |(topic, _): &(&String, &List<String>)| html! {
            span.actions {
                a.button.tiny.danger href={ (context.links.topic(topic)) (widgets::action("delete", &[])) } data-dialog role="button"
                    data-test="delete" aria-label={ "Delete topic " (topic) } { "Delete topic…" }
            }
        }));
    }
    let table = Table {
        id: "orphans",
        caption: "Topics without a node",
        columns,
        key: Box::new(|(topic, _): &(&String, &List<String>)| (*topic).clone()),
        searched: Box::new(|(topic, channels)| {
            let mut text = (*topic).clone();
            for channel in *channels {
                text.push(' ');
                text.push_str(channel);
            }
            text
        }),
        empty: html! { strong { "No leftover topics" } span { "Every registered topic is on a node." } },
    };
    let view = View::main(&context.query);
    html! {
        (table.panel(&rows, &view, &Heading::new("Topics without a node", "topics", 9)))
        p.muted.small {
            "These topics are registered with nsqlookupd, but no nsqd has them: they were created before their first message, or \
             are left over from nodes that are gone. Consumers that look up such a topic find no nsqd."
        }
    }
}
