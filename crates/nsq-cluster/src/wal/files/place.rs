//! Where a write-ahead log stands, and what its files are called.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::codec::{DecodeError, Decoder, LogId, Wire, put_optional};
use crate::wal::small_file;

/// What the file `place` holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::wal) struct Place {
    pub(in crate::wal) generation: u64,
    pub(in crate::wal) offset: u64,
    pub(in crate::wal) purged: Option<LogId>,
    /// All entries below this index were synced; updated when the log enters a segment.
    pub(in crate::wal) synced_end: u64,
}

impl Wire for Place {
    fn encode(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.generation.to_le_bytes());
        to.extend_from_slice(&self.offset.to_le_bytes());
        put_optional(to, self.purged.as_ref());
        to.extend_from_slice(&self.synced_end.to_le_bytes());
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            generation: from.u64("a log's generation")?,
            offset: from.u64("a log's offset")?,
            purged: from.optional("the last purged entry")?,
            synced_end: from.u64("the end of what was synced")?,
        })
    }
}

pub(in crate::wal) fn log_name(generation: u64) -> String {
    format!("{LOG_PREFIX}{generation}")
}

/// The files of all generations' logs.
pub(in crate::wal) fn log_files(folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut files = Vec::new();
    let listing =
        fs::read_dir(folder).map_err(|error| small_file::explain(&error, "list", folder))?;
    for entry in listing {
        let entry = entry.map_err(|error| small_file::explain(&error, "list", folder))?;
        let name = entry.file_name();
        let generation = name
            .to_str()
            .and_then(|name| name.strip_prefix(LOG_PREFIX))
            .and_then(|rest| rest.split('.').next())
            .and_then(|generation| generation.parse().ok());
        if let Some(generation) = generation {
            files.push((entry.path(), generation));
        }
    }
    Ok(files)
}

pub(in crate::wal) const PLACE_FILE: &str = "place";
const LOG_PREFIX: &str = "wal-";
