//! A shard follows the directory, with a fake shard and a directory that the test changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use nsq_cluster::directory::{MemberInfo, ShardTopics};
use nsq_cluster::{ClusterId, NodeId};
use nsq_core::{Broker, Now, Pending};
use tokio::sync::watch;

use super::*;
use crate::cluster::directory_client::Changing;

const SHARD: u64 = 1;

fn topic(name: &str) -> TopicName {
    TopicName::parse(name).unwrap()
}

fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

/// A shard that does at once what is submitted.
#[derive(Debug, Default)]
struct FakeShard {
    topics: Mutex<ShardTopics>,
    registry_index: AtomicU64,
    /// What was submitted, in words.
    log: Mutex<Vec<String>>,
    is_following: Mutex<bool>,
    /// Which topics were asked for.
    looks: Mutex<Vec<String>>,
}

impl FakeShard {
    fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }

    fn has(&self, name: &str) -> bool {
        self.topics.lock().unwrap().contains_key(&topic(name))
    }
}

impl LocalShard for FakeShard {
    fn publish(
        &self,
        _: &TopicName,
        _: &mut dyn ExactSizeIterator<Item = &[u8]>,
        _: Option<i64>,
        _: Now,
        _: &Arc<Pending>,
    ) -> Result<(), Refusal> {
        Err(Refusal::NotLeading)
    }

    fn submit(&self, command: Command<'_>, pending: &Arc<Pending>) -> Result<(), Refusal> {
        if *self.is_following.lock().unwrap() {
            return Err(Refusal::NotLeading);
        }
        let mut topics = self.topics.lock().unwrap();
        let text = match command {
            Command::CreateTopic(topic) => {
                topics.entry(topic.clone()).or_default();
                format!("create {topic}")
            }
            Command::DeleteTopic(topic) => {
                topics.remove(topic);
                format!("delete {topic}")
            }
            Command::CreateChannel(topic, channel) => {
                topics.get_mut(topic).unwrap().insert(channel.clone());
                format!("create {topic}/{channel}")
            }
            Command::DeleteChannel(topic, channel) => {
                topics.get_mut(topic).unwrap().remove(channel);
                format!("delete {topic}/{channel}")
            }
            other => panic!("{other:?}"),
        };
        drop(topics);
        self.log.lock().unwrap().push(text);
        pending.settle(Ok(()));
        Ok(())
    }

    fn submit_followed(&self, index: u64, pending: &Arc<Pending>) -> Result<(), Refusal> {
        self.registry_index.store(index, Ordering::Relaxed);
        pending.settle(Ok(()));
        Ok(())
    }

    fn flush_progress(&self, _: &Arc<Pending>) -> Result<(), Refusal> {
        Err(Refusal::NotLeading)
    }

    fn registry_index(&self) -> u64 {
        self.registry_index.load(Ordering::Relaxed)
    }

    fn topics(&self, names: Option<&BTreeSet<TopicName>>) -> ShardTopics {
        let looked_at = names.map_or_else(|| "all".to_owned(), |names| format!("{names:?}"));
        self.looks.lock().unwrap().push(looked_at);
        let mut topics = self.topics.lock().unwrap().clone();
        topics.retain(|name, _| names.is_none_or(|names| names.contains(name)));
        topics
    }

    fn broker(&self) -> Option<Arc<Broker>> {
        None
    }
}

/// A directory whose changes are made at once.
struct FakeDirectory(watch::Sender<Arc<Directory>>);

impl FakeDirectory {
    /// One member, which owns the shard.
    fn new() -> FakeDirectory {
        let directory = FakeDirectory(watch::Sender::new(Arc::default()));
        let info = MemberInfo {
            address: "n:4152".to_owned(),
            broadcast_address: "n".to_owned(),
            tcp_port: 4150,
            http_port: 4151,
            version: "1.3.0".to_owned(),
            entry_format: 1,
            joined: 0,
        };
        let members = BTreeMap::from([(NodeId(1), info)]);
        let cluster = ClusterId(1);
        directory.apply(&Change::Found { cluster, members });
        directory.apply(&Change::CreateShard { owner: NodeId(1) });
        directory
    }

    fn apply(&self, change: &Change) -> Outcome {
        let mut outcome = None;
        self.0.send_modify(|directory| {
            outcome = Some(Arc::make_mut(directory).apply(change));
        });
        outcome.unwrap()
    }

    fn create(&self, name: &str, channels: &[&str]) {
        let channels = channels.iter().map(|name| channel(name)).collect();
        self.apply(&Change::CreateTopic {
            topic: topic(name),
            channels,
        });
    }

