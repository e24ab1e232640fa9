//! A data path that follows another one, without a broker: the [commands](crate::command) that the leader's broker
//! executes are executed here, or the [changes](crate::change) recorded there are applied.
//!
//! When a broker opens it, it holds the same topics, channels and unfinished messages, with the same attempts and due
//! times, as the data path whose changes were applied would hold after a kill at that moment.
//!
//! Changes come with an index that grows by one. [`Replica::sync`] brings all applied changes to the disk, and then stores
//! the index of the last: after a crash, changes are applied again from the next one on. That is safe because each is
//! idempotent together with those that follow it: a log knows by its end which records it has, finishing twice is finishing
//! once, and of journal entries, pauses and positions the last one counts. Where that is not so, since sequences or names
//! are given again later (a deletion, a truncation), the change is applied between two syncs.
//!
//! Applying reads no clock and no random number, so that every replica holds the same. (A new log's identity and a new
//! segment's seed are random, and mean nothing outside of their data path.)

mod channel;
mod execute;
#[cfg(test)]
mod tests;
mod topic;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nsq_protocol::{ChannelName, TopicName};
use nsq_queue::{
    Damage, LogError, LogOptions, SegmentPool, Writer, private, sync_file_system, sync_folder,
};

use self::topic::ReplicaTopic;
use crate::broker::{Discarded, MOST_SYNCED_ALONE, OpenError, topics_folder};
use crate::change::{Action, DurableChange, LogKind};
use crate::checkpoint::{Collector, DataFiles};
use crate::ends::Ends;
use crate::error::StoreError;
use crate::metadata::{self, ChannelMetadata, Metadata, MetadataError, TopicMetadata};
use crate::registry::{RegisteredTopic, Registry};

/// Holds the index of the last change that is on the disk.
const APPLIED: &str = "replica.applied";

/// A change could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// The files refuse. The change may be applied again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// `nsqd.dat` cannot be written.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A change before this one was left out: records are missing.
    #[error("records {end} to {first} of the {log:?} log of {of} are missing")]
    Gap {
        /// The topic, or topic and channel.
        of: String,
        /// The log.
        log: LogKind,
        /// Where the log ends.
        end: u64,
        /// The sequence that came.
        first: u64,
    },
    /// A change before this one was left out: the topic or channel was never created.
    #[error("there is no {0}")]
    Unknown(String),
}

impl From<LogError> for ReplicaError {
    fn from(error: LogError) -> Self {
        ReplicaError::Store(error.into())
    }
}

/// What topics and channels share.
#[derive(Clone)]
struct Files {
    pool: Arc<SegmentPool>,
    options: LogOptions,
    /// How many damages opening logs has found.
    damaged_count: Arc<AtomicU64>,
}

impl Files {
    fn open_log(&self, folder: &Path, name: &str) -> Result<Writer, LogError> {
        let (writer, recovery) = Writer::open(folder, name, Arc::clone(&self.pool), self.options)?;
        for damage in &recovery.damaged {
            tracing::error!("{}: {damage}", folder.display());
        }
        let damages = recovery.damaged.iter().filter(|damage| has_cost(damage));
        self.damaged_count
            .fetch_add(damages.count() as u64, Ordering::Relaxed);
        Ok(writer)
    }
}

/// Whether messages are gone. Not so after a torn end, which is what a kill leaves, and where a header could be repaired.
pub(crate) fn has_cost(damage: &Damage) -> bool {
    match damage {
        Damage::Lost(_) | Damage::PutAside(..) => true,
        Damage::HeaderRebuilt(_) | Damage::TornTail { .. } => false,
    }
}

/// A data path that follows another one.
pub struct Replica {
    data_path: PathBuf,
    files: Files,
    /// All topics with their channels, and whether each is paused.
    registry: BTreeMap<TopicName, RegisteredTopic>,
    is_registry_saved: bool,
    /// Those that were opened, since a change concerned them.
    topics: BTreeMap<TopicName, ReplicaTopic>,
    /// How many of these may hold files open.
    open_count: usize,
    /// Of these, those with changes since the last sync.
    unsynced: BTreeSet<TopicName>,
    /// A broker may have left changes in the data path that are not on the disk.
    is_everything_unsynced: bool,
    applied: u64,
    stored: u64,
}

