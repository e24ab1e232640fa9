//! Small parts that several pages show.

use std::sync::Arc;

use jiff::Timestamp;
use maud::{Markup, html};

use crate::cluster::{Latency, Percentile, Warnings};
use crate::history::{Key, Metric};

use super::chart::{Chart, Series};
use super::context::{PageContext, parse_span};
use super::format::{self, Unit};
use super::links::segment;
use super::notice::{Notice, Tone};
use super::state::is_ephemeral;
use super::table::wide;

/// One number with its name, in a strip of them.
pub(crate) struct Stat {
    pub(crate) id: &'static str,
    pub(crate) label: &'static str,
    pub(crate) value: Markup,
    pub(crate) more: Markup,
    pub(crate) tone: Option<Tone>,
    /// What the number says when pointed at.
    pub(crate) help: &'static str,
}

impl Stat {
    pub(crate) fn new(id: &'static str, label: &'static str, value: Markup) -> Self {
        Self {
            id,
            label,
            value,
            more: html! {},
            tone: None,
            help: "",
        }
    }

    pub(crate) fn count(id: &'static str, label: &'static str, value: i64) -> Self {
        Self::new(id, label, html! { (format::grouped_signed(value)) })
    }

    pub(crate) fn rate(id: &'static str, label: &'static str, value: Option<f64>) -> Self {
        let text = value.map_or_else(|| "–".to_owned(), format::short);
        Self::new(id, label, html! { (text) span.unit { "/s" } })
    }

    pub(crate) fn more(mut self, more: Markup) -> Self {
        self.more = more;
        self
    }

    pub(crate) fn help(mut self, help: &'static str) -> Self {
        self.help = help;
        self
    }

    pub(crate) fn tone(mut self, tone: Option<Tone>) -> Self {
        self.tone = tone;
        self
    }
}

pub(crate) fn strip(stats: &[Stat]) -> Markup {
    html! {
        dl.stats {
            @for stat in stats {
                div.stat.is-bad[stat.tone == Some(Tone::Bad)].is-warn[stat.tone == Some(Tone::Warn)]
                    data-stat=(stat.id) title=[(!stat.help.is_empty()).then_some(stat.help)] {
                    dt { (stat.label) }
                    dd { (stat.value) div.more { (stat.more) } }
                }
            }
        }
    }
}

/// How far back the charts go.
fn span_choice(context: &PageContext<'_>) -> Markup {
    let longest = context.nsqadmin.settings.history_retention;
    let now = context.span();
    let is_chosen = context.chosen_window().is_some();
    html! {
        @if is_chosen { a.button.tiny href="?" data-soft data-test="whole-span" { "Whole time span" } }
        nav.segmented aria-label="Time span of the charts" data-test="span" {
            @for text in ["15m", "1h", "2h", "6h", "12h", "24h", "48h", "168h"] {
                @let span = parse_span(text).unwrap_or_default();
                @if span <= longest || text == "15m" {
                    a href={ "?t=" (text) } data-soft data-span=(text) aria-current=[(span == now && !is_chosen).then_some("true")] { (text) }
                }
            }
        }
    }
}

/// The section of a page's charts, with the choice of their time span.
pub(crate) fn charts(context: &PageContext<'_>, charts: &Markup) -> Markup {
    html! {
        section.charts aria-labelledby="charts-title" {
            div.title-line { h2 id="charts-title" { "History" } (span_choice(context)) }
            (charts)
        }
    }
}

/// The chart of what happens to messages each second. `arrivals` is the word for new messages: a topic's are
/// published, a channel receives them.
pub(crate) fn rates_chart(context: &PageContext<'_>, key: &Key, arrivals: &str) -> Markup {
    let lines = [
        (arrivals, key, Metric::Messages),
        ("finished", key, Metric::Finishes),
        ("requeued", key, Metric::Requeues),
        ("timed out", key, Metric::Timeouts),
    ];
    chart(context, "rates", "Message rate", Unit::PerSecond, &lines)
}

/// The chart of consumers over time.
pub(crate) fn consumers_chart(context: &PageContext<'_>, key: &Key) -> Markup {
    let line = ("consumers", key, Metric::Clients);
    chart(context, "clients", "Consumers", Unit::Count, &[line])
}

/// The chart of a channel's, node's or cluster's messages by where they are, with more `lines`.
pub(crate) fn messages_chart(
    context: &PageContext<'_>,
    key: &Key,
    more: &[(&str, &Key, Metric)],
) -> Markup {
    let mut lines = vec![
        ("waiting", key, Metric::Depth),
        ("in flight", key, Metric::InFlight),
        ("deferred", key, Metric::Deferred),
    ];
    lines.extend_from_slice(more);
    chart(context, "waiting", "Messages", Unit::Count, &lines)
}

