//! The replicas that this node holds: opened when the directory places them here, removed once it does not any more and their group
//! has let this node go.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use nsq_cluster::directory::Directory;
use nsq_cluster::group::{Group, GroupLimits, GroupOptions};
use nsq_cluster::in_step;
use nsq_cluster::wal::Durability;
use nsq_cluster::{GroupId, NodeId};
use nsq_shard::{Shard, ShardOptions};

use super::folders::Folders;
use super::logs::{self, Logs, OpenLog};
use super::member::REMOVED_FROM_IT;
use super::node::{ENDED, Node, Phase};
use super::replica::ShardReplica;
use super::this_node::ThisNode;
use super::{lead, reconcile};
use crate::clock;
use crate::run::core_settings;

/// Holds replicas until nsqd stops. `logs` are the logs that the node has found.
pub(super) async fn run(node: Arc<Node>, mut logs: Logs) {
    let own = node.identity().and_then(|identity| identity.own_shard);
    for group in in_order(logs.open.keys().copied(), own) {
        let Some(log) = logs.open.remove(&group) else {
            continue;
        };
        if let Err(why) = open(&node, group.0, Some(log), logs.is_forgotten).await {
            // Without it, the others would count on a replica that is not there.
            node.fail(&format!("the replica of {group} cannot be opened: {why}"));
        }
    }
    let mut directory = node.directory();
    let mut phase = node.phase();
    let mut trouble = String::new();
    while *phase.borrow_and_update() != Phase::Stopping {
        let newest = Arc::clone(&directory.borrow_and_update());
        if newest.is_former(node.me()) {
            leave(&node, REMOVED_FROM_IT).await;
            return;
        }
        let done = turn(&node, &newest).await;
        note_set_aside(&node, &newest).await;
        if let Err(why) = &done
            && *why != trouble
        {
            tracing::error!("cluster: {why}");
        }
        trouble = done.err().unwrap_or_default();
        tokio::select! {
            _ = directory.changed() => {}
            () = in_step::pause(LOOK) => {}
            _ = phase.changed() => {}
        }
    }
}

/// The groups in the order in which they are opened: that of the own shard first, since publishes wait for it.
fn in_order(groups: impl Iterator<Item = GroupId>, own: Option<u64>) -> Vec<GroupId> {
    let mut groups: Vec<_> = groups.collect();
    groups.sort_by_key(|group| (Some(group.0) != own, group.0));
    groups
}

/// Opens what is missing, and removes what is not wanted any more.
async fn turn(node: &Arc<Node>, directory: &Directory) -> Result<(), String> {
    let me = node.me();
    let own = directory.shard_of(me);
    let noted = node.update_identity(|identity| {
        if own.is_some() {
            identity.own_shard = own;
        }
    });
    noted.await.map_err(|error| error.to_string())?;
    let wanted = directory.shards_on(me);
    // First, since the data path of a shard that was given up may be that of the next one.
    for replica in node.replicas() {
        let number = replica.number;
        if !wanted.contains(&number) && is_let_go(node, directory, &replica) {
            close(node, &replica).await;
            remove(node, number).await?;
        }
    }
    // What is left of a removal that was interrupted.
    let held: BTreeSet<_> = node
        .replicas()
        .iter()
        .map(|replica| replica.number)
        .collect();
    let noted = node.identity().map(|identity| identity.shards);
    for number in noted.iter().flatten() {
        if !held.contains(number) && !wanted.contains(number) {
            remove(node, *number).await?;
        }
    }
    for number in &wanted {
        if node.replica(*number).is_none() {
            let opened = open(node, *number, None, false).await;
            opened
                .map_err(|why| format!("the replica of shard {number} cannot be opened: {why}"))?;
            tracing::info!("cluster: shard {number}: this node has a replica of it now");
        }
    }
    Ok(())
}

/// Keeps what this node reports of replicas that it has set aside true, and removes what a crash has set aside once it is not
/// needed any more.
async fn note_set_aside(node: &Arc<Node>, directory: &Directory) {
    let wanted = directory.shards_on(node.me());
    let has_received = |number: &u64| {
        let replica = node.replica(*number);
        replica.is_some_and(|replica| {
            let members = Arc::clone(&replica.group.standing().borrow().members);
            members.voters.iter().any(|set| set.contains(&node.me()))
        })
    };
    let has_everything = !wanted.is_empty() && wanted.iter().all(has_received);
    let folders = node.folders.clone();
    let noted = node.blocking(move || {
        if has_everything {
            folders.remove_crashed()?;
        }
        folders.damaged()
    });
    // What the disk refuses now is tried again in a second.
    if let Some(Ok(damaged)) = noted.await {
        node.note_set_aside(damaged);
    }
}