impl Replica {
    /// Opens a data path: an empty one, a copy of the other one, or one that was a replica before.
    ///
    /// # Errors
    /// [`OpenError`] when it cannot be read.
    pub fn open(data_path: &Path, options: LogOptions) -> Result<Replica, OpenError> {
        let folder = topics_folder(data_path);
        let free = folder.join("free");
        private::create_folders(&free).map_err(|error| StoreError::io("create", &free, error))?;
        let Registry {
            topics, discarded, ..
        } = Registry::read(data_path)?;
        let applied = stored_index(data_path)?;
        let mut replica = Replica {
            data_path: data_path.to_owned(),
            files: Files {
                pool: Arc::new(SegmentPool::new(free, POOL_BYTES)),
                options,
                damaged_count: Arc::default(),
            },
            registry: topics,
            is_registry_saved: false,
            topics: BTreeMap::new(),
            open_count: 0,
            unsynced: BTreeSet::new(),
            is_everything_unsynced: false,
            applied,
            stored: applied,
        };
        replica.save_registry()?;
        let discarded = discarded.into_iter().map(Discarded::found);
        discarded.for_each(Discarded::remove);
        Ok(replica)
    }

    /// The index of the last change that was applied; 0 at first.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Applies a change, unless it was applied before.
    ///
    /// # Errors
    /// [`ReplicaError`]; then the same change has to be applied again before others.
    pub fn apply(&mut self, index: u64, change: &DurableChange<'_>) -> Result<(), ReplicaError> {
        if index <= self.applied {
            return Ok(());
        }
        let gives_again = matches!(
            change.action,
            Action::Deleted | Action::Truncated { .. } | Action::LogRemoved(_)
        );
        if gives_again {
            self.sync()?;
        }
        self.make(change)?;
        self.unsynced.insert(change.topic.clone());
        self.applied = index;
        if gives_again {
            self.sync()?;
        }
        Ok(())
    }

    /// All topics with their channels, by name.
    pub fn topics(&self) -> impl Iterator<Item = (&TopicName, impl Iterator<Item = &ChannelName>)> {
        let topics = self.registry.iter();
        topics.map(|(name, topic)| (name, topic.channels.keys()))
    }

    /// How many damaged records and files were found since this was opened.
    pub fn damaged_count(&self) -> u64 {
        self.files.damaged_count.load(Ordering::Relaxed)
    }

    /// Syncs everything, and lists the files. Returns what [`sync`](Self::sync) does too.
    ///
    /// # Errors
    /// [`ReplicaError`] when the disk refuses.
    pub fn checkpoint(&mut self) -> Result<(DataFiles, Ends), ReplicaError> {
        let ends = self.sync()?;
        let mut collector = Collector::new(&self.data_path)?;
        for name in self.registry.keys() {
            let folder = self.folder_of(name);
            match self.topics.get(name) {
                Some(topic) => topic.collect(&mut collector)?,
                // One that only nsqd.dat names has no folder before it is used.
                None if folder.exists() => collector.add_quiet_topic(&folder)?,
                None => {}
            }
        }
        collector.add_small(&metadata::path(&self.data_path))?;
        Ok((collector.finish(), ends))
    }

    fn make(&mut self, change: &DurableChange<'_>) -> Result<(), ReplicaError> {
        let &DurableChange {
            topic: name,
            channel,
            action,
        } = change;
        match (action, channel) {
            (Action::TopicCreated, _) => self.create_topic(name),
            (Action::ChannelCreated { main, deferred }, Some(channel)) => {
                self.topic(name)?.create_channel(channel, main, deferred)?;
                let known = self.registry.entry(name.clone()).or_default();
                known.channels.entry(channel.clone()).or_default();
                self.is_registry_saved = false;
                Ok(())
            }
            (Action::Deleted, None) => self.delete_topic(name),
            (Action::Deleted, Some(channel)) => self.delete_channel(name, channel),
            (Action::Paused(paused), _) => self.set_paused(name, channel, paused),
            (Action::FannedOut(position), _) => self.topic(name)?.set_fan_out(position),
            (Action::Imported { highest_id }, _) => self.topic(name)?.note_imported(highest_id),
            (
                Action::Appended {
                    log,
                    first,
                    records,
                },
                _,
            ) => self.topic(name)?.append(channel, log, first, records),
            (Action::Truncated { log, end }, _) => self.topic(name)?.truncate(channel, log, end),
            (Action::LogRemoved(log), Some(channel)) => {
                self.topic(name)?.channel(channel)?.remove_log(log)
            }
            (
                Action::Finished {
                    log,
                    floor,
                    sequences,
                },
                Some(channel),
            ) => self.topic(name)?.finish(channel, log, floor, sequences),
            (
                Action::Journaled {
                    unix_nanos,
                    entries,
                },
                Some(channel),
            ) => self.topic(name)?.journal(channel, entries, unix_nanos),
            (
                Action::ChannelCreated { .. }
                | Action::LogRemoved(_)
                | Action::Finished { .. }
                | Action::Journaled { .. },
                None,
            ) => Err(ReplicaError::Unknown(format!(
                "channel without a name in {name}"
            ))),
        }
    }

