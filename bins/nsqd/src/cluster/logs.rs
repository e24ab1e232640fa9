//! The write-ahead logs of a node, as it finds them when it starts.
//!
//! They are opened before anything else, since one that cannot be trusted concerns the whole node: it must not vote in any group
//! under its number. The same is true of what was executed from a log: entries that are not there any more cannot be executed
//! again.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use nsq_cluster::GroupId;
use nsq_cluster::codec::LogId;
use nsq_cluster::directory::DirectoryMachine;
use nsq_cluster::group::stored_members;
use nsq_cluster::identity::Identity;
use nsq_cluster::state_machine::StateMachine as _;
use nsq_cluster::wal::{Distrust, Durability, Opening, Untrusted, Wal};
use nsq_shard::Shard;

use super::aside::AsideKind;
use super::folders::Folders;
use super::lanes::GroupLanes;
use super::platform::Platform;

/// A write-ahead log, and the lanes of its group.
#[derive(Debug)]
pub(super) struct OpenLog {
    pub(super) wal: Wal,
    pub(super) lanes: GroupLanes,
}

/// The logs of a node, by group.
#[derive(Debug, Default)]
pub(super) struct Logs {
    pub(super) open: BTreeMap<GroupId, OpenLog>,
    untrusted: Vec<(GroupId, Untrusted, GroupLanes)>,
    /// Replicas with damaged files, and what is wrong with them.
    damaged: Vec<(GroupId, String)>,
    /// The node was killed while it set its replicas aside.
    was_interrupted: bool,
    /// Replicas that the node had, and whose folder is missing.
    missing: Vec<GroupId>,
    /// Nothing that was there before counts any more.
    pub(super) is_forgotten: bool,
}

impl Logs {
    /// Opens the logs of all replicas that the node has. Blocks on the disk.
    ///
    /// # Errors
    /// When a file cannot be read now.
    pub(super) fn open(
        folders: &Folders,
        identity: &Identity,
        durability: Durability,
        platform: &dyn Platform,
    ) -> io::Result<Logs> {
        let mut logs = Logs {
            was_interrupted: folders.is_setting_aside()?,
            ..Logs::default()
        };
        let shards = identity.shards.iter().map(|number| GroupId(*number));
        for group in std::iter::once(GroupId::DIRECTORY).chain(shards) {
            let folder = wal_folder(folders, group);
            // Until the directory lists it, a founder may have no replica yet.
            let may_be_new = group == GroupId::DIRECTORY && identity.founders.is_some();
            if !may_be_new && !folder.try_exists()? {
                logs.missing.push(group);
                continue;
            }
            let lanes = lanes(group, platform)?;
            let opening = Wal::open(&folder, platform.wal_options(durability), lanes.of_log())?;
            let purged = match &opening {
                Opening::Ready(wal) => wal.purged(),
                Opening::Untrusted(_) => None,
            };
            let damage = damage(folders, identity, group, purged)?;
            match opening {
                Opening::Untrusted(untrusted) => logs.untrusted.push((group, untrusted, lanes)),
                Opening::Ready(wal) if damage.is_none() => {
                    logs.open.insert(group, OpenLog { wal, lanes });
                }
                Opening::Ready(_) => {}
            }
            logs.damaged.extend(damage.map(|why| (group, why)));
        }
        Ok(logs)
    }

    /// Why the node must not vote, if it must not; and whether it could continue with what it has.
    pub(super) fn distrust(&self) -> Option<(String, bool)> {
        let mut reasons = Vec::new();
        let mut can_trust =
            self.missing.is_empty() && self.damaged.is_empty() && !self.was_interrupted;
        if self.was_interrupted {
            reasons.push("nsqd was ended while it set its replicas aside".to_owned());
        }
        for (group, why) in &self.damaged {
            reasons.push(format!("{group}: {why}"));
        }
        for group in &self.missing {
            reasons.push(format!("{group}: its folder is missing"));
        }
        for (group, untrusted, _) in &self.untrusted {
            reasons.push(format!("{group}: {}", untrusted.reason));
            can_trust &= untrusted.reason == Distrust::MachineCrash;
        }
        (!reasons.is_empty()).then(|| (reasons.join("; "), can_trust))
    }

