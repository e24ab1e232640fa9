//! The codec of commands.

use bytes::Bytes;
use nsq_core::change::{FanOut, Journaled, LogKind};
use nsq_core::command::Command;
use nsq_protocol::{ChannelName, TopicName};
use nsq_queue::NewRecord;

use super::*;

fn topic() -> TopicName {
    TopicName::try_from("orders").unwrap()
}

fn channel() -> ChannelName {
    ChannelName::try_from("archive").unwrap()
}

fn record(id: u64, due: i64, body: &[u8]) -> NewRecord<'_> {
    NewRecord {
        id,
        timestamp: -5,
        due,
        attempts: 0,
        body,
    }
}

/// Writes commands, reads them, and compares how both are printed.
fn check(commands: &[Command<'_>]) -> Bytes {
    let mut bytes = Vec::new();
    begin(&mut bytes, 4);
    for command in commands {
        put_command(&mut bytes, command);
    }
    put_followed(&mut bytes, 77);
    let bytes = Bytes::from(bytes);
    let mut read = Vec::new();
    let proposal = ProposalReader::new(&bytes).unwrap();
    assert_eq!(proposal.term(), 4);
    let outcome: Result<(), CommandError<()>> = proposal.read(|item| {
        read.push(format!("{item:?}"));
        Ok(())
    });
    outcome.unwrap();
    let written = commands.iter().map(|command| Item::Command(*command));
    let mut written: Vec<_> = written.map(|item| format!("{item:?}")).collect();
    written.push(format!("{:?}", Item::Followed(77)));
    assert_eq!(read, written);
    bytes
}

fn every_command(test: impl FnOnce(&[Command<'_>])) {
    let (topic, channel) = (&topic(), &channel());
    let position = FanOut {
        main: 7,
        deferred: Some(3),
    };
    let entries = [Journaled {
        id: 9,
        log: LogKind::Private,
        sequence: 4,
        attempts: 65535,
        due: -1,
    }];
    test(&[
        Command::Publish {
            topic,
            log: LogKind::Main,
            records: &[record(1, 0, b"one"), record(2, 0, b"")],
        },
        Command::Publish {
            topic,
            log: LogKind::Deferred,
            records: &[record(3, 99, b"later")],
        },
        Command::CreateTopic(topic),
        Command::DeleteTopic(topic),
        Command::CreateChannel(topic, channel),
        Command::DeleteChannel(topic, channel),
        Command::PauseTopic(topic, true),
        Command::PauseChannel(topic, channel, false),
        Command::EmptyTopic(topic),
        Command::FannedOut { topic, position },
        Command::Finished {
            topic,
            channel,
            log: LogKind::Inherited,
            floor: 12,
            sequences: &[20, 14],
        },
        Command::Journaled {
            topic,
            channel,
            unix_nanos: 5,
            entries: &entries,
        },
    ]);
}

#[test]
fn every_command_is_read_as_it_was_written() {
    every_command(|commands| {
        check(commands);
    });
}

#[test]
fn bytes_that_are_cut_or_changed_are_errors_and_no_panics() {
    every_command(|commands| {
        let bytes = check(commands);
        let ignore = |bytes: Bytes| {
            let proposal = ProposalReader::new(&bytes);
            proposal.is_ok_and(|proposal| proposal.read(|_| Ok::<_, ()>(())).is_ok())
        };
        for length in 0..bytes.len() {
            // Where a command ends, the rest may be missing.
            let _ = ignore(bytes.slice(..length));
        }
        for at in 0..bytes.len() {
            for change in [1, 0x80, 0xFF] {
                let mut changed = bytes.to_vec();
                changed[at] ^= change;
                let _ = ignore(changed.into());
            }
        }
    });
}

#[test]
fn another_version_and_unknown_commands_are_named() {
    let read = |bytes: &[u8]| {
        let proposal = ProposalReader::new(bytes).map_err(CommandError::from);
        let outcome: Result<(), CommandError<std::io::Error>> =
            proposal.and_then(|proposal| proposal.read(|_| Ok(())));
        outcome.unwrap_err().to_string()
    };
    assert_eq!(
        read(&[9]),
        "a committed entry cannot be read: a proposal's version 9 is unknown to this version of nsqd"
    );
    assert!(read(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 200, 1, b't']).contains("a command 200 is unknown"));
}

#[test]
fn the_smallest_messages_take_two_bytes_more_than_their_bodies() {
    let topic = topic();
    let mut bytes = Vec::new();
    begin(&mut bytes, 1);
    let count_at = put_publish(&mut bytes, &topic, LogKind::Main);
    let mut batch = BatchWriter::begin(&mut bytes, 9, None);
    let first = 1 << 40;
    for id in first..first + 3000 {
        batch.put(&mut bytes, id, b"x");
    }
    batch.end(&mut bytes);
    set_count(&mut bytes, count_at, 1);
    assert!(bytes.len() < 3 * 3000 + 100, "{}", bytes.len());
    let mut ids = Vec::new();
    let mut commands = 0;
    let proposal = ProposalReader::new(&bytes).unwrap();
    let outcome: Result<(), CommandError<()>> = proposal.read(|item| {
        let Item::Command(Command::Publish { records, .. }) = item else {
            return Err(());
        };
        commands += 1;
        ids.extend(records.iter().map(|record| record.id));
        assert!(
            records
                .iter()
                .all(|record| record.timestamp == 9 && record.body == b"x")
        );
        Ok(())
    });
    outcome.unwrap();
    assert!(ids.into_iter().eq(first..first + 3000));
    assert_eq!(commands, 3);
}
