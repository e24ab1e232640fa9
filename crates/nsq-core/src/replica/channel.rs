//! One channel of a replica: its finished sets, its journal, and the logs of its own.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use nsq_queue::{FinishedSet, Listing, Log, LogError, NewRecord, Writer, sync_folder};

use super::{Files, ReplicaError};
use crate::change::{Journaled, LogKind};
use crate::channel::{INHERITED, JournalEntry, REWRITE_FLOOR, read_journal};
use crate::checkpoint::Collector;
use crate::error::StoreError;

pub(super) struct ReplicaChannel {
    folder: PathBuf,
    files: Files,
    /// By log; those that there are.
    sets: [Option<FinishedSet>; LogKind::ALL.len()],
    private: Option<Writer>,
    inherited: Option<Writer>,
    journal: Option<Writer>,
}

impl ReplicaChannel {
    pub(super) fn open(
        folder: PathBuf,
        files: &Files,
        main: &Arc<Log>,
        deferred: Option<&Arc<Log>>,
    ) -> Result<ReplicaChannel, ReplicaError> {
        let logs = Listing::of(&folder)?;
        let own = |name: &str| -> Result<Option<Writer>, LogError> {
            let is_there = logs.has(name);
            is_there.then(|| files.open_log(&folder, name)).transpose()
        };
        let (private, inherited) = (own("private")?, own(INHERITED)?);
        let mut channel = ReplicaChannel {
            journal: own("notes")?,
            folder,
            files: files.clone(),
            sets: [const { None }; LogKind::ALL.len()],
            private: None,
            inherited: None,
        };
        channel.open_set(LogKind::Main, main)?;
        if let Some(deferred) = deferred {
            channel.open_set(LogKind::Deferred, deferred)?;
        }
        if let Some(writer) = private {
            channel.open_set(LogKind::Private, writer.log())?;
            channel.private = Some(writer);
        }
        if let Some(writer) = inherited {
            channel.open_set(LogKind::Inherited, writer.log())?;
            channel.inherited = Some(writer);
        }
        Ok(channel)
    }

    /// Opens the finished set of a log, if it is not open.
    pub(super) fn open_set(
        &mut self,
        kind: LogKind,
        log: &Arc<Log>,
    ) -> Result<&mut FinishedSet, ReplicaError> {
        let slot = &mut self.sets[kind.index()];
        if slot.is_none() {
            let file = self.folder.join(kind.finished_file());
            let mut set = FinishedSet::open(&file, log.identity())?;
            // What a machine crash took of the log comes again under the same sequences.
            set.retain_below(log.end_sequence())?;
            *slot = Some(set);
        }
        Ok(slot.as_mut().expect("filled just now"))
    }

    /// The writer of a log of the channel's own, which is made if there is none.
    pub(super) fn own_writer(&mut self, kind: LogKind) -> Result<&mut Writer, ReplicaError> {
        let (slot, name) = match kind {
            LogKind::Inherited => (&mut self.inherited, INHERITED),
            LogKind::Private | LogKind::Main | LogKind::Deferred => (&mut self.private, "private"),
        };
        if slot.is_none() {
            let writer = self.files.open_log(&self.folder, name)?;
            // Finished sets that an earlier log of that name left are not this one's.
            self.sets[kind.index()] = None;
            *slot = Some(writer);
        }
        Ok(slot.as_mut().expect("filled just now"))
    }

    pub(super) fn remove_log(&mut self, kind: LogKind) -> Result<(), ReplicaError> {
        let writer = match kind {
            LogKind::Private => self.private.take(),
            LogKind::Inherited => self.inherited.take(),
            LogKind::Main | LogKind::Deferred => None,
        };
        let removing = |error| crate::error::StoreError::io("remove a log of", &self.folder, error);
        if let Some(writer) = writer {
            writer.delete().map_err(removing)?;
            if let Some(set) = self.sets[kind.index()].take() {
                set.delete().map_err(removing)?;
            }
        }
        Ok(())
    }

    /// Finishes messages of a log: `topic_log`, or one of the channel's own. One that is not there has none.
    pub(super) fn finish(
        &mut self,
        kind: LogKind,
        topic_log: Option<&Arc<Log>>,
        floor: u64,
        sequences: &[u64],
    ) -> Result<(), ReplicaError> {
        let own = match kind {
            LogKind::Private => self.private.as_ref(),
            LogKind::Inherited => self.inherited.as_ref(),
            LogKind::Main | LogKind::Deferred => None,
        };
        let Some(log) = topic_log.or(own.map(Writer::log)).map(Arc::clone) else {
            return Ok(());
        };
        let set = self.open_set(kind, &log)?;
        if set.floor() < floor {
            set.set_floor(floor);
        }
        for &sequence in sequences {
            if let Err(error) = set.finish(sequence) {
                unless_too_large(error)?;
            }
        }
        Ok(())
    }

