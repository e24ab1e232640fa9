//! What can go wrong between a log and its files.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::Position;

/// A file operation that failed, with the act and the file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {act} {}: {source}", path.display())]
pub struct FileError {
    /// What was attempted, as a verb: `write`, `preallocate`, `sync`.
    pub act: &'static str,
    /// The file or folder it was attempted on.
    pub path: PathBuf,
    /// What the operating system answered.
    pub source: io::Error,
}

impl FileError {
    /// Whether the file system has no space left for this.
    pub fn is_full_disk(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }

    /// Whether the process may not make files of this size.
    pub(crate) fn is_too_large_a_file(&self) -> bool {
        self.source.kind() == io::ErrorKind::FileTooLarge
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// Adds the act and the file to an I/O error.
pub(crate) trait Context<T> {
    fn context(self, act: &'static str, path: &Path) -> Result<T, FileError>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn context(self, act: &'static str, path: &Path) -> Result<T, FileError> {
        self.map_err(|source| FileError {
            act,
            path: path.to_path_buf(),
            source: source.into(),
        })
    }
}

/// Why a log or a marks file could not do what was asked. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The operating system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// The body does not fit the record format.
    #[error("a body of {size} bytes exceeds the {max} a record can hold")]
    RecordTooLarge {
        /// Bytes of the body.
        size: usize,
        /// The most a record holds.
        max: usize,
    },
    /// The marks would need a larger file than is sensible: something is out for far too long.
    #[error("finished messages would have to span {span} messages, more than {max}")]
    WindowTooLarge {
        /// Messages between the floor and the mark.
        span: u64,
        /// The most a marks file spans.
        max: u64,
    },
}

impl LogError {
    /// Whether the file system has no space left for this.
    pub fn is_full_disk(&self) -> bool {
        matches!(self, Self::File(error) if error.is_full_disk())
    }
}

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes are not what was written. These records are lost; the cursor is behind them now.
    #[error(
        "messages {}..{} are damaged (segment {}, offset {})",
        sequences.start, sequences.end, position.segment, position.offset
    )]
    Damaged {
        /// The lost records.
        sequences: Range<u64>,
        /// Where the first of them should have been.
        position: Position,
    },
    /// The file cannot be read now. Nothing was skipped: a later try may succeed.
    #[error(transparent)]
    Io(#[from] FileError),
}
