//! A full chart: axes with units, several series, gaps, a legend, and its values for the hover read-out.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::axis::{ValueAxis, ratio, time_ticks};
use super::{Point, area, clean, path, tenth, thinned};
use crate::pages::format::Unit;

/// One line of a chart. The style sheet gives the n-th its colour and its dashes.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) label: String,
    pub(crate) points: Vec<Point>,
}

impl Series {
    pub(crate) fn new(label: impl Into<String>, points: Vec<Point>) -> Self {
        Self {
            label: label.into(),
            points,
        }
    }
}

/// Something that happened, as a mark across the chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Unix seconds.
    pub(crate) at: i64,
    /// `bad`, `warn`, `good` or `info`.
    pub(crate) class: &'static str,
    pub(crate) text: String,
}

/// What to draw. `from` and `to` are Unix seconds; points outside are left out.
#[derive(Debug)]
pub(crate) struct Chart<'a> {
    /// For ids and tests: letters and hyphens.
    pub(crate) id: &'a str,
    pub(crate) title: &'a str,
    pub(crate) unit: Unit,
    pub(crate) series: Vec<Series>,
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) zone: &'a TimeZone,
    /// What happened meanwhile.
    pub(crate) moments: &'a [Moment],
}

impl Chart<'_> {
    /// The chart with its heading and its legend.
    pub(crate) fn render(&self) -> Markup {
        let series: Vec<(&str, Vec<Point>)> = self
            .series
            .iter()
            .map(|series| {
                let inside: Vec<Point> = series
                    .points
                    .iter()
                    .filter(|point| (self.from..=self.to).contains(&point.at))
                    .copied()
                    .collect();
                (series.label.as_str(), thinned(&clean(&inside), MOST_POINTS))
            })
            .collect();
        let measured = || {
            series
                .iter()
                .flat_map(|(_, points)| points)
                .filter_map(|point| point.value)
        };
        let axis = ValueAxis::holding(measured().fold(0.0, f64::max), self.unit);
        let is_empty = measured().next().is_none();
        html! {
            figure.chart id={ "chart-" (self.id) } data-chart=(self.id) {
                figcaption.chart-head {
                    span.chart-title { (self.title) }
                    ul.legend {
                        @for (index, (label, points)) in series.iter().enumerate() {
                            li data-series=(index) {
                                svg.swatch width="18" height="10" aria-hidden="true" {
                                    line class={ "s" (index % COLOURS) } x1="1" y1="5" x2="17" y2="5" {}
                                }
                                span.legend-name { (label) } " "
                                span.legend-value { (latest(points).map_or_else(|| "–".to_owned(), |v| self.unit.short(v))) }
                            }
                        }
                    }
                }
                @if is_empty {
                    p.chart-empty { "No measurements in this time span yet." }
                } @else {
                    (self.plot(&series, axis))
                }
            }
        }
    }

    fn plot(&self, series: &[(&str, Vec<Point>)], axis: ValueAxis) -> Markup {
        let length = self.to - self.from;
        let single = series.len() == 1;
        html! {
            div.chart-body {
                div.chart-y aria-hidden="true" {
                    @for value in axis.ticks_downwards() { span { (self.unit.short(value)) } }
                }
                svg.chart-svg role="img" tabindex="0" aria-label=(self.sentence(series)) width="100%" height=(HEIGHT + LABELS)
                    data-from=(self.from) data-to=(self.to) data-top=(axis.top()) data-unit=(unit_name(self.unit)) data-offset=(self.offset_seconds()) {
                    @for step in 0..=axis.steps {
                        @let y = tenth(HEIGHT * ratio(i64::from(step), i64::from(axis.steps)));
                        line.grid.base[step == axis.steps] x1="0" x2="100%" y1=(y) y2=(y) {}
                    }
                    svg.plot viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } width="100%" height=(HEIGHT)
                        preserveAspectRatio="none" aria-hidden="true" {
                        @for (index, (label, points)) in series.iter().enumerate() {
                            @let placed = self.placed(points, axis);
                            @if single {
                                path class={ "area f" (index % COLOURS) } d=(area(&placed, HEIGHT)) {}
                            }
                            path class={ "line s" (index % COLOURS) } d=(path(&placed)) data-series=(index)
                                data-label=(label) data-points=(read_out(points)) {}
                        }
                    }
                    @for tick in time_ticks(self.from, self.to, self.zone) {
                        @let x = format!("{}%", tenth(tick.across * 100.0));
                        line.tick x1=(x) x2=(x) y1=(HEIGHT) y2=(HEIGHT + 4.0) {}
                        @if tick.across > 0.03 && tick.across < 0.97 {
                            text.chart-x x=(x) y=(HEIGHT + 15.0) text-anchor="middle" aria-hidden="true" { (tick.label) }
                        }
                    }
                    @for moment in self.moments.iter().filter(|moment| length > 0 && (self.from..=self.to).contains(&moment.at)) {
                        @let x = format!("{}%", tenth(ratio(moment.at - self.from, length) * 100.0));
                        g.moment.(moment.class) data-at=(moment.at) data-text=(moment.text) {
                            title { (moment.text) }
                            line x1=(x) x2=(x) y1="0" y2=(HEIGHT) {}
                            circle cx=(x) cy="0" r="3.5" {}
                        }
                    }
                    @if length > 0 { line.hover-line.hidden x1="0" x2="0" y1="0" y2=(HEIGHT) {} }
                }
            }
        }
    }

    fn placed(&self, points: &[Point], axis: ValueAxis) -> Vec<(f64, Option<f64>)> {
        let length = self.to - self.from;
        points
            .iter()
            .map(|point| {
                let x = WIDTH * ratio(point.at - self.from, length);
                (x, point.value.map(|value| HEIGHT * axis.below_top(value)))
            })
            .collect()
    }

    /// From UTC to the time that the axis shows, for the script's read-out.
    fn offset_seconds(&self) -> i32 {
        Timestamp::from_second(self.to).map_or(0, |at| self.zone.to_offset(at).seconds())
    }

    /// The chart in words, for screen readers.
    fn sentence(&self, series: &[(&str, Vec<Point>)]) -> String {
        let mut out = format!("{}.", self.title);
        for (label, points) in series {
            let values: Vec<f64> = points.iter().filter_map(|point| point.value).collect();
            let Some(now) = values.last() else {
                continue;
            };
            let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
            let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let [now, lowest, highest] =
                [*now, lowest, highest].map(|value| self.unit.short(value));
            out = format!("{out} {label}: now {now}, lowest {lowest}, highest {highest}.");
        }
        out
    }
}

fn latest(points: &[Point]) -> Option<f64> {
    points.iter().rev().find_map(|point| point.value)
}

/// `seconds:value` pairs for the script's read-out, gaps without a value.
fn read_out(points: &[Point]) -> String {
    points
        .iter()
        .map(|point| match point.value {
            Some(value) => format!("{}:{}", point.at, short_float(value)),
            None => format!("{}:", point.at),
        })
        .collect::<Vec<_>>()
        .join(" ")
}

fn short_float(value: f64) -> String {
    if value.fract() == 0.0 || value.abs() >= 1e6 {
        format!("{value:.0}")
    } else {
        format!("{value:.3}")
    }
}

fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Count => "count",
        Unit::PerSecond => "per-second",
        Unit::Bytes => "bytes",
        Unit::Nanos => "nanos",
        Unit::Seconds => "seconds",
    }
}

/// The plot's inner width; it is stretched to the page's.
const WIDTH: f64 = 1000.0;
/// The plot's height in pixels.
const HEIGHT: f64 = 140.0;
/// Room for the times below it.
const LABELS: f64 = 20.0;
/// There is no use in more points than pixels.
const MOST_POINTS: usize = 400;
/// Colours (with dashes) the style sheet knows.
const COLOURS: usize = 6;
