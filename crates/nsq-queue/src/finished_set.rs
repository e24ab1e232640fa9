//! The records of a log that one channel has finished: a floor, and a bit for each finished record above it.
//!
//! ```text
//!  0  u32  magic "NSQM", u32 version
//!  8  u64  identity of the log
//! 16  u64  floor: every record below is finished
//! 24  u64  the floor's complement
//! 64  u64  words, each a 32-bit tag and 32 bits
//! ```
//!
//! Record `s` belongs to block `b = s / 32`, which lives in word `b % n` of `n` and is valid only under
//! the tag `b / n + 1`. So finishing a record is one store of eight bytes, a kill at any moment leaves the file
//! consistent, and a word is reused without being cleared first.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::LogError;
use crate::disk::Disk;
use crate::error::{Context, FileError};
use crate::header::SEQUENCE_LIMIT;
use crate::map::WordMap;

/// The records of one log that one channel has finished.
#[derive(Debug)]
pub struct FinishedSet {
    disk: Disk,
    /// `None` in memory.
    path: Option<PathBuf>,
    identity: u64,
    store: Store,
    /// As in the file; kept here too, in case the file becomes unreadable.
    floor: u64,
    /// No bit is set from the floor to here, so finishing the record at the floor, the usual case, needs no search.
    clear_to: u64,
    started_afresh: bool,
}

#[derive(Debug)]
enum Store {
    File(WordMap),
    Memory(Vec<AtomicU64>),
}

impl Store {
    fn words(&self) -> &[AtomicU64] {
        match self {
            Self::File(map) => map.words(),
            Self::Memory(words) => words,
        }
    }
}

impl FinishedSet {
    /// Opens the finished set at `path`, or makes one with a floor of 0. A file of another log in which a record is
    /// finished, or a file that cannot be understood, is renamed to `<path>.bad`, and a new set begins.
    ///
    /// # Errors
    /// When the file can be neither read nor created.
    pub fn open(path: &Path, log_identity: u64) -> Result<Self, LogError> {
        Self::open_on(Disk::default(), path, log_identity)
    }

    pub(crate) fn open_on(disk: Disk, path: &Path, identity: u64) -> Result<Self, LogError> {
        let existing = match disk.open(path) {
            Err(error) if error.is_not_found() => None,
            opened => Some(opened?),
        };
        let existed = existing.is_some();
        let map = existing.map(|file| WordMap::new(&file).context("map", path));
        // An empty file cannot be mapped. Treat it as one of another log.
        let map = map
            .and_then(Result::ok)
            .filter(|map| is_ours(map.words(), identity) || adopt_blank(map.words(), identity));
        let started_afresh = existed && map.is_none();
        if started_afresh {
            let mut aside = path.as_os_str().to_owned();
            aside.push(".bad");
            disk.rename(path, Path::new(&aside))?;
        }
        let map = if let Some(map) = map {
            // Make both copies equal again: otherwise a second flipped bit could raise the lower one.
            write_floor(map.words(), read_floor(map.words()));
            map
        } else {
            let words = image(identity, 0, FIRST_WORDS, |_| 0);
            write_file(&disk, path, &words, Replaces::Nothing)?
        };
        let mut finished = Self {
            disk,
            path: Some(path.to_path_buf()),
            identity,
            floor: read_floor(map.words()),
            clear_to: 0,
            store: Store::File(map),
            started_afresh,
        };
        // A kill may have come after a bit was set and before the floor followed it.
        finished.advance(finished.floor);
        Ok(finished)
    }

