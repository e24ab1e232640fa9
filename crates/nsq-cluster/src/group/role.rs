//! What a replica is at the moment, for those who depend on it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::Fatal;
use openraft::metrics::{RaftMetrics, RaftServerMetrics};
use openraft::type_config::TypeConfigExt;
use tokio::sync::watch;

use super::replica::Shared;
use crate::NodeId;
use crate::codec::{LogId, Membership};
use crate::raft::{Types, convert};

/// What a replica does in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It receives entries and has no vote.
    Learner,
    /// It follows the leader.
    Follower,
    /// It stands for election.
    Candidate,
    /// It leads.
    Leader,
    /// It has stopped, on demand or for good.
    Stopped,
}

/// What a replica is at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What it does.
    pub role: Role,
    /// The newest term it knows.
    pub term: u64,
    /// The leader in that term, if it knows one.
    pub leader: Option<NodeId>,
    /// The members as far as the replica knows, committed or not.
    pub members: Arc<Membership>,
    /// Why the replica cannot continue: a task of it has died, or its files contradict each other. Nothing but a new process
    /// helps then.
    pub failure: Option<Arc<str>>,
}

/// Figures about a replica.
#[derive(Clone, Debug)]
pub struct GroupMetrics {
    /// What it is.
    pub standing: Standing,
    /// The end of its log.
    pub last: Option<u64>,
    /// The newest entry that it knows to be committed.
    pub committed: Option<LogId>,
    /// The newest entry it has applied.
    pub applied: Option<LogId>,
    /// The newest entry it has purged.
    pub purged: Option<LogId>,
    /// Of a leader: what each member surely holds.
    pub held_by: BTreeMap<NodeId, Option<LogId>>,
    /// Of a leader: how long ago it sent the last request that each other member has answered; `None` before the first one.
    pub heard_from: BTreeMap<NodeId, Option<Duration>>,
    /// Of a leader: how long ago it surely had a majority; `None` before it had one.
    pub majority_heard: Option<Duration>,
    /// Bytes of its log's files.
    pub log_bytes: u64,
    /// Bytes of entries that wait for its disk.
    pub unstored_bytes: usize,
    /// What its disk refuses at the moment.
    pub trouble: Option<Arc<str>>,
}

pub(super) fn standing_of<C: Types>(metrics: &RaftMetrics<C>) -> Standing {
    let failure = match &metrics.running_state {
        Ok(()) | Err(Fatal::Stopped) => None,
        Err(fatal) => Some(Arc::from(fatal.to_string())),
    };
    Standing {
        role: if metrics.running_state.is_err() {
            Role::Stopped
        } else {
            role_of(metrics.state)
        },
        term: metrics.current_term,
        leader: metrics.current_leader,
        members: Arc::new(convert::membership(metrics.membership_config.membership())),
        failure,
    }
}

/// The same of a replica that runs.
fn running_standing_of<C: Types>(metrics: &RaftServerMetrics<C>) -> Standing {
    Standing {
        role: role_of(metrics.state),
        term: metrics.vote.leader_id.term,
        leader: metrics.current_leader,
        members: Arc::new(convert::membership(metrics.membership_config.membership())),
        failure: None,
    }
}

fn role_of(state: ServerState) -> Role {
    match state {
        ServerState::Learner => Role::Learner,
        ServerState::Follower => Role::Follower,
        ServerState::Candidate => Role::Candidate,
        ServerState::Leader => Role::Leader,
        ServerState::Shutdown => Role::Stopped,
    }
}

/// How long ago each member, and a majority of the voters, was heard from.
pub(super) fn heard_by<C: Types>(
    metrics: &RaftMetrics<C>,
) -> (BTreeMap<NodeId, Option<Duration>>, Option<Duration>) {
    let now = C::now();
    let heard = metrics.heartbeat.iter().flatten();
    let heard_from = heard
        .map(|(node, at)| (*node, at.as_ref().map(|at| now - **at)))
        .collect();
    let mut voters = metrics.membership_config.membership().voter_ids();
    let is_alone = voters.all(|voter| voter == metrics.id);
    let majority_heard = match metrics.state {
        ServerState::Leader if is_alone => Some(Duration::ZERO),
        ServerState::Leader => metrics.last_quorum_acked.as_ref().map(|at| now - **at),
        _ => None,
    };
    (heard_from, majority_heard)
}

