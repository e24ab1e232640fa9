//! Opening a channel, new or as an earlier run left it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use nsq_protocol::{ChannelName, MessageId};
use nsq_queue::{Log, LogError, Marks, Writer};

use super::consumer::Consumers;
use super::delivery::STALL;
use super::journal::{Journal, Note};
use super::line::Locality;
use super::out_message::{Delivered, LogKind, OutMessage, State};
use super::out_set::OutSet;
use super::source::{Source, Step};
use super::{Channel, Life, Offered, OwnLog, Shared, Store};
use crate::client::ClientId;
use crate::ids::{FIRST_FOREIGN_ID, last_id};
use crate::latency::PercentileSettings;
use crate::time::Now;

/// What a topic gives a channel to be made of.
pub(crate) struct Parts {
    pub(crate) name: ChannelName,
    pub(crate) store: Store,
    pub(crate) main: Arc<Log>,
    pub(crate) deferred: Option<Arc<Log>>,
    pub(crate) offered: Arc<Offered>,
    /// Whether the channel is made now, and so begins where the topic's fan-out stands.
    pub(crate) is_new: bool,
    pub(crate) max_depth: Option<u64>,
    pub(crate) max_msg_timeout: Duration,
    pub(crate) percentiles: Option<Arc<PercentileSettings>>,
}

pub(super) const NOBODY: ClientId = ClientId(0);

impl Channel {
    /// Makes the channel of `parts`, or opens it with everything that was not finished.
    ///
    /// # Errors
    /// When its marks or logs cannot be opened.
    pub(crate) fn open(parts: Parts, now: Now) -> Result<Channel, LogError> {
        let Parts {
            name,
            store,
            main,
            deferred,
            offered,
            is_new,
            max_depth,
            max_msg_timeout,
            percentiles,
        } = parts;
        let main_end = offered.end(LogKind::Main);
        let deferred_end = offered.end(LogKind::Deferred);
        let mut marks = open_marks(store.folder.as_deref(), LogKind::Main, &main)?;
        if is_new {
            marks.set_floor(main_end);
        }
        let mut channel = Channel {
            main: Source::new(main, marks, main_end),
            deferred: None,
            private: None,
            backlog: None,
            copies: HashMap::new(),
            journal: None,
            unwritten: Vec::new(),
            unwritten_at: 0,
            out: OutSet::default(),
            consumers: Consumers::default(),
            shared: Arc::new(Shared::default()),
            paused: false,
            life: Life::Open,
            requeued_first: false,
            stalled_until: None,
            highest_noted: None,
            main_start: main_end,
            deferred_start: deferred_end,
            requeue_count: 0,
            timeout_count: 0,
            dropped_count: 0,
            delivered_counts: [0; Locality::COUNT],
            latencies: None,
            percentiles,
            name,
            store,
            offered,
            max_depth,
            max_msg_timeout,
        };
        if let Some(log) = deferred {
            let mut marks = open_marks(channel.store.folder.as_deref(), LogKind::Deferred, &log)?;
            if is_new {
                marks.set_floor(deferred_end);
            }
            channel.deferred = Some(Source::new(log, marks, deferred_end));
        }
        if !is_new {
            channel.resume(now)?;
        }
        channel.settle();
        Ok(channel)
    }

    fn resume(&mut self, now: Now) -> Result<(), LogError> {
        let Some(folder) = self.store.folder.clone() else {
            return Ok(());
        };
        if has_log(&folder, "private") {
            self.private = Some(self.open_private(&folder)?);
        }
        self.open_backlog(&folder)?;
        let mut notes = HashMap::new();
        if has_log(&folder, "notes") {
            let (journal, found) =
                Journal::open(&folder, &self.store.pool, self.store.log_options)?;
            self.journal = Some(journal);
            notes = found;
        }
        let ids = notes.keys().copied();
        self.highest_noted = ids.filter(|&id| id < FIRST_FOREIGN_ID).max();
        // In the order of their logs, so that what comes back does so as it was published.
        let mut notes: Vec<_> = notes.into_values().collect();
        notes.sort_unstable_by_key(|note| (note.log.index(), note.sequence));
        for note in &notes {
            self.resume_noted(note, now);
        }
        self.take_in(LogKind::Deferred, now);
        self.take_in(LogKind::Private, now);
        self.stay_above_adopted();
        Ok(())
    }

    /// Adopted messages have ids of this nsqd's, and need not stand in any log of the topic's.
    fn stay_above_adopted(&mut self) {
        let backlog = self.backlog.as_ref().and_then(|own| last_id(&own.writer));
        let private = self
            .out
            .iter()
            .filter(|message| message.log == LogKind::Private);
        let ids = private.map(|message| message.id);
        let ids = ids.chain(backlog.map(MessageId::as_u64));
        let highest = ids.filter(|id| *id < FIRST_FOREIGN_ID).max();
        self.highest_noted = self.highest_noted.max(highest);
    }

    /// Puts back a message of which a note tells, if the note still speaks of it.
    fn resume_noted(&mut self, note: &Note, now: Now) {
        let Some(source) = self.source_mut(note.log) else {
            return;
        };
        let is_open =
            note.sequence >= source.marks.floor() && !source.marks.is_marked(note.sequence);
        if !is_open || note.sequence >= source.log().end_sequence() {
            return;
        }
        // After a machine crash the place may hold another message.
        let published = match source.reader.read(note.sequence, note.position) {
            Ok(record) if record.id == note.id => record.timestamp,
            _ => return,
        };
        source.ahead_count += 1;
        let message = OutMessage {
            id: note.id,
            sequence: note.sequence,
            position: note.position,
            published,
            delivered: Delivered::default(),
            until: now.tick_at(note.due),
            client: NOBODY,
            attempts: note.attempts,
            log: note.log,
            state: if note.due > now.unix_nanos {
                State::Deferred
            } else {
                State::Requeued
            },
        };
        // The table is keyed as the notes are: nobody can be there before.
        let _ = self.out.insert(message);
    }

