//! The Markdown table of a comparison: medians, and ratios to the first server.

use std::fmt;

use crate::{compare::load::Load, report::Report};

/// All runs of a comparison.
pub(crate) struct Comparison {
    server_names: Vec<String>,
    rows: Vec<Row>,
    pub(crate) failures: Vec<String>,
}

/// One line of the table: a load seen in one unit.
struct Row {
    load: &'static str,
    unit: &'static str,
    /// For each server, the value of every round.
    values: Vec<Vec<f64>>,
}

impl Comparison {
    /// Nothing has been run yet.
    pub(crate) fn new(server_names: Vec<String>) -> Self {
        Self {
            server_names,
            rows: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// Takes in one run's report; `place` is the server's.
    pub(crate) fn add(&mut self, load: &Load, place: usize, report: &Report) {
        for failure in &report.failures {
            let server = &self.server_names[place];
            self.failures
                .push(format!("{server}, {}: {failure}", load.name));
        }
        if let Some(cpu) = report.server_cpu_per_message() {
            self.add_value(load, "µs CPU a message", place, cpu.total_us);
        }
        if load.rate == 0 {
            self.add_value(
                load,
                "messages a second",
                place,
                report.messages_per_second(),
            );
        } else if let Some(latency) = &report.end_to_end_latency {
            self.add_value(load, "p50 µs", place, latency.p50_us);
            self.add_value(load, "p99 µs", place, latency.p99_us);
        }
    }

    fn add_value(&mut self, load: &Load, unit: &'static str, place: usize, value: f64) {
        let server_count = self.server_names.len();
        let found = self
            .rows
            .iter()
            .position(|row| row.load == load.name && row.unit == unit);
        let row = found.unwrap_or_else(|| {
            self.rows.push(Row {
                load: load.name,
                unit,
                values: vec![Vec::new(); server_count],
            });
            self.rows.len() - 1
        });
        self.rows[row].values[place].push(value);
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| load | unit |")?;
        for name in &self.server_names {
            write!(f, " {name} |")?;
        }
        for name in &self.server_names[1..] {
            write!(f, " {name} / {} |", self.server_names[0])?;
        }
        write!(f, "\n|---|---|")?;
        for _ in 1..self.server_names.len() * 2 {
            write!(f, "---:|")?;
        }
        writeln!(f)?;
        for row in &self.rows {
            let medians: Vec<Option<f64>> = row.values.iter().map(|all| median(all)).collect();
            write!(f, "| {} | {} |", row.load, row.unit)?;
            for value in &medians {
                write!(f, " {} |", Cell(*value))?;
            }
            for value in &medians[1..] {
                let ratio = value.zip(medians[0]).map(|(value, first)| value / first);
                write!(f, " {} |", Cell(ratio))?;
            }
            writeln!(f)?;
        }
        for failure in &self.failures {
            writeln!(f, "\nFAILED: {failure}")?;
        }
        Ok(())
    }
}

/// A number with about three digits that mean something.
struct Cell(Option<f64>);

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("-"),
            Some(value) if value >= 100.0 => write!(f, "{value:.0}"),
            Some(value) if value >= 10.0 => write!(f, "{value:.1}"),
            Some(value) => write!(f, "{value:.2}"),
        }
    }
}

/// The middle value; of an even number of values, the mean of the middle two.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(sorted[middle - 1], upper))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{compare::load::LOADS, report::tests::any_report};

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 100.0]), Some(3.0));
    }

    #[test]
    fn the_table_has_medians_and_ratios_to_the_first_server() {
        let mut comparison = Comparison::new(vec!["go".to_owned(), "rust".to_owned()]);
        // 3 µs a message each, then half of it.
        for published in [1000, 1000, 10] {
            comparison.add(
                &LOADS[0],
                0,
                &Report {
                    published,
                    ..any_report()
                },
            );
        }
        comparison.add(
            &LOADS[0],
            1,
            &Report {
                published: 2000,
                ..any_report()
            },
        );
        assert_eq!(
            comparison.to_string(),
            "| load | unit | go | rust | rust / go |\n\
             |---|---|---:|---:|---:|\n\
             | MPUB of 200, 2 connections | µs CPU a message | 3.00 | 1.50 | 0.50 |\n\
             | MPUB of 200, 2 connections | messages a second | 500 | 1000 | 2.00 |\n"
        );
    }

    #[test]
    fn a_server_without_a_value_has_a_dash() {
        assert_eq!(Cell(None).to_string(), "-");
    }
}
