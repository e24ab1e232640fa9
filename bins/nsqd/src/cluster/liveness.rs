//! Which members answer, as the leader of the directory sees it; and what it plans because of that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nsq_cluster::NodeId;
use nsq_cluster::directory::{Change, Directory, Outcome};
use nsq_cluster::group::{Group, GroupMetrics, Role};
use nsq_cluster::in_step;
use nsq_cluster::placement::{self, Liveness};
use tokio::time::Instant;

use super::node::{Node, Phase};
use super::this_node::ThisNode;

/// When each member was heard last, by this node as the leader of the directory. A new leader counts every member as heard when
/// it begins.
#[derive(Debug, Default)]
pub(super) struct Heard(Mutex<BTreeMap<NodeId, Instant>>);

impl Heard {
    /// How long each member has been away.
    pub(super) fn of(
        &self,
        directory: &Directory,
        metrics: &GroupMetrics,
        me: NodeId,
    ) -> BTreeMap<NodeId, Liveness> {
        let now = Instant::now();
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.retain(|node, _| directory.members.contains_key(node));
        let members = directory.members.keys().copied();
        let liveness = members.map(|node| {
            let ago = metrics.heard_from.get(&node).copied().flatten();
            let at = ago.and_then(|ago| now.checked_sub(ago));
            let last = heard.entry(node).or_insert(now);
            *last = at.unwrap_or(*last).max(*last);
            if node == me {
                *last = now;
            }
            let silent_for = now - *last;
            let away_for = (silent_for > SILENCE).then_some(silent_for);
            (node, Liveness { away_for })
        });
        liveness.collect()
    }

    /// Forgets everything: another node leads the directory.
    fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

/// Plans where replicas are to be, while this node leads the directory.
pub(super) async fn plan(node: Arc<Node>, group: Group) {
    let mut phase = node.phase();
    let mut away = BTreeSet::new();
    while *phase.borrow_and_update() == Phase::Running {
        let metrics = group.metrics();
        let leads = metrics.standing.role == Role::Leader && metrics.majority_heard.is_some();
        if leads {
            let directory = node.newest_directory();
            let liveness = node.liveness().of(&directory, &metrics, node.me());
            log_absences(&node, &mut away, &liveness);
            let changes = placement::plan(&directory, &liveness, node.plan_options());
            for change in changes {
                propose(&node, &change).await;
            }
        } else {
            node.liveness().clear();
            away.clear();
        }
        let mut directory = node.directory();
        directory.mark_unchanged();
        tokio::select! {
            // What was planned may be one of several steps.
            _ = directory.changed() => tokio::time::sleep(MOMENT).await,
            () = in_step::pause(EVERY) => {}
            _ = phase.changed() => {}
        }
    }
}

fn log_absences(node: &Node, away: &mut BTreeSet<NodeId>, liveness: &BTreeMap<NodeId, Liveness>) {
    for (member, liveness) in liveness {
        let is_away = liveness.away_for.is_some();
        if is_away == away.contains(member) {
            continue;
        }
        let name = node.name(*member);
        if is_away {
            away.insert(*member);
            tracing::warn!("cluster: {name} does not answer");
        } else {
            away.remove(member);
            tracing::info!("cluster: {name} answers again");
        }
    }
}

async fn propose(node: &Node, change: &Change) {
    match node
        .around()
        .control
        .directory_client()
        .change(change, true)
        .await
    {
        Ok(Outcome::Refused(refused)) => {
            tracing::warn!("cluster: a planned change of the directory was refused: {refused}");
        }
        Ok(Outcome::Shard(shard)) => {
            if let Change::CreateShard { owner } = change {
                let owner = node.name(*owner);
                tracing::info!("cluster: {owner} gets a shard of its own: shard {shard}");
            }
        }
        Ok(Outcome::Done(_) | Outcome::Member(_)) => {
            if let Change::PlaceShard { shard, replicas } = change {
                let names: Vec<_> = replicas.iter().map(|replica| node.name(*replica)).collect();
                let names = names.join(", ");
                tracing::info!("cluster: the replicas of shard {shard} belong on {names}");
            }
        }
        Err(error) => tracing::warn!("cluster: the directory cannot be changed yet: {error}"),
    }
}

/// Between two plans.
const EVERY: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(20);
/// A member that was not heard from for this long is away.
const SILENCE: Duration = Duration::from_secs(3);
