//! One channel's marks and logs, read: which messages it has not finished.
//!
//! The rules are those of `Channel::resume` and of delivery: a note tells where its message counts; a copy of what is
//! out already counts for nothing.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use hashbrown::HashMap;
use nsq_protocol::ChannelName;
use nsq_queue::{FinishedSet, Log, Reader, Record};

use super::topic::{look, walk};
use super::{Finding, LogInspection};
use crate::channel::{INHERITED, JournalEntry, LogKind, has_log, read_journal};
use crate::error::StoreError;

/// A message that is not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored<'a> {
    /// Its id.
    pub id: u64,
    /// When it was published, unix nanoseconds.
    pub timestamp: i64,
    /// How often it was delivered.
    pub attempts: u16,
    /// When it may be delivered, unix nanoseconds; 0 for at once.
    pub due: i64,
    /// Its body.
    pub body: &'a [u8],
}

impl<'a> Stored<'a> {
    pub(super) fn of(record: &Record<'a>) -> Stored<'a> {
        Stored {
            id: record.id,
            timestamp: record.timestamp,
            attempts: record.attempts,
            due: record.due,
            body: record.body,
        }
    }
}

/// How far a topic's logs were offered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer {
    pub(super) main: u64,
    pub(super) deferred: u64,
}

/// One channel.
#[derive(Debug)]
pub struct ChannelInspection {
    /// Its name.
    pub name: ChannelName,
    /// Whether it is paused.
    pub paused: bool,
    /// All its own logs together.
    pub logs: LogInspection,
    sources: Vec<Source>,
    notes: HashMap<u64, JournalEntry>,
}

/// A log and what is finished in it, up to an end.
#[derive(Debug)]
struct Source {
    kind: LogKind,
    log: Arc<Log>,
    finished: FinishedSet,
    end: u64,
}

/// Totals of a channel's messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// That can be had at once.
    pub queued: u64,
    /// Those of them that were delivered before.
    pub returned: u64,
    /// That wait for their time.
    pub deferred: u64,
}

impl ChannelInspection {
    #[expect(clippy::too_many_arguments, reason = "a topic's parts, used once")]
    pub(super) fn of(
        folder: &Path,
        name: ChannelName,
        paused: bool,
        main: &Arc<Log>,
        deferred: Option<&Arc<Log>>,
        offer: Offer,
        verify: bool,
        findings: &mut Vec<Finding>,
    ) -> Result<ChannelInspection, StoreError> {
        let mut survey = ChannelInspection {
            name,
            paused,
            logs: LogInspection::default(),
            sources: Vec::new(),
            notes: HashMap::new(),
        };
        if !folder.exists() {
            // It would be made by the start, and begin where the topic's offer stands.
            return Ok(survey);
        }
        let mut add = |kind: LogKind, log: &Arc<Log>, end, findings: &mut Vec<Finding>| {
            let file = folder.join(kind.finished_file());
            let mut finished = FinishedSet::open_read_only(&file, log.identity())?;
            if finished.started_afresh() {
                findings.push(Finding::Damage(format!(
                    "{}: cannot be understood, or belongs to another log: all messages come again",
                    file.display()
                )));
            }
            finished.retain_below(log.end_sequence())?;
            if finished.floor() < log.first_sequence() {
                finished.set_floor(log.first_sequence());
            }
            survey.sources.push(Source {
                kind,
                log: Arc::clone(log),
                finished,
                end,
            });
            Ok::<_, StoreError>(())
        };
        for (kind, log) in [
            (LogKind::Private, "private"),
            (LogKind::Inherited, INHERITED),
        ] {
            if has_log(folder, log) {
                let log = look(folder, log, verify, findings)?;
                survey.logs = survey.logs + LogInspection::of(&log);
                add(kind, &log, log.end_sequence(), findings)?;
            }
        }
        add(LogKind::Main, main, offer.main, findings)?;
        if let Some(log) = deferred {
            add(LogKind::Deferred, log, offer.deferred, findings)?;
        }
        if has_log(folder, "notes") {
            let log = look(folder, "notes", verify, findings)?;
            survey.logs = survey.logs + LogInspection::of(&log);
            survey.notes = read_journal(&log);
            let sources = survey.sources.iter();
            let mut sources: Vec<_> = sources
                .map(|source| (source, Reader::new(Arc::clone(&source.log))))
                .collect();
            survey
                .notes
                .retain(|_, note| speaks_of_a_message(note, &mut sources));
        }
        Ok(survey)
    }

