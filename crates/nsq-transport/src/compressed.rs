//! A compressing layer over a [`Stream`].

use std::fmt::Display;
use std::future::Future as _;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use crate::deflate::Deflate;
use crate::snappy::Snappy;
use crate::tls::Stream;

/// What one read from below may bring.
const READ_BYTES: usize = 64 << 10;
/// The most that is compressed at a time.
const ENCODE_BYTES: usize = 64 << 10;
/// Above this many compressed bytes waiting nothing more is compressed.
const OUTPUT_LIMIT: usize = 64 << 10;

/// How bytes are packed on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Snappy's framing format.
    Snappy,
    /// Raw deflate, one stream each way.
    Deflate {
        /// How hard to try, 1 to 9.
        level: u8,
    },
}

/// What unpacking came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unpacked {
    /// How many bytes of the input are done with.
    pub(crate) used: usize,
    pub(crate) need: Need,
}

impl Unpacked {
    pub(crate) fn new(used: usize, need: Need) -> Self {
        Self { used, need }
    }
}

/// What unpacking stopped for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Input,
    Room,
}

#[derive(Debug)]
enum Codec {
    Snappy(Snappy),
    Deflate(Box<Deflate>),
}

/// A stream, compressed. All that is written between two flushes is one unit for the other side.
#[derive(Debug)]
pub(crate) struct Compressed<IO> {
    below: Stream<IO>,
    codec: Codec,
    compression: Compression,
    /// Read and not yet unpacked.
    input: Vec<u8>,
    /// How many bytes of `input` are done with.
    taken: usize,
    /// There may be more in the codec, though nothing more came in.
    is_overfull: bool,
    /// Compressed and not yet written.
    output: Vec<u8>,
    /// How many bytes of `output` were written.
    sent: usize,
    /// Something was written since the last flush.
    has_open_unit: bool,
}

impl<IO> Compressed<IO> {
    /// `input` was read from `below` already.
    pub(crate) fn new(below: Stream<IO>, compression: Compression, input: Vec<u8>) -> Self {
        let codec = match compression {
            Compression::Snappy => Codec::Snappy(Snappy::default()),
            Compression::Deflate { level } => Codec::Deflate(Box::new(Deflate::new(level))),
        };
        Self {
            below,
            codec,
            compression,
            input,
            taken: 0,
            is_overfull: false,
            output: Vec::new(),
            sent: 0,
            has_open_unit: false,
        }
    }

    pub(crate) fn below(&self) -> &Stream<IO> {
        &self.below
    }

    pub(crate) fn compression(&self) -> Compression {
        self.compression
    }

    /// Gives back what memory is not in use.
    pub(crate) fn release_memory(&mut self) {
        if self.output.is_empty() {
            self.output = Vec::new();
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Compressed<IO> {
    /// Reads more of an item whose end has not arrived.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.drain(..self.taken);
        self.taken = 0;
        self.input.reserve(READ_BYTES);
        // Made again for each poll: it keeps nothing between two of them.
        let outcome = pin!(self.below.read_buf(&mut self.input)).poll(context);
        if self.input.is_empty() {
            self.input = Vec::new();
        }
        outcome
    }

    /// Writes all that is compressed.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.output.len() {
            let rest = &self.output[self.sent..];
            let count = ready!(Pin::new(&mut self.below).poll_write(context, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count;
        }
        self.output.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Unpacks what is there; fills `buffer` if it can.
    fn unpack(&mut self, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
        let input = &self.input[self.taken..];
        if input.is_empty() && !self.is_overfull {
            return Ok(());
        }
        let unpacked = match &mut self.codec {
            Codec::Snappy(snappy) => snappy.decode(input, buffer)?,
            Codec::Deflate(deflate) => deflate.decode(input, buffer)?,
        };
        self.taken += unpacked.used;
        self.is_overfull = unpacked.need == Need::Room;
        Ok(())
    }

    /// What the end of the stream below means here.
    fn check_end(&self) -> io::Result<()> {
        let is_cut = match &self.codec {
            Codec::Snappy(snappy) => snappy.is_cut(),
            Codec::Deflate(_) => false,
        };
        if is_cut || self.taken < self.input.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Compressed<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // A few bytes may unfold to a thousand times as many: others on this thread get their turn between.
        let turn = ready!(tokio::task::coop::poll_proceed(context));
        let before = buffer.filled().len();
        loop {
            this.unpack(buffer)?;
            let is_at_end = match &this.codec {
                Codec::Snappy(_) => false,
                Codec::Deflate(deflate) => deflate.has_ended(),
            };
            if buffer.filled().len() > before || buffer.remaining() == 0 || is_at_end {
                turn.made_progress();
                return Poll::Ready(Ok(()));
            }
            if ready!(this.poll_fill(context))? == 0 {
                return Poll::Ready(this.check_end());
            }
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Compressed<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.output.len() - this.sent >= OUTPUT_LIMIT {
            ready!(this.poll_drain(context))?;
        }
        let piece = &bytes[..bytes.len().min(ENCODE_BYTES)];
        match &mut this.codec {
            Codec::Snappy(snappy) => snappy.encode(piece, &mut this.output),
            Codec::Deflate(deflate) => deflate.encode(piece, &mut this.output)?,
        }
        this.has_open_unit |= !piece.is_empty();
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.has_open_unit {
            this.has_open_unit = false;
            if let Codec::Deflate(deflate) = &mut this.codec {
                deflate.end_unit(&mut this.output)?;
            }
        }
        ready!(this.poll_drain(context))?;
        Pin::new(&mut this.below).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(context))?;
        Pin::new(&mut self.get_mut().below).poll_shutdown(context)
    }
}

/// Input that is not what it should be.
pub(crate) fn invalid(why: impl Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_string())
}