/// Opens a replica and starts its parts.
async fn open(
    node: &Arc<Node>,
    number: u64,
    log: Option<OpenLog>,
    is_forgotten: bool,
) -> Result<(), String> {
    let me = node.me();
    let identity = node.identity().ok_or("this node is no member")?;
    let directory = node.newest_directory();
    let is_own = match directory.shards.get(&number) {
        Some(about) => about.owner == Some(me),
        None => identity.own_shard == Some(number),
    };
    if is_own && let Some(other) = node.replicas().iter().find(|replica| replica.is_own) {
        let other = other.number;
        return Err(format!("shard {other} is still in this node's data path"));
    }
    // A node that was lost, or that left the cluster for a while, comes back to a shard that others hold.
    let others_vote = directory.shards.get(&number).map(|about| &about.voters);
    let others_vote = others_vote.is_some_and(|voters| voters.iter().any(|voter| *voter != me));
    let is_taken_over = others_vote && log.is_none() && !identity.shards.contains(&number);
    // Before the folder exists, so that its absence is noticed.
    let noted = node.update_identity(|identity| {
        identity.shards.insert(number);
    });
    noted.await.map_err(|error| error.to_string())?;
    let group = GroupId(number);
    let hooks = node.around().upkeep.hooks();
    let opened = {
        let (owned, hooks) = (Arc::clone(node), Arc::clone(&hooks));
        node.blocking(move || {
            let node = owned;
            if is_own && is_taken_over {
                set_own_data_aside(&node.folders, number).map_err(|error| error.to_string())?;
            }
            let log = match log {
                Some(log) => log,
                None => logs::open_new(&node.folders, group, durability(&node), &*node.platform)
                    .map_err(|error| error.to_string())?,
            };
            let folders = &node.folders;
            let data_path = if is_own {
                folders.data_path().to_owned()
            } else {
                folders.data_of(number)
            };
            let limits = GroupLimits::default();
            let options = ShardOptions {
                number,
                previous: folders
                    .data_set_aside(number)
                    .map_err(|error| error.to_string())?,
                data_path: data_path.clone(),
                folder: folders.shard(number),
                core: core_settings(&node.settings, data_path),
                boot_id: node.platform.wal_options(durability(&node)).boot_id,
                host: hooks,
                clock: clock::now,
                publish_timeout: node.cluster.publish_timeout,
                max_entry_bytes: limits.max_entry_bytes,
                max_pending_bytes: limits.max_pending_bytes,
            };
            let (shard, machine) = Shard::open(options).map_err(|error| error.to_string())?;
            if is_forgotten {
                shard.forget().map_err(|error| error.to_string())?;
            }
            Ok::<_, String>((log, shard, machine))
        })
        .await
    };
    let (log, shard, machine) = opened.ok_or(ENDED)??;
    let applier = Arc::clone(&log.lanes.applier);
    let started = start_group(node, group, log, Box::new(machine)).await?;
    let replica = ShardReplica::new(number, is_own, shard, started, hooks, applier);
    let replica = Arc::new(replica);
    node.add_replica(Arc::clone(&replica));
    let upkeep = tokio::spawn(Arc::clone(&replica.shard).upkeep(node.platform.blocking()));
    replica.keep_up(upkeep);
    tokio::spawn(lead::run(Arc::clone(node), Arc::clone(&replica)));
    tokio::spawn(reconcile::run_shard(Arc::clone(node), replica));
    Ok(())
}

/// What is in the data path of a node that comes back to its shard was accepted by a single node: the others do not have it, and
/// the shard continues with what they have.
fn set_own_data_aside(folders: &Folders, number: u64) -> std::io::Result<()> {
    let unix_seconds = clock::unix_nanos() / 1_000_000_000;
    if let Some(aside) = folders.set_data_aside(unix_seconds)? {
        tracing::error!(
            "cluster: shard {number}: this node comes back to it, and the other replicas do not have what this node has accepted \
             as a single one. That is now in {}: to have it delivered, start a single nsqd with this --data-path, and drain it",
            aside.display()
        );
    }
    Ok(())
}

