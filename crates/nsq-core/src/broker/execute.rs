//! Executing committed commands, on the leader of a replicated data path.
//!
//! Commands are executed one at a time. After each, a kill loses nothing of it.

use std::collections::HashSet;
use std::sync::{MutexGuard, PoisonError};

use nsq_protocol::TopicName;
use nsq_queue::{LogError, sync_file_system, sync_folder};

use super::{Broker, topics_folder};
use crate::checkpoint::{Collector, DataFiles};
use crate::command::Command;
use crate::ends::Ends;
use crate::error::{PublishError, StoreError};
use crate::metadata;
use crate::time::Now;
use crate::topic::Topic;

/// Locked while a command is executed.
#[derive(Debug, Default)]
pub(super) struct Executing {
    /// Since the last sync began.
    unsynced: Unsynced,
    /// What was not [stored](Broker::note_stored) since a sync began: the next one includes it.
    syncing: Unsynced,
}

/// What may not be on the disk yet.
#[derive(Debug, Default, Clone)]
struct Unsynced {
    /// Topics for which commands were executed.
    topics: HashSet<TopicName>,
    /// A topic was made or deleted.
    is_folder: bool,
    /// Commands were executed before the broker was opened.
    is_everything: bool,
}

impl Unsynced {
    fn note(&mut self, topic: &TopicName) {
        if !self.topics.contains(topic.as_str()) {
            self.topics.insert(topic.clone());
        }
    }

    fn add(&mut self, more: Unsynced) {
        self.topics.extend(more.topics);
        self.is_folder |= more.is_folder;
        self.is_everything |= more.is_everything;
    }
}

/// A [sync](Broker::begin_sync) that has begun.
#[derive(Debug)]
pub struct SyncBegun {
    unsynced: Unsynced,
    ends: Ends,
}

impl Broker {
    /// Executes a committed command: clients may have its messages when this returns. One whose topic or channel is not
    /// there, or is there already, changes nothing.
    ///
    /// `Finished` and `Journaled` are for replicas that follow; here they change nothing, since the consumers of this
    /// broker made them.
    ///
    /// # Errors
    /// When the disk refuses, or the broker was closed. The same command has to be executed again before others.
    pub fn execute(&self, command: &Command<'_>, now: Now) -> Result<(), StoreError> {
        let name = command.topic();
        if !self.context.settings.is_replicated {
            let why = "the data path is not replicated".to_owned();
            return Err(StoreError::Refused(why));
        }
        if name.is_ephemeral() {
            // Trying again would not help.
            tracing::error!("TOPIC({name}): is not replicated: command ignored");
            return Ok(());
        }
        let mut executing = self.executing();
        if self.is_exiting() {
            return Err(StoreError::Exiting);
        }
        match command {
            Command::Finished { .. } | Command::Journaled { .. } => {
                // The next sync brings the marks of its consumers to the disk, as the entry that is stored then promises.
                executing.unsynced.note(name);
                return Ok(());
            }
            Command::CreateTopic(_) => {
                let made = self.make_topic(name, false, now, || Ok(()))?;
                executing.unsynced.is_folder |= made.1;
            }
            Command::DeleteTopic(_) => {
                executing.unsynced.is_folder |= self.delete_any_topic(name.as_str());
                executing.unsynced.topics.remove(name.as_str());
                // Otherwise the next topic of its name could come back from a kill as paused as this one was.
                return self.save_pauses();
            }
            _ => {}
        }
        let Some(topic) = self.topic(name.as_str()) else {
            if let Command::Publish { records, .. } = command {
                let count = records.len();
                tracing::warn!(
                    "TOPIC({name}): {count} messages dropped: the topic was deleted before they arrived"
                );
            }
            return Ok(());
        };
        executing.unsynced.note(name);
        self.execute_in(&topic, command, now)
    }

    fn execute_in(&self, topic: &Topic, command: &Command<'_>, now: Now) -> Result<(), StoreError> {
        match *command {
            Command::Publish { log, records, .. } => {
                let appended = topic.append_committed(log, records, now);
                appended.or_else(|error| unless_too_large(topic.name(), error))?;
            }
            Command::CreateChannel(_, name) => topic.create_committed_channel(name, now)?,
            Command::DeleteChannel(_, name) => {
                topic.delete_any_channel(name.as_str());
                self.save_pauses()?;
            }
            Command::PauseTopic(_, paused) => {
                topic.pause_committed(paused, now);
                self.save_pauses()?;
            }
            Command::PauseChannel(_, name, paused) => {
                if let Some(cell) = topic.channel(name.as_str()) {
                    cell.lock().set_paused(paused);
                    self.save_pauses()?;
                }
            }
            Command::EmptyTopic(_) => topic.skip_waiting(),
            Command::FannedOut { position, .. } => topic.advance(position),
            Command::CreateTopic(_)
            | Command::DeleteTopic(_)
            | Command::Finished { .. }
            | Command::Journaled { .. } => {}
        }
        Ok(())
    }

    /// Only `nsqd.dat` says what is paused.
    fn save_pauses(&self) -> Result<(), StoreError> {
        let path = metadata::path(&self.context.settings.data_path);
        let saved = self.save_metadata();
        saved.map_err(|error| StoreError::io("write", &path, std::io::Error::other(error)))
    }

    fn executing(&self) -> MutexGuard<'_, Executing> {
        self.executing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings all commands executed so far to the disk; the owner of the data path then stores how far it has executed, and
    /// where the logs end that are returned. Blocks.
    ///
    /// # Errors
    /// When the disk refuses; the next call tries again.
    pub fn sync(&self, now: Now) -> Result<Ends, StoreError> {
        self.finish_sync(self.begin_sync(), now)
    }

