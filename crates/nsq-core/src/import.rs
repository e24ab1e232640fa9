//! Import of the disk queues that upstream's nsqd left in the data path, once.
//!
//! ```text
//! t.diskqueue.*      a topic's own queue   ─▶  its main log, offered to every channel
//! t:c.diskqueue.*    a channel's queue     ─▶  the channel's backlog
//! all of the files                         ─▶  upstream-imported/<n>/
//! ```
//! Queues are imported by the batch. A journal first notes where each log ends; then the messages are copied and
//! synced; then `nsqd.dat` makes upstream's nsqd refuse the data path, so that it never starts on half of its queues; then
//! one rename makes the journal say that all is copied; then the files are put aside and the journal goes. A start that
//! finds a journal of the first kind cuts the logs back and begins again, of the second kind only puts aside. So a
//! kill at any moment loses nothing and leaves nothing twice.

mod files;
mod journal;
mod queue;
mod report;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use nsq_protocol::{ChannelName, TopicName};
use nsq_queue::diskqueue::QueueFiles;
use nsq_queue::{LogError, LogOptions, SegmentPool, Writer};

pub(crate) use self::files::is_under_way;
use self::journal::{Journal, Phase, Target};
use self::report::Report;
use crate::channel::{INHERITED, LogKind};
use crate::data_path::DataPath;
use crate::error::StoreError;
use crate::metadata::{self, MetadataError};
use crate::time::Now;
use crate::topic::Topic;

/// A batch ends with the queue that brings it to this many bytes: what a kill costs to copy again.
const BATCH_BYTES: u64 = 256 << 20;
/// The same in queues.
const BATCH_QUEUES: usize = 1000;

/// Upstream's files could not be imported. Nothing is lost: the next start continues.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// While a queue was copied.
    #[error("upstream's disk queue {queue} cannot be imported: {source}{}", hint(.source))]
    Queue {
        /// The queue.
        queue: String,
        /// Why not.
        source: StoreError,
    },
    /// Before or after that.
    #[error("upstream's disk queues cannot be imported: {0}{hint}", hint = hint(.0))]
    Store(#[from] StoreError),
    /// The journal of an import that was interrupted makes no sense.
    #[error("upstream's disk queues cannot be imported: {path} is damaged: {source}")]
    Journal {
        /// The journal.
        path: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// `nsqd.dat` cannot be changed so that upstream's nsqd refuses to start.
    #[error("upstream's disk queues cannot be imported: {0}")]
    Metadata(#[from] MetadataError),
    /// A test stopped the import here.
    #[cfg(test)]
    #[error("stopped by a test")]
    Stopped,
}

fn hint(source: &StoreError) -> &'static str {
    let is_full = match source {
        StoreError::Log(error) => error.is_full_disk(),
        StoreError::Io { source, .. } => matches!(
            source.kind(),
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
        ),
        StoreError::Exiting | StoreError::Draining | StoreError::Refused(_) => false,
    };
    if is_full {
        " (nothing is lost; an import needs as much space again as the files take: make room and start again)"
    } else {
        ""
    }
}

impl From<LogError> for ImportError {
    fn from(error: LogError) -> Self {
        ImportError::Store(error.into())
    }
}

/// One queue, with whose it is.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    files: QueueFiles,
    topic: TopicName,
    channel: Option<ChannelName>,
}

/// What there is to import.
#[derive(Debug, Default)]
pub(crate) struct Found {
    queues: Vec<Queue>,
}

impl Found {
    /// The topics that may have messages coming, and the channels of theirs that may.
    pub(crate) fn owners(&self) -> BTreeMap<TopicName, Vec<ChannelName>> {
        let mut owners: BTreeMap<TopicName, Vec<ChannelName>> = BTreeMap::new();
        for queue in self.queues.iter().filter(|queue| queue.files.has_data()) {
            let channels = owners.entry(queue.topic.clone()).or_default();
            channels.extend(queue.channel.clone());
        }
        owners
    }
}

/// Whether there are disk queues with messages to import, or an import was interrupted.
///
/// # Errors
/// [`ImportError`] when the folder or the files cannot be read.
pub fn is_needed(data_path: &Path) -> Result<bool, ImportError> {
    Ok(Journal::load(data_path)?.is_some() || !find(data_path)?.owners().is_empty())
}

/// Brings an import that was interrupted to a state in which nothing is half done.
pub(crate) fn resume(
    data_path: &Path,
    topics: &Path,
    pool: &Arc<SegmentPool>,
    options: LogOptions,
    recorded: &DataPath,
) -> Result<(), ImportError> {
    let Some(journal) = Journal::load(data_path)? else {
        return Ok(());
    };
    match journal.phase {
        Phase::Copying => {
            tracing::warn!("IMPORT: was interrupted, starting again");
            undo(&journal, topics, pool, options, recorded)?;
            Journal::remove(data_path)?;
        }
        Phase::Copied => {
            tracing::warn!("IMPORT: was interrupted, moving the imported files aside");
            files::put_aside(data_path, &journal)?;
            Journal::remove(data_path)?;
        }
    }
    Ok(())
}

/// An import failed: cuts the logs back at once, so that it does not hold the disk it may have filled. What does not
/// work out is done by the next start.
pub(crate) fn give_up(data_path: &Path, topics: &Path, options: LogOptions, recorded: &DataPath) {
    if step().is_err() {
        return;
    }
    if let Ok(Some(journal)) = Journal::load(data_path)
        && journal.phase == Phase::Copying
        && let Err(error) = undo(
            &journal,
            topics,
            &keeping_nothing(&topics.join("free")),
            options,
            recorded,
        )
    {
        tracing::warn!("IMPORT: the failed import will be undone at the next start: {error}");
    }
}

