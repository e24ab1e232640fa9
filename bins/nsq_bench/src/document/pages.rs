//! Which tables and charts the document has, by name.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{
    document::{
        aims,
        chart::{DotRow, Dots, Lines, Series},
        number,
        table::{Table, figure, values},
    },
    suite::{
        backlog, beside, costs, growth, peers,
        result::{CPU, DISK, Line, MEMORY, P50, P99, P999, RATE, START},
        tails, through_layers as layers,
    },
};

/// The marks that the document has to have.
#[cfg(test)]
pub(crate) const NAMES: [&str; 15] = [
    "machine",
    "aims",
    "beside-cost",
    "beside-rate",
    "tails",
    "peers",
    "connections",
    "channels",
    "topics",
    "sizes",
    "backlog",
    "costs",
    "layers",
    "layers-rate",
    "failures",
];

/// The text of each part that the run has values for.
pub(crate) fn parts(lines: &[Line]) -> BTreeMap<&'static str, String> {
    let beside = |unit: &str| {
        let subjects = [
            beside::FLOOR,
            beside::UPSTREAM_MEMORY,
            beside::HERE_MEMORY,
            beside::UPSTREAM_DISK,
            beside::HERE,
            beside::UPSTREAM_SYNCED,
            beside::HERE_SYNCED,
        ];
        Table::new(unit, subjects.map(ToOwned::to_owned)).fill(lines, beside::PART, |value| {
            let column = if value.unit == unit {
                value.subject.as_str()
            } else {
                ""
            };
            (value.load.clone(), column.to_owned())
        })
    };
    let all = [
        ("machine", machine(lines)),
        ("aims", aims::table(lines)),
        ("beside-cost", beside(CPU).text()),
        ("beside-rate", beside(RATE).text()),
        ("tails", tails_table(lines).text()),
        ("peers", peers_table(lines).text()),
        (
            "connections",
            growth_table(lines, growth::CONNECTIONS, "connections", &[CPU, MEMORY]).text(),
        ),
        (
            "channels",
            growth_table(lines, growth::CHANNELS, "channels", &[CPU, MEMORY]).text(),
        ),
        (
            "topics",
            growth_table(lines, growth::TOPICS, "topics", &[CPU, MEMORY, START]).text(),
        ),
        ("sizes", sizes_table(lines).text()),
        ("backlog", backlog_table(lines).text()),
        ("costs", costs_table(lines).text()),
        ("layers", layers_table(lines, CPU).text()),
        ("layers-rate", layers_table(lines, RATE).text()),
        ("failures", failures(lines)),
    ];
    all.into_iter()
        .filter_map(|(name, text)| Some((name, text?)))
        .collect()
}

/// The charts that the run has values for, by file name.
pub(crate) fn charts(lines: &[Line]) -> Vec<(&'static str, String)> {
    let count = number::short as fn(f64) -> String;
    let all = [
        ("beside", beside_chart(lines).svg()),
        ("tails", tails_chart(lines).svg()),
        ("peers", peers_chart(lines).svg()),
        (
            "connections",
            growth_chart(
                lines,
                growth::CONNECTIONS,
                "PUB one by one over more connections",
                "connections",
                count,
                &[growth::PUBLISH],
            ),
        ),
        (
            "channels",
            growth_chart(
                lines,
                growth::CHANNELS,
                "A delivery on more channels of one topic",
                "channels",
                count,
                &[growth::LIVE],
            ),
        ),
        (
            "topics",
            growth_chart(
                lines,
                growth::TOPICS,
                "A message over more topics",
                "topics",
                count,
                &[growth::LIVE],
            ),
        ),
        (
            "sizes",
            growth_chart(
                lines,
                growth::SIZES,
                "Larger messages",
                "body",
                number::bytes,
                &[growth::PUBLISH, growth::CONSUME],
            ),
        ),
        (
            "backlog",
            growth_chart(
                lines,
                backlog::PART,
                "Behind a deeper backlog",
                "messages queued",
                count,
                &[backlog::PUBLISH, backlog::CONSUME],
            ),
        ),
    ];
    all.into_iter()
        .filter_map(|(name, svg)| Some((name, svg?)))
        .collect()
}

