//! Which records of a log one channel has finished: a floor, and a mark for each finished one above it.
//!
//! ```text
//!  0  u32  magic "NSQM", u32 version
//!  8  u64  identity of the log
//! 16  u64  floor: every record below is finished
//! 24  u64  the floor's complement
//! 64  u64  words, each a 32-bit tag and 32 marks
//! ```
//!
//! Record `s` belongs to block `b = s / 32`, which lives in word `b % n` of `n` and is valid only under
//! the tag `b / n + 1`. So each mark is one store of eight bytes, a kill at any instant leaves the file
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

/// The finished marks of one channel in one log.
#[derive(Debug)]
pub struct Marks {
    disk: Disk,
    /// `None` in memory.
    path: Option<PathBuf>,
    identity: u64,
    store: Store,
    /// As in the file; kept here too, in case the file becomes unreadable.
    floor: u64,
    /// From the floor to here nothing is marked: the usual mark, that of the record at the floor, need not look.
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

impl Marks {
    /// Opens the marks at `path`, or makes them with a floor of 0. Marks of another log (unless nothing is
    /// marked in them), or such as cannot be understood, are kept as `<path>.bad`, and new ones begin.
    ///
    /// # Errors
    /// When the file can be neither read nor made.
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
        // An empty file cannot be mapped; it holds as little as a foreign one.
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
            // Were the copies left different, a second flipped bit could raise the lower one.
            write_floor(map.words(), read_floor(map.words()));
            map
        } else {
            let words = image(identity, 0, FIRST_WORDS, |_| 0);
            write_file(&disk, path, &words, Replaces::Nothing)?
        };
        let mut marks = Self {
            disk,
            path: Some(path.to_path_buf()),
            identity,
            floor: read_floor(map.words()),
            clear_to: 0,
            store: Store::File(map),
            started_afresh,
        };
        // A kill may have come between a mark and the floor that follows from it.
        marks.advance(marks.floor);
        Ok(marks)
    }

    /// The marks at `path` as they stand, copied: the file is not touched. Blank ones when there is no file; when it is
    /// not this log's, or cannot be understood, blank ones that [started afresh](Self::started_afresh).
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn look(path: &Path, log_identity: u64) -> Result<Self, LogError> {
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
        let mut marks = Self {
            identity: log_identity,
            floor: read_floor(&words),
            clear_to: 0,
            store: Store::Memory(words),
            ..Self::in_memory()
        };
        marks.advance(marks.floor);
        Ok(marks)
    }

    /// Marks without a file, for a log in memory.
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

    /// Moves the floor. Forwards, everything on the way counts as finished; backwards, every mark at or
    /// above the new floor is forgotten.
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

    /// Forgets what lies at or above `end`: the log lost those records, and their numbers will be given out again. On the disk
    /// too, before this returns: after another machine crash, the old marks must not count for the new records.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn retain_below(&mut self, end: u64) -> Result<(), LogError> {
        if self.forget_from(end) {
            self.sync()?;
        }
        Ok(())
    }

    /// Whether there was anything to forget.
    fn forget_from(&mut self, end: u64) -> bool {
        if self.floor > end {
            self.set_floor(end);
            return true;
        }
        let mut has_forgotten = false;
        let count = self.mark_words();
        let words = &self.store.words()[HEADER_WORDS..];
        for (at, word) in (0..).zip(words) {
            let value = word.load(Ordering::Acquire);
            let block = self.block_at(at, count);
            if value & !MARKS_MASK != tag_of(block, count) {
                // Left over from below the floor, or damaged: it must not count when the floor comes there.
                if value != 0 {
                    word.store(0, Ordering::Release);
                    has_forgotten = true;
                }
                continue;
            }
            let kept = end.saturating_sub(block * BLOCK_MARKS).min(BLOCK_MARKS);
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

    /// Notes a record as finished, and moves the floor over every run of finished ones.
    ///
    /// # Errors
    /// When a larger file is needed and cannot be made, or the present one has become unreadable and
    /// cannot be replaced. In the latter case the mark counts as long as the process lives.
    pub fn mark(&mut self, sequence: u64) -> Result<(), LogError> {
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
            let span = sequence / BLOCK_MARKS - self.floor / BLOCK_MARKS;
            if span >= self.mark_words() {
                self.grow(span + 1)?;
            }
            let count = self.mark_words();
            let block = sequence / BLOCK_MARKS;
            let tag = tag_of(block, count);
            let word = self.word(block);
            let old = word.load(Ordering::Relaxed);
            let old = if old & !MARKS_MASK == tag { old } else { tag };
            word.store(old | 1 << (sequence % BLOCK_MARKS), Ordering::Release);
        }
        if let Store::File(map) = &self.store
            && map.has_faulted()
        {
            self.rewrite(self.mark_words())?;
        }
        Ok(())
    }

    /// Whether a record is finished.
    pub fn is_marked(&self, sequence: u64) -> bool {
        let marks = self.marks_of(sequence / BLOCK_MARKS);
        sequence < self.floor || marks >> (sequence % BLOCK_MARKS) & 1 == 1
    }

    /// The first record at or above `sequence` that is not finished.
    pub fn next_unmarked(&self, sequence: u64) -> u64 {
        self.end_of_run(sequence.max(self.floor))
    }

    /// How many of these records are finished.
    pub fn count_marked(&self, range: Range<u64>) -> u64 {
        let below = self.floor.min(range.end).saturating_sub(range.start);
        let start = range.start.max(self.floor);
        let window = (self.floor / BLOCK_MARKS + self.mark_words()) * BLOCK_MARKS;
        let end = range.end.min(window);
        if start >= end {
            return below;
        }
        let blocks = start / BLOCK_MARKS..=(end - 1) / BLOCK_MARKS;
        let above = blocks.map(|block| {
            let first = block * BLOCK_MARKS;
            let from = start.saturating_sub(first);
            let to = (end - first).min(BLOCK_MARKS);
            let mask = ((1_u64 << to) - 1) & !((1_u64 << from) - 1);
            u64::from((self.marks_of(block) & mask).count_ones())
        });
        below + above.sum::<u64>()
    }

    /// Brings the marks to the disk.
    ///
    /// # Errors
    /// When the disk does not take them.
    pub fn sync(&self) -> Result<(), LogError> {
        if let (Store::File(map), Some(path)) = (&self.store, &self.path) {
            map.sync().context("sync", path)?;
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

    /// Moves the floor to `floor` and on over the finished records that follow.
    fn advance(&mut self, floor: u64) {
        let floor = self.end_of_run(floor);
        if floor != self.floor {
            self.store_floor(floor);
        }
        let skipped = floor % BLOCK_MARKS;
        let clear = (self.marks_of(floor / BLOCK_MARKS) >> skipped).trailing_zeros();
        self.clear_to = floor + u64::from(clear).min(BLOCK_MARKS - skipped);
    }

    /// The first record at or above `sequence` without a mark of its own, whatever the floor.
    fn end_of_run(&self, mut sequence: u64) -> u64 {
        loop {
            let skipped = sequence % BLOCK_MARKS;
            let run = (!(self.marks_of(sequence / BLOCK_MARKS) >> skipped)).trailing_zeros();
            let run = u64::from(run).min(BLOCK_MARKS - skipped);
            sequence += run;
            if run == 0 || skipped + run < BLOCK_MARKS {
                return sequence;
            }
        }
    }

    /// The lower of the two copies counts, so a kill in between, or a flipped bit, can only bring the
    /// floor back a little.
    fn store_floor(&mut self, floor: u64) {
        write_floor(self.store.words(), floor);
        self.floor = floor;
    }

    fn mark_words(&self) -> u64 {
        (self.store.words().len() - HEADER_WORDS) as u64
    }

    fn word(&self, block: u64) -> &AtomicU64 {
        let at = usize::try_from(block % self.mark_words()).expect("an index of a slice");
        &self.store.words()[HEADER_WORDS + at]
    }

    /// The one block from the floor on that lives in word `at` of `count`.
    fn block_at(&self, at: u64, count: u64) -> u64 {
        let first = self.floor / BLOCK_MARKS;
        first + (at + count - first % count) % count
    }

    /// The marks of a block, as the lower 32 bits.
    fn marks_of(&self, block: u64) -> u64 {
        let value = self.word(block).load(Ordering::Acquire);
        if value & !MARKS_MASK == tag_of(block, self.mark_words()) {
            value & MARKS_MASK
        } else {
            0
        }
    }

    fn grow(&mut self, blocks: u64) -> Result<(), LogError> {
        if blocks > MAX_BYTES / WORD_BYTES - HEADER_WORDS as u64 {
            return Err(LogError::WindowTooLarge {
                span: blocks.saturating_mul(BLOCK_MARKS),
                max: MAX_BYTES / WORD_BYTES * BLOCK_MARKS,
            });
        }
        let mut bytes = (self.mark_words() + HEADER_WORDS as u64) * WORD_BYTES;
        while bytes / WORD_BYTES - (HEADER_WORDS as u64) < blocks {
            bytes *= GROWTH;
        }
        self.rewrite(bytes / WORD_BYTES - HEADER_WORDS as u64)
    }

    /// Moves everything into a new file with room for `count` words of marks.
    fn rewrite(&mut self, count: u64) -> Result<(), LogError> {
        let first = self.floor / BLOCK_MARKS;
        let window = first..first + self.mark_words();
        let total = usize::try_from(count).expect("bounded by MAX_BYTES") + HEADER_WORDS;
        let words = image(self.identity, self.floor, total, |at| {
            let block = self.block_at(at, count);
            let marks = if window.contains(&block) {
                self.marks_of(block)
            } else {
                0
            };
            if marks == 0 {
                0
            } else {
                tag_of(block, count) | marks
            }
        });
        self.store = match &self.path {
            Some(path) => Store::File(write_file(&self.disk, path, &words, Replaces::Marks)?),
            None => memory(words),
        };
        Ok(())
    }
}

/// The words of a marks file; `marks` tells each word behind the header.
fn image(identity: u64, floor: u64, total: usize, marks: impl Fn(u64) -> u64) -> Vec<u64> {
    let mut words = vec![0; total];
    words[0] = MAGIC;
    words[1] = identity;
    words[FLOOR_WORD] = floor;
    words[COMPLEMENT_WORD] = !floor;
    for (at, word) in (0..).zip(&mut words[HEADER_WORDS..]) {
        *word = marks(at);
    }
    words
}

fn memory(words: Vec<u64>) -> Store {
    Store::Memory(words.into_iter().map(AtomicU64::new).collect())
}

/// Puts a file with these words in the place of `path`, and maps it. Written in full, so that no later
/// store needs space on the disk.
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
        // A machine that crashes after the rename must find the old marks or all of the new ones.
        if let Replaces::Marks = replaces {
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

/// What a written marks file takes the place of.
#[derive(Clone, Copy)]
enum Replaces {
    Nothing,
    Marks,
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

/// Marks in which nothing is marked may serve any log: one without a segment has a new identity at each
/// start, until its first append.
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

/// The tag, in its place, under which a block is valid among `count` words.
fn tag_of(block: u64, count: u64) -> u64 {
    ((block / count) & MARKS_MASK).wrapping_add(1) << 32
}

/// "NSQM" and version 1, as one little-endian word.
const MAGIC: u64 = u64::from_le_bytes(*b"NSQM\x01\0\0\0");
const FLOOR_WORD: usize = 2;
const COMPLEMENT_WORD: usize = 3;
const HEADER_WORDS: usize = 8;
/// One page: enough for 16,128 messages between the floor and the last one finished.
const FIRST_WORDS: usize = 512;
const WORD_BYTES: u64 = 8;
const BLOCK_MARKS: u64 = 32;
const MARKS_MASK: u64 = (1 << 32) - 1;
const GROWTH: u64 = 2;
/// A window of a thousand million messages.
const MAX_BYTES: u64 = 256 << 20;

#[cfg(test)]
mod tests;