/// Starts the replica of a group.
pub(super) async fn start_group(
    node: &Node,
    group: GroupId,
    log: OpenLog,
    machine: Box<dyn nsq_cluster::state_machine::StateMachine>,
) -> Result<Group, String> {
    let max_log_bytes = node.cluster.max_log_bytes;
    let usual = GroupLimits::default();
    let options = GroupOptions {
        group,
        node: node.me(),
        folder: logs::folder_of(&node.folders, group).join("raft"),
        network: node.network(),
        transfers: Arc::clone(&node.transfers),
        applier: log.lanes.applier,
        reader: log.lanes.reader,
        limits: GroupLimits {
            max_log_bytes,
            kept_log_bytes: usual.kept_log_bytes.min(max_log_bytes),
            sync_every: node.settings.sync_timeout,
            ..usual
        },
    };
    let started = node.raft.spawn(Group::start(options, log.wal, machine));
    let started = started.await.map_err(|error| error.to_string())?;
    started.map_err(|error| error.to_string())
}

/// When an entry counts as stored.
pub(super) fn durability(node: &Node) -> Durability {
    if node.settings.sync_publish {
        Durability::Synced
    } else {
        Durability::Written
    }
}

/// Whether no one counts on the replica any more: the shard is given up, or its leader does not list this node.
fn is_let_go(node: &Node, directory: &Directory, replica: &ShardReplica) -> bool {
    let number = replica.number;
    if directory.is_retired(number) {
        return true;
    }
    let me = node.me().0;
    let heard = node.around().control.heard();
    let now = clock::tick();
    let alive = heard.values().filter(|heard| heard.is_alive(now));
    let mut groups = alive.flat_map(|heard| &heard.status.groups);
    groups.any(|group| {
        group.group == number
            && group.is_leader()
            && group
                .majority_heard_millis
                .is_some_and(|millis| millis < 1000)
            && !group.voters.contains(&me)
            && !group.learners.contains(&me)
    })
}

/// Stops a replica and its parts.
pub(super) async fn close(node: &Node, replica: &ShardReplica) {
    node.remove_replica(replica.number);
    replica.dismissed.send_replace(true);
    replica.wait_until_idle().await;
    replica.end_upkeep();
    replica.group.shutdown().await;
    if let Some(Err(error)) = replica.on_lane(Shard::close).await {
        let number = replica.number;
        tracing::error!("cluster: shard {number} could not be closed: {error}");
    }
}

async fn remove(node: &Arc<Node>, number: u64) -> Result<(), String> {
    let folders = node.folders.clone();
    let removed = node.blocking(move || folders.remove_shard(number)).await;
    let removed = removed.ok_or(ENDED)?;
    removed.map_err(|error| format!("the replica of shard {number} cannot be removed: {error}"))?;
    let noted = node.update_identity(|identity| {
        identity.shards.remove(&number);
    });
    noted.await.map_err(|error| error.to_string())?;
    tracing::info!("cluster: shard {number}: the replica on this node is removed");
    Ok(())
}

/// This node is no member any more.
pub(super) async fn leave(node: &Arc<Node>, why: &str) {
    if node.is(Phase::Stopping) {
        return;
    }
    let me: NodeId = node.me();
    tracing::error!(
        "cluster: this node, number {me}, {why}; it serves nothing any more. To have it join \
         again as a new node, stop it, empty its data path, and start it"
    );
    node.enter(Phase::Stopping);
    node.direct_publishes(super::route::Target::Unknown {
        why: format!("this node {why}"),
    });
    for replica in node.replicas() {
        close(node, &replica).await;
    }
    if let Some(group) = node.directory_group() {
        group.shutdown().await;
    }
}

/// Between two looks at what the directory does not say.
const LOOK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_shard_is_opened_before_the_others() {
        let groups = || [1, 2, 3].map(GroupId).into_iter();
        assert_eq!(in_order(groups(), Some(3)), [3, 1, 2].map(GroupId));
        assert_eq!(in_order(groups(), None), [1, 2, 3].map(GroupId));
    }
}