    /// A copy of the finished set at `path`; the file is not changed. An empty set when there is no file. When the file
    /// belongs to another log or cannot be understood, an empty set that [started afresh](Self::started_afresh).
    ///
    /// # Errors
    /// When the file exists and cannot be read.
    pub fn open_read_only(path: &Path, log_identity: u64) -> Result<Self, LogError> {
        let bytes = match std::fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::in_memory());
            }
            read => read.context("read", path)?,
        };
        let words = bytes.chunks_exact(8);
        let words: Vec<_> = words
            .map(|word| AtomicU64::new(u64::from_le_bytes(word.try_into().expect("eight bytes"))))
            .collect();
        if !is_ours(&words, log_identity) && !adopt_blank(&words, log_identity) {
            return Ok(Self {
                started_afresh: true,
                ..Self::in_memory()
            });
        }
        let mut finished = Self {
            identity: log_identity,
            floor: read_floor(&words),
            clear_to: 0,
            store: Store::Memory(words),
            ..Self::in_memory()
        };
        finished.advance(finished.floor);
        Ok(finished)
    }

    /// A finished set without a file, for a log in memory.
    pub fn in_memory() -> Self {
        Self {
            disk: Disk::default(),
            path: None,
            identity: 0,
            store: memory(image(0, 0, FIRST_WORDS, |_| 0)),
            floor: 0,
            clear_to: 0,
            started_afresh: false,
        }
    }

    /// Whether [`open`](Self::open) found a file that was not this log's, or damaged, so that the
    /// caller has to say where to begin.
    pub fn started_afresh(&self) -> bool {
        self.started_afresh
    }

    /// Every record below is finished.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// Moves the floor. Moved forwards, it finishes all records it passes; moved backwards, it clears every bit at or
    /// above the new floor.
    pub fn set_floor(&mut self, floor: u64) {
        if floor < self.floor {
            for word in &self.store.words()[HEADER_WORDS..] {
                word.store(0, Ordering::Release);
            }
            self.clear_to = floor;
            self.store_floor(floor);
        } else {
            self.advance(floor);
        }
    }

    /// Clears the bits at or above `end`: the log lost those records, and their sequences will be given out again. Syncs
    /// before it returns: after another machine crash, the old bits must not count for the new records.
    ///
    /// # Errors
    /// When writing or syncing fails.
    pub fn retain_below(&mut self, end: u64) -> Result<(), LogError> {
        if self.forget_from(end) {
            self.sync()?;
        }
        Ok(())
    }

    /// Returns whether there was a bit to clear.
    fn forget_from(&mut self, end: u64) -> bool {
        if self.floor > end {
            self.set_floor(end);
            return true;
        }
        let mut has_forgotten = false;
        let count = self.bit_words();
        let words = &self.store.words()[HEADER_WORDS..];
        for (at, word) in (0..).zip(words) {
            let value = word.load(Ordering::Acquire);
            let block = self.block_at(at, count);
            if value & !MARKS_MASK != tag_of(block, count) {
                // A word from below the floor, or a damaged one: it must not count once the floor gets there.
                if value != 0 {
                    word.store(0, Ordering::Release);
                    has_forgotten = true;
                }
                continue;
            }
            let kept = end.saturating_sub(block * BLOCK_BITS).min(BLOCK_BITS);
            let mask = (1_u64 << kept) - 1;
            let tag = value & !MARKS_MASK;
            let left = value & MARKS_MASK & mask;
            let left = if left == 0 { 0 } else { tag | left };
            if left != value {
                word.store(left, Ordering::Release);
                has_forgotten = true;
            }
        }
        has_forgotten
    }

    /// Finishes a record, and moves the floor over the finished records that follow it.
    ///
    /// # Errors
    /// When a larger file is needed and cannot be made, or the present one has become unreadable and
    /// cannot be replaced. In the latter case the record stays finished until the process ends.
    pub fn finish(&mut self, sequence: u64) -> Result<(), LogError> {
        if sequence < self.floor {
            return Ok(());
        }
        if sequence == self.floor {
            if sequence + 1 < self.clear_to {
                self.store_floor(sequence + 1);
            } else {
                self.advance(sequence + 1);
            }
        } else {
            self.clear_to = self.clear_to.min(sequence);
            let span = sequence / BLOCK_BITS - self.floor / BLOCK_BITS;
            if span >= self.bit_words() {
                self.grow(span + 1)?;
            }
            let count = self.bit_words();
            let block = sequence / BLOCK_BITS;
            let tag = tag_of(block, count);
            let word = self.word(block);
            let old = word.load(Ordering::Relaxed);
            let old = if old & !MARKS_MASK == tag { old } else { tag };
            word.store(old | 1 << (sequence % BLOCK_BITS), Ordering::Release);
        }
        if let Store::File(map) = &self.store
            && map.has_faulted()
        {
            self.rewrite(self.bit_words())?;
        }
        Ok(())
    }

    /// Finishes these records, as [`finish`](Self::finish) does one by one.
    ///
    /// # Errors
    /// As `finish`; some of them may be finished then.
    pub fn finish_range(&mut self, sequences: Range<u64>) -> Result<(), LogError> {
        if sequences.start <= self.floor {
            if sequences.end > self.floor {
                self.set_floor(sequences.end);
            }
            return Ok(());
        }
        let mut sequences = sequences;
        // The last one first: a set that has to grow does so once, or not at all.
        if let Some(last) = sequences.next_back() {
            self.finish(last)?;
        }
        sequences.try_for_each(|sequence| self.finish(sequence))
    }

    /// Whether a record is finished.
    pub fn is_finished(&self, sequence: u64) -> bool {
        let finished = self.bits_of(sequence / BLOCK_BITS);
        sequence < self.floor || finished >> (sequence % BLOCK_BITS) & 1 == 1
    }

    /// The first record at or above `sequence` that is not finished.
    pub fn next_unfinished(&self, sequence: u64) -> u64 {
        self.end_of_run(sequence.max(self.floor))
    }

    /// The first record at or above `sequence` that is finished, of those above the floor.
    pub fn next_finished(&self, sequence: u64) -> Option<u64> {
        let start = sequence.max(self.floor);
        let end = self.floor / BLOCK_BITS + self.bit_words();
        let mut skipped = start % BLOCK_BITS;
        for block in start / BLOCK_BITS..end {
            let left = self.bits_of(block) >> skipped;
            if left != 0 {
                return Some(block * BLOCK_BITS + skipped + u64::from(left.trailing_zeros()));
            }
            skipped = 0;
        }
        None
    }

    /// How many of these records are finished.
    pub fn count_finished(&self, range: Range<u64>) -> u64 {
        let below = self.floor.min(range.end).saturating_sub(range.start);
        let start = range.start.max(self.floor);
        let window = (self.floor / BLOCK_BITS + self.bit_words()) * BLOCK_BITS;
        let end = range.end.min(window);
        if start >= end {
            return below;
        }
        let blocks = start / BLOCK_BITS..=(end - 1) / BLOCK_BITS;
        let above = blocks.map(|block| {
            let first = block * BLOCK_BITS;
            let from = start.saturating_sub(first);
            let to = (end - first).min(BLOCK_BITS);
            let mask = ((1_u64 << to) - 1) & !((1_u64 << from) - 1);
            u64::from((self.bits_of(block) & mask).count_ones())
        });
        below + above.sum::<u64>()
    }

    /// What the file holds: its bytes, as 64-bit little-endian words. Given are those that are not 0, with their places,
    /// and how many words there are.
    pub fn words(&self) -> (Vec<(usize, u64)>, usize) {
        let words = self.store.words();
        let loaded = words.iter().map(|word| word.load(Ordering::Acquire));
        let present = loaded.enumerate().filter(|(_, word)| *word != 0);
        (present.collect(), words.len())
    }

    /// Syncs the file.
    ///
    /// # Errors
    /// When the sync fails.
    pub fn sync(&self) -> Result<(), LogError> {
        if let (Store::File(map), Some(path)) = (&self.store, &self.path) {
            self.disk.sync_map(map, path)?;
        }
        Ok(())
    }

    /// Removes the file.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn delete(self) -> std::io::Result<()> {
        match &self.path {
            Some(path) => self.disk.remove(path).map_err(std::io::Error::other),
            None => Ok(()),
        }
    }

    /// Moves the floor to `floor`, and over the finished records that follow.
    fn advance(&mut self, floor: u64) {
        let floor = self.end_of_run(floor);
        if floor != self.floor {
            self.store_floor(floor);
        }
        let skipped = floor % BLOCK_BITS;
        let clear = (self.bits_of(floor / BLOCK_BITS) >> skipped).trailing_zeros();
        self.clear_to = floor + u64::from(clear).min(BLOCK_BITS - skipped);
    }

    /// The first record at or above `sequence` whose bit is clear, ignoring the floor.
    fn end_of_run(&self, mut sequence: u64) -> u64 {
        loop {
            let skipped = sequence % BLOCK_BITS;
            let run = (!(self.bits_of(sequence / BLOCK_BITS) >> skipped)).trailing_zeros();
            let run = u64::from(run).min(BLOCK_BITS - skipped);
            sequence += run;
            if run == 0 || skipped + run < BLOCK_BITS {
                return sequence;
            }
        }
    }

    /// The lower of the two copies counts, so a kill between the two stores, or a flipped bit, can only move the
    /// floor back a little.
    fn store_floor(&mut self, floor: u64) {
        write_floor(self.store.words(), floor);
        self.floor = floor;
    }

    fn bit_words(&self) -> u64 {
        (self.store.words().len() - HEADER_WORDS) as u64
    }

    fn word(&self, block: u64) -> &AtomicU64 {
        let at = usize::try_from(block % self.bit_words()).expect("an index of a slice");
        &self.store.words()[HEADER_WORDS + at]
    }

    /// The only block at or above the floor that lives in word `at` of `count`.
    fn block_at(&self, at: u64, count: u64) -> u64 {
        let first = self.floor / BLOCK_BITS;
        first + (at + count - first % count) % count
    }

    /// The bits of a block, as the lower 32 of the result.
    fn bits_of(&self, block: u64) -> u64 {
        let value = self.word(block).load(Ordering::Acquire);
        if value & !MARKS_MASK == tag_of(block, self.bit_words()) {
            value & MARKS_MASK
        } else {
            0
        }
    }

    fn grow(&mut self, blocks: u64) -> Result<(), LogError> {
        if blocks > MAX_BYTES / WORD_BYTES - HEADER_WORDS as u64 {
            return Err(LogError::WindowTooLarge {
                span: blocks.saturating_mul(BLOCK_BITS),
                max: MAX_BYTES / WORD_BYTES * BLOCK_BITS,
            });
        }
        let mut bytes = (self.bit_words() + HEADER_WORDS as u64) * WORD_BYTES;
        while bytes / WORD_BYTES - (HEADER_WORDS as u64) < blocks {
            bytes *= GROWTH;
        }
        self.rewrite(bytes / WORD_BYTES - HEADER_WORDS as u64)
    }

    /// Moves everything into a new file with room for `count` words of bits.
    fn rewrite(&mut self, count: u64) -> Result<(), LogError> {
        let first = self.floor / BLOCK_BITS;
        let window = first..first + self.bit_words();
        let total = usize::try_from(count).expect("bounded by MAX_BYTES") + HEADER_WORDS;
        let words = image(self.identity, self.floor, total, |at| {
            let block = self.block_at(at, count);
            let finished = if window.contains(&block) {
                self.bits_of(block)
            } else {
                0
            };
            if finished == 0 {
                0
            } else {
                tag_of(block, count) | finished
            }
        });
        self.store = match &self.path {
            Some(path) => Store::File(write_file(&self.disk, path, &words, Replaces::OldSet)?),
            None => memory(words),
        };
        Ok(())
    }
}

