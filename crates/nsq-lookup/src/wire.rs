//! What both ends of a lookup connection write: the magic, command lines and sized answers.
//!
//! ```text
//! nsqd       ─▶  "  V1"   then lines: WORD [SP PARAM]* LF   (IDENTIFY's is followed by i32 size, JSON)
//! nsqlookupd ─▶  i32 size, that many bytes                  (no frame type)
//! ```

#![warn(clippy::indexing_slicing, reason = "the bytes are a stranger's")]

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use nsq_protocol::{ChannelName, TopicName};

/// The first four bytes of every connection.
pub(crate) const MAGIC_V1: [u8; 4] = *b"  V1";

/// What goes well is answered with this.
pub(crate) const OK: &[u8] = b"OK";

/// Appends a body after its size: an answer, or what follows IDENTIFY.
pub(crate) fn put_sized(out: &mut BytesMut, body: &[u8]) {
    let size = i32::try_from(body.len()).expect("a body is a line, or short JSON");
    out.reserve(SIZE_BYTES + body.len());
    out.put_i32(size);
    out.put_slice(body);
}

/// An answer whose size cannot be true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AnswerSizeError {
    #[error("response body size ({size}) is greater than limit ({limit})")]
    TooBig { size: i32, limit: usize },
    #[error("response body size ({size}) is negative")]
    Negative { size: i32 },
}

/// Takes one answer off the front of `buf`. `None`, with `buf` untouched, until all of it is there.
///
/// # Errors
/// [`AnswerSizeError`], before anything is waited for or reserved.
pub(crate) fn take_answer(
    buf: &mut BytesMut,
    limit: usize,
) -> Result<Option<Bytes>, AnswerSizeError> {
    let Some(mut prefix) = buf.get(..SIZE_BYTES) else {
        return Ok(None);
    };
    let size = prefix.get_i32();
    let body_bytes = usize::try_from(size).map_err(|_| AnswerSizeError::Negative { size })?;
    if body_bytes > limit {
        return Err(AnswerSizeError::TooBig { size, limit });
    }
    if buf.len() < SIZE_BYTES + body_bytes {
        return Ok(None);
    }
    buf.advance(SIZE_BYTES);
    Ok(Some(buf.split_to(body_bytes).freeze()))
}

/// A command, as nsqd sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// With its JSON.
    Identify(Bytes),
    Ping,
    Register(TopicName, Option<ChannelName>),
    Unregister(TopicName, Option<ChannelName>),
}

impl Request {
    /// Appends the command as it goes over the wire.
    pub(crate) fn put(&self, out: &mut BytesMut) {
        // Names are short, and nothing here is on a hot path.
        out.put_slice(self.to_string().as_bytes());
        out.put_u8(b'\n');
        if let Self::Identify(body) = self {
            put_sized(out, body);
        }
    }
}

/// The command without its line end and body.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, topic, channel) = match self {
            Self::Identify(_) => return f.write_str("IDENTIFY"),
            Self::Ping => return f.write_str("PING"),
            Self::Register(topic, channel) => ("REGISTER", topic, channel),
            Self::Unregister(topic, channel) => ("UNREGISTER", topic, channel),
        };
        match channel {
            Some(channel) => write!(f, "{word} {topic} {channel}"),
            None => write!(f, "{word} {topic}"),
        }
    }
}

pub(crate) const SIZE_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_when_all_of_it_is_there() {
        let mut wire = BytesMut::new();
        put_sized(&mut wire, b"OK");
        put_sized(&mut wire, b"");
        let whole = wire.clone();
        for end in 0..6 {
            let mut part = BytesMut::from(&whole[..end]);
            assert_eq!(take_answer(&mut part, 2), Ok(None));
            assert_eq!(part.len(), end);
        }
        assert_eq!(
            take_answer(&mut wire, 2),
            Ok(Some(Bytes::from_static(b"OK")))
        );
        assert_eq!(take_answer(&mut wire, 2), Ok(Some(Bytes::new())));
        assert_eq!(take_answer(&mut wire, 2), Ok(None));
    }

    #[test]
    fn a_size_that_cannot_be_true_is_refused_before_the_body_comes() {
        let refused = |size: i32| take_answer(&mut BytesMut::from(&size.to_be_bytes()[..]), 10);
        assert_eq!(
            refused(11),
            Err(AnswerSizeError::TooBig {
                size: 11,
                limit: 10
            })
        );
        assert_eq!(refused(-1), Err(AnswerSizeError::Negative { size: -1 }));
        assert_eq!(refused(10), Ok(None));
    }

    #[test]
    fn commands_look_as_nsqlookupd_expects_them() {
        let topic = TopicName::parse("t").unwrap();
        let channel = ChannelName::parse("c#ephemeral").unwrap();
        for (request, want) in [
            (Request::Ping, "PING\n"),
            (
                Request::Identify(Bytes::from_static(b"{}")),
                "IDENTIFY\n\0\0\0\x02{}",
            ),
            (Request::Register(topic.clone(), None), "REGISTER t\n"),
            (
                Request::Register(topic.clone(), Some(channel.clone())),
                "REGISTER t c#ephemeral\n",
            ),
            (Request::Unregister(topic.clone(), None), "UNREGISTER t\n"),
            (
                Request::Unregister(topic, Some(channel)),
                "UNREGISTER t c#ephemeral\n",
            ),
        ] {
            let mut wire = BytesMut::new();
            request.put(&mut wire);
            assert_eq!(wire, want, "{request:?}");
        }
    }
}
