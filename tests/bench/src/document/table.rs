//! Markdown tables of medians.

use std::fmt;

use crate::{
    document::number::{digits, median},
    suite::result::{Line, Value},
};

/// A table, with the values of each cell.
pub(crate) struct Table {
    corner: String,
    columns: Vec<String>,
    /// Each row's name, and the values of all rounds for every column.
    rows: Vec<(String, Vec<Vec<f64>>)>,
}

impl Table {
    /// An empty table with these columns; `corner` is the heading over the rows' names.
    pub(crate) fn new(corner: &str, columns: impl IntoIterator<Item = String>) -> Self {
        Self {
            corner: corner.to_owned(),
            columns: columns.into_iter().collect(),
            rows: vec![],
        }
    }

    /// Adds the values of a part. `place` returns the row and the column of each; values of unknown columns are left out.
    pub(crate) fn fill(
        mut self,
        lines: &[Line],
        part: &str,
        place: impl Fn(&Value) -> (String, String),
    ) -> Self {
        for value in values(lines, part) {
            let (row, column) = place(value);
            if let Some(column) = self.columns.iter().position(|name| *name == column) {
                self.add(&row, column, value.value);
            }
        }
        self
    }

    /// The table, unless it has no values.
    pub(crate) fn text(&self) -> Option<String> {
        (!self.rows.is_empty()).then(|| self.to_string())
    }

    fn add(&mut self, row: &str, column: usize, value: f64) {
        let found = self.rows.iter().position(|(name, _)| name == row);
        let index = found.unwrap_or_else(|| {
            self.rows
                .push((row.to_owned(), vec![vec![]; self.columns.len()]));
            self.rows.len() - 1
        });
        self.rows[index].1[column].push(value);
    }
}

/// Columns without any value are left out.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<usize> = (0..self.columns.len())
            .filter(|&column| self.rows.iter().any(|(_, cells)| !cells[column].is_empty()))
            .collect();
        write!(f, "| {} |", self.corner)?;
        for &column in &shown {
            write!(f, " {} |", self.columns[column])?;
        }
        writeln!(f, "\n|---|{}", "---:|".repeat(shown.len()))?;
        for (name, cells) in &self.rows {
            write!(f, "| {name} |")?;
            for &column in &shown {
                let cell = median(&cells[column]).map_or("-".to_owned(), digits);
                write!(f, " {cell} |")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// The values of one part.
pub(crate) fn values<'a>(lines: &'a [Line], part: &'a str) -> impl Iterator<Item = &'a Value> {
    lines.iter().filter_map(move |line| match line {
        Line::Value(value) if value.part == part => Some(value),
        _ => None,
    })
}

/// The median of one figure over all rounds.
pub(crate) fn figure(
    lines: &[Line],
    part: &str,
    load: &str,
    subject: &str,
    unit: &str,
) -> Option<f64> {
    let all: Vec<f64> = values(lines, part)
        .filter(|value| value.load == load && value.subject == subject && value.unit == unit)
        .map(|value| value.value)
        .collect();
    median(&all)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn line(part: &str, load: &str, subject: &str, unit: &str, value: f64) -> Line {
        Line::Value(Value {
            part: part.to_owned(),
            load: load.to_owned(),
            subject: subject.to_owned(),
            at: None,
            unit: unit.to_owned(),
            value,
        })
    }

    #[test]
    fn a_table_has_medians_dashes_and_no_empty_column() {
        let lines = [
            line("p", "PUB", "go", "µs", 3.0),
            line("p", "PUB", "go", "µs", 9.0),
            line("p", "PUB", "go", "µs", 4.0),
            line("p", "MPUB", "rust", "µs", 0.2),
            line("p", "MPUB", "other", "µs", 0.2),
            line("q", "MPUB", "go", "µs", 0.2),
        ];
        let columns = ["go", "nobody", "rust"].map(ToOwned::to_owned);
        let table = Table::new("load", columns).fill(&lines, "p", |value| {
            (value.load.clone(), value.subject.clone())
        });
        assert_eq!(
            table.text().unwrap(),
            "| load | go | rust |\n|---|---:|---:|\n| PUB | 4.00 | - |\n| MPUB | - | 0.20 |\n"
        );
        assert_eq!(figure(&lines, "p", "PUB", "go", "µs"), Some(4.0));
        assert_eq!(Table::new("load", []).text(), None);
    }
}
