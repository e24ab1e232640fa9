//! Which tables and charts the document has, by name.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{
    document::{
        aims, number,
        plots::{beside_chart, growth_chart, peers_chart, tails_chart},
        tables::{
            backlog_table, beside_table, cluster_growth_table, cluster_table, costs_table,
            growth_table, layers_table, memory_table, peers_table, sizes_table, tails_table,
        },
    },
    suite::{
        backlog, growth,
        result::{CPU, Line, MEMORY, RATE, START},
    },
};

/// The marks that the document has to have.
#[cfg(test)]
pub(crate) const NAMES: [&str; 19] = [
    "machine",
    "aims",
    "beside-cost",
    "beside-rate",
    "memory-rate",
    "memory-cost",
    "tails",
    "peers",
    "cluster",
    "cluster-growth",
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
    let all = [
        ("machine", machine(lines)),
        ("aims", aims::table(lines)),
        ("beside-cost", beside_table(lines, CPU).text()),
        ("beside-rate", beside_table(lines, RATE).text()),
        ("memory-rate", memory_table(lines, RATE).text()),
        ("memory-cost", memory_table(lines, CPU).text()),
        ("tails", tails_table(lines).text()),
        ("peers", peers_table(lines).text()),
        ("cluster", cluster_table(lines).text()),
        ("cluster-growth", cluster_growth_table(lines).text()),
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

/// The failures and notes of the run.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        document::table::tests::line,
        suite::{
            beside, cluster, costs,
            machine::Machine,
            memory, peers,
            result::{DISK, P50, P999, Value},
            tails, through_layers as layers,
        },
    };

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

    /// One line for every part, with the first and the last line of a run.
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
            at(memory::PART, "MPUB: no consumer", "here", 4096.0, RATE, 3e5),
            at(memory::PART, "MPUB: no consumer", "here", 4096.0, CPU, 2.5),
            line(tails::PART, tails::SINGLE, tails::HERE, P50, 90.0),
            line(tails::PART, tails::SINGLE, tails::HERE, P999, 900.0),
            line(peers::PART, peers::PUBLISH, "other", CPU, 3.0),
            line(peers::PART, peers::PUBLISH, "other", DISK, 3.0),
            line(peers::PART, peers::CONSUME, "other", DISK, 7.0),
            line(cluster::PART, cluster::CONSUME, cluster::HERE, CPU, 0.7),
            at(
                cluster::GROWTH,
                cluster::PUBLISH,
                "by size",
                100.0,
                CPU,
                1.0,
            ),
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
            ("memory-cost", "| MPUB, 4 KiB | 2.50 |"),
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
