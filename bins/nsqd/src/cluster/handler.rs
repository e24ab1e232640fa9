//! The end of this node that other nodes call.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use nsq_cluster::bootstrap::{Admission, Call as MemberCall, CallAnswer, Handled, Join, admit};
use nsq_cluster::codec::{Answer, Refusal, Request, Wire};
use nsq_cluster::directory::{Change, Outcome};
use nsq_cluster::transport::{Handler, Peer};
use nsq_cluster::{GroupId, NodeId};

use super::calls::Call;
use super::consume::CONSUMERS;
use super::join::{call_at, store};
use super::node::Node;
use super::this_node::ThisNode;

/// Answers the requests of other nodes.
pub(super) struct Answerer(pub(super) Arc<Node>);

impl Handler for Answerer {
    fn handle(&self, from: Peer, request: Request) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
        let node = Arc::clone(&self.0);
        Box::pin(async move {
            match (from.node, request) {
                (from, Request::Call { group, body }) => call(&node, from, group, body).await,
                (Some(from), request) => of_group(&node, from, request).await,
                (None, _) => Answer::Refused(Refusal::Failed(STRANGER.to_owned())),
            }
        })
    }
}

/// A request of Raft.
async fn of_group(node: &Node, from: NodeId, request: Request) -> Answer {
    let group = match &request {
        Request::Append { group, .. }
        | Request::Vote { group, .. }
        | Request::Transfer { group, .. }
        | Request::Checkpoint { group, .. }
        | Request::Call { group, .. } => *group,
        // Any group reads the checkpoints that this node offers.
        Request::Chunk { .. } => GroupId::DIRECTORY,
    };
    match node.group(group) {
        Some(group) => group.handle(from, request).await,
        None => Answer::Refused(Refusal::NoSuchGroup),
    }
}

async fn call(node: &Arc<Node>, from: Option<NodeId>, group: GroupId, body: Bytes) -> Answer {
    let invalid =
        |error: &dyn std::fmt::Display| Answer::Refused(Refusal::Failed(error.to_string()));
    match group {
        GroupId::DIRECTORY => match MemberCall::from_bytes(body) {
            Ok(call) => Answer::Call(membership(node, call).await.to_bytes()),
            Err(error) => invalid(&error),
        },
        group => match (from, node.surroundings()) {
            (Some(from), Some(_)) if is_removed(node, from) && !is_asking(&body) => {
                invalid(&"the cluster has removed the node that asks")
            }
            // Nothing of it waits for a disk here.
            (Some(from), Some(around)) if group == CONSUMERS => {
                around.control.consuming().answer(from, body).await
            }
            (Some(from), Some(around)) => {
                let control = Arc::clone(&around.control);
                let answering = async move { control.answer(from, group, body).await };
                let answered = node.runtime.spawn(answering).await;
                answered.unwrap_or_else(|error| invalid(&error))
            }
            (Some(_), None) => Answer::Refused(Refusal::NoSuchGroup),
            (None, _) => invalid(&STRANGER),
        },
    }
}

fn is_removed(node: &Node, from: NodeId) -> bool {
    node.newest_directory().is_former(from)
}

/// Whether a node asks if it was removed.
fn is_asking(body: &Bytes) -> bool {
    Call::from_bytes(body.clone()) == Ok(Call::AmIRemoved)
}

/// A question about membership.
async fn membership(node: &Arc<Node>, call: MemberCall) -> CallAnswer {
    let handled = node.greeter().handle(&call);
    match handled {
        Handled::Answer(answer) => answer,
        Handled::Store(identity, answer) => match store(node, (*identity).clone()).await {
            Ok(()) => {
                node.greeter().stored(*identity);
                node.introduce();
                answer
            }
            Err(error) => CallAnswer::Later(format!("its identity cannot be stored: {error}")),
        },
        Handled::ForLeader => match call {
            MemberCall::Join(join) => accept(node, &join).await,
            MemberCall::Hello(_) | MemberCall::Found(_) => {
                CallAnswer::Refused("that is no question for a leader".to_owned())
            }
        },
    }
}

/// Lets a node join, if nothing speaks against it.
async fn accept(node: &Arc<Node>, join: &Join) -> CallAnswer {
    let mut asked = BTreeMap::new();
    for _ in 0..MAX_ROUNDS {
        if let Some(answer) = not_leading(node) {
            return answer;
        }
        let directory = node.newest_directory();
        let cluster = directory.cluster;
        match admit(&directory, join, &asked) {
            Admission::Ask(addresses) => {
                let hello = MemberCall::Hello(node.greeter().introduction());
                for address in addresses {
                    let answer = match call_at(node, &address, &hello).await {
                        Ok(CallAnswer::Hello(introduction)) => Ok(introduction),
                        Ok(_) => Err("its answer does not fit the question".to_owned()),
                        Err(why) => Err(why),
                    };
                    asked.insert(address, answer);
                }
            }
            Admission::Propose(change) => {
                return match propose(node, &change).await {
                    Ok(Outcome::Member(number)) => {
                        log_join(&change, number);
                        CallAnswer::Joined {
                            cluster,
                            node: number,
                        }
                    }
                    Ok(Outcome::Refused(refused)) => CallAnswer::Refused(refused.to_string()),
                    Ok(Outcome::Done(_) | Outcome::Shard(_)) => {
                        CallAnswer::Later("the directory's outcome is of another change".to_owned())
                    }
                    Err(why) => CallAnswer::Later(why),
                };
            }
            Admission::Accept(node) => return CallAnswer::Joined { cluster, node },
            Admission::Later(why) => return CallAnswer::Later(why),
            Admission::Refuse(why) => {
                tracing::warn!("cluster: a node that wanted to join was refused: {why}");
                return CallAnswer::Refused(why);
            }
        }
    }
    CallAnswer::Later("the directory changes too often at the moment".to_owned())
}

fn log_join(change: &Change, number: NodeId) {
    let Change::AddMember { info, replaces, .. } = change else {
        return;
    };
    let address = &info.address;
    if let Some(old) = replaces {
        tracing::info!(
            "cluster: node {number} ({address}) has joined and replaces node {old}, which is removed for good"
        );
    } else {
        tracing::info!("cluster: node {number} ({address}) has joined");
    }
}

async fn propose(node: &Node, change: &Change) -> Result<Outcome, String> {
    let group = node.directory_group();
    let group = group.ok_or("this node has no replica of the directory")?;
    let applied = group.propose(change.to_bytes()).await;
    let applied = applied.map_err(|error| format!("the directory: {error}"))?;
    Outcome::from_bytes(applied.outcome).map_err(|error| error.to_string())
}

/// The answer of a node that does not lead the directory; `None` if this one does.
fn not_leading(node: &Node) -> Option<CallAnswer> {
    let leader = node.directory_group().and_then(|group| group.leader());
    if leader.is_some() && leader == node.node() {
        return None;
    }
    let leader = leader.and_then(|leader| node.member(leader));
    Some(CallAnswer::NotLeader {
        leader: leader.map(|member| member.address),
    })
}

const STRANGER: &str = "it answers that to members of its cluster only";
/// An answer can make one more question necessary.
const MAX_ROUNDS: usize = 4;
