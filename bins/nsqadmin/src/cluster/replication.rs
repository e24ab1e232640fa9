//! A replicated cluster of nsqds, as one of its nodes reports it: members, shards, replicas.

use std::time::Duration;

use nsq_daemon::http::client::query_escape;
use serde::Deserialize;

use super::failure::{DaemonKind, Failure};
use super::fan_out::ask_all;
use super::{Cluster, ClusterError, Producer, Warnings};

/// An nsqd's `/cluster`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ClusterReport {
    /// `ok`, `under-replicated`, `no majority` or `forming`.
    pub state: String,
    /// What is wrong, in words.
    pub problems: Vec<String>,
    /// By number.
    pub members: Vec<Member>,
    /// By number.
    pub shards: Vec<Shard>,
    /// The table that all nodes share.
    pub directory: Directory,
}

/// A node of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Member {
    /// Its number.
    pub id: u64,
    /// Where the other nodes reach it.
    pub address: String,
    /// Where clients reach it.
    pub broadcast_address: String,
    /// The port of its HTTP interface.
    pub http_port: u16,
    /// Its version.
    pub version: String,
    /// Whether it answered during the last seconds.
    pub is_alive: bool,
    /// `None` if it has not answered since the reporting node started.
    pub seconds_since_heard: Option<u64>,
    /// Whether it gives its leaderships away and takes none, as before maintenance.
    pub is_stepping_down: bool,
}

/// The messages that one node has accepted, and their replicas.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Shard {
    /// Its number.
    pub shard: u64,
    /// The node whose clients publish to it; `None` once that node was removed.
    pub owner: Option<u64>,
    /// Whether it has fewer sound replicas than it should have.
    pub is_under_replicated: bool,
    /// `None` while none is known.
    pub leader: Option<u64>,
    /// The number of the leadership.
    pub term: u64,
    /// By node.
    pub replicas: Vec<Replica>,
}

/// The replicas of the table that all nodes share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Directory {
    /// `None` while none is known.
    pub leader: Option<u64>,
    /// The number of the leadership.
    pub term: u64,
    /// By node.
    pub replicas: Vec<Replica>,
}

/// A copy of a shard.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Replica {
    /// The node that has it.
    pub node: u64,
    /// `leader`, `voter`, `learner` or `planned`.
    pub role: String,
    /// Whether that node answers.
    pub is_alive: bool,
    /// Whether it is being sent what it lacks.
    pub is_catching_up: bool,
    /// Entries that the leader has and it may not have.
    pub lag_entries: Option<u64>,
    /// The same in bytes, estimated.
    pub lag_bytes: Option<u64>,
}

/// What an administrator does to a node of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberAction {
    /// It gives its leaderships to others and takes none, until it is resumed.
    StepDown,
    /// It may lead again.
    Resume,
    /// It is no member any more, for good.
    Remove,
}

impl MemberAction {
    /// In links and forms, and in the path of nsqd.
    pub fn name(self) -> &'static str {
        match self {
            Self::StepDown => "stepdown",
            Self::Resume => "resume",
            Self::Remove => "remove",
        }
    }

    /// The action of this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::StepDown, Self::Resume, Self::Remove]
            .into_iter()
            .find(|action| action.name() == name)
    }
}

impl Member {
    /// `host:port` of its HTTP interface.
    pub fn http_address(&self) -> String {
        let host = &self.broadcast_address;
        if host.contains(':') {
            format!("[{host}]:{}", self.http_port)
        } else {
            format!("{host}:{}", self.http_port)
        }
    }
}

impl ClusterReport {
    /// The member of this number.
    pub fn member(&self, id: u64) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// Shards that have fewer sound replicas than they should have, or no leader.
    pub fn shards_in_trouble(&self) -> usize {
        let shards = self.shards.iter();
        shards.filter(|shard| shard.is_in_trouble()).count()
    }
}

impl Shard {
    /// Whether it has fewer sound replicas than it should have, or no leader.
    pub fn is_in_trouble(&self) -> bool {
        self.is_under_replicated || self.leader.is_none()
    }
}

impl Cluster {
    /// What the first of `nodes` that answers says of the cluster it is in; `None` when they are in none.
    pub async fn replication(
        &self,
        nodes: Vec<Producer>,
        limit: Duration,
    ) -> Option<ClusterReport> {
        let fetcher = self.fetcher.within(limit).polling();
        let mut nodes = nodes.into_iter();
        for _ in 0..MOST_ROUNDS {
            let some: Vec<Producer> = nodes.by_ref().take(ASKED_AT_ONCE).collect();
            if some.is_empty() {
                break;
            }
            let requests = some.into_iter().map(|node| {
                let (fetcher, address) = (fetcher.clone(), node.http_address());
                async move {
                    let report: Result<ClusterReport, Failure> =
                        fetcher.get(DaemonKind::Nsqd, &address, "/cluster").await;
                    Ok(report)
                }
            });
            let round = ask_all(DaemonKind::Nsqd, requests).await;
            let answers = round.any_answers(&mut Warnings::default());
            let mut refusals = 0;
            for answer in answers {
                match answer {
                    Ok(report) => return Some(report),
                    Err(failure) if failure.status.is_some() => refusals += 1,
                    Err(_) => {}
                }
            }
            if refusals > 0 {
                return None;
            }
        }
        None
    }

    /// Has a node step down or resume; or has `through`, a member that is alive, remove it.
    ///
    /// # Errors
    /// [`ClusterError::Unanswered`] with the reason.
    pub async fn act_on_member(
        &self,
        action: MemberAction,
        member: &Member,
        through: &Member,
    ) -> Result<(), ClusterError> {
        let (address, path) = match action {
            MemberAction::StepDown | MemberAction::Resume => {
                (member.http_address(), format!("/cluster/{}", action.name()))
            }
            MemberAction::Remove => (
                through.http_address(),
                format!(
                    "/cluster/remove?node={}",
                    query_escape(&member.id.to_string())
                ),
            ),
        };
        let fetcher = self.fetcher.clone();
        let request = async move { fetcher.order(DaemonKind::Nsqd, &address, &path).await };
        let round = ask_all(DaemonKind::Nsqd, [request]).await;
        round.some_answers(&mut Warnings::default()).map(|_| ())
    }
}

/// Two of them rarely hang at the same time.
const ASKED_AT_ONCE: usize = 2;
const MOST_ROUNDS: usize = 3;
