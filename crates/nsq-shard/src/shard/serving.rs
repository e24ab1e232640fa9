//! What a replica of a shard accepts and reports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nsq_core::command::Command;
use nsq_core::{Broker, Now, Pending};
use nsq_protocol::{ChannelName, TopicName};

use super::{Mode, Shard, ShardFigures};
use crate::changes::Change;
use crate::leading::{Refusal, change_of};

impl Shard {
    /// Accepts messages for a topic, all or none, and settles `pending` once they are committed and applied here, or may
    /// never be. A refusal that says so took nothing.
    ///
    /// # Errors
    /// [`Refusal`]; `pending` is not settled then.
    pub fn publish(
        &self,
        topic: &TopicName,
        bodies: &mut dyn ExactSizeIterator<Item = &[u8]>,
        due: Option<i64>,
        now: Now,
        pending: &Arc<Pending>,
    ) -> Result<(), Refusal> {
        let leading = self.leading().ok_or(Refusal::NotLeading)?;
        leading.publish(topic, bodies, due, now, pending)
    }

    /// Accepts a change of topics and channels. Changes are made in the order of the calls; one that fails takes those with it
    /// that waited for it.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn submit(&self, command: &Command<'_>, pending: &Arc<Pending>) -> Result<(), Refusal> {
        let leading = self.leading().ok_or(Refusal::NotLeading)?;
        leading.submit(change_of(command, pending)?)
    }

    /// Notes that the shard has the topics and channels of the directory as of `index`, once all changes submitted before were
    /// made.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn submit_followed(&self, index: u64, pending: &Arc<Pending>) -> Result<(), Refusal> {
        let leading = self.leading().ok_or(Refusal::NotLeading)?;
        leading.submit(Change::followed(index, pending))
    }

    /// Has the other replicas know what was finished by now.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn flush_progress(&self, pending: &Arc<Pending>) -> Result<(), Refusal> {
        let leading = self.leading().ok_or(Refusal::NotLeading)?;
        leading.flush_progress(Some(pending))
    }

    /// What serves the shard's consumers, while this node leads it.
    pub fn broker(&self) -> Option<Arc<Broker>> {
        Some(Arc::clone(&self.leading()?.broker))
    }

    /// The term in which this node leads, if it does.
    pub fn led_term(&self) -> Option<u64> {
        Some(self.leading()?.term)
    }

    /// Up to which change of the directory the shard has the topics and channels.
    pub fn registry_index(&self) -> u64 {
        self.noted.registry_index.load(Ordering::Acquire)
    }

    /// The durable topics and channels of the shard: all, or those with one of these names. May wait while an entry is
    /// applied.
    pub fn topics(
        &self,
        names: Option<&BTreeSet<TopicName>>,
    ) -> BTreeMap<TopicName, Vec<ChannelName>> {
        let held = self.held();
        match &held.mode {
            Mode::Following(replica) => {
                let topics = replica.topics();
                topics
                    .filter(|(name, _)| names.is_none_or(|names| names.contains(*name)))
                    .map(|(name, channels)| (name.clone(), channels.cloned().collect()))
                    .collect()
            }
            Mode::Leading(leading) => {
                let broker = &leading.broker;
                let topics = match names {
                    None => broker.topics(),
                    Some(names) => {
                        let named = names.iter().map(|name| broker.topic(name.as_str()));
                        named.flatten().collect()
                    }
                };
                let kept = topics.into_iter();
                let kept = kept.filter(|topic| !topic.name().is_ephemeral());
                kept.map(|topic| {
                    let channels = topic.channels().into_iter();
                    let names = channels.map(|cell| cell.name().clone());
                    let kept = names.filter(|name| !name.is_ephemeral());
                    (topic.name().clone(), kept.collect())
                })
                .collect()
            }
            Mode::Closed(_) => BTreeMap::new(),
        }
    }

    /// Figures about the replica.
    pub fn figures(&self) -> ShardFigures {
        ShardFigures {
            applied: self.noted.next.load(Ordering::Acquire).checked_sub(1),
            waiting_bytes: self.leading().map_or(0, |leading| leading.waiting_bytes()),
            registry_index: self.registry_index(),
        }
    }
}
