//! Executing committed commands, on a replica that follows.
//!
//! After each command, a kill loses nothing of it.

use nsq_protocol::{ChannelName, TopicName};

use super::{Replica, ReplicaError};
use crate::broker::unless_too_large;
use crate::command::Command;

impl Replica {
    /// Executes a committed command, as the leader's broker does. One whose topic or channel is not there, or is there
    /// already, changes nothing. Which commands were executed is the caller's to know: [`applied`](Self::applied) is not
    /// concerned.
    ///
    /// # Errors
    /// [`ReplicaError`]; then the same command has to be executed again before others.
    pub fn execute(&mut self, command: &Command<'_>) -> Result<(), ReplicaError> {
        let name = command.topic();
        if name.is_ephemeral() {
            // Trying again would not help.
            tracing::error!("TOPIC({name}): is not replicated: command ignored");
            return Ok(());
        }
        let is_known = self.registry.contains_key(name);
        match command {
            Command::CreateTopic(_) if !is_known => self.create_topic(name)?,
            Command::DeleteTopic(_) if is_known => return self.delete_topic(name),
            Command::CreateTopic(_) | Command::DeleteTopic(_) => return Ok(()),
            Command::Publish { records, .. } if !is_known => {
                let count = records.len();
                tracing::warn!(
                    "TOPIC({name}): {count} messages dropped: the topic was deleted before they arrived"
                );
                return Ok(());
            }
            _ if !is_known => return Ok(()),
            _ => self.execute_in(name, command)?,
        }
        if !self.unsynced.contains(name) {
            self.unsynced.insert(name.clone());
        }
        Ok(())
    }

    fn execute_in(&mut self, name: &TopicName, command: &Command<'_>) -> Result<(), ReplicaError> {
        match *command {
            Command::Publish { log, records, .. } => {
                match self.topic(name)?.publish(log, records) {
                    Err(ReplicaError::Store(error)) => Ok(unless_too_large(name, error)?),
                    published => published,
                }
            }
            Command::CreateChannel(_, channel) => self.create_committed_channel(name, channel),
            Command::DeleteChannel(_, channel) => self.delete_committed_channel(name, channel),
            Command::PauseTopic(_, paused) => {
                self.topic(name)?.follow_flow(paused)?;
                self.set_paused(name, None, paused)?;
                Ok(self.save_registry()?)
            }
            Command::PauseChannel(_, channel, paused) => {
                if self.has_channel(name, channel) {
                    self.set_paused(name, Some(channel), paused)?;
                    self.save_registry()?;
                }
                Ok(())
            }
            Command::EmptyTopic(_) => self.topic(name)?.skip_waiting(),
            Command::FannedOut { position, .. } => self.topic(name)?.advance(position),
            Command::Finished {
                channel,
                log,
                floor,
                sequences,
                ..
            } if self.has_channel(name, channel) => {
                self.topic(name)?.finish(channel, log, floor, sequences)
            }
            Command::Journaled {
                channel,
                unix_nanos,
                entries,
                ..
            } if self.has_channel(name, channel) => {
                self.topic(name)?.journal(channel, entries, unix_nanos)
            }
            Command::Finished { .. }
            | Command::Journaled { .. }
            | Command::CreateTopic(_)
            | Command::DeleteTopic(_) => Ok(()),
        }
    }

    fn has_channel(&self, topic: &TopicName, channel: &ChannelName) -> bool {
        let topic = self.registry.get(topic);
        topic.is_some_and(|topic| topic.channels.contains_key(channel))
    }

    fn create_committed_channel(
        &mut self,
        name: &TopicName,
        channel: &ChannelName,
    ) -> Result<(), ReplicaError> {
        if channel.is_ephemeral() || self.has_channel(name, channel) {
            return Ok(());
        }
        let paused = self.is_paused(name);
        let topic = self.topic(name)?;
        topic.create_channel_at_end(channel)?;
        topic.follow_flow(paused)?;
        let known = self.registry.entry(name.clone()).or_default();
        known.channels.insert(channel.clone(), false);
        self.is_registry_saved = false;
        Ok(())
    }

    fn delete_committed_channel(
        &mut self,
        name: &TopicName,
        channel: &ChannelName,
    ) -> Result<(), ReplicaError> {
        if !self.has_channel(name, channel) {
            return Ok(());
        }
        let paused = self.is_paused(name);
        let topic = self.topic(name)?;
        // The position before the folder goes: a kill in between must not have the topic stand still where it never did.
        topic.forget_channel(channel);
        topic.follow_flow(paused)?;
        self.delete_channel(name, channel)
    }

    fn is_paused(&self, name: &TopicName) -> bool {
        self.registry.get(name).is_some_and(|topic| topic.paused)
    }
}
