//! Replicas that a node has set aside, since it could not trust its disk.
//!
//! ```text
//! cluster/damaged-<unix time>/why                        what was wrong
//! cluster/damaged-<unix time>/directory                  its replica of the directory
//! cluster/damaged-<unix time>/shard-<n>/{wal,raft,meta}  its replica of a shard
//! cluster/damaged-<unix time>/shard-<n>/data             the shard's data, of its own shard too
//! cluster/crashed-<unix time>                            the same after a crash of the machine, without damage
//! ```
//! The node receives everything again from the others. Segments that prove to be whole need not be sent and move from here to
//! the new replica; everything else stays for an operator to look at. After a crash there is nothing to look at, so the
//! folder goes once the node has received everything.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nsq_cluster::identity::Identity;
use nsq_queue::{private, sync_folder};
use serde::{Deserialize, Serialize};

use super::folders::{DATA, Folders, remove};
use crate::clock;

/// Why replicas were set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AsideKind {
    /// The machine crashed, and may have taken acknowledged entries with it.
    Crashed,
    /// Something is damaged or missing.
    Damaged,
}

/// Damaged replicas that were set aside, for reports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SetAside {
    pub(crate) folder: String,
    pub(crate) why: String,
}

impl Folders {
    /// Whether a process was ended while it set replicas aside.
    pub(super) fn is_setting_aside(&self) -> io::Result<bool> {
        self.root().join(SETTING_ASIDE).try_exists()
    }

    /// Moves all replicas of this node into a folder of their own, which is returned. Until
    /// [`finish_setting_aside`](Self::finish_setting_aside), a start knows that it was interrupted.
    pub(super) fn set_replicas_aside(
        &self,
        kind: AsideKind,
        identity: &Identity,
        why: &str,
    ) -> io::Result<PathBuf> {
        let root = self.root();
        write(&root.join(SETTING_ASIDE), "")?;
        self.remove_old(kind)?;
        let aside = self.new_aside(kind)?;
        write(&aside.join(WHY), why)?;
        move_into(&aside, &self.directory())?;
        for number in &identity.shards {
            move_into(&aside, &self.shard(*number))?;
        }
        if let Some(own) = identity.own_shard {
            let data = data_in(&aside, own);
            private::create_folders(&data)?;
            for name in DATA {
                move_into(&data, &self.data_path().join(name))?;
            }
            sync(&data)?;
            sync(self.data_path())?;
        }
        sync(&aside)?;
        sync(&root)?;
        Ok(aside)
    }

    /// The new replicas exist.
    pub(super) fn finish_setting_aside(&self) -> io::Result<()> {
        fs::remove_file(self.root().join(SETTING_ASIDE))?;
        sync(&self.root())
    }

    /// The data of a shard that were set aside last, if there are any.
    pub(super) fn data_set_aside(&self, number: u64) -> io::Result<Option<PathBuf>> {
        let newest = self.asides(&[CRASHED, DAMAGED])?.into_iter().next_back();
        let data = newest.map(|(_, aside)| data_in(&aside, number));
        Ok(data.filter(|data| data.is_dir()))
    }

    /// Removes what a crash has set aside: the node has received everything.
    pub(super) fn remove_crashed(&self) -> io::Result<()> {
        for (_, aside) in self.asides(&[CRASHED])? {
            remove(&aside)?;
        }
        Ok(())
    }

    /// The damaged replicas that are set aside.
    pub(super) fn damaged(&self) -> io::Result<Vec<SetAside>> {
        let asides = self.asides(&[DAMAGED])?.into_iter();
        let damaged = asides.map(|(_, aside)| SetAside {
            // A folder without a reason is one that was being made.
            why: fs::read_to_string(aside.join(WHY)).unwrap_or_default(),
            folder: aside.display().to_string(),
        });
        Ok(damaged.collect())
    }

    /// Replicas set aside, the oldest first.
    fn asides(&self, kinds: &[&str]) -> io::Result<Vec<(u64, PathBuf)>> {
        let mut asides = Vec::new();
        for entry in fs::read_dir(self.root())? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let number = kinds.iter().find_map(|kind| name.strip_prefix(kind));
            if let Some(Ok(number)) = number.map(str::parse) {
                asides.push((number, entry.path()));
            }
        }
        asides.sort();
        Ok(asides)
    }

    /// Keeps the disk from filling with replicas that were damaged again and again.
    fn remove_old(&self, kind: AsideKind) -> io::Result<()> {
        self.remove_crashed()?;
        let damaged = self.asides(&[DAMAGED])?;
        let kept = match kind {
            AsideKind::Crashed => MOST_KEPT,
            AsideKind::Damaged => MOST_KEPT - 1,
        };
        for (_, aside) in damaged.iter().rev().skip(kept) {
            tracing::warn!(
                "cluster: removing {}, since newer replicas are set aside",
                aside.display()
            );
            remove(aside)?;
        }
        Ok(())
    }

    fn new_aside(&self, kind: AsideKind) -> io::Result<PathBuf> {
        let newest = self.asides(&[CRASHED, DAMAGED])?.into_iter().next_back();
        let now = u64::try_from(clock::unix_nanos() / 1_000_000_000).unwrap_or(0);
        let number = newest.map_or(now, |(newest, _)| now.max(newest + 1));
        let kind = match kind {
            AsideKind::Crashed => CRASHED,
            AsideKind::Damaged => DAMAGED,
        };
        let aside = self.root().join(format!("{kind}{number}"));
        private::create_folders(&aside)?;
        Ok(aside)
    }
}