fn machine(lines: &[Line]) -> Option<String> {
    let machine = lines.iter().find_map(|line| match line {
        Line::Machine(machine) => Some(machine),
        _ => None,
    })?;
    let mut out = format!(
        "{} processors ({}) that load and servers share, {} GiB of memory, {} on the servers' disk, Linux {}. Load average before: {}.",
        machine.processors,
        machine.processor,
        machine.memory_gib,
        machine.file_system,
        machine.kernel,
        machine.load_average,
    );
    // Writing to a string does not fail.
    if let Some((minutes, load)) = lines.iter().find_map(|line| match line {
        Line::End {
            minutes,
            load_average,
        } => Some((minutes, load_average)),
        _ => None,
    }) {
        let _ = write!(
            out,
            " After: {load}. This was {}, in {minutes:.0} minutes.",
            machine.scale
        );
    }
    out.push_str("\n\n| server | version |\n|---|---|\n");
    for (name, version) in &machine.servers {
        let _ = writeln!(out, "| {name} | {version} |");
    }
    Some(out)
}

/// What failed, and what a reader has to know.
fn failures(lines: &[Line]) -> Option<String> {
    let is_over = lines.iter().any(|line| matches!(line, Line::End { .. }));
    let mut out = String::new();
    for line in lines {
        // Writing to a string does not fail.
        let _ = match line {
            Line::Failure { part, text } => writeln!(out, "- failed, {part}: {text}"),
            Line::Note { part, text } => writeln!(out, "- {part}: {text}"),
            Line::Machine(_) | Line::Value(_) | Line::End { .. } => Ok(()),
        };
    }
    if out.is_empty() {
        out.push_str("No measurement of the run failed.\n");
    }
    is_over.then_some(out)
}

fn tails_table(lines: &[Line]) -> Table {
    let subjects = [tails::UPSTREAM, tails::HERE, tails::HERE_SYNCED];
    let columns = subjects
        .iter()
        .flat_map(|subject| [P50, P99, P999].map(|unit| format!("{subject}: {unit}")));
    Table::new("load", columns).fill(lines, tails::PART, |value| {
        (
            value.load.clone(),
            format!("{}: {}", value.subject, value.unit),
        )
    })
}

fn peers_table(lines: &[Line]) -> Table {
    let columns = [
        (peers::PUBLISH, CPU),
        (peers::CONSUME, CPU),
        (peers::PUBLISH, RATE),
        (peers::CONSUME, RATE),
        (peers::CONSUME, MEMORY),
        (peers::CONSUME, DISK),
    ];
    let name = |load: &str, unit: &str| match unit {
        MEMORY | DISK => format!("{unit} after it all"),
        _ => format!("{load}: {unit}"),
    };
    Table::new("queue", columns.map(|(load, unit)| name(load, unit))).fill(
        lines,
        peers::PART,
        |value| {
            let is_early =
                value.load == peers::PUBLISH && [MEMORY, DISK].contains(&value.unit.as_str());
            let column = if is_early {
                String::new()
            } else {
                name(&value.load, &value.unit)
            };
            (value.subject.clone(), column)
        },
    )
}

fn growth_table(lines: &[Line], part: &str, corner: &str, units: &[&str]) -> Table {
    let columns = [tails::UPSTREAM, tails::HERE]
        .into_iter()
        .flat_map(|subject| units.iter().map(move |unit| format!("{subject}: {unit}")));
    Table::new(corner, columns).fill(lines, part, |value| {
        let row = number::short(value.at.unwrap_or_default());
        (row, format!("{}: {}", value.subject, value.unit))
    })
}

fn sizes_table(lines: &[Line]) -> Table {
    let columns = [tails::UPSTREAM, tails::HERE]
        .into_iter()
        .flat_map(|subject| {
            [growth::PUBLISH, growth::CONSUME].map(|load| format!("{subject}: {load}, {CPU}"))
        });
    Table::new("body", columns).fill(lines, growth::SIZES, |value| {
        let row = number::bytes(value.at.unwrap_or_default());
        (
            row,
            format!("{}: {}, {}", value.subject, value.load, value.unit),
        )
    })
}

fn backlog_table(lines: &[Line]) -> Table {
    let figures = [
        (backlog::PUBLISH, CPU),
        (backlog::CONSUME, CPU),
        (backlog::KEEP, MEMORY),
        (backlog::KEEP, DISK),
        (backlog::KEEP, START),
    ];
    let name = |subject: &str, load: &str, unit: &str| match load {
        backlog::KEEP => format!("{subject}: {unit}"),
        _ => format!("{subject}: {load}, {unit}"),
    };
    let columns = [tails::UPSTREAM, tails::HERE]
        .into_iter()
        .flat_map(|subject| figures.map(|(load, unit)| name(subject, load, unit)));
    Table::new("messages queued", columns).fill(lines, backlog::PART, |value| {
        let row = number::short(value.at.unwrap_or_default());
        (row, name(&value.subject, &value.load, &value.unit))
    })
}