    /// Brings everything that was applied to the disk, and then stores its index. Returns where the logs end of all topics
    /// that have changed since the sync before.
    ///
    /// # Errors
    /// [`ReplicaError`]; the index stays what it was.
    pub fn sync(&mut self) -> Result<Ends, ReplicaError> {
        let ends = self.unsynced_ends()?;
        if self.is_everything_unsynced || self.unsynced.len() > MOST_SYNCED_ALONE {
            sync_file_system(&self.data_path).map_err(StoreError::from)?;
        } else {
            for name in &self.unsynced {
                if let Some(topic) = self.topics.get(name) {
                    topic.sync()?;
                }
            }
        }
        for name in &self.unsynced {
            if let Some(topic) = self.topics.get(name) {
                topic.note_ends();
            }
        }
        self.unsynced.clear();
        self.is_everything_unsynced = false;
        self.save_registry()?;
        if self.stored != self.applied {
            store_index(&self.data_path, self.applied)?;
            self.stored = self.applied;
        }
        Ok(ends)
    }

    fn unsynced_ends(&mut self) -> Result<Ends, ReplicaError> {
        let names = self.unsynced.iter();
        let names: Vec<_> = names
            .filter(|name| self.registry.contains_key(*name))
            .cloned()
            .collect();
        let mut ends = Ends::new();
        for name in names {
            let of_topic = self.topic(&name)?.ends();
            ends.insert(name, of_topic);
        }
        Ok(ends)
    }

    /// The next [`sync`](Self::sync) brings everything to the disk, since a broker that has
    /// [resigned](crate::Broker::resign) may have left changes that are not there, of these topics among others.
    pub fn note_unsynced(&mut self, topics: impl IntoIterator<Item = TopicName>) {
        self.unsynced.extend(topics);
        self.is_everything_unsynced = true;
    }

    /// The topics with changes that may not be on the disk; `None` when everything is.
    pub fn unsynced(&self) -> Option<HashSet<TopicName>> {
        let is_unsynced = self.is_everything_unsynced || !self.unsynced.is_empty();
        is_unsynced.then(|| self.unsynced.iter().cloned().collect())
    }

    /// Gives the data path to a broker: everything that was applied is in its files. What is
    /// [not synced](Self::unsynced), the broker [has to sync](crate::Broker::note_unsynced).
    ///
    /// # Errors
    /// [`ReplicaError`] when the list of topics cannot be written.
    pub fn let_go(mut self) -> Result<(), ReplicaError> {
        for name in &self.unsynced {
            if let Some(topic) = self.topics.get(name) {
                topic.note_ends();
            }
        }
        Ok(self.save_registry()?)
    }

    /// Housekeeping, every few seconds: frees what every channel has finished, shortens journals, closes files. Free for
    /// topics in which nothing has happened since; those are let go of after a while.
    ///
    /// # Errors
    /// [`ReplicaError`] when files refuse.
    pub fn maintain(&mut self) -> Result<(), ReplicaError> {
        let mut outcome = Ok(());
        let unsynced = &self.unsynced;
        self.topics.retain(|name, topic| {
            let idle_rounds = topic.note_round();
            if idle_rounds == 0
                && let Err(error) = topic.maintain()
            {
                outcome = Err(error);
            }
            idle_rounds < CLOSED_AFTER || unsynced.contains(name)
        });
        outcome
    }

    /// Removes the freed segments that no log needed since the call before the previous one, and syncs the others, so that
    /// every log may take them. Returns how many bytes that frees. To be called at regular intervals.
    pub fn release_free_segments(&self) -> u64 {
        self.files.pool.release_unused()
    }

    // ---- topics and channels ----

    fn folder_of(&self, name: &TopicName) -> PathBuf {
        topics_folder(&self.data_path).join(format!("{name}.topic"))
    }

