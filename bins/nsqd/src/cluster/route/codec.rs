//! Forwarded publishes as bytes: what a node sends to the leader of its own shard, and what the leader answers.
//!
//! ```text
//! call     [version][u32 count] publish...
//! publish  [u32 topic][u64 created at][has due][i64 due][u32 messages] ([u32 size][body])...
//! answer   [version][u32 count] outcome...       one for each publish, in their order
//! outcome  [kind][u32 text]                      the text is empty except for a refusal and a failure
//! ```
//! Integers are little-endian. A decoder never panics and keeps no more than it was given.

use bytes::Bytes;
use nsq_cluster::codec::{DecodeError, Decoder, put_bytes, put_count};
use nsq_protocol::TopicName;

const VERSION: u8 = 1;
/// The shortest publish: a topic of one byte, no due time, one empty message.
const LEAST_PUBLISH_BYTES: usize = 4 + 1 + 8 + 1 + 4 + 4;
/// The shortest outcome.
const LEAST_OUTCOME_BYTES: usize = 1 + 4;
const MAX_TOPIC_BYTES: usize = 64;
/// A longer explanation is cut.
const MAX_TEXT_BYTES: usize = 1024;

/// Messages for one topic that are accepted or refused together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Publish {
    /// The topic.
    pub(crate) topic: TopicName,
    /// The directory index of the topic's creation. A shard that has not followed the directory so far may still have an
    /// earlier topic of that name, which it will delete with its messages.
    pub(crate) created_at: u64,
    /// When they are due, in Unix nanoseconds; `None` for at once.
    pub(crate) due: Option<i64>,
    /// The messages, as [`put_bytes`] wrote them.
    messages: Bytes,
    count: usize,
}

impl Publish {
    /// Copies the messages.
    pub(crate) fn new(
        topic: TopicName,
        created_at: u64,
        due: Option<i64>,
        bodies: &mut dyn ExactSizeIterator<Item = &[u8]>,
    ) -> Publish {
        let mut messages = Vec::new();
        let mut count = 0;
        for body in bodies {
            put_bytes(&mut messages, body);
            count += 1;
        }
        Publish {
            topic,
            created_at,
            due,
            messages: messages.into(),
            count,
        }
    }

    /// The messages.
    pub(crate) fn bodies(&self) -> Bodies<'_> {
        Bodies {
            rest: &self.messages,
            left: self.count,
        }
    }

    /// What it takes in memory and in a call, about.
    pub(crate) fn size(&self) -> usize {
        self.messages.len() + self.topic.as_str().len() + HEAD_BYTES
    }

    fn encode(&self, to: &mut Vec<u8>) {
        put_bytes(to, self.topic.as_str().as_bytes());
        to.extend_from_slice(&self.created_at.to_le_bytes());
        to.push(u8::from(self.due.is_some()));
        if let Some(due) = self.due {
            to.extend_from_slice(&due.to_le_bytes());
        }
        put_count(to, self.count);
        to.extend_from_slice(&self.messages);
    }

    fn decode(from: &mut Decoder) -> Result<Publish, DecodeError> {
        let topic = from.text(MAX_TOPIC_BYTES, "a topic")?;
        let topic =
            TopicName::parse(&topic).map_err(|_| DecodeError::Invalid { what: "a topic" })?;
        let created_at = from.u64("when a topic was created")?;
        let due = if from.flag("whether messages are deferred")? {
            Some(from.u64("a due time")?.cast_signed())
        } else {
            None
        };
        let count = from.count(4, "the messages")?;
        if count == 0 {
            return Err(DecodeError::Invalid {
                what: "a publish without messages",
            });
        }
        let start = from.clone();
        for _ in 0..count {
            from.bytes("a message")?;
        }
        Ok(Publish {
            topic,
            created_at,
            due,
            messages: start.since(from),
            count,
        })
    }
}

/// The rest of a publish in memory: its head on the wire, and what the queue keeps with it.
const HEAD_BYTES: usize = 128;

