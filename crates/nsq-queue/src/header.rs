//! The first 64 bytes of a segment file: whose it is, where it begins, and how to check its records.
//!
//! ```text
//!  0  u32  magic "NSQL"          32  u64  base sequence
//!  4  u32  format version        40  u64  end sequence, when sealed
//!  8  u64  generation            48  u32  ordinal of the segment that follows, when sealed; else 0
//! 16  u64  log identity          52  u32  crc of the log's name
//! 24  u32  ordinal               56  u32  seed of the records' checks, made of the generation
//! 28  u32  capacity in bytes     60  u32  crc of the 60 bytes before
//! ```

use std::hash::{BuildHasher, RandomState};

use crate::listing::MAX_ORDINAL;
use crate::record::{u32_at, u64_at};

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Random, new for each use of a file.
    pub(crate) generation: u64,
    pub(crate) identity: u64,
    pub(crate) ordinal: u32,
    pub(crate) capacity: u32,
    /// The sequence of its first record.
    pub(crate) base: u64,
    pub(crate) seal: Option<Seal>,
    /// Of the log's name: after a machine crash, a recycled file may show its former log's header.
    pub(crate) name_check: u32,
    pub(crate) seed: u32,
}

/// Which log a segment is of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogKey {
    pub(crate) identity: u64,
    pub(crate) name_check: u32,
}

/// What a truncation leaves behind: records from `end` on are void, and so are the segments between
/// this one and `next_ordinal`, should they still exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) end: u64,
    pub(crate) next_ordinal: u32,
}

/// What the first bytes of a file turn out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderKind {
    Header(Header),
    /// A file waiting for reuse: it holds nothing.
    Free,
    /// Nothing was ever written here.
    Zeros,
    /// Anything else.
    Damaged,
}

impl Header {
    /// A header of a new generation.
    pub(crate) fn new(log: LogKey, ordinal: u32, capacity: u32, base: u64) -> Self {
        let generation = random();
        Self {
            generation,
            identity: log.identity,
            ordinal,
            capacity,
            base,
            seal: None,
            name_check: log.name_check,
            seed: seed_of(generation),
        }
    }

    /// Whether a writer can have written it. A check that fits by chance, or was forged, must not lead to numbers that
    /// run over.
    pub(crate) fn is_possible(&self) -> bool {
        let is_possible = |seal: Seal| {
            (self.base..SEQUENCE_LIMIT).contains(&seal.end)
                && seal.next_ordinal <= MAX_ORDINAL.saturating_add(1)
        };
        self.base < SEQUENCE_LIMIT
            && self.capacity >= HEADER_BYTES
            && self.seal.is_none_or(is_possible)
    }

    /// The same for two files with the same records, and never 0. A truncation changes it.
    pub(crate) fn fingerprint(&self) -> u64 {
        let cut = self
            .seal
            .map_or(0, |seal| (seal.end + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        (self.generation ^ cut).max(1)
    }

    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES as usize] {
        let mut bytes = [0; HEADER_BYTES as usize];
        let seal = self.seal.unwrap_or(Seal {
            end: 0,
            next_ordinal: 0,
        });
        bytes[0..4].copy_from_slice(MAGIC);
        bytes[4..8].copy_from_slice(&VERSION.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.generation.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.identity.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.ordinal.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.capacity.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.base.to_le_bytes());
        bytes[40..48].copy_from_slice(&seal.end.to_le_bytes());
        bytes[48..52].copy_from_slice(&seal.next_ordinal.to_le_bytes());
        bytes[52..56].copy_from_slice(&self.name_check.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.seed.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Looks at the first bytes of a file.
    pub(crate) fn kind_of(bytes: &[u8; HEADER_BYTES as usize]) -> HeaderKind {
        if bytes == &FREE {
            return HeaderKind::Free;
        }
        if bytes.iter().all(|&byte| byte == 0) {
            return HeaderKind::Zeros;
        }
        let whole = bytes[0..4] == *MAGIC
            && u32_at(bytes, 4) == VERSION
            && u32_at(bytes, 60) == crc32fast::hash(&bytes[..60]);
        if !whole {
            return HeaderKind::Damaged;
        }
        HeaderKind::Header(Self::read_unchecked(bytes))
    }

    /// The header that a single flipped bit has damaged.
    pub(crate) fn with_one_bit_mended(bytes: &[u8; HEADER_BYTES as usize]) -> Option<Self> {
        (0..bytes.len() * 8).find_map(|bit| {
            let mut mended = *bytes;
            mended[bit / 8] ^= 1 << (bit % 8);
            match Self::kind_of(&mended) {
                HeaderKind::Header(header) => Some(header),
                HeaderKind::Free | HeaderKind::Zeros | HeaderKind::Damaged => None,
            }
        })
    }

    /// The fields as they stand, right or wrong.
    pub(crate) fn read_unchecked(bytes: &[u8; HEADER_BYTES as usize]) -> Self {
        let next_ordinal = u32_at(bytes, 48);
        Self {
            generation: u64_at(bytes, 8),
            identity: u64_at(bytes, 16),
            ordinal: u32_at(bytes, 24),
            capacity: u32_at(bytes, 28),
            base: u64_at(bytes, 32),
            seal: (next_ordinal != 0).then(|| Seal {
                end: u64_at(bytes, 40),
                next_ordinal,
            }),
            name_check: u32_at(bytes, 52),
            seed: u32_at(bytes, 56),
        }
    }
}

/// What a header holds of its log's name.
pub(crate) fn name_check_of(name: &str) -> u32 {
    crc32fast::hash(name.as_bytes())
}

/// The check seed that belongs to a generation.
pub(crate) fn seed_of(generation: u64) -> u32 {
    crc32fast::hash(&generation.to_le_bytes())
}

/// A number no one has used before: the standard hasher's keys come from the system's randomness.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(0_u8)
}

/// No log gets this far: a number above it was not written by us, and sums with it would overflow.
pub(crate) const SEQUENCE_LIMIT: u64 = 1 << 62;
/// Where a segment's first record begins.
pub(crate) const HEADER_BYTES: u32 = 64;
/// What a file begins with while it waits for reuse.
pub(crate) const FREE: [u8; HEADER_BYTES as usize] = {
    let mut bytes = [0; HEADER_BYTES as usize];
    let word = b"NSQLfree";
    let mut at = 0;
    while at < word.len() {
        bytes[at] = word[at];
        at += 1;
    }
    bytes
};
const MAGIC: &[u8; 4] = b"NSQL";
const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_of_a_header_is_seen_and_can_be_mended() {
        let log = LogKey {
            identity: 3,
            name_check: 8,
        };
        let mut header = Header::new(log, 4, 5, 6);
        header.seal = Some(Seal {
            end: 7,
            next_ordinal: 9,
        });
        let mut bytes = header.encode();
        assert_eq!(Header::kind_of(&bytes), HeaderKind::Header(header));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::kind_of(&bytes), HeaderKind::Damaged, "bit {bit}");
            assert_eq!(Header::with_one_bit_mended(&bytes), Some(header));
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(Header::kind_of(&FREE), HeaderKind::Free);
    }

    #[test]
    fn generations_differ() {
        assert_ne!(random(), random());
    }
}
