//! The data path as it stands, without a change to a byte of it: what a start would find, and what is broken.
//!
//! Reads what [`Broker::open`](crate::Broker::open) reads and comes to the same messages, but holds no message in
//! memory and opens nothing for writing. For `--check` and `--export-to`.

mod channel;
#[cfg(test)]
mod tests;
mod topic;
mod tree;

use std::path::Path;

use nsq_queue::diskqueue::QueueFiles;

pub use self::channel::{ChannelInspection, Counts, Stored};
pub use self::topic::{LogInspection, TopicInspection};
use crate::broker::{OpenError, topics_folder};
use crate::error::StoreError;
use crate::import;
use crate::registry::Registry;

/// Something a survey came upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Messages, or what is known of them, are lost or in danger.
    Damage(String),
    /// Good to know; a start deals with it.
    Notice(String),
}

/// Everything in a data path.
#[derive(Debug)]
pub struct Inspection {
    /// By name.
    pub topics: Vec<TopicInspection>,
    /// Disk queues of upstream's that the next start imports, or, where their name is none, leaves.
    pub upstream: Vec<QueueFiles>,
    /// Whether an import was interrupted: until a start has ended it, messages stand in two places.
    pub is_import_under_way: bool,
    /// What was found on the way, in no order that matters.
    pub findings: Vec<Finding>,
}

impl Inspection {
    /// Looks through a data path. Every record of every log is read and checked if `verify`.
    ///
    /// # Errors
    /// When a file or folder that is there cannot be read.
    pub fn of(data_path: &Path, verify: bool) -> Result<Inspection, OpenError> {
        let mut findings = Vec::new();
        let registry = Registry::read(data_path)?;
        if !registry.has_file {
            findings.push(Finding::Notice("there is no nsqd.dat".to_owned()));
        }
        for (kind, name) in &registry.misnamed {
            findings.push(Finding::Notice(format!(
                "nsqd.dat names {name:?}, which is no {kind}"
            )));
        }
        let folder = topics_folder(data_path);
        tree::find_strays(data_path, &folder, &mut findings)?;
        let mut topics = Vec::new();
        for (name, topic) in registry.topics {
            topics.push(TopicInspection::of(
                &folder,
                name,
                topic.paused,
                topic.channels,
                verify,
                &mut findings,
            )?);
        }
        Ok(Inspection {
            topics,
            upstream: QueueFiles::all_in(data_path).map_err(StoreError::from)?,
            is_import_under_way: import::is_under_way(data_path),
            findings,
        })
    }

    /// How many of the findings are damage.
    pub fn damage_count(&self) -> usize {
        let damages = self.findings.iter();
        damages
            .filter(|finding| matches!(finding, Finding::Damage(_)))
            .count()
    }
}
