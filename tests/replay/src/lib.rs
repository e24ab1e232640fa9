//! What the fuzz bodies share: taking an input apart, a temporary folder, and replaying a corpus.
//!
//! A fuzz body is a function of bytes in `tests/fuzz/bodies`. Since most bodies need private parts of the crate that they
//! try, that crate compiles them as its module `fuzz`, for tests and for the fuzzer only; nothing is public for their
//! sake. The fuzzer calls a body with bytes that it makes up, a test of the crate with each file of
//! `tests/fuzz/corpus/<target>`.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Calls `body` with every input of a target's corpus.
///
/// # Panics
/// When `body` does, having named the file; and when there is no corpus.
#[expect(clippy::print_stderr, reason = "a failing test names its input")]
pub fn replay(target: &str, body: impl Fn(&[u8])) {
    let folder = corpus(target);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a folder's entry").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    for file in files {
        let input = std::fs::read(&file).expect("a file of the corpus");
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(&input))) {
            eprintln!("{target}: {}", file.display());
            resume_unwind(panic);
        }
    }
}

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target)
}

/// An empty folder that is removed with the value.
pub fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// An input, taken apart from the front. After its end every value is zero or empty, so that each input is valid.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// All of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Returns whether everything was taken.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or_default()
    }

    /// Two bytes, little-endian.
    pub fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// A number of any size, mostly a small one; the first byte chooses.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..250 => small.into(),
            250 => self.short().into(),
            251 => u64::MAX - u64::from(self.byte()),
            252 => (u64::MAX >> 1) - u64::from(self.byte()),
            253 => u64::from(u32::MAX) - u64::from(self.byte()),
            254 => 1 << (self.byte() % 64),
            255 => (0..8).fold(0, |number, _| number << 8 | u64::from(self.byte())),
        }
    }

    /// `count` bytes, or as many as there are.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// A count of two bytes, and then as many bytes.
    pub fn part(&mut self) -> &'a [u8] {
        let count = self.short();
        self.bytes(count.into())
    }

    /// All remaining bytes.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// One of these.
    pub fn one_of<'t, T>(&mut self, choices: &'t [T]) -> Option<&'t T> {
        let at = usize::from(self.byte()).checked_rem(choices.len())?;
        choices.get(at)
    }
}
