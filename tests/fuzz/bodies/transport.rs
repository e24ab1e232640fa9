//! Fuzz bodies of nsq-transport: compressed streams.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use nsq_replay::Input;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{Compression, Transport};

/// A compressed stream from a peer. However it is cut into pieces and however small the reader's buffer is, the same bytes
/// come out, never more at a time than fit the buffer. Then the input is taken as data, compressed and unpacked again.
pub fn layers(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let compression = match input.byte() {
        even if even.is_multiple_of(2) => Compression::Snappy,
        odd => Compression::Deflate { level: odd / 2 },
    };
    let cut = usize::from(input.short() % 4096) + 1;
    let room = usize::from(input.short()) + 1;
    let stream = input.rest();
    let whole = unpack(compression, stream, usize::MAX, 64 << 10);
    let pieces = unpack(compression, stream, cut, room);
    let same = whole.bytes.len().min(pieces.bytes.len());
    assert_eq!(whole.bytes[..same], pieces.bytes[..same]);
    // In a damaged stream, how much is unpacked before the damage may depend on the buffer's size.
    if whole.end == Some(End::Eof) || pieces.end == Some(End::Eof) {
        assert_eq!(whole.bytes.len(), pieces.bytes.len());
        assert_eq!(whole.end, pieces.end);
    }

    let packed = pack(compression, stream, cut);
    let back = unpack(compression, &packed, room, cut);
    let most = stream.len().min(MOST_UNPACKED_BYTES);
    assert_eq!(back.bytes[..most], stream[..most]);
}

struct Unpacked {
    bytes: Vec<u8>,
    /// `None` when the stream had not ended.
    end: Option<End>,
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    Eof,
    Failed,
}

/// Reads a peer's whole stream, which arrives `cut` bytes at a time, into a buffer of `room` bytes.
fn unpack(compression: Compression, stream: &[u8], cut: usize, room: usize) -> Unpacked {
    let mut transport = Transport::plain(Peer {
        stream,
        cut,
        written: Vec::new(),
    });
    let read_ahead = stream[..stream.len().min(cut) / 2].to_vec();
    transport_skips(&mut transport, read_ahead.len());
    let compressed = transport.compress(compression, read_ahead);
    compressed.expect("it is not compressed yet");
    let mut bytes = Vec::new();
    let mut buffer = vec![0; room];
    let mut context = Context::from_waker(Waker::noop());
    while bytes.len() < MOST_UNPACKED_BYTES {
        let mut read = ReadBuf::new(&mut buffer);
        let end = match Pin::new(&mut transport).poll_read(&mut context, &mut read) {
            Poll::Ready(Ok(())) if read.filled().is_empty() => Some(End::Eof),
            Poll::Ready(Ok(())) => None,
            Poll::Ready(Err(_)) => Some(End::Failed),
            Poll::Pending => panic!("the transport waits for a peer that is always ready"),
        };
        assert!(read.filled().len() <= room);
        bytes.extend_from_slice(read.filled());
        if end.is_some() {
            return Unpacked { bytes, end };
        }
    }
    Unpacked { bytes, end: None }
}

/// Compresses `data`, with a flush after every `cut` bytes.
fn pack(compression: Compression, data: &[u8], cut: usize) -> Vec<u8> {
    let mut transport = Transport::plain(Peer {
        stream: &[],
        cut,
        written: Vec::new(),
    });
    let compressed = transport.compress(compression, Vec::new());
    compressed.expect("it is not compressed yet");
    let mut context = Context::from_waker(Waker::noop());
    // Flushing is slow: at most some hundred times.
    for mut unit in data.chunks(cut.max(data.len() / 256)) {
        while !unit.is_empty() {
            match Pin::new(&mut transport).poll_write(&mut context, unit) {
                Poll::Ready(Ok(count)) => unit = &unit[count..],
                other => panic!("{other:?}"),
            }
        }
        let flushed = Pin::new(&mut transport).poll_flush(&mut context);
        assert!(matches!(flushed, Poll::Ready(Ok(()))));
    }
    let peer = transport.get_ref().expect("the stream is there");
    peer.written.clone()
}

/// Reads the bytes that arrived before the stream was compressed.
fn transport_skips(transport: &mut Transport<Peer<'_>>, count: usize) {
    let mut skipped = vec![0; count];
    let mut read = ReadBuf::new(&mut skipped);
    let mut context = Context::from_waker(Waker::noop());
    while read.remaining() > 0 {
        let polled = Pin::new(&mut *transport).poll_read(&mut context, &mut read);
        assert!(matches!(polled, Poll::Ready(Ok(()))));
    }
}

/// A peer that sends a stream, `cut` bytes at a time, and accepts everything.
struct Peer<'a> {
    stream: &'a [u8],
    cut: usize,
    written: Vec<u8>,
}

impl AsyncRead for Peer<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let count = self.stream.len().min(self.cut).min(buffer.remaining());
        let (piece, rest) = self.stream.split_at(count);
        buffer.put_slice(piece);
        self.stream = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Peer<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.written.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A stream that unpacks to more than this is not read to its end, since it may have none.
const MOST_UNPACKED_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use nsq_replay::replay;

    #[test]
    fn compressed_streams_of_the_corpus() {
        replay("layers", super::layers);
    }
}
