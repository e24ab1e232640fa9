//! What nsqlookupd knows and no node has; and making topics before there are nodes for them.

use std::collections::BTreeMap;

use maud::{Markup, html};

use crate::cluster::{Found, List, Overview};

use super::form;
use super::layout::{Page, Section};
use super::nodes;
use super::table::{Column, Table, View};
use super::visit::Visit;
use super::widgets;

type Orphans = BTreeMap<String, List<String>>;

pub(crate) fn page(visit: &Visit<'_>, overview: &Overview, orphans: &Found<Orphans>) -> Page {
    let body = html! {
        header.page-head {
            div.titles { h1 { "Lookup" } p.muted { "What nsqlookupd knows." } }
            @if visit.may_act() {
                div.actions {
                    (form::asks(&format!("{}{}", visit.links.topics(), widgets::action("create", &[])), "primary", "Create topic or channel…", "create-topic"))
                }
            }
        }
        @if overview.lookupds.is_empty() {
            section.panel { div.empty data-test="no-lookupd" {
                strong { "No nsqlookupd is configured" }
                span { "nsqadmin asks its nsqds directly (--nsqd-http-address), so there is nothing to look up." }
            } }
        } @else {
            (nodes::lookupds(overview))
            (orphan_panel(visit, &orphans.value))
        }
    };
    let mut page = Page::new("Lookup", Section::Lookup, body);
    page.warnings = widgets::warnings(&orphans.warnings);
    page.api = Some("/api/topics?inactive=true".to_owned());
    page
}

fn orphan_panel(visit: &Visit<'_>, orphans: &Orphans) -> Markup {
    let rows: Vec<(&String, &List<String>)> = orphans.iter().collect();
    let mut columns = vec![
        Column::name(
            "topic",
            "Topic",
            |(topic, _): &(&String, &List<String>)| (*topic).clone(),
            |(topic, _)| html! { a href=(visit.links.topic(topic)) { (topic) } " " (widgets::lifetime(topic)) },
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
                            @if visit.may_act() {
                                a.button.tiny.bare href={ (visit.links.channel(topic, channel)) (widgets::action("delete", &[])) } data-dialog
                                    role="button" data-test="delete-channel" aria-label={ "Delete channel " (channel) " of " (topic) } { "Delete…" }
                            }
                        }
                    }
                }
            },
        ),
    ];
    if visit.may_act() {
        columns.push(Column::plain("act", "", |(topic, _): &(&String, &List<String>)| html! {
            span.actions {
                a.button.tiny.danger href={ (visit.links.topic(topic)) (widgets::action("delete", &[])) } data-dialog role="button"
                    data-test="delete" aria-label={ "Delete topic " (topic) } { "Delete topic…" }
            }
        }));
    }
    let table = Table {
        id: "orphans",
        caption: "Topics that no node has",
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
        empty: html! { strong { "Nothing is left over" } span { "Every registered topic is on some node." } },
    };
    let view = View::main(&visit.query);
    html! {
        section.panel aria-labelledby="orphans-title" {
            div.panel-head {
                h2 id="orphans-title" { "Topics that no node has" span.count { (rows.len()) } }
                @if rows.len() > 8 { (table.filter(&view, "topics")) }
            }
            (table.render(&rows, &view))
        }
        p.muted.small {
            "Registered with nsqlookupd, but on no nsqd now: made ahead of its first message, or left over from nodes that are gone. \
             Consumers that look such a topic up find nobody."
        }
    }
}
