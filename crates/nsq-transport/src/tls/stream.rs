//! A byte stream, encrypted or not.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::Session;
use crate::ReadAhead;

/// A stream whose user need not know whether it is encrypted. What is written has left only after a
/// flush.
///
/// An end without TLS's farewell reads as any end does. It is for protocols in which everything says its own
/// length, and so nothing can be cut off unnoticed.
#[derive(Debug)]
pub enum Stream<IO = TcpStream> {
    /// As it is.
    Plain(IO),
    /// Through TLS, the handshake done. In a box for being many times the size of the other.
    Tls(Box<TlsStream<ReadAhead<IO>>>),
}

impl<IO> Stream<IO> {
    /// The stream below.
    pub fn get_ref(&self) -> &IO {
        match self {
            Self::Plain(io) => io,
            Self::Tls(stream) => stream.get_ref().0.get_ref(),
        }
    }

    /// What TLS agreed on, if there is TLS.
    pub fn tls(&self) -> Option<Session> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => Some(Session::of(stream.get_ref().1)),
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<IO> {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => poll_read_tls(stream, context, buffer),
        }
    }
}

/// Reads as many records as have come and fit: each poll of the TLS stream brings only one.
fn poll_read_tls<IO: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut TlsStream<ReadAhead<IO>>,
    context: &mut Context<'_>,
    buffer: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    let mut before = buffer.filled().len();
    let begin = before;
    loop {
        let outcome = Pin::new(&mut *stream).poll_read(context, buffer);
        if before > begin {
            // Whatever it is, if it is not one record more, it comes again with the next read.
            if !matches!(outcome, Poll::Ready(Ok(()))) || buffer.filled().len() == before {
                return Poll::Ready(Ok(()));
            }
        } else {
            match ready!(outcome) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(Ok(()));
                }
                Err(error) => return Poll::Ready(Err(error)),
                Ok(()) => {}
            }
        }
        if buffer.filled().len() == before || buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        before = buffer.filled().len();
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<IO> {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
