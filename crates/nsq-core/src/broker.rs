//! All topics of one nsqd, and the folder they live in.
//!
//! ```text
//! <data path>/nsqd.dat                               topics, channels, pauses: upstream's file
//! <data path>/topics/<topic>.topic/main.*.log        messages
//!                                 /deferred.*.log    messages published with a deferral
//!                                 /<channel>.channel/main.finished ...
//! <data path>/topics/free/                           segments waiting to be used again
//! ```
//! A topic or channel exists when `nsqd.dat` names it or its folder is there: a kill between a creation and the next
//! write of `nsqd.dat` loses neither. A deletion renames the folder first, so it is whole or not at all; the files go once
//! `nsqd.dat` is written.

#[cfg(test)]
mod data_path_v1;
mod execute;
mod folders;
mod in_memory;
mod opening;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use nsq_protocol::{ChannelName, TopicName};
use nsq_queue::{LogError, LogOptions, SegmentPool, private};

use execute::Executing;
pub(crate) use execute::{MOST_SYNCED_ALONE, unless_too_large};
pub(crate) use folders::{DELETED, Discarded};
use opening::open_topics;

use crate::change::ChangeSink;
use crate::data_path::DataPath;
use crate::error::StoreError;
use crate::import::{self, ImportError};
use crate::latency::PercentileSettings;
use crate::metadata::{self, ChannelMetadata, Metadata, MetadataError, TopicMetadata};
use crate::registry::Registry;
use crate::stats::Totals;
use crate::time::{Now, Tick};
use crate::topic::{ChannelCell, Opening, SafeOnce, Topic};

/// Upstream's default of `--mem-queue-size`.
const DEFAULT_MEM_QUEUE_SIZE: u64 = 10_000;

/// What the core has to know of nsqd's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder of everything kept.
    pub data_path: PathBuf,
    /// `--node-id`, 0..1024.
    pub node_id: u16,
    /// `--mem-queue-size`, messages: bounds what lives in memory only, and how many waiting messages go before one that
    /// comes back to a channel.
    pub mem_queue_size: u64,
    /// `--max-msg-timeout`.
    pub max_msg_timeout: Duration,
    /// `--max-req-timeout`: no message is deferred longer.
    pub max_req_timeout: Duration,
    /// `--max-msg-size`: how far upstream's nsqd read files that it gave up.
    pub max_msg_size: u64,
    /// When a message is safe, and so answered and delivered.
    pub safe_once: SafeOnce,
    /// `--sync-every`, messages.
    pub sync_every: u64,
    /// `--max-free-segment-bytes`: how much disk freed segments may take until they are used again.
    pub max_free_segment_bytes: u64,
    /// Sizes of log segments.
    pub log_options: LogOptions,
    /// Which percentiles of latencies are kept, if any.
    pub percentiles: Option<Arc<PercentileSettings>>,
    /// Whether the broker leads a replicated data path. What is durable then changes by [`Broker::execute`] only: topics
    /// refuse other publishes, and durable topics and channels are neither made nor deleted in another way. Messages are
    /// safe once they are executed, and old ones are not moved out of the way of segments. What is ephemeral is not
    /// replicated, and works as usual.
    pub is_replicated: bool,
}

impl Settings {
    /// The most waiting messages that go before one that comes back to a channel. With a queue size of 0, which says
    /// only that nothing lives in memory, it is upstream's default.
    pub(crate) fn max_ahead(&self) -> u64 {
        if self.mem_queue_size == 0 {
            DEFAULT_MEM_QUEUE_SIZE
        } else {
            self.mem_queue_size
        }
    }
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
pub trait Host: Send + Sync {
    /// Whether a topic may be made where there are `topic_count`; else why not.
    ///
    /// # Errors
    /// Why not: the caller gets this as its error.
    fn may_make_topic(&self, _topic_count: usize) -> Result<(), String> {
        Ok(())
    }

    /// Whether a channel may be made in a topic that has `channel_count`.
    ///
    /// # Errors
    /// Why not: the caller gets this as its error.
    fn may_make_channel(&self, _channel_count: usize) -> Result<(), String> {
        Ok(())
    }

