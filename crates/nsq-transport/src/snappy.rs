//! Snappy's framing format: chunks of at most 64 KiB, each with its checksum.
//!
//! ```text
//! chunk: [u8 type][u24 length][body]      little-endian
//!   0xff  body `sNaPpY`: the stream begins here. First of all chunks, and may come again
//!   0x00  [u32 checksum][compressed]      0x01  [u32 checksum][as it is]
//!   0x80..=0xfe  to be skipped            0x02..=0x7f  to be refused
//! ```
//! Source: `framing_format.txt` of google/snappy.

use std::cell::RefCell;
use std::io;

use snap::raw;
use tokio::io::ReadBuf;

use crate::compressed::{Need, Unpacked, invalid};

/// The most that one chunk may unfold to.
pub(crate) const CHUNK_BYTES: usize = 64 << 10;
/// The longest body of a chunk of that size, be it compressible or not.
const MAX_BODY_BYTES: usize = CHECKSUM_BYTES + 32 + CHUNK_BYTES + CHUNK_BYTES / 6;
const HEADER_BYTES: usize = 4;
const CHECKSUM_BYTES: usize = 4;
const STREAM_IDENTIFIER: &[u8] = b"\xff\x06\x00\x00sNaPpY";

const COMPRESSED: u8 = 0x00;
const UNCOMPRESSED: u8 = 0x01;
const IDENTIFIER: u8 = 0xff;

thread_local! {
    /// The compressor's table means nothing between two chunks: one does for all connections of a thread.
    static ENCODER: RefCell<raw::Encoder> = RefCell::new(raw::Encoder::new());
}

/// Both directions of one connection.
#[derive(Debug, Default)]
pub(crate) struct Snappy {
    has_begun_writing: bool,
    has_begun_reading: bool,
    /// What is left of a chunk to be skipped.
    skipping: usize,
    /// An unpacked chunk for which there was no room.
    unpacked: Vec<u8>,
    /// How much of `unpacked` was handed out.
    taken: usize,
}

impl Snappy {
    /// Appends `bytes` as chunks.
    pub(crate) fn encode(&mut self, bytes: &[u8], output: &mut Vec<u8>) {
        if !self.has_begun_writing {
            self.has_begun_writing = true;
            output.extend_from_slice(STREAM_IDENTIFIER);
        }
        for piece in bytes.chunks(CHUNK_BYTES) {
            encode_chunk(piece, output);
        }
    }

    /// Unpacks as much of `input` as there is room for.
    pub(crate) fn decode(
        &mut self,
        input: &[u8],
        buffer: &mut ReadBuf<'_>,
    ) -> io::Result<Unpacked> {
        let begin = buffer.filled().len();
        let mut used = 0;
        loop {
            if self.taken < self.unpacked.len() {
                self.hand_out(buffer);
                if self.taken < self.unpacked.len() {
                    return Ok(Unpacked::new(used, Need::Room));
                }
                self.taken = 0;
                self.unpacked = Vec::new();
            }
            let skipped = self.skipping.min(input.len() - used);
            self.skipping -= skipped;
            used += skipped;
            let rest = &input[used..];
            let Some((header, rest)) = rest.split_first_chunk::<HEADER_BYTES>() else {
                return Ok(Unpacked::new(used, Need::Input));
            };
            let [kind, length @ ..] = *header;
            let length = body_length(length);
            if !self.has_begun_reading && kind != IDENTIFIER {
                return Err(corrupt("the stream does not begin as one"));
            }
            match kind {
                IDENTIFIER | COMPRESSED | UNCOMPRESSED => {
                    check_length(kind, length)?;
                    let Some(body) = rest.get(..length) else {
                        return Ok(Unpacked::new(used, Need::Input));
                    };
                    if kind == IDENTIFIER {
                        if body != &STREAM_IDENTIFIER[HEADER_BYTES..] {
                            return Err(corrupt("the stream does not begin as one"));
                        }
                        self.has_begun_reading = true;
                    } else if !self.unpack(kind, body, buffer, begin)? {
                        return Ok(Unpacked::new(used, Need::Room));
                    }
                    used += HEADER_BYTES + length;
                }
                0x80..=0xfe => {
                    self.skipping = length;
                    used += HEADER_BYTES;
                }
                _ => return Err(corrupt("a chunk of unknown type")),
            }
        }
    }

