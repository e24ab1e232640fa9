//! `--cluster-recover`: a node continues without the majority of its cluster, which is lost for good.
//!
//! The node becomes the only member of a new cluster, with all that its replicas hold; other nodes may join then. What it does
//! not hold is lost, so it says that first, and does nothing unless it is given the id of the cluster that is to be given up.
//!
//! ```text
//! note that it begins ─▶ directory ─▶ each shard ─▶ identity ─▶ note that it ended
//! ```
//! Whenever the process is killed, the node does not start before the recovery was done again.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;

use nsq_cluster::directory::{Directory, DirectoryLook, Recovery};
use nsq_cluster::group;
use nsq_cluster::identity::{Identity, IdentityError, Recovering};
use nsq_cluster::wal::{Durability, RecoverError, WalOptions};
use nsq_cluster::{ClusterId, GroupId, Member};
use nsq_daemon::data_path::{DataPathLock, LockError};

use super::logs::{folder_of, raft_folder, wal_folder};
use super::platform::{Platform as _, Process};
use super::stopped::{StoppedNode, StoppedShard, entry_name, node_names};
use crate::data_path;
use crate::settings::Settings;

/// Why nothing was recovered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoveryError {
    #[error("failed to lock data-path: {0}")]
    Lock(#[from] LockError),
    #[error("--cluster-recover: {0}")]
    Identity(#[from] IdentityError),
    #[error("--cluster-recover: {} is not the data path of a node of a cluster", .0.display())]
    NoCluster(PathBuf),
    #[error(
        "--cluster-recover: nothing was changed. If the majority of the cluster {cluster} is lost for good, and this node is the \
         one to go on with: stop every other node of it that is left, and run this again with --cluster-recover={cluster}"
    )]
    NotConfirmed { cluster: ClusterId },
    #[error("--cluster-recover: {0}")]
    Unable(String),
    #[error("--cluster-recover: cannot write: {0}")]
    Write(#[from] io::Error),
}

/// Says what will be lost, and recovers if the id of the cluster is given.
pub(crate) fn run(settings: &Settings, output: &mut impl Write) -> Result<bool, RecoveryError> {
    let data_path = data_path::of(settings);
    let _lock = DataPathLock::acquire(&data_path)?;
    let Some(node) = StoppedNode::at(&data_path)? else {
        return Err(RecoveryError::NoCluster(data_path));
    };
    let begun = Recovering::load(&node.folders.root())?;
    let from = begun.map_or(node.identity.cluster, |begun| begun.from);
    if let Some(begun) = begun
        && node.identity.cluster == begun.to
    {
        // Only the last note is missing.
        begun.finish(&node.folders.root())?;
        writeln!(
            output,
            "cluster {from} is recovered as cluster {}",
            begun.to
        )?;
        return Ok(true);
    }
    let look = check(&node)?;
    let to = match begun {
        Some(begun) => begun.to,
        None => random_id()?,
    };
    let recovery = Recovery {
        cluster: to,
        node: node.identity.node,
        own_shard: node.identity.own_shard,
        held: held(&node),
        least_index: highest_index(&node),
    };
    report(&node, look, &recovery, output)?;
    if settings.cluster_recover != from.to_string() {
        return Err(RecoveryError::NotConfirmed { cluster: from });
    }
    recover(settings, &node, look, &recovery, Recovering { from, to })?;
    writeln!(
        output,
        "recovered: this node is the only member of cluster {to} now. Start it as before; then start other nodes with an empty \
         --data-path and a --cluster-peer of this one"
    )?;
    output.flush()?;
    Ok(true)
}

/// Refuses what cannot be recovered from, before anything is changed.
fn check(node: &StoppedNode) -> Result<&DirectoryLook, RecoveryError> {
    let unable = |why: String| Err(RecoveryError::Unable(why));
    let me = node.identity.node;
    let look = match &node.directory {
        Ok(look) => look,
        Err(why) => {
            return unable(format!(
                "the directory is damaged: {why}; recover another node"
            ));
        }
    };
    if let Some(log) = &look.log
        && let [why, ..] = log.damage.as_slice()
    {
        return unable(format!(
            "the directory is damaged: {why}; recover another node"
        ));
    }
    if look.log.is_none() || !look.directory.is_founded() {
        return unable(
            "this node has not received the directory yet; recover another node".to_owned(),
        );
    }
    if !look.directory.members.contains_key(&me) {
        return unable(format!(
            "node {me} is not a member any more: it was removed, or another one took its place"
        ));
    }
    if node.folders.is_setting_aside()? {
        return unable(
            "nsqd was ended while it set damaged replicas aside: what is left is not whole; recover another node".to_owned(),
        );
    }
    for shard in node.shards.iter().filter(|shard| !shard.is_missing) {
        if let Some(why) = shard.damage.first() {
            let folder = folder_of(&node.folders, GroupId(shard.number));
            return unable(format!(
                "the replica of shard {} is damaged: {why}; recover another node, or save what it has with --export-to and give \
                 the shard up: move {} out of the way",
                shard.number,
                folder.display()
            ));
        }
        if shard.is_interrupted() {
            return unable(format!(
                "the replica of shard {} was being replaced by a received one: start nsqd once, and stop it",
                shard.number
            ));
        }
    }
    Ok(look)
}