/// The words of a file; the closure gives each word after the header.
fn image(identity: u64, floor: u64, total: usize, word_at: impl Fn(u64) -> u64) -> Vec<u64> {
    let mut words = vec![0; total];
    words[0] = MAGIC;
    words[1] = identity;
    words[FLOOR_WORD] = floor;
    words[COMPLEMENT_WORD] = !floor;
    for (at, word) in (0..).zip(&mut words[HEADER_WORDS..]) {
        *word = word_at(at);
    }
    words
}

fn memory(words: Vec<u64>) -> Store {
    Store::Memory(words.into_iter().map(AtomicU64::new).collect())
}

/// Replaces `path` with a file of these words, and maps it. It is written in full, so that no later store needs space
/// on the disk.
fn write_file(
    disk: &Disk,
    path: &Path,
    words: &[u64],
    replaces: Replaces,
) -> Result<WordMap, FileError> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    disk.remove(&new)?;
    let result = fill(disk, &new, words).and_then(|file| {
        // After a machine crash the file must hold the old set or all of the new one.
        if let Replaces::OldSet = replaces {
            disk.sync(&file, &new)?;
        }
        disk.rename(&new, path)?;
        WordMap::new(&file).context("map", path)
    });
    if result.is_err() {
        drop(disk.remove(&new));
    }
    result
}

