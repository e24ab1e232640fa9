//! The charts of the document, each from the values of one part.

use crate::{
    document::{
        chart::{DotRow, Dots, Lines, Series},
        table::{figure, values},
    },
    suite::{
        backlog, beside, growth, peers,
        result::{CPU, Line, MEMORY, P50, P99, P999},
        tails,
    },
};

pub(super) fn beside_chart(lines: &[Line]) -> Dots {
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

pub(super) fn tails_chart(lines: &[Line]) -> Dots {
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

/// Each row is a load, with a lane for every subject and all `units` on it.
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

pub(super) fn peers_chart(lines: &[Line]) -> Dots {
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
pub(super) fn growth_chart(
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
    // With larger messages, memory only shows buffers.
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