/// The chart of what waits on each node, or nothing for a single node. `nodes` begins with those where most waits.
pub(crate) fn nodes_chart(
    context: &PageContext<'_>,
    metric: Metric,
    nodes: &[(Arc<str>, Key)],
) -> Markup {
    if nodes.len() < 2 {
        return html! {};
    }
    let lines: Vec<(&str, &Key, Metric)> = nodes
        .iter()
        .take(MOST_NODE_LINES)
        .map(|(node, key)| (&**node, key, metric))
        .collect();
    let title = if nodes.len() > lines.len() {
        format!(
            "Waiting by node, the {} with most of {}",
            lines.len(),
            nodes.len()
        )
    } else {
        "Waiting by node".to_owned()
    };
    chart(context, "nodes", &title, Unit::Count, &lines)
}

/// Bars of what waits on each of several nodes; the longest is the node where most waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WaitingBars {
    sum: i64,
    largest: i64,
}

/// Bars of these numbers.
pub(crate) fn waiting_bars(counts: impl Iterator<Item = i64>) -> WaitingBars {
    counts.fold(WaitingBars { sum: 0, largest: 0 }, |bars, count| {
        WaitingBars {
            sum: bars.sum.saturating_add(count.max(0)),
            largest: bars.largest.max(count),
        }
    })
}

impl WaitingBars {
    /// The bar of one node, and its share of the sum in words.
    pub(crate) fn of(self, count: i64) -> Markup {
        if self.sum <= 0 {
            return html! { span.zero { "–" } };
        }
        let share = format!("{:.0} %", wide(count.max(0)) / wide(self.sum) * 100.0);
        let length = wide(count.max(0)) / wide(self.largest.max(1)) * 100.0;
        html! {
            span.nowrap {
                svg.share-bar width="80" height="10" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" {
                    rect.bar-ground x="0" y="0" width="100" height="10" {}
                    rect.bar-load x="0" y="0" width=(format!("{length:.1}")) height="10" {}
                }
                " " (share)
            }
        }
    }
}

/// A chart of some metrics of one key.
pub(crate) fn chart(
    context: &PageContext<'_>,
    id: &str,
    title: &str,
    unit: Unit,
    lines: &[(&str, &Key, Metric)],
) -> Markup {
    let (from, to) = context.window();
    let series: Vec<Series> = lines
        .iter()
        .map(|(label, key, metric)| Series::new(*label, context.series(key, *metric)))
        .collect();
    // A chart begins where its history begins, but for some minutes of room.
    let known = series.iter().flat_map(|series| &series.points);
    let first = known
        .filter(|point| point.value.is_some())
        .map(|point| point.at)
        .min();
    let from = match first {
        Some(first) if context.chosen_window().is_none() => {
            from.max(first.min(to.saturating_sub(SHORTEST_CHART)))
        }
        _ => from,
    };
    Chart {
        id,
        title,
        unit,
        series,
        from,
        to,
        zone: &context.zone,
        moments: context.moments.get().map_or(&[], Vec::as_slice),
    }
    .render()
}

