//! What a start makes of the files it finds.
//!
//! Nothing that may hold a record is removed: a file that cannot be understood is kept under another
//! name. Removed are only files that provably hold nothing, and what a truncation had already voided.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::LogError;
use crate::disk::{self, Disk};
use crate::error::{Context, FileError};
use crate::header::{self, HEADER_BYTES, Header, HeaderKind, SEQUENCE_LIMIT};
use crate::listing::{ASIDE, Ordinals, file_name};
use crate::record;
use crate::segment::Segment;

/// What opening a log found.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Records kept, damaged ones in between included.
    pub records: u64,
    /// The oldest record kept.
    pub first: u64,
    /// The sequence the next record will get.
    pub end: u64,
    /// What was broken.
    pub damaged: Vec<Damage>,
}

impl Recovery {
    /// The part of `found` that a caller is told. The list of damages moves here.
    pub(crate) fn of(found: &mut Found) -> Self {
        let first = found.segments.first();
        let first = first.map_or(found.end, |first| first.base());
        Self {
            records: found.end - first,
            first,
            end: found.end,
            damaged: std::mem::take(&mut found.damaged),
        }
    }
}

/// Something broken that a start found, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// A file's header was unreadable, but its records could be found without it.
    HeaderRebuilt(PathBuf),
    /// A file that is no segment of this log, or beyond help; kept under the second name.
    PutAside(PathBuf, PathBuf),
    /// Records that are gone: between two segments, or in the middle of the last one.
    Lost(Range<u64>),
    /// What follows the last record begins like the next one, but is not whole. Most likely a batch
    /// that a kill cut short; in a recycled file, it may also be left over from an earlier use.
    TornTail {
        /// The file.
        path: PathBuf,
        /// Where the record began.
        offset: u32,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeaderRebuilt(path) => write!(f, "rebuilt the header of {}", path.display()),
            Self::PutAside(from, to) => {
                write!(f, "put {} aside as {}", from.display(), to.display())
            }
            Self::Lost(lost) => write!(f, "messages {}..{} are lost", lost.start, lost.end),
            Self::TornTail { path, offset } => {
                write!(
                    f,
                    "the last record of {} at {offset} is torn",
                    path.display()
                )
            }
        }
    }
}

/// A log as it stands on the disk.
pub(crate) struct Found {
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) identity: u64,
    pub(crate) next_ordinal: u32,
    pub(crate) end: u64,
    /// Whether the last segment takes no more records.
    pub(crate) is_sealed: bool,
    pub(crate) damaged: Vec<Damage>,
}

/// Finds the segments of the log `name` and where it ends.
pub(crate) fn recover(
    disk: &Disk,
    folder: &Path,
    name: &str,
    mut ordinals: Ordinals,
) -> Result<Found, LogError> {
    ordinals.present.sort_unstable();
    let name_check = header::name_check_of(name);
    let mut damaged = Vec::new();
    let mut headers = Vec::new();
    for ordinal in ordinals.present {
        let path = folder.join(file_name(name, ordinal));
        // The oldest sound file speaks for those that cannot.
        let oldest = headers.first().map(|(header, _): &(Header, _)| header);
        let expected = Expected {
            ordinal,
            name_check,
            identity: oldest.map(|header| header.identity),
        };
        match classify(disk, &path, expected, &mut damaged)? {
            FileKind::Segment(header) => headers.push((header, path)),
            FileKind::Nothing => disk.remove(&path)?,
            FileKind::Unknown => put_aside(disk, &path, &mut damaged)?,
        }
    }
    let identity = most_common_identity(&headers).unwrap_or_else(header::random);
    let mut kept = Vec::new();
    for (header, path) in headers {
        if header.identity == identity {
            kept.push((header, path));
        } else {
            put_aside(disk, &path, &mut damaged)?;
        }
    }
    let kept = without_voided(disk, kept)?;
    let segments: Vec<_> = kept
        .into_iter()
        .map(|(header, path)| Arc::new(Segment::in_file(header, path, None)))
        .collect();
    for pair in segments.windows(2) {
        let sealed = pair[0].header.seal.map(|seal| seal.end);
        let next = pair[1].base();
        pair[0].set_end_sequence(sealed.map_or(next, |end| end.min(next)));
        pair[0].set_written(pair[0].header.capacity);
        if let Some(end) = sealed.filter(|&end| end < next) {
            damaged.push(Damage::Lost(end..next));
        }
    }
    let mut found = Found {
        segments,
        identity,
        next_ordinal: ordinals.next,
        end: 0,
        is_sealed: false,
        damaged,
    };
    if let Some(last) = found.segments.last() {
        if let Some(seal) = last.header.seal {
            last.set_written(last.header.capacity);
            last.set_end_sequence(seal.end);
            found.next_ordinal = found.next_ordinal.max(seal.next_ordinal);
            found.is_sealed = true;
            found.end = seal.end;
        } else {
            found.end = find_end(last, &mut found.damaged)?;
            // Someone cut the file short: it cannot be mapped after its end, so it takes no more.
            let path = last.path().expect("a segment with a file has a path");
            let length = std::fs::metadata(path).context("examine", path)?.len();
            found.is_sealed = length < u64::from(last.header.capacity);
        }
    }
    Ok(found)
}

