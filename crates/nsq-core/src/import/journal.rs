//! What an import under way has to remember over a kill.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use nsq_protocol::{ChannelName, TopicName};
use nsq_queue::diskqueue::FileKind;
use nsq_queue::{private, sync_folder};
use serde::{Deserialize, Serialize};

use super::{ImportError, files};
use crate::error::StoreError;

/// The journal of one batch; there while it is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Journal {
    pub(super) phase: Phase,
    /// Where in `upstream-imported` the files go.
    pub(super) folder: String,
    pub(super) targets: Vec<Target>,
    pub(super) files: Vec<Original>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Phase {
    /// Messages may stand after the ends of the targets; they do not count.
    Copying,
    /// They count; the files do not.
    Copied,
}

/// A log that takes messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Target {
    pub(super) topic: String,
    /// `None` for the topic's main log.
    pub(super) channel: Option<String>,
    /// The sequence that the first imported message gets.
    pub(super) end: u64,
}

/// A file of upstream's, and how to tell that no one wrote it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Original {
    pub(super) name: String,
    pub(super) bytes: u64,
    /// Seconds and nanoseconds.
    pub(super) modified: (i64, i64),
}

impl Journal {
    pub(super) fn load(data_path: &Path) -> Result<Option<Journal>, ImportError> {
        let path = path(data_path);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|error| StoreError::io("read", &path, error))?,
        };
        let journal = serde_json::from_slice(&bytes)
            .and_then(Journal::checked)
            .map_err(|source| ImportError::Journal {
                path: path.display().to_string(),
                source,
            })?;
        Ok(Some(journal))
    }

    /// Itself, if it names only what an import can have to do with: files are cut and moved on its word.
    fn checked(self) -> Result<Journal, serde_json::Error> {
        let is_number = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
        let is_target = |target: &Target| {
            let channel = target.channel.as_deref().map(ChannelName::parse);
            TopicName::parse(&target.topic).is_ok() && channel.is_none_or(|name| name.is_ok())
        };
        let is_upstreams =
            |file: &Original| !file.name.contains('/') && FileKind::parse(&file.name).is_some();
        let wrong = if self.folder.is_empty() || !is_number(&self.folder) {
            "a folder that is no number"
        } else if !self.targets.iter().all(is_target) {
            "a target that is no topic or channel"
        } else if !self.files.iter().all(is_upstreams) {
            "a file that is none of upstream's"
        } else {
            return Ok(self);
        };
        Err(serde::de::Error::custom(wrong))
    }

    /// Puts it in the place of the one before, on the disk.
    pub(super) fn save(&self, data_path: &Path) -> Result<(), StoreError> {
        let path = path(data_path);
        let temporary = path.with_extension("tmp");
        let write = || -> io::Result<()> {
            let mut file = private::file_options()
                .write(true)
                .create(true)
                .truncate(true)
                .open(&temporary)?;
            file.write_all(&serde_json::to_vec(self)?)?;
            // A crash after the rename must find all of it.
            file.sync_all()?;
            std::fs::rename(&temporary, &path)
        };
        write().map_err(|error| StoreError::io("write", &path, error))?;
        sync_folder(&files::imported_folder(data_path))?;
        Ok(())
    }

    pub(super) fn remove(data_path: &Path) -> Result<(), StoreError> {
        let path = path(data_path);
        std::fs::remove_file(&path).map_err(|error| StoreError::io("remove", &path, error))?;
        sync_folder(&files::imported_folder(data_path))?;
        Ok(())
    }
}

/// In the folder of the imported files.
pub(super) const FILE: &str = "under-way.json";

fn path(data_path: &Path) -> PathBuf {
    files::imported_folder(data_path).join(FILE)
}
