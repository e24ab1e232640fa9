//! Small parts that several pages show.

use jiff::Timestamp;
use maud::{Markup, html};

use crate::cluster::{Latency, Warnings};
use crate::history::{Key, Metric};

use super::chart::{Chart, Series};
use super::figures::{self, Unit};
use super::links::segment;
use super::notice::{Notice, Tone};
use super::state::is_ephemeral;
use super::visit::{Visit, parse_span};

/// One number with its name, in a strip of them.
pub(crate) struct Figure {
    pub(crate) id: &'static str,
    pub(crate) label: &'static str,
    pub(crate) value: Markup,
    pub(crate) more: Markup,
    pub(crate) tone: Option<Tone>,
}

impl Figure {
    pub(crate) fn new(id: &'static str, label: &'static str, value: Markup) -> Self {
        Self {
            id,
            label,
            value,
            more: html! {},
            tone: None,
        }
    }

    pub(crate) fn count(id: &'static str, label: &'static str, value: i64) -> Self {
        Self::new(id, label, html! { (figures::grouped_signed(value)) })
    }

    pub(crate) fn rate(id: &'static str, label: &'static str, value: Option<f64>) -> Self {
        let text = value.map_or_else(|| "–".to_owned(), figures::short);
        Self::new(id, label, html! { (text) span.unit { "/s" } })
    }

    pub(crate) fn more(mut self, more: Markup) -> Self {
        self.more = more;
        self
    }

    pub(crate) fn tone(mut self, tone: Option<Tone>) -> Self {
        self.tone = tone;
        self
    }
}

pub(crate) fn strip(figures: &[Figure]) -> Markup {
    html! {
        dl.figures {
            @for figure in figures {
                div.figure.is-bad[figure.tone == Some(Tone::Bad)].is-warn[figure.tone == Some(Tone::Warn)]
                    data-figure=(figure.id) {
                    dt { (figure.label) }
                    dd { (figure.value) div.more { (figure.more) } }
                }
            }
        }
    }
}

/// How far back the charts go.
pub(crate) fn span_choice(visit: &Visit<'_>) -> Markup {
    let longest = visit.nsqadmin.settings.history_retention;
    let now = visit.span();
    html! {
        nav.segmented aria-label="Time span of the charts" data-test="span" {
            @for text in ["15m", "1h", "2h", "6h", "12h", "24h", "48h", "168h"] {
                @let span = parse_span(text).unwrap_or_default();
                @if span <= longest || text == "15m" {
                    a href={ "?t=" (text) } data-soft aria-current=[(span == now).then_some("true")] { (text) }
                }
            }
        }
    }
}

/// A chart of some metrics of one key.
pub(crate) fn chart(
    visit: &Visit<'_>,
    id: &str,
    title: &str,
    unit: Unit,
    lines: &[(&str, &Key, Metric)],
) -> Markup {
    let to = visit.now.as_second();
    let from = to - i64::try_from(visit.span().as_secs()).unwrap_or(0);
    let series = lines
        .iter()
        .map(|(label, key, metric)| Series::new(*label, visit.series(key, *metric)))
        .collect();
    Chart {
        id,
        title,
        unit,
        series,
        from,
        to,
        zone: &visit.zone,
    }
    .render()
}

/// Percentiles from publish to FIN, or nothing.
pub(crate) fn latency(latency: &Latency) -> Markup {
    html! {
        @if !latency.percentiles.is_empty() {
            section.panel id="latency" aria-labelledby="latency-title" {
                div.panel-head { h2 id="latency-title" { "Time from publish to finish" }
                    span.muted { "of " (figures::grouped_signed(latency.count)) " recent messages" } }
                div.scroll tabindex="0" role="region" aria-label="Time from publish to finish" {
                    table.dense {
                        caption.visually-hidden { "Percentiles of the time from publish to finish" }
                        thead { tr {
                            th scope="col" { "Percentile" }
                            th.number scope="col" { "Mean of the nodes" }
                            th.number scope="col" { "Lowest" }
                            th.number scope="col" { "Highest" }
                        } }
                        tbody {
                            @for percentile in &latency.percentiles {
                                tr {
                                    th scope="row" { (figures::quantile(percentile.quantile)) }
                                    td.number { (figures::nanos(percentile.average)) }
                                    td.number { (figures::nanos(percentile.min)) }
                                    td.number { (figures::nanos(percentile.max)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// One line of percentiles for a table's cell.
pub(crate) fn latency_cell(latency: &Latency) -> Markup {
    html! {
        @for (index, percentile) in latency.percentiles.iter().enumerate() {
            @if index > 0 { " · " }
            span.nowrap title={ (figures::quantile(percentile.quantile)) ": lowest " (figures::nanos(percentile.min))
                ", highest " (figures::nanos(percentile.max)) } {
                span.muted { (figures::quantile(percentile.quantile)) } " " (figures::nanos(percentile.average))
            }
        }
        @if latency.percentiles.is_empty() { span.muted { "–" } }
    }
}

/// A node's address as a link to its page, with its host name where that says more.
pub(crate) fn node(visit: &Visit<'_>, address: &str, hostname: &str) -> Markup {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    html! {
        a href=(visit.links.node(address)) { (address) }
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
            span.badge.plain title="Goes away with its last consumer; nothing of it is kept on disk for long" { "ephemeral" }
        }
    }
}

/// What the answer lacks: one notice for all nodes that did not answer.
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
    let headline = "Not everybody answered: numbers on this page lack what follows.";
    vec![Notice::new(Tone::Warn, headline).with_lines(lines)]
}

/// How long ago, with the moment itself for whoever points at it.
pub(crate) fn ago(visit: &Visit<'_>, at: Timestamp) -> Markup {
    let seconds = visit.now.as_second().saturating_sub(at.as_second());
    let text = match u64::try_from(seconds) {
        Ok(seconds) => format!("{} ago", figures::span(seconds)),
        Err(_) => format!("in {}", figures::span(seconds.unsigned_abs())),
    };
    html! { time datetime=(at) title=(figures::moment(at, &visit.zone)) { (text) } }
}

/// `12 + 3`: what is in memory, and what is on disk.
pub(crate) fn memory_and_disk(memory: i64, disk: i64) -> Markup {
    html! { span.zero[memory == 0 && disk == 0] { (figures::grouped_signed(memory)) " + " (figures::grouped_signed(disk)) } }
}

/// How long since, without "ago".
pub(crate) fn since(visit: &Visit<'_>, unix_seconds: i64) -> Markup {
    let seconds = visit.now.as_second().saturating_sub(unix_seconds);
    match (Timestamp::from_second(unix_seconds), u64::try_from(seconds)) {
        (Ok(at), Ok(seconds)) if unix_seconds > 0 => html! {
            time.nowrap datetime=(at) title={ "since " (figures::moment(at, &visit.zone)) } { (figures::span(seconds)) }
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