/// What a newly written file replaces.
#[derive(Clone, Copy)]
enum Replaces {
    Nothing,
    OldSet,
}

fn fill(disk: &Disk, path: &Path, words: &[u64]) -> Result<File, FileError> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let file = disk.create(path)?;
    disk.allocate(&file, path, bytes.len() as u64)?;
    disk.write_at(&file, path, &bytes, 0)?;
    Ok(file)
}

fn is_ours(words: &[AtomicU64], identity: u64) -> bool {
    words.len() > HEADER_WORDS
        && words[0].load(Ordering::Acquire) == MAGIC
        && words[1].load(Ordering::Acquire) == identity
        && read_floor(words) < SEQUENCE_LIMIT
}

/// A set in which no record is finished fits any log: a log without a segment has a new identity at each start, until
/// its first append.
fn adopt_blank(words: &[AtomicU64], identity: u64) -> bool {
    let is_blank = words.len() > HEADER_WORDS
        && words[0].load(Ordering::Acquire) == MAGIC
        && read_floor(words) == 0
        && words[HEADER_WORDS..]
            .iter()
            .all(|word| word.load(Ordering::Acquire) == 0);
    if is_blank {
        words[1].store(identity, Ordering::Release);
    }
    is_blank
}

fn write_floor(words: &[AtomicU64], floor: u64) {
    words[FLOOR_WORD].store(floor, Ordering::Release);
    words[COMPLEMENT_WORD].store(!floor, Ordering::Release);
}

fn read_floor(words: &[AtomicU64]) -> u64 {
    let floor = words[FLOOR_WORD].load(Ordering::Acquire);
    floor.min(!words[COMPLEMENT_WORD].load(Ordering::Acquire))
}

/// The tag, shifted to its place, under which a block is valid among `count` words.
fn tag_of(block: u64, count: u64) -> u64 {
    ((block / count) & MARKS_MASK).wrapping_add(1) << 32
}

/// "NSQM" and version 1, as one little-endian word.
const MAGIC: u64 = u64::from_le_bytes(*b"NSQM\x01\0\0\0");
const FLOOR_WORD: usize = 2;
const COMPLEMENT_WORD: usize = 3;
const HEADER_WORDS: usize = 8;
/// One page: enough for 16,128 messages from the floor to the last finished one.
const FIRST_WORDS: usize = 512;
const WORD_BYTES: u64 = 8;
const BLOCK_BITS: u64 = 32;
const MARKS_MASK: u64 = (1 << 32) - 1;
const GROWTH: u64 = 2;
/// A window of a thousand million messages.
const MAX_BYTES: u64 = 256 << 20;

#[cfg(test)]
mod tests;
