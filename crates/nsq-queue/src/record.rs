//! One message in a segment: its bytes, and how they are checked.
//!
//! ```text
//!  0  u32  crc of all that follows, padding included, seeded by the segment's generation
//!  4  u32  bits 0..30 length of the body, bit 30 always set, bit 31: has an extension
//!  8  u64  sequence
//! 16  i64  timestamp, unix nanoseconds
//! 24  u64  message id
//! 32  [i64 due, u16 attempts, 6 bytes of zeros]   the extension
//!     body, zeros up to a multiple of 8
//! ```
//!
//! Little endian. As the generation is random for each use of a file, bytes that an earlier use left
//! after never pass the check.

use std::ops::Range;

use crate::{LogError, Position};

/// A message to be appended.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// The message's id.
    pub id: u64,
    /// When it was published, unix nanoseconds.
    pub timestamp: i64,
    /// When it may be delivered at the earliest, unix nanoseconds; 0: at once.
    pub due: i64,
    /// Deliveries so far; 0 for a new message.
    pub attempts: u16,
    /// What was published.
    pub body: &'a [u8],
}

/// A message as it stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its number in the log.
    pub sequence: u64,
    /// Where it stands.
    pub position: Position,
    /// The message's id.
    pub id: u64,
    /// When it was published, unix nanoseconds.
    pub timestamp: i64,
    /// When it may be delivered at the earliest, unix nanoseconds; 0: at once.
    pub due: i64,
    /// Deliveries before it came into this log.
    pub attempts: u16,
    /// What was published.
    pub body: &'a [u8],
}

impl NewRecord<'_> {
    /// Bytes the record takes in a segment.
    pub(crate) fn size(&self) -> Result<u32, LogError> {
        let body = u32::try_from(self.body.len())
            .ok()
            .filter(|&length| length <= MAX_BODY_BYTES)
            .ok_or(LogError::RecordTooLarge {
                size: self.body.len(),
                max: MAX_BODY_BYTES as usize,
            })?;
        Ok(record_bytes(body, self.has_extension()))
    }

    fn has_extension(&self) -> bool {
        self.due != 0 || self.attempts != 0
    }

    /// Appends the record's bytes to `buffer`; [`size`](Self::size) has accepted it.
    #[inline]
    pub(crate) fn encode(&self, buffer: &mut Vec<u8>, seed: u32, sequence: u64) {
        let start = buffer.len();
        let header = self.header(sequence);
        buffer.extend_from_slice(&header[..header_bytes(self.has_extension())]);
        buffer.extend_from_slice(self.body);
        let bytes = (buffer.len() - start).next_multiple_of(ALIGNMENT as usize);
        buffer.resize(start + bytes, 0);
        let crc = checksum(seed, &buffer[start + 4..]);
        buffer[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    }

    /// As [`encode`](Self::encode), but has `write` take the record's bytes, part after part: a large body is not copied
    /// into a buffer first.
    pub(crate) fn encode_parts<E>(
        &self,
        seed: u32,
        sequence: u64,
        mut write: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut header = self.header(sequence);
        let header = &mut header[..header_bytes(self.has_extension())];
        let bytes = header.len() + self.body.len();
        let padding =
            &[0; ALIGNMENT as usize][..bytes.next_multiple_of(ALIGNMENT as usize) - bytes];
        let mut hasher = crc32fast::Hasher::new_with_initial(seed);
        for part in [&header[4..], self.body, padding] {
            hasher.update(part);
        }
        header[..4].copy_from_slice(&hasher.finalize().to_le_bytes());
        write(header)?;
        write(self.body)?;
        write(padding)
    }

    /// The record's bytes before its body, all but the checksum; the extension among them, if there is one.
    #[inline]
    fn header(&self, sequence: u64) -> [u8; EXTENDED_BYTES] {
        let length = u32::try_from(self.body.len()).expect("size() bounds the body");
        let extended = self.has_extension();
        let mut header = [0; EXTENDED_BYTES];
        let flags = PRESENT | if extended { EXTENDED } else { 0 };
        header[4..8].copy_from_slice(&(length | flags).to_le_bytes());
        header[8..16].copy_from_slice(&sequence.to_le_bytes());
        header[16..24].copy_from_slice(&self.timestamp.to_le_bytes());
        header[24..32].copy_from_slice(&self.id.to_le_bytes());
        header[32..40].copy_from_slice(&self.due.to_le_bytes());
        header[40..42].copy_from_slice(&self.attempts.to_le_bytes());
        header
    }
}

/// A record that passed its check, as offsets into the bytes it was found in.
#[derive(Clone, Debug)]
pub(crate) struct Parsed {
    pub(crate) sequence: u64,
    pub(crate) id: u64,
    pub(crate) timestamp: i64,
    pub(crate) due: i64,
    pub(crate) attempts: u16,
    /// Within the segment.
    body: Range<usize>,
    /// Where the next record begins, within the segment.
    pub(crate) end: u32,
}

impl Parsed {
    pub(crate) fn record<'a>(&self, segment: &'a [u8], position: Position) -> Record<'a> {
        Record {
            sequence: self.sequence,
            position,
            id: self.id,
            timestamp: self.timestamp,
            due: self.due,
            attempts: self.attempts,
            body: &segment[self.body.clone()],
        }
    }
}

