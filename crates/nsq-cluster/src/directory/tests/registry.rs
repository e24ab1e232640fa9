//! What the leader of a shard does so that the shard follows the directory.

use super::*;

/// A cluster with the shard 1, and the topics that the shard has.
struct Cluster {
    directory: Directory,
    shard: ShardTopics,
    registry_index: u64,
}

impl Cluster {
    /// The shard is new and has `topics` already, from a single node's time.
    fn new(directory: Directory, topics: &[(&str, &[&str])]) -> Self {
        let mut directory = directory;
        let owner = NodeId(1);
        assert_eq!(
            directory.apply(&Change::CreateShard { owner }),
            Outcome::Shard(1)
        );
        let named = topics.iter().map(|(name, channels)| {
            let channels = channels.iter().map(|name| channel(name)).collect();
            (topic(name), channels)
        });
        Self {
            directory,
            shard: named.collect(),
            registry_index: 0,
        }
    }

    fn steps(&self) -> Vec<Step> {
        registry_steps(&self.directory, 1, &self.shard, self.registry_index)
    }

    /// The steps that a look at the topics finds that have changed since `before`.
    fn steps_since(&self, before: &Directory) -> Vec<Step> {
        let changed = self.directory.topics.changed_since(&before.topics);
        let names: BTreeSet<TopicName> = changed.cloned().collect();
        let mut topics = self.shard.clone();
        topics.retain(|name, _| names.contains(name));
        registry_steps_among(&names, &self.directory, 1, &topics, self.registry_index)
    }

    /// Does what is to be done, as a leader does.
    fn follow(&mut self) {
        for _ in 0..2 {
            let mut is_complete = true;
            for step in self.steps() {
                match step {
                    Step::DeleteTopic(topic) => drop(self.shard.remove(&topic).unwrap()),
                    Step::DeleteChannel(topic, channel) => {
                        assert!(self.shard.get_mut(&topic).unwrap().remove(&channel));
                    }
                    Step::CreateTopic(topic) => drop(self.shard.entry(topic).or_default()),
                    Step::CreateChannel(topic, channel) => {
                        self.shard.get_mut(&topic).unwrap().insert(channel);
                    }
                    Step::Adopt(topic, channels) => {
                        is_complete = false;
                        let change = Change::CreateTopic { topic, channels };
                        index_of(self.directory.apply(&change));
                    }
                }
            }
            if is_complete {
                self.registry_index = self.directory.index;
            }
        }
        assert_eq!(self.registry_index, self.directory.index);
        assert_eq!(self.steps(), []);
        let listed = self.directory.topics.iter().map(|(topic, entry)| {
            let channels = entry.channels.keys().cloned().collect();
            (topic.clone(), channels)
        });
        assert_eq!(self.shard, listed.collect());
    }
}

#[test]
fn looking_at_what_has_changed_finds_the_same_steps_as_looking_at_everything() {
    let mut directory = founded(1);
    for name in ["a", "b", "d", "e", "f"] {
        create(&mut directory, name, &["x", "y"]);
    }
    let mut cluster = Cluster::new(directory, &[]);
    cluster.follow();
    let before = cluster.directory.clone();
    assert_eq!(cluster.steps_since(&before), []);
    create(&mut cluster.directory, "c", &["x"]);
    create(&mut cluster.directory, "b", &["z"]);
    cluster.directory.apply(&Change::DeleteTopic(topic("a")));
    cluster.directory.apply(&Change::DeleteTopic(topic("d")));
    create(&mut cluster.directory, "d", &["x"]);
    let delete = Change::DeleteChannel(topic("e"), channel("x"));
    cluster.directory.apply(&delete);
    create(&mut cluster.directory, "g", &[]);
    let names = cluster.directory.topics.changed_since(&before.topics);
    let names: Vec<_> = names.map(TopicName::as_str).collect();
    assert_eq!(names, ["a", "b", "c", "d", "e", "g"]);
    let steps = cluster.steps();
    assert_eq!(steps.len(), 9, "{steps:?}");
    assert_eq!(cluster.steps_since(&before), steps);
}

