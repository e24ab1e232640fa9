//! Topics and channels made in a cluster that is only said to exist.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use nsq_daemon::metrics::Exposition;

use super::*;
use crate::cluster::report::Report;
use crate::cluster_ops::{Answer, Catalogue, ClusterOps, Leading, RemoveError, Removed};
use crate::run::core_settings;
use crate::settings::Settings;
use crate::sync_runner::SyncRunner;
use crate::upkeep::Upkeep;

/// A cluster that has what it was asked for.
#[derive(Default)]
struct Asked {
    topics: Mutex<BTreeMap<TopicName, Vec<ChannelName>>>,
    requests: Mutex<Vec<String>>,
    /// What it answers from now on.
    refusal: Mutex<Option<ClusterError>>,
}

impl Asked {
    fn add(&self, topic: &TopicName, channels: &[ChannelName]) -> Answer<'static> {
        let names: Vec<_> = channels.iter().map(ChannelName::as_str).collect();
        let request = format!("{topic}: {}", names.join(" "));
        self.requests.lock().unwrap().push(request);
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(refusal) = refusal.clone() {
            return async { Err(refusal) }.boxed();
        }
        let mut topics = self.topics.lock().unwrap();
        let known = topics.entry(topic.clone()).or_default();
        known.extend_from_slice(channels);
        async { Ok(()) }.boxed()
    }
}

impl ClusterOps for Asked {
    fn create_topic<'a>(&'a self, topic: &'a TopicName, channels: &'a [ChannelName]) -> Answer<'a> {
        self.add(topic, channels)
    }

    fn create_channel<'a>(&'a self, topic: &'a TopicName, channel: &'a ChannelName) -> Answer<'a> {
        self.add(topic, std::slice::from_ref(channel))
    }

    fn delete_topic<'a>(&'a self, _: &'a TopicName) -> Answer<'a> {
        unreachable!("nothing is deleted here")
    }

    fn delete_channel<'a>(&'a self, _: &'a TopicName, _: &'a ChannelName) -> Answer<'a> {
        unreachable!("nothing is deleted here")
    }

    fn pause_topic<'a>(&'a self, _: &'a TopicName, _: bool) -> Answer<'a> {
        unreachable!("nothing is paused here")
    }

    fn pause_channel<'a>(&'a self, _: &'a TopicName, _: &'a ChannelName, _: bool) -> Answer<'a> {
        unreachable!("nothing is paused here")
    }

    fn empty_topic<'a>(&'a self, _: &'a TopicName) -> Answer<'a> {
        unreachable!("nothing is emptied here")
    }

    fn empty_channel<'a>(&'a self, _: &'a TopicName, _: &'a ChannelName) -> Answer<'a> {
        unreachable!("nothing is emptied here")
    }

    fn write_metrics(&self, _: &mut Exposition) {}

    fn report(&self) -> Report {
        unreachable!("nothing is reported here")
    }

    fn step_down(&self) -> BoxFuture<'_, Leading> {
        unreachable!("topics do not ask for this")
    }

    fn resume(&self) -> Leading {
        unreachable!("topics do not ask for this")
    }

    fn remove_member<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Removed, RemoveError>> {
        unreachable!("no one is removed here")
    }
}

impl Catalogue for Asked {
    fn topics(&self) -> Vec<(TopicName, Vec<ChannelName>)> {
        self.topics.lock().unwrap().clone().into_iter().collect()
    }

    fn has(&self, topic: &TopicName, channel: Option<&ChannelName>) -> bool {
        let topics = self.topics.lock().unwrap();
        let channels = topics.get(topic);
        channels.is_some_and(|channels| channel.is_none_or(|name| channels.contains(name)))
    }

    fn topic_count(&self) -> usize {
        self.topics.lock().unwrap().len()
    }

    fn channel_count(&self, topic: &TopicName) -> usize {
        self.topics.lock().unwrap().get(topic).map_or(0, Vec::len)
    }
}

struct Node {
    topics: TopicMaker,
    asked: Arc<Asked>,
    local: Arc<Broker>,
}

