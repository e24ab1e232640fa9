//! A connection's byte stream, with the layers that were put on it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::compressed::{Compressed, Compression};
use crate::read_ahead::ReadAhead;
use crate::tls::{Acceptor, Connector, Session, Stream};

/// A byte stream: as it is, through TLS, compressed, or compressed through TLS. What is written has left only after a
/// flush, and all that is written between two flushes is packed together.
///
/// The layers come in this order, each at most once: TLS, then a compression.
#[derive(Debug)]
pub struct Transport<IO>(Layers<IO>);

#[derive(Debug)]
enum Layers<IO> {
    Uncompressed(Stream<IO>),
    Compressed(Box<Compressed<IO>>),
    /// A handshake failed or was given up.
    Gone,
}

impl<IO> Transport<IO> {
    /// `io` as it is.
    pub fn plain(io: IO) -> Self {
        Self(Layers::Uncompressed(Stream::Plain(io)))
    }

    /// The stream below all layers; `None` after a handshake that was given up.
    pub fn get_ref(&self) -> Option<&IO> {
        self.stream().map(Stream::get_ref)
    }

    /// What TLS agreed on, if there is TLS.
    pub fn tls(&self) -> Option<Session> {
        self.stream()?.tls()
    }

    /// How the stream is compressed, if it is.
    pub fn compression(&self) -> Option<Compression> {
        match &self.0 {
            Layers::Compressed(compressed) => Some(compressed.compression()),
            Layers::Uncompressed(_) | Layers::Gone => None,
        }
    }

    /// Compresses all that is written from now on, and unpacks all that is read. `read_ahead` is what was read of the
    /// stream already, and belongs to the new layer.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when it is compressed already.
    pub fn compress(&mut self, compression: Compression, read_ahead: Vec<u8>) -> io::Result<()> {
        match std::mem::replace(&mut self.0, Layers::Gone) {
            Layers::Uncompressed(stream) => {
                let compressed = Compressed::new(stream, compression, read_ahead);
                self.0 = Layers::Compressed(Box::new(compressed));
                Ok(())
            }
            layers => {
                self.0 = layers;
                Err(wrong_order("the stream is compressed already"))
            }
        }
    }

    /// Gives back what memory is not in use: for connections that have been quiet for a while.
    pub fn release_memory(&mut self) {
        if let Layers::Compressed(compressed) = &mut self.0 {
            compressed.release_memory();
        }
    }

    fn stream(&self) -> Option<&Stream<IO>> {
        match &self.0 {
            Layers::Uncompressed(stream) => Some(stream),
            Layers::Compressed(compressed) => Some(compressed.below()),
            Layers::Gone => None,
        }
    }

    /// Takes the stream for a handshake, if it is the time for one.
    fn take_plain(&mut self) -> io::Result<IO> {
        match std::mem::replace(&mut self.0, Layers::Gone) {
            Layers::Uncompressed(Stream::Plain(io)) => Ok(io),
            layers => {
                self.0 = layers;
                Err(wrong_order("TLS must be the first layer"))
            }
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Transport<IO> {
    /// Shakes hands as the side that was called. `read_ahead` is what was read of the stream already: the beginning
    /// of the handshake. The caller bounds the time.
    ///
    /// # Errors
    /// What made the handshake fail. The stream is plain again then, so that the other side can be told; after a call
    /// that was given up halfway it is gone.
    pub async fn accept_tls(&mut self, acceptor: &Acceptor, read_ahead: Vec<u8>) -> io::Result<()> {
        let io = ReadAhead::new(self.take_plain()?, read_ahead);
        match acceptor.shake_hands(io).await {
            Ok(stream) => {
                self.0 = Layers::Uncompressed(stream);
                Ok(())
            }
            Err((error, io)) => {
                *self = Self::plain(io.into_inner());
                Err(error)
            }
        }
    }

    /// Shakes hands as the side that calls, with the server at `address` (`host:port`). `read_ahead` is what was read
    /// of the stream already. The caller bounds the time.
    ///
    /// # Errors
    /// What made the handshake fail; the stream is gone then.
    pub async fn connect_tls(
        &mut self,
        connector: &Connector,
        address: &str,
        read_ahead: Vec<u8>,
    ) -> io::Result<()> {
        let io = ReadAhead::new(self.take_plain()?, read_ahead);
        self.0 = Layers::Uncompressed(connector.shake_hands(address, io).await?);
        Ok(())
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Transport<IO> {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Layers::Uncompressed(stream) => Pin::new(stream).poll_read(context, buffer),
            Layers::Compressed(stream) => Pin::new(stream).poll_read(context, buffer),
            Layers::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Transport<IO> {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Layers::Uncompressed(stream) => Pin::new(stream).poll_write(context, bytes),
            Layers::Compressed(stream) => Pin::new(stream).poll_write(context, bytes),
            Layers::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Layers::Uncompressed(stream) => Pin::new(stream).poll_flush(context),
            Layers::Compressed(stream) => Pin::new(stream).poll_flush(context),
            Layers::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Layers::Uncompressed(stream) => Pin::new(stream).poll_shutdown(context),
            Layers::Compressed(stream) => Pin::new(stream).poll_shutdown(context),
            Layers::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

fn wrong_order(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

#[cfg(test)]
mod tests;