    /// Finishes messages of a topic's log that will never be offered.
    pub(super) fn skip(
        &mut self,
        kind: LogKind,
        log: &Arc<Log>,
        sequences: Range<u64>,
    ) -> Result<(), ReplicaError> {
        if sequences.is_empty() {
            return Ok(());
        }
        let finished = self.open_set(kind, log)?.finish_range(sequences);
        finished.or_else(unless_too_large)
    }

    pub(super) fn journal(
        &mut self,
        entries: &[Journaled],
        unix_nanos: i64,
    ) -> Result<(), ReplicaError> {
        let entries: Vec<_> = entries.iter().map(JournalEntry::of_record).collect();
        self.append_entries(&entries, unix_nanos)
    }

    fn append_entries(
        &mut self,
        entries: &[JournalEntry],
        unix_nanos: i64,
    ) -> Result<(), ReplicaError> {
        if self.journal.is_none() {
            self.journal = Some(self.files.open_log(&self.folder, "notes")?);
        }
        let writer = self.journal.as_mut().expect("made just now");
        let bodies: Vec<_> = entries.iter().map(JournalEntry::body).collect();
        let records = entries.iter().zip(&bodies).map(|(entry, body)| NewRecord {
            id: entry.id,
            timestamp: unix_nanos,
            due: entry.due,
            attempts: entry.attempts,
            body,
        });
        writer.append(records)?;
        Ok(())
    }

    /// Below this sequence the channel needs nothing of that log.
    pub(super) fn floor(&self, log: LogKind) -> u64 {
        let set = self.sets[log.index()].as_ref();
        set.map_or(0, FinishedSet::floor)
    }

    /// Adds the channel's files.
    pub(super) fn collect(&self, to: &mut Collector) -> Result<(), ReplicaError> {
        for kind in LogKind::ALL {
            if let Some(set) = &self.sets[kind.index()] {
                to.add_set(&self.folder.join(kind.finished_file()), set);
            }
        }
        let writers = [&self.private, &self.inherited, &self.journal];
        for writer in writers.into_iter().flatten() {
            to.add_log(writer.log())?;
        }
        Ok(())
    }

    pub(super) fn sync(&self) -> Result<(), ReplicaError> {
        let writers = [&self.private, &self.inherited, &self.journal];
        for writer in writers.into_iter().flatten() {
            writer.log().sync()?;
        }
        for set in self.sets.iter().flatten() {
            set.sync()?;
        }
        Ok(sync_folder(&self.folder).map_err(StoreError::from)?)
    }

    pub(super) fn maintain(&mut self) -> Result<(), ReplicaError> {
        let (private, inherited) = (self.floor(LogKind::Private), self.floor(LogKind::Inherited));
        let own = [
            (&mut self.private, private),
            (&mut self.inherited, inherited),
        ];
        for (writer, floor) in own {
            if let Some(writer) = writer {
                writer.release_before(floor);
            }
        }
        self.shorten_journal()
    }

    /// Closes files.
    pub(super) fn rest(&mut self) {
        let writers = [&mut self.private, &mut self.inherited, &mut self.journal];
        writers.into_iter().flatten().for_each(Writer::rest);
    }

    /// Writes the entries that still count, and frees the older ones, once most do not.
    fn shorten_journal(&mut self) -> Result<(), ReplicaError> {
        let Some(journal) = &self.journal else {
            return Ok(());
        };
        let log = Arc::clone(journal.log());
        let end = log.end_sequence();
        let count = end - log.first_sequence();
        if count <= REWRITE_FLOOR {
            return Ok(());
        }
        let mut entries: Vec<_> = read_journal(&log).into_values().collect();
        entries.retain(|entry| {
            let set = self.sets[entry.log.index()].as_ref();
            set.is_some_and(|set| !set.is_finished(entry.sequence))
        });
        if count <= 4 * entries.len() as u64 {
            return Ok(());
        }
        entries.sort_unstable_by_key(|entry| (entry.log.index(), entry.sequence));
        self.append_entries(&entries, 0)?;
        if let Some(journal) = &mut self.journal {
            journal.release_before(end);
        }
        Ok(())
    }
}

/// A set that cannot grow any more leaves the message unfinished, as the leader's does: trying again would not help.
fn unless_too_large(error: LogError) -> Result<(), ReplicaError> {
    if let LogError::WindowTooLarge { .. } = error {
        tracing::error!("a finished message may be delivered again: {error}");
        return Ok(());
    }
    Err(error.into())
}
