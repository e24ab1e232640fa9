//! A data file of any size, seen through a buffer that moves along.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{HEADER_BYTES, Head, ID_BYTES, LEAST_BYTES};
use crate::error::{Context, FileError};

/// How much is read at once, unless a single record is larger.
const CHUNK_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Window {
    file: File,
    path: PathBuf,
    length: u64,
    /// Where `bytes` lie in the file.
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// `None` when there is no such file.
    pub(super) fn open(path: &Path) -> Result<Option<Window>, FileError> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.context("open", path)?,
        };
        let length = file.metadata().context("examine", path)?.len();
        Ok(Some(Window {
            file,
            path: path.to_path_buf(),
            length,
            start: 0,
            bytes: Vec::new(),
        }))
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// `count` bytes from `offset` on, or as many as there are before the end of the file.
    pub(super) fn at(&mut self, offset: u64, count: usize) -> Result<&[u8], FileError> {
        let left = self.length.saturating_sub(offset);
        let count = usize::try_from(left).map_or(count, |left| count.min(left));
        let held = |window: &Window| {
            let from = usize::try_from(offset.checked_sub(window.start)?).ok()?;
            let to = from.checked_add(count)?;
            (to <= window.bytes.len()).then_some(from..to)
        };
        let range = if let Some(range) = held(self) {
            range
        } else {
            let wanted = count.max(CHUNK_BYTES);
            self.fill(
                offset,
                usize::try_from(left).map_or(wanted, |left| wanted.min(left)),
            )?;
            0..count
        };
        Ok(&self.bytes[range])
    }

    fn fill(&mut self, offset: u64, count: usize) -> Result<(), FileError> {
        self.bytes.clear();
        // A record of many megabytes is no reason to hold as much for the rest of the file.
        self.bytes.shrink_to(count.max(CHUNK_BYTES));
        self.bytes.resize(count, 0);
        self.start = offset;
        let read = self.file.read_exact_at(&mut self.bytes, offset);
        if read.is_err() {
            self.bytes.clear();
        }
        read.context("read", &self.path)
    }

    /// The head of a record that may begin at `offset`.
    pub(super) fn head(&mut self, offset: u64) -> Result<Option<Head>, FileError> {
        let room = self.length.saturating_sub(offset);
        Ok(Head::parse(self.at(offset, LEAST_BYTES)?, room))
    }

    /// Where in `from..to` the first record begins that there is no doubt of.
    pub(super) fn search(&mut self, from: u64, to: u64) -> Result<Option<u64>, FileError> {
        let mut offset = from;
        while offset < to {
            let room = self.length.saturating_sub(offset);
            let bytes = self.at(offset, CHUNK_BYTES)?;
            if bytes.len() < LEAST_BYTES {
                return Ok(None);
            }
            let begins = |at: &usize| {
                let left = room - *at as u64;
                Head::parse(&bytes[*at..], left).is_some_and(|head| head.is_of_our_time())
            };
            if let Some(at) = candidates(bytes).find(begins) {
                let found = offset + at as u64;
                return Ok((found < to).then_some(found));
            }
            offset += (bytes.len() - LEAST_BYTES + 1) as u64;
        }
        Ok(None)
    }
}

/// The places where the digits of an id follow as they would after a record's beginning, ascending.
fn candidates(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(id) = bytes.get(at + LEAST_BYTES - ID_BYTES..at + LEAST_BYTES) {
            // From the last digit: what is none cannot be part of any id that ends there or before.
            let Some(other) = id.iter().rposition(|byte| !byte.is_ascii_hexdigit()) else {
                at += 1;
                return Some(at - 1);
            };
            at += other + 1;
        }
        None
    })
}

const _: () = assert!(CHUNK_BYTES > LEAST_BYTES && HEADER_BYTES < LEAST_BYTES);