/// What a file's name says of its header.
#[derive(Clone, Copy)]
struct Expected {
    ordinal: u32,
    name_check: u32,
    /// Of the log's other files.
    identity: Option<u64>,
}

impl Expected {
    fn fits(self, header: &Header) -> bool {
        header.ordinal == self.ordinal
            && header.name_check == self.name_check
            && header.is_possible()
    }
}

enum FileKind {
    Segment(Header),
    Nothing,
    Unknown,
}

fn classify(
    disk: &Disk,
    path: &Path,
    expected: Expected,
    damaged: &mut Vec<Damage>,
) -> Result<FileKind, FileError> {
    let file = disk.open(path)?;
    let length = file.metadata().context("examine", path)?.len();
    if length < u64::from(HEADER_BYTES) {
        return Ok(FileKind::Nothing);
    }
    let mut bytes = [0; HEADER_BYTES as usize];
    file.read_exact_at(&mut bytes, 0).context("read", path)?;
    match Header::kind_of(&bytes) {
        HeaderKind::Header(header) if expected.fits(&header) => Ok(FileKind::Segment(header)),
        HeaderKind::Header(_) => Ok(FileKind::Unknown),
        HeaderKind::Free => Ok(FileKind::Nothing),
        HeaderKind::Zeros | HeaderKind::Damaged => {
            if is_zeros(&file, length).context("read", path)? {
                return Ok(FileKind::Nothing);
            }
            let mended = Header::with_one_bit_mended(&bytes).filter(|header| expected.fits(header));
            let rebuilt = match mended {
                Some(header) => Some(header),
                None => rebuild(&bytes, path, expected, length)?,
            };
            let Some(header) = rebuilt else {
                return Ok(FileKind::Unknown);
            };
            disk.write_at(&file, path, &header.encode(), 0)?;
            damaged.push(Damage::HeaderRebuilt(path.to_path_buf()));
            Ok(FileKind::Segment(header))
        }
    }
}

/// Whether nothing but the header was ever written.
fn is_zeros(file: &File, length: u64) -> io::Result<bool> {
    let mut block = vec![0; 1 << 16];
    let mut at = u64::from(HEADER_BYTES);
    while at < length {
        let read = file.read_at(&mut block, at)?;
        if read == 0 {
            break;
        }
        if block[..read].iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
        at += read as u64;
    }
    Ok(true)
}

