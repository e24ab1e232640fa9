//! Commands to bytes.

use nsq_core::change::LogKind;
use nsq_core::command::Command;
use nsq_protocol::{ChannelName, TopicName};

use super::reader::put_varint;
use super::{
    CREATE_CHANNEL, CREATE_TOPIC, DELETE_CHANNEL, DELETE_TOPIC, EMPTY_TOPIC, FANNED_OUT, FINISHED,
    FOLLOWED, JOURNALED, PAUSE_CHANNEL, PAUSE_TOPIC, PUBLISH, VERSION, log_number,
};

/// Begins a proposal of the leader of `term`.
pub(crate) fn begin(to: &mut Vec<u8>, term: u64) {
    to.push(VERSION);
    put_u64(to, term);
}

fn put_name(to: &mut Vec<u8>, name: &str) {
    // Names have 1 to 64 bytes, and 10 more for `#ephemeral`.
    to.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    to.extend_from_slice(name.as_bytes());
}

fn put_u32(to: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("a proposal is far smaller");
    to.extend_from_slice(&count.to_le_bytes());
}

fn put_u64(to: &mut Vec<u8>, number: u64) {
    to.extend_from_slice(&number.to_le_bytes());
}

fn put_i64(to: &mut Vec<u8>, number: i64) {
    to.extend_from_slice(&number.to_le_bytes());
}

/// Sets a count that was left open.
pub(crate) fn set_count(bytes: &mut [u8], at: usize, count: u32) {
    bytes[at..at + 4].copy_from_slice(&count.to_le_bytes());
}

/// Bytes of the head of a publish.
pub(crate) fn publish_head_bytes(topic: &TopicName) -> usize {
    1 + 1 + topic.as_str().len() + 1 + 4
}

/// Appends the head of a publish. Returns where its count of batches lies.
pub(crate) fn put_publish(to: &mut Vec<u8>, topic: &TopicName, log: LogKind) -> usize {
    to.push(PUBLISH);
    put_name(to, topic.as_str());
    to.push(log_number(log));
    put_u32(to, 0);
    to.len() - 4
}

/// Messages of a publish with the same timestamp and due time, while they are written.
#[derive(Debug)]
pub(crate) struct BatchWriter {
    /// Where the first id lies, and the count after it.
    at: usize,
    last_id: u64,
    count: u32,
}

impl BatchWriter {
    /// Begins a batch in a publish. `due` is there for the deferred log, and only for it.
    pub(crate) fn begin(to: &mut Vec<u8>, timestamp: i64, due: Option<i64>) -> BatchWriter {
        put_i64(to, timestamp);
        if let Some(due) = due {
            put_i64(to, due);
        }
        let at = to.len();
        to.extend_from_slice(&[0; 12]);
        BatchWriter {
            at,
            last_id: 0,
            count: 0,
        }
    }

    /// Appends a message. Its id is higher than the one before.
    #[inline]
    pub(crate) fn put(&mut self, to: &mut Vec<u8>, id: u64, body: &[u8]) {
        if self.count == 0 {
            to[self.at..self.at + 8].copy_from_slice(&id.to_le_bytes());
            self.last_id = id;
        }
        put_varint(to, id - self.last_id);
        put_varint(to, body.len() as u64);
        to.extend_from_slice(body);
        self.last_id = id;
        self.count += 1;
    }

    pub(crate) fn end(self, to: &mut [u8]) {
        set_count(to, self.at + 8, self.count);
    }
}

/// Appends that the shard has followed the directory.
pub(crate) fn put_followed(to: &mut Vec<u8>, index: u64) {
    to.push(FOLLOWED);
    put_u64(to, index);
}

