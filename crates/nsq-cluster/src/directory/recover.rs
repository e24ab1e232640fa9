//! The directory of a node that is not running, and what it becomes when the majority of its cluster is lost for good.
//!
//! Recovering begins another cluster, with another id, that has one member: the node that was left. Its table is written in the
//! place of the old one, not proposed: no one is there to agree. Nodes of the old cluster are kept apart by its id.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use super::{Change, Directory, DirectoryMachine, ShardInfo};
use crate::codec::{EntryBody, LogId, Wire};
use crate::group;
use crate::wal::{LogLook, RecoverError, WalOptions};
use crate::{ClusterId, Member, NodeId};

/// The replica of the directory in a folder, as it stands. Looking changes nothing.
#[derive(Debug)]
pub struct DirectoryLook {
    /// Its log; `None` where there is no folder of one.
    pub log: Option<LogLook>,
    /// The last entry that was applied when the table was stored.
    pub stored: Option<LogId>,
    /// The table after all entries that the log has, committed or not.
    pub directory: Directory,
}

impl DirectoryLook {
    /// Looks at the replica whose log is in `wal`, and its table in `state`.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] when the table is damaged, otherwise when a file cannot be read now.
    pub fn at(wal: &Path, state: &Path) -> io::Result<Self> {
        let log = LogLook::at(wal)?;
        let (stored, directory) = DirectoryMachine::look(state)?;
        let mut directory = Directory::clone(&directory);
        if let Some(log) = &log {
            log.for_each_after(stored.map(|id| id.index), |entry| {
                if let EntryBody::Proposals(batch) = entry.body {
                    for proposal in batch.iter() {
                        // One that cannot be read has no effect on a running node either.
                        if let Ok(change) = Change::from_bytes(proposal) {
                            directory.apply(&change);
                        }
                    }
                }
                Ok::<_, io::Error>(())
            })?;
        }
        Ok(Self {
            log,
            stored,
            directory,
        })
    }

    /// The last entry that the replica holds.
    pub fn last(&self) -> Option<LogId> {
        self.log.as_ref().and_then(|log| log.last).max(self.stored)
    }
}

/// The node that is left, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The new cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// The shard that it owns.
    pub own_shard: Option<u64>,
    /// The shards of which it has a replica with entries.
    pub held: BTreeSet<u64>,
    /// The highest directory index that one of these shards has followed. The node's own directory may be older than that.
    pub least_index: u64,
}

impl Recovery {
    /// The shards that are lost: the table lists them, and the node holds nothing of them.
    pub fn lost_shards<'a>(
        &'a self,
        directory: &'a Directory,
    ) -> impl Iterator<Item = (u64, &'a ShardInfo)> {
        let shards = directory.shards.iter();
        shards
            .filter(|(number, _)| !self.held.contains(number))
            .map(|(number, about)| (*number, about))
    }

    /// The table of the new cluster. Shards of other nodes have no owner from now on: they are served until their messages are
    /// consumed. A shard that the table does not list, since it was created a moment before the loss, is added.
    pub fn table(&self, before: &Directory) -> Directory {
        let mut table = before.clone();
        table.cluster = self.cluster;
        table.index = table.index.max(self.least_index) + 1;
        table.members.retain(|node, _| *node == self.node);
        // Numbers that the lost majority may have given out are not given again: they stand in logs of this node.
        table.next_node = table.next_node.saturating_add(SKIPPED_NUMBERS);
        let unlisted = self.held.iter().filter(|shard| !before.is_retired(**shard));
        for number in unlisted {
            let created_at = table.index;
            let shard = table.shards.entry(*number).or_insert_with(|| ShardInfo {
                owner: (self.own_shard == Some(*number)).then_some(self.node),
                created_at,
                ..ShardInfo::default()
            });
            shard.owner = shard.owner.filter(|owner| *owner == self.node);
            shard.replicas = vec![self.node];
            shard.voters = BTreeSet::from([self.node]);
        }
        table.shards.retain(|number, _| self.held.contains(number));
        let highest = self.held.last().map_or(0, |last| last + 1);
        table.next_shard = table
            .next_shard
            .max(highest)
            .saturating_add(SKIPPED_NUMBERS);
        table
    }

    /// Writes the new table in the place of the old one, and makes this node the only member of the directory's group. Doing it
    /// again is harmless.
    ///
    /// # Errors
    /// [`RecoverError`].
    pub fn recover_directory(
        &self,
        (wal, raft, state): (&Path, &Path, &Path),
        options: &WalOptions,
        member: &Member,
    ) -> Result<LogId, RecoverError> {
        let look = DirectoryLook::at(wal, state)?;
        let last = look.last().ok_or(RecoverError::Empty)?;
        DirectoryMachine::replace(state, last, self.table(&look.directory))?;
        group::recover((wal, raft), options, self.node, member, Some(last), true)
    }
}

