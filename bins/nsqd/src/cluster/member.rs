//! This node's life as a member of a cluster, from the bootstrap on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use nsq_cluster::bootstrap::{Bootstrap, Call as MemberCall, CallAnswer, Done};
use nsq_cluster::codec::{Answer, Request};
use nsq_cluster::directory::{
    Change, Directory, DirectoryMachine, MemberInfo, Outcome, ZONES_FORMAT,
};
use nsq_cluster::group::{ChangeError, Group, Role};
use nsq_cluster::identity::Identity;
use nsq_cluster::in_step;
use nsq_cluster::transport::RECOVERED;
use nsq_cluster::{ClusterId, GroupId, Member};

use super::calls::{Call, NODE, REMOVED};
use super::hold::{self, durability, start_group};
use super::logs::{self, Logs};
use super::node::{ENDED, Node, Phase};
use super::this_node::ThisNode;
use super::{join, liveness, reconcile};

/// What the node has found on its disk.
pub(super) struct Found {
    pub(super) logs: Logs,
    /// What has to happen first; `None` for a member that can trust its disk.
    pub(super) bootstrap: Option<Bootstrap>,
    /// The clusters that this node's was recovered from.
    pub(super) former: Vec<ClusterId>,
}

/// Becomes a member if the node is none yet, and starts everything that a member does.
pub(super) async fn run(node: Arc<Node>, found: Found) {
    let Found {
        logs, bootstrap, ..
    } = found;
    let (logs, founders) = match bootstrap {
        None => (logs, None),
        Some(bootstrap) => {
            let Some(done) = join::run(&node, bootstrap).await else {
                return;
            };
            match settle(&node, logs, done).await {
                Ok(settled) => settled,
                Err(why) => node.fail(&why),
            }
        }
    };
    if let Err(why) = begin(&node, logs, founders).await {
        node.fail(&why);
    }
}

/// Does to the logs what the end of the bootstrap demands.
async fn settle(
    node: &Arc<Node>,
    logs: Logs,
    done: Done,
) -> Result<(Logs, Option<Identity>), String> {
    let owned = Arc::clone(node);
    let settled = node.blocking(move || match done {
        Done::Initialize(identity) => Ok((logs, Some(identity))),
        Done::Start(_) => Ok((logs, None)),
        Done::Rejoined(identity) => {
            let me = identity.node;
            tracing::info!(
                "cluster: this node now has the number {me}, and fetches its replicas from the others"
            );
            let (node, durability) = (&*owned, durability(&owned));
            let forgotten = logs.forget(&node.folders, &identity, durability, &*node.platform);
            forgotten.map(|logs| (logs, None))
        }
        Done::Trust(_) => {
            tracing::warn!(
                "cluster: the other nodes need the replicas of this node, so it continues with them"
            );
            logs.trust().map(|logs| (logs, None))
        }
    });
    let settled = settled.await.ok_or(ENDED)?;
    settled.map_err(|error: std::io::Error| error.to_string())
}

/// Starts the replica of the directory and the parts of a member.
async fn begin(node: &Arc<Node>, mut logs: Logs, founders: Option<Identity>) -> Result<(), String> {
    let identity = node.identity().ok_or("this node has no identity")?;
    node.introduce();
    let (me, cluster) = (identity.node, identity.cluster);
    tracing::info!(
        "cluster: this node is number {me} of the cluster {cluster}, at {}",
        node.address()
    );
    let folder = node.folders.directory().join("state");
    let opened = node.blocking({
        let node = Arc::clone(node);
        let log = logs.open.remove(&GroupId::DIRECTORY);
        move || {
            let log = if let Some(log) = log {
                log
            } else {
                let durability = durability(&node);
                logs::open_new(
                    &node.folders,
                    GroupId::DIRECTORY,
                    durability,
                    &*node.platform,
                )?
            };
            Ok::<_, std::io::Error>((log, DirectoryMachine::open(&folder)?))
        }
    });
    let opened = opened.await.ok_or(ENDED)?;
    let (log, (machine, mut changes)) = opened.map_err(|error| error.to_string())?;
    let directory = Arc::clone(&changes.borrow_and_update());
    refuse_to_be_a_copy(node, &directory).await;
    node.publish_directory(directory);
    let group = start_group(node, GroupId::DIRECTORY, log, Box::new(machine)).await?;
    node.set_directory_group(Some(group.clone()));
    if let Some(identity) = founders {
        initialize(&group, &identity).await?;
    }
    let forwarding = Arc::clone(node);
    tokio::spawn(async move {
        while changes.changed().await.is_ok() {
            let newest = Arc::clone(&changes.borrow_and_update());
            forwarding.publish_directory(newest);
        }
    });
    tokio::spawn(greet(Arc::clone(node), group.clone()));
    tokio::spawn(reconcile::run_directory(Arc::clone(node), group.clone()));
    tokio::spawn(liveness::plan(Arc::clone(node), group.clone()));
    tokio::spawn(keep_listed(Arc::clone(node)));
    tokio::spawn(ask_whether_removed(Arc::clone(node), group));
    tokio::spawn(hold::run(Arc::clone(node), logs));
    Ok(())
}

