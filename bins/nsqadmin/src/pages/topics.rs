//! The front page: every topic, the worst first, and their sums.

use std::collections::BTreeMap;
use std::sync::Arc;

use maud::{Markup, html};

use crate::cluster::{Channel, Topic};
use crate::history::{Key, Metric};
use crate::snapshot::Snapshot;
use crate::watch::ChannelState;

use super::chart::sparkline;
use super::context::PageContext;
use super::diagnosis::age_words;
use super::form;
use super::format::{self, Unit};
use super::happened;
use super::layout::{Page, Section};
use super::lost;
use super::notice::Tone;
use super::state::{self, Mark, Severity, Trend};
use super::table::{Column, Heading, Order, Table, View, rate_cell, wide};
use super::widgets::{self, Stat};

/// A topic with what the list shows of it.
struct Row {
    /// Summed over the nodes that respond; of a topic that only lost nodes had, as it was there.
    topic: Arc<Topic>,
    /// `None` for a topic of lost nodes alone.
    numbers: Option<Numbers>,
    messages: Option<f64>,
    finishes: Option<f64>,
    /// Milliseconds.
    oldest: Option<i64>,
    marks: Vec<Mark>,
}

#[derive(Debug, Clone, Copy)]
struct Numbers {
    waiting: i64,
    in_flight: i64,
    deferred: i64,
    consumers: i64,
}

/// Which topics are wanted: `?show=attention`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    All,
    Attention,
    Critical,
}

pub(crate) fn page(context: &PageContext<'_>, snapshot: &Snapshot) -> Page {
    let overview = &snapshot.overview;
    let all = rows(context, snapshot);
    let shown = match context.query.first("show") {
        Some("attention") => Shown::Attention,
        Some("critical") => Shown::Critical,
        _ => Shown::All,
    };
    let summary = summary(context, snapshot, &all);
    let count_of_all = all.len();
    let least = match shown {
        Shown::All => Severity::Idle,
        Shown::Attention => Severity::Warn,
        Shown::Critical => Severity::Bad,
    };
    let rows: Vec<Row> = all
        .into_iter()
        .filter(|row| state::worst(&row.marks) >= least)
        .collect();
    let view = View::main(&context.query).or_sorted_by("state", Order::Descending);
    let table = table(context);
    let title = match shown {
        Shown::All => "All topics",
        Shown::Attention => "Topics that need attention",
        Shown::Critical => "Critical topics",
    };
    let heading = Heading {
        buttons: html! {
            @if shown != Shown::All {
                a.button.tiny href=(context.links.topics()) data-test="show-all" { "Show all " (count_of_all) }
            }
        },
        ..Heading::new(title, "topics and channels", 0)
    };
    let body = html! {
        header.page-head {
            div.titles { h1 { "Topics" } }
            @if context.may_act() {
                div.actions {
                    (form::asks(&widgets::action("create", &[]), "", "Create topic…", "create-topic"))
                }
            }
        }
        (lost::panel(context, snapshot))
        (summary)
        (table.panel(&rows, &view, &heading))
        @if !overview.inactive_topics.is_empty() {
            p.muted {
                (format::counted(count(overview.inactive_topics.len()), "more topic is", "more topics are"))
                " registered with nsqlookupd but not on any node: see "
                a href=(context.links.fixed("/lookup")) { "Lookup" } "."
            }
        }
        (happened::panel(context, 15, |_| true))
    };
    let mut page = Page::new("Topics", Section::Topics, body);
    page.warnings = widgets::warnings(&overview.warnings);
    page.api = Some("/api/topics".to_owned());
    page
}

