//! `/cluster`: the members, the shards, who leads what, what lags, and what is wrong, from what all nodes that answer say.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use nsq_cluster::NodeId;
use nsq_cluster::directory::{Directory, ListedMember, ShardInfo};
use nsq_core::Tick;
use serde::Serialize;

use super::aside::SetAside;
use super::status::{GroupStatus, Heard, NodeStatus};

/// A leader that has not had a majority for this long does not count.
const MAJORITY_WITHIN_MILLIS: u64 = 3000;

/// What a report is made from.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// This node; `None` until it has a number.
    pub(crate) node: Option<NodeId>,
    pub(crate) address: String,
    pub(crate) directory: Arc<Directory>,
    /// What this node knows of its replicas.
    pub(crate) own: NodeStatus,
    /// What the others have said.
    pub(crate) heard: BTreeMap<NodeId, Heard>,
    pub(crate) now: Tick,
    /// `--replicas`.
    pub(crate) replicas: usize,
}

/// The answer of `/cluster`.
#[derive(Debug, Serialize, PartialEq)]
pub(crate) struct Report {
    pub(crate) state: State,
    /// What is wrong, in words.
    pub(crate) problems: Vec<String>,
    /// `null` until the cluster is founded.
    cluster_id: Option<String>,
    /// The node that answers.
    node: NodeReport,
    pub(crate) members: Vec<MemberReport>,
    pub(crate) directory: DirectoryReport,
    pub(crate) shards: Vec<ShardReport>,
}

/// How the cluster is; the worst thing counts.
#[derive(Debug, Clone, Copy, Serialize, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    #[serde(rename = "ok")]
    Ok,
    #[serde(rename = "under-replicated")]
    UnderReplicated,
    #[serde(rename = "no majority")]
    NoMajority,
    #[serde(rename = "forming")]
    Forming,
}

#[derive(Debug, Serialize, PartialEq)]
struct NodeReport {
    id: Option<u64>,
    address: String,
}

#[derive(Debug, Serialize, PartialEq)]
pub(crate) struct MemberReport {
    pub(crate) id: u64,
    pub(crate) address: String,
    broadcast_address: String,
    tcp_port: u16,
    http_port: u16,
    version: String,
    /// `--topology-region` and `--topology-zone`, as `region/zone`; empty without them.
    pub(crate) zone: String,
    /// Whether it has answered during the last seconds.
    pub(crate) is_alive: bool,
    /// `null` if it has not answered since this node was started.
    seconds_since_heard: Option<u64>,
    /// It leads nothing until `/cluster/resume`.
    pub(crate) is_stepping_down: bool,
    /// The shard that it owns.
    shard: Option<u64>,
    /// Damaged replicas that the node has set aside, for an operator to look at and remove.
    set_aside: Vec<SetAside>,
}

#[derive(Debug, Serialize, PartialEq)]
pub(crate) struct DirectoryReport {
    /// How many changes it has had.
    pub(crate) index: u64,
    topic_count: usize,
    #[serde(flatten)]
    pub(crate) group: GroupReport,
}

#[derive(Debug, Serialize, PartialEq)]
pub(crate) struct ShardReport {
    pub(crate) shard: u64,
    /// The node whose clients publish to it; `null` once that node was removed.
    owner: Option<u64>,
    pub(crate) is_under_replicated: bool,
    #[serde(flatten)]
    pub(crate) group: GroupReport,
}

#[derive(Debug, Serialize, PartialEq)]
pub(crate) struct GroupReport {
    /// `null` while none is known that reaches a majority.
    pub(crate) leader: Option<u64>,
    pub(crate) term: u64,
    pub(crate) replicas: Vec<ReplicaReport>,
}

#[derive(Debug, Serialize, PartialEq)]
pub(crate) struct ReplicaReport {
    pub(crate) node: u64,
    role: ReplicaRole,
    is_alive: bool,
    /// It does not have everything yet, and receives it.
    is_catching_up: bool,
    /// Entries that the leader has and the replica may not have; `null` while there is no leader.
    pub(crate) lag_entries: Option<u64>,
    /// The same in bytes, estimated from the files of the leader's log: too high as long as these are nearly empty.
    pub(crate) lag_bytes: Option<u64>,
}