    /// At `at`, [`ChannelCell::handle_timer`] of `channel` is to be called, with this `at`.
    fn arm(&self, channel: &Arc<ChannelCell>, at: Tick);
    /// Topics or channels changed: `nsqd.dat` is to be written, nsqlookupd to be told.
    fn registry_changed(&self, change: Change);
}

/// What every topic shares.
pub(crate) struct Context {
    pub(crate) settings: Settings,
    pub(crate) pool: Arc<SegmentPool>,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) data_path: Arc<DataPath>,
    is_draining: AtomicBool,
    /// A log was opened in which messages are gone.
    pub(crate) has_damage: AtomicBool,
    /// What deleted topics and channels had counted.
    departed: Mutex<Totals>,
    /// Folders of what was deleted, which go when `nsqd.dat` has been written.
    discarded: Mutex<Vec<Discarded>>,
}

impl Context {
    pub(crate) fn topic_folder(&self, name: &TopicName) -> PathBuf {
        topics_folder(&self.settings.data_path).join(format!("{name}.topic"))
    }

    /// Whether nothing new is taken in, because nsqd is leaving.
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
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
}

/// All topics of one nsqd.
pub struct Broker {
    context: Arc<Context>,
    topics: RwLock<HashMap<TopicName, Arc<Topic>>>,
    /// Held while a topic is made or deleted, so that the table is never locked over file operations.
    making: Mutex<()>,
    /// Held while `nsqd.dat` is written.
    saving: Mutex<()>,
    executing: Mutex<Executing>,
    is_exiting: AtomicBool,
    /// `false` for a broker in memory.
    has_files: bool,
}

impl Broker {
    /// Opens everything that an earlier run left in the data path, a broker's or a replica's. What an upstream nsqd left
    /// is imported, but not by the broker of a replicated data path: it is to be opened once without replication before.
    /// The owner of a replicated data path has stored how far commands were executed in it.
    ///
    /// # Errors
    /// [`OpenError`] when `nsqd.dat` cannot be read, or a log cannot be opened. Nothing was changed then that a
    /// second try could not read.
    pub fn open(settings: Settings, host: Arc<dyn Host>, now: Now) -> Result<Broker, OpenError> {
        Broker::open_with(settings, host, &Arc::new(DataPath::new(None)), now)
    }

    /// As [`Broker::open`]; every durable change of the data path from now on is recorded in `sink`, those that opening
    /// makes among them.
    ///
    /// # Errors
    /// As [`Broker::open`].
    pub fn open_recorded(
        settings: Settings,
        host: Arc<dyn Host>,
        sink: Arc<dyn ChangeSink>,
        now: Now,
    ) -> Result<Broker, OpenError> {
        Broker::open_with(settings, host, &Arc::new(DataPath::new(Some(sink))), now)
    }

    fn open_with(
        settings: Settings,
        host: Arc<dyn Host>,
        recorded: &Arc<DataPath>,
        now: Now,
    ) -> Result<Broker, OpenError> {
        let folder = topics_folder(&settings.data_path);
        let free = folder.join("free");
        private::create_folders(&free).map_err(|error| StoreError::io("create", &free, error))?;
        let mut registry = Registry::read(&settings.data_path)?;
        let pool = Arc::new(SegmentPool::new(free, settings.max_free_segment_bytes));
        let data_path = settings.data_path.clone();
        let max_body_bytes = settings.max_msg_size;
        let log_options = settings.log_options;
        // What an import appends would be on this replica alone.
        let left_by_upstream = if settings.is_replicated {
            import::Found::default()
        } else {
            import::resume(&data_path, &folder, &pool, log_options, recorded)?;
            import::find(&data_path)?
        };
        let discarded = std::mem::take(&mut registry.discarded).into_iter();
        let context = Arc::new(Context {
            settings,
            pool,
            host,
            data_path: Arc::clone(recorded),
            is_draining: AtomicBool::new(false),
            has_damage: AtomicBool::new(false),
            departed: Mutex::default(),
            discarded: Mutex::new(discarded.map(Discarded::found).collect()),
        });
        let mut topics = HashMap::new();
        for (kind, name) in &registry.misnamed {
            tracing::warn!("skipping creation of invalid {kind} {name}");
        }
        for topic in open_topics(openings(registry, left_by_upstream.owners()), &context, now)? {
            topics.insert(topic.name().clone(), topic);
        }
        if let Err(error) =
            import::import(&data_path, left_by_upstream, &topics, max_body_bytes, now)
        {
            drop(topics);
            import::give_up(&data_path, &folder, log_options, recorded);
            return Err(error.into());
        }
        Ok(Broker {
            context,
            topics: RwLock::new(topics),
            making: Mutex::new(()),
            saving: Mutex::new(()),
            executing: Mutex::default(),
            is_exiting: AtomicBool::new(false),
            has_files: true,
        })
    }