    fn index(&self) -> u64 {
        self.0.borrow().index
    }
}

impl Changes for FakeDirectory {
    fn change<'a>(&'a self, change: &'a Change, _: bool) -> Changing<'a> {
        Box::pin(async move { Ok(self.apply(change)) })
    }
}

struct Following {
    shard: Arc<FakeShard>,
    directory: Arc<FakeDirectory>,
    task: tokio::task::JoinHandle<()>,
}

impl Following {
    fn start(shard: FakeShard, directory: FakeDirectory) -> Following {
        let (shard, directory) = (Arc::new(shard), Arc::new(directory));
        let (followed_shard, client) = (Arc::clone(&shard), Arc::clone(&directory));
        let receiver = directory.0.subscribe();
        let task = tokio::spawn(async move {
            let shard = followed_shard as Arc<dyn LocalShard>;
            follow(SHARD, shard, receiver, &*client, || {}).await;
        });
        Following {
            shard,
            directory,
            task,
        }
    }

    /// Waits until the shard has followed everything.
    async fn reached(&self) {
        let waiting = async {
            while self.shard.registry_index() != self.directory.index() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(10), waiting).await;
        waited.unwrap();
    }
}

#[tokio::test]
async fn a_shard_gets_and_loses_what_the_directory_creates_and_deletes() {
    let directory = FakeDirectory::new();
    directory.create("a", &["c"]);
    let following = Following::start(FakeShard::default(), directory);
    following.reached().await;
    assert_eq!(following.shard.take_log(), ["create a", "create a/c"]);
    let directory = &following.directory;
    directory.create("b", &[]);
    directory.apply(&Change::DeleteChannel(topic("a"), channel("c")));
    following.reached().await;
    let mut log = following.shard.take_log();
    log.sort();
    assert_eq!(log, ["create b", "delete a/c"]);
    directory.apply(&Change::DeleteTopic(topic("a")));
    following.reached().await;
    assert_eq!(following.shard.take_log(), ["delete a"]);
    // After the first look, only what has changed is looked at.
    let looks = following.shard.looks.lock().unwrap().clone();
    assert_eq!(looks[0], "all");
    assert!(looks[1..].iter().all(|look| look != "all"), "{looks:?}");
    following.task.abort();
}

#[tokio::test]
async fn a_topic_deleted_and_created_again_is_deleted_in_the_shard_first() {
    let directory = FakeDirectory::new();
    directory.create("a", &[]);
    let following = Following::start(FakeShard::default(), directory);
    following.reached().await;
    following.shard.take_log();
    // In one step, as a node sees it that was away meanwhile.
    following.directory.0.send_modify(|directory| {
        let directory = Arc::make_mut(directory);
        directory.apply(&Change::DeleteTopic(topic("a")));
        directory.apply(&Change::CreateTopic {
            topic: topic("a"),
            channels: Vec::new(),
        });
    });
    following.reached().await;
    assert_eq!(following.shard.take_log(), ["delete a", "create a"]);
    following.task.abort();
}

#[tokio::test]
async fn topics_from_the_time_of_a_single_node_are_added_to_the_directory() {
    let shard = FakeShard::default();
    let channels = [channel("c")].into();
    shard.topics.lock().unwrap().insert(topic("old"), channels);
    let following = Following::start(shard, FakeDirectory::new());
    following.reached().await;
    let directory = Arc::clone(&following.directory.0.borrow());
    let entry = directory.topics.topic(&topic("old")).unwrap();
    assert_eq!(entry.channels.keys().collect::<Vec<_>>(), [&channel("c")]);
    assert!(following.shard.has("old"));
    assert_eq!(following.shard.take_log(), [""; 0]);
    following.task.abort();
}

#[tokio::test]
async fn a_shard_that_the_directory_does_not_list_yet_follows_nothing() {
    let directory = FakeDirectory(watch::Sender::new(Arc::default()));
    let following = Following::start(FakeShard::default(), directory);
    let founded = FakeDirectory::new();
    tokio::task::yield_now().await;
    assert_eq!(following.shard.registry_index(), 0);
    following
        .directory
        .0
        .send_replace(Arc::clone(&founded.0.borrow()));
    following.reached().await;
    following.task.abort();
}

#[tokio::test]
async fn following_ends_when_the_node_no_longer_leads() {
    let shard = FakeShard::default();
    *shard.is_following.lock().unwrap() = true;
    let directory = FakeDirectory::new();
    directory.create("a", &[]);
    let following = Following::start(shard, directory);
    let ended = tokio::time::timeout(Duration::from_secs(10), following.task).await;
    ended.unwrap().unwrap();
    assert_eq!(following.shard.registry_index(), 0);
}
