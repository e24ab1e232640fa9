//! Leading a shard: from the election to serving its messages, and back.
//!
//! ```text
//! elected ─▶ confirmed ─▶ Shard::lead ─▶ follows the directory ─▶ served: consumers get its messages, publishes are taken
//!    ▲                                                                │
//!    └── Shard::follow ◀── handed over, outvoted, or cut off from the majority for 2 s
//! ```
//! One task for each replica does all of it, one thing after the other.

pub(super) mod hand_over;
pub(super) mod repair;
mod target;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nsq_cluster::directory::Change;
use nsq_cluster::group::{Group, Role, Standing};
use nsq_cluster::in_step;
use nsq_core::Broker;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::hand_over::{GivingBack, Trouble};
use self::repair::Repair;
use self::target::Director;
use super::node::{Node, Phase, Surroundings};
use super::replica::ShardReplica;
use super::this_node::ThisNode;
use crate::upkeep::BrokerTasks;

/// Runs for as long as this node has the replica.
pub(super) async fn run(node: Arc<Node>, replica: Arc<ShardReplica>) {
    let _ended = replica.note_end();
    let mut standing = replica.group.standing();
    let mut phase = node.phase();
    let mut stepped_down = node.stepped_down();
    let mut dismissed = replica.dismissed.subscribe();
    let mut directory = node.directory();
    let mut director = Director::new(&replica);
    let mut giving_back = GivingBack::default();
    let mut served: Option<Served> = None;
    let mut retry_at = Instant::now();
    let mut drained_at = Instant::now();
    let mut failures = 0;
    let mut repair = Repair::default();
    let mut trouble = Trouble::default();
    loop {
        let now = standing.borrow_and_update().clone();
        if let Some(failure) = &now.failure {
            node.fail(&format!(
                "shard {}: the replica cannot continue: {failure}",
                replica.number
            ));
        }
        let is_over = now.role == Role::Stopped || *dismissed.borrow() || node.is(Phase::Stopping);
        let leads = !is_over && now.role == Role::Leader && hears_majority(&replica.group);
        if served
            .as_ref()
            .is_some_and(|served| !leads || served.term != now.term)
        {
            end(&node, &replica, served.take(), &now).await;
        }
        if is_over {
            director.update(&node, &replica, None);
            return;
        }
        if leads && served.is_none() && node.is(Phase::Running) && Instant::now() >= retry_at {
            // Better led by this node than by none.
            if let Some(to) = hand_over::successor_if_unwanted(&node, &replica)
                && hand_over::is_there(&replica, to).await
            {
                hand_over::run(&node, &replica, to).await;
            } else {
                match begin(&node, &replica, now.term).await {
                    Begun::Serves(serving) => {
                        served = Some(serving);
                        failures = 0;
                    }
                    Begun::NotConfirmed => {}
                    Begun::Unable => failures += 1,
                }
                if failures >= MOST_FAILURES {
                    hand_over::pass_on(&node, &replica).await;
                    failures = 0;
                }
            }
            retry_at = Instant::now() + RETRY;
        }
        repair.look(&node, &replica).await;
        if served.is_some()
            && let Some(why) = trouble.lasting(&replica.group).await
        {
            replica.note_unable(why.to_string());
            hand_over::pass_on(&node, &replica).await;
            continue;
        }
        if let Some(serving) = &served {
            note_voters(&node, &replica, &now);
            if drained_at.elapsed() >= DRAINED && replica.group.metrics().majority_heard.is_some() {
                drained_at = Instant::now();
                retire_if_drained(&node, &replica, &serving.broker).await;
            }
            if let Some(to) = giving_back.due(&node, &replica, serving).await
                && hand_over::is_there(&replica, to).await
            {
                director.pause(&node, &replica);
                hand_over::run(&node, &replica, to).await;
                director.update(&node, &replica, None);
                let after = replica.group.standing().borrow().clone();
                end(&node, &replica, served.take(), &after).await;
                continue;
            }
        }
        director.update(&node, &replica, served.as_ref());
        tokio::select! {
            changed = standing.changed() => if changed.is_err() { return },
            _ = phase.changed() => {}
            _ = stepped_down.changed() => {}
            _ = dismissed.changed() => {}
            _ = directory.changed() => {}
            () = in_step::pause(LOOK) => {}
        }
    }
}

