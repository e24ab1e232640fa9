//! All topics of one nsqd, and the folder they live in.
//!
//! ```text
//! <data path>/nsqd.dat                               topics, channels, pauses: upstream's file
//! <data path>/topics/<topic>.topic/main.*.log        messages
//!                                 /deferred.*.log    messages published with a deferral
//!                                 /<channel>.channel/main.marks ...
//! <data path>/topics/free/                           segments waiting to be used again
//! ```
//! A topic or channel exists when `nsqd.dat` names it or its folder is there: a kill between a creation and the next
//! write of `nsqd.dat` loses neither. A deletion renames the folder first, so it is whole or not at all; the files go once
//! `nsqd.dat` is written.

mod folders;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use nsq_protocol::{ChannelName, TopicName};
use nsq_queue::{LogError, LogOptions, SegmentPool};

pub(crate) use folders::Discarded;
use folders::Folders;

use crate::error::StoreError;
use crate::import::{self, ImportError};
use crate::latency::PercentileSettings;
use crate::metadata::{self, ChannelMetadata, Metadata, MetadataError, TopicMetadata};
use crate::stats::Totals;
use crate::time::{Now, Tick};
use crate::topic::{ChannelCell, Opening, Topic};

/// Disk that freed segments may hold for reuse.
const POOL_BYTES: u64 = 256 << 20;

/// What the core has to know of nsqd's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder of everything kept.
    pub data_path: PathBuf,
    /// `--node-id`, 0..1024.
    pub node_id: u16,
    /// `--mem-queue-size`, messages: bounds what lives in memory only.
    pub mem_queue_size: u64,
    /// `--max-msg-timeout`.
    pub max_msg_timeout: Duration,
    /// `--max-msg-size`: how far upstream's nsqd read files that it gave up.
    pub max_msg_size: u64,
    /// `--sync-every`, messages.
    pub sync_every: u64,
    /// Sizes of log segments.
    pub log_options: LogOptions,
    /// Which percentiles of latencies are kept, if any.
    pub percentiles: Option<Arc<PercentileSettings>>,
}

/// What came or went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A topic was made.
    TopicCreated(TopicName),
    /// A topic was deleted.
    TopicDeleted(TopicName),
    /// A channel was made.
    ChannelCreated(TopicName, ChannelName),
    /// A channel was deleted.
    ChannelDeleted(TopicName, ChannelName),
}

/// What the core asks of the program around it. The calls only leave a note, or answer at once.
pub trait Surroundings: Send + Sync {
    /// Whether a topic may be made where there are `topic_count`; else why not.
    ///
    /// # Errors
    /// Why not: whoever wanted it is told.
    fn may_make_topic(&self, _topic_count: usize) -> Result<(), String> {
        Ok(())
    }

    /// Whether a channel may be made in a topic that has `channel_count`.
    ///
    /// # Errors
    /// Why not: whoever wanted it is told.
    fn may_make_channel(&self, _channel_count: usize) -> Result<(), String> {
        Ok(())
    }

    /// `channel` has to be looked at, by `handle_timeout`, at `at`.
    fn arm(&self, channel: &Arc<ChannelCell>, at: Tick);
    /// Topics or channels changed: `nsqd.dat` is to be written, nsqlookupd to be told.
    fn registry_changed(&self, change: Change);
}

/// What every topic shares.
pub(crate) struct Context {
    pub(crate) settings: Settings,
    pub(crate) pool: Arc<SegmentPool>,
    pub(crate) surroundings: Arc<dyn Surroundings>,
    is_healthy: AtomicBool,
    is_draining: AtomicBool,
    fault: Mutex<String>,
    failed_appends: AtomicU64,
    /// What deleted topics and channels had counted.
    departed: Mutex<Totals>,
    /// Folders of what was deleted, which go when `nsqd.dat` has been written.
    discarded: Mutex<Vec<Discarded>>,
}

impl Context {
    pub(crate) fn topic_folder(&self, name: &TopicName) -> PathBuf {
        topics_folder(&self.settings.data_path).join(format!("{name}.topic"))
    }

    pub(crate) fn arm(&self, cell: &Arc<ChannelCell>, at: Tick) {
        if cell.arm(at) {
            self.surroundings.arm(cell, at);
        }
    }

