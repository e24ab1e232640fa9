//! The members of a gzip file: where the last whole one ends.
//!
//! A file that nsq_to_file has closed ends in [`END`], a member without content. One without it was left by a process
//! that died: its last member may be torn, and holds only messages that were never finished.

use std::io::{self, BufRead, Read, Seek, SeekFrom};

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;

/// A member without content: how a file begins, and how it ends when it was closed.
pub(crate) const END: [u8; 20] = [
    0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, UNIX, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// What a file turns out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Members {
    /// Nothing but whole members.
    Whole,
    /// Whole members up to here, and then the beginning of one.
    Torn {
        /// Bytes of whole members.
        whole_bytes: u64,
    },
    /// Something in the middle cannot be read, but there are members after it.
    Damaged {
        /// Where the member begins that cannot be read.
        at: u64,
    },
}

/// Begins a member that is written to memory.
pub(crate) fn begin(level: u32) -> GzEncoder<Vec<u8>> {
    flate2::GzBuilder::new()
        .operating_system(UNIX)
        .write(Vec::new(), Compression::new(level))
}

/// Whether these first bytes of a file are ours. Go's gzip names no operating system.
pub(crate) fn is_ours(first: &[u8]) -> bool {
    first.len() >= HEADER_BYTES && first.starts_with(&END[..8]) && first[9] == UNIX
}

/// Reads all members, and checks each.
///
/// # Errors
/// When the file cannot be read, as opposed to its content.
pub(crate) fn scan(file: impl BufRead + Seek) -> io::Result<Members> {
    let mut file = Counted::new(file);
    loop {
        let begin = file.consumed;
        if file.fill_buf()?.is_empty() {
            return Ok(Members::Whole);
        }
        if read_member(&mut file)? {
            continue;
        }
        // A damaged member may have been read far past its end.
        file.inner.seek(SeekFrom::Start(begin + 1))?;
        return Ok(if has_member(&mut file)? {
            Members::Damaged { at: begin }
        } else {
            Members::Torn { whole_bytes: begin }
        });
    }
}

/// Reads one member: whether it is whole.
fn read_member<R: BufRead>(file: &mut Counted<R>) -> io::Result<bool> {
    let read = io::copy(&mut GzDecoder::new(&mut *file), &mut io::sink());
    match (read, file.failed.take()) {
        (_, Some(error)) => Err(error),
        (Ok(_), None) => Ok(true),
        (Err(_), None) => Ok(false),
    }
}

/// Whether a member of ours begins somewhere in the rest.
fn has_member<R: BufRead>(file: &mut Counted<R>) -> io::Result<bool> {
    let mut last = [0; HEADER_BYTES];
    for byte in file.bytes() {
        last.rotate_left(1);
        last[HEADER_BYTES - 1] = byte?;
        if is_ours(&last) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Counts what is consumed, and keeps apart what the reader failed with.
struct Counted<R> {
    inner: R,
    consumed: u64,
    failed: Option<io::Error>,
}

impl<R: BufRead> Counted<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            consumed: 0,
            failed: None,
        }
    }
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut there = self.fill_buf()?;
        let count = there.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf().inspect_err(|error| {
            self.failed = Some(io::Error::new(error.kind(), error.to_string()));
        })
    }

    fn consume(&mut self, count: usize) {
        self.consumed += u64::try_from(count).unwrap_or(u64::MAX);
        self.inner.consume(count);
    }
}

/// RFC 1952's number for it.
const UNIX: u8 = 3;

/// Of a member without name and comment.
const HEADER_BYTES: usize = 10;

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write as _};

    use proptest::prelude::*;

    use super::*;

    fn member(content: &[u8]) -> Vec<u8> {
        let mut encoder = begin(6);
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_end_is_a_member_without_content() {
        let mut content = Vec::new();
        let mut decoder = flate2::read::GzDecoder::new(&END[..]);
        decoder.read_to_end(&mut content).unwrap();
        assert!(content.is_empty());
        assert!(is_ours(&END) && is_ours(&member(b"x")));
        let mut go = END;
        go[9] = 0xff;
        assert!(!is_ours(&go) && !is_ours(&END[..9]));
    }

    #[test]
    fn a_member_that_others_follow_is_no_torn_tail() {
        let first = member(b"first");
        let mut bytes = [&first[..], &member(b"second"), &member(b"third")].concat();
        bytes[first.len() + 14] ^= 0x55;
        let at = u64::try_from(first.len()).unwrap();
        let found = scan(Cursor::new(&bytes[..])).unwrap();
        assert_eq!(found, Members::Damaged { at });
    }

    #[test]
    fn a_tail_of_zeros_is_torn() {
        let whole = member(b"first");
        let bytes = [&whole[..], &[0; 4096]].concat();
        let whole_bytes = u64::try_from(whole.len()).unwrap();
        let found = scan(Cursor::new(&bytes[..])).unwrap();
        assert_eq!(found, Members::Torn { whole_bytes });
    }

    #[test]
    fn a_file_that_cannot_be_read_is_no_torn_one() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        impl Seek for Broken {
            fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
                Ok(0)
            }
        }
        let found = scan(io::BufReader::new(Broken));
        assert_eq!(found.unwrap_err().to_string(), "broken");
    }

    proptest! {
        #[test]
        fn wherever_it_is_cut_the_whole_members_before_are_found(
            contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = Vec::new();
            let mut ends = vec![0];
            for content in &contents {
                bytes.extend(member(content));
                ends.push(bytes.len());
            }
            let cut = cut.index(bytes.len() + 1);
            let found = scan(Cursor::new(&bytes[..cut])).unwrap();
            let whole = *ends.iter().rfind(|end| **end <= cut).unwrap();
            let expected = if whole == cut {
                Members::Whole
            } else {
                Members::Torn { whole_bytes: u64::try_from(whole).unwrap() }
            };
            prop_assert_eq!(found, expected);
        }
    }
}
