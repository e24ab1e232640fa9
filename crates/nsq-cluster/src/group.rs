//! A Raft group as its node sees it: one replica, with a log, a state machine, and links to the other replicas.
//!
//! ```text
//! propose ─▶ proposer ─▶ one entry for all that waits ─▶ log, followers ─▶ committed ─▶ applied ─▶ outcome
//! handle  ─▶ requests of other nodes for this group
//! upkeep  ─▶ syncs by timer, checkpoints and purges by bytes
//! ```
//! A [`Group`] is what nsqd holds of a shard or of the directory. It never retries for its caller: whether a proposal that may
//! or may not have been stored is to be proposed again is not for Raft to say.

mod divergence;
mod proposer;
mod receive;
mod replica;
mod role;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

pub use self::proposer::{Applied, ProposeError};
pub use self::replica::{ChangeError, StartError};
pub use self::role::{GroupMetrics, Role, Standing};

use self::replica::Replica;
use crate::codec::{Answer, LogId, Membership, Request};
use crate::lane::Lane;
use crate::network::{Network, Transfers};
use crate::raft::Tokio;
use crate::state_machine::StateMachine;
use crate::wal::{RecoverError, Wal, WalOptions};
use crate::{GroupId, Member, NodeId};

/// The members of a group as of the last entry that the replica in `folder` has applied; `None` if it has applied none. For a
/// replica that is not open.
///
/// # Errors
/// [`std::io::ErrorKind::InvalidData`] when the file is damaged, otherwise what the operating system answered.
pub fn stored_members(folder: &std::path::Path) -> std::io::Result<Option<Membership>> {
    crate::raft::stored_members(folder)
}

/// Makes `node` the only member of its group, for a replica that is not open; see [`RecoverError`] and
/// `nsqd --cluster-recover`. `executed` is the last entry that the state machine has executed. With `has_checkpoint`, what it
/// has on its disk does not follow from the entries: these are purged, so that others receive the state.
///
/// # Errors
/// [`RecoverError`].
pub fn recover(
    (wal, folder): (&std::path::Path, &std::path::Path),
    options: &WalOptions,
    node: NodeId,
    member: &Member,
    executed: Option<LogId>,
    has_checkpoint: bool,
) -> Result<LogId, RecoverError> {
    let id = crate::wal::recover(wal, options, node, member.clone(), executed, has_checkpoint)?;
    crate::raft::store_members(folder, id, Membership::alone(node, member.clone()))?;
    Ok(id)
}

/// What a replica is made of, besides its log and its state machine.
#[derive(Clone, Debug)]
pub struct GroupOptions {
    /// The group.
    pub group: GroupId,
    /// This node.
    pub node: NodeId,
    /// A folder for what the replica keeps besides its log.
    pub folder: PathBuf,
    /// How the other nodes are reached.
    pub network: Arc<dyn Network>,
    /// This node's offers to others.
    pub transfers: Arc<Transfers>,
    /// Where the state machine runs.
    pub applier: Arc<dyn Lane>,
    /// Where files of checkpoints are read.
    pub reader: Arc<dyn Lane>,
    /// Sizes and times.
    pub limits: GroupLimits,
}

/// Sizes and times of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupLimits {
    /// Bytes of one entry, about. A larger proposal is refused.
    pub max_entry_bytes: usize,
    /// Bytes of proposals that wait to be proposed or to be committed. Who proposes more waits.
    pub max_pending_bytes: usize,
    /// Bytes of log kept for followers that are a little behind.
    pub kept_log_bytes: u64,
    /// Bytes of log kept for the slowest follower. One that is further behind gets a checkpoint.
    pub max_log_bytes: u64,
    /// How often a log that does not sync each append is synced.
    pub sync_every: Duration,
    /// How long a leader that has lost touch with a majority holds proposals back before it refuses them.
    pub hold: Duration,
}

impl Default for GroupLimits {
    fn default() -> Self {
        Self {
            max_entry_bytes: 8 << 20,
            max_pending_bytes: 64 << 20,
            kept_log_bytes: 64 << 20,
            max_log_bytes: 1 << 30,
            sync_every: Duration::from_secs(2),
            hold: Duration::from_secs(3),
        }
    }
}

/// A replica of one group. Clones share it. Lives until [`shutdown`](Self::shutdown).
#[derive(Clone)]
pub struct Group(Replica<Tokio>);