/// A cluster gives out numbers one at a time, and a node that could be reached knows almost all of them.
const SKIPPED_NUMBERS: u64 = 100;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::codec::{BatchBuilder, Entry};
    use crate::directory::MemberInfo;
    use crate::directory::Outcome;

    fn info(node: u64) -> MemberInfo {
        MemberInfo {
            address: format!("n{node}:1"),
            broadcast_address: "host".to_owned(),
            tcp_port: 1,
            http_port: 2,
            version: "1".to_owned(),
            entry_format: 1,
            joined: 0,
        }
    }

    fn changes() -> Vec<Change> {
        let members: BTreeMap<_, _> = (1..=3).map(|node| (NodeId(node), info(node))).collect();
        let mut changes = vec![Change::Found {
            cluster: ClusterId(7),
            members,
        }];
        for node in 1..=3 {
            let owner = NodeId(node);
            changes.push(Change::CreateShard { owner });
            changes.push(Change::RecordVoters {
                shard: node,
                voters: BTreeSet::from([owner]),
            });
        }
        changes
    }

    fn three_nodes() -> Directory {
        let mut directory = Directory::default();
        for change in changes() {
            let outcome = directory.apply(&change);
            assert!(!matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
        }
        directory
    }

    fn recovery(held: &[u64]) -> Recovery {
        Recovery {
            cluster: ClusterId(8),
            node: NodeId(2),
            own_shard: Some(2),
            held: held.iter().copied().collect(),
            least_index: 0,
        }
    }

    #[test]
    fn what_the_node_holds_stays_and_everything_else_goes() {
        let before = three_nodes();
        let recovery = recovery(&[1, 2]);
        let lost: Vec<_> = recovery
            .lost_shards(&before)
            .map(|(shard, _)| shard)
            .collect();
        assert_eq!(lost, [3]);
        let table = recovery.table(&before);
        assert_eq!(table.cluster, ClusterId(8));
        let members: Vec<_> = table.members.keys().copied().collect();
        assert_eq!(members, [NodeId(2)]);
        let shards: Vec<_> = table
            .shards
            .iter()
            .map(|(number, shard)| (*number, shard.owner, shard.replicas.clone()))
            .collect();
        let me = NodeId(2);
        assert_eq!(shards, [(1, None, vec![me]), (2, Some(me), vec![me])]);
        assert!(table.is_retired(3) && table.is_former(NodeId(1)) && table.is_former(NodeId(3)));
        assert!(table.index > before.index);
    }

    #[test]
    fn a_shard_that_the_table_does_not_know_yet_is_served_and_its_number_is_not_given_again() {
        let recovery = Recovery {
            least_index: 1000,
            ..recovery(&[2, 40])
        };
        let mut table = recovery.table(&three_nodes());
        assert_eq!(table.shards[&40].owner, None);
        assert_eq!(table.index, 1001, "a shard has followed to 1000");
        let joined = table.apply(&Change::AddMember {
            info: info(4),
            token: 5,
            replaces: None,
        });
        let Outcome::Member(owner) = joined else {
            panic!("{joined:?}");
        };
        assert!(owner > NodeId(4), "the lost nodes may have numbered others");
        let created = table.apply(&Change::CreateShard { owner });
        assert!(
            matches!(created, Outcome::Shard(shard) if shard > 40),
            "{created:?}"
        );
        assert_eq!(
            recovery.table(&table).shards.len(),
            2,
            "again: only what is held"
        );
    }

    #[test]
    fn a_shard_that_was_given_up_stays_given_up() {
        let mut before = three_nodes();
        before.apply(&Change::SetOwner {
            shard: 1,
            owner: None,
        });
        before.apply(&Change::RetireShard(1));
        let table = recovery(&[1, 2]).table(&before);
        assert!(table.is_retired(1));
    }

    #[test]
    fn entries_that_were_not_applied_count_and_recovering_twice_is_harmless() {
        let folder = tempfile::tempdir().unwrap();
        let [wal, raft, state] = ["wal", "raft", "state"].map(|name| folder.path().join(name));
        std::fs::create_dir_all(&wal).unwrap();
        let options = WalOptions::new(crate::wal::Durability::Written);
        let entries = changes().into_iter().enumerate().map(|(index, change)| {
            let mut batch = BatchBuilder::default();
            batch.push(&change.to_bytes());
            Entry {
                id: LogId {
                    term: 1,
                    index: index as u64,
                },
                body: EntryBody::Proposals(batch.build()),
            }
        });
        crate::wal::tests::write(&wal, &options, &entries.collect::<Vec<_>>());
        std::fs::create_dir_all(&state).unwrap();
        let recovery = recovery(&[2]);
        let mut last = None;
        for _ in 0..2 {
            let member = Member {
                address: "n2:1".to_owned(),
            };
            let id = recovery.recover_directory((&wal, &raft, &state), &options, &member);
            let id = id.unwrap();
            assert!(Some(id) > last, "{id}");
            last = Some(id);
        }
        let members = group::stored_members(&raft).unwrap().unwrap();
        assert_eq!(members.voters, [BTreeSet::from([NodeId(2)])]);
        let look = DirectoryLook::at(&wal, &state).unwrap();
        assert_eq!(look.directory.cluster, ClusterId(8));
        assert_eq!(look.directory.members.len(), 1);
        assert_eq!(look.last(), last);
        let log = look.log.unwrap();
        assert!(log.damage.is_empty() && log.notices.is_empty(), "{log:?}");
        assert!(log.vote.is_some_and(
            |vote| vote.node == NodeId(2) && Some(vote.term) == last.map(|id| id.term)
        ));
        let mut bodies = Vec::new();
        log.for_each_after(log.purged.map(|id| id.index), |entry| {
            bodies.push(entry.body);
            Ok::<_, io::Error>(())
        })
        .unwrap();
        let [EntryBody::Membership(members)] = bodies.as_slice() else {
            panic!("{bodies:?}");
        };
        assert_eq!(members.voters, [BTreeSet::from([NodeId(2)])]);
    }
}
