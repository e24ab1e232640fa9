//! Three replicas of a shard as nsqd will run them: real groups, real logs, threads for their disks, over a network that is a
//! function call. Publishers and a consumer work while leaders change and replicas come and go.

mod clients;
mod replica;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nsq_cluster::NodeId;
use nsq_cluster::group::Role;
use nsq_core::command::Command;
use nsq_protocol::{ChannelName, TopicName};

use self::clients::Clients;
use self::replica::{Replica, Up, member, now, start};
use crate::Shard;
use crate::simulation::Dice;
use crate::simulation::node::{Contents, options_in};

async fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..1200 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what} did not come to be");
}

struct Cluster {
    folder: tempfile::TempDir,
    up: Up,
    replicas: BTreeMap<NodeId, Replica>,
    clients: Arc<Clients>,
}

impl Cluster {
    async fn start(&mut self, node: NodeId) {
        let root = self.folder.path().join(node.to_string());
        let replica = start(&self.up, node, &root).await;
        let shard = Arc::clone(&replica.shard);
        self.clients.shards.lock().unwrap().insert(node, shard);
        self.replicas.insert(node, replica);
    }

    async fn stop(&mut self, node: NodeId) {
        self.up.lock().unwrap().remove(&node);
        self.clients.shards.lock().unwrap().remove(&node);
        self.replicas.remove(&node).unwrap().stop().await;
    }

    /// The node that leads and has its broker open.
    async fn leader(&self) -> NodeId {
        let leads = |replica: &Replica| {
            let standing = replica.group.standing();
            let standing = standing.borrow();
            standing.role == Role::Leader && replica.shard.led_term() == Some(standing.term)
        };
        wait_for("a leader", || self.replicas.values().any(leads)).await;
        let leader = self.replicas.iter().find(|(_, replica)| leads(replica));
        let Some((node, _)) = leader else {
            return Box::pin(self.leader()).await;
        };
        *node
    }

    async fn hand_over(&self, to: NodeId) {
        let from = self.leader().await;
        let _ = self.replicas[&from].group.transfer_to(to).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        self.leader().await;
    }

    async fn restart(&mut self, node: NodeId) {
        self.stop(node).await;
        self.leader().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.start(node).await;
    }

