//! What a node of a cluster that is not running has on its disk: for `--check`, `--export-to` and `--cluster-recover`. Looking
//! changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use nsq_cluster::codec::{Entry, LogId, Membership};
use nsq_cluster::directory::DirectoryLook;
use nsq_cluster::group::stored_members;
use nsq_cluster::identity::{Identity, IdentityError};
use nsq_cluster::wal::LogLook;
use nsq_cluster::{GroupId, NodeId};
use nsq_core::change::LogKind;
use nsq_core::command::Command;
use nsq_core::inspect::Inspection;
use nsq_protocol::TopicName;
use nsq_shard::{Item, PendingError, ShardLook};

use super::folders::Folders;
use super::logs::{folder_of, raft_folder, wal_folder};

/// A node's replicas.
#[derive(Debug)]
pub(crate) struct StoppedNode {
    pub(crate) folders: Folders,
    pub(crate) identity: Identity,
    /// Of the directory; `Err` says what is damaged.
    pub(crate) directory: Result<DirectoryLook, String>,
    /// Of shards, by number.
    pub(crate) shards: Vec<StoppedShard>,
}

/// A replica of a shard.
#[derive(Debug)]
pub(crate) struct StoppedShard {
    pub(crate) number: u64,
    /// Where its messages are.
    pub(crate) data_path: PathBuf,
    /// Its log; `None` where there is none.
    pub(crate) log: Option<LogLook>,
    /// How far it has executed that; `None` where that is not known, since the file is damaged.
    look: Option<ShardLook>,
    /// The members of its group as of what was executed.
    pub(crate) members: Option<Membership>,
    /// Whether its folder is not there.
    pub(crate) is_missing: bool,
    /// What is damaged, besides its messages.
    pub(crate) damage: Vec<String>,
}

/// What is in a shard's log and was not executed.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// Entries, whatever is in them.
    pub(crate) entries: u64,
    /// Messages that are in no topic's log yet.
    pub(crate) messages: BTreeMap<TopicName, u64>,
}

impl StoppedNode {
    /// Looks at the cluster's folder of a data path; `None` for a single node.
    ///
    /// # Errors
    /// When a file cannot be read now, and when it is not known which node this is.
    pub(crate) fn at(data_path: &Path) -> Result<Option<StoppedNode>, IdentityError> {
        let folders = Folders::new(data_path);
        let Some(identity) = Identity::look(&folders.root())? else {
            if folders.root().try_exists()? {
                folders.check_that_no_replica_is_left()?;
            }
            return Ok(None);
        };
        let directory = DirectoryLook::at(
            &wal_folder(&folders, GroupId::DIRECTORY),
            &folders.directory().join("state"),
        );
        let directory = match directory {
            Ok(look) => Ok(look),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(error.to_string()),
            Err(error) => return Err(error.into()),
        };
        let numbers = identity.shards.iter();
        let shards = numbers.map(|number| StoppedShard::at(&folders, &identity, *number));
        let shards = shards.collect::<io::Result<_>>()?;
        Ok(Some(StoppedNode {
            folders,
            identity,
            directory,
            shards,
        }))
    }
}

impl StoppedNode {
    /// The shards of which there is a folder.
    pub(crate) fn found_shards(&self) -> BTreeSet<u64> {
        let found = self.shards.iter().filter(|shard| !shard.is_missing);
        found.map(|shard| shard.number).collect()
    }
}

impl StoppedShard {
    fn at(folders: &Folders, identity: &Identity, number: u64) -> io::Result<StoppedShard> {
        let group = GroupId(number);
        let folder = folder_of(folders, group);
        let mut damage = Vec::new();
        let is_missing = !folder.try_exists()?;
        if is_missing {
            damage.push(format!("{} is missing", folder.display()));
        }
        let log = LogLook::at(&wal_folder(folders, group))?;
        let look = unless_damaged(ShardLook::at(&folder), &mut damage)?;
        let members = unless_damaged(stored_members(&raft_folder(folders, group)), &mut damage)?;
        if log.is_none() && !is_missing {
            damage.push(format!("{}: its log is missing", folder.display()));
        }
        if let Some(log) = &log {
            damage.extend(log.damage.iter().cloned());
            let executed = look.and_then(|look| look.executed());
            if executed.map(|id| id.index) < log.purged.map(|id| id.index) {
                damage.push(format!(
                    "{}: entries that were not executed are not in the log any more",
                    folder.display()
                ));
            }
        }
        Ok(StoppedShard {
            number,
            data_path: folders.data(identity, number),
            log,
            look,
            members: members.flatten(),
            is_missing,
            damage,
        })
    }

