//! One command, once its name is known: parameters, sizes and body.
//!
//! Each command checks in upstream's order, and as soon as the bytes are there.

use std::time::Duration;

use crate::batch::BatchProgress;
use crate::decoder::{Context, DecodeFailure, Stop};
use crate::name::valid_name;
use crate::number::wrapping_decimal;
use crate::{ClientState, Command, CommandError, CommandName, Messages, RawMessageId};

/// A line's fields. One space separates, so two in a row have an empty field between them.
pub(super) struct Fields<'a>(Option<&'a [u8]>);

impl<'a> Fields<'a> {
    pub(super) fn of(line: &'a [u8]) -> Self {
        Self(Some(line))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.0?;
        let space = rest.iter().position(|&byte| byte == b' ');
        let parts = space.and_then(|space| rest.split_at_checked(space));
        let Some((field, rest)) = parts else {
            self.0 = None;
            return Some(rest);
        };
        self.0 = rest.get(1..);
        Some(field)
    }
}

/// A command whose name is known: its parameters, and what follows the line.
pub(super) struct Reader<'a, 'c> {
    buf: &'a [u8],
    /// Where the unread bytes of `buf` begin.
    position: usize,
    fields: Fields<'a>,
    context: &'c Context<'c>,
}

impl<'a, 'c> Reader<'a, 'c> {
    /// For the command whose parameters are `fields`, and whose line ends before `position`.
    pub(super) fn new(
        buf: &'a [u8],
        position: usize,
        fields: Fields<'a>,
        context: &'c Context<'c>,
    ) -> Self {
        Self {
            buf,
            position,
            fields,
            context,
        }
    }

    /// How many bytes the command took.
    pub(super) fn position(&self) -> usize {
        self.position
    }
}