impl Node {
    fn new(args: &[&str]) -> Node {
        let settings = Settings::load(args.iter().map(OsString::from)).unwrap();
        let admission = Arc::new(Admission::new(&settings));
        admission.begin();
        let registration = Arc::new(Registration::default());
        let upkeep = Upkeep::new(
            Arc::clone(&admission),
            Arc::clone(&registration),
            Arc::new(SyncRunner::default()),
            settings.sync_timeout,
        );
        let hooks = upkeep.hooks();
        let core = core_settings(&settings, "/nowhere".into());
        let local = Arc::new(Broker::in_memory(core, hooks));
        let asked = Arc::new(Asked::default());
        let cluster = Cluster {
            ops: Arc::clone(&asked) as _,
            catalogue: Arc::clone(&asked) as _,
        };
        let topics = TopicMaker::new(
            Arc::clone(&local),
            Some(cluster),
            admission,
            registration,
            Handle::current(),
        );
        Node {
            topics,
            asked,
            local,
        }
    }

    async fn make(&self, topic: &str, channel: Option<&str>) -> Result<(), String> {
        let topic = TopicName::parse(topic).unwrap();
        let channel = channel.map(|name| ChannelName::parse(name).unwrap());
        let made = self.topics.make(&topic, channel.as_ref()).await;
        made.map_err(|error| error.to_string())
    }

    async fn make_channel(&self, topic: &str, channel: &str) -> Result<(), String> {
        let cluster = self.topics.cluster.as_ref().unwrap();
        let topic = TopicName::parse(topic).unwrap();
        let channel = ChannelName::parse(channel).unwrap();
        let made = self
            .topics
            .make_channel_everywhere(cluster, &topic, &channel);
        made.await.map_err(|error| error.to_string())
    }

    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.requests.lock().unwrap())
    }
}

#[tokio::test]
async fn durable_topics_are_made_in_the_cluster_and_ephemeral_ones_here() {
    let node = Node::new(&[]);
    node.make("t", None).await.unwrap();
    node.make("u", Some("c")).await.unwrap();
    node.make("e#ephemeral", None).await.unwrap();
    assert_eq!(node.requests(), ["t: ", "u: c"]);
    assert!(node.local.topic("e#ephemeral").is_some());
    assert!(node.local.topic("t").is_none());
}

#[tokio::test]
async fn the_cluster_is_asked_only_for_what_it_lacks() {
    let node = Node::new(&[]);
    node.make("t", Some("c")).await.unwrap();
    node.make("t", None).await.unwrap();
    node.make("t", Some("c")).await.unwrap();
    assert_eq!(node.requests(), ["t: c"]);
    node.make("t", Some("d")).await.unwrap();
    assert_eq!(node.requests(), ["t: d"]);
}

#[tokio::test]
async fn limits_count_what_exists_in_the_cluster() {
    let node = Node::new(&["--max-topics=2", "--max-channels=1"]);
    node.make("t", Some("c")).await.unwrap();
    node.make("u", None).await.unwrap();
    let too_many = "no more than 2 topics (--max-topics)";
    assert_eq!(node.make("v", None).await, Err(too_many.to_owned()));
    assert_eq!(node.make("u", None).await, Ok(()));
    let too_many = Err("no more than 1 channels of a topic (--max-channels)".to_owned());
    assert_eq!(node.make("t", Some("d")).await, too_many);
    assert_eq!(node.make_channel("t", "d").await, too_many);
    assert_eq!(node.make_channel("t", "c").await, Ok(()));
    assert_eq!(node.make_channel("u", "c").await, Ok(()));
}

#[tokio::test]
async fn a_session_learns_why_the_cluster_did_not_make_a_topic() {
    let node = Node::new(&[]);
    let refuse = |refusal| *node.asked.refusal.lock().unwrap() = Some(refusal);
    let topic = TopicName::parse("t").unwrap();
    refuse(ClusterError::Unavailable("no majority".to_owned()));
    let error = node.topics.make(&topic, None).await.unwrap_err();
    assert!(matches!(StoreError::from(error), StoreError::Refused(why) if why == "no majority"));
    refuse(ClusterError::Exiting);
    let error = node.topics.make(&topic, None).await.unwrap_err();
    assert!(matches!(StoreError::from(error), StoreError::Exiting));
}