    /// The last entry that the replica has.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.log
            .as_ref()
            .and_then(|log| log.last)
            .max(self.executed())
    }

    /// The last entry of which everything was executed for sure.
    pub(crate) fn executed(&self) -> Option<LogId> {
        self.look.and_then(|look| look.executed())
    }

    /// Whether its data are not to be read: they were being replaced when the process was ended.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.look.is_some_and(|look| look.is_interrupted())
    }

    /// Those that vote in its group, as far as this replica knows.
    pub(crate) fn voters(&self) -> BTreeSet<NodeId> {
        let members = self.members.iter();
        let sets = members.filter_map(|members| members.voters.last());
        sets.flatten().copied().collect()
    }

    /// Up to which change of the directory the shard has the topics and channels, with what is left to execute.
    pub(crate) fn registry_index(&self) -> u64 {
        let mut index = self.look.map_or(0, |look| look.registry_index());
        // What cannot be read is reported elsewhere.
        let _ = self.for_each_pending(|item| {
            if let Item::Followed(followed) = item {
                index = index.max(followed);
            }
            Ok::<_, io::Error>(())
        });
        index
    }

    /// Counts what is left to execute. `data` is what the replica's folder holds.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(crate) fn pending(&self, data: &Inspection) -> io::Result<Pending> {
        let mut pending = Pending::default();
        let mut last_ids = BTreeMap::new();
        for topic in &data.topics {
            for log in [LogKind::Main, LogKind::Deferred] {
                let is_deferred = log == LogKind::Deferred;
                last_ids.insert((topic.name.clone(), is_deferred), topic.last_id(log));
            }
        }
        let (first, last) = (self.executed(), self.last());
        let next = |id: Option<LogId>| id.map_or(0, |id| id.index + 1);
        pending.entries = next(last).saturating_sub(next(first));
        self.for_each_pending(|item| {
            if let Item::Command(Command::Publish {
                topic,
                log,
                records,
            }) = item
            {
                let place = (topic.clone(), log == LogKind::Deferred);
                let known = last_ids.get(&place).copied().unwrap_or(0);
                let new = records.iter().filter(|record| record.id > known).count();
                if new > 0 {
                    *pending.messages.entry(topic.clone()).or_default() += new as u64;
                }
            }
            Ok::<_, io::Error>(())
        })?;
        Ok(pending)
    }

    /// Calls `visit` with everything that is left to execute, in order.
    ///
    /// # Errors
    /// What `visit` returns, and when the log cannot be read.
    pub(crate) fn for_each_pending<E: From<io::Error>>(
        &self,
        mut visit: impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (Some(log), Some(look)) = (&self.log, self.look) else {
            return Ok(());
        };
        let executed = look.executed().map(|id| id.index);
        log.for_each_after(executed, |entry: Entry| {
            let visited = look.for_each_pending(&entry, &mut visit);
            visited.map_err(|error| match error {
                PendingError::Visit(error) => error,
                PendingError::Decode(error) => {
                    io::Error::new(io::ErrorKind::InvalidData, error).into()
                }
            })
        })
    }
}

fn unless_damaged<T>(read: io::Result<T>, damage: &mut Vec<String>) -> io::Result<Option<T>> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            damage.push(error.to_string());
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// An entry, or that there is none.
pub(crate) fn entry_name(id: Option<LogId>) -> String {
    id.map_or("none".to_owned(), |id| id.to_string())
}

/// The numbers of nodes.
pub(crate) fn node_names(nodes: impl IntoIterator<Item = NodeId>) -> String {
    let nodes: Vec<_> = nodes.into_iter().map(|node| node.to_string()).collect();
    if nodes.is_empty() {
        return "none".to_owned();
    }
    nodes.join(", ")
}
