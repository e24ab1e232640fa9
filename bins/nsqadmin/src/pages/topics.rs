//! The front page: every topic, the worst first, and what they come to together.

use std::sync::Arc;

use maud::{Markup, html};

use crate::cluster::{Overview, Topic};
use crate::history::{Key, Metric};

use super::chart::sparkline;
use super::figures::{self, Unit};
use super::form;
use super::layout::{Page, Section};
use super::notice::Tone;
use super::state::{self, Course, Mark, Severity};
use super::table::{Column, Order, Table, View, rate_cell};
use super::visit::Visit;
use super::widgets::{self, Figure};

/// A topic with what the list shows of it.
struct Row<'a> {
    topic: &'a Arc<Topic>,
    waiting: i64,
    in_flight: i64,
    deferred: i64,
    consumers: i64,
    messages: Option<f64>,
    finishes: Option<f64>,
    marks: Vec<Mark>,
}

pub(crate) fn page(visit: &Visit<'_>, overview: &Overview) -> Page {
    let rows: Vec<Row<'_>> = overview
        .topics
        .iter()
        .map(|topic| row(visit, topic))
        .collect();
    let view = View::main(&visit.query).or_sorted_by("state", Order::Descending);
    let table = table(visit, &rows);
    let body = html! {
        header.page-head {
            div.titles { h1 { "Topics" } }
            @if visit.may_act() {
                div.actions {
                    (form::asks(&widgets::action("create", &[]), "", "Create topic…", "create-topic"))
                }
            }
        }
        (summary(visit, overview, &rows))
        section.panel aria-labelledby="topics-title" {
            div.panel-head {
                h2 id="topics-title" { "All topics" span.count { (figures::grouped(count(rows.len()))) } }
                (table.filter(&view, "topics and channels"))
            }
            (table.render(&rows, &view))
        }
        @if !overview.inactive_topics.is_empty() {
            p.muted {
                (figures::counted(count(overview.inactive_topics.len()), "more topic is", "more topics are"))
                " registered with nsqlookupd, but on no node: see "
                a href=(visit.links.fixed("/lookup")) { "Lookup" } "."
            }
        }
    };
    let mut page = Page::new("Topics", Section::Topics, body);
    page.warnings = widgets::warnings(&overview.warnings);
    page.api = Some("/api/topics".to_owned());
    page
}

fn row<'a>(visit: &Visit<'_>, topic: &'a Arc<Topic>) -> Row<'a> {
    let history = &visit.nsqadmin.history;
    let courses: Vec<Course> = topic
        .channels
        .iter()
        .map(|channel| {
            let key = Key::Channel(
                Arc::clone(&topic.topic_name),
                Arc::clone(&channel.channel_name),
            );
            Course::of(history, &key)
        })
        .collect();
    let of_topic = Course::of(history, &Key::Topic(Arc::clone(&topic.topic_name)));
    let sum = |value: fn(&crate::cluster::Channel) -> i64| {
        topic
            .channels
            .iter()
            .map(|channel| value(channel))
            .fold(0, i64::saturating_add)
    };
    Row {
        topic,
        waiting: state::waiting(topic),
        in_flight: sum(|channel| channel.in_flight_count),
        deferred: sum(|channel| channel.deferred_count),
        consumers: sum(|channel| channel.client_count),
        messages: of_topic.messages,
        finishes: of_topic.finishes,
        marks: state::of_topic(topic, &courses),
    }
}

