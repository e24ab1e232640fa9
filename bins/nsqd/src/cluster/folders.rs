//! The folders that a node of a cluster keeps in its data path.
//!
//! ```text
//! topics, nsqd.dat                    the own shard's data, as of a single node
//! cluster/identity                    who this node is
//! cluster/directory/{wal,raft,state}  its replica of the directory
//! cluster/shard-<n>/{wal,raft,meta}   its replica of a shard; of other nodes' shards also the data
//! cluster/damaged-<unix time>         replicas that it has set aside (see `aside`)
//! ```

use std::io;
use std::path::{Path, PathBuf};

use nsq_cluster::identity::Identity;
use nsq_queue::private;

/// The folders of one node.
#[derive(Debug, Clone)]
pub(crate) struct Folders {
    data_path: PathBuf,
}

impl Folders {
    pub(crate) fn new(data_path: &Path) -> Folders {
        Folders {
            data_path: data_path.to_owned(),
        }
    }

    /// Makes the folder of everything that concerns the cluster, and finishes removals that a kill interrupted.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        private::create_folders(&self.root())?;
        for entry in std::fs::read_dir(self.root())? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == GONE) {
                std::fs::remove_dir_all(path)?;
            }
        }
        Ok(())
    }

    /// Refuses replicas of a node that does not know who it is: it could neither vote with them nor know what they are.
    pub(crate) fn check_that_no_replica_is_left(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(self.root())? {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            if name == DIRECTORY || name.starts_with(SHARD) {
                let why = format!(
                    "{name} is there, and the file that says which node this is, identity, is missing with its copy; if the \
                     other members hold this node's data, move the folder {ROOT} out of the way and start again: the node then \
                     joins as an empty one"
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
        }
        Ok(())
    }

    /// Where the own shard's data is.
    pub(crate) fn data_path(&self) -> &Path {
        &self.data_path
    }

    /// Everything but the own shard's data.
    pub(crate) fn root(&self) -> PathBuf {
        self.data_path.join(ROOT)
    }

    /// The replica of the directory.
    pub(crate) fn directory(&self) -> PathBuf {
        self.root().join(DIRECTORY)
    }

    /// The replica of a shard.
    pub(crate) fn shard(&self, number: u64) -> PathBuf {
        self.root().join(format!("{SHARD}{number}"))
    }

    /// The data of another node's shard.
    pub(crate) fn data_of(&self, number: u64) -> PathBuf {
        self.shard(number).join("data")
    }

    /// The data of a shard.
    pub(super) fn data(&self, identity: &Identity, number: u64) -> PathBuf {
        if identity.own_shard == Some(number) {
            self.data_path.clone()
        } else {
            self.data_of(number)
        }
    }

    /// Removes the replica of a shard. The own shard's data stays.
    pub(crate) fn remove_shard(&self, number: u64) -> io::Result<()> {
        remove(&self.shard(number))
    }

    /// Moves the data in the data path to a folder of their own, which could be the data path of another nsqd. Returns it;
    /// `None` if there are none.
    pub(crate) fn set_data_aside(&self, unix_seconds: i64) -> io::Result<Option<PathBuf>> {
        let found: Vec<_> = DATA
            .iter()
            .filter(|name| self.data_path.join(name).exists())
            .collect();
        if found.is_empty() {
            return Ok(None);
        }
        let aside = self.data_path.join(format!("alone.{unix_seconds}"));
        private::create_folders(&aside)?;
        for name in found {
            std::fs::rename(self.data_path.join(name), aside.join(name))?;
        }
        Ok(Some(aside))
    }
}

/// Removes a folder, all of it or nothing.
pub(super) fn remove(folder: &Path) -> io::Result<()> {
    // One rename, so that a kill does not leave half a replica.
    let gone = folder.with_extension(GONE);
    match std::fs::rename(folder, &gone) {
        Ok(()) => std::fs::remove_dir_all(gone),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Sets aside what a node knew of its cluster: from now on it is a single node, which serves the messages of its own shard. Returns
/// where it is now; `None` if there is nothing.
pub(crate) fn set_aside(data_path: &Path, unix_seconds: i64) -> io::Result<Option<PathBuf>> {
    let root = data_path.join(ROOT);
    let aside = data_path.join(format!("{ROOT}.left-{unix_seconds}"));
    match std::fs::rename(root, &aside) {
        Ok(()) => Ok(Some(aside)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Also one of the folders that other users must not read.
pub(crate) const ROOT: &str = "cluster";
/// What a single node has in its data path.
pub(super) const DATA: [&str; 2] = ["topics", "nsqd.dat"];
const DIRECTORY: &str = "directory";
const SHARD: &str = "shard-";
pub(super) const GONE: &str = "gone";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_removed_and_an_interrupted_removal_is_finished() {
        let path = tempfile::tempdir().unwrap();
        let folders = Folders::new(path.path());
        folders.prepare().unwrap();
        for number in [3, 11] {
            std::fs::create_dir_all(folders.data_of(number)).unwrap();
        }
        std::fs::create_dir_all(folders.root().join("shard-7.gone")).unwrap();
        folders.prepare().unwrap();
        let names = || {
            let entries = std::fs::read_dir(folders.root()).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(), ["shard-11", "shard-3"]);
        folders.remove_shard(3).unwrap();
        folders.remove_shard(3).unwrap();
        assert_eq!(names(), ["shard-11"]);
    }

    #[test]
    fn the_data_of_a_single_node_are_set_aside_as_a_whole() {
        let path = tempfile::tempdir().unwrap();
        let folders = Folders::new(path.path());
        assert_eq!(folders.set_data_aside(3).unwrap(), None);
        std::fs::create_dir_all(path.path().join("topics/t.topic")).unwrap();
        std::fs::write(path.path().join("nsqd.dat"), "{}").unwrap();
        let aside = folders.set_data_aside(3).unwrap().unwrap();
        assert!(aside.join("topics/t.topic").is_dir() && aside.join("nsqd.dat").is_file());
        assert!(!path.path().join("topics").exists());
    }

    #[test]
    fn what_a_node_knew_of_its_cluster_is_set_aside_once() {
        let path = tempfile::tempdir().unwrap();
        Folders::new(path.path()).prepare().unwrap();
        let aside = set_aside(path.path(), 17).unwrap();
        assert_eq!(aside, Some(path.path().join("cluster.left-17")));
        assert_eq!(set_aside(path.path(), 18).unwrap(), None);
    }
}
