//! A log's segment files for those who copy them.
//!
//! What lies below the end of a segment never changes while the file holds that segment, and neither does its header, but
//! for a truncation. So a hard link to the file keeps it readable: a freed file that has another link is removed rather
//! than used again.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Context, FileError};
use crate::header::{HEADER_BYTES, Header, HeaderKind};
use crate::segment::Segment;
use crate::{Log, record};

/// One segment file of a log.
#[derive(Clone, Debug)]
pub struct SegmentFile {
    /// Where it lies.
    pub path: PathBuf,
    /// How many of its bytes count.
    pub bytes: u64,
    /// The first of them, which a truncation changes in the file.
    pub header: [u8; HEADER_BYTES as usize],
    /// Two files with the same one hold the same records, up to the end of the shorter one. Never 0.
    pub fingerprint: u64,
}

impl Log {
    /// The segment files, oldest first; none in memory. To be called while nothing is appended and nothing freed.
    ///
    /// # Errors
    /// When a file cannot be examined.
    pub fn files(&self) -> Result<Vec<SegmentFile>, FileError> {
        let mut files = Vec::new();
        for segment in self.with_segments(<[_]>::to_vec) {
            let Some(path) = segment.path() else { continue };
            let header = segment.current_header();
            // The last segment of a copied log is shorter than it was meant to become.
            let length = std::fs::metadata(path).context("examine", path)?.len();
            files.push(SegmentFile {
                path: path.to_path_buf(),
                bytes: u64::from(segment.written()).min(length),
                header: header.encode(),
                fingerprint: header.fingerprint(),
            });
        }
        Ok(files)
    }
}

/// How many of the first `limit` bytes of the file at `path` surely are those of the segment with this
/// [fingerprint](SegmentFile::fingerprint). 0 for another segment.
///
/// # Errors
/// When it cannot be read.
pub fn segment_bytes(path: &Path, fingerprint: u64, limit: u64) -> io::Result<u64> {
    let file = std::fs::File::open(path)?;
    let mut bytes = [0; HEADER_BYTES as usize];
    if file.metadata()?.len() < u64::from(HEADER_BYTES) {
        return Ok(0);
    }
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0)?;
    match Header::kind_of(&bytes) {
        HeaderKind::Header(header) if header.fingerprint() == fingerprint => {
            whole_bytes(path, limit)
        }
        _ => Ok(0),
    }
}

/// How many of a segment file's first `limit` bytes surely are what was written: the header, and whole records without a
/// gap. 0 for a file that is no segment.
///
/// # Errors
/// When it cannot be read.
pub fn whole_bytes(path: &Path, limit: u64) -> io::Result<u64> {
    let file = std::fs::File::open(path)?;
    let length = file.metadata()?.len().min(limit);
    let mut bytes = [0; HEADER_BYTES as usize];
    if length < u64::from(HEADER_BYTES) {
        return Ok(0);
    }
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0)?;
    let HeaderKind::Header(header) = Header::kind_of(&bytes) else {
        return Ok(0);
    };
    let (mut sequence, seed) = (header.base, header.seed);
    let limit = u32::try_from(length).unwrap_or(u32::MAX);
    let segment = Segment::in_file(header, path.to_path_buf(), Some(file));
    let held = segment.bytes().map_err(io::Error::other)?;
    let readable = held.up_to(limit);
    let mut offset = HEADER_BYTES;
    while let Some(parsed) = record::parse(
        readable,
        offset,
        seed,
        &(sequence..sequence.saturating_add(1)),
    ) {
        offset = parsed.end;
        sequence += 1;
    }
    if held.has_faulted() {
        return Err(io::Error::other(segment.fault()));
    }
    Ok(u64::from(offset))
}

/// Whether someone keeps the file with a link of their own.
pub(crate) fn is_linked_elsewhere(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.nlink() > 1)
}
