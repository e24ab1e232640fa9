//! Frames: a head of 13 bytes, a request or an answer, and a seal.
//!
//! The head is the length of what follows without the seal, whether it is a request or an answer, and the number that
//! pairs the two.

use std::io;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::seal::Seal;
use crate::codec::Wire;

/// Length, kind, number.
pub(crate) const HEAD_BYTES: usize = 4 + 1 + 8;
const REQUEST: u8 = 0;
const ANSWER: u8 = 1;
/// What a frame takes besides its large parts, at most.
const SMALL_BYTES: usize = 256;
/// More memory is taken for a frame only as its bytes come.
const STEP_BYTES: usize = 1 << 20;

/// A frame that was received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) is_request: bool,
    pub(crate) number: u64,
    pub(crate) body: Bytes,
}

/// A frame without its seal.
pub(crate) fn encode(is_request: bool, number: u64, body: &impl Wire) -> Vec<u8> {
    // With room for the seal: a frame that grew for it would be copied.
    let mut frame = Vec::with_capacity(SMALL_BYTES + body.size_hint());
    frame.extend_from_slice(&[0; 4]);
    frame.push(if is_request { REQUEST } else { ANSWER });
    frame.extend_from_slice(&number.to_le_bytes());
    body.encode(&mut frame);
    let length = u32::try_from(frame.len() - HEAD_BYTES).unwrap_or(u32::MAX);
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame
}

/// Reads frames off a stream.
pub(crate) struct FrameReader<R> {
    stream: R,
    seal: Seal,
    buffer: BytesMut,
    max_bytes: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(stream: R, seal: Seal, max_bytes: usize) -> Self {
        Self {
            stream,
            seal,
            buffer: BytesMut::new(),
            max_bytes,
        }
    }

    /// The next frame; `None` at the end of the stream. May be cancelled without losing anything.
    ///
    /// # Errors
    /// When the stream breaks, ends within a frame, or holds something else.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            let missing = self.missing();
            self.buffer.reserve(missing.clamp(READ_BYTES, STEP_BYTES));
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                return Err(invalid("the connection ended within a request"));
            }
        }
    }

    /// Bytes that the frame at the front lacks, as far as is known.
    fn missing(&self) -> usize {
        let Some(length) = self.buffer.first_chunk::<4>() else {
            return 0;
        };
        let length = u32::from_le_bytes(*length) as usize;
        (HEAD_BYTES + length + self.seal.bytes()).saturating_sub(self.buffer.len())
    }

    fn take(&mut self) -> io::Result<Option<Frame>> {
        let Some(length) = self.buffer.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length > self.max_bytes {
            return Err(invalid(&format!(
                "{length} bytes at once are more than the {} allowed",
                self.max_bytes
            )));
        }
        let sealed = HEAD_BYTES + length;
        if self.buffer.len() < sealed + self.seal.bytes() {
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(sealed);
        let seal = self.buffer.split_to(self.seal.bytes());
        if !self.seal.open(&mut frame, HEAD_BYTES, &seal) {
            return Err(invalid("a checksum is wrong"));
        }
        frame.advance(4);
        let kind = frame.get_u8();
        let number = frame.get_u64_le();
        let is_request = match kind {
            REQUEST => true,
            ANSWER => false,
            other => return Err(invalid(&format!("a frame of the unknown kind {other}"))),
        };
        Ok(Some(Frame {
            is_request,
            number,
            body: frame.freeze(),
        }))
    }
}

/// Room for the next read.
const READ_BYTES: usize = 64 << 10;

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GroupId;
    use crate::codec::Request;

    fn request(bytes: usize) -> Request {
        Request::Call {
            group: GroupId(3),
            body: vec![5; bytes].into(),
        }
    }

    async fn read(bytes: &[u8], max_bytes: usize) -> io::Result<Vec<Frame>> {
        let mut reader = FrameReader::new(bytes, Seal::Checksum, max_bytes);
        let mut frames = Vec::new();
        while let Some(frame) = reader.next().await? {
            frames.push(frame);
        }
        Ok(frames)
    }

    #[tokio::test]
    async fn frames_are_read_as_they_were_written_and_cut_ones_are_errors() {
        let mut bytes = Vec::new();
        for (number, size) in [(1, 0), (2, 100_000), (u64::MAX, 5)] {
            let mut frame = encode(number != 2, number, &request(size));
            Seal::Checksum.seal(&mut frame, HEAD_BYTES);
            bytes.extend_from_slice(&frame);
        }
        let frames = read(&bytes, 1 << 20).await.unwrap();
        assert_eq!(frames.len(), 3);
        assert!(frames[0].is_request && !frames[1].is_request);
        assert_eq!(frames[2].number, u64::MAX);
        let read_request = Request::from_bytes(frames[1].body.clone()).unwrap();
        assert_eq!(read_request, request(100_000));
        assert!(read(&bytes[..bytes.len() - 1], 1 << 20).await.is_err());
        let error = read(&bytes, 1000).await.unwrap_err();
        assert!(
            error.to_string().contains("more than the 1000 allowed"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_length_takes_no_memory_before_its_bytes_come() {
        let mut bytes = u32::to_le_bytes(50 << 20).to_vec();
        bytes.extend_from_slice(&[0; 100]);
        let mut reader = FrameReader::new(&bytes[..], Seal::Checksum, 64 << 20);
        assert!(reader.next().await.is_err());
        assert!(reader.buffer.capacity() <= 2 * STEP_BYTES);
    }
}