fn costs_table(lines: &[Line]) -> Table {
    let columns = [tails::UPSTREAM, tails::HERE].map(ToOwned::to_owned);
    Table::new("what is held", columns).fill(lines, costs::PART, |value| {
        (
            format!("{}: {}", value.load, value.unit),
            value.subject.clone(),
        )
    })
}

fn layers_table(lines: &[Line], unit: &str) -> Table {
    let columns = [layers::PUBLISH, layers::CONSUME]
        .into_iter()
        .flat_map(|load| {
            [tails::UPSTREAM, tails::HERE].map(|subject| format!("{load}: {subject}"))
        });
    Table::new(unit, columns).fill(lines, layers::PART, |value| {
        let (load, row) = value.load.split_once(": ").unwrap_or_default();
        let column = if value.unit == unit {
            format!("{load}: {}", value.subject)
        } else {
            String::new()
        };
        (row.to_owned(), column)
    })
}

fn beside_chart(lines: &[Line]) -> Dots {
    let subjects = [beside::HERE, beside::UPSTREAM_MEMORY, beside::FLOOR];
    dots(
        lines,
        beside::PART,
        "Server CPU a message, 200 bytes",
        CPU,
        &subjects,
        &[CPU],
        &loads(lines, beside::PART),
    )
}

fn tails_chart(lines: &[Line]) -> Dots {
    let subjects = [tails::HERE, tails::UPSTREAM, tails::HERE_SYNCED];
    let units = [P50, P99, P999];
    dots(
        lines,
        tails::PART,
        "Publish to receipt: p50, p99, p99.9",
        "µs",
        &subjects,
        &units,
        &loads(lines, tails::PART),
    )
}

/// Rows are loads; in each, one lane for every subject with all `units` on it.
fn dots(
    lines: &[Line],
    part: &str,
    title: &str,
    x_label: &str,
    subjects: &[&str],
    units: &[&str],
    loads: &[String],
) -> Dots {
    let lane = |load: &str, place: usize| {
        let found = units
            .iter()
            .filter_map(|unit| figure(lines, part, load, subjects[place], unit));
        let found: Vec<f64> = found.collect();
        (!found.is_empty()).then_some((place, found))
    };
    let row = |load: &String| DotRow {
        name: load.clone(),
        dots: (0..subjects.len())
            .filter_map(|place| lane(load, place))
            .collect(),
    };
    Dots {
        title: title.to_owned(),
        x_label: x_label.to_owned(),
        series: subjects.iter().map(ToString::to_string).collect(),
        rows: loads.iter().map(row).collect(),
    }
}

fn peers_chart(lines: &[Line]) -> Dots {
    let mut subjects: Vec<&str> = vec![];
    for value in values(lines, peers::PART) {
        if !subjects.contains(&value.subject.as_str()) {
            subjects.push(&value.subject);
        }
    }
    let loads = [peers::PUBLISH, peers::CONSUME];
    let row = |subject: &&str| DotRow {
        name: (*subject).to_owned(),
        dots: (0..loads.len())
            .filter_map(|place| {
                Some((
                    place,
                    vec![figure(lines, peers::PART, loads[place], subject, CPU)?],
                ))
            })
            .collect(),
    };
    Dots {
        title: "Server CPU a message, 200 bytes, one connection".to_owned(),
        x_label: CPU.to_owned(),
        series: loads.map(ToOwned::to_owned).into(),
        rows: subjects.iter().map(row).collect(),
    }
}

/// A panel for the cost of each load, and one for memory.
fn growth_chart(
    lines: &[Line],
    part: &str,
    title: &str,
    x_label: &str,
    x_format: fn(f64) -> String,
    loads: &[&str],
) -> Option<String> {
    let panel = |load: &str, unit: &str, label: String| {
        let mut all: Vec<Series> = vec![];
        for value in values(lines, part).filter(|v| v.load == load && v.unit == unit) {
            let Some(at) = value.at else {
                continue;
            };
            let point = (at, value.value);
            match all.iter_mut().find(|series| series.name == value.subject) {
                Some(series) => series.points.push(point),
                None => all.push(Series {
                    name: value.subject.clone(),
                    points: vec![point],
                }),
            }
        }
        (label, all)
    };
    let mut panels: Vec<_> = loads
        .iter()
        .map(|load| panel(load, CPU, format!("{load}: {CPU}")))
        .collect();
    // With larger messages memory is only that of buffers.
    if part != growth::SIZES {
        let load = if part == backlog::PART {
            backlog::KEEP
        } else {
            loads[0]
        };
        panels.push(panel(load, MEMORY, MEMORY.to_owned()));
    }
    Lines {
        title: title.to_owned(),
        x_label: x_label.to_owned(),
        x_format,
        panels,
    }
    .svg()
}