/// A header for a file whose own is damaged: the seed stands in it twice, and whichever of the two
/// makes a record valid is right.
fn rebuild(
    bytes: &[u8; HEADER_BYTES as usize],
    path: &Path,
    expected: Expected,
    length: u64,
) -> Result<Option<Header>, FileError> {
    let seen = Header::read_unchecked(bytes);
    let Ok(capacity) = u32::try_from(length) else {
        return Ok(None);
    };
    for seed in [header::seed_of(seen.generation), seen.seed] {
        let header = Header {
            ordinal: expected.ordinal,
            name_check: expected.name_check,
            identity: expected.identity.unwrap_or(seen.identity),
            capacity,
            seed,
            seal: None,
            ..seen
        };
        let segment = Segment::in_file(header, path.to_path_buf(), None);
        let held = segment.bytes()?;
        let readable = held.up_to(capacity);
        // The base may be wrong, so any sequence will do for the first record.
        let first = (HEADER_BYTES..capacity)
            .step_by(record::ALIGNMENT as usize)
            .find_map(|at| record::parse(readable, at, seed, &(0..SEQUENCE_LIMIT)));
        if let Some(first) = first {
            // If records before it are damaged too, they are gone with their numbers: a base too low
            // could void the segment before.
            let base = first.sequence;
            return Ok(Some(Header { base, ..header }));
        }
    }
    Ok(None)
}

fn put_aside(disk: &Disk, path: &Path, damaged: &mut Vec<Damage>) -> Result<(), FileError> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(ASIDE);
    let aside = PathBuf::from(aside);
    disk.rename(path, &aside)?;
    damaged.push(Damage::PutAside(path.to_path_buf(), aside));
    Ok(())
}

/// A folder that someone copied files into still belongs to the log most of its files are of.
fn most_common_identity(headers: &[(Header, PathBuf)]) -> Option<u64> {
    let mut counts = HashMap::new();
    for (at, (header, _)) in headers.iter().enumerate() {
        let (count, _) = counts.entry(header.identity).or_insert((0_usize, at));
        *count += 1;
    }
    let best = counts
        .into_iter()
        .max_by_key(|&(_, (count, at))| (count, usize::MAX - at));
    best.map(|(identity, _)| identity)
}

/// Removes the segments a truncation voided: those a seal names, and those that begin at or after the
/// base of a later one.
fn without_voided(
    disk: &Disk,
    headers: Vec<(Header, PathBuf)>,
) -> Result<Vec<(Header, PathBuf)>, FileError> {
    let mut kept: Vec<(Header, PathBuf)> = Vec::new();
    for (header, path) in headers {
        let sealed = kept.last().and_then(|(last, _)| last.seal);
        if sealed.is_some_and(|seal| header.ordinal < seal.next_ordinal) {
            disk.remove(&path)?;
            continue;
        }
        while let Some((_, voided)) = kept.pop_if(|(last, _)| last.base >= header.base) {
            disk.remove(&voided)?;
        }
        kept.push((header, path));
    }
    Ok(kept)
}

/// Walks through the last segment: the log ends after its last whole record.
fn find_end(last: &Segment, damaged: &mut Vec<Damage>) -> Result<u64, FileError> {
    let bytes = last.bytes()?;
    // What was preallocated and never written need not be searched.
    let path = last.path().expect("a segment with a file has a path");
    let data_bytes = disk::data_bytes(&File::open(path).context("open", path)?);
    let limit = data_bytes.and_then(|bytes| u32::try_from(bytes).ok());
    let capacity = last.header.capacity;
    let readable = bytes.up_to(limit.map_or(capacity, |limit| limit.min(capacity)));
    let mut offset = HEADER_BYTES;
    let mut expected = last.base()..SEQUENCE_LIMIT;
    while let Some((_, parsed)) = last.next_whole(readable, offset, &expected) {
        if parsed.sequence > expected.start {
            damaged.push(Damage::Lost(expected.start..parsed.sequence));
        }
        offset = parsed.end;
        expected.start = parsed.sequence + 1;
    }
    if bytes.has_faulted() {
        return Err(last.fault());
    }
    let end = expected.start;
    if record::is_begun(readable, offset, end) {
        damaged.push(Damage::TornTail {
            path: path.to_path_buf(),
            offset,
        });
    }
    last.set_written(offset);
    Ok(end)
}