#[derive(Debug, Clone, Copy, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum ReplicaRole {
    Leader,
    Voter,
    Learner,
    /// The directory places it there, and the group does not have it yet.
    Planned,
}

impl Report {
    pub(crate) fn of(snapshot: &Snapshot) -> Report {
        let directory = &*snapshot.directory;
        let mut findings = Findings::default();
        let is_forming = snapshot.node.is_none() || !directory.is_founded();
        if is_forming {
            let why = "the cluster is forming: nsqd waits until it has seen every --cluster-peer, or joins a cluster";
            findings.add(State::Forming, why.to_owned());
        }
        let members = snapshot.members();
        for member in members.iter().filter(|member| !member.is_alive) {
            let mut text = format!("node {} at {} ", member.id, member.address);
            match member.seconds_since_heard {
                Some(seconds) => write!(text, "has not answered for {seconds}s"),
                None => write!(text, "has not answered since this nsqd was started"),
            }
            .expect("a String takes everything");
            findings.add(State::Ok, text);
        }
        for member in members
            .iter()
            .filter(|member| member.is_alive && member.is_stepping_down)
        {
            let text = format!(
                "node {} at {} has stepped down: it leads nothing until POST /cluster/resume",
                member.id, member.address
            );
            findings.add(State::Ok, text);
        }
        let all: Vec<NodeId> = directory.members.keys().copied().collect();
        let group = snapshot.group(0, &all);
        if group.leader.is_none() && !is_forming {
            let text = "the directory has no leader: topics and channels can be neither created nor deleted";
            findings.add(State::NoMajority, text.to_owned());
        }
        let directory_report = DirectoryReport {
            index: directory.index,
            topic_count: directory.topics.len(),
            group,
        };
        let shards = directory.shards.iter();
        let shards = shards.map(|(number, shard)| snapshot.shard(*number, shard, &mut findings));
        let shards = shards.collect();
        snapshot.add_troubles(&mut findings);
        Report {
            state: findings.state,
            problems: findings.problems,
            cluster_id: directory
                .is_founded()
                .then(|| directory.cluster.to_string()),
            node: NodeReport {
                id: snapshot.node.map(|node| node.0),
                address: snapshot.address.clone(),
            },
            members,
            directory: directory_report,
            shards,
        }
    }
}

/// What is wrong, and how bad it is.
struct Findings {
    state: State,
    problems: Vec<String>,
}

impl Default for Findings {
    fn default() -> Findings {
        Findings {
            state: State::Ok,
            problems: Vec::new(),
        }
    }
}

impl Findings {
    fn add(&mut self, state: State, problem: String) {
        self.state = self.state.max(state);
        self.problems.push(problem);
    }
}

impl Snapshot {
    /// Whether the member is this node, or has answered during the last seconds.
    pub(crate) fn is_alive(&self, node: NodeId) -> bool {
        Some(node) == self.node
            || self
                .heard
                .get(&node)
                .is_some_and(|heard| heard.is_alive(self.now))
    }

    fn is_stepping_down(&self, node: NodeId) -> bool {
        if Some(node) == self.node {
            return self.own.is_stepping_down;
        }
        let heard = self.heard.get(&node);
        heard.is_some_and(|heard| heard.status.is_stepping_down)
    }

    fn members(&self) -> Vec<MemberReport> {
        let members = self.directory.members.iter();
        let report = |(id, member): (&NodeId, &ListedMember)| MemberReport {
            id: id.0,
            address: member.info.address.clone(),
            broadcast_address: member.info.broadcast_address.clone(),
            tcp_port: member.info.tcp_port,
            http_port: member.info.http_port,
            version: member.info.version.clone(),
            zone: member.zone.clone(),
            is_alive: self.is_alive(*id),
            seconds_since_heard: if Some(*id) == self.node {
                Some(0)
            } else {
                let heard = self.heard.get(id);
                heard.map(|heard| self.now.since(heard.at).as_secs())
            },
            is_stepping_down: self.is_stepping_down(*id),
            shard: self.directory.shard_of(*id),
            set_aside: self.set_aside(*id),
        };
        members.map(report).collect()
    }