    /// Whether the other side stopped in the middle of something that `decode` has taken in.
    pub(crate) fn is_cut(&self) -> bool {
        self.skipping > 0
    }

    fn hand_out(&mut self, buffer: &mut ReadBuf<'_>) {
        let rest = &self.unpacked[self.taken..];
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..count]);
        self.taken += count;
    }

    /// Unpacks one chunk. `false`, with nothing done, when there is no room but what came since `begin` will be taken
    /// away.
    fn unpack(
        &mut self,
        kind: u8,
        body: &[u8],
        buffer: &mut ReadBuf<'_>,
        begin: usize,
    ) -> io::Result<bool> {
        let (checksum, packed) = body
            .split_first_chunk::<CHECKSUM_BYTES>()
            .ok_or_else(|| corrupt("a chunk without a checksum"))?;
        let checksum = u32::from_le_bytes(*checksum);
        let length = if kind == COMPRESSED {
            raw::decompress_len(packed).map_err(invalid)?
        } else {
            packed.len()
        };
        if length > CHUNK_BYTES {
            return Err(corrupt("a chunk of more than 64 KiB"));
        }
        if length <= buffer.remaining() {
            unpack_into(
                kind,
                packed,
                checksum,
                buffer.initialize_unfilled_to(length),
            )?;
            buffer.advance(length);
        } else if buffer.filled().len() == begin {
            self.unpacked.resize(length, 0);
            unpack_into(kind, packed, checksum, &mut self.unpacked)?;
            self.hand_out(buffer);
        } else {
            return Ok(false);
        }
        Ok(true)
    }
}

fn encode_chunk(piece: &[u8], output: &mut Vec<u8>) {
    let start = output.len();
    let body = start + HEADER_BYTES + CHECKSUM_BYTES;
    output.resize(body + raw::max_compress_len(piece.len()), 0);
    let packed = ENCODER.with_borrow_mut(|encoder| encoder.compress(piece, &mut output[body..]));
    let packed = packed.expect("the piece is small, and the room is what it asks for");
    // As upstream: what saves less than an eighth is not worth the reader's time.
    let kind = if packed < piece.len() - piece.len() / 8 {
        output.truncate(body + packed);
        COMPRESSED
    } else {
        output.truncate(body);
        output.extend_from_slice(piece);
        UNCOMPRESSED
    };
    let length = output.len() - start - HEADER_BYTES;
    let length = u32::try_from(length).expect("a chunk is small");
    let [first, second, third, _] = length.to_le_bytes();
    output[start..start + HEADER_BYTES].copy_from_slice(&[kind, first, second, third]);
    output[start + HEADER_BYTES..body].copy_from_slice(&masked_checksum(piece).to_le_bytes());
}

fn unpack_into(kind: u8, packed: &[u8], checksum: u32, room: &mut [u8]) -> io::Result<()> {
    if kind == COMPRESSED {
        let unpacked = raw::Decoder::new().decompress(packed, room);
        unpacked.map_err(invalid)?;
    } else {
        room.copy_from_slice(packed);
    }
    if masked_checksum(room) == checksum {
        Ok(())
    } else {
        Err(corrupt("a chunk whose checksum is wrong"))
    }
}

/// Checks what a chunk declares before its body is waited for.
/// As the unpacker says it, which is Go's text with a cause.
fn corrupt(why: &str) -> io::Error {
    invalid(format_args!("snappy: corrupt input ({why})"))
}

fn check_length(kind: u8, length: usize) -> io::Result<()> {
    let is_right = match kind {
        IDENTIFIER => length == STREAM_IDENTIFIER.len() - HEADER_BYTES,
        COMPRESSED => (CHECKSUM_BYTES..=MAX_BODY_BYTES).contains(&length),
        _ => (CHECKSUM_BYTES..=CHECKSUM_BYTES + CHUNK_BYTES).contains(&length),
    };
    if is_right {
        Ok(())
    } else {
        Err(corrupt("a chunk of a length that none can have"))
    }
}

fn body_length([first, second, third]: [u8; 3]) -> usize {
    usize::from(first) | usize::from(second) << 8 | usize::from(third) << 16
}

/// Rotated and shifted, so that the checksum of data that holds checksums stays a good one.
fn masked_checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests;