/// The topics of the nodes that respond, and those that only lost nodes had.
fn rows(context: &PageContext<'_>, snapshot: &Snapshot) -> Vec<Row> {
    let overview = &snapshot.overview;
    let known = overview.topics.iter().map(|topic| row(context, topic));
    let mut rows: Vec<Row> = known.collect();
    let mut missing: BTreeMap<Arc<str>, Vec<Arc<Topic>>> = BTreeMap::new();
    for topic in snapshot.lost.iter().flat_map(|node| &node.stats.topics) {
        if overview.topic(&topic.topic_name).is_none() {
            let parts = missing.entry(Arc::clone(&topic.topic_name)).or_default();
            parts.push(Arc::clone(topic));
        }
    }
    for (name, parts) in missing {
        let topic = Arc::new(Topic::of_many(&name, parts));
        let waiting = state::waiting(&topic);
        let why = format!(
            "Its nodes are not responding or gone. {} waiting there then.",
            state::messages(waiting)
        );
        let mut channels = topic.channels.iter();
        let severity = match waiting {
            1.. => Severity::Bad,
            _ if channels.any(|channel| channel.client_count > 0) => Severity::Warn,
            // It was idle there.
            _ => Severity::Info,
        };
        rows.push(Row {
            marks: vec![Mark::new("node-lost", severity, "node lost", why)],
            topic,
            numbers: None,
            messages: None,
            finishes: None,
            oldest: None,
        });
    }
    rows
}

fn row(context: &PageContext<'_>, topic: &Arc<Topic>) -> Row {
    let history = &context.nsqadmin.history;
    let states: Vec<Option<ChannelState>> = states(context, topic);
    let of_topic = Trend::of(history, &Key::Topic(Arc::clone(&topic.topic_name)));
    let sum = |value: fn(&Channel) -> i64| {
        topic
            .channels
            .iter()
            .map(|channel| value(channel))
            .fold(0, i64::saturating_add)
    };
    Row {
        numbers: Some(Numbers {
            waiting: state::waiting(topic),
            in_flight: sum(|channel| channel.in_flight_count),
            deferred: sum(|channel| channel.deferred_count),
            consumers: sum(|channel| channel.client_count),
        }),
        messages: of_topic.messages,
        finishes: of_topic.finishes,
        oldest: topic
            .channels
            .iter()
            .filter_map(|channel| channel.oldest_message_age)
            .max()
            .map(|nanos| nanos / 1_000_000),
        marks: state::of_topic(topic, &states),
        topic: Arc::clone(topic),
    }
}

/// The judgement on each of the topic's channels.
pub(crate) fn states(context: &PageContext<'_>, topic: &Topic) -> Vec<Option<ChannelState>> {
    let watch = &context.nsqadmin.watch;
    let channels = topic.channels.iter();
    channels
        .map(|channel| watch.channel(&topic.topic_name, &channel.channel_name))
        .collect()
}

fn summary(context: &PageContext<'_>, snapshot: &Snapshot, rows: &[Row]) -> Markup {
    let overview = &snapshot.overview;
    let total = |value: fn(&Numbers) -> i64| {
        let known = rows.iter().filter_map(|row| row.numbers.as_ref());
        known.map(value).fold(0, i64::saturating_add)
    };
    let worst = |severity| {
        rows.iter()
            .filter(|row| state::worst(&row.marks) == severity)
            .count()
    };
    let (bad, warn) = (worst(Severity::Bad), worst(Severity::Warn));
    let up = overview
        .nodes
        .iter()
        .filter(|node| node.stats.is_ok())
        .count();
    let gone = snapshot
        .lost
        .iter()
        .filter(|node| node.loss == crate::watch::Loss::Gone)
        .count();
    let (down, all) = (overview.nodes.len() - up, overview.nodes.len() + gone);
    let trend = Trend::of(&context.nsqadmin.history, &Key::Cluster);
    let spark =
        |metric, unit, name: &str| sparkline(&context.recent(&Key::Cluster, metric), unit, name);
    let tone = match (bad, warn) {
        (0, 0) => None,
        (0, _) => Some(Tone::Warn),
        _ => Some(Tone::Bad),
    };
    let attention = Stat::new(
        "attention",
        "Needs attention",
        html! { a href="?show=attention" data-test="attention" { (format::grouped(count(bad + warn))) } },
    )
    .tone(tone)
    .more(html! {
        a href="?show=critical" { (bad) " critical" } ", "
        (format::counted(count(warn), "warning", "warnings"))
    });
    let nodes = Stat::new(
        "nodes",
        "Nodes",
        html! { a href=(context.links.nodes()) { (up) } span.unit { "of " (all) } },
    )
    .tone((down + gone > 0).then_some(Tone::Bad))
    .more(match (down, gone) {
        (0, 0) => html! { "all responding" },
        (0, gone) => html! { (gone) " gone" },
        (down, 0) => html! { (down) " not responding" },
        (down, gone) => html! { (down) " not responding, " (gone) " gone" },
    });
    widgets::strip(&[
        attention,
        Stat::count("waiting", "Messages waiting", total(|row| row.waiting)).more(spark(
            Metric::Depth,
            Unit::Count,
            "messages waiting",
        )),
        Stat::count("in-flight", "In flight", total(|row| row.in_flight)).more(spark(
            Metric::InFlight,
            Unit::Count,
            "in flight",
        )),
        Stat::count("deferred", "Deferred", total(|row| row.deferred)),
        Stat::rate("in", "Published", trend.messages).more(spark(
            Metric::Messages,
            Unit::PerSecond,
            "published",
        )),
        Stat::rate("done", "Finished", trend.finishes).more(spark(
            Metric::Finishes,
            Unit::PerSecond,
            "finished",
        )),
        Stat::count("consumers", "Consumers", total(|row| row.consumers)),
        nodes,
    ])
}

