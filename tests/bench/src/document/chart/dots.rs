//! Dot charts.

use super::{Axis, COLORS, DOTS_WIDTH, dot, legend, open, pixels, push, rule, text};

/// Rows of dots on one axis: the dots of a row belong together.
pub(crate) struct Dots {
    pub(crate) title: String,
    pub(crate) x_label: String,
    /// The names of the dots' colours.
    pub(crate) series: Vec<String>,
    pub(crate) rows: Vec<DotRow>,
}

/// A row and its dots: which series, and where.
pub(crate) struct DotRow {
    pub(crate) name: String,
    /// Each series' values; several are joined by a line.
    pub(crate) dots: Vec<(usize, Vec<f64>)>,
}

impl Dots {
    /// The chart; `None` when it has no dot.
    pub(crate) fn svg(&self) -> Option<String> {
        let left = 60.0 + 6.4 * pixels(self.rows.iter().map(|row| row.name.chars().count()).max()?);
        let right = pixels(DOTS_WIDTH) - 30.0;
        let lanes: usize = self.rows.iter().map(|row| row.dots.len().max(1)).sum();
        let height = 130 + 16 * lanes + 14 * self.rows.len();
        let all = self.rows.iter().flat_map(|row| &row.dots);
        let axis = Axis::over(
            all.flat_map(|(_, values)| values.iter().copied()),
            left,
            right,
        )?;
        let mut out = open(DOTS_WIDTH, height, &self.title);
        let names: Vec<&str> = self.series.iter().map(String::as_str).collect();
        legend(&mut out, &names);
        let bottom = pixels(height) - 46.0;
        for tick in axis.ticks() {
            let x = axis.place(tick);
            rule(&mut out, (x, 74.0), (x, bottom));
            text(
                &mut out,
                x,
                bottom + 18.0,
                "middle",
                &crate::document::number::short(tick),
            );
        }
        text(
            &mut out,
            f64::midpoint(left, right),
            bottom + 36.0,
            "middle",
            &self.x_label,
        );
        let mut y = 88.0;
        for row in &self.rows {
            let half = 8.0 * pixels(row.dots.len().saturating_sub(1));
            text(&mut out, left - 14.0, y + half + 4.0, "end", &row.name);
            for (series, values) in &row.dots {
                let color = series % COLORS;
                let places = values.iter().map(|&value| axis.place(value));
                let (first, last) = places.clone().fold((f64::MAX, f64::MIN), |(low, high), x| {
                    (low.min(x), high.max(x))
                });
                if values.len() > 1 {
                    push(
                        &mut out,
                        &format!(
                            r#"<line class="l s{color}" x1="{first:.1}" y1="{y:.1}" x2="{last:.1}" y2="{y:.1}"/>"#
                        ),
                    );
                }
                for x in places {
                    dot(&mut out, x, y, color);
                }
                y += 16.0;
            }
            y += 14.0;
        }
        Some(out + "</svg>\n")
    }
}