/// The messages of a [`Publish`].
#[derive(Debug)]
pub(crate) struct Bodies<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Iterator for Bodies<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let whole = "a publish holds whole messages, as many as it counts";
        let (length, rest) = self.rest.split_first_chunk().expect(whole);
        let (body, rest) = rest
            .split_at_checked(u32::from_le_bytes(*length) as usize)
            .expect(whole);
        self.rest = rest;
        Some(body)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Bodies<'_> {}

/// The call that forwards `publishes`.
pub(crate) fn encode_call<'a>(publishes: impl ExactSizeIterator<Item = &'a Publish>) -> Bytes {
    let mut bytes = vec![VERSION];
    put_count(&mut bytes, publishes.len());
    for publish in publishes {
        publish.encode(&mut bytes);
    }
    bytes.into()
}

/// The publishes in a call, which share its memory.
///
/// # Errors
/// When the bytes are no such call.
pub(crate) fn decode_call(body: Bytes) -> Result<Vec<Publish>, DecodeError> {
    let mut from = Decoder::new(body);
    from.version(VERSION, "the version of forwarded publishes")?;
    let count = from.count(LEAST_PUBLISH_BYTES, "the publishes")?;
    let mut publishes = Vec::with_capacity(count);
    for _ in 0..count {
        publishes.push(Publish::decode(&mut from)?);
    }
    from.finish("forwarded publishes")?;
    Ok(publishes)
}

/// What became of a forwarded publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A majority of the replicas holds it.
    Stored,
    /// Not stored: the node does not lead the shard.
    NotLeading,
    /// Not stored: the shard does not have the topic.
    NoTopic,
    /// Not stored: the leader has too much to do at the moment.
    Full,
    /// Not stored, for this reason; it would not be stored later either.
    Refused(String),
    /// It may or may not be stored; the text says so.
    Unconfirmed(String),
}

impl Outcome {
    fn encode(&self, to: &mut Vec<u8>) {
        let (kind, text) = match self {
            Outcome::Stored => (0, ""),
            Outcome::NotLeading => (1, ""),
            Outcome::NoTopic => (2, ""),
            Outcome::Full => (3, ""),
            Outcome::Refused(text) => (4, text.as_str()),
            Outcome::Unconfirmed(text) => (5, text.as_str()),
        };
        to.push(kind);
        let end = text.floor_char_boundary(MAX_TEXT_BYTES);
        put_bytes(to, &text.as_bytes()[..end]);
    }

    fn decode(from: &mut Decoder) -> Result<Outcome, DecodeError> {
        let kind = from.u8("an outcome")?;
        let text = from.text(MAX_TEXT_BYTES, "an explanation")?;
        match (kind, text.is_empty()) {
            (0, true) => Ok(Outcome::Stored),
            (1, true) => Ok(Outcome::NotLeading),
            (2, true) => Ok(Outcome::NoTopic),
            (3, true) => Ok(Outcome::Full),
            (4, _) => Ok(Outcome::Refused(text)),
            (5, _) => Ok(Outcome::Unconfirmed(text)),
            (0..=3, false) => Err(DecodeError::Invalid {
                what: "an outcome with a text",
            }),
            (found, _) => Err(DecodeError::Unknown {
                what: "an outcome",
                found: u64::from(found),
            }),
        }
    }
}

/// The answer to a call.
pub(crate) fn encode_answer(outcomes: &[Outcome]) -> Bytes {
    let mut bytes = vec![VERSION];
    put_count(&mut bytes, outcomes.len());
    for outcome in outcomes {
        outcome.encode(&mut bytes);
    }
    bytes.into()
}

/// The outcomes in an answer.
///
/// # Errors
/// When the bytes are no such answer.
pub(crate) fn decode_answer(body: Bytes) -> Result<Vec<Outcome>, DecodeError> {
    let mut from = Decoder::new(body);
    from.version(VERSION, "the version of an answer to forwarded publishes")?;
    let count = from.count(LEAST_OUTCOME_BYTES, "the outcomes")?;
    let mut outcomes = Vec::with_capacity(count);
    for _ in 0..count {
        outcomes.push(Outcome::decode(&mut from)?);
    }
    from.finish("an answer to forwarded publishes")?;
    Ok(outcomes)
}
