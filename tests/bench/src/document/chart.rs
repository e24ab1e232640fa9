//! Charts as SVG, readable in light and dark mode, all with a log scale: the compared values differ by factors.

mod dots;
mod lines;

use std::fmt::Write as _;

pub(crate) use dots::{DotRow, Dots};
pub(crate) use lines::{Lines, Series};

/// A log axis over whole powers of ten, from one pixel to another.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// `None` without a positive value.
    fn over(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Option<Self> {
        let mut logs = values.filter(|&value| value > 0.0).map(f64::log10);
        let first = logs.next()?;
        let (low, high) = logs.fold((first, first), |(low, high), log| {
            (low.min(log), high.max(log))
        });
        let low = low.floor();
        Some(Self {
            low,
            high: high.ceil().max(low + 1.0),
            from,
            to,
        })
    }

    fn place(&self, value: f64) -> f64 {
        let log = if value > 0.0 { value.log10() } else { self.low };
        let share = (log - self.low) / (self.high - self.low);
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        let mut exponent = self.low;
        let high = self.high;
        std::iter::from_fn(move || {
            let tick = (exponent <= high).then(|| 10_f64.powf(exponent));
            exponent += 1.0;
            tick
        })
    }
}

fn open(width: usize, height: usize, title: &str) -> String {
    let title = escaped(title);
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{title}">
<style>
svg {{ --back: #ffffff; --ink: #1f2328; --rule: #d8dee4; --s0: #c2410c; --s1: #1d4ed8; --s2: #6b7280; --s3: #15803d; --s4: #7e22ce; --s5: #b45309 }}
@media (prefers-color-scheme: dark) {{ svg {{ --back: #0d1117; --ink: #e6edf3; --rule: #30363d; --s0: #fb923c; --s1: #79a8ff; --s2: #9ca3af; --s3: #4ade80; --s4: #c084fc; --s5: #fbbf24 }} }}
.b {{ fill: var(--back) }} text {{ fill: var(--ink); font: 12px system-ui, sans-serif }} .t {{ font-size: 15px; font-weight: 600 }}
.r {{ stroke: var(--rule) }} .l {{ fill: none; stroke-width: 2 }}
.s0 {{ stroke: var(--s0) }} .s1 {{ stroke: var(--s1) }} .s2 {{ stroke: var(--s2) }} .s3 {{ stroke: var(--s3) }} .s4 {{ stroke: var(--s4) }} .s5 {{ stroke: var(--s5) }}
.d0 {{ fill: var(--s0) }} .d1 {{ fill: var(--s1) }} .d2 {{ fill: var(--s2) }} .d3 {{ fill: var(--s3) }} .d4 {{ fill: var(--s4) }} .d5 {{ fill: var(--s5) }}
</style>
<rect class="b" width="{width}" height="{height}" rx="6"/>
<text class="t" x="16" y="28">{title}</text>
"#
    )
}

fn legend(out: &mut String, names: &[&str]) {
    let mut x = 22.0;
    for (place, name) in names.iter().enumerate() {
        dot(out, x, 48.0, place % COLORS);
        text(out, x + 10.0, 52.0, "start", name);
        x += 34.0 + 6.6 * pixels(name.chars().count());
    }
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let words = escaped(words);
    push(
        out,
        &format!(r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{words}</text>"#),
    );
}

fn rule(out: &mut String, from: (f64, f64), to: (f64, f64)) {
    let ((x1, y1), (x2, y2)) = (from, to);
    push(
        out,
        &format!(r#"<line class="r" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#),
    );
}

fn dot(out: &mut String, x: f64, y: f64, color: usize) {
    push(
        out,
        &format!(r#"<circle class="d{color}" cx="{x:.1}" cy="{y:.1}" r="4"/>"#),
    );
}

fn push(out: &mut String, line: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "{line}");
}

fn escaped(words: &str) -> String {
    words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[expect(clippy::cast_precision_loss, reason = "pixels and letters are few")]
fn pixels(count: usize) -> f64 {
    count as f64
}

const PANEL_WIDTH: usize = 430;
const PANEL_HEIGHT: usize = 340;
const DOTS_WIDTH: usize = 860;
/// How many series have a colour of their own.
const COLORS: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_axis_has_whole_decades() {
        let axis = Axis::over([0.3, 45.0].into_iter(), 0.0, 300.0).unwrap();
        assert_eq!(axis.ticks().collect::<Vec<_>>(), [0.1, 1.0, 10.0, 100.0]);
        assert!((axis.place(1.0) - 100.0).abs() < 1e-9);
        assert!((axis.place(0.0)).abs() < 1e-9);
        let one = Axis::over([1.0].into_iter(), 0.0, 100.0).unwrap();
        assert_eq!(one.ticks().count(), 2);
        assert!(Axis::over([0.0].into_iter(), 0.0, 1.0).is_none());
    }

    #[test]
    fn a_line_chart_has_a_line_for_each_series_and_a_place_for_zero() {
        let series = |name: &str, points: &[(f64, f64)]| Series {
            name: name.to_owned(),
            points: points.to_vec(),
        };
        let here = series("here & now", &[(0.0, 1.0), (10.0, 2.0), (100.0, 4.0)]);
        let chart = Lines {
            title: "a < b".to_owned(),
            x_label: "messages".to_owned(),
            x_format: crate::document::number::short,
            panels: vec![("µs".to_owned(), vec![here, series("go", &[(10.0, 3.0)])])],
        };
        let svg = chart.svg().unwrap();
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(
            svg.contains("a &lt; b") && svg.contains("here &amp; now"),
            "{svg}"
        );
        // Three points of one series, one of the other, and the legend's two.
        assert_eq!(svg.matches("<circle").count(), 6);
        assert!(svg.contains(">0</text>") && svg.trim_end().ends_with("</svg>"));
    }

    #[test]
    fn a_dot_chart_joins_the_dots_of_a_series() {
        let chart = Dots {
            title: "tails".to_owned(),
            x_label: "µs".to_owned(),
            series: vec!["here".to_owned()],
            rows: vec![DotRow {
                name: "alone".to_owned(),
                dots: vec![(0, vec![100.0, 200.0, 900.0])],
            }],
        };
        let svg = chart.svg().unwrap();
        assert_eq!(svg.matches("<circle").count(), 4);
        assert_eq!(svg.matches(r#"<line class="l"#).count(), 1);
        let empty = Dots {
            rows: vec![],
            ..chart
        };
        assert!(empty.svg().is_none());
    }
}