/// Hands every change on until the replica has stopped. It waits for changes of the standing alone: the other metrics change
/// several times with each entry.
pub(super) async fn watch_standing<C: Types>(
    shared: Arc<Shared<C>>,
    sender: watch::Sender<Standing>,
) {
    let mut metrics = shared.raft.server_metrics();
    loop {
        let standing = {
            let now = metrics.borrow_watched();
            // The vote of a new term counts once it is stored, which is a change of its own.
            let voted_for = now.vote.leader_id.voted_for;
            let is_stored = now.current_leader.is_none_or(|leader| leader == voted_for);
            is_stored.then(|| running_standing_of(&now))
        };
        if let Some(standing) = standing {
            hand_on(&shared, &sender, standing);
        }
        let mut stop = shared.stopping();
        let stopped = stop.wait_for(|is_stopping| *is_stopping);
        match C::select2(metrics.changed(), stopped).await {
            openraft::async_runtime::Select2::First(Ok(())) => {}
            openraft::async_runtime::Select2::First(Err(_)) => break,
            openraft::async_runtime::Select2::Second(_) => return,
        }
    }
    // The task that owns the replica has ended. Its last words say why, unless it has panicked.
    let last = standing_of(&shared.raft.metrics().borrow_watched());
    if last.role == Role::Stopped {
        hand_on(&shared, &sender, last);
    } else {
        note_death(&shared, &sender);
    }
}

fn hand_on<C: Types>(shared: &Shared<C>, sender: &watch::Sender<Standing>, standing: Standing) {
    sender.send_if_modified(|old| {
        let is_news = *old != standing;
        if is_news {
            announce(shared, old, &standing);
            *old = standing;
        }
        is_news
    });
}

/// The task that owns the replica has ended without being told to: it has panicked.
fn note_death<C: Types>(shared: &Shared<C>, sender: &watch::Sender<Standing>) {
    if *shared.stopping().borrow() {
        return;
    }
    sender.send_modify(|standing| {
        let old = standing.clone();
        standing.role = Role::Stopped;
        standing.leader = None;
        standing.failure = Some(Arc::from("a task of it has died"));
        announce(shared, &old, standing);
    });
}

fn announce<C: Types>(shared: &Shared<C>, old: &Standing, new: &Standing) {
    let group = shared.options.group;
    if let Some(failure) = &new.failure {
        tracing::error!("cluster: {group}: the replica cannot continue: {failure}");
    }
    let members = &new.members;
    if (old.leader, old.term) != (new.leader, new.term) {
        let term = new.term;
        match new.leader {
            Some(leader) if leader == shared.options.node => {
                tracing::info!("cluster: {group}: this node leads in term {term}");
            }
            Some(leader) => {
                let leader = name(members, leader);
                tracing::info!("cluster: {group}: {leader} leads in term {term}");
            }
            None => {
                if let Some(last) = old.leader {
                    let last = name(members, last);
                    tracing::warn!("cluster: {group}: {last} no longer leads, no leader is known");
                }
            }
        }
    }
    if old.members != new.members {
        let list = |nodes: &mut dyn Iterator<Item = NodeId>| {
            let names: Vec<_> = nodes.map(|node| name(members, node)).collect();
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            }
        };
        let sets = members.voters.iter();
        let voters: Vec<_> = sets.map(|set| list(&mut set.iter().copied())).collect();
        let voters = voters.join(" and during the change ");
        let learners = list(&mut members.learners());
        tracing::info!("cluster: {group}: voters: {voters}; learners: {learners}");
    }
}

/// A node as log lines name it.
fn name(members: &Membership, node: NodeId) -> String {
    match members.nodes.get(&node) {
        Some(member) => format!("node {node} ({member})"),
        None => format!("node {node}"),
    }
}