    fn set_aside(&self, node: NodeId) -> Vec<SetAside> {
        let status = if Some(node) == self.node {
            Some(&self.own)
        } else {
            self.heard.get(&node).map(|heard| &*heard.status)
        };
        status.map_or_else(Vec::new, |status| status.set_aside.clone())
    }

    /// What nodes that are alive say about a group.
    fn statuses(&self, group: u64) -> impl Iterator<Item = (NodeId, &GroupStatus)> {
        let own = self.node.map(|node| (node, &self.own));
        let others = self
            .heard
            .iter()
            .filter(|(_, heard)| heard.is_alive(self.now))
            .map(|(node, heard)| (*node, &*heard.status));
        own.into_iter()
            .chain(others)
            .filter_map(move |(node, status)| {
                let mut groups = status.groups.iter();
                Some((node, groups.find(|status| status.group == group)?))
            })
    }

    /// A group with the replicas that it has and those that are placed.
    fn group(&self, group: u64, placed: &[NodeId]) -> GroupReport {
        let leaders = self
            .statuses(group)
            .filter(|(_, status)| status.is_leader());
        let leader = leaders.max_by_key(|(_, status)| status.term);
        let leader = leader.filter(|(_, status)| {
            let heard = status.majority_heard_millis;
            heard.is_some_and(|millis| millis < MAJORITY_WITHIN_MILLIS)
        });
        let terms = self.statuses(group).map(|(_, status)| status.term);
        // Without a leader the members are what the newest replica says.
        let newest = self.statuses(group).max_by_key(|(_, status)| status.last);
        let members = leader.or(newest).map(|(_, status)| status);
        let mut nodes: BTreeSet<u64> = placed.iter().map(|node| node.0).collect();
        if let Some(members) = members {
            nodes.extend(members.voters.iter().chain(&members.learners));
        }
        let replicas = nodes.into_iter().map(|node| {
            let role = match (leader, members) {
                (Some((leader, _)), _) if leader.0 == node => ReplicaRole::Leader,
                (_, Some(members)) if members.voters.contains(&node) => ReplicaRole::Voter,
                (_, Some(members)) if members.learners.contains(&node) => ReplicaRole::Learner,
                (_, _) => ReplicaRole::Planned,
            };
            let lag = leader.map(|(_, status)| Lag::of(status, node, role));
            ReplicaReport {
                node,
                role,
                is_alive: self.is_alive(NodeId(node)),
                is_catching_up: lag.as_ref().is_some_and(|lag| lag.is_long),
                lag_entries: lag.as_ref().map(|lag| lag.entries),
                lag_bytes: lag.as_ref().map(|lag| lag.bytes),
            }
        });
        GroupReport {
            leader: leader.map(|(node, _)| node.0),
            term: terms.max().unwrap_or(0),
            replicas: replicas.collect(),
        }
    }

    fn shard(&self, number: u64, shard: &ShardInfo, findings: &mut Findings) -> ShardReport {
        let group = self.group(number, &shard.replicas);
        let sound = group.replicas.iter().filter(|replica| {
            let has_vote = matches!(replica.role, ReplicaRole::Leader | ReplicaRole::Voter);
            has_vote && replica.is_alive && !replica.is_catching_up
        });
        let sound = sound.count();
        let is_under_replicated = sound < self.replicas;
        let whose = match shard.owner {
            Some(owner) => format!("shard {number} of node {owner}"),
            None => format!("shard {number}, whose node was removed,"),
        };
        if !shard.is_formed() {
            let text = format!("{whose} is not formed yet");
            findings.add(State::Forming, text);
        } else if group.leader.is_none() {
            let text = format!(
                "{whose} has no leader: its messages are not delivered, and publishes to it fail"
            );
            findings.add(State::NoMajority, text);
        } else if is_under_replicated {
            let wanted = self.replicas;
            let text = format!("{whose} has {sound} of {wanted} replicas");
            findings.add(State::UnderReplicated, text);
        }
        ShardReport {
            shard: number,
            owner: shard.owner.map(|owner| owner.0),
            is_under_replicated,
            group,
        }
    }

