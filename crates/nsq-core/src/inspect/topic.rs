//! One topic's logs, read.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use nsq_protocol::{ChannelName, MessageId, TopicName};
use nsq_queue::{Damage, FinishedSet, Log, ReadError, Reader, Record};

use super::channel::{ChannelInspection, Offer};
use super::{Finding, Stored};
use crate::change::LogKind;
use crate::channel::has_log;
use crate::error::StoreError;
use crate::ids::last_id_in;
use crate::topic::{DEFERRED_OFFERED, MAIN_OFFERED};

/// What a log takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogInspection {
    /// Its files.
    pub segments: usize,
    /// Bytes of them.
    pub bytes: u64,
}

/// One topic.
#[derive(Debug)]
pub struct TopicInspection {
    /// Its name.
    pub name: TopicName,
    /// Whether it is paused.
    pub paused: bool,
    /// Messages that no channel was offered yet.
    pub waiting: u64,
    /// All its own logs together.
    pub logs: LogInspection,
    /// Its channels, by name.
    pub channels: Vec<ChannelInspection>,
    main: Arc<Log>,
    deferred: Option<Arc<Log>>,
    offer: Offer,
}

impl TopicInspection {
    pub(super) fn of(
        topics: &Path,
        name: TopicName,
        paused: bool,
        channels: BTreeMap<ChannelName, bool>,
        verify: bool,
        findings: &mut Vec<Finding>,
    ) -> Result<TopicInspection, StoreError> {
        let folder = topics.join(format!("{name}.topic"));
        let main = look(&folder, "main", verify, findings)?;
        let deferred = if has_log(&folder, "deferred") {
            Some(look(&folder, "deferred", verify, findings)?)
        } else {
            None
        };
        let logs =
            LogInspection::of(&main) + deferred.as_ref().map(LogInspection::of).unwrap_or_default();
        let stands_still = paused || channels.is_empty();
        let offer = offer(
            &folder,
            &main,
            deferred.as_ref(),
            stands_still,
            channels.is_empty(),
        )?;
        let mut surveyed = Vec::new();
        for (name, paused) in channels {
            let folder = folder.join(format!("{name}.channel"));
            surveyed.push(ChannelInspection::of(
                &folder,
                name,
                paused,
                &main,
                deferred.as_ref(),
                offer,
                verify,
                findings,
            )?);
        }
        let end_of = |log: &Arc<Log>| log.end_sequence();
        let waiting = main.end_sequence().saturating_sub(offer.main)
            + deferred
                .as_ref()
                .map_or(0, |log| end_of(log).saturating_sub(offer.deferred));
        Ok(TopicInspection {
            name,
            paused,
            waiting,
            logs,
            channels: surveyed,
            main,
            deferred,
            offer,
        })
    }

    /// The highest id of a message in that log; 0 in an empty one. A publish that is executed again skips messages up to it.
    pub fn last_id(&self, log: LogKind) -> u64 {
        let log = match log {
            LogKind::Deferred => self.deferred.as_ref(),
            LogKind::Main | LogKind::Private | LogKind::Inherited => Some(&self.main),
        };
        log.and_then(last_id_in).map_or(0, MessageId::as_u64)
    }

    /// Calls `visit` with every message that no channel was offered yet, in order; those published with a deferral
    /// last. What cannot be read is passed over.
    ///
    /// # Errors
    /// What `visit` returns, or when a file cannot be read.
    pub fn for_each_waiting<E: From<StoreError>>(
        &self,
        mut visit: impl FnMut(Stored<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut give = |record: &Record<'_>| visit(Stored::of(record));
        walk(
            &self.main,
            self.offer.main,
            self.main.end_sequence(),
            &mut give,
        )?;
        if let Some(log) = &self.deferred {
            walk(log, self.offer.deferred, log.end_sequence(), &mut give)?;
        }
        Ok(())
    }
}

impl LogInspection {
    pub(super) fn of(log: &Arc<Log>) -> LogInspection {
        LogInspection {
            segments: log.segment_count(),
            bytes: log.disk_bytes(),
        }
    }
}

impl std::ops::Add for LogInspection {
    type Output = LogInspection;

