//! What reading a queue found that its owner should hear of.

use std::fmt;
use std::ops::Range;

/// Something out of the ordinary, with the file it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The file's name.
    pub file: String,
    /// What about it.
    pub kind: RemarkKind,
}

/// What there is to say of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemarkKind {
    /// It should hold the read position and is not there, or cannot be understood: all there is was read.
    NoMetadata,
    /// Upstream was killed before it could note that more was written: read beyond what it noted.
    WrittenBeyond {
        /// Where the metadata says the data ends.
        noted: u64,
    },
    /// A data file in the middle of the queue is not there.
    Missing,
    /// The metadata has the next message at `offset`, after the end of the file.
    ReadPastEnd {
        /// The place that is not there.
        offset: u64,
    },
    /// These bytes are no record; reading went on after them.
    Unreadable(Range<u64>),
    /// The end of the file, from here on, is no whole record.
    Torn {
        /// Where it begins.
        offset: u64,
    },
    /// Everything in the file was read before.
    Finished,
    /// Upstream had given the file up. What stands before `resumed` it had delivered.
    GivenUp {
        /// Messages before that place.
        delivered: u64,
        /// Where reading began.
        resumed: u64,
    },
    /// Upstream had given the file up, though nothing is wrong with it: it does so at times at the end of a file, and
    /// has delivered all of it then.
    GivenUpWhole,
}

impl Remark {
    /// Whether messages may have been lost here, or may come twice: more than good to know.
    pub fn is_damage(&self) -> bool {
        match self.kind {
            RemarkKind::NoMetadata
            | RemarkKind::Missing
            | RemarkKind::ReadPastEnd { .. }
            | RemarkKind::Unreadable(_)
            | RemarkKind::Torn { .. }
            | RemarkKind::GivenUp { .. } => true,
            RemarkKind::WrittenBeyond { .. } | RemarkKind::Finished | RemarkKind::GivenUpWhole => {
                false
            }
        }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = &self.file;
        match &self.kind {
            RemarkKind::NoMetadata => write!(
                f,
                "{file} is missing or damaged: everything in the data files is imported, whether it was delivered or not"
            ),
            RemarkKind::WrittenBeyond { noted } => write!(
                f,
                "{file} continues after {noted}, where the metadata ends: the rest is imported too"
            ),
            RemarkKind::Missing => {
                write!(
                    f,
                    "{file} is missing: it was read to its end before, or is lost"
                )
            }
            RemarkKind::ReadPastEnd { offset } => {
                write!(
                    f,
                    "{file} ends before {offset}, where the next message should be"
                )
            }
            RemarkKind::Unreadable(bytes) => write!(
                f,
                "{file} is damaged from {} to {}: skipped",
                bytes.start, bytes.end
            ),
            RemarkKind::Torn { offset } => {
                write!(f, "{file} has no whole message from {offset} to its end")
            }
            RemarkKind::Finished => {
                write!(f, "{file} was read to its end before: nothing is imported")
            }
            RemarkKind::GivenUp { delivered, resumed } => write!(
                f,
                "upstream gave up {file}: imported from {resumed} on, after {delivered} messages that it had delivered"
            ),
            RemarkKind::GivenUpWhole => write!(
                f,
                "upstream gave up {file}, but it is whole: it counts as delivered, nothing is imported"
            ),
        }
    }
}
