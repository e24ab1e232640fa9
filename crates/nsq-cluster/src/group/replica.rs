//! One replica, whatever runtime it runs on.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, LinearizableReadError, RaftError};
use openraft::type_config::TypeConfigExt;
use openraft::{ChangeMembers, Config, Raft, ReadPolicy, SnapshotPolicy, StepDownPolicy};
use tokio::sync::watch;

use super::divergence::Divergence;
use super::proposer::{Applied, ProposeError, Proposer};
use super::role::{self, GroupMetrics, Standing};
use super::{GroupOptions, upkeep};
use crate::codec::LogId;
use crate::raft::{Links, LogStore, Machine, Types, convert};
use crate::state_machine::StateMachine;
use crate::wal::Wal;
use crate::{Member, NodeId};

/// Why a replica does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] io::Error),
    /// The log, the vote and the state do not go together.
    #[error("the replica of {group} cannot start: {why}")]
    Inconsistent {
        /// The group.
        group: crate::GroupId,
        /// What is wrong.
        why: String,
    },
}

/// Why the members of a group are not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Another replica leads, or none does.
    #[error("this node does not lead the group")]
    NotLeader {
        /// The leader, if it is known.
        leader: Option<NodeId>,
    },
    /// The change may or may not take effect: leadership was lost in the middle of it.
    #[error("leadership was lost during the change")]
    Unconfirmed,
    /// The change is not possible now.
    #[error("{0}")]
    Refused(String),
    /// The replica has stopped.
    #[error("the replica has stopped")]
    Stopped,
}

/// One replica. Clones share it.
pub(super) struct Replica<C: Types>(Arc<Shared<C>>);

impl<C: Types> Clone for Replica<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

pub(super) struct Shared<C: Types> {
    pub(super) options: GroupOptions,
    pub(super) raft: Raft<C, Machine<C>>,
    pub(super) wal: Wal,
    pub(super) machine: Machine<C>,
    pub(super) log: LogStore<C>,
    pub(super) proposer: Proposer,
    /// Held while a checkpoint is being received: one at a time.
    pub(super) receiving: tokio::sync::Mutex<()>,
    pub(super) divergence: Divergence,
    standing: watch::Receiver<Standing>,
    stop: watch::Sender<bool>,
}

impl<C: Types> Shared<C> {
    /// Turns true when the replica is to stop.
    pub(super) fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Completes after `delay`, or when the replica is to stop; says whether it continues.
    pub(super) async fn pause(&self, delay: Duration) -> bool {
        let mut stop = self.stopping();
        let stopped = stop.wait_for(|is_stopping| *is_stopping);
        match C::select2(stopped, C::sleep(delay)).await {
            openraft::async_runtime::Select2::First(_) => false,
            openraft::async_runtime::Select2::Second(()) => true,
        }
    }
}

impl<C: Types> Replica<C> {
    pub(super) async fn start(
        options: GroupOptions,
        wal: Wal,
        machine: Box<dyn StateMachine>,
    ) -> Result<Self, StartError> {
        std::fs::create_dir_all(&options.folder)?;
        let machine = Machine::open(&options.folder, Arc::clone(&options.applier), machine)?;
        let log = LogStore::new(wal.clone());
        let links = Links {
            me: options.node,
            group: options.group,
            network: Arc::clone(&options.network),
            transfers: Arc::clone(&options.transfers),
            reader: Arc::clone(&options.reader),
            types: PhantomData,
        };
        let config = Arc::new(config(&options));
        let raft =
            Raft::<C, Machine<C>>::new(options.node, config, links, log.clone(), machine.clone())
                .await
                .map_err(|fatal| StartError::Inconsistent {
                    group: options.group,
                    why: fatal.to_string(),
                })?;
        let (proposer, waiting) = Proposer::new(&options.limits);
        let initial = role::standing_of(&raft.metrics().borrow_watched());
        let (sender, standing) = watch::channel(initial);
        let shared = Arc::new(Shared {
            options,
            raft,
            wal,
            machine,
            log,
            proposer,
            receiving: tokio::sync::Mutex::new(()),
            divergence: Divergence::default(),
            standing,
            stop: watch::Sender::new(false),
        });
        spawn::<C>(role::watch_standing(Arc::clone(&shared), sender));
        spawn::<C>(super::proposer::run(Arc::clone(&shared), waiting));
        spawn::<C>(upkeep::run(Arc::clone(&shared)));
        Ok(Self(shared))
    }

    pub(super) fn shared(&self) -> &Arc<Shared<C>> {
        &self.0
    }

    pub(super) async fn initialize(
        &self,
        members: BTreeMap<NodeId, Member>,
    ) -> Result<(), ChangeError> {
        let initialized = self.0.raft.initialize(members).await;
        initialized.map_err(|error| match error {
            RaftError::APIError(error) => ChangeError::Refused(error.to_string()),
            RaftError::Fatal(_) => ChangeError::Stopped,
        })
    }

    pub(super) async fn propose(&self, proposal: Bytes) -> Result<Applied, ProposeError> {
        self.0.proposer.propose(proposal).await
    }