#[test]
fn a_new_shard_gets_what_the_directory_lists() {
    let mut directory = founded(1);
    create(&mut directory, "t", &["c", "d"]);
    let mut cluster = Cluster::new(directory, &[]);
    let (t, c, d) = (topic("t"), channel("c"), channel("d"));
    let expected = [
        Step::CreateTopic(t.clone()),
        Step::CreateChannel(t.clone(), c),
        Step::CreateChannel(t, d),
    ];
    assert_eq!(cluster.steps(), expected);
    cluster.follow();
}

#[test]
fn a_topic_deleted_and_created_between_two_looks_is_deleted_first() {
    let mut cluster = Cluster::new(founded(1), &[]);
    create(&mut cluster.directory, "t", &["c"]);
    cluster.follow();
    delete(&mut cluster.directory, "t");
    create(&mut cluster.directory, "t", &["d"]);
    let t = topic("t");
    let expected = [
        Step::DeleteTopic(t.clone()),
        Step::CreateTopic(t.clone()),
        Step::CreateChannel(t, channel("d")),
    ];
    assert_eq!(cluster.steps(), expected);
    cluster.follow();
}

#[test]
fn a_channel_deleted_and_created_between_two_looks_is_deleted_first() {
    let mut cluster = Cluster::new(founded(1), &[]);
    create(&mut cluster.directory, "t", &["c"]);
    cluster.follow();
    let (t, c) = (topic("t"), channel("c"));
    let gone = Change::DeleteChannel(t.clone(), c.clone());
    index_of(cluster.directory.apply(&gone));
    create(&mut cluster.directory, "t", &["c"]);
    let expected = [
        Step::DeleteChannel(t.clone(), c.clone()),
        Step::CreateChannel(t, c),
    ];
    assert_eq!(cluster.steps(), expected);
    cluster.follow();
}

#[test]
fn a_shard_that_was_away_does_not_bring_a_deleted_name_back() {
    let mut cluster = Cluster::new(founded(1), &[]);
    create(&mut cluster.directory, "t", &["c"]);
    create(&mut cluster.directory, "u", &["c", "d"]);
    cluster.follow();
    delete(&mut cluster.directory, "t");
    let gone = Change::DeleteChannel(topic("u"), channel("c"));
    index_of(cluster.directory.apply(&gone));
    create(&mut cluster.directory, "v", &[]);
    let expected = [
        Step::DeleteTopic(topic("t")),
        Step::DeleteChannel(topic("u"), channel("c")),
        Step::CreateTopic(topic("v")),
    ];
    assert_eq!(cluster.steps(), expected);
    cluster.follow();
}

#[test]
fn the_topics_of_an_old_single_node_are_added_to_the_directory() {
    let mut directory = founded(1);
    create(&mut directory, "known", &["x"]);
    let old: [(&str, &[&str]); 2] = [("t", &["c", "e#ephemeral"]), ("known", &["y"])];
    let mut cluster = Cluster::new(directory, &old);
    let expected = [
        Step::CreateChannel(topic("known"), channel("x")),
        Step::Adopt(topic("known"), vec![channel("y")]),
        Step::Adopt(topic("t"), vec![channel("c")]),
    ];
    assert_eq!(cluster.steps(), expected);
    let ephemeral = channel("e#ephemeral");
    cluster
        .shard
        .get_mut(&topic("t"))
        .unwrap()
        .remove(&ephemeral);
    cluster.follow();
}

#[test]
fn an_old_single_nodes_topic_outlives_a_deletion_from_before_the_node_joined() {
    let mut directory = founded(1);
    create(&mut directory, "t", &[]);
    delete(&mut directory, "t");
    let mut cluster = Cluster::new(directory, &[("t", &["c"])]);
    assert_eq!(
        cluster.steps(),
        [Step::Adopt(topic("t"), vec![channel("c")])]
    );
    // But not one from afterwards.
    create(&mut cluster.directory, "t", &[]);
    delete(&mut cluster.directory, "t");
    assert_eq!(cluster.steps(), [Step::DeleteTopic(topic("t"))]);
    cluster.follow();
}

