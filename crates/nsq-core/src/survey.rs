//! The data path as it stands, without a change to a byte of it: what a start would find, and what is broken.
//!
//! Reads what [`Broker::open`](crate::Broker::open) reads and comes to the same messages, but holds no message in
//! memory and opens nothing for writing. For `--check` and `--export-to`.

mod channel;
#[cfg(test)]
mod tests;
mod topic;
mod tree;

use std::collections::BTreeMap;
use std::path::Path;

use nsq_protocol::{ChannelName, TopicName};
use nsq_queue::diskqueue::QueueFiles;

pub use self::channel::{ChannelSurvey, Counts, Stored};
pub use self::topic::{LogSurvey, TopicSurvey};
use crate::broker::OpenError;
use crate::error::StoreError;
use crate::import;
use crate::metadata;

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
pub struct Survey {
    /// By name.
    pub topics: Vec<TopicSurvey>,
    /// Disk queues of upstream's that the next start imports, or, where their name is none, leaves.
    pub upstream: Vec<QueueFiles>,
    /// Whether an import was interrupted: until a start has ended it, messages stand in two places.
    pub is_import_under_way: bool,
    /// What was found on the way, in no order that matters.
    pub findings: Vec<Finding>,
}

impl Survey {
    /// Looks through a data path. Every record of every log is read and checked if `verify`.
    ///
    /// # Errors
    /// When a file or folder that is there cannot be read.
    pub fn of(data_path: &Path, verify: bool) -> Result<Survey, OpenError> {
        let mut findings = Vec::new();
        let registry = metadata::load(data_path)?;
        if registry.is_none() {
            findings.push(Finding::Notice("there is no nsqd.dat".to_owned()));
        }
        let mut plan: BTreeMap<TopicName, (bool, BTreeMap<ChannelName, bool>)> = BTreeMap::new();
        for topic in registry.map(|registry| registry.topics).unwrap_or_default() {
            let Ok(name) = TopicName::try_from(topic.name.as_str()) else {
                findings.push(Finding::Notice(format!(
                    "nsqd.dat names {:?}, which is no topic",
                    topic.name
                )));
                continue;
            };
            let entry = plan.entry(name).or_default();
            entry.0 = topic.paused;
            for channel in topic.channels {
                if let Ok(name) = ChannelName::try_from(channel.name.as_str()) {
                    entry.1.insert(name, channel.paused);
                }
            }
        }
        let folder = data_path.join("topics");
        tree::look_through(data_path, &folder, &mut plan, &mut findings)?;
        let mut topics = Vec::new();
        for (name, (paused, channels)) in plan {
            topics.push(TopicSurvey::of(
                &folder,
                name,
                paused,
                channels,
                verify,
                &mut findings,
            )?);
        }
        Ok(Survey {
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