    pub(super) fn standing(&self) -> watch::Receiver<Standing> {
        self.0.standing.clone()
    }

    pub(super) async fn confirm_leadership(&self) -> Result<(), ProposeError> {
        let confirmed = self.0.raft.ensure_linearizable(ReadPolicy::ReadIndex).await;
        match confirmed {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(ProposeError::NotLeader {
                    leader: forward.leader_id,
                })
            }
            Err(RaftError::APIError(_)) => Err(ProposeError::NoMajority),
            Err(RaftError::Fatal(_)) => Err(ProposeError::Stopped),
        }
    }

    pub(super) async fn add_learner(
        &self,
        node: NodeId,
        member: Member,
    ) -> Result<LogId, ChangeError> {
        self.change(ChangeMembers::AddNodes(BTreeMap::from([(node, member)])))
            .await
    }

    pub(super) async fn set_voters(&self, voters: BTreeSet<NodeId>) -> Result<LogId, ChangeError> {
        self.change(ChangeMembers::ReplaceAllVoters(voters)).await
    }

    pub(super) async fn remove(&self, nodes: BTreeSet<NodeId>) -> Result<LogId, ChangeError> {
        self.change(ChangeMembers::RemoveNodes(nodes)).await
    }

    async fn change(&self, change: ChangeMembers<NodeId, Member>) -> Result<LogId, ChangeError> {
        match self.0.raft.change_membership(change, true).await {
            Ok(done) => Ok(convert::log_id(&done.log_id)),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                Err(ChangeError::NotLeader {
                    leader: forward.leader_id,
                })
            }
            Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_))) => {
                Err(ChangeError::Unconfirmed)
            }
            Err(RaftError::APIError(error)) => Err(ChangeError::Refused(error.to_string())),
            Err(RaftError::Fatal(_)) => Err(ChangeError::Stopped),
        }
    }

    pub(super) async fn transfer_to(&self, to: NodeId) -> Result<(), ChangeError> {
        let transfer = self.0.raft.trigger().transfer_leader(to).await;
        transfer.map_err(|_| ChangeError::Stopped)
    }

    pub(super) async fn checkpoint_now(&self) -> Result<(), ChangeError> {
        upkeep::checkpoint_now(&self.0).await
    }

    pub(super) fn metrics(&self) -> GroupMetrics {
        let metrics = self.0.raft.metrics().borrow_watched().clone();
        let held_by = metrics.replication.iter().flatten();
        let (heard_from, majority_heard) = role::heard_by(&metrics);
        GroupMetrics {
            standing: role::standing_of(&metrics),
            last: metrics.last_log_index,
            committed: metrics.local_committed.as_ref().map(convert::log_id),
            applied: metrics.last_applied.as_ref().map(convert::log_id),
            purged: metrics.purged.as_ref().map(convert::log_id),
            held_by: held_by
                .map(|(node, id)| (*node, id.as_ref().map(convert::log_id)))
                .collect(),
            heard_from,
            majority_heard,
            log_bytes: self.0.wal.disk_bytes(),
            unstored_bytes: self.0.wal.unstored_bytes(),
            trouble: self.0.wal.trouble().or_else(|| self.0.machine.trouble()),
        }
    }

    pub(super) async fn shutdown(&self) {
        self.0.stop.send_replace(true);
        // Its tasks have ended afterwards, with or without an error that is known already.
        let _ = self.0.raft.shutdown().await;
        let _ = self.0.wal.close().await;
    }
}

/// Runs a task that ends with its replica.
pub(super) fn spawn<C: Types>(task: impl Future<Output = ()> + Send + 'static) {
    drop(C::spawn(task));
}

/// openraft's settings. Those that are not the defaults are so for a reason that openraft's users found out the hard way.
fn config(options: &GroupOptions) -> Config {
    Config {
        cluster_name: options.group.to_string(),
        // One each 200 ms, with ticks that are in step. It is a bit less, so that no tick comes too early for it.
        heartbeat_interval: 190,
        election_timeout_min: 500,
        election_timeout_max: 1000,
        // A node that comes back must not unseat a leader that everyone else hears.
        enable_pre_vote: Some(true),
        // A restarted leader has to be elected again: it may not know what was committed.
        enable_leader_restore: Some(false),
        // A follower whose log went back has lost what it acknowledged. A log that may lack something notices that itself and
        // does not vote; what is left is a folder that was replaced by an older copy. The leader sends what is missing again:
        // otherwise one such folder would end the leaders of the sound nodes.
        allow_log_reversion: Some(true),
        // Followers that hear a leader which does not hear them would never elect another one.
        quorum_loss_probe_interval: Some(2000),
        // Replication need not wait for the leader's own disk.
        broadcast_submitted_on_append: Some(true),
        // Checkpoints and purges go by bytes, in `upkeep`; a follower gets entries for as long as there are any.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        replication_lag_threshold: u64::MAX,
        // Entries are large, since each holds a batch; requests are limited by bytes.
        max_payload_entries: 64,
        removed_leader_step_down: StepDownPolicy::After(1000),
        backoff: "100ms 200ms ...1s".to_owned(),
        ..Config::default()
    }
    .validate()
    .expect("the settings are constants")
}