impl Group {
    /// Starts the replica. It takes part from now on: [`handle`](Self::handle) must be reachable for the other nodes.
    ///
    /// # Errors
    /// When what is on the disk does not go together.
    pub async fn start(
        options: GroupOptions,
        wal: Wal,
        machine: Box<dyn StateMachine>,
    ) -> Result<Self, StartError> {
        Replica::start(options, wal, machine).await.map(Self)
    }

    /// Makes `members` the voters of a group that has none yet. One of them has to do it; if several do, then with the same
    /// members.
    ///
    /// # Errors
    /// When the replica has entries or a vote already: another member may have been quicker.
    pub async fn initialize(&self, members: BTreeMap<NodeId, Member>) -> Result<(), ChangeError> {
        self.0.initialize(members).await
    }

    /// Proposes a change of the state; completes once it is committed and applied here.
    ///
    /// # Errors
    /// [`ProposeError`] says whether the proposal may have been stored nevertheless.
    pub async fn propose(&self, proposal: Bytes) -> Result<Applied, ProposeError> {
        self.0.propose(proposal).await
    }

    /// This replica's standing, and every change of it.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.0.standing()
    }

    /// The leader, as far as this replica knows.
    pub fn leader(&self) -> Option<NodeId> {
        self.0.standing().borrow().leader
    }

    /// Completes once this replica is known to lead and has applied everything that was committed before: from then on its
    /// state may be served.
    ///
    /// # Errors
    /// When another one leads, or none.
    pub async fn confirm_leadership(&self) -> Result<(), ProposeError> {
        self.0.confirm_leadership().await
    }

    /// Adds a learner, which receives the state and every entry, and has no vote. Completes once that is committed.
    ///
    /// # Errors
    /// When this replica does not lead, or another change is under way.
    pub async fn add_learner(&self, node: NodeId, member: Member) -> Result<LogId, ChangeError> {
        self.0.add_learner(node, member).await
    }

    /// Makes `voters` the voters; they are learners or voters already. Voters that are not among them become learners.
    ///
    /// # Errors
    /// When this replica does not lead, or another change is under way.
    pub async fn set_voters(&self, voters: BTreeSet<NodeId>) -> Result<LogId, ChangeError> {
        self.0.set_voters(voters).await
    }

    /// Removes learners.
    ///
    /// # Errors
    /// When this replica does not lead, or one of them is a voter.
    pub async fn remove(&self, nodes: BTreeSet<NodeId>) -> Result<LogId, ChangeError> {
        self.0.remove(nodes).await
    }

    /// Asks the voter `to` to take over. Whether it does is seen in [`standing`](Self::standing).
    ///
    /// # Errors
    /// When the replica has stopped.
    pub async fn transfer_to(&self, to: NodeId) -> Result<(), ChangeError> {
        self.0.transfer_to(to).await
    }

    /// Makes a checkpoint and purges the log up to it: replicas that join from now on begin with the checkpoint. For a leader
    /// whose state held something before the group began, which no entry brings to the others. Completes once the log is
    /// purged.
    ///
    /// # Errors
    /// When the replica has stopped, has applied nothing yet, or does not make the checkpoint in a minute.
    pub async fn checkpoint_now(&self) -> Result<(), ChangeError> {
        self.0.checkpoint_now().await
    }

    /// Figures about the replica.
    pub fn metrics(&self) -> GroupMetrics {
        self.0.metrics()
    }

    /// What the disk refuses at the moment, if anything; also that it has no room for another entry.
    pub async fn trouble(&self) -> Option<Arc<str>> {
        match self.0.shared().wal.reserve(1).await {
            Ok(()) => self.metrics().trouble,
            Err(error) => Some(error.to_string().into()),
        }
    }

    /// Has the next start of this node not trust the replica, so that it receives it again. Blocks on the disk. The process is to
    /// end afterwards without [`shutdown`](Self::shutdown).
    ///
    /// # Errors
    /// When the disk does not take the note.
    pub fn distrust(&self, why: &str) -> std::io::Result<()> {
        self.0.shared().wal.distrust(why)
    }

    /// What shows that this replica has executed entries which the group does not have, if it has. It takes no more of them
    /// then, and must be received again.
    pub fn divergence(&self) -> Option<String> {
        self.0.shared().divergence.why()
    }

    /// Answers a request of the node `from` that is meant for this group.
    pub async fn handle(&self, from: NodeId, request: Request) -> Answer {
        self.0.handle(from, request).await
    }

    /// Stops the replica and closes its log in order.
    pub async fn shutdown(&self) {
        self.0.shutdown().await;
    }
}