fn table<'a>(context: &'a PageContext<'_>) -> Table<'a, Row> {
    let total_rate = |value: fn(&Row) -> Option<f64>| {
        move |rows: &[&Row]| {
            let known: Vec<f64> = rows.iter().filter_map(|row| value(row)).collect();
            rate_cell((!known.is_empty()).then(|| known.iter().sum()))
        }
    };
    Table {
        id: "topics",
        caption: "Topics",
        columns: vec![
            Column::name(
                "topic",
                "Topic",
                |row: &Row| row.topic.topic_name.to_string(),
                |row| {
                    html! {
                        a href=(context.links.topic(&row.topic.topic_name)) { (row.topic.topic_name) } " "
                        (widgets::lifetime(&row.topic.topic_name))
                    }
                },
            ),
            Column::ranked(
                "state",
                "State",
                |row: &Row| state::rank(&row.marks, row.waiting_for_rank()),
                |row| state::badges(&row.marks),
            )
            .help("Worst first; then by the number of waiting messages"),
            Column::known("waiting", "Waiting", |row: &Row| Some(row.numbers?.waiting))
                .help("Messages not yet delivered: at the topic and in all its channels"),
            Column::plain("trend", "Trend", |row: &Row| {
                let key = Key::Topic(Arc::clone(&row.topic.topic_name));
                let own = context.recent(&key, Metric::Depth);
                let mut both = context.recent(&key, Metric::Backlog);
                for (both, own) in both.iter_mut().zip(own) {
                    both.value = both
                        .value
                        .map(|value| value + own.value.unwrap_or_default());
                }
                sparkline(&both, Unit::Count, "waiting")
            }),
            Column::number(
                "oldest",
                "Oldest",
                |row: &Row| row.oldest.map(wide),
                |row| age_cell(row.oldest),
            )
            .help("Age of the oldest waiting message"),
            Column::known("in-flight", "In flight", |row: &Row| {
                Some(row.numbers?.in_flight)
            })
            .help("Messages consumers hold now"),
            Column::known("deferred", "Deferred", |row: &Row| {
                Some(row.numbers?.deferred)
            })
            .help("Messages with a delay that has not passed"),
            Column::rate("in", "Published", |row: &Row| row.messages)
                .total_of(total_rate(|row| row.messages)),
            Column::rate("done", "Finished", |row: &Row| row.finishes)
                .help("Over all channels: a message counts once in each")
                .total_of(total_rate(|row| row.finishes)),
            Column::count("channels", "Channels", |row: &Row| {
                wide_count(row.topic.channels.len())
            }),
            Column::known("consumers", "Consumers", |row: &Row| {
                Some(row.numbers?.consumers)
            }),
            Column::count("nodes", "Nodes", |row: &Row| {
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

/// The age of the oldest waiting message in milliseconds, or a dash.
pub(crate) fn age_cell(millis: Option<i64>) -> Markup {
    html! {
        @match millis {
            Some(millis) if millis >= 1000 => span.loud-warn[millis >= 60_000] { (format::unbroken(&age_words(millis))) },
            Some(_) => span.zero { "0 s" },
            None => span.muted { "–" },
        }
    }
}

impl Row {
    fn waiting_for_rank(&self) -> i64 {
        state::waiting(&self.topic)
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn wide_count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