    /// A node that lost its disk comes back as another one.
    async fn replace(&mut self, old: NodeId, new: NodeId) {
        self.stop(old).await;
        self.start(new).await;
        let voters: BTreeSet<_> = self.replicas.keys().copied().collect();
        for _ in 0..100 {
            let leader = self.leader().await;
            let group = self.replicas[&leader].group.clone();
            if group.add_learner(new, member(new)).await.is_ok()
                && group.set_voters(voters.clone()).await.is_ok()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("node {new} does not become a voter");
    }
}

/// Three replicas with a leader, a topic and a channel.
async fn found() -> Cluster {
    let mut cluster = Cluster {
        folder: tempfile::tempdir().unwrap(),
        up: Up::default(),
        replicas: BTreeMap::new(),
        clients: Arc::default(),
    };
    let nodes: Vec<_> = (1..=3).map(NodeId).collect();
    for node in &nodes {
        cluster.start(*node).await;
    }
    let members: BTreeMap<_, _> = nodes.iter().map(|node| (*node, member(*node))).collect();
    for replica in cluster.replicas.values() {
        // A member that was quicker may have asked this one for its vote already.
        let _ = replica.group.initialize(members.clone()).await;
    }
    cluster.leader().await;
    let (topic, channel) = (
        TopicName::try_from("t").unwrap(),
        ChannelName::try_from("c").unwrap(),
    );
    let create = [
        Command::CreateTopic(&topic),
        Command::CreateChannel(&topic, &channel),
    ];
    for command in &create {
        let submit = |shard: &Shard, pending: &_| shard.submit(command, pending);
        cluster.clients.insist(submit).await;
    }
    let followed = |shard: &Shard, pending: &_| shard.submit_followed(12, pending);
    cluster.clients.insist(followed).await;
    cluster
}

async fn run(seed: u64) {
    let mut dice = Dice(seed);
    let mut cluster = found().await;
    let clients = Arc::clone(&cluster.clients);
    let publishers = (0..3).map(|number| tokio::spawn(Arc::clone(&clients).publish(number)));
    let mut tasks: Vec<_> = publishers.collect();
    tasks.push(tokio::spawn(Arc::clone(&clients).consume()));

    for round in 0..4 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let up: Vec<_> = cluster.replicas.keys().copied().collect();
        let node = up[dice.below(up.len())];
        match round {
            1 => cluster.replace(node, NodeId(4)).await,
            2 => cluster.restart(cluster.leader().await).await,
            _ if dice.below(2) == 0 => cluster.hand_over(node).await,
            _ => cluster.restart(node).await,
        }
        cluster.leader().await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    clients.is_over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    clients.insist(Shard::flush_progress).await;
    check(cluster, &clients).await;
}

/// All replicas have the same, and whatever was acknowledged and not finished.
async fn check(cluster: Cluster, clients: &Clients) {
    let last = || {
        let metrics = cluster
            .replicas
            .values()
            .map(|replica| replica.group.metrics());
        metrics.map(|metrics| metrics.last).max().unwrap()
    };
    wait_for("agreement", || {
        let mut replicas = cluster.replicas.values();
        replicas.all(|replica| replica.shard.figures().applied == last())
    })
    .await;
    let mut found = Vec::new();
    for (node, replica) in cluster.replicas {
        assert_eq!(replica.shard.registry_index(), 12);
        replica.stop().await;
        let path = options_in(&cluster.folder.path().join(node.to_string()), 1).data_path;
        found.push(Contents::of(&path).channels["t"]["c"].clone());
    }
    let finished = clients.finished.lock().unwrap();
    let acknowledged = clients.acknowledged.lock().unwrap();
    assert!(acknowledged.len() > 100, "{} messages", acknowledged.len());
    let left: BTreeSet<_> = acknowledged.difference(&finished).collect();
    for contents in &found {
        let lost: Vec<_> = left
            .iter()
            .filter(|body| !contents.contains(**body))
            .collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
        // A leader that was stopped may know more to be finished than the others.
        let differ = contents.symmetric_difference(&found[0]);
        let differ: Vec<_> = differ.filter(|body| !finished.contains(*body)).collect();
        assert!(differ.is_empty(), "the replicas differ: {differ:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_agree_while_leaders_change_and_replicas_come_and_go() {
    let seeds = std::env::var("GROUP_SEEDS")
        .ok()
        .and_then(|seeds| seeds.parse().ok());
    for seed in 1..=seeds.unwrap_or(1) {
        eprintln!("seed {seed}");
        run(seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishes_without_a_majority_fail_in_time_and_work_again_once_there_is_one() {
    let cluster = found().await;
    let leader = cluster.leader().await;
    let others: BTreeMap<_, _> = {
        let mut up = cluster.up.lock().unwrap();
        up.extract_if(.., |node, _| *node != leader).collect()
    };
    let topic = TopicName::try_from("t").unwrap();
    let publish = |shard: &Shard, pending: &_| {
        let mut bodies = [&b"body"[..]].into_iter();
        shard.publish(&topic, &mut bodies, None, now(), pending)
    };
    let begun = std::time::Instant::now();
    let many = (0..10).map(|_| cluster.clients.ask(publish));
    for outcome in futures_util::future::join_all(many).await {
        let why = outcome.unwrap_err();
        let is_clear =
            why.contains("a majority of the replicas of shard 7") && why.contains("stored");
        assert!(is_clear, "{why}");
    }
    // The time-out is five seconds; the machine may be slow.
    assert!(begun.elapsed() < Duration::from_secs(20));
    cluster.up.lock().unwrap().extend(others);
    cluster.clients.insist(publish).await;
    for (_, replica) in cluster.replicas {
        replica.stop().await;
    }
}