/// What runs while this node serves a shard.
pub(super) struct Served {
    term: u64,
    broker: Arc<Broker>,
    /// Set once it is over: nothing is added to the table of served shards any more.
    is_over: Arc<Mutex<bool>>,
    tasks: BrokerTasks,
    registry: JoinHandle<()>,
}

/// Whether a leader has heard from a majority within [`MAX_SILENCE`]. One that was just elected has, by its votes.
fn hears_majority(group: &Group) -> bool {
    let heard = group.metrics().majority_heard;
    heard.is_none_or(|ago| ago <= MAX_SILENCE)
}

/// The result of an attempt to serve a shard.
enum Begun {
    Serves(Served),
    /// This node may not lead it any more.
    NotConfirmed,
    /// It leads, and its files cannot be opened.
    Unable,
}

/// Begins to serve the shard, if this node really leads it.
async fn begin(node: &Arc<Node>, replica: &Arc<ShardReplica>, term: u64) -> Begun {
    let confirmed = tokio::time::timeout(CONFIRMATION, replica.group.confirm_leadership());
    if !matches!(confirmed.await, Ok(Ok(()))) {
        return Begun::NotConfirmed;
    }
    let number = replica.number;
    let begun = Instant::now();
    let broker = match replica.on_lane(move |shard| shard.lead(term)).await {
        Some(Ok(broker)) => broker,
        Some(Err(error)) => {
            tracing::error!("cluster: shard {number} cannot be served: {error}");
            replica.note_unable(error.to_string());
            return Begun::Unable;
        }
        None => return Begun::NotConfirmed,
    };
    replica.note_able();
    let took = begun.elapsed().as_millis();
    tracing::info!(
        "cluster: shard {number}: this node opened it in {took} ms as its leader in term {term}"
    );
    replica.set_handing_over(false);
    let around = node.around();
    let tasks = {
        let _runtime = around.runtime.enter();
        around.upkeep.start(&around.server, &broker, &replica.hooks)
    };
    let is_over = Arc::new(Mutex::new(false));
    let followed = {
        let (node, broker) = (Arc::clone(node), Arc::clone(&broker));
        let is_over = Arc::clone(&is_over);
        let is_first = Mutex::new(true);
        move || {
            let is_over = is_over.lock().unwrap_or_else(PoisonError::into_inner);
            if *is_over {
                return;
            }
            let mut is_first = is_first.lock().unwrap_or_else(PoisonError::into_inner);
            if std::mem::take(&mut *is_first) {
                node.around()
                    .server
                    .shards()
                    .add(number, Arc::clone(&broker));
                tracing::info!("cluster: shard {number}: this node serves it");
            }
        }
    };
    let registry = {
        let (node, shard) = (Arc::clone(node), Arc::clone(replica));
        // Not among those that keep elections alive: it may have to wait for a disk.
        around.runtime.spawn(async move {
            let Surroundings {
                control, server, ..
            } = node.around();
            control
                .follow(number, shard, server.shards(), followed)
                .await;
        })
    };
    // It ends by itself once leadership is over.
    let pump = Arc::clone(&replica.shard).pump(replica.group.clone());
    drop(node.raft.spawn(pump));
    let repeating = Arc::clone(&replica.shard).repeat_progress(node.platform.blocking());
    // It may have to wait for a disk.
    drop(around.runtime.spawn(repeating));
    Begun::Serves(Served {
        term,
        broker,
        is_over,
        tasks,
        registry,
    })
}

