//! Bytes to commands.

use nsq_cluster::codec::DecodeError;
use nsq_core::change::{FanOut, Journaled, LogKind};
use nsq_core::command::Command;
use nsq_protocol::{ChannelName, TopicName};
use nsq_queue::NewRecord;

use super::reader::Reader;
use super::{
    CREATE_CHANNEL, CREATE_TOPIC, CommandError, DELETE_CHANNEL, DELETE_TOPIC, EMPTY_TOPIC,
    FANNED_OUT, FINISHED, FOLLOWED, Item, JOURNALED, PAUSE_CHANNEL, PAUSE_TOPIC, PUBLISH, VERSION,
    log_of,
};

/// Messages of one command, at most. What was published together may become several.
const RECORDS: usize = 1024;
const JOURNALED_BYTES: usize = 8 + 1 + 8 + 2 + 8;
/// Bytes of a batch, at least: a timestamp, an id, a count.
const BATCH_BYTES: usize = 8 + 8 + 4;
/// Bytes of a message, at least: two numbers.
const RECORD_BYTES: usize = 2;

/// What a leader has proposed.
#[derive(Debug, Clone, Copy)]
pub struct ProposalReader<'a> {
    term: u64,
    items: Reader<'a>,
}

impl<'a> ProposalReader<'a> {
    /// Reads the head of a proposal.
    ///
    /// # Errors
    /// When this build does not know its version.
    pub fn new(proposal: &'a [u8]) -> Result<ProposalReader<'a>, DecodeError> {
        let mut items = Reader::new(proposal);
        let what = "a proposal's version";
        match items.u8(what)? {
            VERSION => {}
            found => {
                let found = u64::from(found);
                return Err(DecodeError::Unknown { what, found });
            }
        }
        let term = items.u64("a proposal's term")?;
        Ok(ProposalReader { term, items })
    }

    /// The term in which it was made. Committed in another one, it is of no effect.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// Has `execute` execute each part, in order.
    ///
    /// # Errors
    /// [`CommandError`]: of the parts before the faulty one, all were executed.
    pub fn read<E>(
        self,
        mut execute: impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<(), CommandError<E>> {
        read_all(self.items, &mut execute)
    }
}

/// As [`ProposalReader::read`], for commands without a head.
pub(crate) fn read_commands<E>(
    commands: &[u8],
    mut execute: impl FnMut(Item<'_>) -> Result<(), E>,
) -> Result<(), CommandError<E>> {
    read_all(Reader::new(commands), &mut execute)
}

fn read_all<E>(
    mut from: Reader<'_>,
    execute: &mut impl FnMut(Item<'_>) -> Result<(), E>,
) -> Result<(), CommandError<E>> {
    while !from.is_empty() {
        read_item(&mut from, execute)?;
    }
    Ok(())
}

fn read_item<E>(
    from: &mut Reader<'_>,
    execute: &mut impl FnMut(Item<'_>) -> Result<(), E>,
) -> Result<(), CommandError<E>> {
    let kind = from.u8("a command's kind")?;
    if kind == FOLLOWED {
        let index = from.u64("an index of the directory")?;
        return execute(Item::Followed(index)).map_err(CommandError::Execute);
    }
    let topic: TopicName = from.name("a topic's name")?;
    let topic = &topic;
    let mut run =
        |command: Command<'_>| execute(Item::Command(command)).map_err(CommandError::Execute);
    match kind {
        PUBLISH => read_publish(from, topic, &mut run),
        CREATE_TOPIC => run(Command::CreateTopic(topic)),
        DELETE_TOPIC => run(Command::DeleteTopic(topic)),
        EMPTY_TOPIC => run(Command::EmptyTopic(topic)),
        PAUSE_TOPIC => run(Command::PauseTopic(topic, from.flag("a pause")?)),
        FANNED_OUT => {
            let main = from.u64("a position")?;
            let has_deferred = from.flag("a position")?;
            let deferred = from.u64("a position")?;
            let deferred = has_deferred.then_some(deferred);
            let position = FanOut { main, deferred };
            run(Command::FannedOut { topic, position })
        }
        CREATE_CHANNEL | DELETE_CHANNEL | PAUSE_CHANNEL | FINISHED | JOURNALED => {
            let channel: ChannelName = from.name("a channel's name")?;
            read_of_channel(from, kind, topic, &channel, &mut run)
        }
        found => Err(DecodeError::Unknown {
            what: "a command",
            found: u64::from(found),
        }
        .into()),
    }
}

fn read_of_channel<E>(
    from: &mut Reader<'_>,
    kind: u8,
    topic: &TopicName,
    channel: &ChannelName,
    run: &mut impl FnMut(Command<'_>) -> Result<(), CommandError<E>>,
) -> Result<(), CommandError<E>> {
    match kind {
        CREATE_CHANNEL => run(Command::CreateChannel(topic, channel)),
        DELETE_CHANNEL => run(Command::DeleteChannel(topic, channel)),
        PAUSE_CHANNEL => run(Command::PauseChannel(topic, channel, from.flag("a pause")?)),
        FINISHED => {
            let log = log_of(from.u8("a log")?)?;
            let floor = from.u64("a floor")?;
            let count = from.count(8, "finished messages")?;
            let sequences: Result<Vec<_>, _> = (0..count).map(|_| from.u64("a sequence")).collect();
            run(Command::Finished {
                topic,
                channel,
                log,
                floor,
                sequences: &sequences?,
            })
        }
        _ => {
            let unix_nanos = from.i64("a time")?;
            let count = from.count(JOURNALED_BYTES, "messages that came back")?;
            let entries: Result<Vec<_>, _> = (0..count).map(|_| read_journaled(from)).collect();
            run(Command::Journaled {
                topic,
                channel,
                unix_nanos,
                entries: &entries?,
            })
        }
    }
}

fn read_journaled(from: &mut Reader<'_>) -> Result<Journaled, DecodeError> {
    Ok(Journaled {
        id: from.u64("an id")?,
        log: log_of(from.u8("a log")?)?,
        sequence: from.u64("a sequence")?,
        attempts: from.u16("attempts")?,
        due: from.i64("a due time")?,
    })
}

/// Reads the batches of a publish, which become commands of [`RECORDS`] messages each.
fn read_publish<E>(
    from: &mut Reader<'_>,
    topic: &TopicName,
    run: &mut impl FnMut(Command<'_>) -> Result<(), CommandError<E>>,
) -> Result<(), CommandError<E>> {
    let log = log_of(from.u8("a log")?)?;
    if !matches!(log, LogKind::Main | LogKind::Deferred) {
        return Err(DecodeError::Invalid {
            what: "the log of a publish",
        }
        .into());
    }
    let batches = from.count(BATCH_BYTES, "batches")?;
    let mut records = Vec::new();
    for _ in 0..batches {
        let timestamp = from.i64("a timestamp")?;
        let due = match log {
            LogKind::Deferred => from.i64("a due time")?,
            _ => 0,
        };
        let mut id = from.u64("an id")?;
        let count = from.count(RECORD_BYTES, "messages")?;
        records.reserve((RECORDS - records.len()).min(count));
        for _ in 0..count {
            let step = from.varint("an id")?;
            let length = from.varint("a body's length")?;
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            id = id
                .checked_add(step)
                .ok_or(DecodeError::Invalid { what: "an id" })?;
            records.push(NewRecord {
                id,
                timestamp,
                due,
                attempts: 0,
                body: from.take(length, "a body")?,
            });
            if records.len() == RECORDS {
                run(Command::Publish {
                    topic,
                    log,
                    records: &records,
                })?;
                records.clear();
            }
        }
    }
    if records.is_empty() {
        return Ok(());
    }
    run(Command::Publish {
        topic,
        log,
        records: &records,
    })
}
