//! The log as its users see it: written, read, reopened, broken.

mod basics;
mod crash;
mod damage;
mod faults;
mod links;
mod model;
mod recycling;
mod sharing;

use std::path::Path;
use std::sync::Arc;

use crate::disk::Disk;
use crate::{
    Cursor, Listing, Log, LogError, LogOptions, NewRecord, ReadError, Reader, Recovery,
    SegmentPool, Writer,
};

/// Small segments, so that little data spans many.
const OPTIONS: LogOptions = LogOptions {
    first_segment_bytes: 4096,
    max_segment_bytes: 16 << 10,
};

/// A folder with a log in it, that can be closed and opened again.
struct Bench {
    folder: tempfile::TempDir,
    disk: Disk,
    pool: Arc<SegmentPool>,
    options: LogOptions,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pool = Arc::new(SegmentPool::new(folder.path(), 0));
        Self {
            folder,
            disk: Disk::default(),
            pool,
            options: OPTIONS,
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn open(&self) -> (Writer, Recovery) {
        let pool = Arc::clone(&self.pool);
        let listing = Listing::of(self.path()).unwrap();
        let disk = self.disk.clone();
        Writer::open_on(disk, self.path(), "log", pool, self.options, &listing).unwrap()
    }

    /// The names of all files, sorted.
    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn record(body: &[u8]) -> NewRecord<'_> {
    NewRecord {
        id: body.len() as u64,
        timestamp: 1,
        due: 0,
        attempts: 0,
        body,
    }
}

fn append(writer: &mut Writer, bodies: &[Vec<u8>]) -> Result<std::ops::Range<u64>, LogError> {
    writer.append(bodies.iter().map(|body| record(body)))
}

/// Bodies that tell their number, of `size` bytes each.
fn bodies(numbers: std::ops::Range<u64>, size: usize) -> Vec<Vec<u8>> {
    numbers
        .map(|number| {
            let mut body = number.to_string().into_bytes();
            body.resize(size.max(body.len()), b'.');
            body
        })
        .collect()
}

/// Everything from `first` on: what was read, and which sequences were reported as damaged.
fn read_from(log: &Arc<Log>, first: u64) -> (Vec<(u64, Vec<u8>)>, Vec<u64>) {
    let mut reader = Reader::new(Arc::clone(log));
    let mut cursor = log.seek(first);
    let mut read = Vec::new();
    let mut lost = Vec::new();
    loop {
        let before: Cursor = cursor;
        match reader.next(&mut cursor) {
            Ok(Some(record)) => {
                assert_eq!(record.sequence, before.sequence);
                read.push((record.sequence, record.body.to_vec()));
            }
            Ok(None) => return (read, lost),
            Err(ReadError::Damaged { sequences, .. }) => {
                assert!(!sequences.is_empty(), "no progress at {before:?}");
                lost.extend(sequences);
            }
            Err(ReadError::Io(error)) => panic!("{error}"),
        }
    }
}

/// All bodies of a log that must be sound.
fn read_all(log: &Arc<Log>) -> Vec<Vec<u8>> {
    let first = log.first_sequence();
    let (read, lost) = read_from(log, first);
    assert_eq!(lost, [0; 0]);
    let sequences: Vec<_> = read.iter().map(|(sequence, _)| *sequence).collect();
    assert_eq!(sequences, (first..log.end_sequence()).collect::<Vec<_>>());
    read.into_iter().map(|(_, body)| body).collect()
}
