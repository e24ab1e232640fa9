//! Commands as bytes: what a proposal of a shard consists of.
//!
//! ```text
//! proposal  u8 version, u64 term of the leader that made it, then commands one after the other
//! command   u8 kind, the topic's name, the kind's own bytes
//! publish   u8 log, u32 count of batches; each: i64 timestamp, [i64 due], u64 first id, u32 count,
//!           then each message as two varints, how much higher its id is than the one before and its length, and its body
//! ```
//! Integers are little-endian; a name is a length of one byte and the name. Small messages take little more than their
//! bodies, so that the largest request of a client always fits into one entry. Reading never panics, and takes no memory for
//! a count that the remaining bytes cannot hold.

mod read;
mod reader;
#[cfg(test)]
mod tests;
mod write;

use nsq_cluster::codec::DecodeError;
use nsq_core::change::LogKind;
use nsq_core::command::Command;

pub use read::ProposalReader;
pub(crate) use read::read_commands;
pub(crate) use write::{
    BatchWriter, FinishedHead, begin, publish_head_bytes, put_command, put_finished, put_followed,
    put_publish, set_count,
};

/// The format that this build writes.
const VERSION: u8 = 1;
/// Bytes before the first command.
pub(crate) const HEAD_BYTES: usize = 1 + 8;

const PUBLISH: u8 = 1;
const CREATE_TOPIC: u8 = 2;
const DELETE_TOPIC: u8 = 3;
const CREATE_CHANNEL: u8 = 4;
const DELETE_CHANNEL: u8 = 5;
const PAUSE_TOPIC: u8 = 6;
const PAUSE_CHANNEL: u8 = 7;
const EMPTY_TOPIC: u8 = 8;
const FANNED_OUT: u8 = 9;
const FINISHED: u8 = 10;
const JOURNALED: u8 = 11;
const FOLLOWED: u8 = 12;

/// Why a proposal cannot be executed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError<E> {
    /// It cannot be read: a newer version of nsqd may have written it.
    #[error("a committed entry cannot be read: {0}")]
    Decode(#[from] DecodeError),
    /// Executing a command failed.
    #[error(transparent)]
    Execute(E),
}

/// One part of a proposal.
#[derive(Debug, Clone, Copy)]
pub enum Item<'a> {
    /// A command to execute.
    Command(Command<'a>),
    /// The shard has the topics and channels of the directory as of this index.
    Followed(u64),
}

const fn log_number(log: LogKind) -> u8 {
    match log {
        LogKind::Main => 0,
        LogKind::Deferred => 1,
        LogKind::Private => 2,
        LogKind::Inherited => 3,
    }
}

fn log_of(number: u8) -> Result<LogKind, DecodeError> {
    match number {
        0 => Ok(LogKind::Main),
        1 => Ok(LogKind::Deferred),
        2 => Ok(LogKind::Private),
        3 => Ok(LogKind::Inherited),
        found => Err(DecodeError::Unknown {
            what: "a log",
            found: u64::from(found),
        }),
    }
}