/// Serves the shard no longer.
async fn end(node: &Node, replica: &ShardReplica, served: Option<Served>, now: &Standing) {
    let Some(served) = served else { return };
    let number = replica.number;
    *served
        .is_over
        .lock()
        .unwrap_or_else(PoisonError::into_inner) = true;
    served.registry.abort();
    node.around().server.shards().remove(number);
    match now.leader.filter(|leader| *leader != node.me()) {
        Some(leader) => {
            let leader = node.name(leader);
            tracing::info!(
                "cluster: shard {number}: this node no longer serves it, {leader} leads"
            );
        }
        None if now.role == Role::Leader => tracing::warn!(
            "cluster: shard {number}: this node no longer serves it, since it does not hear from a majority of the replicas"
        ),
        None => tracing::info!("cluster: shard {number}: this node no longer serves it"),
    }
    let tasks = served.tasks;
    let followed = replica.on_lane(move |shard| {
        tasks.end();
        shard.follow()
    });
    if let Some(Err(error)) = followed.await {
        // The state machine tries again when the next entry is applied.
        tracing::error!("cluster: shard {number}: its broker could not be closed: {error}");
    }
    replica.set_handing_over(false);
}

/// Lets publishes in once as many replicas vote as make a publish as safe as it is meant to be. A shard that has taken publishes
/// continues when it gets more replicas: it stays as safe as it was.
fn note_voters(node: &Node, replica: &ShardReplica, now: &Standing) {
    if replica.has_enough_voters() {
        return;
    }
    let directory = node.newest_directory();
    let Some(about) = directory.shards.get(&replica.number) else {
        return;
    };
    let wanted = node
        .cluster
        .replicas
        .min(directory.members.len())
        .max(about.replicas.len());
    let voters = now
        .members
        .voters
        .iter()
        .map(std::collections::BTreeSet::len)
        .min();
    let voters = voters.unwrap_or(0);
    if voters / 2 >= wanted / 2 {
        replica.note_enough_voters();
        tracing::info!(
            "cluster: shard {}: {voters} replicas of {wanted} vote, publishes are taken",
            replica.number
        );
    }
}

/// Gives the shard up if its owner was removed and all of its messages are finished.
async fn retire_if_drained(node: &Node, replica: &ShardReplica, broker: &Arc<Broker>) {
    let number = replica.number;
    let directory = node.newest_directory();
    let has_owner = directory
        .shards
        .get(&number)
        .is_none_or(|about| about.owner.is_some());
    if has_owner || !is_drained(node, Arc::clone(broker)).await {
        return;
    }
    let client = node.around().control.directory_client();
    match client.change(&Change::RetireShard(number), true).await {
        Ok(_) => tracing::info!(
            "cluster: shard {number}: its owner was removed and its messages are finished, so it is given up"
        ),
        Err(error) => tracing::warn!("cluster: shard {number} cannot be given up yet: {error}"),
    }
}

/// Whether all messages of durable topics are finished. The locks for that may have to wait for a disk.
async fn is_drained(node: &Node, broker: Arc<Broker>) -> bool {
    let counting = node.blocking(move || {
        let topics = broker.topics();
        let mut durable = topics.iter().filter(|topic| !topic.name().is_ephemeral());
        durable.all(|topic| topic.remaining().total() == 0)
    });
    counting.await.unwrap_or(false)
}

/// Between two looks at what no one reports.
const LOOK: Duration = Duration::from_millis(200);
/// After a failed try to serve a shard.
const RETRY: Duration = Duration::from_millis(500);
/// After so many failed tries another replica is asked to lead.
const MOST_FAILURES: u32 = 3;
/// Longer than a majority can take to elect another leader, so that two nodes serve a shard only for a moment.
const MAX_SILENCE: Duration = Duration::from_millis(1500);
/// Between two looks at whether a shard without an owner is drained.
const DRAINED: Duration = Duration::from_secs(3);
const CONFIRMATION: Duration = Duration::from_secs(2);