    /// The topic, opened if it is not.
    fn topic(&mut self, name: &TopicName) -> Result<&mut ReplicaTopic, ReplicaError> {
        if self.open_count >= MOST_OPEN {
            self.topics.values_mut().for_each(ReplicaTopic::rest);
            self.open_count = 0;
        }
        if !self.topics.contains_key(name) {
            let folder = self.folder_of(name);
            let Some(known) = self.registry.get(name) else {
                return Err(ReplicaError::Unknown(format!("topic {name}")));
            };
            let topic = ReplicaTopic::open(name, folder, &self.files, known)?;
            self.topics.insert(name.clone(), topic);
        }
        let topic = self.topics.get_mut(name);
        let topic = topic.ok_or_else(|| ReplicaError::Unknown(format!("topic {name}")))?;
        self.open_count += usize::from(topic.note_use());
        Ok(topic)
    }

    fn create_topic(&mut self, name: &TopicName) -> Result<(), ReplicaError> {
        let folder = self.folder_of(name);
        private::create_folders(&folder)
            .map_err(|error| StoreError::io("create", &folder, error))?;
        self.registry.entry(name.clone()).or_default();
        self.is_registry_saved = false;
        Ok(())
    }

    fn delete_topic(&mut self, name: &TopicName) -> Result<(), ReplicaError> {
        self.topics.remove(name);
        self.registry.remove(name);
        self.is_registry_saved = false;
        let discarded = Discarded::folder(&self.folder_of(name));
        // The files go once nsqd.dat does not name them any more.
        self.save_registry()?;
        discarded.into_iter().for_each(Discarded::remove);
        Ok(())
    }

    fn delete_channel(
        &mut self,
        topic: &TopicName,
        channel: &ChannelName,
    ) -> Result<(), ReplicaError> {
        let folder = self.topic(topic)?.forget_channel(channel);
        if let Some(known) = self.registry.get_mut(topic) {
            known.channels.remove(channel);
            self.is_registry_saved = false;
        }
        let discarded = Discarded::folder(&folder);
        self.save_registry()?;
        discarded.into_iter().for_each(Discarded::remove);
        Ok(())
    }

    fn set_paused(
        &mut self,
        topic: &TopicName,
        channel: Option<&ChannelName>,
        paused: bool,
    ) -> Result<(), ReplicaError> {
        let unknown = |what: &dyn std::fmt::Display| ReplicaError::Unknown(what.to_string());
        let known = self.registry.get_mut(topic);
        let known = known.ok_or_else(|| unknown(&format_args!("topic {topic}")))?;
        let flag = match channel {
            None => &mut known.paused,
            Some(channel) => {
                let flag = known.channels.get_mut(channel);
                flag.ok_or_else(|| unknown(&format_args!("channel {channel} of {topic}")))?
            }
        };
        *flag = paused;
        self.is_registry_saved = false;
        Ok(())
    }

    fn save_registry(&mut self) -> Result<(), MetadataError> {
        if self.is_registry_saved {
            return Ok(());
        }
        let topics = self.registry.iter().map(|(name, topic)| {
            let channels = topic.channels.iter().map(|(name, paused)| ChannelMetadata {
                name: name.to_string(),
                paused: *paused,
            });
            TopicMetadata {
                name: name.to_string(),
                paused: topic.paused,
                channels: channels.collect(),
            }
        });
        let registry = Metadata {
            topics: topics.collect(),
            version: metadata::VERSION.to_owned(),
        };
        metadata::save(&self.data_path, &registry)?;
        self.is_registry_saved = true;
        Ok(())
    }
}

/// So many topics hold files open at most.
const MOST_OPEN: usize = 256;
/// A topic in which nothing has happened for this many calls of [`Replica::maintain`] is let go of.
const CLOSED_AFTER: u32 = 6;
/// Disk that freed segments may hold for reuse.
const POOL_BYTES: u64 = 256 << 20;

/// The index that was stored last; 0 when there is none.
fn stored_index(data_path: &Path) -> Result<u64, StoreError> {
    let path = data_path.join(APPLIED);
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        read => read.map_err(|error| StoreError::io("read", &path, error))?,
    };
    text.trim().parse().map_err(|_| {
        let damaged = std::io::Error::from(std::io::ErrorKind::InvalidData);
        StoreError::io("understand", &path, damaged)
    })
}

/// Puts an index in the place of the one before, on the disk.
fn store_index(data_path: &Path, index: u64) -> Result<(), StoreError> {
    use std::io::Write as _;
    let path = data_path.join(APPLIED);
    let new = path.with_extension("applied.tmp");
    let write = || -> std::io::Result<()> {
        let mut options = private::file_options();
        let mut file = options.write(true).create(true).truncate(true).open(&new)?;
        writeln!(file, "{index}")?;
        // Before the rename: a crash in between must leave the old index readable.
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        sync_folder(data_path).map_err(|error| error.source)
    };
    write().map_err(|error| StoreError::io("write", &path, error))
}