    /// Takes every record of `log` that is new to the channel into the out-set: logs that are not read in order.
    pub(super) fn take_in(&mut self, log: LogKind, now: Now) {
        self.take_in_some(log, usize::MAX, now);
    }

    /// As [`Channel::take_in`], and of any log, but no more than `most` of them.
    pub(super) fn take_in_some(&mut self, log: LogKind, most: usize, now: Now) {
        let end = match log {
            LogKind::Private => self.private.as_ref().map(|own| own.writer.end().sequence),
            LogKind::Backlog => self.backlog.as_ref().map(|own| own.writer.end().sequence),
            LogKind::Main | LogKind::Deferred => None,
        };
        let end = end.unwrap_or_else(|| self.offered.end(log));
        let Channel {
            main,
            deferred,
            private,
            backlog,
            out,
            consumers,
            max_depth,
            dropped_count,
            ..
        } = self;
        let source = match log {
            LogKind::Main => Some(main),
            LogKind::Deferred => deferred.as_mut(),
            LogKind::Private => private.as_mut().map(|private| &mut private.source),
            LogKind::Backlog => backlog.as_mut().map(|backlog| &mut backlog.source),
        };
        let Some(source) = source else { return };
        let mut left = most;
        while left > 0 {
            match source.next(end) {
                Step::Record(record) => {
                    let sequence = record.sequence;
                    // What comes without room for it is dropped, as a message whose REQ finds none.
                    let held = out.deferred_count() as u64;
                    if max_depth.is_some_and(|max| held >= max && held >= consumers.total_room()) {
                        let _ = source.marks.mark(sequence);
                        *dropped_count += 1;
                        continue;
                    }
                    let message = OutMessage {
                        id: record.id,
                        sequence,
                        position: record.position,
                        published: record.timestamp,
                        delivered: Delivered::default(),
                        until: now.tick_at(record.due),
                        client: NOBODY,
                        attempts: record.attempts,
                        log,
                        state: if record.due > now.unix_nanos {
                            State::Deferred
                        } else {
                            State::Requeued
                        },
                    };
                    match out.insert(message) {
                        Ok(()) => left -= 1,
                        Err(known) if known.log == log && known.sequence == sequence => {
                            source.ahead_count = source.ahead_count.saturating_sub(1);
                        }
                        // A copy of a message that is out already: a kill came between copying and marking.
                        Err(_) => {
                            let _ = source.marks.mark(sequence);
                        }
                    }
                }
                Step::Skipped => {}
                Step::End => return,
                Step::Stalled(error) => {
                    tracing::error!("deferred messages cannot be read: {error}");
                    self.stalled_until = Some(now.tick.after(STALL));
                    return;
                }
            }
        }
    }

    pub(super) fn open_private(&self, folder: &Path) -> Result<OwnLog, LogError> {
        self.open_own(folder, "private", LogKind::Private)
    }

    pub(super) fn open_own(
        &self,
        folder: &Path,
        name: &str,
        kind: LogKind,
    ) -> Result<OwnLog, LogError> {
        let (writer, _) = Writer::open(
            folder,
            name,
            Arc::clone(&self.store.pool),
            self.store.log_options,
        )?;
        let marks = open_marks(Some(folder), kind, writer.log())?;
        let end = writer.end().sequence;
        let source = Source::new(Arc::clone(writer.log()), marks, end);
        Ok(OwnLog { writer, source })
    }

    pub(super) fn open_private_in_memory(&self) -> OwnLog {
        let writer = Writer::in_memory(self.store.log_options);
        let source = Source::new(Arc::clone(writer.log()), Marks::in_memory(), 0);
        OwnLog { writer, source }
    }

    pub(super) fn open_journal(&self) -> Option<Journal> {
        let folder = self.store.folder.as_deref()?;
        match Journal::open(folder, &self.store.pool, self.store.log_options) {
            Ok((journal, _)) => Some(journal),
            Err(error) => {
                tracing::error!("attempts and due times cannot be noted: {error}");
                None
            }
        }
    }

    /// Marks for a log that came to be after the channel; in memory when the disk refuses.
    pub(super) fn open_marks(&self, kind: LogKind, log: &Arc<Log>, floor: u64) -> Marks {
        let mut marks =
            open_marks(self.store.folder.as_deref(), kind, log).unwrap_or_else(|error| {
                tracing::error!("finished messages may come back after a restart: {error}");
                Marks::in_memory()
            });
        if marks.floor() < floor {
            marks.set_floor(floor);
        }
        marks
    }
}

fn open_marks(folder: Option<&Path>, kind: LogKind, log: &Arc<Log>) -> Result<Marks, LogError> {
    let Some(folder) = folder else {
        return Ok(Marks::in_memory());
    };
    let mut marks = Marks::open(&folder.join(kind.marks_file()), log.identity())?;
    // After a machine crash the log may end before what was marked: those numbers will be given again.
    marks.retain_below(log.end_sequence())?;
    Ok(marks)
}

/// Whether a log of that name was begun in the folder.
pub(crate) fn has_log(folder: &Path, name: &str) -> bool {
    let prefix = format!("{name}.");
    std::fs::read_dir(folder).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let file = entry.file_name();
            let file = file.to_string_lossy();
            file.starts_with(&prefix) && file.ends_with(".log")
        })
    })
}
