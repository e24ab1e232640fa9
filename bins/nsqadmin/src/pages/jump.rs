//! Where a few letters lead: topics, channels, consumers and nodes whose names have them. The script shows the list in a
//! dialog (Ctrl-K).

use maud::{Markup, html};

use crate::snapshot::Snapshot;

use super::consumers::Process;
use super::context::PageContext;
use super::layout::{Page, Section};
use super::links::segment;

/// A place to go to.
struct Place {
    kind: &'static str,
    name: String,
    link: String,
    /// The smaller, the better it fits.
    rank: (usize, usize),
}

pub(crate) fn page(context: &PageContext<'_>, snapshot: &Snapshot, processes: &[Process]) -> Page {
    let query = wanted(context);
    let places = places(context, snapshot, processes, &query);
    let body = html! {
        header.page-head { div.titles { h1 { "Jump to" } } }
        form.filter.jump-search role="search" method="get" action="" {
            input type="search" name="q" value=(query) placeholder="Topic, channel, consumer or node" aria-label="Topic, channel, consumer or node" autofocus maxlength="200";
            button.button type="submit" { "Search" }
        }
        section.panel { (list(&places, &query)) }
    };
    let mut page = Page::new("Jump to", Section::None, body);
    page.is_live = false;
    page
}

/// What was typed.
pub(crate) fn wanted(context: &PageContext<'_>) -> String {
    let query = context.query.first("q").unwrap_or_default().trim();
    query.to_lowercase().chars().take(200).collect()
}

fn list(places: &[Place], query: &str) -> Markup {
    html! {
        ul.jump-list data-test="jump-list" data-jump {
            @for place in places {
                li { a href=(place.link) { span.jump-kind { (place.kind) } " " span.wrap-anywhere { (place.name) } } }
            }
            @if places.is_empty() && !query.is_empty() { li.muted { "No name contains “" (query) "”." } }
        }
    }
}

fn places(
    context: &PageContext<'_>,
    snapshot: &Snapshot,
    processes: &[Process],
    query: &str,
) -> Vec<Place> {
    let links = &context.links;
    let mut found = Vec::new();
    let mut offer = |kind, name: String, searched: &str, link: String| {
        let words = query.split_whitespace();
        let text = name.to_lowercase();
        if words.clone().all(|word| text.contains(word)) {
            // A name that begins with it, or is short, is probably the one that is meant.
            let at = searched.to_lowercase().find(query).unwrap_or(name.len());
            let rank = (at, name.len());
            found.push(Place {
                kind,
                name,
                link,
                rank,
            });
        }
    };
    for topic in &snapshot.overview.topics {
        let name = &*topic.topic_name;
        offer("topic", name.to_owned(), name, links.topic(name));
        for channel in &topic.channels {
            let of_channel = &*channel.channel_name;
            let whole = format!("{name} / {of_channel}");
            offer(
                "channel",
                whole,
                of_channel,
                links.channel(name, of_channel),
            );
        }
    }
    for topic in &snapshot.overview.inactive_topics {
        offer("topic", topic.clone(), topic, links.topic(topic));
    }
    let nodes = snapshot.overview.nodes.iter().map(|node| &node.address);
    for address in nodes.chain(snapshot.lost.iter().map(|node| &node.address)) {
        offer("node", address.to_string(), address, links.node(address));
    }
    for process in processes {
        let link = format!("{}?q={}", links.fixed("/consumers"), segment(&process.name));
        offer("consumer", process.name.clone(), &process.name, link);
    }
    found.sort_by(|a, b| (a.rank, &a.name, a.kind).cmp(&(b.rank, &b.name, b.kind)));
    found.dedup_by(|a, b| a.link == b.link);
    found.truncate(MOST_PLACES);
    found
}

const MOST_PLACES: usize = 30;