fn loads(lines: &[Line], part: &str) -> Vec<String> {
    let mut loads: Vec<String> = vec![];
    for value in values(lines, part) {
        if !loads.contains(&value.load) {
            loads.push(value.load.clone());
        }
    }
    loads
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{document::table::tests::line, suite::machine::Machine, suite::result::Value};

    fn at(part: &str, load: &str, subject: &str, at: f64, unit: &str, value: f64) -> Line {
        Line::Value(Value {
            part: part.to_owned(),
            load: load.to_owned(),
            subject: subject.to_owned(),
            at: Some(at),
            unit: unit.to_owned(),
            value,
        })
    }

    /// One line for every part, and what a run begins and ends with.
    fn lines() -> Vec<Line> {
        let machine = Machine {
            servers: vec![("here".to_owned(), "nsqd v1".to_owned())],
            processors: 2,
            processor: "any".to_owned(),
            memory_gib: 24,
            kernel: "6".to_owned(),
            file_system: "ext4".to_owned(),
            load_average: "0 0 0".to_owned(),
            scale: "the full run".to_owned(),
        };
        vec![
            Line::Machine(machine),
            line(beside::PART, beside::PUBLISH, beside::HERE, CPU, 0.2),
            line(beside::PART, beside::PUBLISH, beside::HERE, RATE, 2e6),
            line(tails::PART, tails::SINGLE, tails::HERE, P50, 90.0),
            line(tails::PART, tails::SINGLE, tails::HERE, P999, 900.0),
            line(peers::PART, peers::PUBLISH, "other", CPU, 3.0),
            line(peers::PART, peers::PUBLISH, "other", DISK, 3.0),
            line(peers::PART, peers::CONSUME, "other", DISK, 7.0),
            at(growth::CONNECTIONS, growth::PUBLISH, "here", 10.0, CPU, 9.0),
            at(growth::CHANNELS, growth::LIVE, "here", 10.0, CPU, 9.0),
            at(growth::TOPICS, growth::LIVE, "here", 10.0, START, 9.0),
            at(growth::TOPICS, growth::LIVE, "here", 10.0, MEMORY, 9.0),
            at(growth::SIZES, growth::CONSUME, "here", 1024.0, CPU, 9.0),
            at(backlog::PART, backlog::PUBLISH, "here", 0.0, CPU, 0.3),
            at(backlog::PART, backlog::KEEP, "here", 1e6, MEMORY, 4.0),
            line(costs::PART, costs::IDLE, "here", costs::CORE, 0.4),
            line(layers::PART, "consume: TLS", "here", CPU, 0.4),
            line(layers::PART, "consume: TLS", "here", RATE, 4e5),
            Line::Note {
                part: "peers".to_owned(),
                text: "no nats-server".to_owned(),
            },
            Line::End {
                minutes: 3.0,
                load_average: "1 1 1".to_owned(),
            },
        ]
    }

    #[test]
    fn a_run_with_every_part_fills_every_mark_and_chart() {
        let parts = parts(&lines());
        assert_eq!(parts.len(), NAMES.len());
        assert!(
            NAMES.iter().all(|name| parts.contains_key(name)),
            "{parts:?}"
        );
        assert_eq!(charts(&lines()).len(), 8);
        for (part, row) in [
            ("peers", "| other | 3.00 | 7.00 |"),
            ("sizes", "| 1 KiB | 9.00 |"),
            ("backlog", "| 1M | - | 4.00 |"),
            ("layers", "| TLS | 0.40 |"),
            ("failures", "- peers: no nats-server"),
            ("machine", "| here | nsqd v1 |"),
        ] {
            assert!(parts[part].contains(row), "{part}: {}", parts[part]);
        }
    }

    #[test]
    fn a_part_without_values_is_not_there() {
        let parts = parts(&lines()[..2]);
        let names: Vec<&str> = parts.keys().copied().collect();
        assert_eq!(names, ["aims", "beside-cost", "machine"]);
    }
}
