//! What changes of topics and channels do to the directory.

use std::collections::BTreeSet;

use nsq_protocol::{ChannelName, TopicName};

use super::apply::full;
use super::{Directory, MAX_NAMES, Outcome, Refused};

impl Directory {
    pub(super) fn create_topic(
        &mut self,
        topic: &TopicName,
        channels: &[ChannelName],
    ) -> Result<Outcome, Refused> {
        if topic.is_ephemeral() {
            return Err(Refused::Ephemeral(topic.to_string()));
        }
        if let Some(channel) = channels.iter().find(|channel| channel.is_ephemeral()) {
            return Err(Refused::Ephemeral(channel.to_string()));
        }
        let existing = self.topics.topic(topic);
        let missing: BTreeSet<_> = channels
            .iter()
            .filter(|channel| existing.is_none_or(|topic| !topic.channels.contains_key(*channel)))
            .collect();
        if let Some(existing) = existing
            && missing.is_empty()
        {
            let created = channels
                .iter()
                .filter_map(|channel| existing.channels.get(channel));
            let newest = created.fold(existing.created_at, |newest, index| newest.max(*index));
            return Ok(Outcome::Done(newest));
        }
        let more = usize::from(existing.is_none()) + missing.len();
        if self.topics.name_count() + more > MAX_NAMES {
            return Err(full("topics and channels", MAX_NAMES));
        }
        let done = self.changed();
        self.topics.create_topic(topic, self.index);
        for channel in missing {
            self.topics.create_channel(topic, channel, self.index);
        }
        Ok(done)
    }

    pub(super) fn delete_topic(&mut self, topic: &TopicName) -> Result<Outcome, Refused> {
        if !self.topics.delete_topic(topic, self.index + 1) {
            return Err(Refused::NoSuchTopic(topic.clone()));
        }
        Ok(self.changed())
    }

    pub(super) fn create_channel(
        &mut self,
        topic: &TopicName,
        channel: &ChannelName,
    ) -> Result<Outcome, Refused> {
        if self.topics.topic(topic).is_none() {
            return Err(Refused::NoSuchTopic(topic.clone()));
        }
        self.create_topic(topic, std::slice::from_ref(channel))
    }

    pub(super) fn delete_channel(
        &mut self,
        topic: &TopicName,
        channel: &ChannelName,
    ) -> Result<Outcome, Refused> {
        if self.topics.topic(topic).is_none() {
            return Err(Refused::NoSuchTopic(topic.clone()));
        }
        if !self.topics.delete_channel(topic, channel, self.index + 1) {
            let (topic, channel) = (topic.clone(), channel.clone());
            return Err(Refused::NoSuchChannel(topic, channel));
        }
        Ok(self.changed())
    }
}
