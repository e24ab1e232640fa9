//! Frames: what nsqd sends to a client.
//!
//! Shape: `[u32 size][u32 type][body]`, big-endian; `size` counts the type and the body.
//! Source: `SendFramedResponse`, nsq 1.3.0, internal/protocol/protocol.go.

#![warn(clippy::indexing_slicing, reason = "the bytes are a stranger's")]

use crate::{CommandError, MessageId, RawMessageId};

/// The answer `OK`, as a whole frame.
pub const OK: &[u8] = b"\0\0\0\x06\0\0\0\0OK";
/// The heartbeat, as a whole frame.
pub const HEARTBEAT: &[u8] = b"\0\0\0\x0f\0\0\0\0_heartbeat_";
/// The answer to CLS, as a whole frame.
pub const CLOSE_WAIT: &[u8] = b"\0\0\0\x0e\0\0\0\0CLOSE_WAIT";

/// What kind of body a frame has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameType {
    /// The answer to a command, or a heartbeat.
    Response = 0,
    /// A command was refused: [`CommandError`].
    Error = 1,
    /// A message for a subscriber.
    Message = 2,
}

/// Appends a response frame.
pub fn write_response(out: &mut Vec<u8>, data: &[u8]) {
    out.reserve(HEADER_BYTES + data.len());
    out.extend_from_slice(&header(FrameType::Response, data.len()));
    out.extend_from_slice(data);
}

/// Appends an error frame.
pub fn write_error(out: &mut Vec<u8>, error: &CommandError) {
    let mut body = Vec::new();
    error.write_body(&mut body);
    out.extend_from_slice(&header(FrameType::Error, body.len()));
    out.extend_from_slice(&body);
}

/// Appends a message frame. `timestamp` is when the message was published, in unix nanoseconds;
/// `attempts` counts this delivery.
pub fn write_message(out: &mut Vec<u8>, timestamp: i64, attempts: u16, id: MessageId, body: &[u8]) {
    // One array and two copies: this runs once for every message delivered.
    let mut head = [0; HEADER_BYTES + MESSAGE_HEADER_BYTES];
    head[..8].copy_from_slice(&header(
        FrameType::Message,
        MESSAGE_HEADER_BYTES + body.len(),
    ));
    head[8..16].copy_from_slice(&timestamp.to_be_bytes());
    head[16..18].copy_from_slice(&attempts.to_be_bytes());
    head[18..].copy_from_slice(&id.to_hex());
    out.reserve(head.len() + body.len());
    out.extend_from_slice(&head);
    out.extend_from_slice(body);
}

/// One frame, borrowed from the bytes it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The body of a response: `OK`, `_heartbeat_`, `CLOSE_WAIT`, or JSON.
    Response(&'a [u8]),
    /// The body of an error: a code, then mostly a space and a description.
    Error(&'a [u8]),
    /// A message.
    Message(MessageFrame<'a>),
}

/// A message as a subscriber gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageFrame<'a> {
    /// When it was published, in unix nanoseconds.
    pub timestamp: i64,
    /// How often it has been delivered, this delivery included; wraps.
    pub attempts: u16,
    /// What to answer it with.
    pub id: RawMessageId,
    /// The publisher's bytes.
    pub body: &'a [u8],
}

/// Bytes that are no frame. The stream has no next frame to continue with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Too small to hold its type, or larger than the reader allows.
    #[error("frame size {size} is not between 4 and {max_size}")]
    FrameSize {
        /// As the sender gave it: type and body.
        size: u32,
        /// As the caller gave it.
        max_size: u32,
    },
    /// Neither response, error nor message.
    #[error("unknown frame type {0}")]
    FrameType(u32),
    /// A message frame that ends before the message's body begins.
    #[error("message frame of size {0} is too short")]
    MessageSize(u32),
}

/// Takes one frame off the front of `buf`, and says how many bytes it took. `None` until all of it
/// is there.
///
/// # Errors
/// [`DecodeError`] for an unknown type, a message too short, or a size below 4 or above `max_size`.
pub fn decode_frame(buf: &[u8], max_size: u32) -> Result<Option<(Frame<'_>, usize)>, DecodeError> {
    let Some((size, rest)) = buf.split_first_chunk() else {
        return Ok(None);
    };
    let size = u32::from_be_bytes(*size);
    // Before waiting for the body: no peer may talk us into holding 4 GiB.
    if !(TYPE_BYTES..=max_size).contains(&size) {
        return Err(DecodeError::FrameSize { size, max_size });
    }
    let Some(content) = rest.get(..size as usize) else {
        return Ok(None);
    };
    let Some((kind, body)) = content.split_first_chunk() else {
        return Ok(None);
    };
    let frame = match u32::from_be_bytes(*kind) {
        0 => Frame::Response(body),
        1 => Frame::Error(body),
        2 => Frame::Message(message(body).ok_or(DecodeError::MessageSize(size))?),
        other => return Err(DecodeError::FrameType(other)),
    };
    Ok(Some((frame, SIZE_BYTES + content.len())))
}

