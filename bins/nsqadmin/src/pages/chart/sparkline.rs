//! A line of the size of a word, for lists.

use maud::{Markup, html};

use super::axis::ratio;
use super::{Point, area, clean, path, thinned};
use crate::pages::format::Unit;

/// The trend of one number. From zero up; scaled to its own highest value.
///
/// `name` is for screen readers: `depth`, `messages`.
pub(crate) fn sparkline(points: &[Point], unit: Unit, name: &str) -> Markup {
    let points = thinned(&clean(points), MOST_POINTS);
    let measured: Vec<f64> = points.iter().filter_map(|point| point.value).collect();
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return nothing_yet(name);
    };
    let Some(now) = measured.last() else {
        return nothing_yet(name);
    };
    let highest = measured.iter().copied().fold(0.0, f64::max);
    let lowest = measured.iter().copied().fold(f64::INFINITY, f64::min);
    let length = last.at - first.at;
    let placed: Vec<(f64, Option<f64>)> = points
        .iter()
        .map(|point| {
            let across = if length == 0 {
                1.0
            } else {
                ratio(point.at - first.at, length)
            };
            // One unit of air above and below, or the stroke would be cut.
            let up = |value: f64| {
                if highest > 0.0 {
                    (value / highest).clamp(0.0, 1.0)
                } else {
                    0.0
                }
            };
            let y = |value| 1.0 + (1.0 - up(value)) * (HEIGHT - 2.0);
            (1.0 + across * (WIDTH - 2.0), point.value.map(y))
        })
        .collect();
    let label = format!(
        "{name}: now {}, between {} and {}",
        unit.short(*now),
        unit.short(lowest),
        unit.short(highest),
    );
    html! {
        svg.spark role="img" aria-label=(label) viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } width=(WIDTH) height=(HEIGHT)
            preserveAspectRatio="none" {
            title { (label) }
            line.spark-base x1="1" x2=(WIDTH - 1.0) y1=(HEIGHT - 1.0) y2=(HEIGHT - 1.0) {}
            path.spark-area d=(area(&placed, HEIGHT)) {}
            path.spark-line d=(path(&placed)) {}
        }
    }
}

fn nothing_yet(name: &str) -> Markup {
    html! { span.muted.small title={ "Nothing measured yet: " (name) } { "–" } }
}

const WIDTH: f64 = 96.0;
const HEIGHT: f64 = 22.0;
const MOST_POINTS: usize = 48;
