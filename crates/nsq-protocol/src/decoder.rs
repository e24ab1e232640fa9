//! From the bytes a client sent to [`Command`]s.
//!
//! Shape: a line, fields with one space between, `\n` or `\r\n`; then for some commands
//! `[u32 size][body]`, big-endian. What is wrong is said in upstream's order and words, and as soon
//! as the bytes that show it are there: nothing already known to be bad is waited for or held.
//!
//! Source: `IOLoop` and `Exec`, nsq 1.3.0, nsqd/protocol_v2.go.

#![warn(clippy::indexing_slicing, reason = "the bytes are a stranger's")]

mod reader;

use std::time::Duration;

use crate::batch::BatchProgress;
use crate::decoder::reader::{Fields, Reader};
use crate::name::valid_name;
use crate::{ClientState, Command, CommandError, RawMessageId};

/// The longest line, its `\n` included.
pub const MAX_LINE_BYTES: usize = 16 * 1024;

/// `FIN `, an id, `\n`.
const FINISH_BYTES: usize = 4 + size_of::<RawMessageId>() + 1;

/// What nsqd's settings allow a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest message, in bytes.
    pub max_msg_size: i64,
    /// Largest body of any other kind, an MPUB's in all, in bytes.
    pub max_body_size: i64,
    /// Highest ready count.
    pub max_rdy_count: i64,
    /// Longest delay of a REQ or DPUB.
    pub max_req_timeout: Duration,
}

/// What the connection is allowed at this moment.
#[derive(Debug, Clone, Copy)]
pub struct Context<'l> {
    /// How far the connection has come.
    pub state: ClientState,
    /// nsqd requires TLS and the connection has not been upgraded yet.
    pub tls_missing: bool,
    /// The client's IDENTIFY turned heartbeats off.
    pub heartbeats_disabled: bool,
    /// What holds for every client.
    pub limits: &'l Limits,
}

/// Why no further command can be read. The connection closes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeFailure {
    /// Answer with this, then close.
    #[error(transparent)]
    Refused(#[from] CommandError),
    /// More than [`MAX_LINE_BYTES`] without an end of line: close without a word.
    #[error("no end of line within {MAX_LINE_BYTES} bytes")]
    LineTooLong,
}

/// Reads one connection's commands.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Of the MPUB at the front of the buffer; nothing for any other command.
    batch: BatchProgress,
}

impl Decoder {
    /// A decoder for a connection whose magic has been read.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one command off the front of `buf`, and says how many bytes it took. `None` until all of
    /// it is there; the next call must then find the same bytes, with more after them.
    ///
    /// # Errors
    /// [`DecodeFailure`], after which there is no next command.
    pub fn decode<'a>(
        &mut self,
        buf: &'a [u8],
        context: &Context<'_>,
    ) -> Result<Option<(Command<'a>, usize)>, DecodeFailure> {
        if let Some(id) = plain_finish(buf, context) {
            return Ok(Some((Command::Finish { id }, FINISH_BYTES)));
        }
        match read_command(&mut self.batch, buf, context) {
            Ok(command) => {
                self.batch = BatchProgress::default();
                Ok(Some(command))
            }
            Err(Stop::Partial(_)) => Ok(None),
            Err(Stop::Failed(failure)) => Err(failure),
        }
    }

    /// The topic of the MPUB that `buf` begins with, in which [`decode`](Self::decode) found no whole command.
    ///
    /// Compat: upstream asks for the client's permission before it reads the batch (protocol_v2.go, MPUB).
    pub fn awaited_batch<'a>(&self, buf: &'a [u8]) -> Option<&'a str> {
        let end = memchr::memchr(b'\n', buf)?;
        let line = buf.get(..end)?;
        let mut fields = Fields::of(line.strip_suffix(b"\r").unwrap_or(line));
        if fields.next()? != b"MPUB" {
            return None;
        }
        valid_name(fields.next()?)
    }

    /// What it means that nothing follows `buf`, in which [`decode`](Self::decode) found no whole
    /// command: the error to send before closing, or `None` to close without a word.
    pub fn interrupted(&self, buf: &[u8], context: &Context<'_>) -> Option<CommandError> {
        let mut batch = self.batch;
        match read_command(&mut batch, buf, context) {
            Ok(_) | Err(Stop::Failed(DecodeFailure::LineTooLong)) => None,
            Err(Stop::Partial(error)) => error,
            Err(Stop::Failed(DecodeFailure::Refused(error))) => Some(error),
        }
    }
}

/// Why there is no command.
#[derive(Debug)]
pub(crate) enum Stop {
    /// More bytes are needed. If none come, this is the error; within a line there is none.
    Partial(Option<CommandError>),
    /// More bytes would not help.
    Failed(DecodeFailure),
}

impl From<CommandError> for Stop {
    fn from(error: CommandError) -> Self {
        Self::Failed(error.into())
    }
}

/// The id of a FIN as clients send it, which is most of what a consumer sends. `None` for everything else, wrong FINs
/// among it: [`read_command`] has a word for each.
fn plain_finish(buf: &[u8], context: &Context<'_>) -> Option<RawMessageId> {
    let line: &[u8; FINISH_BYTES] = buf.first_chunk()?;
    let may_finish = context.state != ClientState::Init && !context.tls_missing;
    if !line.starts_with(b"FIN ") || !line.ends_with(b"\n") || !may_finish {
        return None;
    }
    let id: RawMessageId = *line[4..].first_chunk()?;
    // A space or an end of line in it would end it early.
    id.iter().all(|&byte| byte > b' ').then_some(id)
}

fn read_command<'a>(
    batch: &mut BatchProgress,
    buf: &'a [u8],
    context: &Context<'_>,
) -> Result<(Command<'a>, usize), Stop> {
    let window = buf.get(..MAX_LINE_BYTES).unwrap_or(buf);
    let end = memchr::memchr(b'\n', window);
    let Some((end, line)) = end.and_then(|end| Some((end, window.get(..end)?))) else {
        return Err(if window.len() == MAX_LINE_BYTES {
            Stop::Failed(DecodeFailure::LineTooLong)
        } else {
            Stop::Partial(None)
        });
    };
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut fields = Fields::of(line);
    let name = fields.next().unwrap_or_default();
    // Compat: IDENTIFY alone is exempt, and a command no one knows is not (protocol_v2.go, Exec).
    if context.tls_missing && name != b"IDENTIFY" {
        return Err(CommandError::TlsRequired { name: name.into() }.into());
    }
    let mut reader = Reader::new(buf, end + 1, fields, context);
    let command = match name {
        b"FIN" => reader.finish(),
        b"PUB" => reader.publish(),
        b"RDY" => reader.ready(),
        b"MPUB" => reader.publish_many(batch),
        b"REQ" => reader.requeue(),
        b"TOUCH" => reader.touch(),
        b"DPUB" => reader.publish_deferred(),
        b"NOP" => Ok(Command::Nop),
        b"SUB" => reader.subscribe(),
        b"CLS" => reader.close(),
        b"IDENTIFY" => reader.identify(),
        b"AUTH" => reader.auth(),
        _ => Err(CommandError::InvalidCommand { name: name.into() }.into()),
    }?;
    Ok((command, reader.position()))
}

#[cfg(test)]
mod tests;
