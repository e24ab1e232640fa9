//! The lanes on which the disk work of one Raft group runs: threads, in nsqd.

use std::io;
use std::sync::Arc;

use nsq_cluster::lane::Lane;
use nsq_cluster::wal::WalLanes;

use super::platform::Platform;

/// The lanes of one group.
#[derive(Debug, Clone)]
pub(crate) struct GroupLanes {
    /// Writes the write-ahead log.
    writer: Arc<dyn Lane>,
    /// Reads the write-ahead log, and files of checkpoints.
    pub(crate) reader: Arc<dyn Lane>,
    /// Where the state machine runs.
    pub(crate) applier: Arc<dyn Lane>,
}

impl GroupLanes {
    /// Starts the lanes; `name` is at most 11 bytes long.
    pub(crate) fn start(name: &str, platform: &dyn Platform) -> io::Result<GroupLanes> {
        let lane = |what: &str| platform.lane(&format!("{name}-{what}"));
        Ok(GroupLanes {
            writer: lane("log")?,
            reader: lane("read")?,
            applier: lane("data")?,
        })
    }

    /// The lanes of the write-ahead log.
    pub(crate) fn of_log(&self) -> WalLanes {
        WalLanes {
            writer: Arc::clone(&self.writer),
            reader: Arc::clone(&self.reader),
        }
    }
}