/// A pool that removes what is freed.
fn keeping_nothing(free: &Path) -> Arc<SegmentPool> {
    Arc::new(SegmentPool::new(free, 0))
}

/// Cuts every log of the journal back to where it ended before.
fn undo(
    journal: &Journal,
    topics: &Path,
    pool: &Arc<SegmentPool>,
    options: LogOptions,
    recorded: &DataPath,
) -> Result<(), ImportError> {
    for target in &journal.targets {
        let topic = topics.join(format!("{}.topic", target.topic));
        let (folder, log, kind) = match &target.channel {
            Some(channel) => {
                let folder = topic.join(format!("{channel}.channel"));
                (folder, INHERITED, LogKind::Inherited)
            }
            None => (topic, "main", LogKind::Main),
        };
        let (mut writer, _) = Writer::open(&folder, log, Arc::clone(pool), options)?;
        writer.truncate(target.end)?;
        recorded.record_truncation(&target.topic, target.channel.as_deref(), kind, target.end);
        step()?;
    }
    Ok(())
}

/// Looks for upstream's files. A file that cannot be imported is logged and left where it is.
pub(crate) fn find(data_path: &Path) -> Result<Found, ImportError> {
    let mut found = Found::default();
    for files in QueueFiles::all_in(data_path)? {
        let leave = |why: &str| {
            tracing::warn!(
                "IMPORT: {}: left where it is: {why}",
                files.file_names().join(", ")
            );
        };
        let (topic, channel) = files.owner();
        let Ok(topic) = TopicName::try_from(topic) else {
            leave("its name is not that of a topic");
            continue;
        };
        let Ok(channel) = channel.map(ChannelName::try_from).transpose() else {
            leave("its name is not that of a channel");
            continue;
        };
        if topic.is_ephemeral() || channel.as_ref().is_some_and(ChannelName::is_ephemeral) {
            leave("what is ephemeral is kept in memory only");
            continue;
        }
        found.queues.push(Queue {
            files,
            topic,
            channel,
        });
    }
    Ok(found)
}

/// Imports all of it into `topics`, which hold every one of [`Found::owners`] and have no clients yet.
pub(crate) fn import(
    data_path: &Path,
    found: Found,
    topics: &HashMap<TopicName, Arc<Topic>>,
    max_body_bytes: u64,
    now: Now,
) -> Result<(), ImportError> {
    if found.queues.is_empty() {
        return Ok(());
    }
    let folder = files::next_folder(data_path)?;
    let mut report = Report::default();
    let mut batch = Vec::new();
    let mut bytes = 0;
    for queue in found.queues {
        bytes += files::data_bytes(data_path, &queue.files)?;
        batch.push(queue);
        if bytes >= BATCH_BYTES || batch.len() >= BATCH_QUEUES {
            let batch = std::mem::take(&mut batch);
            bytes = 0;
            import_batch(
                data_path,
                &folder,
                &batch,
                topics,
                max_body_bytes,
                &mut report,
                now,
            )?;
        }
    }
    import_batch(
        data_path,
        &folder,
        &batch,
        topics,
        max_body_bytes,
        &mut report,
        now,
    )?;
    report.log(&files::aside(data_path, &folder));
    Ok(())
}

fn import_batch(
    data_path: &Path,
    folder: &str,
    batch: &[Queue],
    topics: &HashMap<TopicName, Arc<Topic>>,
    max_body_bytes: u64,
    report: &mut Report,
    now: Now,
) -> Result<(), ImportError> {
    if batch.is_empty() {
        return Ok(());
    }
    let mut works = Vec::new();
    for queue in batch.iter().filter(|queue| queue.files.has_data()) {
        if let Some(topic) = topics.get(&queue.topic) {
            works.push(queue::Work::plan(queue, topic, now)?);
        }
    }
    let mut journal = Journal {
        phase: Phase::Copying,
        folder: folder.to_owned(),
        targets: works.iter().map(queue::Work::target).collect(),
        files: files::of(data_path, batch)?,
    };
    step()?;
    journal.save(data_path)?;
    step()?;
    let mut highest_ids: BTreeMap<&TopicName, (&Topic, u64)> = BTreeMap::new();
    for work in &works {
        let id = work.copy(data_path, max_body_bytes, report)?;
        let (_, highest) = highest_ids
            .entry(work.topic.name())
            .or_insert((work.topic, 0));
        *highest = id.max(*highest);
    }
    for work in &works {
        work.sync()?;
        step()?;
    }
    for (topic, highest_id) in highest_ids.values() {
        topic.sync_imported(*highest_id)?;
        step()?;
    }
    // From the next line on, messages that upstream had are ours.
    metadata::lock_out_upstream(data_path)?;
    step()?;
    journal.phase = Phase::Copied;
    journal.save(data_path)?;
    step()?;
    for (topic, highest_id) in highest_ids.values() {
        topic.offer_imported(*highest_id, now);
    }
    files::put_aside(data_path, &journal)?;
    step()?;
    Journal::remove(data_path)?;
    step()
}

/// Between two steps a kill may come; tests stop here as if it had.
#[cfg_attr(
    not(test),
    expect(clippy::unnecessary_wraps, reason = "tests stop here")
)]
fn step() -> Result<(), ImportError> {
    #[cfg(test)]
    tests::step()?;
    Ok(())
}
