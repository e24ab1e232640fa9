//! A stream that reads in large pieces for a reader that asks for small ones.

use std::future::Future as _;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// What one read from below may bring. TLS itself would ask for 4 KiB at a time.
const READ_BYTES: usize = 64 << 10;

/// A byte stream with what was already read of it; writes pass through. It holds memory only while there is something
/// to read.
#[derive(Debug)]
pub struct ReadAhead<IO> {
    io: IO,
    bytes: Vec<u8>,
    /// How many of `bytes` were handed out.
    taken: usize,
}

impl<IO> ReadAhead<IO> {
    /// `io`, of which `bytes` were read already and not yet dealt with.
    pub fn new(io: IO, bytes: Vec<u8>) -> Self {
        let taken = 0;
        Self { io, bytes, taken }
    }

    /// The stream below.
    pub fn get_ref(&self) -> &IO {
        &self.io
    }

    /// The stream below; what was read ahead of it is lost.
    pub fn into_inner(self) -> IO {
        self.io
    }
}

impl<IO: AsyncRead + Unpin> ReadAhead<IO> {
    /// Appends what it reads, and returns how much that is. Ready with 0 at the end.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.bytes.clear();
        self.taken = 0;
        self.bytes.reserve(READ_BYTES);
        // Made again for each poll: it keeps nothing between two of them.
        let outcome = pin!(self.io.read_buf(&mut self.bytes)).poll(context);
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
        outcome
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for ReadAhead<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.taken == this.bytes.len() {
            if buffer.remaining() >= READ_BYTES {
                return Pin::new(&mut this.io).poll_read(context, buffer);
            }
            ready!(this.poll_fill(context))?;
        }
        let rest = &this.bytes[this.taken..];
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..count]);
        this.taken += count;
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for ReadAhead<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}
