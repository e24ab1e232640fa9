//! Which topics and channels a data path holds, read without a change to it: for a start, for `--check` and `--export-to`,
//! and for a replica.
//!
//! One rule for all: a topic or channel exists when `nsqd.dat` names it or it has a folder; but not what a deletion renamed
//! ([`DELETED`]), whatever `nsqd.dat` still says, unless it has a folder again.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use nsq_protocol::{ChannelName, TopicName};

use crate::broker::{DELETED, OpenError, topics_folder};
use crate::checkpoint::is_left_behind;
use crate::error::StoreError;
use crate::metadata::{self, Metadata};

/// Whether each channel is paused.
pub(crate) type Channels = BTreeMap<ChannelName, bool>;

/// A topic.
#[derive(Debug, Default)]
pub(crate) struct RegisteredTopic {
    pub(crate) paused: bool,
    pub(crate) channels: Channels,
}

/// All topics and channels of a data path.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    pub(crate) topics: BTreeMap<TopicName, RegisteredTopic>,
    /// Folders of what was deleted, whose files are still there, and of checkpoints of earlier processes.
    pub(crate) discarded: Vec<PathBuf>,
    /// What `nsqd.dat` names that is no name: `topic` or `channel`, and the name.
    pub(crate) misnamed: Vec<(&'static str, String)>,
    /// Whether there is an `nsqd.dat`.
    pub(crate) has_file: bool,
}

impl Registry {
    /// Reads `nsqd.dat` and the folders.
    ///
    /// # Errors
    /// When one of them is there and cannot be read.
    pub(crate) fn read(data_path: &Path) -> Result<Registry, OpenError> {
        let metadata = metadata::load(data_path)?;
        let mut registry = Registry {
            has_file: metadata.is_some(),
            ..Registry::default()
        };
        if let Some(metadata) = metadata {
            registry.add_named(metadata);
        }
        registry.add_folders(&topics_folder(data_path))?;
        Ok(registry)
    }

    fn add_named(&mut self, metadata: Metadata) {
        for topic in metadata.topics {
            let Ok(name) = TopicName::try_from(topic.name.as_str()) else {
                self.misnamed.push(("topic", topic.name));
                continue;
            };
            let known = self.topics.entry(name).or_default();
            known.paused = topic.paused;
            for channel in topic.channels {
                match ChannelName::try_from(channel.name.as_str()) {
                    Ok(name) => drop(known.channels.insert(name, channel.paused)),
                    Err(_) => self.misnamed.push(("channel", channel.name)),
                }
            }
        }
    }

    fn add_folders(&mut self, folder: &Path) -> Result<(), StoreError> {
        let folders = Folders::list(folder, ".topic", &mut self.discarded)?;
        for deleted in &folders.deleted {
            // The file may still name the deleted topic's channels. Those of a new one of its name have folders.
            if let Some(topic) = self.topics.get_mut(deleted.as_str()) {
                topic.channels.clear();
            }
        }
        for gone in folders.gone() {
            self.topics.remove(gone);
        }
        for (name, path) in folders.living {
            let Ok(topic) = TopicName::try_from(name.as_str()) else {
                continue;
            };
            let channels = &mut self.topics.entry(topic).or_default().channels;
            let folders = Folders::list(&path, ".channel", &mut self.discarded)?;
            for gone in folders.gone() {
                channels.remove(gone);
            }
            for (name, _) in folders.living {
                if let Ok(channel) = ChannelName::try_from(name.as_str()) {
                    channels.entry(channel).or_default();
                }
            }
        }
        Ok(())
    }
}

/// The topics or channels that have a folder, or had one.
struct Folders {
    living: Vec<(String, PathBuf)>,
    /// Whether or not they were made again.
    deleted: Vec<String>,
}

impl Folders {
    /// The folders in `folder` whose names end in `suffix`, by their names less it. Those that a deletion left behind
    /// are added to `discarded`.
    fn list(
        folder: &Path,
        suffix: &str,
        discarded: &mut Vec<PathBuf>,
    ) -> Result<Folders, StoreError> {
        let mut folders = Folders {
            living: Vec::new(),
            deleted: Vec::new(),
        };
        let entries = match std::fs::read_dir(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(folders),
            entries => entries.map_err(|error| StoreError::io("list", folder, error))?,
        };
        for entry in entries {
            let entry = entry.map_err(|error| StoreError::io("list", folder, error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(stem) = name.strip_suffix(DELETED) {
                discarded.push(entry.path());
                let before = stem.rsplitn(3, '.').nth(2);
                let before = before.and_then(|before| before.strip_suffix(suffix));
                folders.deleted.extend(before.map(str::to_owned));
            } else if let Some(stem) = name.strip_suffix(suffix) {
                folders.living.push((stem.to_owned(), entry.path()));
            } else if is_left_behind(&name) {
                discarded.push(entry.path());
            }
        }
        Ok(folders)
    }

    /// The names that were deleted and not made again.
    fn gone(&self) -> impl Iterator<Item = &str> {
        let deleted = self.deleted.iter().map(String::as_str);
        deleted.filter(|&name| self.living.iter().all(|(living, _)| living != name))
    }
}
