//! What a shard's leader does so that the shard has the topics and channels that the directory lists.
//!
//! The shard notes up to which directory index it has followed: its *registry index*. The leader takes the steps in order and
//! then notes the directory's index; if it stops halfway, the next look finds the rest.
//!
//! A topic or channel that is publishable in the shard must be of the incarnation that the directory lists. So a node that creates
//! one for a client changes the directory first, and publishes to a shard only after the shard's registry index has reached
//! the index of that change. Otherwise a deletion that the shard has not followed yet would take the new messages along.

use std::collections::{BTreeMap, BTreeSet};

use nsq_protocol::{ChannelName, TopicName};

use super::{Directory, TopicEntry};

/// The durable topics and channels of a shard.
pub type ShardTopics = BTreeMap<TopicName, BTreeSet<ChannelName>>;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Delete the topic in the shard.
    DeleteTopic(TopicName),
    /// Delete the channel in the shard.
    DeleteChannel(TopicName, ChannelName),
    /// Create the topic in the shard.
    CreateTopic(TopicName),
    /// Create the channel in the shard.
    CreateChannel(TopicName, ChannelName),
    /// Add the topic and these channels of it to the directory by
    /// [`Change::CreateTopic`](super::Change::CreateTopic): the shard has them from the time before it belonged to the cluster.
    Adopt(TopicName, Vec<ChannelName>),
}

/// What brings the shard number `shard`, which has `topics` and has followed up to `registry_index`, to the directory's index.
/// Deletions come first, then creations, then adoptions. After the adoptions were proposed and applied there is another look,
/// and only one without adoptions lets the registry index grow.
///
/// A name that the shard has and the directory lists was deleted and created again in between if its tombstone is later than
/// what the shard has followed. A name that the shard has and the directory does not list is
/// - deleted if there is a tombstone from the time after the shard was created,
/// - deleted if the shard has followed before and tombstones since then were forgotten: the directory listed it then,
/// - adopted otherwise: the shard was a single node's data.
///
/// Nothing is done by a directory that is older than what the shard has followed, or that does not list the shard yet.
pub fn registry_steps(
    directory: &Directory,
    shard: u64,
    topics: &ShardTopics,
    registry_index: u64,
) -> Vec<Step> {
    steps(
        directory,
        shard,
        topics,
        registry_index,
        directory.topics.iter(),
    )
}

/// As [`registry_steps`], looking at the topics `names` alone: the shard has all others as the directory lists them. `topics`
/// are those of them that the shard has.
pub fn registry_steps_among(
    names: &BTreeSet<TopicName>,
    directory: &Directory,
    shard: u64,
    topics: &ShardTopics,
    registry_index: u64,
) -> Vec<Step> {
    let listed = names
        .iter()
        .filter_map(|name| Some((name, directory.topics.topic(name)?)));
    steps(directory, shard, topics, registry_index, listed)
}

fn steps<'a>(
    directory: &'a Directory,
    shard: u64,
    topics: &ShardTopics,
    registry_index: u64,
    listed: impl Iterator<Item = (&'a TopicName, &'a TopicEntry)>,
) -> Vec<Step> {
    let Some(about) = directory.shards.get(&shard) else {
        return Vec::new();
    };
    if directory.index < registry_index {
        return Vec::new();
    }
    let look = Look {
        directory,
        created_at: about.created_at,
        registry_index,
    };
    let mut steps = Steps::default();
    for (topic, channels) in topics {
        if !topic.is_ephemeral() {
            look.at_present(topic, channels, &mut steps);
        }
    }
    for (topic, entry) in listed {
        if !topics.contains_key(topic) {
            steps.create(topic, entry.channels.keys(), true);
        }
    }
    let mut all = steps.deletions;
    all.append(&mut steps.creations);
    all.append(&mut steps.adoptions);
    all
}

/// What a name in the shard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The one that the directory lists.
    Current,
    /// One that was deleted.
    Deleted,
    /// One that the directory has never known.
    Unknown,
}

struct Look<'a> {
    directory: &'a Directory,
    created_at: u64,
    registry_index: u64,
}

impl Look<'_> {
    fn at_present(&self, topic: &TopicName, channels: &BTreeSet<ChannelName>, to: &mut Steps) {
        let entry = self.directory.topics.topic(topic);
        let durable = channels.iter().filter(|channel| !channel.is_ephemeral());
        let created_at = entry.map(|entry| entry.created_at);
        match self.fate(created_at, self.directory.topic_deleted_at(topic)) {
            Fate::Deleted => {
                to.deletions.push(Step::DeleteTopic(topic.clone()));
                if let Some(entry) = entry {
                    to.create(topic, entry.channels.keys(), true);
                }
                return;
            }
            Fate::Unknown => {
                let channels = durable.cloned().collect();
                to.adoptions.push(Step::Adopt(topic.clone(), channels));
                return;
            }
            Fate::Current => {}
        }
        let listed = entry.map(|entry| &entry.channels);
        let created_at = |channel| listed.and_then(|listed| listed.get(channel)).copied();
        let mut unknown = Vec::new();
        for channel in durable {
            let deleted_at = self.directory.channel_deleted_at(topic, channel);
            let created_at = created_at(channel);
            match self.fate(created_at, deleted_at) {
                Fate::Current => {}
                Fate::Unknown => unknown.push(channel.clone()),
                Fate::Deleted => {
                    let step = Step::DeleteChannel(topic.clone(), channel.clone());
                    to.deletions.push(step);
                    if created_at.is_some() {
                        to.create(topic, [channel], false);
                    }
                }
            }
        }
        if !unknown.is_empty() {
            to.adoptions.push(Step::Adopt(topic.clone(), unknown));
        }
        let missing = listed.into_iter().flat_map(BTreeMap::keys);
        to.create(
            topic,
            missing.filter(|channel| !channels.contains(*channel)),
            false,
        );
    }

    fn fate(&self, created_at: Option<u64>, deleted_at: Option<u64>) -> Fate {
        // All that a shard has when it is created is newer than every deletion before, for all that the directory knows.
        let has_followed = self.registry_index > 0;
        let seen = self.registry_index.max(self.created_at);
        let is_listed = created_at.is_some();
        let forgotten = self.directory.topics.tombstones().forgotten();
        // If the shard has followed before, all its names were listed then.
        let may_be_forgotten = has_followed && seen < forgotten;
        let is_deleted = deleted_at.map_or_else(
            || may_be_forgotten && created_at.is_none_or(|created_at| created_at > seen),
            |deleted_at| deleted_at > seen || (has_followed && !is_listed),
        );
        match created_at {
            _ if is_deleted => Fate::Deleted,
            Some(_) => Fate::Current,
            None => Fate::Unknown,
        }
    }
}

#[derive(Default)]
struct Steps {
    deletions: Vec<Step>,
    creations: Vec<Step>,
    adoptions: Vec<Step>,
}

impl Steps {
    fn create<'a>(
        &mut self,
        topic: &TopicName,
        channels: impl IntoIterator<Item = &'a ChannelName>,
        with_topic: bool,
    ) {
        if with_topic {
            self.creations.push(Step::CreateTopic(topic.clone()));
        }
        for channel in channels {
            let step = Step::CreateChannel(topic.clone(), channel.clone());
            self.creations.push(step);
        }
    }
}
