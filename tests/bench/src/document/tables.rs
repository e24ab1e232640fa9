//! The tables of the document, each from the values of one part.

use crate::{
    document::{number, table::Table},
    suite::{
        backlog, beside, cluster, costs, growth, memory, peers,
        result::{CPU, DISK, Line, MEMORY, P50, P99, P999, RATE, START},
        tails, through_layers as layers,
    },
};

pub(super) fn beside_table(lines: &[Line], unit: &str) -> Table {
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
}

pub(super) fn memory_table(lines: &[Line], unit: &str) -> Table {
    let columns = memory::SITUATIONS.into_iter().flat_map(|situation| {
        [tails::UPSTREAM, tails::HERE].map(|subject| format!("{situation}: {subject}"))
    });
    Table::new(unit, columns).fill(lines, memory::PART, |value| {
        let (command, situation) = value.load.split_once(": ").unwrap_or_default();
        let column = if value.unit == unit {
            format!("{situation}: {}", value.subject)
        } else {
            String::new()
        };
        let size = number::bytes(value.at.unwrap_or_default());
        (format!("{command}, {size}"), column)
    })
}

pub(super) fn tails_table(lines: &[Line]) -> Table {
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

pub(super) fn peers_table(lines: &[Line]) -> Table {
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

pub(super) fn growth_table(lines: &[Line], part: &str, corner: &str, units: &[&str]) -> Table {
    let columns = [tails::UPSTREAM, tails::HERE]
        .into_iter()
        .flat_map(|subject| units.iter().map(move |unit| format!("{subject}: {unit}")));
    Table::new(corner, columns).fill(lines, part, |value| {
        let row = number::short(value.at.unwrap_or_default());
        (row, format!("{}: {}", value.subject, value.unit))
    })
}

pub(super) fn sizes_table(lines: &[Line]) -> Table {
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

pub(super) fn backlog_table(lines: &[Line]) -> Table {
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

pub(super) fn costs_table(lines: &[Line]) -> Table {
    let columns = [tails::UPSTREAM, tails::HERE].map(ToOwned::to_owned);
    Table::new("what is held", columns).fill(lines, costs::PART, |value| {
        (
            format!("{}: {}", value.load, value.unit),
            value.subject.clone(),
        )
    })
}

pub(super) fn layers_table(lines: &[Line], unit: &str) -> Table {
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

pub(super) fn cluster_table(lines: &[Line]) -> Table {
    Table::new("load", [CPU, RATE, P50].map(ToOwned::to_owned)).fill(
        lines,
        cluster::PART,
        |value| {
            (
                format!("{}: {}", value.subject, value.load),
                value.unit.clone(),
            )
        },
    )
}

pub(super) fn cluster_growth_table(lines: &[Line]) -> Table {
    Table::new("cluster", [CPU, RATE, MEMORY].map(ToOwned::to_owned)).fill(
        lines,
        cluster::GROWTH,
        |value| {
            let row = match value.at {
                None => format!("{}: {}", value.subject, value.load),
                Some(size) => format!("{} messages: {}", number::bytes(size), value.load),
            };
            (row, value.unit.clone())
        },
    )
}
