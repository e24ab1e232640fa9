//! Changes of the directory, on their way to its leader.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use nsq_cluster::codec::{Answer, Request, Wire};
use nsq_cluster::directory::{Change, Outcome};
use nsq_cluster::group::{Group, ProposeError};
use nsq_cluster::network::{CallError, Network};
use nsq_cluster::{Member, NodeId};
use tokio::time::Instant;

use super::calls::{Call, Changed, NODE, was_not_sent};
use super::this_node::ThisNode;
use crate::cluster_ops::ClusterError;

/// How long a change waits for a leader of the directory.
const HOLD: Duration = Duration::from_secs(3);
/// Between two tries.
const RETRY: Duration = Duration::from_millis(50);

/// Makes changes of the directory.
pub(crate) trait Changes: Send + Sync {
    /// Has the directory's leader make `change`, and returns what became of it. While no leader is known, waits for one, for
    /// 3 s at most. A change that was surely not made is tried again meanwhile; so is one that may have been made, if it
    /// `is_repeatable`: if making it twice is the same as making it once, whatever others do in between.
    ///
    /// Fails with [`ClusterError::Unavailable`], which says why, and whether the change may have been made.
    fn change<'a>(&'a self, change: &'a Change, is_repeatable: bool) -> Changing<'a>;
}

/// A change under way.
pub(crate) type Changing<'a> = BoxFuture<'a, Result<Outcome, ClusterError>>;

/// What leads to the directory's leader.
pub(crate) trait Link: Send + Sync {
    /// This node's number.
    fn node(&self) -> Option<NodeId>;
    /// The leader that this node's replica knows, and where it is reached; an error says why none is known.
    fn leader(&self) -> Result<(NodeId, Member), &'static str>;
    /// Proposes to this node's replica.
    fn propose(&self, proposal: Bytes) -> BoxFuture<'_, Changed>;
    /// Carries calls to others.
    fn network(&self) -> Arc<dyn Network>;
}

/// Proposes changes of the directory, wherever its leader is.
#[derive(Clone)]
pub(crate) struct DirectoryClient {
    link: Arc<dyn Link>,
    hold: Duration,
    /// How long the leader may take to commit a change.
    timeout: Duration,
}

impl DirectoryClient {
    pub(crate) fn new(node: Arc<dyn ThisNode>, timeout: Duration) -> DirectoryClient {
        DirectoryClient {
            link: Arc::new(OfNode(node)),
            hold: HOLD,
            timeout,
        }
    }

    /// As [`Changes::change`].
    ///
    /// # Errors
    /// [`ClusterError::Unavailable`].
    pub(crate) async fn change(
        &self,
        change: &Change,
        is_repeatable: bool,
    ) -> Result<Outcome, ClusterError> {
        let proposal = change.to_bytes();
        let end = Instant::now() + self.hold;
        loop {
            let why = match self.try_once(proposal.clone()).await {
                Changed::Outcome(outcome) => {
                    return Outcome::from_bytes(outcome).map_err(|error| unavailable(&error));
                }
                Changed::NotLeading => NO_LEADER.to_owned(),
                Changed::NotMade(why) => why,
                Changed::Unconfirmed(why) if is_repeatable => why,
                Changed::Unconfirmed(why) => {
                    let why = format!("{why}; the change may or may not have been made");
                    return Err(ClusterError::Unavailable(why));
                }
            };
            if Instant::now() >= end {
                return Err(ClusterError::Unavailable(why));
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn try_once(&self, proposal: Bytes) -> Changed {
        let (leader, member) = match self.link.leader() {
            Ok(leader) => leader,
            Err(why) => return Changed::NotMade(why.to_owned()),
        };
        if self.link.node() == Some(leader) {
            let proposed = tokio::time::timeout(self.timeout, self.link.propose(proposal)).await;
            return proposed.unwrap_or_else(|_| Changed::Unconfirmed(NO_MAJORITY.to_owned()));
        }
        let body = Call::Change(proposal).to_bytes();
        let request = Request::Call { group: NODE, body };
        let timeout = Some(self.timeout);
        let calling = self.link.network().call(leader, &member, request, timeout);
        let named = |why: &dyn Display| {
            format!("node {leader} at {member}, the leader of the cluster's directory: {why}")
        };
        match calling.await {
            Ok(Answer::Call(body)) => match Changed::from_bytes(body) {
                Ok(changed) => changed,
                Err(error) => Changed::Unconfirmed(named(&error)),
            },
            Ok(Answer::Refused(refusal)) => {
                let error = CallError::from(refusal);
                if was_not_sent(&error) {
                    Changed::NotMade(named(&error))
                } else {
                    Changed::Unconfirmed(named(&error))
                }
            }
            Ok(_) => Changed::Unconfirmed(named(&CallError::Misfit)),
            Err(error) if was_not_sent(&error) => Changed::NotMade(named(&error)),
            Err(error) => Changed::Unconfirmed(named(&error)),
        }
    }
}

impl Changes for DirectoryClient {
    fn change<'a>(&'a self, change: &'a Change, is_repeatable: bool) -> Changing<'a> {
        Box::pin(DirectoryClient::change(self, change, is_repeatable))
    }
}

struct OfNode(Arc<dyn ThisNode>);

impl Link for OfNode {
    fn node(&self) -> Option<NodeId> {
        self.0.node()
    }

    fn leader(&self) -> Result<(NodeId, Member), &'static str> {
        let group = self.0.directory_group().ok_or(FORMING)?;
        let standing = group.standing();
        let standing = standing.borrow();
        let leader = standing.leader.ok_or(NO_LEADER)?;
        let member = standing.members.nodes.get(&leader).ok_or(NO_LEADER)?;
        Ok((leader, member.clone()))
    }

    fn propose(&self, proposal: Bytes) -> BoxFuture<'_, Changed> {
        Box::pin(async move {
            match self.0.directory_group() {
                Some(group) => propose(&group, proposal).await,
                None => Changed::NotLeading,
            }
        })
    }

    fn network(&self) -> Arc<dyn Network> {
        self.0.network()
    }
}

/// Proposes a change to the directory's group, which this node leads or has led a moment ago. Also the answer to another
/// node that asks for the change.
pub(crate) async fn propose(group: &Group, proposal: Bytes) -> Changed {
    match group.propose(proposal).await {
        Ok(applied) => Changed::Outcome(applied.outcome),
        Err(ProposeError::NotLeader { .. }) => Changed::NotLeading,
        Err(error @ (ProposeError::NoSpace(_) | ProposeError::TooLarge { .. })) => {
            Changed::NotMade(format!("the cluster's directory: {error}"))
        }
        Err(ProposeError::NoMajority) => Changed::NotMade(NO_MAJORITY.to_owned()),
        Err(error @ (ProposeError::Unconfirmed | ProposeError::Stopped)) => {
            Changed::Unconfirmed(format!("the cluster's directory: {error}"))
        }
    }
}

fn unavailable(error: &dyn Display) -> ClusterError {
    ClusterError::Unavailable(format!("the cluster's directory: {error}"))
}

const FORMING: &str = "the cluster is forming";
const NO_LEADER: &str = "the leader of the cluster's directory is not known";
const NO_MAJORITY: &str =
    "a majority of the nodes that keep the cluster's directory is not reachable";

#[cfg(test)]
mod tests;