    /// Whether the log of the directory has entries.
    pub(super) fn has_directory_entries(&self) -> bool {
        let log = self.open.get(&GroupId::DIRECTORY);
        log.is_some_and(|log| log.wal.last().is_some())
    }

    /// Continues with what there is: no one has more.
    ///
    /// # Errors
    /// When the disk does not take it, or what there is turns out to be damaged.
    pub(super) fn trust(mut self) -> io::Result<Logs> {
        for (group, untrusted, lanes) in self.untrusted.drain(..) {
            let wal = untrusted.trust()?;
            self.open.insert(group, OpenLog { wal, lanes });
        }
        Ok(self)
    }

    /// Sets all replicas aside and begins again without entries and votes, for a node that has a new number. Whenever the
    /// process is killed, the next start does not trust what is left.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub(super) fn forget(
        self,
        folders: &Folders,
        identity: &Identity,
        durability: Durability,
        platform: &dyn Platform,
    ) -> io::Result<Logs> {
        let (why, can_trust) = self.distrust().unwrap_or_default();
        let kind = if can_trust {
            AsideKind::Crashed
        } else {
            AsideKind::Damaged
        };
        drop(self);
        let aside = folders.set_replicas_aside(kind, identity, &why)?;
        tracing::warn!(
            "cluster: this node has set its replicas aside in {}, and receives them again from the others: {why}",
            aside.display()
        );
        let mut logs = Logs {
            is_forgotten: true,
            ..Logs::default()
        };
        for number in &identity.shards {
            let group = GroupId(*number);
            logs.open
                .insert(group, open_new(folders, group, durability, platform)?);
        }
        folders.finish_setting_aside()?;
        Ok(logs)
    }
}

/// What is wrong with the files of a replica besides its log, whose entries up to `purged` are gone.
fn damage(
    folders: &Folders,
    identity: &Identity,
    group: GroupId,
    purged: Option<LogId>,
) -> io::Result<Option<String>> {
    let folder = folder_of(folders, group);
    let found = stored_members(&folder.join("raft")).and_then(|members| {
        let executed = match group {
            GroupId::DIRECTORY => DirectoryMachine::open(&folder.join("state"))?.0.applied(),
            GroupId(number) => Shard::executed(&folder, &folders.data(identity, number))?,
        };
        Ok((members, executed))
    });
    let why = match found {
        Ok((None, Some(_))) => Some("its list of members is missing".to_owned()),
        Ok((_, executed)) if executed.map(|id| id.index) < purged.map(|id| id.index) => {
            Some("it lacks entries that are not in its log any more".to_owned())
        }
        Ok(_) => None,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Some(error.to_string()),
        Err(error) => return Err(error),
    };
    Ok(why)
}

/// Opens the log of a replica that is new on this node. Blocks on the disk.
///
/// # Errors
/// When the disk does not take it.
pub(super) fn open_new(
    folders: &Folders,
    group: GroupId,
    durability: Durability,
    platform: &dyn Platform,
) -> io::Result<OpenLog> {
    let lanes = lanes(group, platform)?;
    let folder = wal_folder(folders, group);
    match Wal::open(&folder, platform.wal_options(durability), lanes.of_log())? {
        Opening::Ready(wal) => Ok(OpenLog { wal, lanes }),
        Opening::Untrusted(untrusted) => Err(io::Error::other(untrusted.reason)),
    }
}

/// The folder of a group's replica, without the data of the own shard.
pub(super) fn folder_of(folders: &Folders, group: GroupId) -> PathBuf {
    match group {
        GroupId::DIRECTORY => folders.directory(),
        GroupId(number) => folders.shard(number),
    }
}

/// The folder of what a group's replica keeps besides its log and its data.
pub(super) fn raft_folder(folders: &Folders, group: GroupId) -> PathBuf {
    folder_of(folders, group).join("raft")
}

/// The folder of a group's write-ahead log.
pub(super) fn wal_folder(folders: &Folders, group: GroupId) -> PathBuf {
    folder_of(folders, group).join("wal")
}

fn lanes(group: GroupId, platform: &dyn Platform) -> io::Result<GroupLanes> {
    match group {
        GroupId::DIRECTORY => GroupLanes::start("directory", platform),
        GroupId(number) => GroupLanes::start(&format!("shard{number}"), platform),
    }
}