/// The shards of which the node has something.
fn held(node: &StoppedNode) -> BTreeSet<u64> {
    let with_entries = node.shards.iter().filter(|shard| shard.last().is_some());
    with_entries.map(|shard| shard.number).collect()
}

fn highest_index(node: &StoppedNode) -> u64 {
    let indexes = node.shards.iter().map(StoppedShard::registry_index);
    indexes.max().unwrap_or(0)
}

fn report(
    node: &StoppedNode,
    look: &DirectoryLook,
    recovery: &Recovery,
    output: &mut impl Write,
) -> io::Result<()> {
    let directory = &look.directory;
    let me = node.identity.node;
    writeln!(
        output,
        "cluster {}: this is node {me}; its directory reaches to entry {}",
        node.identity.cluster,
        entry_name(look.last())
    )?;
    let others = directory.members.iter().filter(|(other, _)| **other != me);
    for (other, member) in others {
        let address = &member.info.address;
        writeln!(
            output,
            "node {other} at {address} is given up: it must never run again with its data"
        )?;
    }
    for shard in &node.shards {
        let Some(last) = shard.last() else { continue };
        let number = shard.number;
        if directory.is_retired(number) {
            continue;
        }
        writeln!(
            output,
            "shard {number} is kept up to entry {last}. Messages and finished marks after it are lost, if the lost replicas had any \
             (voters {})",
            node_names(shard.voters())
        )?;
    }
    for (number, about) in recovery.lost_shards(directory) {
        let owner = about
            .owner
            .map_or("a removed node".to_owned(), |owner| format!("node {owner}"));
        writeln!(
            output,
            "shard {number} of {owner} is LOST: this node has no replica of it (those were on {})",
            node_names(about.replicas.iter().copied())
        )?;
    }
    writeln!(
        output,
        "if other nodes are left, compare: nsqd --check prints the last entry (term/index) of each replica. Recover the node \
         with the highest ones, and save what another one has more with --export-to"
    )
}

fn recover(
    settings: &Settings,
    node: &StoppedNode,
    look: &DirectoryLook,
    recovery: &Recovery,
    recovering: Recovering,
) -> Result<(), RecoveryError> {
    let durability = if settings.sync_publish {
        Durability::Synced
    } else {
        Durability::Written
    };
    let options = WalOptions::new(durability);
    let root = node.folders.root();
    let member = member_of(&look.directory, node)?;
    recovering.begin(&root)?;
    let directory = GroupId::DIRECTORY;
    let recovered = recovery.recover_directory(
        (
            &wal_folder(&node.folders, directory),
            &raft_folder(&node.folders, directory),
            &node.folders.directory().join("state"),
        ),
        &options,
        &member,
    );
    recovered.map_err(|error| explain(directory, &error))?;
    for shard in &node.shards {
        if !recovery.held.contains(&shard.number) {
            continue;
        }
        let id = GroupId(shard.number);
        let recovered = group::recover(
            (
                &wal_folder(&node.folders, id),
                &raft_folder(&node.folders, id),
            ),
            &options,
            recovery.node,
            &member,
            shard.executed(),
            false,
        );
        recovered.map_err(|error| explain(id, &error))?;
    }
    let identity = Identity {
        cluster: recovery.cluster,
        founders: None,
        // A shard of which nothing is left does not exist any more.
        own_shard: node
            .identity
            .own_shard
            .filter(|own| recovery.held.contains(own)),
        shards: node.found_shards(),
        ..node.identity.clone()
    };
    identity.store(&root)?;
    Ok(recovering.finish(&root)?)
}

fn member_of(directory: &Directory, node: &StoppedNode) -> Result<Member, RecoveryError> {
    let listed = directory.members.get(&node.identity.node);
    let listed = listed.ok_or_else(|| RecoveryError::Unable("it is no member".to_owned()))?;
    Ok(Member {
        address: listed.info.address.clone(),
    })
}

fn explain(group: GroupId, error: &RecoverError) -> RecoveryError {
    RecoveryError::Unable(format!(
        "{group}: {error}; it is not finished, run it again"
    ))
}

/// Never that of no cluster.
fn random_id() -> io::Result<ClusterId> {
    let mut bytes = [0; 16];
    Process.fill_random(&mut bytes)?;
    Ok(ClusterId(u128::from_le_bytes(bytes).max(1)))
}
