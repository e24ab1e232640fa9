//! Who a node is: its cluster, its number there, and the shards it holds. One small JSON file that outlives the process.
//!
//! ```text
//! <data path>/cluster/identity
//! ```
//! A node that has this file belongs to a cluster and takes part as soon as it starts. A node without it asks its peers
//! ([`crate::bootstrap`]). The file is written before the node says to anyone who it is, so that it never claims one number
//! and later another.
//!
//! There are two files: the readable one, and `identity.copy`, which has a checksum and is written first. Where they differ,
//! the copy counts. So one damaged file does not take a node's number away, and no flipped bit gives it another one.

mod recovery;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::NodeId;
use crate::codec::{DecodeError, Decoder, Wire, put_bytes};
use crate::directory::MemberInfo;
use crate::wal::small_file::{self, explain, sync_folder};

pub use self::recovery::{Recovering, former_clusters};

/// The random number of a cluster. Nodes of different clusters refuse each other. 0 stands for "none yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u128);

impl ClusterId {
    /// No cluster yet.
    pub const NONE: Self = Self(0);
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A text that is no cluster id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a cluster id of 32 hexadecimal digits")]
pub struct InvalidClusterId(String);

impl FromStr for ClusterId {
    type Err = InvalidClusterId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match u128::from_str_radix(text, 16) {
            Ok(id) if is_hex && id != 0 => Ok(Self(id)),
            _ => Err(InvalidClusterId(text.to_owned())),
        }
    }
}

/// The first members of a cluster, as its founder has numbered them.
pub type Founders = BTreeMap<NodeId, MemberInfo>;

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its number.
    pub node: NodeId,
    /// The shard it owns, once the directory has given it one.
    pub own_shard: Option<u64>,
    /// The first members, until the directory is known to list them. The leader of a directory that is still empty proposes
    /// [`Change::Found`](crate::directory::Change::Found) with them.
    pub founders: Option<Founders>,
    /// The shards of which there is a folder here. Noted before the folder is created, and until it is removed.
    pub shards: BTreeSet<u64>,
}

/// Why the identity cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The operating system refuses.
    #[error(transparent)]
    File(#[from] io::Error),
    /// The file holds something else.
    #[error(
        "{path} is damaged: {why}; if the other members hold this node's data, move the folder that contains it out of \
         the way and start again: the node then joins as an empty one"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A later version wrote it.
    #[error(
        "{path} was written by a later version of nsqd: its format is {found}, and this nsqd reads up to {VERSION}"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
}

impl Identity {
    /// A node's identity before it holds anything.
    pub fn new(cluster: ClusterId, node: NodeId) -> Self {
        Self {
            cluster,
            node,
            own_shard: None,
            founders: None,
            shards: BTreeSet::new(),
        }
    }

    /// Reads the identity from the folder `cluster` of the data path; `None` when the node has none. If one of the two files
    /// is damaged, the other one takes its place.
    ///
    /// # Errors
    /// When there is one and it cannot be read.
    pub fn load(folder: &Path) -> Result<Option<Self>, IdentityError> {
        let Some((identity, is_whole)) = Self::find(folder)? else {
            return Ok(None);
        };
        if !is_whole {
            identity.restore(folder);
        }
        Ok(Some(identity))
    }

