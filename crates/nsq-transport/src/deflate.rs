//! Raw deflate, without a header: one stream each way, cut into units by sync markers.

use std::io;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use tokio::io::ReadBuf;

use crate::compressed::{Need, Unpacked, invalid};

/// What the compressor is given to write into at a time.
const STEP_BYTES: usize = 16 << 10;
/// More than the end of a unit takes when nothing is left before it.
const MARKER_BYTES: usize = 64;

/// Both directions of one connection.
#[derive(Debug)]
pub(crate) struct Deflate {
    compress: Compress,
    decompress: Decompress,
    /// The other side ended its stream.
    has_ended: bool,
}

impl Deflate {
    /// One that compresses at `level`, 1 to 9.
    pub(crate) fn new(level: u8) -> Self {
        let level = Compression::new(u32::from(level.clamp(1, 9)));
        Self {
            compress: Compress::new(level, false),
            decompress: Decompress::new(false),
            has_ended: false,
        }
    }

    /// Takes in `bytes`; what of them comes out at once is appended to `output`.
    pub(crate) fn encode(&mut self, mut bytes: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
        while !bytes.is_empty() {
            output.reserve(STEP_BYTES);
            let before = self.compress.total_in();
            self.compress
                .compress_vec(bytes, output, FlushCompress::None)
                .map_err(invalid)?;
            bytes = &bytes[count_since(before, self.compress.total_in())..];
        }
        Ok(())
    }

    /// Appends all that is still inside, up to a sync marker.
    pub(crate) fn end_unit(&mut self, output: &mut Vec<u8>) -> io::Result<()> {
        loop {
            output.reserve(MARKER_BYTES);
            self.compress
                .compress_vec(&[], output, FlushCompress::Sync)
                .map_err(invalid)?;
            // Where room is left, nothing is.
            if output.len() < output.capacity() {
                return Ok(());
            }
        }
    }

    /// Unpacks as much of `input` as there is room for.
    pub(crate) fn decode(
        &mut self,
        input: &[u8],
        buffer: &mut ReadBuf<'_>,
    ) -> io::Result<Unpacked> {
        let mut used = 0;
        while !self.has_ended && buffer.remaining() > 0 {
            let (before_in, before_out) = (self.decompress.total_in(), self.decompress.total_out());
            let room = buffer.initialize_unfilled();
            let status = self
                .decompress
                .decompress(&input[used..], room, FlushDecompress::None)
                .map_err(|_| {
                    // Go's text: the one below names neither the format nor the place.
                    let offset = self.decompress.total_in();
                    invalid(format_args!("flate: corrupt input before offset {offset}"))
                })?;
            let taken = count_since(before_in, self.decompress.total_in());
            let made = count_since(before_out, self.decompress.total_out());
            buffer.advance(made);
            used += taken;
            self.has_ended = status == Status::StreamEnd;
            if taken == 0 && made == 0 {
                break;
            }
        }
        // A full buffer may have left something inside.
        let need = if buffer.remaining() == 0 && !self.has_ended {
            Need::Room
        } else {
            Need::Input
        };
        Ok(Unpacked { used, need })
    }

    /// Whether the other side has said that nothing more comes.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended
    }
}

fn count_since(before: u64, after: u64) -> usize {
    usize::try_from(after - before).expect("no more than one slice's length")
}

#[cfg(test)]
mod tests;
