//! What a shard holds, as plain sets of bodies.

use std::collections::{BTreeMap, BTreeSet};

use nsq_core::command::Command;

use super::trace;
use crate::codec::{CommandError, Item, ProposalReader};

/// A message that was finished: topic, channel, body.
pub(super) type Finish = (String, String, String);

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) topics: BTreeMap<String, ModelTopic>,
    pub(super) followed: u64,
}

#[derive(Debug, Default)]
pub(super) struct ModelTopic {
    pub(super) channels: BTreeMap<String, ModelChannel>,
    /// Offered to no channel yet.
    pub(super) waiting: BTreeSet<String>,
    pub(super) is_paused: bool,
}

#[derive(Debug, Default)]
pub(super) struct ModelChannel {
    /// Whatever it was ever offered.
    pub(super) all: BTreeSet<String>,
    /// Finished at some leader.
    pub(super) finished: BTreeSet<String>,
    /// Those of them that were committed: no replica gives them out again.
    pub(super) known: BTreeSet<String>,
}

impl ModelTopic {
    fn flow(&mut self) {
        if self.is_paused || self.channels.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut self.waiting);
        for channel in self.channels.values_mut() {
            channel.all.extend(waiting.iter().cloned());
        }
    }
}

impl Model {
    /// A proposal was committed in the term it was made in.
    pub(super) fn commit(&mut self, proposal: &[u8]) {
        let read = ProposalReader::new(proposal).unwrap();
        let outcome: Result<(), CommandError<()>> = read.read(|item| {
            match item {
                Item::Followed(index) => self.followed = self.followed.max(index),
                Item::Command(command) => self.execute(&command),
            }
            Ok(())
        });
        outcome.unwrap();
    }

    fn execute(&mut self, command: &Command<'_>) {
        match command {
            Command::Publish {
                topic,
                log,
                records,
            } => {
                let bodies = records
                    .iter()
                    .map(|record| String::from_utf8_lossy(record.body));
                let bodies: Vec<_> = bodies.map(|body| body.trim().to_owned()).collect();
                trace(&format_args!("publish {topic} {log:?} {bodies:?}"));
            }
            command => trace(&format_args!("{command:?}")),
        }
        let name = command.topic().to_string();
        match *command {
            Command::CreateTopic(_) => drop(self.topics.entry(name).or_default()),
            Command::DeleteTopic(_) => drop(self.topics.remove(&name)),
            _ => {
                if let Some(topic) = self.topics.get_mut(&name) {
                    Model::execute_in(topic, command);
                }
            }
        }
    }

    fn execute_in(topic: &mut ModelTopic, command: &Command<'_>) {
        match *command {
            Command::Publish { records, .. } => {
                let bodies = records.iter();
                let bodies = bodies.map(|record| String::from_utf8(record.body.to_vec()).unwrap());
                topic.waiting.extend(bodies);
            }
            Command::CreateChannel(_, channel) => {
                topic.channels.entry(channel.to_string()).or_default();
            }
            Command::DeleteChannel(_, channel) => drop(topic.channels.remove(channel.as_str())),
            Command::PauseTopic(_, paused) => topic.is_paused = paused,
            Command::EmptyTopic(_) => topic.waiting.clear(),
            _ => {}
        }
        topic.flow();
    }

    fn channel(&mut self, topic: &str, channel: &str) -> Option<&mut ModelChannel> {
        self.topics.get_mut(topic)?.channels.get_mut(channel)
    }

    /// A leader gave a message to a consumer.
    pub(super) fn check_delivery(&mut self, (topic, channel, body): &Finish) {
        let known = self.channel(topic, channel);
        let known =
            known.unwrap_or_else(|| panic!("{topic}/{channel} gave out {body}, but is gone"));
        assert!(
            known.all.contains(body),
            "{topic}/{channel} never had {body}"
        );
        assert!(
            !known.known.contains(body),
            "{topic}/{channel}: {body} is back"
        );
    }

    pub(super) fn finish(&mut self, (topic, channel, body): &Finish) {
        let known = self.channel(topic, channel).unwrap();
        known.finished.insert(body.clone());
    }

    /// Finished messages were committed.
    pub(super) fn know(&mut self, finishes: Vec<Finish>) {
        for (topic, channel, body) in finishes {
            if let Some(known) = self.channel(&topic, &channel)
                && known.all.contains(&body)
            {
                known.known.insert(body);
            }
        }
    }
}
