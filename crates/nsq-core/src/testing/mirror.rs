//! A replica that follows a test's broker, and what two data paths are compared by.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use nsq_protocol::{ChannelName, TopicName};
use nsq_queue::{LogOptions, NewRecord};

use crate::change::{Action, ChangeSink, DurableChange};
use crate::error::StoreError;
use crate::inspect::{Inspection, Stored};
use crate::replica::Replica;

/// Applies every change to a replica at once, and keeps them all.
pub(crate) struct Mirror {
    folder: tempfile::TempDir,
    state: Mutex<MirrorState>,
}

struct MirrorState {
    replica: Replica,
    changes: Vec<OwnedChange>,
}

/// A change with what it borrows.
pub(crate) struct OwnedChange {
    topic: TopicName,
    channel: Option<ChannelName>,
    action: Action<'static>,
}

impl OwnedChange {
    fn of(change: &DurableChange<'_>) -> OwnedChange {
        // Tests are short: what a change borrows may stay until they end.
        let action = match change.action {
            Action::Appended {
                log,
                first,
                records,
            } => {
                let records = records.iter().map(|record| NewRecord {
                    body: Vec::leak(record.body.to_vec()),
                    ..*record
                });
                Action::Appended {
                    log,
                    first,
                    records: Vec::leak(records.collect()),
                }
            }
            Action::Finished {
                log,
                floor,
                sequences,
            } => Action::Finished {
                log,
                floor,
                sequences: Vec::leak(sequences.to_vec()),
            },
            Action::Journaled {
                unix_nanos,
                entries,
            } => Action::Journaled {
                unix_nanos,
                entries: Vec::leak(entries.to_vec()),
            },
            Action::TopicCreated => Action::TopicCreated,
            Action::ChannelCreated { main, deferred } => Action::ChannelCreated { main, deferred },
            Action::Deleted => Action::Deleted,
            Action::Paused(paused) => Action::Paused(paused),
            Action::FannedOut(position) => Action::FannedOut(position),
            Action::Truncated { log, end } => Action::Truncated { log, end },
            Action::LogRemoved(log) => Action::LogRemoved(log),
            Action::Imported { highest_id } => Action::Imported { highest_id },
        };
        OwnedChange {
            topic: change.topic.clone(),
            channel: change.channel.cloned(),
            action,
        }
    }

    pub(crate) fn borrow(&self) -> DurableChange<'_> {
        DurableChange {
            topic: &self.topic,
            channel: self.channel.as_ref(),
            action: self.action,
        }
    }
}

impl Mirror {
    pub(super) fn new(log_options: LogOptions) -> Mirror {
        let folder = tempfile::tempdir().unwrap();
        let replica = Replica::open(folder.path(), log_options).unwrap();
        Mirror {
            folder,
            state: Mutex::new(MirrorState {
                replica,
                changes: Vec::new(),
            }),
        }
    }

    /// What a start would find in the replica.
    pub(crate) fn contents(&self) -> BTreeMap<String, Vec<String>> {
        self.state.lock().unwrap().replica.sync().unwrap();
        contents_of(self.folder.path())
    }

    /// All changes so far. The index of the first is 1.
    pub(crate) fn take_changes(&self) -> Vec<OwnedChange> {
        std::mem::take(&mut self.state.lock().unwrap().changes)
    }

    /// Bytes of the journals of all channels.
    pub(crate) fn journal_bytes(&self) -> u64 {
        fn below(folder: &Path) -> u64 {
            let entries = std::fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap());
            let bytes = entries.map(|entry| {
                if entry.file_type().unwrap().is_dir() {
                    below(&entry.path())
                } else if entry.file_name().to_string_lossy().starts_with("notes.") {
                    entry.metadata().unwrap().len()
                } else {
                    0
                }
            });
            bytes.sum()
        }
        below(self.folder.path())
    }

    pub(crate) fn maintain(&self) {
        self.state.lock().unwrap().replica.maintain().unwrap();
    }
}

impl ChangeSink for Mirror {
    fn record(&self, change: DurableChange<'_>) {
        let mut state = self.state.lock().unwrap();
        state.changes.push(OwnedChange::of(&change));
        let index = state.changes.len() as u64;
        state.replica.apply(index, &change).unwrap();
    }
}

/// What a start would find in a data path: by topic, and by topic and channel, its unfinished messages.
pub(crate) fn contents_of(data_path: &Path) -> BTreeMap<String, Vec<String>> {
    let inspection = Inspection::of(data_path, true).unwrap();
    assert_eq!(inspection.damage_count(), 0, "{:?}", inspection.findings);
    let line = |message: &Stored<'_>| {
        let Stored {
            id,
            timestamp,
            attempts,
            due,
            body,
        } = message;
        let body = String::from_utf8_lossy(body);
        format!("{id} {timestamp} {attempts} {due} {body}")
    };
    let mut contents = BTreeMap::new();
    for topic in &inspection.topics {
        let mut lines = Vec::new();
        let waiting = topic.for_each_waiting(|message| {
            lines.push(line(&message));
            Ok::<_, StoreError>(())
        });
        waiting.unwrap();
        contents.insert(format!("{} paused {}", topic.name, topic.paused), lines);
        for channel in &topic.channels {
            let mut lines = Vec::new();
            let unfinished = channel.for_each_unfinished(|message| {
                lines.push(line(&message));
                Ok::<_, StoreError>(())
            });
            unfinished.unwrap();
            let name = format!("{}:{} paused {}", topic.name, channel.name, channel.paused);
            contents.insert(name, lines);
        }
    }
    contents
}
