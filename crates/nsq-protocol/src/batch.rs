//! The body of an MPUB: several messages, each after its size.
//!
//! Shape: `[u32 size][body]`, repeated, big-endian. The check runs once over every byte, however
//! many reads the batch arrives in; afterwards the messages are walked again without checks.

#![warn(clippy::indexing_slicing, reason = "the bytes are a stranger's")]

use std::iter::FusedIterator;

use crate::decoder::{Limits, Stop};
use crate::{CommandError, CommandName};

/// The messages of a batch: at least one, each of at least one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Messages<'a> {
    /// Sizes and bodies of exactly `count` messages.
    content: &'a [u8],
    count: u32,
}

impl<'a> Messages<'a> {
    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Never true: a batch of none is an error.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many bytes the bodies have in all.
    pub fn body_bytes(&self) -> usize {
        self.content.len() - self.len() * SIZE_BYTES
    }

    /// The bodies, in the client's order.
    pub fn iter(&self) -> MessagesIter<'a> {
        MessagesIter { rest: *self }
    }
}

impl<'a> IntoIterator for Messages<'a> {
    type Item = &'a [u8];
    type IntoIter = MessagesIter<'a>;

    fn into_iter(self) -> MessagesIter<'a> {
        self.iter()
    }
}

impl<'a> IntoIterator for &Messages<'a> {
    type Item = &'a [u8];
    type IntoIter = MessagesIter<'a>;

    fn into_iter(self) -> MessagesIter<'a> {
        self.iter()
    }
}

/// The bodies of a batch; see [`Messages::iter`].
#[derive(Debug, Clone)]
pub struct MessagesIter<'a> {
    rest: Messages<'a>,
}

impl<'a> Iterator for MessagesIter<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (size, rest) = self.rest.content.split_first_chunk()?;
        let (body, rest) = rest.split_at_checked(u32::from_be_bytes(*size) as usize)?;
        self.rest = Messages {
            content: rest,
            count: self.rest.count - 1,
        };
        Some(body)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.rest.len(), Some(self.rest.len()))
    }
}

impl ExactSizeIterator for MessagesIter<'_> {}
impl FusedIterator for MessagesIter<'_> {}

/// How much of a batch that is still arriving has been checked.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BatchProgress {
    /// Messages that are there in full.
    count: u32,
    /// Their bytes, sizes included.
    bytes: usize,
}

impl BatchProgress {
    /// Checks what has arrived of a batch of `count` messages since the last call; `content` begins
    /// with the first message's size every time.
    pub(crate) fn check<'a>(
        &mut self,
        content: &'a [u8],
        count: u32,
        limits: &Limits,
    ) -> Result<Messages<'a>, Stop> {
        while self.count < count {
            let rest = content.get(self.bytes..).unwrap_or_default();
            let index = self.count;
            let Some((size, rest)) = rest.split_first_chunk() else {
                return Err(Stop::Partial(Some(CommandError::NthSizeMissing { index })));
            };
            let size = i32::from_be_bytes(*size);
            let body_bytes = match usize::try_from(size) {
                Ok(bytes) if bytes > 0 => bytes,
                _ => return Err(CommandError::NthSizeInvalid { index, size }.into()),
            };
            let command = CommandName::PublishMany;
            if i64::from(size) > limits.max_msg_size {
                let max = limits.max_msg_size;
                return Err(CommandError::MessageTooBig { command, size, max }.into());
            }
            // Upstream believes the body size that stands before the count, and then reads whatever
            // the messages add up to. Only a client that lies about it can tell the difference, and
            // without this it could have us hold a million times the largest message.
            let end = self.bytes + SIZE_BYTES + body_bytes;
            let size = i64::try_from(COUNT_BYTES + end).unwrap_or(i64::MAX);
            let max = limits.max_body_size;
            if size > max {
                return Err(CommandError::BodyTooBig { command, size, max }.into());
            }
            if rest.len() < body_bytes {
                return Err(Stop::Partial(Some(CommandError::MessageMissing {
                    command,
                })));
            }
            *self = Self {
                count: self.count + 1,
                bytes: end,
            };
        }
        let content = content.get(..self.bytes).unwrap_or_default();
        Ok(Messages { content, count })
    }

    /// Bytes checked so far.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

const SIZE_BYTES: usize = 4;
const COUNT_BYTES: usize = 4;
