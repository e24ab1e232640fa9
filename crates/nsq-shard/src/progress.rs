//! What the consumers of a leader have done, until it is proposed.

use std::sync::{Mutex, MutexGuard, PoisonError};

use nsq_core::change::{Action, ChangeSink, DurableChange, LogKind};
use nsq_core::command::Command;
use nsq_protocol::{ChannelName, TopicName};
use tokio::sync::Notify;

use crate::changes::Deleted;
use crate::codec::{self, CommandError, FinishedHead, Item};

/// With so many bytes, progress is proposed at once.
const LARGE_BYTES: usize = 64 << 10;
/// Finished messages, or messages that came back, of one command, at most.
pub(crate) const MOST_OF_COMMAND: usize = 1024;

/// Takes note of progress as the broker records it.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    noted: Mutex<Noted>,
    /// There is progress after there was none, or there is much of it.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Noted {
    /// Commands, encoded, in pieces of about [`LARGE_BYTES`].
    pieces: Vec<Vec<u8>>,
    /// The last command, if finished messages may be added to it.
    run: Option<Run>,
}

#[derive(Debug)]
struct Run {
    topic: TopicName,
    channel: ChannelName,
    log: LogKind,
    head: FinishedHead,
    count: usize,
}

impl Noted {
    /// Where the next command goes.
    fn piece(&mut self) -> &mut Vec<u8> {
        if self
            .pieces
            .last()
            .is_none_or(|last| last.len() >= LARGE_BYTES)
        {
            self.pieces.push(Vec::new());
            self.run = None;
        }
        let last = self.pieces.len() - 1;
        &mut self.pieces[last]
    }

    fn note(&mut self, command: &Command<'_>) {
        self.run = None;
        codec::put_command(self.piece(), command);
    }

    fn note_finished(
        &mut self,
        topic: &TopicName,
        channel: &ChannelName,
        log: LogKind,
        floor: u64,
        sequences: &[u64],
    ) {
        self.piece();
        let run = self.run.take().filter(|run| {
            run.log == log
                && run.count + sequences.len() <= MOST_OF_COMMAND
                && run.channel == *channel
                && run.topic == *topic
        });
        let piece = self.piece();
        let mut run = run.unwrap_or_else(|| Run {
            topic: topic.clone(),
            channel: channel.clone(),
            log,
            head: codec::put_finished(piece, topic, channel, log),
            count: 0,
        });
        for sequence in sequences {
            piece.extend_from_slice(&sequence.to_le_bytes());
        }
        run.count += sequences.len();
        run.head.set(piece, floor, run.count);
        self.run = Some(run);
    }

    fn bytes(&self) -> usize {
        self.pieces.iter().map(Vec::len).sum()
    }
}

impl Progress {
    /// Takes all commands out, encoded, in pieces that may go into different proposals.
    pub(crate) fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.noted()).pieces
    }

    pub(crate) fn is_large(&self) -> bool {
        self.noted().bytes() >= LARGE_BYTES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.noted().pieces.is_empty()
    }

    /// Forgets what is noted of a topic or channel that was deleted.
    pub(crate) fn forget(&self, deleted: &Deleted) {
        let mut noted = self.noted();
        let pieces = std::mem::take(&mut *noted).pieces;
        for piece in pieces {
            let kept: Result<(), CommandError<()>> = codec::read_commands(&piece, |item| {
                if let Item::Command(command) = item
                    && !concerns(&command, deleted)
                {
                    noted.note(&command);
                }
                Ok(())
            });
            debug_assert!(kept.is_ok(), "it was written here: {kept:?}");
        }
    }

    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn update(&self, note: impl FnOnce(&mut Noted)) {
        let mut noted = self.noted();
        let was_empty = noted.pieces.is_empty();
        let was_large = noted.bytes() >= LARGE_BYTES;
        note(&mut noted);
        let is_news = was_empty || (!was_large && noted.bytes() >= LARGE_BYTES);
        drop(noted);
        if is_news {
            self.changed.notify_one();
        }
    }
}

fn concerns(command: &Command<'_>, deleted: &Deleted) -> bool {
    let channel = match *command {
        Command::Finished { channel, .. } | Command::Journaled { channel, .. } => Some(channel),
        _ => None,
    };
    *command.topic() == deleted.topic
        && (deleted.channel.is_none() || deleted.channel.as_ref() == channel)
}

impl ChangeSink for Progress {
    /// All other changes follow from commands, which every replica executes.
    fn record(&self, change: DurableChange<'_>) {
        let DurableChange {
            topic,
            channel,
            action,
        } = change;
        match (action, channel) {
            (
                Action::Finished {
                    log,
                    floor,
                    sequences,
                },
                Some(channel),
            ) => self.update(|noted| {
                // A floor alone is news too.
                let mut parts = sequences.chunks(MOST_OF_COMMAND);
                let first = parts.next().unwrap_or_default();
                noted.note_finished(topic, channel, log, floor, first);
                parts.for_each(|part| noted.note_finished(topic, channel, log, floor, part));
            }),
            (
                Action::Journaled {
                    unix_nanos,
                    entries,
                },
                Some(channel),
            ) => self.update(|noted| {
                for entries in entries.chunks(MOST_OF_COMMAND) {
                    noted.note(&Command::Journaled {
                        topic,
                        channel,
                        unix_nanos,
                        entries,
                    });
                }
            }),
            (Action::FannedOut(Some(position)), None) => {
                self.update(|noted| noted.note(&Command::FannedOut { topic, position }));
            }
            _ => {}
        }
    }
}