#[test]
fn an_old_single_nodes_topic_that_the_directory_lists_keeps_its_messages() {
    let mut directory = founded(1);
    create(&mut directory, "t", &[]);
    delete(&mut directory, "t");
    create(&mut directory, "t", &["c"]);
    let mut cluster = Cluster::new(directory, &[("t", &["c"])]);
    assert_eq!(cluster.steps(), []);
    cluster.follow();
}

#[test]
fn ephemeral_topics_are_left_alone() {
    let cluster = Cluster::new(founded(1), &[("t#ephemeral", &["c"])]);
    assert_eq!(cluster.steps(), []);
}

#[test]
fn a_name_that_was_created_in_the_shard_after_its_deletion_was_followed_is_deleted() {
    let mut cluster = Cluster::new(founded(1), &[]);
    create(&mut cluster.directory, "t", &[]);
    delete(&mut cluster.directory, "t");
    cluster.follow();
    cluster.shard.insert(topic("t"), BTreeSet::new());
    assert_eq!(cluster.steps(), [Step::DeleteTopic(topic("t"))]);
}

#[test]
fn deletions_that_the_directory_has_forgotten_are_followed_nevertheless() {
    let mut cluster = Cluster::new(founded(1), &[]);
    for name in ["gone", "again", "kept"] {
        create(&mut cluster.directory, name, &["c"]);
    }
    cluster.follow();
    delete(&mut cluster.directory, "gone");
    delete(&mut cluster.directory, "again");
    create(&mut cluster.directory, "again", &[]);
    for number in 0..super::super::tombstones::MAX_TOMBSTONES {
        let name = format!("x{number}");
        create(&mut cluster.directory, &name, &[]);
        delete(&mut cluster.directory, &name);
    }
    assert_eq!(cluster.directory.topic_deleted_at(&topic("gone")), None);
    assert_eq!(cluster.directory.topic_deleted_at(&topic("again")), None);
    let expected = [
        Step::DeleteTopic(topic("again")),
        Step::DeleteTopic(topic("gone")),
        Step::CreateTopic(topic("again")),
    ];
    assert_eq!(cluster.steps(), expected);
    cluster.follow();
    // A shard that has just been added has nothing to follow: what it has is its own.
    let fresh = ShardTopics::from([(topic("old"), BTreeSet::new())]);
    index_of(cluster.directory.apply(&Change::SetOwner {
        shard: 1,
        owner: None,
    }));
    let owner = NodeId(1);
    cluster.directory.apply(&Change::CreateShard { owner });
    let steps = registry_steps(&cluster.directory, 2, &fresh, 0);
    assert!(
        steps.contains(&Step::Adopt(topic("old"), Vec::new())),
        "{steps:?}"
    );
}

#[test]
fn a_directory_that_is_behind_the_shard_or_does_not_list_it_takes_no_step() {
    let mut cluster = Cluster::new(founded(1), &[]);
    let behind = cluster.directory.clone();
    create(&mut cluster.directory, "t", &[]);
    cluster.follow();
    let steps = registry_steps(&behind, 1, &cluster.shard, cluster.registry_index);
    assert_eq!(steps, []);
    let steps = registry_steps(&cluster.directory, 2, &cluster.shard, 0);
    assert_eq!(steps, []);
}

proptest! {
    #[test]
    fn whatever_happened_a_shard_that_follows_has_what_the_directory_lists(
        changes in prop::collection::vec(prop_oneof![4 => change().prop_map(Some), 1 => Just(None)], 0..60),
    ) {
        let mut cluster = Cluster::new(founded(1), &[("t", &["c"]), ("old", &["d"])]);
        for change in changes {
            match change {
                Some(change) if change.is_about_topics() => drop(cluster.directory.apply(&change)),
                Some(_) => {}
                None => cluster.follow(),
            }
        }
        cluster.follow();
    }
}