/// Percentiles from publish to FIN, or nothing.
pub(crate) fn latency(latency: &Latency) -> Markup {
    html! {
        @if latency.count > 0 && !latency.percentiles.is_empty() {
            section.panel id="latency" aria-labelledby="latency-title" {
                div.panel-head { h2 id="latency-title" { "End-to-end latency" }
                    span.muted { "of " (format::grouped_signed(latency.count)) " recent messages" } }
                div.scroll tabindex="0" role="region" aria-label="Percentiles of the end-to-end latency" {
                    table.dense {
                        caption.visually-hidden { "Percentiles of the end-to-end latency, from publish to finish" }
                        thead { tr {
                            th scope="col" { "Percentile" }
                            th.number scope="col" { "Mean of the nodes" }
                            th.number scope="col" { "Lowest" }
                            th.number scope="col" { "Highest" }
                        } }
                        tbody {
                            @for percentile in &latency.percentiles {
                                tr {
                                    th scope="row" { (format::quantile(percentile.quantile)) }
                                    td.number { (format::nanos(percentile.average)) }
                                    td.number { (format::nanos(percentile.min)) }
                                    td.number { (format::nanos(percentile.max)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The heading of a column of [`latency_cell`]s.
pub(crate) fn latency_label(latency: &Latency) -> &'static str {
    match main_percentile(latency) {
        Some(percentile) if is_p99(percentile) => "Latency, p99",
        _ => "Latency",
    }
}

/// The 99th percentile, or the highest there is, for a table's cell; the others in a tooltip. Before the first finished
/// message all percentiles are 0 and mean nothing.
pub(crate) fn latency_cell(latency: &Latency) -> Markup {
    let all = latency.percentiles.iter().map(|percentile| {
        format!(
            "{}: {} (lowest {}, highest {})",
            format::quantile(percentile.quantile),
            format::nanos(percentile.average),
            format::nanos(percentile.min),
            format::nanos(percentile.max),
        )
    });
    html! {
        @match main_percentile(latency).filter(|_| latency.count > 0) {
            Some(percentile) => span.nowrap title=(all.collect::<Vec<_>>().join("\n")) { (format::nanos(percentile.average)) },
            None => span.muted { "–" },
        }
    }
}

fn main_percentile(latency: &Latency) -> Option<&Percentile> {
    let percentiles = &latency.percentiles;
    let p99 = percentiles.iter().find(|percentile| is_p99(percentile));
    let highest = || {
        percentiles
            .iter()
            .max_by(|a, b| a.quantile.total_cmp(&b.quantile))
    };
    p99.or_else(highest)
}

fn is_p99(percentile: &Percentile) -> bool {
    (percentile.quantile - 0.99).abs() < 1e-9
}

/// A node's address as a link to its page, with its host name where that says more.
pub(crate) fn node(context: &PageContext<'_>, address: &str, hostname: &str) -> Markup {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    html! {
        a href=(context.links.node(address)) { (address) }
        @if !hostname.is_empty() && hostname != host { div.muted.small { (hostname) } }
    }
}

/// A button that puts `text` on the clipboard.
pub(crate) fn copy(text: &str, label: &str) -> Markup {
    html! { button.button.tiny.bare.js-only type="button" data-copy=(text) { (label) } }
}

/// What kind of name it is, where that matters.
pub(crate) fn lifetime(name: &str) -> Markup {
    html! {
        @if is_ephemeral(name) {
            span.badge.plain title="Deleted when its last consumer disconnects; not kept on disk" { "ephemeral" }
        }
    }
}

/// One notice for all daemons that did not answer.
pub(crate) fn warnings(warnings: &Warnings) -> Vec<Notice> {
    let mut lines: Vec<String> = warnings
        .iter()
        .map(|failure| format!("{} {}: {}", failure.kind, failure.address, failure.cause))
        .collect();
    lines.sort();
    lines.dedup();
    if lines.is_empty() {
        return Vec::new();
    }
    let headline = "Some nodes did not respond. Their numbers are missing.";
    vec![Notice::new(Tone::Warn, headline).with_lines(lines)]
}

/// How long ago, with the moment itself in a tooltip.
pub(crate) fn ago(context: &PageContext<'_>, at: Timestamp) -> Markup {
    let seconds = context.now.as_second().saturating_sub(at.as_second());
    let text = match u64::try_from(seconds) {
        Ok(seconds) => format!("{} ago", format::span(seconds)),
        Err(_) => format!("in {}", format::span(seconds.unsigned_abs())),
    };
    html! { time datetime=(at) title=(format::moment(at, &context.zone)) { (text) } }
}

/// `12 + 3`: what is in memory, and what is on disk.
pub(crate) fn memory_and_disk(memory: i64, disk: i64) -> Markup {
    html! { span.zero[memory == 0 && disk == 0] { (format::grouped_signed(memory)) " + " (format::grouped_signed(disk)) } }
}

/// How long since, without "ago".
pub(crate) fn since(context: &PageContext<'_>, unix_seconds: i64) -> Markup {
    let seconds = context.now.as_second().saturating_sub(unix_seconds);
    match (Timestamp::from_second(unix_seconds), u64::try_from(seconds)) {
        (Ok(at), Ok(seconds)) if unix_seconds > 0 => html! {
            time.nowrap datetime=(at) title={ "since " (format::moment(at, &context.zone)) } { (format::span(seconds)) }
        },
        _ => html! { span.muted { "–" } },
    }
}

/// A moment in Unix nanoseconds.
pub(crate) fn at_nanos(nanos: i64) -> Option<Timestamp> {
    Timestamp::from_nanosecond(i128::from(nanos))
        .ok()
        .filter(|_| nanos > 0)
}

/// `?action=pause` and whatever else names it.
pub(crate) fn action(action: &str, more: &[(&str, &str)]) -> String {
    more.iter()
        .fold(format!("?action={action}"), |link, (name, value)| {
            format!("{link}&{name}={}", segment(value))
        })
}

/// As many as a chart has colours.
const MOST_NODE_LINES: usize = 6;
/// Seconds.
const SHORTEST_CHART: i64 = 120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_without_any_message_are_not_shown() {
        let mut latency = Latency::default();
        latency.percentiles.push(Percentile {
            quantile: 0.99,
            ..Percentile::default()
        });
        let shown = |latency: &Latency| latency_cell(latency).into_string();
        assert_eq!(shown(&latency), r#"<span class="muted">–</span>"#);
        latency.count = 1;
        assert!(shown(&latency).contains("99 %"), "{}", shown(&latency));
        assert_eq!(latency_label(&latency), "Latency, p99");
    }
}
