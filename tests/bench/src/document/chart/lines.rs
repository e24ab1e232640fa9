//! Line charts.

use super::{Axis, COLORS, PANEL_HEIGHT, PANEL_WIDTH, dot, legend, open, pixels, push, rule, text};

/// A line chart with panels side by side that share their horizontal axis.
pub(crate) struct Lines {
    pub(crate) title: String,
    pub(crate) x_label: String,
    pub(crate) x_format: fn(f64) -> String,
    /// What each panel shows, and its lines by name.
    pub(crate) panels: Vec<(String, Vec<Series>)>,
}

/// One line: its name, and its points from left to right.
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Lines {
    /// The chart; `None` when it has no point.
    pub(crate) fn svg(&self) -> Option<String> {
        let xs: Vec<f64> = self
            .panels
            .iter()
            .flat_map(|(_, all)| all)
            .flat_map(|series| series.points.iter().map(|point| point.0))
            .collect();
        if xs.is_empty() {
            return None;
        }
        // A zero is drawn a decade before the first point.
        let smallest = xs
            .iter()
            .copied()
            .filter(|&x| x > 0.0)
            .fold(f64::MAX, f64::min);
        let shift = |x: f64| if x > 0.0 { x } else { smallest / 10.0 };
        let width = PANEL_WIDTH * self.panels.len();
        let mut out = open(width, PANEL_HEIGHT, &self.title);
        let mut names: Vec<&str> = vec![];
        for series in self.panels.iter().flat_map(|(_, all)| all) {
            if !names.contains(&series.name.as_str()) {
                names.push(&series.name);
            }
        }
        legend(&mut out, &names);
        for (place, (y_label, all)) in self.panels.iter().enumerate() {
            let left = pixels(PANEL_WIDTH * place) + 56.0;
            let right = pixels(PANEL_WIDTH * (place + 1)) - 24.0;
            let (top, bottom) = (86.0, pixels(PANEL_HEIGHT) - 50.0);
            let ys = all
                .iter()
                .flat_map(|series| series.points.iter().map(|point| point.1));
            let (Some(x_axis), Some(y_axis)) = (
                Axis::over(xs.iter().map(|&x| shift(x)), left, right),
                Axis::over(ys, bottom, top),
            ) else {
                continue;
            };
            text(&mut out, left - 40.0, top - 12.0, "start", y_label);
            for tick in y_axis.ticks() {
                let y = y_axis.place(tick);
                rule(&mut out, (left, y), (right, y));
                text(
                    &mut out,
                    left - 6.0,
                    y + 4.0,
                    "end",
                    &crate::document::number::short(tick),
                );
            }
            let mut labelled: Vec<f64> = xs.clone();
            labelled.sort_by(f64::total_cmp);
            labelled.dedup();
            let mut free_from = f64::MIN;
            for x in labelled {
                let at = x_axis.place(shift(x));
                if at >= free_from {
                    text(&mut out, at, bottom + 18.0, "middle", &(self.x_format)(x));
                    free_from = at + 48.0;
                }
            }
            text(
                &mut out,
                f64::midpoint(left, right),
                bottom + 38.0,
                "middle",
                &self.x_label,
            );
            for series in all {
                let color = names
                    .iter()
                    .position(|name| *name == series.name)
                    .unwrap_or(0)
                    % COLORS;
                let places: Vec<(f64, f64)> = series
                    .points
                    .iter()
                    .map(|&(x, y)| (x_axis.place(shift(x)), y_axis.place(y)))
                    .collect();
                let path: Vec<String> = places
                    .iter()
                    .map(|(x, y)| format!("{x:.1},{y:.1}"))
                    .collect();
                push(
                    &mut out,
                    &format!(
                        r#"<polyline class="l s{color}" points="{}"/>"#,
                        path.join(" ")
                    ),
                );
                for &(x, y) in &places {
                    dot(&mut out, x, y, color);
                }
            }
        }
        Some(out + "</svg>\n")
    }
}
