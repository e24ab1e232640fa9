//! The lines of a result file: one JSON object each, in the order they were measured.

use std::{
    fs::File,
    io::{self, Write as _},
    path::Path,
};

use serde::{Deserialize, Serialize};

use nsq_bench::{process::ratio, report::Report};

use crate::suite::machine::Machine;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Line {
    /// The machine and the servers; the first line.
    Machine(Machine),
    Value(Value),
    /// A note for the reader, such as a missing peer.
    Note {
        part: String,
        text: String,
    },
    /// A measurement that failed.
    Failure {
        part: String,
        text: String,
    },
    /// The last line of a complete run.
    End {
        minutes: f64,
        load_average: String,
    },
}

/// One figure. A figure of several rounds has a line for each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::struct_field_names,
    reason = "it is what the field is called in the file, beside its unit"
)]
pub(crate) struct Value {
    /// The part of the suite, such as `beside` or `growth-topics`.
    pub(crate) part: String,
    /// What was done.
    pub(crate) load: String,
    /// The server and how it was set up.
    pub(crate) subject: String,
    /// The place on the axis, in a part that shows how something grows.
    pub(crate) at: Option<f64>,
    pub(crate) unit: String,
    pub(crate) value: f64,
}

/// The description of a figure, without its value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Of<'a> {
    pub(crate) part: &'a str,
    pub(crate) load: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) at: Option<f64>,
}

/// The server's CPU time for a message.
pub(crate) const CPU: &str = "µs CPU a message";
pub(crate) const RATE: &str = "messages a second";
pub(crate) const P50: &str = "p50 µs";
pub(crate) const P99: &str = "p99 µs";
pub(crate) const P999: &str = "p99.9 µs";
/// Resident memory at the end.
pub(crate) const MEMORY: &str = "MiB of memory";
pub(crate) const DISK: &str = "MiB of disk";
/// From the spawn after a kill to the first accepted connection.
pub(crate) const START: &str = "ms to start after a kill";

/// Writes a result file and keeps its lines.
#[derive(Debug)]
pub(crate) struct Results {
    file: File,
    pub(crate) lines: Vec<Line>,
}

impl Results {
    /// Begins a new file.
    ///
    /// # Errors
    /// It cannot be created.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: File::create(path)?,
            lines: vec![],
        })
    }

    /// Adds a line and writes it at once, so that an interrupted run keeps its lines.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn add(&mut self, line: Line) -> io::Result<()> {
        let text = serde_json::to_string(&line)?;
        writeln!(self.file, "{text}")?;
        self.lines.push(line);
        Ok(())
    }

    /// Adds a figure.
    ///
    /// # Errors
    /// As [`Results::add`].
    pub(crate) fn value(&mut self, of: Of<'_>, unit: &str, value: f64) -> io::Result<()> {
        self.add(Line::Value(Value {
            part: of.part.to_owned(),
            load: of.load.to_owned(),
            subject: of.subject.to_owned(),
            at: of.at,
            unit: unit.to_owned(),
            value,
        }))
    }

    /// Adds the figures of a run of nsqd: cost, rate, and latencies where the load was paced.
    ///
    /// # Errors
    /// As [`Results::add`].
    pub(crate) fn report(&mut self, of: Of<'_>, report: &Report, is_paced: bool) -> io::Result<()> {
        if let Some(cpu) = report.server_cpu_per_message() {
            self.value(of, CPU, cpu.total_us)?;
        }
        if let Some(server) = &report.server {
            self.value(of, MEMORY, ratio(server.memory.rss_kib, 1024))?;
        }
        if !is_paced {
            return self.value(of, RATE, report.messages_per_second());
        }
        if let Some(latency) = &report.end_to_end_latency {
            self.value(of, P50, latency.p50_us)?;
            self.value(of, P99, latency.p99_us)?;
            self.value(of, P999, latency.p99_9_us)?;
        }
        Ok(())
    }
}

/// Reads the lines of a result file.
///
/// # Errors
/// The file cannot be read, or a line has another form.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<Line>> {
    use anyhow::Context as _;

    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    (1..)
        .zip(text.lines())
        .map(|(number, line)| {
            serde_json::from_str(line).with_context(|| format!("{}, line {number}", path.display()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nsq_bench::process::{CpuUse, Memory};
    use nsq_bench::report::ServerUse;

    fn any_report() -> Report {
        Report {
            load: "publish".to_owned(),
            address: "127.0.0.1:1".to_owned(),
            topic: "t".to_owned(),
            published: 1000,
            received: 0,
            redelivered: 0,
            body_bytes: 4_000_000,
            seconds: 2.0,
            answer_latency: None,
            end_to_end_latency: None,
            server: Some(ServerUse {
                cpu: CpuUse {
                    total_us: 3000.0,
                    user_us: 1000.0,
                    system_us: 2000.0,
                },
                memory: Memory {
                    rss_kib: 2048,
                    peak_rss_kib: 4096,
                    rss_anon_kib: 1024,
                    rss_file_kib: 1024,
                },
            }),
            own_cpu_us: 1500.0,
            failures: Vec::new(),
        }
    }

    #[test]
    fn what_was_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results");
        let mut results = Results::create(&path).unwrap();
        let of = Of {
            part: "beside",
            load: "PUB",
            subject: "here",
            at: None,
        };
        results.report(of, &any_report(), false).unwrap();
        let note = Line::Note {
            part: "peers".to_owned(),
            text: "no \"redis-server\"".to_owned(),
        };
        results.add(note).unwrap();
        let lines = read(&path).unwrap();
        assert_eq!(lines, results.lines);
        let units: Vec<&str> = lines
            .iter()
            .filter_map(|line| match line {
                Line::Value(value) => Some(value.unit.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(units, [CPU, MEMORY, RATE]);
    }

    #[test]
    fn a_line_that_is_not_ours_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results");
        std::fs::write(&path, "{\"kind\":\"odd\"}\n").unwrap();
        let error = format!("{:#}", read(&path).unwrap_err());
        assert!(error.contains("line 1"), "{error}");
    }
}
