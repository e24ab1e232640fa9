//! Which topics and channels came and went between two states of the directory.

use std::collections::{BTreeMap, BTreeSet};

use nsq_cluster::directory::Directory;
use nsq_core::broker::Change;
use nsq_protocol::{ChannelName, TopicName};

/// What was created and deleted, in the order of the names. What was deleted and created again is both.
pub(super) fn changes(old: &Directory, new: &Directory) -> Vec<Change> {
    let mut changes = Vec::new();
    for name in new.topics.changed_since(&old.topics) {
        match (old.topics.topic(name), new.topics.topic(name)) {
            (Some(old), Some(new)) if old.created_at == new.created_at => {
                channel_changes(name, &old.channels, &new.channels, &mut changes);
            }
            (old, new) => {
                if old.is_some() {
                    changes.push(Change::TopicDeleted(name.clone()));
                }
                if let Some(new) = new {
                    changes.push(Change::TopicCreated(name.clone()));
                    let created = new.channels.keys();
                    changes.extend(
                        created
                            .map(|channel| Change::ChannelCreated(name.clone(), channel.clone())),
                    );
                }
            }
        }
    }
    changes
}

fn channel_changes(
    topic: &TopicName,
    old: &BTreeMap<ChannelName, u64>,
    new: &BTreeMap<ChannelName, u64>,
    changes: &mut Vec<Change>,
) {
    let names: BTreeSet<&ChannelName> = old.keys().chain(new.keys()).collect();
    for channel in names {
        let (before, after) = (old.get(channel), new.get(channel));
        if before == after {
            continue;
        }
        if before.is_some() {
            changes.push(Change::ChannelDeleted(topic.clone(), channel.clone()));
        }
        if after.is_some() {
            changes.push(Change::ChannelCreated(topic.clone(), channel.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use nsq_cluster::ClusterId;
    use nsq_cluster::directory::{Change as DirectoryChange, MemberInfo};

    use super::*;

    fn topic(name: &str) -> TopicName {
        TopicName::parse(name).unwrap()
    }

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse(name).unwrap()
    }

    fn created(name: &str, channels: &[&str]) -> DirectoryChange {
        DirectoryChange::CreateTopic {
            topic: topic(name),
            channels: channels.iter().map(|name| channel(name)).collect(),
        }
    }

    /// The directory after these changes.
    fn after(old: &Directory, made: impl IntoIterator<Item = DirectoryChange>) -> Directory {
        let mut directory = old.clone();
        for change in made {
            directory.apply(&change);
        }
        directory
    }

    fn founded() -> Directory {
        let info = MemberInfo {
            address: "n:4152".to_owned(),
            broadcast_address: "n".to_owned(),
            tcp_port: 4150,
            http_port: 4151,
            version: "1.3.0".to_owned(),
            entry_format: 1,
            joined: 0,
        };
        let cluster = ClusterId(1);
        let members = BTreeMap::from([(1.into(), info)]);
        after(
            &Directory::default(),
            [DirectoryChange::Found { cluster, members }],
        )
    }

    #[test]
    fn what_came_and_went_is_listed_by_name() {
        let old = after(
            &founded(),
            [created("b", &["kept", "gone"]), created("c", &[])],
        );
        let made = [
            created("a", &["x", "y"]),
            created("b", &["new"]),
            DirectoryChange::DeleteChannel(topic("b"), channel("gone")),
            DirectoryChange::DeleteTopic(topic("c")),
        ];
        let new = after(&old, made);
        assert_eq!(
            changes(&old, &new),
            [
                Change::TopicCreated(topic("a")),
                Change::ChannelCreated(topic("a"), channel("x")),
                Change::ChannelCreated(topic("a"), channel("y")),
                Change::ChannelDeleted(topic("b"), channel("gone")),
                Change::ChannelCreated(topic("b"), channel("new")),
                Change::TopicDeleted(topic("c")),
            ]
        );
        assert_eq!(changes(&new, &new), []);
    }

    #[test]
    fn what_was_deleted_and_created_again_is_both() {
        let old = after(&founded(), [created("a", &["c"]), created("b", &["c"])]);
        let made = [
            DirectoryChange::DeleteTopic(topic("a")),
            created("a", &[]),
            DirectoryChange::DeleteChannel(topic("b"), channel("c")),
            created("b", &["c"]),
        ];
        assert_eq!(
            changes(&old, &after(&old, made)),
            [
                Change::TopicDeleted(topic("a")),
                Change::TopicCreated(topic("a")),
                Change::ChannelDeleted(topic("b"), channel("c")),
                Change::ChannelCreated(topic("b"), channel("c")),
            ]
        );
    }
}