    /// Whether messages were found to be damaged or missing. Looks at all channels.
    pub fn has_damage(&self) -> bool {
        self.context.has_damage.load(Ordering::Relaxed)
            || self
                .topics_where(|_| true)
                .iter()
                .any(|topic| topic.has_damage())
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
        sorted(self.topics_where(|_| true))
    }

    /// The topics in which something happened since their last [maintenance](Topic::maintain), by name. Costs little with
    /// thousands of others.
    pub fn used_topics(&self) -> Vec<Arc<Topic>> {
        sorted(self.topics_where(Topic::is_used))
    }

    /// The topics that `is_wanted`, in any order.
    fn topics_where(&self, is_wanted: impl Fn(&Topic) -> bool) -> Vec<Arc<Topic>> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        let wanted = topics.values().filter(|topic| is_wanted(topic));
        wanted.cloned().collect()
    }

    /// The topic of that name, made if it is new; whether it was. With `held`, fan-out of a new topic waits for
    /// [`Topic::start`].
    ///
    /// # Errors
    /// [`StoreError`] when nsqd is stopping, the topic's files cannot be made, no more topics are wanted, or the topic is
    /// durable and the data path replicated.
    pub fn get_or_create_topic(
        &self,
        name: &TopicName,
        held: bool,
        now: Now,
    ) -> Result<(Arc<Topic>, bool), StoreError> {
        // Once we hold `making`, a topic being deleted has left the table.
        if let Some(topic) = self
            .topic(name.as_str())
            .filter(|topic| !topic.is_discarded())
        {
            return Ok((topic, false));
        }
        self.make_topic(name, held, now, || self.may_make_topic(name))
    }

    /// Whether a topic may be made that no committed command makes.
    fn may_make_topic(&self, name: &TopicName) -> Result<(), StoreError> {
        if self.context.is_draining() {
            return Err(StoreError::Draining);
        }
        self.refuse_durable(name)?;
        let topic_count = self
            .topics
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len();
        let allowed = self.context.host.may_make_topic(topic_count);
        allowed.map_err(StoreError::Refused)
    }

    /// The topic of that name, made if it is new and if `allow` has no objection; whether it was new.
    fn make_topic(
        &self,
        name: &TopicName,
        held: bool,
        now: Now,
        allow: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<(Arc<Topic>, bool), StoreError> {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(topic) = self.topic(name.as_str()) {
            return Ok((topic, false));
        }
        if self.is_exiting() {
            return Err(StoreError::Exiting);
        }
        allow()?;
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
        let topic = topic?;
        self.topics
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.clone(), Arc::clone(&topic));
        tracing::info!("TOPIC({name}): created");
        self.context
            .host
            .registry_changed(Change::TopicCreated(name.clone()));
        Ok((topic, true))
    }

    fn is_exiting(&self) -> bool {
        self.is_exiting.load(Ordering::Acquire)
    }

    fn note_exiting(&self) {
        self.is_exiting.store(true, Ordering::Release);
    }

    /// Deletes a topic with all its channels and messages. `false` when there is none, or when it is replicated.
    pub fn delete_topic(&self, name: &str) -> bool {
        let topic = self.topic(name);
        topic.is_none_or(|topic| self.refuse_durable(topic.name()).is_ok())
            && self.delete_any_topic(name)
    }

    /// As [`delete_topic`](Self::delete_topic), by a committed command too.
    fn delete_any_topic(&self, name: &str) -> bool {
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

    /// Removes a topic that was just discarded from the table. The next publish to its name makes a new topic. The caller
    /// holds `making`.
    fn remove_topic(&self, topic: &Topic) {
        let name = topic.name().as_str();
        tracing::info!("TOPIC({name}): deleting");
        let channels = topic.channels();
        let is_kept = !topic.name().is_ephemeral();
        let folder = is_kept.then(|| self.context.topic_folder(topic.name()));
        let discarded = folder.and_then(|folder| Discarded::folder(&folder));
        topic.record_deletion();
        self.topics
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
        if let Some(discarded) = discarded {
            self.context.remove_later(discarded);
        }
        for cell in channels {
            let change = Change::ChannelDeleted(topic.name().clone(), cell.name().clone());
            self.context.host.registry_changed(change);
        }
        self.context
            .host
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

    /// Removes the freed segments that no log needed since the call before the previous one, and syncs the others, so that
    /// every log may take them. Returns how many bytes that frees. To be called at regular intervals, outside of locks.
    pub fn release_free_segments(&self) -> u64 {
        if self.has_let_go() {
            return 0;
        }
        self.context.pool.release_unused()
    }

    /// `OK`, or `NOK - ` and what went wrong at the last write to a log.
    pub fn health(&self) -> String {
        match self.context.data_path.fault() {
            None => "OK".to_owned(),
            Some(fault) => format!("NOK - {fault}"),
        }
    }

    /// Notes that making data safe failed, or works again.
    pub fn note_sync(&self, fault: Option<&LogError>) {
        if let Some(fault) = fault {
            self.context.data_path.note_fault(fault);
        }
    }

    /// How many appends failed because a log could not be written: publishes, adopted and imported messages.
    pub fn failed_append_count(&self) -> u64 {
        self.context.data_path.failed_append_count()
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
                        paused: cell.lock_inner().is_paused(),
                    })
                    .collect(),
            }
        });
        Metadata {
            topics: topics.collect(),
            version: metadata::VERSION.to_owned(),
        }
    }

    /// Whether the data path belongs to a replica by now.
    fn has_let_go(&self) -> bool {
        self.context.settings.is_replicated && self.is_exiting()
    }

    /// Writes `nsqd.dat`, and removes the files of what was deleted before. Does nothing where the data path is not the
    /// broker's: in memory, and once a broker of a shard was closed.
    ///
    /// # Errors
    /// [`MetadataError`]; the old file is still there then.
    pub fn save_metadata(&self) -> Result<(), MetadataError> {
        // Snapshot and write as one: of two at a time, the older must not be the one that stays.
        let saving = self.saving();
        if !self.has_files || self.has_let_go() {
            return Ok(());
        }
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

    fn saving(&self) -> MutexGuard<'_, ()> {
        self.saving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses publishes and new topics from now on, closes every client, writes down what only memory knows, and
    /// syncs. At shutdown.
    pub fn close(&self, now: Now) {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        self.note_exiting();
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

pub(crate) fn topics_folder(data_path: &Path) -> PathBuf {
    data_path.join("topics")
}

fn sorted(mut topics: Vec<Arc<Topic>>) -> Vec<Arc<Topic>> {
    topics.sort_by(|left, right| left.name().cmp(right.name()));
    topics
}

/// What there is to open: what the data path holds, and whose messages upstream left.
fn openings(
    registry: Registry,
    left_by_upstream: BTreeMap<TopicName, Vec<ChannelName>>,
) -> Vec<Opening> {
    let mut topics = registry.topics;
    for (topic, channels) in left_by_upstream {
        let known = &mut topics.entry(topic).or_default().channels;
        for channel in channels {
            known.entry(channel).or_default();
        }
    }
    let openings = topics.into_iter().map(|(name, topic)| Opening {
        name,
        paused: topic.paused,
        channels: topic.channels.into_iter().collect(),
        held: false,
    });
    openings.collect()
}
