//! What a replica of a shard is made of, what it reports, and what goes wrong with it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nsq_core::broker::{Host, OpenError};
use nsq_core::metadata::MetadataError;
use nsq_core::replica::ReplicaError;
use nsq_core::{Now, Settings, StoreError};

/// What a replica of a shard is made of.
#[derive(Clone)]
pub struct ShardOptions {
    /// The shard's number. It goes into the ids of its messages.
    pub number: u64,
    /// The folder of its topics, and of `nsqd.dat`. Other files in it are left alone.
    pub data_path: PathBuf,
    /// Data of an earlier replica on the same file system, of which whole segments are taken rather than received.
    pub previous: Option<PathBuf>,
    /// A folder of its own on the same file system, for how far it has got and for what it receives.
    pub folder: PathBuf,
    /// The settings of its broker, while it leads. Those that replication decides are set by the shard.
    pub core: Settings,
    /// The id of the boot of the machine that this process runs in; empty where it is not known.
    pub boot_id: String,
    /// What its broker asks of nsqd.
    pub host: Arc<dyn Host>,
    /// Reads the clocks.
    pub clock: fn() -> Now,
    /// How long a publish waits for a majority.
    pub publish_timeout: Duration,
    /// The most bytes of one entry of the shard's log.
    pub max_entry_bytes: usize,
    /// The most bytes that wait to be proposed.
    pub max_pending_bytes: usize,
}

/// Why a replica cannot be opened, or cannot change from following to leading or back.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    /// Its data path.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its data path, while it follows.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// Its broker.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its list of topics and channels.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// Its own folder.
    #[error("{0}")]
    Folder(#[from] io::Error),
    /// Another node has led in a later term.
    #[error("entries of a later term were applied to shard {0}")]
    NotLeading(u64),
    /// An earlier change failed.
    #[error("the replica's files could not be opened: {0}")]
    Broken(String),
}

impl ShardError {
    /// Whether a file does not hold what was written to it: trying again does not help.
    pub(crate) fn is_damage(&self) -> bool {
        let is_damage = |error: &io::Error| error.kind() == io::ErrorKind::InvalidData;
        match self {
            ShardError::Open(OpenError::Store(StoreError::Io { source, .. }))
            | ShardError::Replica(ReplicaError::Store(StoreError::Io { source, .. }))
            | ShardError::Store(StoreError::Io { source, .. })
            | ShardError::Folder(source) => is_damage(source),
            ShardError::Open(OpenError::Metadata(MetadataError::Parse { .. })) => true,
            _ => false,
        }
    }
}

impl From<ShardError> for io::Error {
    fn from(error: ShardError) -> Self {
        io::Error::other(error)
    }
}

/// Figures about a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardFigures {
    /// The index of the last entry that was applied.
    pub applied: Option<u64>,
    /// Bytes that were accepted and wait to be proposed.
    pub waiting_bytes: usize,
    /// Up to which change of the directory the shard has the topics and channels.
    pub registry_index: u64,
}