/// The commands, each in the order in which upstream checks.
impl<'a> Reader<'a, '_> {
    pub(super) fn identify(&mut self) -> Result<Command<'a>, Stop> {
        self.require(CommandName::Identify, &[ClientState::Init])?;
        let body = self.body(CommandName::Identify)?;
        Ok(Command::Identify { body })
    }

    pub(super) fn auth(&mut self) -> Result<Command<'a>, Stop> {
        self.require(CommandName::Auth, &[ClientState::Init])?;
        if self.fields.next().is_some() {
            return Err(CommandError::AuthParameters.into());
        }
        let secret = self.body(CommandName::Auth)?;
        Ok(Command::Auth { secret })
    }

    pub(super) fn subscribe(&mut self) -> Result<Command<'a>, Stop> {
        let command = CommandName::Subscribe;
        self.require(command, &[ClientState::Init])?;
        if self.context.heartbeats_disabled {
            return Err(CommandError::HeartbeatsDisabled.into());
        }
        let topic = self.parameter(command)?;
        let channel = self.parameter(command)?;
        let topic = topic_name(command, topic)?;
        let channel = valid_name(channel).ok_or_else(|| CommandError::BadChannel {
            name: channel.into(),
        })?;
        Ok(Command::Subscribe { topic, channel })
    }

    pub(super) fn publish(&mut self) -> Result<Command<'a>, Stop> {
        let topic = self.parameter(CommandName::Publish)?;
        let topic = topic_name(CommandName::Publish, topic)?;
        let body = self.message(CommandName::Publish)?;
        Ok(Command::Publish { topic, body })
    }

    pub(super) fn publish_deferred(&mut self) -> Result<Command<'a>, Stop> {
        let command = CommandName::PublishDeferred;
        let topic = self.parameter(command)?;
        let delay = self.parameter(command)?;
        let topic = topic_name(command, topic)?;
        let millis = delay_millis(command, delay)?;
        let nanos = wrapping_nanos(millis);
        let max = self.context.limits.max_req_timeout;
        let delay = u64::try_from(nanos)
            .map(Duration::from_nanos)
            .ok()
            .filter(|&delay| delay <= max)
            .ok_or(CommandError::DelayRange {
                millis,
                max_millis: max.as_millis(),
            })?;
        let body = self.message(command)?;
        Ok(Command::PublishDeferred { topic, delay, body })
    }

    pub(super) fn publish_many(&mut self, batch: &mut BatchProgress) -> Result<Command<'a>, Stop> {
        let topic = self.parameter(CommandName::PublishMany)?;
        let topic = topic_name(CommandName::PublishMany, topic)?;
        let messages = match self.batch(batch) {
            Ok(messages) => Ok(messages),
            Err(Stop::Failed(DecodeFailure::Refused(error))) => Err(error),
            Err(stop) => return Err(stop),
        };
        self.position += batch.bytes();
        Ok(Command::PublishMany { topic, messages })
    }

    pub(super) fn ready(&mut self) -> Result<Command<'a>, Stop> {
        // Compat: after CLS not even the parameter is looked at (protocol_v2.go, RDY).
        if self.context.state == ClientState::Closing {
            return Ok(Command::ReadyIgnored);
        }
        self.require(CommandName::Ready, &[ClientState::Subscribed])?;
        let count = match self.fields.next() {
            // Compat: without a parameter it is 1, with an empty one 0 (protocol_v2.go, RDY).
            None => 1,
            Some(text) => wrapping_decimal(text)
                .ok_or_else(|| CommandError::ReadyCountSyntax { text: text.into() })?
                .cast_signed(),
        };
        let max = self.context.limits.max_rdy_count;
        if !(0..=max).contains(&count) {
            return Err(CommandError::ReadyCountRange { count, max }.into());
        }
        // A ceiling of four thousand million messages is none.
        Ok(Command::Ready {
            count: u32::try_from(count).unwrap_or(u32::MAX),
        })
    }

    pub(super) fn finish(&mut self) -> Result<Command<'a>, Stop> {
        self.require(CommandName::Finish, &MAY_HOLD_MESSAGES)?;
        let id = message_id(self.parameter(CommandName::Finish)?)?;
        Ok(Command::Finish { id })
    }

    pub(super) fn requeue(&mut self) -> Result<Command<'a>, Stop> {
        let command = CommandName::Requeue;
        self.require(command, &MAY_HOLD_MESSAGES)?;
        let id = self.parameter(command)?;
        let delay = self.parameter(command)?;
        let id = message_id(id)?;
        let millis = delay_millis(command, delay)?;
        let nanos = wrapping_nanos(millis);
        let max = self.context.limits.max_req_timeout;
        let delay = Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)).min(max);
        let in_range = i128::from(nanos) == i128::try_from(delay.as_nanos()).unwrap_or(i128::MAX);
        let clamped_from = (!in_range).then_some(millis.cast_signed());
        Ok(Command::Requeue {
            id,
            delay,
            clamped_from,
        })
    }

    pub(super) fn touch(&mut self) -> Result<Command<'a>, Stop> {
        self.require(CommandName::Touch, &MAY_HOLD_MESSAGES)?;
        let id = message_id(self.parameter(CommandName::Touch)?)?;
        Ok(Command::Touch { id })
    }

    pub(super) fn close(&mut self) -> Result<Command<'a>, Stop> {
        self.require(CommandName::Close, &[ClientState::Subscribed])?;
        Ok(Command::Close)
    }
}