    /// As [`load`](Self::load), and without a change to either file.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn look(folder: &Path) -> Result<Option<Self>, IdentityError> {
        Ok(Self::find(folder)?.map(|(identity, _)| identity))
    }

    /// The identity, and whether both files have it.
    fn find(folder: &Path) -> Result<Option<(Self, bool)>, IdentityError> {
        let path = folder.join(FILE);
        let found = match fs::read(&path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(explain(&error, "read", &path).into()),
        };
        let copy = match small_file::read::<Copied>(folder, COPY) {
            Ok(copy) => copy.map(|Copied(json)| json.into_bytes()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::warn!("cluster: {error}; {} is used instead", path.display());
                None
            }
            Err(error) => return Err(error.into()),
        };
        match (copy, found) {
            (Some(copy), found) => {
                let identity = Self::parse(&copy, &folder.join(COPY))?;
                let is_whole = found.as_ref() == Some(&copy);
                if !is_whole {
                    tracing::warn!(
                        "cluster: {} is missing or damaged, and {COPY} is used",
                        path.display()
                    );
                }
                Ok(Some((identity, is_whole)))
            }
            (None, Some(found)) => Ok(Some((Self::parse(&found, &path)?, false))),
            (None, None) => Ok(None),
        }
    }

    /// Writes the identity to the folder `cluster` of the data path, which is created if needed. Once this has returned the
    /// file survives a crash of the machine; before, the old one does.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn store(&self, folder: &Path) -> Result<(), IdentityError> {
        if !folder.is_dir() {
            fs::create_dir_all(folder).map_err(|error| explain(&error, "create", folder))?;
            if let Some(parent) = folder.parent() {
                sync_folder(parent)?;
            }
        }
        let mut json =
            serde_json::to_string_pretty(&Stored::from(self)).map_err(io::Error::other)?;
        json.push('\n');
        let copy = Copied(json);
        // First: it counts, so from here on this is who the node is.
        small_file::replace(folder, COPY, &copy)?;
        let Copied(json) = copy;
        let path = folder.join(FILE);
        let new = folder.join(format!("{FILE}.new"));
        let mut file = File::create(&new).map_err(|error| explain(&error, "create", &new))?;
        file.write_all(json.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(|error| explain(&error, "write", &new))?;
        drop(file);
        fs::rename(&new, &path).map_err(|error| explain(&error, "rename", &new))?;
        sync_folder(folder)?;
        Ok(())
    }

    /// Writes both files again; if the disk refuses, the next start does.
    fn restore(&self, folder: &Path) {
        if let Err(error) = self.store(folder) {
            tracing::warn!("cluster: {error}");
        }
    }

    fn parse(bytes: &[u8], path: &Path) -> Result<Self, IdentityError> {
        let damaged = |why: String| IdentityError::Damaged {
            path: path.to_path_buf(),
            why,
        };
        // The version first: a later format may have other fields.
        let version: Version =
            serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        match version.version {
            VERSION => {}
            0 => return Err(damaged("its version is 0".to_owned())),
            found => {
                return Err(IdentityError::Newer {
                    path: path.to_path_buf(),
                    found,
                });
            }
        }
        let stored: Stored =
            serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        stored.check().map_err(damaged)
    }
}

/// What the file says in any version.
#[derive(Deserialize)]
struct Version {
    version: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u64,
    cluster_id: String,
    node_id: u64,
    own_shard: Option<u64>,
    shards: BTreeSet<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    founders: Option<BTreeMap<u64, MemberInfo>>,
}

impl From<&Identity> for Stored {
    fn from(identity: &Identity) -> Self {
        let founders = identity.founders.as_ref().map(|founders| {
            let plain = founders.iter().map(|(node, about)| (node.0, about.clone()));
            plain.collect()
        });
        Self {
            version: VERSION,
            cluster_id: identity.cluster.to_string(),
            node_id: identity.node.0,
            own_shard: identity.own_shard,
            shards: identity.shards.clone(),
            founders,
        }
    }
}

impl Stored {
    fn check(self) -> Result<Identity, String> {
        let cluster = ClusterId::from_str(&self.cluster_id).map_err(|error| error.to_string())?;
        if self.node_id == 0 {
            return Err("its node_id is 0".to_owned());
        }
        if self.own_shard == Some(0) || self.shards.contains(&0) {
            return Err("shard 0 does not exist".to_owned());
        }
        let node = NodeId(self.node_id);
        let founders: Option<Founders> = self.founders.map(|founders| {
            let numbered = founders.into_iter();
            numbered
                .map(|(node, about)| (NodeId(node), about))
                .collect()
        });
        if let Some(founders) = &founders {
            if !founders.contains_key(&node) {
                return Err(format!("node {node} is not among the founders"));
            }
            for about in founders.values() {
                about.check().map_err(|error| error.to_string())?;
            }
        }
        Ok(Identity {
            cluster,
            node,
            own_shard: self.own_shard,
            founders,
            shards: self.shards,
        })
    }
}

/// The copy of the readable file.
struct Copied(String);

impl Wire for Copied {
    fn encode(&self, to: &mut Vec<u8>) {
        put_bytes(to, self.0.as_bytes());
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self(from.text(MAX_BYTES, "an identity")?))
    }
}

const FILE: &str = "identity";
const COPY: &str = "identity.copy";
/// Much more than an identity takes.
const MAX_BYTES: usize = 16 << 20;
const VERSION: u64 = 1;

#[cfg(test)]
mod tests;