/// The record at `offset` of a segment's readable bytes, if one with a sequence in `expected` begins
/// there and is whole.
pub(crate) fn parse(
    segment: &[u8],
    offset: u32,
    seed: u32,
    expected: &Range<u64>,
) -> Option<Parsed> {
    let start = offset as usize;
    let bytes = segment.get(start..)?;
    let header = bytes.first_chunk::<HEADER_BYTES>()?;
    let word = u32_at(header, 4);
    let sequence = u64_at(header, 8);
    // The cheap questions first: a search asks this at every eighth byte.
    if word & PRESENT == 0 || !expected.contains(&sequence) {
        return None;
    }
    let length = word & MAX_BODY_BYTES;
    let extended = word & EXTENDED != 0;
    let size = record_bytes(length, extended);
    let record = bytes.get(..size as usize)?;
    if checksum(seed, &record[4..]) != u32_at(header, 0) {
        return None;
    }
    let body = start + header_bytes(extended);
    let (due, attempts) = if extended {
        let attempts = u16::from_le_bytes([record[40], record[41]]);
        (u64_at(record, 32).cast_signed(), attempts)
    } else {
        (0, 0)
    };
    Some(Parsed {
        sequence,
        id: u64_at(header, 24),
        timestamp: u64_at(header, 16).cast_signed(),
        due,
        attempts,
        body: body..body + length as usize,
        end: offset.checked_add(size)?,
    })
}

/// The first whole record at or after `offset` whose sequence lies in `expected`.
///
/// A record found `n` bytes further on can be at most `n / 32` numbers further on, which keeps a
/// stray match out.
pub(crate) fn search(
    segment: &[u8],
    offset: u32,
    seed: u32,
    expected: &Range<u64>,
) -> Option<(u32, Parsed)> {
    let limit = u32::try_from(segment.len()).unwrap_or(u32::MAX);
    let first = offset.next_multiple_of(ALIGNMENT);
    (first..limit).step_by(ALIGNMENT as usize).find_map(|at| {
        let furthest = expected.start.saturating_add(most_between(offset, at) + 1);
        let plausible = expected.start..expected.end.min(furthest);
        parse(segment, at, seed, &plausible).map(|parsed| (at, parsed))
    })
}

/// How many records fit between two offsets, at most.
pub(crate) fn most_between(start: u32, end: u32) -> u64 {
    u64::from(end - start) / HEADER_BYTES as u64
}

/// Whether the bytes at `offset` look like the beginning of the record `sequence`, whole or not.
pub(crate) fn is_begun(segment: &[u8], offset: u32, sequence: u64) -> bool {
    let header = segment
        .get(offset as usize..)
        .and_then(<[u8]>::first_chunk::<HEADER_BYTES>);
    header.is_some_and(|header| u32_at(header, 4) & PRESENT != 0 && u64_at(header, 8) == sequence)
}

fn checksum(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

const fn header_bytes(extended: bool) -> usize {
    if extended {
        EXTENDED_BYTES
    } else {
        HEADER_BYTES
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the headers have 32 and 48 bytes"
)]
const fn record_bytes(body: u32, extended: bool) -> u32 {
    (header_bytes(extended) as u32 + body).next_multiple_of(ALIGNMENT)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Records begin at multiples of this.
pub(crate) const ALIGNMENT: u32 = 8;
const HEADER_BYTES: usize = 32;
const EXTENDED_BYTES: usize = 48;
const EXTENDED: u32 = 1 << 31;
/// Set in every record, so that zeros are never one.
const PRESENT: u32 = 1 << 30;
const MAX_BODY_BYTES: u32 = PRESENT - 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(body: &[u8]) -> NewRecord<'_> {
        NewRecord {
            id: 7,
            timestamp: -3,
            due: 0,
            attempts: 0,
            body,
        }
    }

    #[test]
    fn a_plain_record_of_200_bytes_takes_232() {
        assert_eq!(plain(&[1; 200]).size().unwrap(), 232);
    }

    #[test]
    fn what_was_encoded_is_parsed_again() {
        let deferred = NewRecord {
            due: -9,
            attempts: 65535,
            ..plain(b"later")
        };
        for record in [plain(b""), plain(b"123456789"), deferred] {
            let mut bytes = vec![0; 8];
            record.encode(&mut bytes, 42, 5);
            let parsed = parse(&bytes, 8, 42, &(5..6)).unwrap();
            assert_eq!(parsed.end as usize, bytes.len());
            assert_eq!(parsed.end - 8, record.size().unwrap());
            let position = Position {
                segment: 0,
                offset: 8,
            };
            let read = parsed.record(&bytes, position);
            assert_eq!(read.body, record.body);
            assert_eq!((read.due, read.attempts), (record.due, record.attempts));
            assert_eq!((read.id, read.timestamp, read.sequence), (7, -3, 5));
        }
    }

    #[test]
    fn no_flipped_bit_and_no_other_seed_passes() {
        let mut bytes = Vec::new();
        plain(b"thirteen byte").encode(&mut bytes, 42, 5);
        assert!(parse(&bytes, 0, 43, &(5..6)).is_none());
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&bytes, 0, 42, &(0..u64::MAX)).is_none(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(parse(&bytes, 0, 42, &(5..6)).is_some());
    }

    #[test]
    fn zeros_are_not_a_record_whatever_the_seed() {
        for seed in 0..1000 {
            assert!(parse(&[0; 64], 0, seed, &(0..1)).is_none());
        }
    }

    #[test]
    fn a_search_finds_the_next_whole_record() {
        let mut bytes = vec![0xff; 16];
        plain(b"lost").encode(&mut bytes, 1, 3);
        let kept = bytes.len();
        plain(b"kept").encode(&mut bytes, 1, 4);
        bytes[20] ^= 1;
        let (at, parsed) = search(&bytes, 16, 1, &(3..u64::MAX)).unwrap();
        assert_eq!((at as usize, parsed.sequence), (kept, 4));
    }
}