/// What the commands are made of.
impl<'a> Reader<'a, '_> {
    fn require(&self, command: CommandName, allowed: &[ClientState]) -> Result<(), CommandError> {
        if allowed.contains(&self.context.state) {
            Ok(())
        } else {
            Err(CommandError::WrongState { command })
        }
    }

    fn parameter(&mut self, command: CommandName) -> Result<&'a [u8], CommandError> {
        self.fields
            .next()
            .ok_or(CommandError::TooFewParameters { command })
    }

    /// The body of an IDENTIFY or AUTH.
    fn body(&mut self, command: CommandName) -> Result<&'a [u8], Stop> {
        let size = self.length(|| CommandError::BodySizeMissing { command })?;
        let max = self.context.limits.max_body_size;
        if i64::from(size) > max {
            return Err(CommandError::BodyTooBig {
                command,
                size: size.into(),
                max,
            }
            .into());
        }
        if size <= 0 {
            return Err(CommandError::BodySizeInvalid { command, size }.into());
        }
        self.bytes(size, || CommandError::BodyMissing { command })
    }

    /// The body of a PUB or DPUB.
    fn message(&mut self, command: CommandName) -> Result<&'a [u8], Stop> {
        let size = self.length(|| CommandError::MessageSizeMissing { command })?;
        if size <= 0 {
            return Err(CommandError::MessageSizeInvalid { command, size }.into());
        }
        let max = self.context.limits.max_msg_size;
        if i64::from(size) > max {
            return Err(CommandError::MessageTooBig { command, size, max }.into());
        }
        self.bytes(size, || CommandError::MessageMissing { command })
    }

    /// The body of an MPUB, up to the first message's size; `batch` knows where it ends.
    fn batch(&mut self, batch: &mut BatchProgress) -> Result<Messages<'a>, Stop> {
        let command = CommandName::PublishMany;
        let limits = self.context.limits;
        let max = limits.max_body_size;
        // Compat: a size within the limits is not compared with what follows (protocol_v2.go, MPUB).
        let size = self.length(|| CommandError::BodySizeMissing { command })?;
        if size <= 0 {
            return Err(CommandError::BodySizeInvalid { command, size }.into());
        }
        if i64::from(size) > max {
            return Err(CommandError::BodyTooBig {
                command,
                size: size.into(),
                max,
            }
            .into());
        }
        let count = self.length(|| CommandError::CountMissing)?;
        // The count itself takes 4 bytes, and a message at least 5.
        let max_count = max.saturating_sub(4) / 5;
        let valid_count = u32::try_from(count)
            .ok()
            .filter(|&count| count > 0 && i64::from(count) <= max_count)
            .ok_or(CommandError::CountInvalid { count })?;
        let content = self.buf.get(self.position..).unwrap_or_default();
        batch.check(content, valid_count, limits)
    }

    /// A length as upstream reads it: signed. `missing` is what it means if the stream ends here.
    fn length(&mut self, missing: impl FnOnce() -> CommandError) -> Result<i32, Stop> {
        let rest = self.buf.get(self.position..).unwrap_or_default();
        let Some(length) = rest.first_chunk() else {
            return Err(Stop::Partial(Some(missing())));
        };
        self.position += length.len();
        Ok(i32::from_be_bytes(*length))
    }

    fn bytes(
        &mut self,
        size: i32,
        missing: impl FnOnce() -> CommandError,
    ) -> Result<&'a [u8], Stop> {
        let rest = self.buf.get(self.position..).unwrap_or_default();
        let Some(bytes) = usize::try_from(size).ok().and_then(|size| rest.get(..size)) else {
            return Err(Stop::Partial(Some(missing())));
        };
        self.position += bytes.len();
        Ok(bytes)
    }
}

fn topic_name(command: CommandName, name: &[u8]) -> Result<&str, CommandError> {
    valid_name(name).ok_or_else(|| CommandError::BadTopic {
        command,
        name: name.into(),
    })
}

fn message_id(field: &[u8]) -> Result<RawMessageId, CommandError> {
    field.try_into().map_err(|_| CommandError::InvalidMessageId)
}

fn delay_millis(command: CommandName, text: &[u8]) -> Result<u64, CommandError> {
    wrapping_decimal(text).ok_or_else(|| CommandError::DelaySyntax {
        command,
        text: text.into(),
    })
}

/// Compat: upstream's multiplication wraps around, so a huge delay may come out as a small one, or
/// as a negative one (protocol_v2.go, REQ and DPUB).
fn wrapping_nanos(millis: u64) -> i64 {
    millis.cast_signed().wrapping_mul(1_000_000)
}

const MAY_HOLD_MESSAGES: [ClientState; 2] = [ClientState::Subscribed, ClientState::Closing];
