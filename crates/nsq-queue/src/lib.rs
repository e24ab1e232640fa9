//! The topic log: an append-only sequence of records in segment files that are recycled.
//!
//! A [`Writer`] appends batches, all or nothing, and frees what is no longer needed; any number of
//! [`Reader`]s follow at their own [`Cursor`]; [`Log`] is what they share. [`FinishedSet`] remembers which
//! records of a log one channel has finished.
//!
//! - Appending writes with `pwrite`, so a full or failing disk is an error and not a signal; reading
//!   goes through read-only maps.
//! - Whatever instant the process is killed at, a reopened log holds every acknowledged record, once.
//! - A damaged record costs that record. Nothing readable is ever overwritten.
//!
//! [`diskqueue`] reads and writes upstream's files, for moving in and out.
//!
//! Files only: no sockets and no clock.

mod disk;
pub mod diskqueue;
mod error;
mod finished_set;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
#[path = "../../../tests/fuzz/bodies/queue/mod.rs"]
pub mod fuzz;
mod header;
mod listing;
mod log;
#[expect(unsafe_code, reason = "memory maps and the handler of their faults")]
mod map;
mod pool;
pub mod private;
pub mod probe;
mod reader;
mod record;
mod recovery;
mod segment;
mod segment_allocator;
mod segment_files;
mod spare_memory;
#[cfg(test)]
mod tests;
mod unsynced_marker;
mod writer;

pub use disk::{sync_file_system, sync_folder};
pub use error::{FileError, LogError, ReadError};
pub use finished_set::FinishedSet;
pub use listing::Listing;
pub use log::Log;
pub use pool::SegmentPool;
pub use reader::Reader;
pub use record::{NewRecord, Record};
pub use recovery::{Damage, Recovery};
pub use segment_files::{SegmentFile, segment_bytes, whole_bytes};
pub use writer::Writer;

/// Where a record begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Ordinal of the segment.
    pub segment: u32,
    /// Byte offset in it. 0, where no record can begin, says: not known, look for it.
    pub offset: u32,
}

/// A place between records: the next one's number, and where it begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    /// Number of the next record.
    pub sequence: u64,
    /// Where it begins.
    pub position: Position,
}

/// Sizes of a log's segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// The first segment's size: what an idle topic costs.
    pub first_segment_bytes: u32,
    /// The largest size. Each segment is four times as large as the one before, up to this.
    pub max_segment_bytes: u32,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            first_segment_bytes: 16 << 10,
            max_segment_bytes: 64 << 20,
        }
    }
}