fn data_in(aside: &Path, number: u64) -> PathBuf {
    aside.join(format!("shard-{number}")).join("data")
}

/// Moves a file or folder, if it is there.
fn move_into(folder: &Path, from: &Path) -> io::Result<()> {
    let Some(name) = from.file_name() else {
        return Ok(());
    };
    match fs::rename(from, folder.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        moved => moved,
    }
}

/// Writes a small file to the disk.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut options = private::file_options();
    let mut file = options.write(true).create(true).truncate(true).open(path)?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    file.sync_all()?;
    path.parent().map_or(Ok(()), sync)
}

fn sync(folder: &Path) -> io::Result<()> {
    sync_folder(folder).map_err(|error| error.source)
}

const DAMAGED: &str = "damaged-";
const CRASHED: &str = "crashed-";
const WHY: &str = "why";
/// Exists while replicas are being set aside.
const SETTING_ASIDE: &str = "setting-aside";
/// So many folders of damaged replicas are kept.
const MOST_KEPT: usize = 2;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use nsq_cluster::{ClusterId, NodeId};

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    /// A node that owns shard 2 and has a replica of shard 3.
    fn fill(folders: &Folders) -> Identity {
        folders.prepare().unwrap();
        fs::create_dir_all(folders.directory().join("wal")).unwrap();
        fs::create_dir_all(folders.shard(2).join("wal")).unwrap();
        fs::create_dir_all(folders.data_of(3).join("topics")).unwrap();
        fs::create_dir_all(folders.data_path().join("topics")).unwrap();
        fs::write(folders.data_path().join("nsqd.dat"), "{}").unwrap();
        Identity {
            own_shard: Some(2),
            shards: BTreeSet::from([2, 3]),
            ..Identity::new(ClusterId(7), NodeId(1))
        }
    }

    #[test]
    fn replicas_are_set_aside_with_their_data_and_an_interruption_is_noticed() {
        let path = tempfile::tempdir().unwrap();
        let folders = Folders::new(path.path());
        let identity = fill(&folders);
        let aside = folders.set_replicas_aside(AsideKind::Damaged, &identity, "a flipped bit");
        let aside = aside.unwrap();
        assert!(folders.is_setting_aside().unwrap());
        folders.finish_setting_aside().unwrap();
        assert!(!folders.is_setting_aside().unwrap());
        assert_eq!(names(path.path()), ["cluster"]);
        assert_eq!(names(&aside), ["directory", "shard-2", "shard-3", "why"]);
        assert_eq!(names(&aside.join("shard-2")), ["data", "wal"]);
        assert_eq!(names(&data_in(&aside, 2)), ["nsqd.dat", "topics"]);
        assert_eq!(names(&data_in(&aside, 3)), ["topics"]);
        let data = folders.data_set_aside(3).unwrap();
        assert_eq!(data, Some(data_in(&aside, 3)));
        let reported = folders.damaged().unwrap();
        assert_eq!(reported[0].why, "a flipped bit");
        assert_eq!(reported[0].folder, aside.display().to_string());
    }

    #[test]
    fn only_the_newest_damaged_replicas_are_kept_and_none_of_a_crash() {
        let path = tempfile::tempdir().unwrap();
        let folders = Folders::new(path.path());
        for kind in [AsideKind::Damaged, AsideKind::Crashed, AsideKind::Damaged] {
            let identity = fill(&folders);
            folders.set_replicas_aside(kind, &identity, "").unwrap();
        }
        let first = folders.damaged().unwrap();
        assert_eq!(first.len(), 2);
        assert_eq!(folders.asides(&[CRASHED]).unwrap().len(), 0);
        let identity = fill(&folders);
        folders
            .set_replicas_aside(AsideKind::Damaged, &identity, "")
            .unwrap();
        let then = folders.damaged().unwrap();
        assert_eq!(then.len(), 2);
        assert_eq!(then[0], first[1]);
        let identity = fill(&folders);
        folders
            .set_replicas_aside(AsideKind::Crashed, &identity, "")
            .unwrap();
        assert!(folders.data_set_aside(3).unwrap().is_some());
        folders.remove_crashed().unwrap();
        assert_eq!(folders.damaged().unwrap(), then);
    }
}