    fn add_troubles(&self, findings: &mut Findings) {
        let groups = std::iter::once(0).chain(self.directory.shards.keys().copied());
        for group in groups {
            for (node, status) in self.statuses(group) {
                if let Some(trouble) = &status.trouble {
                    let text = format!(
                        "node {node}, log of {}: {trouble}",
                        nsq_cluster::GroupId(group)
                    );
                    findings.add(State::Ok, text);
                }
                if let Some(why) = &status.unable {
                    let text = format!("node {node} cannot serve shard {group}: {why}");
                    findings.add(State::Ok, text);
                }
                if let Some(why) = &status.damage {
                    let text = format!(
                        "node {node}, replica of shard {group}: it is damaged, and is received again once the other replicas are \
                         complete: {why}"
                    );
                    findings.add(State::Ok, text);
                }
            }
        }
    }

    /// Nodes that have said a moment ago that they cannot serve a shard.
    pub(crate) fn unable(&self, shard: u64) -> BTreeSet<NodeId> {
        let statuses = self.statuses(shard);
        let unable = statuses.filter(|(_, status)| status.unable.is_some());
        unable.map(|(node, _)| node).collect()
    }

    /// Whether every group would keep a majority of complete replicas without this node, and no node with a smaller number
    /// waits for the same.
    pub(crate) fn can_spare_this_node(&self) -> bool {
        let Some(me) = self.node else { return false };
        let heard = self.heard.iter();
        let mut earlier = heard.filter(|(node, heard)| **node < me && heard.is_alive(self.now));
        if earlier.any(|(_, heard)| {
            heard
                .status
                .groups
                .iter()
                .any(|group| group.damage.is_some())
        }) {
            return false;
        }
        let report = Report::of(self);
        let shards = report.shards.iter().map(|shard| &shard.group);
        let mut groups = shards.chain(std::iter::once(&report.directory.group));
        groups.all(|group| group.can_spare(me.0))
    }
}

impl GroupReport {
    fn can_spare(&self, node: u64) -> bool {
        let is_voter = |replica: &&ReplicaReport| {
            matches!(replica.role, ReplicaRole::Leader | ReplicaRole::Voter)
        };
        let voters: Vec<_> = self.replicas.iter().filter(is_voter).collect();
        let is_complete = |replica: &ReplicaReport| replica.is_alive && !replica.is_catching_up;
        let others = voters.iter().filter(|replica| replica.node != node);
        let complete = others.filter(|replica| is_complete(replica)).count();
        self.leader.is_some() && complete > voters.len() / 2
    }
}

/// How far a replica is behind its leader.
struct Lag {
    entries: u64,
    bytes: u64,
    /// It needs a checkpoint, or has no vote yet.
    is_long: bool,
}

impl Lag {
    fn of(leader: &GroupStatus, node: u64, role: ReplicaRole) -> Lag {
        let end = |index: Option<u64>| index.map_or(0, |index| index.saturating_add(1));
        let (last, purged) = (end(leader.last), end(leader.purged));
        let held = match role {
            ReplicaRole::Leader => last,
            _ => end(leader.held_by.get(&node).copied().flatten()),
        };
        let entries = last.saturating_sub(held);
        let kept = last.saturating_sub(purged).max(1);
        let bytes = u128::from(leader.log_bytes) * u128::from(entries) / u128::from(kept);
        Lag {
            entries,
            bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
            is_long: role != ReplicaRole::Leader
                && (held < purged || !matches!(role, ReplicaRole::Voter)),
        }
    }
}

#[cfg(test)]
mod tests;