/// Appends a command.
pub(crate) fn put_command(to: &mut Vec<u8>, command: &Command<'_>) {
    match *command {
        Command::Publish {
            topic,
            log,
            records,
        } => put_records(to, topic, log, records),
        Command::CreateTopic(topic) => put_named(to, CREATE_TOPIC, topic, None),
        Command::DeleteTopic(topic) => put_named(to, DELETE_TOPIC, topic, None),
        Command::CreateChannel(topic, channel) => {
            put_named(to, CREATE_CHANNEL, topic, Some(channel));
        }
        Command::DeleteChannel(topic, channel) => {
            put_named(to, DELETE_CHANNEL, topic, Some(channel));
        }
        Command::PauseTopic(topic, paused) => {
            put_named(to, PAUSE_TOPIC, topic, None);
            to.push(u8::from(paused));
        }
        Command::PauseChannel(topic, channel, paused) => {
            put_named(to, PAUSE_CHANNEL, topic, Some(channel));
            to.push(u8::from(paused));
        }
        Command::EmptyTopic(topic) => put_named(to, EMPTY_TOPIC, topic, None),
        Command::FannedOut { topic, position } => {
            put_named(to, FANNED_OUT, topic, None);
            put_u64(to, position.main);
            to.push(u8::from(position.deferred.is_some()));
            put_u64(to, position.deferred.unwrap_or_default());
        }
        Command::Finished {
            topic,
            channel,
            log,
            floor,
            sequences,
        } => {
            let end = put_finished(to, topic, channel, log);
            for sequence in sequences {
                put_u64(to, *sequence);
            }
            end.set(to, floor, sequences.len());
        }
        Command::Journaled {
            topic,
            channel,
            unix_nanos,
            entries,
        } => {
            put_named(to, JOURNALED, topic, Some(channel));
            put_i64(to, unix_nanos);
            put_u32(to, entries.len());
            for entry in entries {
                put_u64(to, entry.id);
                to.push(log_number(entry.log));
                put_u64(to, entry.sequence);
                to.extend_from_slice(&entry.attempts.to_le_bytes());
                put_i64(to, entry.due);
            }
        }
    }
}

/// A command about finished messages to which sequences are appended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FinishedHead(usize);

impl FinishedHead {
    /// Notes all that was appended.
    pub(crate) fn set(self, bytes: &mut [u8], floor: u64, count: usize) {
        let FinishedHead(at) = self;
        bytes[at..at + 8].copy_from_slice(&floor.to_le_bytes());
        let count = u32::try_from(count).expect("a proposal is far smaller");
        set_count(bytes, at + 8, count);
    }
}

/// Appends the head of a command about finished messages. Its sequences follow, as `u64`.
pub(crate) fn put_finished(
    to: &mut Vec<u8>,
    topic: &TopicName,
    channel: &ChannelName,
    log: LogKind,
) -> FinishedHead {
    put_named(to, FINISHED, topic, Some(channel));
    to.push(log_number(log));
    to.extend_from_slice(&[0; 12]);
    FinishedHead(to.len() - 12)
}

fn put_records(
    to: &mut Vec<u8>,
    topic: &TopicName,
    log: LogKind,
    records: &[nsq_queue::NewRecord<'_>],
) {
    let count_at = put_publish(to, topic, log);
    let mut batches = 0;
    let alike = |left: &nsq_queue::NewRecord<'_>, right: &nsq_queue::NewRecord<'_>| {
        left.timestamp == right.timestamp && left.due == right.due && left.id < right.id
    };
    for batch in records.chunk_by(alike) {
        let due = (log == LogKind::Deferred).then_some(batch[0].due);
        let mut writer = BatchWriter::begin(to, batch[0].timestamp, due);
        for record in batch {
            writer.put(to, record.id, record.body);
        }
        writer.end(to);
        batches += 1;
    }
    set_count(to, count_at, batches);
}

fn put_named(to: &mut Vec<u8>, kind: u8, topic: &TopicName, channel: Option<&ChannelName>) {
    to.push(kind);
    put_name(to, topic.as_str());
    if let Some(channel) = channel {
        put_name(to, channel.as_str());
    }
}