/// Makes the founders the first voters of the directory.
async fn initialize(group: &Group, identity: &Identity) -> Result<(), String> {
    let founders = identity.founders.iter().flatten();
    let members = founders.map(|(node, info)| {
        let address = info.address.clone();
        (*node, Member { address })
    });
    match group.initialize(members.collect()).await {
        // Another founder was faster.
        Ok(()) | Err(ChangeError::Refused(_)) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// Keeps what this node tells others about itself true.
async fn greet(node: Arc<Node>, group: Group) {
    while !node.is(Phase::Stopping) {
        let metrics = group.metrics();
        let leader = metrics.standing.leader.and_then(|leader| {
            let members = &metrics.standing.members.nodes;
            Some(members.get(&leader)?.address.clone())
        });
        let leads = |group: &Group| group.standing().borrow().role == Role::Leader;
        let mut led: BTreeSet<u64> = node
            .replicas()
            .iter()
            .filter(|replica| leads(&replica.group))
            .map(|replica| replica.number)
            .collect();
        if leads(&group) {
            led.insert(GroupId::DIRECTORY.0);
        }
        let directory = node.newest_directory();
        {
            let mut greeter = node.greeter();
            greeter.has_entries = metrics.last.is_some();
            greeter.leader = leader;
            greeter.leads = led;
        }
        let is_listed = directory.members.contains_key(&node.me());
        if is_listed
            && let Err(error) = node
                .update_identity(|identity| identity.founders = None)
                .await
        {
            tracing::error!("cluster: this node's identity cannot be stored: {error}");
        }
        in_step::pause(GREETING).await;
    }
    // It answers for as long as its process runs, and one that was removed must not lead others to itself.
    let mut greeter = node.greeter();
    greeter.leader = None;
    greeter.leads.clear();
}

/// Has the directory list this node as it is now: its version, its ports or its zone may have changed.
async fn keep_listed(node: Arc<Node>) {
    let mut directory = node.directory();
    loop {
        let newest = Arc::clone(&directory.borrow_and_update());
        refuse_to_be_a_copy(&node, &newest).await;
        if let Some(change) = difference(&node, &newest) {
            match node
                .around()
                .control
                .directory_client()
                .change(&change, true)
                .await
            {
                Ok(Outcome::Refused(refused)) => {
                    tracing::warn!(
                        "cluster: the directory does not list this node as it is now: {refused}"
                    );
                }
                Ok(_) => {}
                Err(_) => {
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
        }
        if directory.changed().await.is_err() {
            return;
        }
    }
}

/// What the directory has to change about this node.
fn difference(node: &Node, directory: &Directory) -> Option<Change> {
    let me = node.me();
    let listed = directory.members.get(&me)?;
    let info = MemberInfo {
        joined: listed.info.joined,
        ..node.greeter().info.clone()
    };
    if info != listed.info {
        return Some(Change::UpdateMember { node: me, info });
    }
    // Not before all members understand it.
    let zone = &node.cluster.zone;
    (*zone != listed.zone && directory.entry_format() >= ZONES_FORMAT).then(|| Change::SetZone {
        node: me,
        zone: zone.clone(),
    })
}

/// Ends the process if another one runs where the directory lists this node: one of the two uses a copy of the other's data path,
/// and they would vote under one number.
async fn refuse_to_be_a_copy(node: &Node, directory: &Directory) {
    let me = node.me();
    let listed = directory
        .members
        .get(&me)
        .map(|member| &member.info.address);
    let Some(address) = listed.filter(|address| *address != node.address()) else {
        return;
    };
    let introduction = node.greeter().introduction();
    let hello = MemberCall::Hello(introduction.clone());
    let Ok(CallAnswer::Hello(answer)) = join::call_at(node, address, &hello).await else {
        return;
    };
    let cluster = introduction.member.map(|member| member.cluster);
    let is_same = answer
        .member
        .is_some_and(|member| member.node == me && Some(member.cluster) == cluster);
    if is_same && answer.process != introduction.process {
        node.fail(&format!(
            "node {me} runs at {address} already, and this process at {} has a copy of its data path; start it with an empty \
             --data-path, so that it joins as a node of its own",
            node.address()
        ));
    }
}

/// Asks one member after the other whether this node was removed, or its cluster recovered without it: it may have been away
/// then, and no leader of the directory turns to it any more.
async fn ask_whether_removed(node: Arc<Node>, group: Group) {
    let me = node.me();
    let mut phase = node.phase();
    let mut turn = 0;
    while *phase.borrow_and_update() == Phase::Running {
        let directory = node.newest_directory();
        let others = directory.members.iter().filter(|(other, _)| **other != me);
        let others: Vec<_> = others.collect();
        let leads = group.standing().borrow().role == Role::Leader;
        if !others.is_empty() {
            turn += 1;
            let (other, listed) = others[turn % others.len()];
            let member = Member {
                address: listed.info.address.clone(),
            };
            let request = Request::Call {
                group: NODE,
                body: Call::AmIRemoved.to_bytes(),
            };
            let calling = node.network().call(*other, &member, request, Some(RETRY));
            match calling.await {
                Ok(Answer::Call(answer)) if answer == REMOVED && !leads => {
                    hold::leave(&node, REMOVED_FROM_IT).await;
                    return;
                }
                Err(error) if error.to_string().contains(RECOVERED) => {
                    hold::leave(&node, RECOVERED_WITHOUT_IT).await;
                    return;
                }
                _ => {}
            }
        }
        tokio::select! {
            () = tokio::time::sleep(ASKING) => {}
            _ = phase.changed() => {}
        }
    }
}

/// Why a node serves nothing any more.
pub(super) const REMOVED_FROM_IT: &str = "was removed from the cluster for good";
const RECOVERED_WITHOUT_IT: &str = "belongs to a cluster that was recovered without it (--cluster-recover), and messages that only it has are lost unless they \
     are saved with --export-to";
/// Between two such questions.
const ASKING: Duration = Duration::from_secs(3);
const GREETING: Duration = Duration::from_millis(200);
const RETRY: Duration = Duration::from_secs(1);