    /// Calls `visit` with every unfinished message: what was moved out of the way or came from upstream first, then
    /// what was published, in order, then what was published with a deferral. What cannot be read is passed over.
    ///
    /// # Errors
    /// What `visit` returns, or when a file cannot be read.
    pub fn for_each_unfinished<E: From<StoreError>>(
        &self,
        mut visit: impl FnMut(Stored<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut out: HashSet<u64> = HashSet::new();
        // What a start takes in whole counts before what is read in order.
        for kind in [LogKind::Deferred, LogKind::Private] {
            for source in self.sources.iter().filter(|source| source.kind == kind) {
                source.walk(&mut |record| {
                    out.insert(record.id);
                    Ok::<_, E>(())
                })?;
            }
        }
        let mut given: HashSet<u64> = HashSet::new();
        for source in &self.sources {
            let is_in_order = matches!(source.kind, LogKind::Main | LogKind::Inherited);
            source.walk(&mut |record| {
                let note = self.notes.get(&record.id);
                let is_noted = |note: &&JournalEntry| {
                    note.log == source.kind && note.sequence == record.sequence
                };
                let mut message = Stored::of(record);
                match note {
                    Some(note) if is_noted(&note) => {
                        message.attempts = note.attempts;
                        message.due = note.due;
                    }
                    Some(_) => return Ok(()),
                    None if is_in_order && out.contains(&record.id) => return Ok(()),
                    None if !is_in_order && !given.insert(record.id) => return Ok(()),
                    None => {}
                }
                visit(message)
            })?;
        }
        Ok(())
    }

    /// How many messages the marks files name one by one as finished.
    pub fn finished_count(&self) -> u64 {
        let sources = self.sources.iter();
        sources
            .map(|source| {
                let floor = source.finished.floor();
                source.finished.count_finished(floor..source.end.max(floor))
            })
            .sum()
    }

    /// Counts them, at a time in unix nanoseconds.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn counts(&self, unix_nanos: i64) -> Result<Counts, StoreError> {
        let mut counts = Counts::default();
        self.for_each_unfinished(|message| {
            if message.due > unix_nanos {
                counts.deferred += 1;
            } else {
                counts.queued += 1;
                counts.returned += u64::from(message.attempts > 0);
            }
            Ok::<_, StoreError>(())
        })?;
        Ok(counts)
    }
}

impl Source {
    fn walk<E: From<StoreError>>(
        &self,
        visit: &mut impl FnMut(&Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        walk(&self.log, self.finished.floor(), self.end, &mut |record| {
            if self.finished.is_finished(record.sequence) {
                return Ok(());
            }
            visit(record)
        })
    }
}

/// Whether a note's message is unfinished, and is the one that stands there.
fn speaks_of_a_message(note: &JournalEntry, sources: &mut [(&Source, Reader)]) -> bool {
    let source = sources
        .iter_mut()
        .find(|(source, _)| source.kind == note.log);
    source.is_some_and(|(source, reader)| {
        let is_open = note.sequence >= source.finished.floor()
            && !source.finished.is_finished(note.sequence)
            && note.sequence < source.log.end_sequence();
        is_open
            && reader
                .read(note.sequence, note.position)
                .is_ok_and(|record| record.id == note.id)
    })
}