    /// Whether nothing new is taken in, because nsqd is leaving.
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }

    /// Takes note of how an append went.
    pub(crate) fn note_append(&self, fault: Option<&LogError>) {
        if fault.is_some() {
            self.failed_appends.fetch_add(1, Ordering::Relaxed);
        }
        self.note_health(fault);
    }

    /// Has the folder's files removed when `nsqd.dat` has been written the next time. What was in it must be out of the
    /// tables by now.
    pub(crate) fn remove_later(&self, discarded: Discarded) {
        self.discarded().push(discarded);
    }

    fn discarded(&self) -> MutexGuard<'_, Vec<Discarded>> {
        self.discarded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds to what deleted topics and channels had counted.
    pub(crate) fn departed(&self, add: impl FnOnce(&mut Totals)) {
        add(&mut self.departed.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Takes note of how the last write went: `/ping` tells.
    fn note_health(&self, fault: Option<&LogError>) {
        match fault {
            None => {
                if !self.is_healthy.load(Ordering::Relaxed) {
                    self.is_healthy.store(true, Ordering::Relaxed);
                }
            }
            Some(fault) => {
                *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault.to_string();
                self.is_healthy.store(false, Ordering::Relaxed);
            }
        }
    }
}

/// All topics of one nsqd.
pub struct Broker {
    context: Arc<Context>,
    topics: RwLock<HashMap<TopicName, Arc<Topic>>>,
    /// Held while a topic is made or deleted, so that the table is never locked over file operations.
    making: Mutex<()>,
    /// Held while `nsqd.dat` is written.
    saving: Mutex<()>,
    is_exiting: AtomicBool,
}

impl Broker {
    /// Opens everything that an earlier run left in the data path.
    ///
    /// # Errors
    /// [`OpenError`] when `nsqd.dat` cannot be read, or a log cannot be opened. Nothing was changed then that a
    /// second try could not read.
    pub fn open(
        settings: Settings,
        surroundings: Arc<dyn Surroundings>,
        now: Now,
    ) -> Result<Broker, OpenError> {
        let folder = topics_folder(&settings.data_path);
        let free = folder.join("free");
        std::fs::create_dir_all(&free).map_err(|error| StoreError::io("create", &free, error))?;
        let metadata = metadata::load(&settings.data_path)?;
        let pool = Arc::new(SegmentPool::new(free, POOL_BYTES));
        let data_path = settings.data_path.clone();
        let max_body_bytes = settings.max_msg_size;
        let log_options = settings.log_options;
        import::resume(&data_path, &folder, &pool, log_options)?;
        let left_by_upstream = import::find(&data_path)?;
        let context = Arc::new(Context {
            settings,
            pool,
            surroundings,
            is_healthy: AtomicBool::new(true),
            is_draining: AtomicBool::new(false),
            fault: Mutex::new(String::new()),
            failed_appends: AtomicU64::new(0),
            departed: Mutex::default(),
            discarded: Mutex::default(),
        });
        let mut topics = HashMap::new();
        let openings = plan(
            metadata,
            &folder,
            left_by_upstream.owners(),
            &mut context.discarded(),
        );
        for opening in openings? {
            let name = opening.name.clone();
            let topic = Topic::open(opening, Arc::clone(&context), now)?;
            tracing::info!("TOPIC({name}): created");
            topics.insert(name, Arc::new(topic));
        }
        if let Err(error) =
            import::import(&data_path, left_by_upstream, &topics, max_body_bytes, now)
        {
            drop(topics);
            import::give_up(&data_path, &folder, &folder.join("free"), log_options);
            return Err(error.into());
        }
        Ok(Broker {
            context,
            topics: RwLock::new(topics),
            making: Mutex::new(()),
            saving: Mutex::new(()),
            is_exiting: AtomicBool::new(false),
        })
    }

    /// The topic of that name.
    pub fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    /// All topics, by name.
    pub fn topics(&self) -> Vec<Arc<Topic>> {
        let mut topics: Vec<_> = self
            .topics
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect();
        topics.sort_by(|left, right| left.name().cmp(right.name()));
        topics
    }

    /// The topic of that name, made if it is new; whether it was. With `held`, fan-out of a new topic waits for
    /// [`Topic::start`].
    ///
    /// # Errors
    /// [`StoreError`] when nsqd is stopping, the topic's files cannot be made, or no more topics are wanted.
    pub fn get_or_create_topic(
        &self,
        name: &TopicName,
        held: bool,
        now: Now,
    ) -> Result<(Arc<Topic>, bool), StoreError> {
        // One that is being deleted is as good as gone: behind `making` it is.
        if let Some(topic) = self
            .topic(name.as_str())
            .filter(|topic| !topic.is_discarded())
        {
            return Ok((topic, false));
        }
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(topic) = self.topic(name.as_str()) {
            return Ok((topic, false));
        }
        if self.is_exiting.load(Ordering::Acquire) {
            return Err(StoreError::Exiting);
        }
        if self.context.is_draining() {
            return Err(StoreError::Draining);
        }
        let topic_count = self
            .topics
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len();
        let allowed = self.context.surroundings.may_make_topic(topic_count);
        allowed.map_err(StoreError::Refused)?;
        let opening = Opening {
            name: name.clone(),
            paused: false,
            channels: Vec::new(),
            held,
        };
        let topic = Topic::open(opening, Arc::clone(&self.context), now);
        if let Err(StoreError::Io { .. } | StoreError::Log(_)) = &topic {
            // An empty folder may stay behind; it would come back as an empty topic, which is what was asked for.
            let _ = std::fs::remove_dir(self.context.topic_folder(name));
        }
        let topic = Arc::new(topic?);
        self.topics
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.clone(), Arc::clone(&topic));
        tracing::info!("TOPIC({name}): created");
        self.context
            .surroundings
            .registry_changed(Change::TopicCreated(name.clone()));
        Ok((topic, true))
    }

    /// Deletes a topic with all its channels and messages. `false` when there is none.
    pub fn delete_topic(&self, name: &str) -> bool {
        let making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(topic) = self.topic(name) else {
            return false;
        };
        let is_first = topic.discard();
        if is_first {
            self.remove_topic(&topic);
        }
        drop(making);
        is_first
    }

    /// Takes a topic that was just discarded out of the table. Until it is out, publishes fail; the next one then makes
    /// it anew. The caller holds `making`.
    fn remove_topic(&self, topic: &Topic) {
        let name = topic.name().as_str();
        tracing::info!("TOPIC({name}): deleting");
        let channels = topic.channels();
        let is_kept = !topic.name().is_ephemeral();
        let folder = is_kept.then(|| self.context.topic_folder(topic.name()));
        let discarded = folder.and_then(|folder| Discarded::folder(&folder));
        self.topics
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
        if let Some(discarded) = discarded {
            self.context.remove_later(discarded);
        }
        for cell in channels {
            let change = Change::ChannelDeleted(topic.name().clone(), cell.name().clone());
            self.context.surroundings.registry_changed(change);
        }
        self.context
            .surroundings
            .registry_changed(Change::TopicDeleted(topic.name().clone()));
    }

    /// A client left `cell`'s channel, `left` remain: deletes the channel if it was ephemeral and is now empty, and
    /// the topic likewise.
    pub fn client_left(&self, topic: &Arc<Topic>, cell: &ChannelCell, left: usize) {
        if left > 0 || !cell.name().is_ephemeral() {
            return;
        }
        topic.delete_channel_if_unused(cell);
        self.drop_if_unused(topic);
    }

    /// Deletes an ephemeral topic whose last channel is gone.
    pub fn drop_if_unused(&self, topic: &Arc<Topic>) {
        if topic.name().is_ephemeral() {
            let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
            if topic.discard_if_unused() {
                // It has no files.
                self.remove_topic(topic);
            }
        }
    }

    /// `OK`, or `NOK - ` and what went wrong at the last write to a log.
    pub fn health(&self) -> String {
        if self.context.is_healthy.load(Ordering::Relaxed) {
            return "OK".to_owned();
        }
        format!(
            "NOK - {}",
            self.context
                .fault
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        )
    }

    /// Notes that making data safe failed, or works again.
    pub fn note_sync(&self, fault: Option<&LogError>) {
        if fault.is_some() {
            self.context.note_health(fault);
        }
    }

    /// How many publishes failed because the log could not be written.
    pub fn failed_append_count(&self) -> u64 {
        self.context.failed_appends.load(Ordering::Relaxed)
    }

    /// What topics and channels that are deleted had counted. For totals that never go down, to be read before the
    /// figures of those that live: what is deleted in between is then missed, rather than counted twice.
    pub fn departed(&self) -> Totals {
        let departed = self.context.departed.lock();
        departed.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What every topic shares: the most a channel in memory holds, and the like.
    pub fn settings(&self) -> &Settings {
        &self.context.settings
    }

    /// Refuses publishes, new topics and new channels from now on, or takes them again. Nothing else changes. A publish
    /// under way may still be accepted, until its topic has been looked at once.
    pub fn set_draining(&self, is_draining: bool) {
        self.context
            .is_draining
            .store(is_draining, Ordering::Release);
    }

    /// Whether publishes, new topics and new channels are refused because nsqd is leaving.
    pub fn is_draining(&self) -> bool {
        self.context.is_draining()
    }

    /// Asks for `channel` to be looked at by `at`, unless that is planned anyway.
    pub fn arm(&self, channel: &Arc<ChannelCell>, at: Tick) {
        self.context.arm(channel, at);
    }

    /// Topics and channels as `nsqd.dat` keeps them: nothing ephemeral.
    pub fn metadata(&self) -> Metadata {
        let topics = self
            .topics()
            .into_iter()
            .filter(|topic| !topic.name().is_ephemeral());
        let topics = topics.map(|topic| {
            let channels = topic
                .channels()
                .into_iter()
                .filter(|cell| !cell.name().is_ephemeral());
            TopicMetadata {
                name: topic.name().to_string(),
                paused: topic.is_paused(),
                channels: channels
                    .map(|cell| ChannelMetadata {
                        name: cell.name().to_string(),
                        paused: cell.lock().is_paused(),
                    })
                    .collect(),
            }
        });
        Metadata {
            topics: topics.collect(),
            version: metadata::VERSION.to_owned(),
        }
    }

    /// Writes `nsqd.dat`, and removes the files of what was deleted before.
    ///
    /// # Errors
    /// [`MetadataError`]; the old file is still there then.
    pub fn save_metadata(&self) -> Result<(), MetadataError> {
        // Snapshot and write as one: of two at a time, the older must not be the one that stays.
        let saving = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken before the snapshot, in which nothing of them is named any more.
        let discarded = std::mem::take(&mut *self.context.discarded());
        let path = metadata::path(&self.context.settings.data_path);
        tracing::info!(
            "NSQ: persisting topic/channel metadata to {}",
            path.display()
        );
        let saved = metadata::save(&self.context.settings.data_path, &self.metadata());
        drop(saving);
        match &saved {
            Ok(()) => discarded.into_iter().for_each(Discarded::remove),
            Err(_) => self.context.discarded().extend(discarded),
        }
        saved
    }

    /// Refuses publishes and new topics from now on, closes every client, writes down what only memory knows, and
    /// syncs. At shutdown.
    pub fn close(&self, now: Now) {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_exiting.store(true, Ordering::Release);
        let topics = self.topics();
        for topic in &topics {
            topic.exit();
        }
        for topic in topics {
            if let Err(error) = topic.close(now) {
                tracing::error!("TOPIC({}): cannot be synced: {error}", topic.name());
            }
        }
    }
}

/// The broker could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// `nsqd.dat`.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A topic or channel.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What an upstream nsqd left.
    #[error(transparent)]
    Import(#[from] ImportError),
}

fn topics_folder(data_path: &Path) -> PathBuf {
    data_path.join("topics")
}

/// What there is to open: what the metadata names, whatever has a folder, and whose messages upstream left.
fn plan(
    metadata: Option<Metadata>,
    folder: &Path,
    left_by_upstream: BTreeMap<TopicName, Vec<ChannelName>>,
    discarded: &mut Vec<Discarded>,
) -> Result<Vec<Opening>, StoreError> {
    let mut topics: BTreeMap<TopicName, (bool, BTreeMap<ChannelName, bool>)> = BTreeMap::new();
    for topic in metadata.map(|metadata| metadata.topics).unwrap_or_default() {
        let Ok(name) = TopicName::try_from(topic.name.as_str()) else {
            tracing::warn!("skipping creation of invalid topic {}", topic.name);
            continue;
        };
        let entry = topics.entry(name).or_default();
        entry.0 = topic.paused;
        for channel in topic.channels {
            let Ok(name) = ChannelName::try_from(channel.name.as_str()) else {
                tracing::warn!("skipping creation of invalid channel {}", channel.name);
                continue;
            };
            entry.1.insert(name, channel.paused);
        }
    }
    let folders = Folders::list(folder, ".topic", discarded)?;
    for deleted in folders.deleted() {
        // The file may still tell of the deleted topic's channels. Those that a new one of its name has, have folders.
        if let Some((_, channels)) = topics.get_mut(deleted) {
            channels.clear();
        }
    }
    for gone in folders.gone() {
        topics.remove(gone);
    }
    for (name, path) in folders.living {
        let Ok(topic) = TopicName::try_from(name.as_str()) else {
            continue;
        };
        let entry = topics.entry(topic).or_default();
        let folders = Folders::list(&path, ".channel", discarded)?;
        for gone in folders.gone() {
            entry.1.remove(gone);
        }
        for (name, _) in folders.living {
            if let Ok(channel) = ChannelName::try_from(name.as_str()) {
                entry.1.entry(channel).or_default();
            }
        }
    }
    for (topic, channels) in left_by_upstream {
        let entry = topics.entry(topic).or_default();
        for channel in channels {
            entry.1.entry(channel).or_default();
        }
    }
    let openings = topics
        .into_iter()
        .map(|(name, (paused, channels))| Opening {
            name,
            paused,
            channels: channels.into_iter().collect(),
            held: false,
        });
    Ok(openings.collect())
}
