//! What nsqd takes of memory, handles and disk, noted at intervals.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nsq_tests::{Nsqd, say_loudly};

/// One process over one run.
pub(super) struct Record {
    process: PathBuf,
    folder: PathBuf,
    start: Instant,
    length: Duration,
    samples: Vec<Sample>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    /// Of its own: not what the kernel has of mapped logs, which it takes back when it likes.
    memory_bytes: u64,
    /// That included.
    resident_bytes: u64,
    handles: u64,
    disk_bytes: u64,
}

/// One of the figures, and how it is shown.
struct Figure {
    name: &'static str,
    of: fn(&Sample) -> u64,
    /// What it may grow by between the second and the last quarter of a run.
    slack: u64,
    unit: u64,
}

const MIB: u64 = 1 << 20;

const FIGURES: [Figure; 4] = [
    Figure {
        name: "memory, KiB",
        of: |sample| sample.memory_bytes,
        // In half an hour, more than two bytes a message are seen.
        slack: 2 * MIB,
        unit: 1024,
    },
    Figure {
        name: "resident, MiB",
        of: |sample| sample.resident_bytes,
        // Each of the two topics may have one segment of 64 MiB mapped.
        slack: 128 * MIB,
        unit: MIB,
    },
    Figure {
        name: "handles",
        of: |sample| sample.handles,
        slack: 20,
        unit: 1,
    },
    Figure {
        name: "disk, MiB",
        of: |sample| sample.disk_bytes,
        // A log's segments grow to 64 MiB while it is used, made in advance; and others wait to be used again.
        slack: 384 * MIB,
        unit: MIB,
    },
];

/// Below that a run has no quarters worth comparing.
const LONG_ENOUGH: usize = 24;

impl Record {
    pub(super) fn of(nsqd: &Nsqd, length: Duration) -> Self {
        let mut record = Self {
            process: Path::new("/proc").join(nsqd.id().to_string()),
            folder: nsqd.folder().to_path_buf(),
            start: Instant::now(),
            length,
            samples: Vec::new(),
        };
        record.note();
        record
    }

    /// How long to wait between two notes.
    pub(super) fn interval(&self) -> Duration {
        (self.length / 3).clamp(Duration::from_millis(100), Duration::from_secs(10))
    }

    pub(super) fn note(&mut self) {
        let sample = Sample {
            memory_bytes: self.memory_bytes("RssAnon:"),
            resident_bytes: self.memory_bytes("VmRSS:"),
            handles: fs::read_dir(self.process.join("fd"))
                .expect("it runs")
                .count() as u64,
            disk_bytes: disk_bytes(&self.folder),
        };
        if self.length >= Duration::from_mins(1) {
            let shown = FIGURES
                .iter()
                .map(|figure| format!("{} {}", figure.name, (figure.of)(&sample) / figure.unit));
            let shown: Vec<_> = shown.collect();
            say_loudly(&format!(
                "{:5} s: {}",
                self.start.elapsed().as_secs(),
                shown.join("; ")
            ));
        }
        self.samples.push(sample);
    }

    /// First, last and highest of each figure.
    pub(super) fn summary(&self) -> String {
        let lines = FIGURES.iter().map(|figure| {
            let values: Vec<_> = self.samples.iter().map(figure.of).collect();
            let shown = |value: Option<&u64>| value.map_or(0, |value| value / figure.unit);
            format!(
                "{}: {} at the start, {} at a quarter, {} at the end, {} at most",
                figure.name,
                shown(values.first()),
                shown(values.get(values.len() / 4)),
                shown(values.last()),
                shown(values.iter().max())
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Fails where the last quarter of a long run took more than the second.
    #[track_caller]
    pub(super) fn expect_nothing_creeps(&self) {
        if self.samples.len() < LONG_ENOUGH {
            return;
        }
        let quarter = self.samples.len() / 4;
        let highest = |samples: &[Sample], figure: &Figure| {
            samples.iter().map(figure.of).max().unwrap_or_default()
        };
        for figure in FIGURES {
            let before = highest(&self.samples[quarter..2 * quarter], &figure);
            let after = highest(&self.samples[self.samples.len() - quarter..], &figure);
            assert!(
                after <= before + figure.slack,
                "{} creeps: {} in the second quarter, {} in the last",
                figure.name,
                before / figure.unit,
                after / figure.unit
            );
        }
    }

    /// What the kernel says under this name.
    fn memory_bytes(&self, name: &str) -> u64 {
        let status = fs::read_to_string(self.process.join("status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kibibytes = kibibytes.and_then(|text| text.parse::<u64>().ok());
        kibibytes.expect("the kernel tells it in kB") * 1024
    }
}

/// What lies in a folder; what goes meanwhile counts or not.
fn disk_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}
