//! Charts as SVG, drawn on the server by pure functions: readable without a script, printable, and for a
//! screen reader one sentence.
//!
//! Nothing here carries a `style`: the pages' policy forbids inline styles. Colours, dashes and sizes are
//! classes of the style sheet. Lines live in a nested `svg` that is stretched to the width there is, while
//! text stands outside of it by percentages and keeps its size.

mod axis;
mod line;
mod sparkline;
#[cfg(test)]
mod tests;

pub(crate) use line::{Chart, Moment, Series};
pub(crate) use sparkline::sparkline;

/// One measurement: when, in Unix seconds, and what. `None` is a gap: nothing was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    pub(crate) at: i64,
    pub(crate) value: Option<f64>,
}

/// A line through points in a box of `width` and `height`; lifted wherever there is a gap.
///
/// `place` says where a point lies. A point between two gaps becomes a dot: a line of no length, which the
/// style sheet's round caps make visible.
fn path(points: &[(f64, Option<f64>)]) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(points.len() * 12);
    let mut drawing = false;
    for (index, (x, y)) in points.iter().enumerate() {
        let Some(y) = y else {
            drawing = false;
            continue;
        };
        let next_is_gap = points.get(index + 1).is_none_or(|(_, y)| y.is_none());
        let command = if drawing { 'L' } else { 'M' };
        write!(out, "{command}{} {}", tenth(*x), tenth(*y)).expect("a String takes everything");
        if !drawing && next_is_gap {
            out.push_str("h0");
        }
        drawing = true;
    }
    out
}

/// The area between the line of [`path`] and the floor at `height`.
fn area(points: &[(f64, Option<f64>)], height: f64) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    for run in points.split(|(_, y)| y.is_none()) {
        let (Some((first, _)), Some((last, _))) = (run.first(), run.last()) else {
            continue;
        };
        if run.len() < 2 {
            continue;
        }
        write!(out, "M{} {}", tenth(*first), tenth(height)).expect("a String takes everything");
        for (x, y) in run.iter().filter_map(|(x, y)| Some((x, (*y)?))) {
            write!(out, "L{} {}", tenth(*x), tenth(y)).expect("a String takes everything");
        }
        write!(out, "L{} {}Z", tenth(*last), tenth(height)).expect("a String takes everything");
    }
    out
}

/// `value` with one decimal at most: finer than a pixel, and short.
fn tenth(value: f64) -> f64 {
    let rounded = (value * 10.0).round() / 10.0;
    // No "-0" in paths.
    if rounded == 0.0 { 0.0 } else { rounded }
}

/// At most `limit` points in place of `points`, each the highest of its stretch, so that a spike stays. A
/// stretch is a gap only when all of it is.
fn thinned(points: &[Point], limit: usize) -> Vec<Point> {
    if points.len() <= limit || limit == 0 {
        return points.to_vec();
    }
    let stretch = points.len().div_ceil(limit);
    points
        .chunks(stretch)
        .map(|chunk| {
            let highest = chunk.iter().max_by(|a, b| {
                let (a, b) = (
                    a.value.unwrap_or(f64::NEG_INFINITY),
                    b.value.unwrap_or(f64::NEG_INFINITY),
                );
                a.total_cmp(&b)
            });
            *highest.unwrap_or(&chunk[0])
        })
        .collect()
}

/// The points' finite values; what is not finite was never measured.
fn clean(points: &[Point]) -> Vec<Point> {
    points
        .iter()
        .map(|point| Point {
            at: point.at,
            value: point.value.filter(|value| value.is_finite()),
        })
        .collect()
}