fn message(bytes: &[u8]) -> Option<MessageFrame<'_>> {
    let (timestamp, bytes) = bytes.split_first_chunk()?;
    let (attempts, bytes) = bytes.split_first_chunk()?;
    let (id, body) = bytes.split_first_chunk()?;
    Some(MessageFrame {
        timestamp: i64::from_be_bytes(*timestamp),
        attempts: u16::from_be_bytes(*attempts),
        id: *id,
        body,
    })
}

fn header(kind: FrameType, body_bytes: usize) -> [u8; HEADER_BYTES] {
    let size = u32::try_from(TYPE_BYTES as usize + body_bytes)
        .expect("a body came in under a signed 32-bit length");
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&size.to_be_bytes());
    header[4..].copy_from_slice(&(kind as u32).to_be_bytes());
    header
}

const SIZE_BYTES: usize = 4;
const TYPE_BYTES: u32 = 4;
const HEADER_BYTES: usize = 8;
const MESSAGE_HEADER_BYTES: usize = 8 + 2 + 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_prebuilt_frames_are_what_the_writer_would_write() {
        for (frame, data) in [
            (OK, &b"OK"[..]),
            (HEARTBEAT, b"_heartbeat_"),
            (CLOSE_WAIT, b"CLOSE_WAIT"),
        ] {
            let mut out = Vec::new();
            write_response(&mut out, data);
            assert_eq!(out, frame);
        }
    }

    #[test]
    fn a_bad_magic_is_answered_by_the_code_alone() {
        let mut out = Vec::new();
        write_error(&mut out, &CommandError::BadProtocol);
        assert_eq!(out, b"\0\0\0\x12\0\0\0\x01E_BAD_PROTOCOL");
    }

    #[test]
    fn a_message_frame_has_time_attempts_id_and_body() {
        let mut out = vec![b'!'];
        write_message(
            &mut out,
            0x0102_0304_0506_0708,
            1,
            MessageId::from_u64(0xab),
            b"hi",
        );
        let mut expected = b"!\0\0\0\x20\0\0\0\x02".to_vec();
        expected.extend_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8, 0, 1]);
        expected.extend_from_slice(b"00000000000000abhi");
        assert_eq!(out, expected);
    }

    #[test]
    fn every_cut_of_a_frame_asks_for_more() {
        let mut out = Vec::new();
        write_message(&mut out, 7, 2, MessageId::from_u64(9), b"body");
        for end in 0..out.len() {
            assert_eq!(decode_frame(&out[..end], 1024), Ok(None), "{end}");
        }
        let frame = Frame::Message(MessageFrame {
            timestamp: 7,
            attempts: 2,
            id: *b"0000000000000009",
            body: b"body",
        });
        let whole = out.len();
        out.extend_from_slice(OK);
        assert_eq!(decode_frame(&out, 1024), Ok(Some((frame, whole))));
    }

    #[test]
    fn a_bad_size_is_refused_before_the_body_is_there() {
        let refused = |size| Err(DecodeError::FrameSize { size, max_size: 10 });
        assert_eq!(decode_frame(&[0, 0, 0, 3], 10), refused(3));
        assert_eq!(decode_frame(&[0, 0, 0, 11], 10), refused(11));
        assert_eq!(decode_frame(&[0, 0, 0, 10], 10), Ok(None));
        assert_eq!(decode_frame(&[0xff; 4], 10), refused(u32::MAX));
    }

    #[test]
    fn unknown_types_and_short_messages_are_refused() {
        assert_eq!(
            decode_frame(&[0, 0, 0, 4, 0, 0, 0, 3], 10),
            Err(DecodeError::FrameType(3))
        );
        let mut short = vec![0, 0, 0, 29, 0, 0, 0, 2];
        short.resize(33, b'0');
        assert_eq!(decode_frame(&short, 100), Err(DecodeError::MessageSize(29)));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, max_size: u32) {
            if let Ok(Some((_, consumed))) = decode_frame(&bytes, max_size) {
                prop_assert!(consumed <= bytes.len());
            }
        }

        #[test]
        fn what_is_written_is_read(timestamp: i64, attempts: u16, id: u64, body: Vec<u8>) {
            let id = MessageId::from_u64(id);
            let mut out = Vec::new();
            write_message(&mut out, timestamp, attempts, id, &body);
            let frame = MessageFrame { timestamp, attempts, id: id.to_hex(), body: &body };
            let decoded = decode_frame(&out, u32::MAX);
            prop_assert_eq!(decoded, Ok(Some((Frame::Message(frame), out.len()))));
        }
    }
}