    fn add(self, other: LogInspection) -> LogInspection {
        LogInspection {
            segments: self.segments + other.segments,
            bytes: self.bytes + other.bytes,
        }
    }
}

/// How far the logs were offered, by the rule of `Topic::resume`.
fn offer(
    folder: &Path,
    main: &Arc<Log>,
    deferred: Option<&Arc<Log>>,
    stands_still: bool,
    is_alone: bool,
) -> Result<Offer, StoreError> {
    let saved = |name: &str, log: &Arc<Log>| -> Result<Option<u64>, StoreError> {
        let file = folder.join(name);
        if !stands_still || !file.exists() {
            return Ok(None);
        }
        let floor = FinishedSet::open_read_only(&file, log.identity())?.floor();
        Ok(Some(floor.clamp(log.first_sequence(), log.end_sequence())))
    };
    let main_saved = saved(MAIN_OFFERED, main)?;
    let is_saved = main_saved.is_some();
    let of_deferred = match deferred {
        None => 0,
        Some(log) if is_saved => {
            saved(DEFERRED_OFFERED, log)?.unwrap_or_else(|| log.first_sequence())
        }
        Some(log) if is_alone => log.first_sequence(),
        Some(log) => log.end_sequence(),
    };
    let unsaved = if is_alone {
        main.first_sequence()
    } else {
        main.end_sequence()
    };
    Ok(Offer {
        main: main_saved.unwrap_or(unsaved),
        deferred: of_deferred,
    })
}

/// Opens a log to be read, and reads all of it if it is to be verified.
pub(super) fn look(
    folder: &Path,
    name: &str,
    verify: bool,
    findings: &mut Vec<Finding>,
) -> Result<Arc<Log>, StoreError> {
    let (log, recovery) = Log::open_read_only(folder, name)?;
    for damage in recovery.damaged {
        findings.push(match damage {
            Damage::TornTail { path, offset } => Finding::Notice(format!(
                "{}: ends with part of a message at {offset}, which a kill cut short and nobody was told is safe",
                path.display()
            )),
            Damage::PutAside(path, _) => Finding::Damage(format!(
                "{}: is no file of this log, or beyond help: a start puts it aside",
                path.display()
            )),
            Damage::HeaderRebuilt(path) => Finding::Damage(format!(
                "{}: its header is damaged; a start mends it",
                path.display()
            )),
            // Told with its place when the records are read, and else here.
            Damage::Lost(_) if verify => continue,
            Damage::Lost(lost) => Finding::Damage(format!(
                "{}: messages {} to {} of {name} are lost",
                folder.display(),
                lost.start,
                lost.end.saturating_sub(1)
            )),
        });
    }
    if verify {
        let mut reader = Reader::new(Arc::clone(&log));
        let mut cursor = log.seek(log.first_sequence());
        loop {
            match reader.next(&mut cursor) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(ReadError::Damaged {
                    sequences,
                    position,
                }) => {
                    let file = log.file_of(position).unwrap_or_else(|| folder.join(name));
                    findings.push(Finding::Damage(format!(
                        "{}: {} of its messages cannot be read, from {} on",
                        file.display(),
                        sequences.end - sequences.start,
                        position.offset
                    )));
                }
                Err(ReadError::Io(error)) => {
                    findings.push(Finding::Damage(error.to_string()));
                    break;
                }
            }
        }
    }
    Ok(log)
}

/// The records `from..to` of a log that can be read.
pub(super) fn walk<E: From<StoreError>>(
    log: &Arc<Log>,
    from: u64,
    to: u64,
    visit: &mut impl FnMut(&Record<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut reader = Reader::new(Arc::clone(log));
    let mut cursor = log.seek(from);
    while cursor.sequence < to {
        match reader.next(&mut cursor) {
            Ok(Some(record)) => visit(&record)?,
            Ok(None) => break,
            Err(ReadError::Damaged { .. }) => {}
            Err(ReadError::Io(error)) => {
                return Err(StoreError::Log(nsq_queue::LogError::File(error)).into());
            }
        }
    }
    Ok(())
}