fn summary(visit: &Visit<'_>, overview: &Overview, rows: &[Row<'_>]) -> Markup {
    let total = |value: fn(&Row<'_>) -> i64| rows.iter().map(value).fold(0, i64::saturating_add);
    let worst = |severity| {
        rows.iter()
            .filter(|row| row.marks.first().is_some_and(|m| m.severity == severity))
            .count()
    };
    let (bad, warn) = (worst(Severity::Bad), worst(Severity::Warn));
    let nodes_up = overview
        .nodes
        .iter()
        .filter(|node| node.stats.is_ok())
        .count();
    let nodes_down = overview.nodes.len() - nodes_up;
    let course = Course::of(&visit.nsqadmin.history, &Key::Cluster);
    let spark =
        |metric, unit, name: &str| sparkline(&visit.recent(&Key::Cluster, metric), unit, name);
    let tone = match (bad, warn) {
        (0, 0) => None,
        (0, _) => Some(Tone::Warn),
        _ => Some(Tone::Bad),
    };
    let attention = Figure::count("attention", "Need attention", wide_count(bad + warn))
        .tone(tone)
        .more(html! { (bad) " bad, " (warn) " to watch" });
    let nodes = Figure::new(
        "nodes",
        "Nodes",
        html! { (nodes_up) span.unit { "of " (overview.nodes.len()) } },
    )
    .tone((nodes_down > 0).then_some(Tone::Bad))
    .more(html! { @if nodes_down > 0 { (nodes_down) " not answering" } @else { "all answer" } });
    widgets::strip(&[
        attention,
        Figure::count("waiting", "Messages waiting", total(|row| row.waiting)).more(spark(
            Metric::Depth,
            Unit::Count,
            "messages waiting",
        )),
        Figure::count("in-flight", "In flight", total(|row| row.in_flight)).more(spark(
            Metric::InFlight,
            Unit::Count,
            "in flight",
        )),
        Figure::count("deferred", "Deferred", total(|row| row.deferred)),
        Figure::rate("in", "Published", course.messages).more(spark(
            Metric::Messages,
            Unit::PerSecond,
            "published",
        )),
        Figure::rate("done", "Finished", course.finishes).more(spark(
            Metric::Finishes,
            Unit::PerSecond,
            "finished",
        )),
        Figure::count("consumers", "Consumers", total(|row| row.consumers)),
        nodes,
    ])
}

fn table<'a>(visit: &'a Visit<'_>, rows: &[Row<'a>]) -> Table<'a, Row<'a>> {
    let total = |value: fn(&Row<'_>) -> i64| {
        let sum = rows.iter().map(value).fold(0, i64::saturating_add);
        html! { (figures::grouped_signed(sum)) }
    };
    let total_rate = |value: fn(&Row<'_>) -> Option<f64>| {
        let known: Vec<f64> = rows.iter().filter_map(value).collect();
        rate_cell((!known.is_empty()).then(|| known.iter().sum()))
    };
    Table {
        id: "topics",
        caption: "Topics",
        columns: vec![
            Column::name(
                "topic",
                "Topic",
                |row: &Row<'_>| row.topic.topic_name.to_string(),
                |row| {
                    html! {
                        a href=(visit.links.topic(&row.topic.topic_name)) { (row.topic.topic_name) } " "
                        (widgets::lifetime(&row.topic.topic_name))
                    }
                },
            ),
            Column::ranked(
                "state",
                "State",
                |row: &Row<'_>| state::rank(&row.marks, row.waiting),
                |row| state::badges(&row.marks),
            )
            .help("Worst first: what is wrong, then how much waits"),
            Column::count("waiting", "Waiting", |row: &Row<'_>| row.waiting)
                .help("Messages nobody has yet: at the topic and in all its channels")
                .total(total(|row| row.waiting)),
            Column::plain("course", "Course", |row: &Row<'_>| {
                let key = Key::Topic(Arc::clone(&row.topic.topic_name));
                let own = visit.recent(&key, Metric::Depth);
                let mut both = visit.recent(&key, Metric::Backlog);
                for (both, own) in both.iter_mut().zip(own) {
                    both.value = both
                        .value
                        .map(|value| value + own.value.unwrap_or_default());
                }
                sparkline(&both, Unit::Count, "waiting")
            }),
            Column::count("in-flight", "In flight", |row: &Row<'_>| row.in_flight)
                .help("Messages consumers hold now")
                .total(total(|row| row.in_flight)),
            Column::count("deferred", "Deferred", |row: &Row<'_>| row.deferred)
                .help("Messages held back for later")
                .total(total(|row| row.deferred)),
            Column::rate("in", "Published", |row: &Row<'_>| row.messages)
                .total(total_rate(|row| row.messages)),
            Column::rate("done", "Finished", |row: &Row<'_>| row.finishes)
                .help("Over all channels: a message counts once in each")
                .total(total_rate(|row| row.finishes)),
            Column::count("channels", "Channels", |row: &Row<'_>| {
                wide_count(row.topic.channels.len())
            }),
            Column::count("consumers", "Consumers", |row: &Row<'_>| row.consumers)
                .total(total(|row| row.consumers)),
            Column::count("nodes", "Nodes", |row: &Row<'_>| {
                wide_count(row.topic.nodes.len())
            }),
        ],
        key: Box::new(|row| row.topic.topic_name.to_string()),
        searched: Box::new(|row| {
            let mut text = row.topic.topic_name.to_string();
            for channel in &row.topic.channels {
                text.push(' ');
                text.push_str(&channel.channel_name);
            }
            for mark in &row.marks {
                text.push(' ');
                text.push_str(&mark.word);
            }
            text
        }),
        empty: html! {
            strong { "No topics yet" }
            span { "A topic appears with the first message published to it." }
        },
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn wide_count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