    /// Notes what [`finish_sync`](Self::finish_sync) brings to the disk: everything that was executed so far. Blocks on no
    /// disk.
    pub fn begin_sync(&self) -> SyncBegun {
        let mut executing = self.executing();
        let mut unsynced = std::mem::take(&mut executing.syncing);
        unsynced.add(std::mem::take(&mut executing.unsynced));
        executing.syncing = unsynced.clone();
        let ends = unsynced.topics.iter().filter_map(|name| {
            let topic = self.topic(name.as_str())?;
            Some((name.clone(), topic.ends()))
        });
        let ends = ends.collect();
        SyncBegun { unsynced, ends }
    }

    /// Ends a sync; commands may be executed meanwhile. Returns where the logs ended when it began, of all topics that have
    /// changed since the last time that was [stored](Self::note_stored). Blocks.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn finish_sync(&self, begun: SyncBegun, now: Now) -> Result<Ends, StoreError> {
        let SyncBegun { unsynced, ends } = begun;
        let topics = &unsynced.topics;
        let synced = if unsynced.is_everything || topics.len() > MOST_SYNCED_ALONE {
            let topics = topics_folder(&self.context.settings.data_path);
            sync_file_system(&topics).map_err(StoreError::from)
        } else {
            self.sync_topics(topics, unsynced.is_folder, now)
        };
        if synced.is_ok() {
            self.note_ends(topics);
        }
        synced.map(|()| ends)
    }

    /// The next [`sync`](Self::sync) brings everything to the disk, since a replica has executed commands in this data path
    /// that may not be there, of these topics among others.
    pub fn note_unsynced(&self, topics: HashSet<TopicName>) {
        self.executing().unsynced.add(Unsynced {
            topics,
            is_folder: true,
            is_everything: true,
        });
    }

    /// How far was executed is stored as of the last sync, with where the logs end: after a crash of the machine they do.
    /// Segments are freed below that only.
    pub fn note_stored(&self, ends: &Ends) {
        self.executing().syncing = Unsynced::default();
        for (name, ends) in ends {
            if let Some(topic) = self.topic(name.as_str()) {
                topic.note_stored(*ends);
            }
        }
    }

    fn note_ends(&self, topics: &HashSet<TopicName>) {
        for name in topics {
            if let Some(topic) = self.topic(name.as_str()) {
                topic.note_ends();
            }
        }
    }

    fn sync_topics(
        &self,
        unsynced: &HashSet<TopicName>,
        is_folder_unsynced: bool,
        now: Now,
    ) -> Result<(), StoreError> {
        for name in unsynced {
            let Some(topic) = self.topic(name.as_str()) else {
                continue;
            };
            topic.sync(now)?;
            let folder = self.context.topic_folder(name);
            if let Err(error) = sync_folder(&folder)
                && !topic.is_discarded()
            {
                return Err(error.into());
            }
        }
        if is_folder_unsynced {
            sync_folder(&topics_folder(&self.context.settings.data_path))?;
        }
        Ok(())
    }

    /// Gives the data path to a replica: refuses everything from now on, writes down what only memory knows, and releases
    /// all files. Other than [`close`](Self::close) it closes no client; each is woken, and finds no message here. What a
    /// client holds of this broker can no longer be finished here.
    ///
    /// It syncs nothing, since the next leader may be waiting: that is the
    /// [replica's to do](crate::replica::Replica::note_unsynced), of the topics that are returned among others.
    pub fn resign(&self, now: Now) -> HashSet<TopicName> {
        let mut executing = self.executing();
        let mut unsynced = std::mem::take(&mut executing.unsynced);
        unsynced.add(std::mem::take(&mut executing.syncing));
        let unsynced = unsynced.topics;
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        // A write of `nsqd.dat` that has begun ends first; none begins after it.
        let saving = self.saving();
        self.note_exiting();
        drop(saving);
        self.note_ends(&unsynced);
        for topic in self.topics() {
            topic.write_down(now);
            topic.let_go();
        }
        unsynced
    }

    /// Syncs everything, and lists the files. The caller executes no command meanwhile; consumers may continue. Returns what
    /// [`sync`](Self::sync) does too.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn checkpoint(&self, now: Now) -> Result<(DataFiles, Ends), StoreError> {
        let ends = self.sync(now)?;
        let data_path = &self.context.settings.data_path;
        let mut collector = Collector::new(data_path)?;
        for topic in self.topics() {
            topic.collect(&mut collector)?;
        }
        let registry = metadata::encode(&self.metadata());
        let path = metadata::path(data_path);
        let registry = registry.map_err(|error| StoreError::io("write", &path, error))?;
        collector.add_bytes(&path, registry);
        Ok((collector.finish(), ends))
    }

    /// Why a durable topic is not made or deleted on the spot.
    pub(super) fn refuse_durable(&self, name: &TopicName) -> Result<(), StoreError> {
        if self.context.settings.is_replicated && !name.is_ephemeral() {
            return Err(PublishError::Replicated.into());
        }
        Ok(())
    }
}

/// So many topics are synced one by one; when there are more, the file system is synced as a whole.
pub(crate) const MOST_SYNCED_ALONE: usize = 32;

/// A message that no log can hold is dropped, with those proposed together with it, on every replica: trying again would not
/// help.
pub(crate) fn unless_too_large(topic: &TopicName, error: StoreError) -> Result<(), StoreError> {
    if let StoreError::Log(LogError::RecordTooLarge { .. }) = error {
        tracing::error!("TOPIC({topic}): messages are dropped: {error}");
        return Ok(());
    }
    Err(error)
}
